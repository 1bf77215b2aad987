"""Write a zip file front to back, hashing what is read and written on the way.

Python's zipfile goes back to complete a member's header, so its output must be read again for its digest. For stored
members with known times, the bytes are the same as zipfile's.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import BinaryIO
from zipfile import ZIP64_LIMIT, ZIP64_VERSION, ZIP_DEFLATED, ZIP_FILECOUNT_LIMIT, ZIP_STORED

from gdcbuild.core.digest import Blob, Digest
from gdcbuild.errors import BlobDamaged, Problem
from gdcbuild.files.content import beside, flushing, hash_and_crc, read_verified, refuse_other

FIRST, LAST = 315_532_800, 4_354_819_198
"""The first and last time that a zip file can express, in seconds since 1970, UTC."""

SMALL = 1 << 16
"""Bytes up to which passing a member to another thread takes longer than processing it."""

_VERSION = 20
_UNIX = 3
_MODE = (stat.S_IFREG | 0o644) << 16
_UTF8, _DESCRIPTOR = 0x800, 0x8
_ELSEWHERE = 0xFFFF_FFFF
"""Marks a number too large for its field; it is in the zip64 part instead."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A member's entry in the directory at the end."""

    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


class ZipWriter:
    """Write to an open file. Members are in the order in which they are added."""

    def __init__(self, file: BinaryIO, moment: int, deflate: bool) -> None:
        self._file = file
        year, month, day, hour, minute, second = time.gmtime(moment)[:6]
        self._time = (hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day)
        self._deflate = deflate
        self._hasher, self._offset = hashlib.sha256(), 0
        self._entries: list[_Entry] = []

    def add(self, name: str, blob: Blob) -> None:
        """Write one member. Raises BlobDamaged when its bytes do not match its digest."""
        small = read_verified(blob) if blob.digest.size <= SMALL else None
        # servers read front to back, so a stored member's checksum must come before its bytes
        crc = zlib.crc32(small) if small is not None else _crc(blob)
        flags = (0 if name.isascii() else _UTF8) | (_DESCRIPTOR if self._deflate else 0)
        method, size = (ZIP_DEFLATED if self._deflate else ZIP_STORED), blob.digest.size
        entry = _Entry(name.encode(), flags, method, crc, size, size, self._offset)
        self._local(replace(entry, crc=0, packed=0, size=0) if self._deflate else entry)
        start = self._offset
        if small is not None:
            self._pack((small,))
        else:
            self._copy(blob, crc)
        if self._deflate:
            entry = replace(entry, packed=self._offset - start)
            # readers choose between the long and the short form by the size they found
            form = "<4sLQQ" if max(entry.packed, size) > _ELSEWHERE else "<4sLLL"
            self._write(struct.pack(form, b"PK\7\x08", crc, entry.packed, size))
        self._entries.append(entry)

    def finish(self) -> Digest:
        """Write the directory; return the digest of the whole file."""
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
        self._file.write(data)
        self._count(data)

    def _count(self, data: bytes) -> None:
        self._hasher.update(data)
        self._offset += len(data)

    def _pack(self, pieces: Iterable[bytes]) -> None:
        """Write a member's bytes, deflated or stored."""
        if not self._deflate:
            for data in pieces:
                self._write(data)
            return
        compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        for data in pieces:
            self._write(compressor.compress(data))
        self._write(compressor.flush())

    def _copy(self, blob: Blob, crc: int) -> None:
        """Write a large blob's bytes: this thread hashes the archive, one thread writes, and one verifies the checksum.

        The checksum belongs to the blob's digest, so the blob's bytes need not be hashed again.
        """
        found = size = 0

        def check(data: bytes) -> None:
            nonlocal found, size
            found, size = zlib.crc32(data, found), size + len(data)

        with blob.open() as stream:
            if self._deflate:
                self._pack(beside(stream, check))
            else:
                flush = flushing(self._file)
                for data in beside(stream, check, lambda data: (self._file.write(data), flush(data))):
                    self._count(data)
        if (found, size) != (crc, blob.digest.size):
            raise BlobDamaged(Problem(f"{blob.digest} changed while it was read"))


def _crc(blob: Blob) -> int:
    """The CRC-32 of the blob: already known, or computed now while its digest is verified."""
    if blob.crc is not None:
        return blob.crc
    with blob.open() as stream:
        digest, crc = hash_and_crc(stream)
    refuse_other(blob, digest)
    return crc
