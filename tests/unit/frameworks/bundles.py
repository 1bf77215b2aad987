"""Write variables as TensorFlow does, and damaged in ways it never would: sorted string tables and tensor bundles."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from google_crc32c import value as crc32c

INDEX = "variables/variables.index"
SHARD = "variables/variables.data-00000-of-00001"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"
FLOAT, STRING, VARIANT = 1, 7, 21


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def mask(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def fixed(number: int) -> bytes:
    return struct.pack("<I", number)


def block(rows: Iterable[tuple[bytes, bytes]], kind: int = 0) -> bytes:
    """A block and its trailer. Every key shares its longest prefix with the key before."""
    out, before = b"", b""
    for key, value in rows:
        shared = next((n for n, (a, b) in enumerate(zip(before, key, strict=False)) if a != b), min(len(before), len(key)))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return sealed(out + fixed(0) + fixed(1), kind)


def sealed(content: bytes, kind: int = 0) -> bytes:
    data = content + bytes([kind])
    return data + fixed(mask(crc32c(data)))


def handle(start: int, length: int) -> bytes:
    return varint(start) + varint(length)


def footer(index_start: int, index_length: int) -> bytes:
    return (handle(0, 0) + handle(index_start, index_length)).ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def table(*blocks: bytes, ends: Sequence[bytes] = (b"\xff" * 9,)) -> bytes:
    """A file of blocks, the block that lists them under keys no smaller than theirs, and the footer."""
    data, listed = b"", []
    for end, each in zip(ends, blocks, strict=False):
        listed.append((end, handle(len(data), len(each) - 5)))
        data += each
    index = block(listed)
    return data + index + footer(len(data), len(index) - 5)


class Tensor(NamedTuple):
    """A tensor to write. `data` are its bytes in the file, `crc` their checksum, not masked."""

    data: bytes
    shape: tuple[int, ...]
    kind: int = FLOAT
    crc: int | None = None


def floats(*numbers: float) -> Tensor:
    return Tensor(struct.pack(f"<{len(numbers)}f", *numbers), (len(numbers),))


def strings(*texts: bytes, order: str = "<") -> Tensor:
    """Lengths, their checksum, and the texts; the checksum of all has the lengths as fixed numbers."""
    crc = crc32c(b"".join(struct.pack(f"{order}I", len(text)) for text in texts))
    checked = struct.pack(f"{order}I", mask(crc))
    summed = b"".join(struct.pack(f"{order}I", len(text)) for text in texts) + checked + b"".join(texts)
    lengths = b"".join(varint(len(text)) for text in texts)
    return Tensor(lengths + checked + b"".join(texts), (len(texts),), STRING, crc32c(summed))


def variants(*messages: bytes) -> Tensor:
    """Each with its length before it, and after it a checksum of everything so far."""
    data = summed = b""
    for message in messages:
        summed += struct.pack("<Q", len(message)) + message
        checked = fixed(mask(crc32c(summed)))
        data, summed = data + varint(len(message)) + message + checked, summed + checked
    return Tensor(data, (len(messages),), VARIANT, crc32c(summed))


def entry(tensor: Tensor, shard: int, offset: int, size: int | None = None) -> bytes:
    shape = b"".join(field(2, field(1, n)) for n in tensor.shape)
    place = field(3, shard) + field(4, offset) + field(5, len(tensor.data) if size is None else size)
    crc = crc32c(tensor.data) if tensor.crc is None else tensor.crc
    return field(1, tensor.kind) + field(2, shape) + place + b"\x35" + fixed(mask(crc))


def header(shards: int = 1, order: str = "<") -> bytes:
    return field(1, shards) + (field(2, 1) if order == ">" else b"") + field(3, field(1, 1))


def bundle(tensors: Mapping[str, Tensor], shards: int = 1, order: str = "<") -> dict[str, bytes]:
    """The files below variables/: an index of two blocks, and the tensors spread over the data files."""
    data = [b""] * shards
    rows = [(b"", header(shards, order))]
    for number, (name, tensor) in enumerate(sorted(tensors.items())):
        shard = number % shards
        assert tensor.kind != FLOAT or len(tensor.data) == 4 * math.prod(tensor.shape)
        rows.append((name.encode(), entry(tensor, shard, len(data[shard]))))
        data[shard] += tensor.data
    index = table(block(rows[:2]), block(rows[2:]), ends=[rows[1][0], b"~"]) if len(rows) > 2 else table(block(rows))
    return {INDEX: index, **{f"variables/variables.data-{n:05}-of-{shards:05}": each for n, each in enumerate(data)}}


def records(*messages: bytes) -> bytes:
    """A file of records: each with its length before and the checksum of both."""
    data = b""
    for message in messages:
        length = struct.pack("<Q", len(message))
        data += length + fixed(mask(crc32c(length))) + message + fixed(mask(crc32c(message)))
    return data
