"""The content-addressed store on disk: `ab/abcd...`, plain read-only files named by their digest."""

from __future__ import annotations

import errno
import io
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from gdcbuild.core.digest import Digest
from gdcbuild.errors import BlobDamaged, BlobMissing, Problem, named, of_system
from gdcbuild.files.content import FileBlob, FileReader, hash_stream
from gdcbuild.files.read_progress import Watched, unwatched

_HEX = set("0123456789abcdef")

_BROKEN = (errno.EIO, errno.EBADMSG, errno.EUCLEAN)
"""Errors on opening that mean damage: the disk fails, or the file system's data about the file is wrong."""


class _Held(FileReader):
    """A blob being read. It is damaged if the disk cannot return its bytes, just as if they differ."""

    def failed(self, error: OSError) -> BlobDamaged:
        return _unreadable(Path(str(self.name)), error)


class HeldBlob(FileBlob):
    """A blob in the cache. A collection may remove it until it is opened."""

    __slots__ = ()

    def open(self) -> BinaryIO:
        try:
            return io.BufferedReader(_Held(self.path))
        except FileNotFoundError:
            raise _missing(self.digest) from None
        except OSError as error:
            if error.errno not in _BROKEN:
                raise
            raise _unreadable(self.path, error) from error


class DiskCAS:
    """A CAS in a folder. A file is there whole or not at all: its bytes are on disk before its name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder)

    def path(self, digest: Digest) -> Path:
        return self._folder / digest.hash[:2] / digest.hash

    def missing(self, digests: Iterable[Digest]) -> set[Digest]:
        return {d for d in digests if not self._held(d)}

    def put(self, file: Path, digest: Digest | None = None, seen: Callable[[bytes], object] | None = None) -> Digest:
        """Move a finished file of the same filesystem in; unless its digest is given it is read once, for that.

        It replaces an existing file, which may be damaged; this one was just made.
        """
        target = file
        try:
            with file.open("rb") as stream:
                digest = digest or hash_stream(stream, seen)
                target = self.path(digest)
                os.utime(stream.fileno())  # its maker may have given it an old time
                os.fchmod(stream.fileno(), 0o444)
                os.fsync(stream.fileno())
            try:
                file.replace(target)
            except FileNotFoundError:
                make_folder(target.parent)
                file.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            raise named(error, target) from error
        return digest

    def get(self, digest: Digest) -> HeldBlob:
        path = self.path(digest)
        if not self._held(digest):
            raise _missing(digest)
        with suppress(FileNotFoundError):  # just removed; its reader finds out
            os.utime(path)  # when it was last used is what a collection goes by
        return HeldBlob(digest, path)

    def discard(self, digest: Digest) -> None:
        self.path(digest).unlink(missing_ok=True)

    def all(self) -> Iterator[HeldBlob]:
        """Every file that has the name of a digest, as the blob that its name and size claim."""
        for path in self._files():
            with suppress(FileNotFoundError):  # removed since its folder was read
                if _named_well(path):
                    yield HeldBlob(Digest(path.name, path.stat().st_size), path)

    def discard_damaged(self, watched: Watched = unwatched) -> list[str]:
        """Remove all blobs whose bytes do not match their name, and everything that is not a blob; return what was removed."""
        removed = []
        for path in self._files():
            with suppress(FileNotFoundError, BlobMissing):
                if _named_well(path):
                    blob = HeldBlob(Digest(path.name, path.stat().st_size), path)
                    with suppress(OSError, BlobDamaged), blob.open() as stream:  # what cannot be read is damaged, too
                        if hash_stream(watched(path.name, blob.digest.size, stream)) == blob.digest:
                            continue
                _remove(path)
                removed.append(str(path))
        return removed

    def _files(self) -> Iterator[Path]:
        for folder in sorted(self._folder.iterdir()):
            if folder.is_dir() and not folder.is_symlink():
                yield from sorted(folder.iterdir())
            else:
                yield folder

    def _held(self, digest: Digest) -> bool:
        try:
            return self.path(digest).stat().st_size == digest.size
        except OSError:
            return False


def _missing(digest: Digest) -> BlobMissing:
    return BlobMissing(Problem(f"{digest} is not in the cache", "run the command again to create it again"))


def _unreadable(path: Path, error: OSError) -> BlobDamaged:
    return BlobDamaged(of_system(error, f"{path} cannot be read"))


def _named_well(path: Path) -> bool:
    """Whether it can be a blob: a file, not a link, named by a digest, in the right folder."""
    name = path.name
    fits = len(name) == 64 and _HEX.issuperset(name) and path.parent.name == name[:2]
    return fits and path.is_file() and not path.is_symlink()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def make_folder(folder: Path) -> None:
    """Create a folder that nobody else can read, durably, unless it exists."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        raise named(error, folder) from error
    finally:
        os.close(handle)
