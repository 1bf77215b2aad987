"""Read a sorted string table, the format of `variables.index`: LevelDB's, as TensorFlow writes it.

A footer with a magic number points to the index block. Each block has a checksum, and its keys leave out the prefix they
share with the key before. Nothing in the file can cause the same bytes to be read twice, or more than one block to be held
in memory.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

from gdcbuild.frameworks.tensorflow.wire import MAX_TEXT, Malformed, TooLarge, varint

MAX_BLOCK = 1 << 24
"""Largest block in bytes; TensorFlow starts a new one at 256 KiB."""

MAX_NAMES = 1 << 26
"""Bytes of all keys together, plus some for each row: enough for 400,000 tensors with names of 100 bytes."""

_PER_ROW = 64
_FOOTER, _TRAILER = 48, 5
_MAGIC = bytes.fromhex("57fb808b247547db")


def masked(crc: int) -> int:
    """A CRC-32C as it is stored: masked, so that a checksum over data that contains checksums stays reliable."""
    return ((crc >> 15 | crc << 17) + 0xA282_EAD8) & 0xFFFF_FFFF


def rows(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a seekable stream, in ascending order. Raises Malformed with TensorFlow's message."""
    size = stream.seek(0, io.SEEK_END)
    if size < _FOOTER:
        raise Malformed("file is too short to be an sstable")
    stream.seek(size - _FOOTER)
    footer = io.BytesIO(stream.read(_FOOTER))
    if not footer.getvalue().endswith(_MAGIC):
        raise Malformed("not an sstable (bad magic number)")
    _handle(footer)  # of the meta index block, which is always empty
    last, left, least = None, MAX_NAMES, 0
    for end, handle in _block(stream, *_handle(footer)):
        start, length = _handle(io.BytesIO(handle))
        if start < least:
            raise Malformed(f"bad block handle: the block at byte {start} overlaps the one before")
        least = start + length
        for key, value in _block(stream, start, length):
            left -= len(key) + _PER_ROW
            if left < 0:
                raise TooLarge(f"its names take more than {MAX_NAMES >> 20} MiB")
            if (last is not None and key <= last) or key > end:
                raise Malformed(f"bad entry in block: its keys are not in order at {key[:100]!r}")
            last = key
            yield key, value


def _handle(stream: BinaryIO) -> tuple[int, int]:
    """Start and length of a block."""
    try:
        return varint(stream, _FOOTER), varint(stream, _FOOTER)
    except Malformed as error:
        raise Malformed("bad block handle") from error


def _block(stream: BinaryIO, start: int, length: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block, which holds the rows, the offsets of rows with a complete key, and their number."""
    from google_crc32c import value as crc32c

    if length > MAX_BLOCK:
        raise Malformed(f"bad block handle: a block of {length} bytes")
    stream.seek(min(start, 1 << 62))
    data = stream.read(length + _TRAILER)
    if len(data) < length + _TRAILER:
        raise Malformed("truncated block read")
    if masked(crc32c(data[: length + 1])) != int.from_bytes(data[length + 1 :], "little"):
        raise Malformed("block checksum mismatch")
    if data[length]:
        raise Malformed("bad block type: compressed, which TensorFlow never writes")
    end = length - 4 - 4 * int.from_bytes(data[length - 4 : length], "little") if length >= 4 else -1
    if end < 0:
        raise Malformed("bad block contents")
    block, key = io.BytesIO(data), b""
    while (at := block.tell()) < end:
        try:
            shared, own, size = (varint(block, end) for _ in range(3))
        except Malformed as error:
            raise Malformed(f"bad entry in block: {error}") from error
        if shared > len(key) or shared + own > MAX_TEXT or own + size > end - block.tell():
            raise Malformed(f"bad entry in block: wrong lengths at byte {at} of the block")
        key = key[:shared] + block.read(own)
        yield key, block.read(size)
