"""Which commit is checked out, and which files match it. Only reads the repository."""

from __future__ import annotations

import hashlib
import os
import posixpath
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gdcbuild.core.digest import Digest
from gdcbuild.core.seal import NO_CHECKOUT, Checkout
from gdcbuild.errors import Problem
from gdcbuild.files import standins
from gdcbuild.files.content import hash_stream

_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_SECONDS = 60.0
_KEPT = ("PATH", "HOME", "XDG_CONFIG_HOME", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM")
"""Variables passed to git: not those with which hooks select another repository, and no secrets."""

_SET = {
    "LC_ALL": "C",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
}

_LINK, _SUBMODULE = b"120000", b"160000"
_MOST_LINKS = 40
"""The limit of symlinks on the way to one file, as in Linux."""


def checkout(
    manifest: Path, files: Mapping[str, Digest], variables: Mapping[str, str], warn: Callable[[Problem], None]
) -> Checkout:
    """The commit of the repository that contains the manifest, and which of `files` match it.

    `files` maps paths below the manifest's folder to digests. A file matches if checking out the commit gives its bytes:
    those of the blob, also after line endings or another filter, or those that a Git LFS or git-annex pointer names.
    Submodules count at their recorded commit.

    The commit is "" if there is none. Warns if git refuses to read the repository, as in a container that runs as another
    user. Writes nothing to the repository and takes no lock.
    """
    if not any(os.path.lexists(folder / ".git") for folder in manifest.parents):
        return NO_CHECKOUT
    git, folder = _Git(variables), manifest.parent
    try:
        if not git(folder, "ls-files", "--", manifest.name):
            return NO_CHECKOUT
        top, prefix, _ = os.fsdecode(git(folder, "rev-parse", "--show-toplevel", "--show-prefix")).rsplit("\n", 2)
        commit = git(folder, "rev-parse", "--quiet", "--verify", "HEAD", ends=(0, 1)).decode().strip()
        if not commit:
            return NO_CHECKOUT
        repository = _Repository(git, Path(top), commit)
        wanted: dict[_Repository, list[_Wanted]] = {}
        same = set()
        for path, digest in files.items():
            found = _follow(repository, prefix + path)
            if isinstance(found, standins.StandIn):
                same |= {path} if found.sha256 == digest.hash else set()
            elif found is not None:
                wanted.setdefault(found[0], []).append(_Wanted(path, digest, *found[1:]))
        for where, files_there in wanted.items():
            same.update(where.same(files_there))
    except _Silent as error:
        first, _, rest = str(error).partition("\n")
        warn(Problem(f"the commit is not recorded: {first}", "the version is published without it", detail=rest.strip()))
        return NO_CHECKOUT
    return Checkout(commit, {path: digest for path, digest in files.items() if path in same})


class _Silent(Exception):
    """Git failed; the message says why."""


class _Git:
    """Runs git in a folder."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._env = {n: v for n, v in variables.items() if n in _KEPT or n.startswith("GIT_CONFIG")} | _SET

    def __call__(self, folder: Path, *arguments: str, given: bytes = b"", ends: Iterable[int] = (0,)) -> bytes:
        with tempfile.TemporaryFile() as answer:
            self.write(folder, answer, *arguments, given=given, ends=ends)
            return answer.read()

    def write(self, folder: Path, answer: BinaryIO, *arguments: str, given: bytes = b"", ends: Iterable[int] = (0,)) -> None:
        """Write git's output into an empty file, and rewind it."""
        command = (*_GIT, *arguments)
        try:
            done = subprocess.run(
                command,
                check=False,
                cwd=folder,
                env=self._env,
                input=given,
                stdout=answer,
                stderr=subprocess.PIPE,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise _Silent(f"git did not answer for {_SECONDS:.0f} s") from None
        except OSError as error:
            raise _Silent(f"git cannot be run: {error.strerror}") from error
        if done.returncode not in ends:
            raise _Silent(done.stderr.decode(errors="replace").strip() or f"git exited with {done.returncode}")
        answer.seek(0)


class _Wanted(NamedTuple):
    """A file of the workspace, the digest of the bytes used, its path in a repository, and the blob committed there."""

    path: str
    digest: Digest
    there: str
    blob: str


class _Repository:
    """A repository at one commit, checked out in `folder`."""

    def __init__(self, git: _Git, folder: Path, commit: str) -> None:
        self._git = git
        self._commit = commit
        self.folder = folder
        self._submodules: dict[str, _Repository] = {}

    @cached_property
    def entries(self) -> Mapping[str, tuple[bytes, str]]:
        """Path → mode and object, without folders."""
        rows = self._git(self.folder, "ls-tree", "-r", "-z", "--full-tree", self._commit).split(b"\0")
        found = (row.partition(b"\t")[::2] for row in rows if row)
        return {os.fsdecode(path): (what.split()[0], what.split()[2].decode()) for what, path in found}

    def target(self, path: str, blob: str) -> str | None:
        """The target of a symlink; None if it differs from the commit."""
        try:
            target = os.readlink(self.folder / path)  # noqa: PTH115 - as it is written, with every slash
        except OSError:
            return None
        hasher = _hasher(blob, len(data := os.fsencode(target)))
        hasher.update(data)
        return target if hasher.hexdigest() == blob else None

    def submodule(self, path: str, commit: str) -> _Repository | None:
        """The submodule at a path; None if it does not have that commit."""
        if path not in self._submodules:
            there = _Repository(self._git, self.folder / path, commit)
            try:
                if not os.path.lexists(there.folder / ".git") or not there.entries:
                    return None
            except _Silent:
                return None
            self._submodules[path] = there
        return self._submodules[path]

    def same(self, files: Sequence[_Wanted]) -> set[str]:
        """The files that checking out this commit would give."""
        sizes = self._sizes({f.blob for f in files})
        found = {f.path for f in files if sizes.get(f.blob) == f.digest.size and self._is_blob(f)}
        others = [f for f in files if f.path not in found and f.blob in sizes]
        small = self._contents({f.blob: sizes[f.blob] for f in others if sizes[f.blob] <= standins.MAX_BYTES})
        for file in others:
            pointer = standins.recognise(file.there, small.get(file.blob, b""))
            if pointer is not None and pointer.kind in ("lfs", "annex"):  # not filtered: git would download the file
                is_same = pointer.sha256 == file.digest.hash
            else:
                is_same = self._is_converted(file)
            found |= {file.path} if is_same else set()
        return found

    def _sizes(self, blobs: Collection[str]) -> dict[str, int]:
        """Blob → size, for blobs that exist."""
        answer = self._git(self.folder, "cat-file", "--batch-check=%(objectname) %(objectsize)", given=_lines(blobs))
        rows = (row.split() for row in answer.decode().splitlines())
        return {blob: int(size) for blob, size in rows if size.isdigit()}

    def _contents(self, sizes: Mapping[str, int]) -> dict[str, bytes]:
        """Blob → content."""
        answer = self._git(self.folder, "cat-file", "--batch=", given=_lines(sizes))
        found, at = {}, 0
        for blob, size in sizes.items():  # each has an empty header line before it, and a line feed after it
            found[blob] = answer[at + 1 : at + 1 + size]
            at += size + 2
        return found

    def _is_blob(self, file: _Wanted) -> bool:
        """Whether the blob has the bytes used."""
        hasher = _hasher(file.blob, file.digest.size)
        return self._hashed(file.there, hasher.update) == file.digest and hasher.hexdigest() == file.blob

    def _is_converted(self, file: _Wanted) -> bool:
        """Whether git's filters turn the blob into the bytes used, with committed attributes only."""
        folders = file.there.split("/")[:-1]
        for name in ("/".join((*folders[:depth], ".gitattributes")) for depth in range(len(folders) + 1)):
            if os.path.lexists(self.folder / name) and not self._is_as_committed(name):
                return False
        with tempfile.TemporaryFile() as answer:
            try:
                self._git.write(self.folder, answer, "cat-file", "--filters", f"--path={file.there}", file.blob)
            except _Silent:
                return False  # a checkout would fail, too
            return hash_stream(answer) == file.digest

    def _is_as_committed(self, path: str) -> bool:
        digest, (_, blob) = self._hashed(path), self.entries.get(path, (b"", ""))
        return digest is not None and bool(blob) and self._is_blob(_Wanted(path, digest, path, blob))

    def _hashed(self, path: str, seen: Callable[[bytes], object] | None = None) -> Digest | None:
        try:
            with (self.folder / path).open("rb") as stream:
                return hash_stream(stream, seen)
        except OSError:
            return None


def _follow(repository: _Repository, path: str) -> tuple[_Repository, str, str] | standins.StandIn | None:
    """The repository of a file, its path there, and its blob, following committed symlinks and submodules.

    For a symlink into git-annex, the pointer. None if the commit does not have the file, or a symlink has changed.
    """
    rest, done, links = path.split("/"), "", 0
    while rest:
        part = rest.pop(0)
        if part == "..":
            if not done:
                return None
            done = posixpath.dirname(done)
        elif part not in ("", "."):
            done = posixpath.join(done, part)
        mode, there = repository.entries.get(done, (b"", ""))
        if mode == _LINK:
            target = repository.target(done, there)
            links += 1
            if target is None or target.startswith("/") or links > _MOST_LINKS:
                return None
            if not rest and (found := standins.annex(os.fsencode(target))):
                return found
            rest, done = [*target.split("/"), *rest], posixpath.dirname(done)
        elif mode == _SUBMODULE:
            inner = repository.submodule(done, there)
            if inner is None:
                return None
            repository, done = inner, ""
        elif mode:
            return None if rest else (repository, done, there)
    return None


def _lines(names: Iterable[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode()


def _hasher(like: str, size: int) -> hashlib._Hash:
    """The hash object for the id of a blob of that size, of the same kind as another id."""
    kind = "sha1" if len(like) == 40 else "sha256"
    return hashlib.new(kind, b"blob %d\0" % size, usedforsecurity=False)
