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
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO
from zipfile import ZIP64_LIMIT, ZIP64_VERSION, ZIP_DEFLATED, ZIP_FILECOUNT_LIMIT, ZIP_STORED

from gdcbuild.core.digest import Blob, Digest, chunks, refuse_other
from gdcbuild.errors import BlobDamaged, Problem

FIRST, LAST = 315_532_800, 4_354_819_198
"""The first and the last moment that a zip file can tell, in seconds since 1970, UTC."""

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
        # a second core reads and writes while the first hashes
        self._helper = self._stack.enter_context(ThreadPoolExecutor(1))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def add(self, name: str, blob: Blob) -> None:
        """Write one member. Raises BlobDamaged when its bytes are not those of its digest."""
        plain, encoded = name.isascii(), name.encode()
        flags = (0 if plain else _UTF8) | (_DESCRIPTOR if self._deflate else 0)
        offset = self._offset
        if self._deflate:
            self._local(_Entry(encoded, flags, ZIP_DEFLATED, 0, 0, 0, offset))
            start = self._offset
            crc = self._copy(blob, zlib.compressobj(wbits=-zlib.MAX_WBITS))
            entry = _Entry(encoded, flags, ZIP_DEFLATED, crc, self._offset - start, blob.digest.size, offset)
            # readers tell the long form from the short one by the size they found
            form = "<4sLQQ" if max(entry.packed, entry.size) > _ELSEWHERE else "<4sLLL"
            self._write(struct.pack(form, b"PK\7\x08", crc, entry.packed, entry.size))
        else:
            # A server reads front to back, so what is stored must say its checksum before its bytes: they are read twice.
            entry = _Entry(encoded, flags, ZIP_STORED, _crc(blob), blob.digest.size, blob.digest.size, offset)
            self._local(entry)
            if self._copy(blob) != entry.crc:
                raise BlobDamaged(Problem(f"{name} has changed while it was read"))
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
        self._offset += self._file.write(data)

    def _copy(self, blob: Blob, compressor: zlib._Compress | None = None) -> int:
        """Write the blob's bytes, deflated or as they are, and return their CRC-32. Raises BlobDamaged."""
        found, size, crc = hashlib.sha256(), 0, 0
        busy: Future[None] | None = None

        def aside(data: bytes, packed: bytes) -> None:
            found.update(data)
            self._file.write(packed)

        with blob.open() as stream:
            for data in chunks(stream):
                packed = compressor.compress(data) if compressor else data
                if busy is not None:
                    busy.result()
                busy = self._helper.submit(aside, data, packed)
                crc = zlib.crc32(data, crc)
                self._hasher.update(packed)
                size += len(data)
                self._offset += len(packed)
        if busy is not None:
            busy.result()
        if compressor:
            self._write(compressor.flush())
        refuse_other(blob, Digest(found.hexdigest(), size))
        return crc


def _crc(blob: Blob) -> int:
    crc = 0
    with blob.open() as stream:
        for data in chunks(stream):
            crc = zlib.crc32(data, crc)
    return crc
