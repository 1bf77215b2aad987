"""Writes a zip file front to back, and hashes what it reads and what it writes on the way.

Python's zipfile goes back to complete a member's header, so that its output must be read again for its digest; and it
hashes nothing. For stored members of known times the bytes here are the ones it would write.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import BinaryIO
from zipfile import ZIP64_LIMIT, ZIP64_VERSION, ZIP_DEFLATED, ZIP_FILECOUNT_LIMIT, ZIP_STORED

from gdcbuild.core.digest import Blob, BytesBlob, Digest, chunks, read_verified, refuse_other
from gdcbuild.errors import BlobDamaged, Problem

FIRST, LAST = 315_532_800, 4_354_819_198
"""The first and the last moment that a zip file can tell, in seconds since 1970, UTC."""

SMALL = 1 << 16
"""Bytes up to which handing a member over to another thread takes longer than the work on it."""

_VERSION = 20
_UNIX = 3
_MODE = (stat.S_IFREG | 0o644) << 16
_UTF8, _DESCRIPTOR = 0x800, 0x8
_ELSEWHERE = 0xFFFF_FFFF
"""A number too large for its place, which stands in the zip64 part instead."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A member as the directory at the end tells of it."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


class ZipWriter:
    """A context manager around a file that is open for writing. Members come in the order they are added."""

    def __init__(self, file: BinaryIO, moment: int, deflate: bool) -> None:
        self._file = file
        year, month, day, hour, minute, second = time.gmtime(moment)[:6]
        self._time = (hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day)
        self._deflate = deflate
        self._hasher, self._offset = hashlib.sha256(), 0
        self._entries: list[_Entry] = []
        self._stack = ExitStack()

    def __enter__(self) -> ZipWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @cached_property
    def _helper(self) -> ThreadPoolExecutor:
        """While one core hashes, another one checks and writes: for what is larger than one piece."""
        return self._stack.enter_context(ThreadPoolExecutor(1))

    def add(self, name: str, blob: Blob) -> None:
        """Write one member. Raises BlobDamaged when its bytes are not those of its digest."""
        if blob.digest.size <= SMALL:
            blob = BytesBlob(read_verified(blob))  # read once, and all in this thread
        # Servers read front to back, so that a stored member's checksum stands before its bytes: they are read twice.
        crc = self._verified(blob)
        flags = (0 if name.isascii() else _UTF8) | (_DESCRIPTOR if self._deflate else 0)
        method, size = (ZIP_DEFLATED if self._deflate else ZIP_STORED), blob.digest.size
        entry = _Entry(name.encode(), flags, method, crc, size, size, self._offset)
        self._local(replace(entry, crc=0, packed=0, size=0) if self._deflate else entry)
        start = self._offset
        if self._copy(blob) != crc:
            raise BlobDamaged(Problem(f"{name} has changed while it was read"))
        if self._deflate:
            entry = replace(entry, packed=self._offset - start)
            # readers tell the long form from the short one by the size they found
            form = "<4sLQQ" if max(entry.packed, size) > _ELSEWHERE else "<4sLLL"
            self._write(struct.pack(form, b"PK\7\x08", crc, entry.packed, size))
        self._entries.append(entry)

    def finish(self) -> Digest:
        """Write the directory; returns the digest of all that was written."""
        start = self._offset
        for entry in self._entries:
            self._central(entry)
        count, size = len(self._entries), self._offset - start
        if count > ZIP_FILECOUNT_LIMIT or start > ZIP64_LIMIT or size > ZIP64_LIMIT:
            end = self._offset
            fields = (44, ZIP64_VERSION, ZIP64_VERSION, 0, 0, count, count, size, start)
            self._write(struct.pack("<4sQHHLLQQQQ", b"PK\6\6", *fields))
            self._write(struct.pack("<4sLQL", b"PK\6\7", 0, end, 1))
            count, size, start = min(count, 0xFFFF), min(size, _ELSEWHERE), min(start, _ELSEWHERE)
        self._write(struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, count, count, size, start, 0))
        return Digest(self._hasher.hexdigest(), self._offset)

    def _local(self, entry: _Entry) -> None:
        large = max(entry.packed, entry.size) > ZIP64_LIMIT
        extra = struct.pack("<HHQQ", 1, 16, entry.size, entry.packed) if large else b""
        packed, size = (_ELSEWHERE, _ELSEWHERE) if large else (entry.packed, entry.size)
        head = (ZIP64_VERSION if large else _VERSION, entry.flags, entry.method, *self._time, entry.crc, packed, size)
        self._write(struct.pack("<4sHHHHHLLLHH", b"PK\3\4", *head, len(entry.name), len(extra)) + entry.name + extra)

    def _central(self, entry: _Entry) -> None:
        extra = b""
        packed, size, offset = entry.packed, entry.size, entry.offset
        if max(packed, size) > ZIP64_LIMIT:
            extra, packed, size = struct.pack("<QQ", size, packed), _ELSEWHERE, _ELSEWHERE
        if offset > ZIP64_LIMIT:
            extra, offset = extra + struct.pack("<Q", offset), _ELSEWHERE
        if extra:
            extra = struct.pack("<HH", 1, len(extra)) + extra
        version = ZIP64_VERSION if extra else _VERSION
        made = (version, _UNIX, version, entry.flags, entry.method, *self._time, entry.crc, packed, size)
        rest = (len(entry.name), len(extra), 0, 0, 0, _MODE, offset)
        self._write(struct.pack("<4sBBHHHHHLLLHHHHHLL", b"PK\1\2", *made, *rest) + entry.name + extra)

    def _write(self, data: bytes) -> None:
        self._hasher.update(data)
        self._file.write(data)
        self._offset += len(data)

    def _verified(self, blob: Blob) -> int:
        """The CRC-32 of the blob's bytes. Raises BlobDamaged when they are not those of its digest."""
        found, size, crc = hashlib.sha256(), 0, _Crc()
        for data in self._beside(blob, crc.update):
            found.update(data)
            size += len(data)
        refuse_other(blob, Digest(found.hexdigest(), size))
        return crc.value

    def _copy(self, blob: Blob) -> int:
        """Write the blob's bytes, deflated or as they are; returns their CRC-32."""
        crc = _Crc()
        if self._deflate:
            compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            for data in self._beside(blob, crc.update):
                self._write(compressor.compress(data))
            self._write(compressor.flush())
        else:

            def aside(data: bytes) -> None:
                crc.update(data)
                self._file.write(data)

            for data in self._beside(blob, aside):
                self._hasher.update(data)
                self._offset += len(data)
        return crc.value

    def _beside(self, blob: Blob, work: Callable[[bytes], object]) -> Iterator[bytes]:
        """The blob's bytes in pieces; while the caller has one, the helper does its `work` on the same."""
        if isinstance(blob, BytesBlob):
            work(blob.data)
            yield blob.data
            return
        busy: Future[object] | None = None
        with blob.open() as stream:
            for data in chunks(stream):
                if busy is not None:
                    busy.result()
                busy = self._helper.submit(work, data)
                yield data
        if busy is not None:
            busy.result()


class _Crc:
    """A CRC-32 as bytes come in."""

    value = 0

    def update(self, data: bytes) -> None:
        self.value = zlib.crc32(data, self.value)
