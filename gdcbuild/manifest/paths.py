"""From a path as written in a manifest to files of the workspace, and never outside it."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from gdcbuild.core import secrets
from gdcbuild.errors import Location, ManifestError, Problem, raise_all

_GLOB = re.compile(r"[*?\[]")
_SET = re.compile(r"(?P<not>[!^]?+)(?P<set>\][^]]*|[^]]+)\]", re.DOTALL)
_RANGE = re.compile(r"(.)(?:-(.))?", re.DOTALL)
_UNFIT = frozenset(map(chr, (*range(32), 127, *range(0xD800, 0xE000))))
"""What a name must not have: bytes that are not UTF-8 come out of the system as lone surrogates."""

_NEVER = frozenset({"__pycache__", ".git"})


class Paths:
    """Resolves paths against a workspace root. Results are POSIX paths relative to the root, sorted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real = os.path.realpath(root)
        self._looked: set[str] = set()

    @contextmanager
    def watched(self) -> Iterator[set[str]]:
        """Every file and folder that is looked at inside the context: as long as none changes, the answers stay the same."""
        outer, self._looked = self._looked, set()
        try:
            yield self._looked
        finally:
            outer |= self._looked
            self._looked = outer

    def resolve(self, folder: str, text: str, where: Location) -> str:
        """The path `text`, written in a manifest in `folder`, without touching the disk."""
        if text.startswith(("/", "~")):
            raise _refuse(f"{text!r} is an absolute path", "write it relative to this file", where)
        if "\\" in text or any(ord(c) < 32 for c in text):
            raise _refuse(f"{text!r} has a backslash or a control character", "use / and printable names", where)
        path = posixpath.normpath(posixpath.join(folder, text))
        if path == ".." or path.startswith("../"):
            raise _refuse(f"{text!r} leaves the workspace", f"move it below {self.root.name}/, beside the root manifest", where)
        return "" if path == "." else path

    def file(self, folder: str, text: str, where: Location) -> str:
        """One existing regular file."""
        path = self.resolve(folder, text, where)
        mode = self._mode(path, text, where)
        if stat.S_ISDIR(mode):
            raise _refuse(f"{text!r} is a folder, a file is wanted", "name the file in it", where)
        return path

    def folder(self, folder: str, text: str, where: Location) -> list[str]:
        """All files below an existing folder; byte code is not among them."""
        path = self.resolve(folder, text, where)
        if not stat.S_ISDIR(self._mode(path, text, where)):
            raise _refuse(f"{text!r} is a file, a folder is wanted", "name the folder it lies in", where)
        found = self._walk(path, where)
        if not found:
            raise _refuse(f"the folder {text!r} is empty", "put the files there, or correct the path", where)
        self._refuse_secrets(found, text, where)
        return found

    def expand(self, folder: str, text: str, where: Location) -> list[str]:
        """The files that a path or a glob names: one file, or for a glob all that match (and at least one)."""
        if not _GLOB.search(text):
            return [self.file(folder, text, where)]
        pattern = self.resolve(folder, text, where)
        fixed = []
        for part in pattern.split("/"):
            if _GLOB.search(part):
                break
            fixed.append(part)
        start = "/".join(fixed)
        self._looked.add(start)
        try:
            match = _compile(pattern)
        except re.error as error:
            raise _refuse(f"{text!r} is not a glob: {error.msg}", "correct what stands in brackets", where) from error
        found = []
        if _is_folder(self.root / start):
            self._inside(start, text, where)
            levels = None if "**" in pattern.split("/") else pattern.count("/")
            found = self._walk(start, where, match, levels)
        if not found:
            raise _refuse(f"{text!r} matches no file", "correct the glob, or remove it", where)
        self._refuse_secrets(found, text, where)
        return found

    def _refuse_secrets(self, found: list[str], text: str, where: Location) -> None:
        """Keys and passwords go along only when somebody named each of them, not because they lay beside what was meant."""
        problems = []
        for path in found:
            what = secrets.by_path(path)
            if what == secrets.UNSURE:
                what = secrets.by_content(self._start(path))
            if what:
                message = f"{path!r}, which {text!r} takes in, looks like a secret: {what}"
                hint = "leave it out of what is given here, or name that file by itself if it shall be published"
                problems.append(Problem(message, hint, where))
        raise_all(ManifestError, problems)

    def _start(self, path: str) -> bytes:
        try:
            with (self.root / path).open("rb") as stream:
                return stream.read(secrets.MAX_BYTES + 1)
        except OSError:
            return b""  # whoever needs its bytes will say so

    def is_folder(self, folder: str, text: str, where: Location) -> bool:
        path = self.resolve(folder, text, where)
        self._looked.add(path)
        return _is_folder(self.root / path)

    def _mode(self, path: str, text: str, where: Location) -> int:
        self._looked.add(path)
        try:
            mode = (self.root / path).stat().st_mode
        except (OSError, ValueError) as error:
            if os.path.islink(self.root / path):  # noqa: PTH114 - Path.is_symlink raises for a name that is too long
                raise _refuse(f"{text!r} is a symlink to nothing", "mend the link, or remove it", where) from error
            raise _refuse(f"there is no file {text!r}", self._similar(path), where) from error
        self._inside(path, text, where)
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise _refuse(f"{text!r} is neither a file nor a folder", "name a regular file", where)
        return mode

    def _inside(self, path: str, text: str, where: Location) -> None:
        real = os.path.realpath(self.root / path)
        if real != self._real and not real.startswith(self._real + os.sep):
            raise _refuse(f"{text!r} is a symlink that leaves the workspace", "copy the file into the workspace", where)

    def _similar(self, path: str) -> str:
        import difflib

        folder, name = posixpath.split(path)
        try:
            names = [p.name for p in (self.root / folder).iterdir()]
        except OSError:
            return f"there is no folder {folder!r} either"
        near = difflib.get_close_matches(name, names, 1)
        return (
            f"did you mean {posixpath.join(folder, near[0])!r}?" if near else "paths are relative to the file that names them"
        )

    def _walk(self, start: str, where: Location, match: re.Pattern[str] | None = None, levels: int | None = None) -> list[str]:
        """Files below a folder that match, sorted, with a stack; folders behind symlinks are not entered.

        No more than `levels` slashes are in what is looked for. What does not match may be anything.
        """
        stack: list[str] = [start]
        found: list[str] = []
        while stack:
            folder = stack.pop()
            self._looked.add(folder)
            try:
                with os.scandir(self.root / folder) as entries:
                    for entry in entries:
                        path = f"{folder}/{entry.name}" if folder else entry.name
                        if entry.is_dir(follow_symlinks=False):
                            if entry.name not in _NEVER and (levels is None or path.count("/") < levels):
                                stack.append(path)
                        elif (match is None or match.match(path)) and self._is_file(entry, path, where):
                            found.append(path)
            except OSError as error:
                name = os.path.relpath(error.filename or folder, self.root)
                raise _refuse(f"{name!r} cannot be read: {error.strerror}", "mend or remove it", where) from error
        return sorted(found)

    def _is_file(self, entry: os.DirEntry[str], path: str, where: Location) -> bool:
        """False for a symlink to a folder; anything else that is no file of the workspace is refused."""
        if not _UNFIT.isdisjoint(entry.name):
            raise _refuse(f"the name {path!r} has a control character or is not UTF-8", "rename it", where)
        if entry.is_symlink():
            self._inside(path, path, where)
        if not (entry.is_file() or entry.is_dir()):
            raise _refuse(f"{path!r} is neither a file nor a folder", "remove it from the folder", where)
        return entry.is_file()


def lay(folder: str, paths: list[str]) -> tuple[str, dict[str, str]]:
    """How files lie in an action's folder: as they lie below the folder of the manifest.

    When some lie beside it ("../shared/x.py"), the action's folder stands for the lowest folder above them all.
    Returns the manifest's folder below the action's (its start folder, "" mostly), and workspace path → path there.
    """
    above = folder
    while any(above and not p.startswith(above + "/") for p in paths):
        above = posixpath.dirname(above)
    cut = len(above) + 1 if above else 0
    return folder[cut:] if above != folder else "", {p: p[cut:] for p in paths}


@lru_cache(maxsize=4096)
def _compile(pattern: str) -> re.Pattern[str]:
    """`**` stands for any number of folders, `*` and `?` stay within one, as in git and bash's globstar."""
    parts = pattern.split("/")
    text = "".join("(?:[^/]+/)*" if part == "**" else _segment(part) + "/" for part in parts)
    return re.compile((text + "[^/]+" if parts[-1] == "**" else text[:-1]) + r"\Z")


def _segment(part: str) -> str:
    out, i = "", 0
    while i < len(part):
        c = part[i]
        i += 1
        if c == "*":
            out += "[^/]*"
        elif c == "?":
            out += "[^/]"
        elif c == "[" and (found := _SET.match(part, i)):
            out += f"(?!/)[{'^' if found['not'] else ''}{_RANGE.sub(_escaped, found['set'])}]"
            i = found.end()
        else:
            out += re.escape(c)
    return out


def _escaped(found: re.Match[str]) -> str:
    """One character or range of a set, with nothing in it that means more to `re` than it does to a shell."""
    return f"{re.escape(found[1])}-{re.escape(found[2])}" if found[2] else re.escape(found[1])


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long for the system, for one
        return False


def _refuse(message: str, hint: str, where: Location) -> ManifestError:
    return ManifestError(Problem(message, hint, where))
