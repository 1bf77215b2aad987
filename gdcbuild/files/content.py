"""Reading and copying content: hashed and verified in the same pass, with as few copies as the file system allows."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from gdcbuild.core.digest import Blob, Digest
from gdcbuild.errors import BlobDamaged, Problem, named

if TYPE_CHECKING:
    from concurrent.futures import Future

    from _typeshed import WriteableBuffer

CHUNK = 1 << 20

_FICLONE = 0x4004_9409
"""FICLONE in linux/fs.h."""

_AHEAD = 4
"""Most pieces that the fastest consumer may be ahead of the slowest."""

_FLUSHED = 1 << 25
"""Bytes after which writing to disk is started."""


class FileReader(io.FileIO):
    """A file open for reading whose read errors name the file; the system names it only in errors of opening."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise self.failed(error) from error

    def readall(self) -> bytes:
        try:
            return super().readall()
        except OSError as error:
            raise self.failed(error) from error

    def failed(self, error: OSError) -> Exception:
        """The error to raise when the file cannot be read."""
        return named(error, str(self.name))


class FileBlob(NamedTuple):
    """A blob stored in a file."""

    digest: Digest
    path: Path
    crc: int | None = None

    def open(self) -> BinaryIO:
        return io.BufferedReader(FileReader(self.path))


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The stream's bytes in pieces of at most 1 MiB."""
    while data := stream.read(CHUNK):
        yield data


class Search:
    """Search for any of some byte strings in a stream passed to `look` piece by piece, also across the borders of pieces."""

    def __init__(self, *wanted: bytes) -> None:
        self.found = False
        self._wanted = wanted
        self._kept = max(map(len, wanted)) - 1
        self._end = b""

    def look(self, data: bytes) -> None:
        if self.found:
            return
        border = self._end + data[: self._kept]
        self.found = any(wanted in data or wanted in border for wanted in self._wanted)
        self._end = (self._end + data[-self._kept :])[-self._kept :]


def beside(stream: BinaryIO, *works: Callable[[bytes], object]) -> Iterator[bytes]:
    """The stream's bytes in pieces of at most 1 MiB; each of `works` also gets every piece, in order, in its own thread.

    When the iteration ends, all works are done. An exception in one of them ends it.
    """
    from collections import deque
    from concurrent.futures import ThreadPoolExecutor

    helpers = [ThreadPoolExecutor(1) for _ in works]
    busy: deque[list[Future[object]]] = deque()
    try:
        for data in chunks(stream):
            busy.append([helper.submit(work, data) for helper, work in zip(helpers, works, strict=True)])
            yield data
            while len(busy) > _AHEAD:
                _ended(busy.popleft())
        while busy:
            _ended(busy.popleft())
    finally:
        for helper in helpers:
            helper.shutdown(cancel_futures=True)


def _ended(futures: Iterable[Future[object]]) -> None:
    for future in futures:
        future.result()


def hash_stream(stream: BinaryIO, write: Callable[[bytes], object] | None = None) -> Digest:
    """Digest of the rest of the stream; each piece is also passed to `write`."""
    hasher, size = hashlib.sha256(), 0
    for data in chunks(stream):
        hasher.update(data)
        size += len(data)
        if write is not None:
            write(data)
    return Digest(hasher.hexdigest(), size)


def hash_and_crc(stream: BinaryIO) -> tuple[Digest, int]:
    """Digest and CRC-32 of the rest of the stream, computed in parallel."""
    hasher, size, crc = hashlib.sha256(), 0, 0

    def checksum(data: bytes) -> None:
        nonlocal crc
        crc = zlib.crc32(data, crc)

    for data in beside(stream, checksum):
        hasher.update(data)
        size += len(data)
    return Digest(hasher.hexdigest(), size), crc


def copy_verified(blob: Blob, write: Callable[[bytes], object]) -> None:
    """Write the blob's bytes; raise BlobDamaged if they do not match its digest."""
    with blob.open() as stream:
        refuse_other(blob, hash_stream(stream, write))


def place(blob: Blob, file: BinaryIO, seen: Callable[[bytes], object] = len) -> None:
    """Put the blob's bytes into an empty file that is also open for reading; raise BlobDamaged if they do not match its digest.

    Where the file system can share the blocks of the blob's own file, nothing is copied. `seen` gets each piece.
    """
    with blob.open() as source:
        if not _cloned(source, file):
            refuse_other(blob, hash_stream(source, lambda data: (file.write(data), seen(data))))
            return
    try:
        found = hash_stream(file, seen)
    except OSError:
        copy_verified(blob, len)  # the blocks are shared: if the blob itself cannot be read, this raises its error
        raise
    refuse_other(blob, found)


def flushing(file: BinaryIO) -> Callable[[bytes], object]:
    """A function to call with each piece written to the file; it starts writing to disk early, so the final sync waits less."""
    start, written = file.tell(), 0

    def begin(data: bytes) -> None:
        nonlocal start, written
        written += len(data)
        if written >= _FLUSHED:
            # for data not on disk yet this starts the write; hardly any of it leaves memory
            os.posix_fadvise(file.fileno(), start, written, os.POSIX_FADV_DONTNEED)
            start, written = start + written, 0

    return begin


def _cloned(source: BinaryIO, target: BinaryIO) -> bool:
    """Make the target share all blocks of the source; False where the file system cannot."""
    import fcntl

    try:
        fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
    except OSError:  # not supported, on two file systems, or the source is not a file
        return False
    return True


def refuse_other(blob: Blob, found: Digest) -> None:
    """Raise BlobDamaged when the bytes read from the blob have another digest."""
    if found != blob.digest:
        place = f" ({blob.path})" if isinstance(blob, FileBlob) else ""
        raise BlobDamaged(Problem(f"expected {blob.digest}, {blob.digest.size} bytes; read {found}, {found.size} bytes{place}"))


def read_verified(blob: Blob) -> bytes:
    """All bytes of a small blob, verified."""
    buffer = io.BytesIO()
    copy_verified(blob, buffer.write)
    return buffer.getvalue()
