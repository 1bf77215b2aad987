"""The content-addressed store on disk: `sha256/ab/abcd...`, plain read-only files named by their digest."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from gdcbuild.core.digest import Blob, Digest, FileBlob, hash_stream
from gdcbuild.errors import BlobMissing, Problem


class DiskCAS:
    """A CAS in a folder. A file is there under its digest whole or not at all, on disk before its name is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, digest: Digest) -> Path:
        return self._folder / digest.hash[:2] / digest.hash

    def missing(self, digests: Iterable[Digest]) -> set[Digest]:
        return {d for d in digests if not self._held(d)}

    def put(self, file: Path, digest: Digest | None = None) -> Digest:
        """Move a finished file of the same filesystem in; unless its digest is given it is read once, for that."""
        with file.open("rb") as stream:
            digest = digest or hash_stream(stream)
            os.fsync(stream.fileno())
        target = self.path(digest)
        if self._held(digest):
            os.utime(target)
            file.unlink()
            return digest
        target.parent.mkdir(parents=True, exist_ok=True)
        os.utime(file)  # whoever made it may have given it an old time
        file.chmod(0o444)
        file.replace(target)
        sync_folder(target.parent)
        return digest

    def get(self, digest: Digest) -> Blob:
        path = self.path(digest)
        try:
            if path.stat().st_size == digest.size:
                os.utime(path)  # when it was last used is what a collection goes by
                return FileBlob(digest, path)
        except FileNotFoundError:
            pass
        raise BlobMissing(Problem(f"{digest} is not in the cache", "run the command again: it is made anew"))

    def discard(self, digest: Digest) -> None:
        self.path(digest).unlink(missing_ok=True)

    def all(self) -> Iterator[FileBlob]:
        """Every blob that is held, by the digest its name claims."""
        for path in sorted(self._folder.glob("[0-9a-f][0-9a-f]/*")):
            yield FileBlob(Digest(path.name, path.stat().st_size), path)

    def _held(self, digest: Digest) -> bool:
        try:
            return self.path(digest).stat().st_size == digest.size
        except OSError:
            return False


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
