"""Read compressed files and tar files forward only, with bounded time and memory.

Trusts no header: sizes end where the bytes do, and every part and member is charged to the budget.
"""

from __future__ import annotations

import bz2
import io
import lzma
import re
import struct
import tarfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

from gdcbuild.frameworks.torchserve.mar.archive import GZIP_MAGIC
from gdcbuild.frameworks.torchserve.mar.layout import TAIL, UnreadableArchive
from gdcbuild.frameworks.torchserve.pickles.opcodes import Budget

_FOREIGN = (
    (rb"7z\xbc\xaf'\x1c", "7-Zip"),
    (rb"Rar!\x1a\x07", "RAR"),
    (rb"\x04\x22M\x18|\x02\x21L\x18", "lz4"),
    (rb"[\x1e-\x28]\xb5\x2f\xfd", "zstd"),
    (rb"[\x50-\x5f]\x2aM\x18", "lz4 or zstd"),
    (rb"\xff\x06\0\0sNaPpY", "snappy"),
    (rb"LZIP\x01", "lzip"),
    (rb"\x89LZO\0\r\n", "lzop"),
    (rb"\x1f\x9d[\x89-\x90]", "compress"),
    (rb"MSCF\0{4}", "cabinet"),
    (rb"ZF0x", "joblib 0.9"),
)
"""Starts of files in compression formats that Python's standard library does not support."""

BLOCK = 512
MAX_HEADER = 64 << 10
"""Longest name or attribute list in bytes of a tar file's member; they are held in memory."""

PART = 40
"""Cost of a part of a gzip file or a member of a tar file, in pickle opcodes: they take about as long."""

MAX_DICTIONARY = 100 << 20
"""Most bytes of memory for unpacking xz and LZMA; files from `xz -9` need two thirds of it."""

_CHECKSUM = re.compile(rb"[0-7]|^[\x80\xff]")
_PIECE = 64 << 10


class Broken(UnreadableArchive):
    """The compressed data cannot be read any further."""


class Ahead(io.RawIOBase):
    """A stream whose first bytes are known before it is read: `head`, a tar block or less if the stream is shorter."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.head = self._rest = _full(stream, BLOCK)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._rest[: len(buffer)] or self._stream.read(len(buffer))
        self._rest = self._rest[len(data) :]
        buffer[: len(data)] = data
        return len(data)


class Tail(io.RawIOBase):
    """A stream that remembers the last bytes read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._pieces: deque[bytes] = deque()
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._pieces.append(data)
        self._size += len(data)
        while self._size - len(self._pieces[0]) >= TAIL:
            self._size -= len(self._pieces.popleft())
        return len(data)

    def end(self) -> bytes:
        """Read the rest of the stream; return its last TAIL bytes."""
        while self.read(_PIECE):
            pass
        return b"".join(self._pieces)[-TAIL:]


class Unpacked(io.RawIOBase):
    """The content of a compressed file with any number of parts. Reading raises Broken for damage, or over the budget.

    `new` creates the decompressor for a part; `price` is its time relative to gzip.
    """

    def __init__(self, stream: BinaryIO, budget: Budget, new: Callable[[], Any], price: int) -> None:
        self._stream, self._budget, self._new, self._price = stream, budget, new, price
        self._packed = b""
        self._unpacker: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while len(buffer):  # decompressors need a limit, so they never unpack everything at once
            hungry = getattr(self._unpacker, "needs_input", True)  # zlib buffers nothing itself
            packed = self._packed or (self._stream.read(_PIECE) if hungry else b"")
            if self._unpacker is None:
                if not packed:
                    return 0
                self._packed = packed.lstrip(b"\0")  # zeros may follow the last part
                if self._packed:
                    pay(self._budget)
                    self._unpacker = self._new()
                continue
            try:
                data = self._unpacker.decompress(packed, len(buffer))
            except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
                raise Broken(f"it cannot be decompressed: {error}") from None
            self._packed = self._unpacker.unused_data or getattr(self._unpacker, "unconsumed_tail", b"")
            if self._unpacker.eof:
                self._unpacker = None
            elif hungry and not (packed or data):
                raise Broken("it cannot be decompressed: it is truncated")
            if data:
                self._budget.unpacked -= len(data) * self._price
                if self._budget.unpacked < 0:
                    raise Broken("it decompresses to more than gdcbuild searches")
                buffer[: len(data)] = data
                return len(data)
        return 0


def unpacked(stream: Ahead, budget: Budget) -> BinaryIO | None:
    """The content of a compressed file, None when it is not compressed. Raises UnreadableArchive for unsupported formats."""
    head = stream.head
    if head.startswith(GZIP_MAGIC):
        found = Unpacked(cast(BinaryIO, stream), budget, lambda: zlib.decompressobj(zlib.MAX_WBITS | 16), 1)
    elif _is_zlib(head):
        found = Unpacked(cast(BinaryIO, stream), budget, zlib.decompressobj, 1)
    elif _BZIP2.match(head):
        found = Unpacked(cast(BinaryIO, stream), budget, bz2.BZ2Decompressor, 8)
    elif head.startswith(b"\xfd7zXZ\0") or _is_lzma(head):
        found = Unpacked(cast(BinaryIO, stream), budget, lambda: lzma.LZMADecompressor(memlimit=MAX_DICTIONARY), 4)
    else:
        how = next((how for magic, how in _FOREIGN if re.match(magic, head, re.DOTALL)), None)
        if how:
            raise UnreadableArchive(f"it is compressed with {how}, which gdcbuild cannot read")
        return None
    return cast(BinaryIO, found)


_BZIP2 = re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)")


def _is_lzma(head: bytes) -> bool:
    """Whether a file is LZMA without a container, as Python recognises it.

    It has the default properties, a dictionary of 2^n or 3 * 2^n bytes, a size that is unknown or below 2^38, and a zero.
    """
    if len(head) < 14 or head[:1] != b"\x5d" or head[13]:
        return False
    dictionary, size = struct.unpack_from("<IQ", head, 1)
    lowest = dictionary & -dictionary
    return dictionary >= 4096 and dictionary in (lowest, 3 * lowest) and (0 < size < 1 << 38 or size == (1 << 64) - 1)


def _is_zlib(head: bytes) -> bool:
    """Whether a file is compressed with zlib. Two bytes often match by chance, so the following ones are decompressed."""
    if len(head) < 8 or head[:1] != b"x" or head[1] & 0x20 or int.from_bytes(head[:2], "big") % 31:
        return False
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(head)
    except zlib.error:
        return False
    return True


def is_tar(head: bytes) -> bool:
    """Whether a file starting with this block is a tar file of any kind: its checksum is right."""
    if len(head) < BLOCK or not _CHECKSUM.search(head[148:156]):
        return False
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def members(stream: BinaryIO, budget: Budget) -> Iterator[tuple[str, BinaryIO]]:
    """Name and stream of every file in a tar file; read each before the next one. Raises UnreadableArchive."""
    forward = _Forward(stream)
    try:
        with tarfile.TarFile(fileobj=cast(BinaryIO, forward), errorlevel=0) as tar:
            while (member := tar.next()) is not None:
                pay(budget)
                if member.issparse():
                    raise UnreadableArchive(f"its member {member.name!r} is sparse")
                if not (member.isdir() or member.isdev() or member.islnk() or member.issym()):
                    forward.seek(member.offset_data)
                    yield member.name, cast(BinaryIO, _Member(forward, member.size))
                tar.members.clear()  # type: ignore[attr-defined]  # otherwise it would keep all of them
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, UnreadableArchive):
            raise
        raise UnreadableArchive(f"it is a damaged tar file: {error}") from None
    rest = forward.last
    while rest:
        if rest.strip(b"\0"):
            raise UnreadableArchive("it is a damaged tar file: data follows its last member")
        rest = forward.take(_PIECE)


class _Forward:
    """The stream as `tarfile` reads it: headers are read, everything else is skipped."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._at = 0
        self.last = b""

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int) -> None:
        if offset < self._at:
            raise UnreadableArchive("its members are not in order")
        while offset > self._at and self.take(min(_PIECE, offset - self._at)):
            pass

    def read(self, count: int) -> bytes:
        if not 0 <= count <= MAX_HEADER:
            raise UnreadableArchive(f"the header of a member has {count} bytes")
        self.last = b""
        while len(self.last) < count and (more := self.take(count - len(self.last))):
            self.last += more
        return self.last

    def take(self, count: int) -> bytes:
        """Read up to `count` bytes."""
        data = self._stream.read(count)
        self._at += len(data)
        return data


class _Member(io.RawIOBase):
    def __init__(self, forward: _Forward, size: int) -> None:
        self._forward, self._left = forward, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._forward.take(max(0, min(len(buffer), self._left)))
        self._left -= len(data)
        buffer[: len(data)] = data
        return len(data)


def _full(stream: BinaryIO, count: int) -> bytes:
    """Read `count` bytes, or all that are left."""
    data = b""
    while len(data) < count and (more := stream.read(count - len(data))):
        data += more
    return data


def pay(budget: Budget, steps: int = PART) -> None:
    """Charge steps to the budget. Raises UnreadableArchive when too few are left."""
    budget.steps -= steps
    if budget.steps < 0:
        raise UnreadableArchive("it has more parts than gdcbuild searches")
