"""Resolves paths in a manifest to files of the workspace, never outside it."""

from __future__ import annotations

import filecmp
import os
import posixpath
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from gdcbuild.errors import Location, ManifestError, Problem, raise_all
from gdcbuild.files import secrets
from gdcbuild.manifest.bucket_overlap import Taken, holds
from gdcbuild.manifest.globs import GLOB, compiled, fixed
from gdcbuild.manifest.path_hints import DVC, RELATIVE, as_value, by_annex, by_dvc, content_of, similar, unfit
from gdcbuild.manifest.validate import GUESSES

_UNFIT = frozenset(map(chr, (*range(32), 127, *range(0xD800, 0xE000))))
"""Characters that a name must not contain. Bytes that are not UTF-8 appear as lone surrogates."""

_RECORDS = ".gdcbuild"
"""The folder in a bucket that records what was published."""

_OTHER_ROOT = "declare its folder (roots: {NAME: FOLDER}) and write {root: NAME, path: PATH}"

_NEVER = frozenset({"__pycache__", ".git", _RECORDS})


class _Asked(NamedTuple):
    """What a walk is for: a location in a manifest, that manifest's folder, and the target folder (None if not in a list).

    `flat` is true if files are stored under their base names, so that folders are not possible.
    """

    where: Location
    folder: str
    to: str | None
    flat: bool = False


class Paths:
    """Resolves paths against a workspace root. Results are POSIX paths relative to the root, sorted.

    `taken` is everything found so far. A root outside the workspace has a `name`, and records what it looks at and
    finds in the workspace's Paths, `of`, with absolute paths.
    """

    def __init__(self, root: Path, of: Paths | None = None, name: str = "") -> None:
        self.root = root
        self._name = name
        self._of = of
        self._real = os.path.realpath(root)
        self._looked: set[str] = set()
        self._missing = 0
        self.taken: list[Taken] = [] if of is None else of.taken

    @contextmanager
    def watched(self) -> Iterator[set[str]]:
        """Collect every file and folder looked at inside the context. While none changes, the results stay the same."""
        outer, self._looked = self._looked, set()
        try:
            yield self._looked
        finally:
            outer |= self._looked
            self._looked = outer

    def _look(self, path: str) -> None:
        if self._of is None:
            self._looked.add(path)
        else:
            self._of._looked.add(f"{self.root}/{path}" if path else str(self.root))

    def resolve(self, folder: str, text: str, where: Location) -> str:
        """The path `text`, written in a manifest in `folder`, without touching the disk."""
        base = "this file" if self._of is None else f"the root {self._name}"
        problem = unfit(text, f"write it relative to {base}; or {_OTHER_ROOT}")
        if problem is not None:
            raise _refuse(*problem, where)
        path = posixpath.normpath(posixpath.join(folder, text))
        if path == ".." or path.startswith("../"):
            stays = f"move it into {self.root.name}/, the folder of the root manifest"
            if self._of is not None:
                stays = f"paths of the root {self._name} stay below {str(self.root)!r}: correct the path"
            hint = f"{stays}; or {_OTHER_ROOT}"
            raise _refuse(f"{text!r} points outside {self._called}", hint, where)
        return "" if path == "." else path

    def file(self, folder: str, text: str, where: Location, instead: str = "name the file in it") -> str:
        """One existing regular file. `instead` is the hint if it is a folder."""
        path = self.resolve(folder, text, where)
        mode = self._mode(path, folder, text, where)
        if stat.S_ISDIR(mode):
            raise _refuse(f"{text!r} is a folder; expected a file", instead, where)
        return path

    def folder(self, folder: str, text: str, where: Location, to: str | None = None) -> list[str]:
        """All files below an existing folder, without byte code. `to` is the target folder, None if not in a list."""
        path = self.resolve(folder, text, where)
        if not stat.S_ISDIR(self._mode(path, folder, text, where)):
            raise _refuse(f"{text!r} is a file; expected a folder", "name the folder that contains it", where)
        found = self._walk(path, _Asked(where, folder, to))
        if not found:
            raise _refuse(f"the folder {text!r} is empty", "put the files there, or correct the path", where)
        self._refuse_secrets(found, text, where)
        return found

    def expand(self, folder: str, text: str, where: Location, to: str = "", flat: bool = False) -> list[str]:
        """The files that a path or a glob names: one file, or, for a glob, every match, at least one.

        `flat` means that they are stored under their base names, so that folders are refused.
        """
        if not GLOB.search(text):
            return [self.file(folder, text, where, content_of(text))] if flat else [self.file(folder, text, where)]
        pattern = self.resolve(folder, text, where)
        start = fixed(pattern)
        self._look(start)
        try:
            match = compiled(pattern)
        except re.error as error:
            raise _refuse(f"{text!r} is not a valid glob: {error.msg}", "correct the part in brackets", where) from error
        found = []
        if _is_folder(self.root / start):
            self._inside(start, text, where)
            levels = None if "**" in pattern.split("/") else pattern.count("/")
            found = self._walk(start, _Asked(where, folder, to, flat), match, levels)
        elif fetched := by_dvc(self.root, start):
            raise _refuse(f"{text!r} matches no file", fetched, where)
        if not found:
            raise _refuse(f"{text!r} matches no file", self._matched_folder(folder, pattern, match), where)
        self._refuse_secrets(found, text, where)
        return found

    def _refuse_secrets(self, found: list[str], text: str, where: Location) -> None:
        """Refuse keys and passwords that a folder or glob happens to contain: each must be named itself."""
        problems = []
        for path in found:
            what = secrets.by_path(path)
            if what == secrets.UNSURE:
                what = secrets.by_content(self._start(path))
            if what:
                message = f"{path!r}, matched by {text!r}, looks like a secret: {what}"
                hint = "move it elsewhere or narrow the glob; if it should be published, name that file by itself"
                problems.append(Problem(message, hint, where))
        raise_all(ManifestError, problems)

    def _start(self, path: str) -> bytes:
        try:
            with (self.root / path).open("rb") as stream:
                small = os.fstat(stream.fileno()).st_size <= secrets.MAX_BYTES
                return stream.read(secrets.MAX_BYTES) if small else b""
        except OSError:
            return b""  # reported when the file is read

    def _matched_folder(self, folder: str, pattern: str, match: re.Pattern[str]) -> str:
        """A hint for a glob that matches no file: it may match a folder."""
        above = posixpath.dirname(pattern)
        if not GLOB.search(above) and _is_folder(self.root / above):
            for entry in sorted((self.root / above).iterdir()):
                path = posixpath.join(above, entry.name)
                if match.match(path) and entry.name not in _NEVER and _is_folder(entry):
                    return f"it matches the folder {path!r}: name its files, {posixpath.relpath(path, folder or '.')}/**"
        return "correct the glob, or remove it"

    def is_folder(self, folder: str, text: str, where: Location) -> bool:
        path = self.resolve(folder, text, where)
        self._look(path)
        return _is_folder(self.root / path)

    def same(self, one: str, other: str) -> bool:
        """Whether two files of the workspace have the same bytes."""
        self._look(one)
        self._look(other)
        try:
            return filecmp.cmp(self.root / one, self.root / other, shallow=False)
        except OSError:
            return False

    def _mode(self, path: str, folder: str, text: str, where: Location) -> int:
        self._look(path)
        try:
            mode = (self.root / path).stat().st_mode
        except (OSError, ValueError) as error:
            if os.path.islink(self.root / path):  # noqa: PTH114 - Path.is_symlink raises for a name that is too long
                fetched = by_annex(self.root, path)
                raise _refuse(f"{text!r} is a broken symlink", fetched or "correct the link, or remove it", where) from error
            self._missing += 1
            relative = RELATIVE if self._of is None else f"it must be below the root {self._name}, {str(self.root)!r}"
            hint = similar(self.root, path, folder, relative) if self._missing <= GUESSES else relative
            raise _refuse(f"there is no file {text!r}", hint, where) from error
        self._inside(path, text, where)
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise _refuse(f"{text!r} is neither a file nor a folder", "name a regular file", where)
        return mode

    def _inside(self, path: str, text: str, where: Location) -> None:
        if not self._take(path, where):
            raise ManifestError(self._leaves(text, where))

    @property
    def _called(self) -> str:
        return "the workspace" if self._of is None else f"the root {str(self.root)!r}"

    def _leaves(self, text: str, where: Location) -> Problem:
        hint = f"copy the file there; or {_OTHER_ROOT}"
        return Problem(f"{text!r} is a symlink that points outside {self._called}", hint, where)

    def _take(self, path: str, where: Location) -> bool:
        """Record the real path. Returns False if it is outside the workspace."""
        real = os.path.realpath(self.root / path)
        self.taken.append(Taken(real, path, where))
        return real == self._real or real.startswith(os.path.join(self._real, ""))  # noqa: PTH118 - exactly one slash at the end

    def _walk(self, start: str, asked: _Asked, match: re.Pattern[str] | None = None, levels: int | None = None) -> list[str]:
        """The matching files below a folder, sorted; symlinks to folders are not followed.

        Matching paths have at most `levels` slashes. Whatever does not match is ignored. A symlink to a folder is refused
        if the walk includes whole folders: its files would be left out silently.
        """
        stack: list[str] = [start]
        found: list[str] = []
        problems: list[Problem] = []
        while stack:
            folder = stack.pop()
            self._look(folder)
            try:
                with os.scandir(self.root / folder) as entries:
                    for entry in entries:
                        path = f"{folder}/{entry.name}" if folder else entry.name
                        if entry.name in _NEVER:
                            if entry.name == _RECORDS and match is None and entry.is_dir():
                                problems.append(holds(folder, asked.where))
                        elif entry.is_dir(follow_symlinks=False):
                            if asked.flat and levels is not None and match and match.match(path):
                                problems.append(_flat(path, asked))
                            if levels is None or path.count("/") < levels:
                                stack.append(path)
                        elif match is None or match.match(path):
                            problem = self._unfit(entry, path, asked.where)
                            if problem is not None:
                                problems.append(problem)
                            elif entry.is_file():
                                found.append(path)
                            else:
                                self._look(path)  # it may later point to a file without a change of its folder
                                if levels is None:
                                    problems.append(self._linked(path, start, asked))
                        elif path.endswith(DVC) and match.match(path.removesuffix(DVC)):
                            problems += self._left(path.removesuffix(DVC), asked.where)
            except OSError as error:
                name = os.path.relpath(error.filename or folder, self.root)
                raise _refuse(
                    f"{name!r} cannot be read: {error.strerror}", "make it readable, or remove it", asked.where
                ) from error
        found.sort()
        whole = match is None
        real = os.path.realpath(self.root / start)
        self.taken.append(Taken(real, start, asked.where, () if whole else tuple(found), whole))
        raise_all(ManifestError, problems)
        return found

    def _unfit(self, entry: os.DirEntry[str], path: str, where: Location) -> Problem | None:
        """The problem of an entry that is neither a file of the workspace nor a symlink to a folder in it."""
        if not _UNFIT.isdisjoint(path):
            return Problem(f"the name {path!r} has a control character or is not UTF-8", "rename it", where)
        if entry.is_symlink() and (fetched := by_annex(self.root, path)):
            return Problem(f"{path!r} is a broken symlink", fetched, where)
        if entry.is_symlink() and not self._take(path, where):
            return self._leaves(path, where)
        if not (entry.is_file() or entry.is_dir()):
            return Problem(f"{path!r} is neither a file nor a folder", "remove it from the folder", where)
        return None

    def _left(self, path: str, where: Location) -> list[Problem]:
        """The problem of a file that a glob would match if DVC had fetched it."""
        is_here = os.path.lexists(self.root / path)
        return [] if is_here else [Problem(f"{path!r} has not been fetched", by_dvc(self.root, path), where)]

    def _linked(self, path: str, start: str, asked: _Asked) -> Problem:
        """The problem of a symlink to a folder. Following it could loop; ignoring it would leave out files."""
        target = posixpath.relpath(os.path.realpath(self.root / path), self._real)
        laid = posixpath.normpath(posixpath.join(asked.to or "", posixpath.relpath(path, start or ".")))
        hint = "remove the link, or put the folder itself there"
        if asked.to is not None and target != "." and not path.startswith(f"{target}/") and not laid.startswith("../"):
            source, laid = as_value(posixpath.relpath(target, asked.folder or ".") + "/"), as_value(f"{laid}/")
            hint = f"remove the link, and name the folder itself as another entry: {{from: {source}, to: {laid}}}"
        return Problem(f"{path!r} is a symlink to the folder {target!r}: such links are not followed", hint, asked.where)


def lay(folder: str, paths: list[str]) -> tuple[str, dict[str, str]]:
    """Place files in an action's folder as they are below the manifest's folder.

    If some are outside it ("../shared/x.py"), the action's folder corresponds to the lowest folder that contains them all.
    Returns the manifest's folder relative to the action's, usually "", and workspace path → path in the action's folder.
    """
    above = folder
    while any(above and not p.startswith(above + "/") for p in paths):
        above = posixpath.dirname(above)
    cut = len(above) + 1 if above else 0
    return folder[cut:] if above != folder else "", {p: p[cut:] for p in paths}


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # such as a name that is too long
        return False


def _flat(path: str, asked: _Asked) -> Problem:
    hint = f"narrow the glob; {content_of(posixpath.relpath(path, asked.folder or '.'))}"
    return Problem(f"the glob matches the folder {path!r}, whose files would be left out", hint, asked.where)


def _refuse(message: str, hint: str, where: Location) -> ManifestError:
    return ManifestError(Problem(message, hint, where))
