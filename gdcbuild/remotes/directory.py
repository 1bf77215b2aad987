"""A folder as a bucket: to try things out, for tests, and to carry a bucket's contents on a disk."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from gdcbuild.core.digest import Blob
from gdcbuild.core.objects import RemoteObject, Stored
from gdcbuild.errors import Problem, RemoteError, of_system
from gdcbuild.remotes.listings import Listings

TEMPORARY = ".gdcbuild/tmp/"
ATTEMPTS = 10
LEFT_SECONDS = 3600.0
"""Age in seconds of an unlocked temporary file that counts as left behind: it is locked a moment after it is created."""


class DirectoryRemote:
    """Key → file at that path below the folder, which need not exist before the first write. There are no etags."""

    lookups = 1

    def __init__(self, root: Path) -> None:
        self.url = os.path.normpath(root)
        self.listings = Listings()
        self._root = root
        self._tidied = False

    def list(self, prefix: str, after: str = "") -> Iterator[RemoteObject]:
        folder = prefix.rpartition("/")[0]
        root, stack = f"{self._root}/", []
        if ".." not in prefix.split("/"):
            stack.append(f"{folder}/" if folder else "")
        while stack:
            key = stack.pop()
            if not key or key[-1] == "/":
                if _may_hold(key, prefix, after) and key != TEMPORARY:
                    stack += [key + name for name in self.listings.names(root, key)]
            elif key > after and key.startswith(prefix):
                try:
                    size = os.stat(root + key).st_size  # noqa: PTH116 - quick, and there are many
                except FileNotFoundError:  # removed since its folder was read
                    continue
                yield RemoteObject(key, size)

    def create(self, key: str, blob: Blob, progress: Callable[[int], None] | None = None) -> Stored:
        from gdcbuild.files.content import flushing, place  # a plan writes nothing

        gone: Callable[[int], object] = progress or int
        target = self._path(key)
        if (found := self._compare(target, blob)) is not None:
            return found
        try:
            with self._temporary() as stream:
                flush = flushing(stream)
                place(blob, stream, lambda data: (flush(data), gone(len(data))))
                stream.flush()
                os.fsync(stream.fileno())
                created = _link(Path(stream.name), target)
        except OSError as error:
            raise _failure(target, "write", error) from error
        if created:
            return Stored("created")
        gone(-blob.digest.size)
        found = self._compare(target, blob)
        if found is None:
            raise RemoteError(Problem(f"{target} exists and is not a file", "remove it, or publish to another folder"))
        return found

    @contextmanager
    def _temporary(self) -> Iterator[BinaryIO]:
        """A new file, removed in the end. Its lock distinguishes it from files of a killed run."""
        import fcntl  # both are slow to import, and only needed to write
        import secrets

        folder = self._root / TEMPORARY
        _make_folders(folder)
        if not self._tidied:
            self._tidied = True
            for path in folder.iterdir():
                _remove_if_left(path)
        path = folder / secrets.token_hex(16)
        with path.open("x+b") as stream:
            try:
                with suppress(OSError):  # without locks nothing counts as left behind
                    fcntl.flock(stream, fcntl.LOCK_EX)
                yield stream
            finally:
                path.unlink(missing_ok=True)

    def _compare(self, path: Path, blob: Blob) -> Stored | None:
        """What a create of the blob at the path would find; None when there is no file."""
        from gdcbuild.files.content import hash_stream

        try:
            with _explained(path, "read"), path.open("rb") as stream:
                if os.fstat(stream.fileno()).st_size != blob.digest.size:
                    return Stored("other")
                return Stored("same" if hash_stream(stream) == blob.digest else "other")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open(self, key: str, etag: str = "") -> BinaryIO:  # noqa: ARG002 - as for delete
        path = self._path(key)
        try:
            with _explained(path, "read"):
                if not stat.S_ISREG(path.stat().st_mode):
                    raise KeyError(key)
                return path.open("rb")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise KeyError(key) from error

    def delete(self, key: str, etag: str = "") -> None:  # noqa: ARG002 - files have no etag
        path = self._path(key)
        with _explained(path, "delete"), suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            _sync(path.parent)
        with suppress(OSError):  # the first folder that is not empty ends it
            for folder in path.parents:
                if folder == self._root:
                    break
                folder.rmdir()

    def _path(self, key: str) -> Path:
        """Path of the object. Raises RemoteError for a key that would lead outside, by its parts or by a link."""
        path = self._root / key
        ill_formed = "\0" in key or not {"", ".", ".."}.isdisjoint(key.split("/")) or key.startswith(TEMPORARY)
        if ill_formed or not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(self._root)):
            raise RemoteError(
                Problem(
                    f"{key!r} cannot be a file below {self._root}", "use a valid path, and no link that leads out of the folder"
                )
            )
        return path


def _may_hold(folder: str, prefix: str, after: str) -> bool:
    """Whether a folder can hold a key with the prefix that sorts after `after`."""
    return (folder.startswith(prefix) or prefix.startswith(folder)) and (folder >= after or after.startswith(folder))


def _remove_if_left(path: Path) -> None:
    """Remove a temporary file of long ago that nobody holds."""
    import fcntl

    with suppress(OSError), path.open("rb+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if time.time() - os.fstat(stream.fileno()).st_mtime > LEFT_SECONDS:
            path.unlink()


def _link(source: Path, target: Path) -> bool:
    """Give the file its name, durably; False if the name exists already."""
    for _ in range(ATTEMPTS):
        try:
            _make_folders(target.parent)
            os.link(source, target)
        except FileExistsError:
            if not target.parent.is_dir():
                raise
            return False
        except FileNotFoundError:  # another process has deleted the empty folder
            continue
        _sync(target.parent)
        return True
    raise FileNotFoundError(errno.ENOENT, "its folder keeps being removed")


def _make_folders(folder: Path) -> None:
    """Make the folder and those above it, durably."""
    absent = []
    for candidate in (folder, *folder.parents):
        if candidate.is_dir():
            break
        absent.append(candidate)
    for candidate in reversed(absent):
        candidate.mkdir(exist_ok=True)
        _sync(candidate.parent)


def _sync(folder: Path) -> None:
    """Make the names in a folder durable; do nothing if it is gone."""
    with suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _explained(path: Path, verb: str) -> Iterator[None]:
    """Errors of the file system as RemoteError, except a missing file, which callers handle."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise _failure(path, verb, error) from error


def _failure(path: Path, verb: str, error: OSError) -> RemoteError:
    hint = ""
    if isinstance(error, PermissionError):
        hint = "the bucket's folder must be readable and writable, on a file system with hard links"
    elif isinstance(error, FileExistsError | IsADirectoryError):
        hint = "a file and a folder cannot have the same name: remove what is there"
    return RemoteError(of_system(error, f"cannot {verb} {path}", hint))
