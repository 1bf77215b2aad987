"""Files that are read on and never back: what is packed with gzip, and what lies in a tar file. Bounded in time and memory.

What a header tells is not trusted: sizes end where the bytes do, and every part and member is paid for out of the budget.
"""

from __future__ import annotations

import io
import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from gdcbuild.frameworks.torchserve.layout import Unreadable
from gdcbuild.frameworks.torchserve.pickles import Budget

GZIP = b"\x1f\x8b"
FOREIGN = {b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""How files begin that are packed in a way that is not unpacked here."""

BLOCK = 512
MAX_HEADER = 64 << 10
"""Bytes of the longest name, or list of attributes, of a member of a tar file; they are held in memory."""

PART = 40
"""What a part of a gzip file, or a member of a tar file, costs, in opcodes of a pickle: it takes about that long."""

_CHECKSUM = re.compile(rb"[0-7]|^[\x80\xff]")
_PIECE = 64 << 10


class Ahead(io.RawIOBase):
    """A stream whose first bytes (`head`, a block of tar or all there is) are known before it is read."""

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


class Unpacked(io.RawIOBase):
    """What a gzip file holds, in however many parts. Reading raises Unreadable when it is damaged, or a bomb."""

    def __init__(self, stream: BinaryIO, budget: Budget) -> None:
        self._stream, self._budget = stream, budget
        self._packed = b""
        self._unpacker: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while len(buffer):  # zlib takes no room for all there is
            packed = self._packed or self._stream.read(_PIECE)
            if self._unpacker is None:
                if not packed:
                    return 0
                self._packed = packed.lstrip(b"\0")  # which may follow the last part
                if self._packed:
                    pay(self._budget)
                    self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
                continue
            try:
                data = self._unpacker.decompress(packed, len(buffer))
            except zlib.error as error:
                raise Unreadable(f"what is packed in it is damaged: {error}") from None
            self._packed = self._unpacker.unused_data or self._unpacker.unconsumed_tail
            if self._unpacker.eof:
                self._unpacker = None
            elif not (packed or data):
                raise Unreadable("what is packed in it is cut off")
            if data:
                self._budget.unpacked -= len(data)
                if self._budget.unpacked < 0:
                    raise Unreadable("it unpacks to more than is looked into")
                buffer[: len(data)] = data
                return len(data)
        return 0


def is_tar(head: bytes) -> bool:
    """Whether a file beginning with this block is a tar file, of any kind: its checksum is right."""
    if len(head) < BLOCK or not _CHECKSUM.search(head[148:156]):
        return False
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def members(stream: BinaryIO, budget: Budget) -> Iterator[tuple[str, BinaryIO]]:
    """Name and bytes of every file in a tar file; each can be read until the next is asked for. Raises Unreadable."""
    forward = _Forward(stream)
    try:
        with tarfile.TarFile(fileobj=cast(BinaryIO, forward), errorlevel=0) as tar:
            while (member := tar.next()) is not None:
                pay(budget)
                if member.issparse():
                    raise Unreadable(f"{member.name!r} in it is sparse")
                if not (member.isdir() or member.isdev() or member.islnk() or member.issym()):
                    forward.seek(member.offset_data)
                    yield member.name, cast(BinaryIO, _Member(forward, member.size))
                tar.members.clear()  # type: ignore[attr-defined]  # which it would collect
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"as a tar file it is damaged: {error}") from None
    if forward.last.strip(b"\0"):
        raise Unreadable("as a tar file it is damaged: something follows that is no member")


class _Forward:
    """The stream as `tarfile` reads it: its headers, and past all else."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._at = 0
        self.last = b""

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int) -> None:
        if offset < self._at:
            raise Unreadable("a member of it lies before the one before")
        while offset > self._at and self.take(min(_PIECE, offset - self._at)):
            pass

    def read(self, count: int) -> bytes:
        if not 0 <= count <= MAX_HEADER:
            raise Unreadable(f"the header of a member has {count} bytes")
        self.last = b""
        while len(self.last) < count and (more := self.take(count - len(self.last))):
            self.last += more
        return self.last

    def take(self, count: int) -> bytes:
        """Up to so many bytes."""
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
    """So many bytes, or all that are left."""
    data = b""
    while len(data) < count and (more := stream.read(count - len(data))):
        data += more
    return data


def pay(budget: Budget, steps: int = PART) -> None:
    """Take the price of something from the budget. Raises Unreadable when too little is left."""
    budget.steps -= steps
    if budget.steps < 0:
        raise Unreadable("it has more parts than are looked at")
