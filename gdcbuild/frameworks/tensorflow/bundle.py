"""Read the variables of a SavedModel without TensorFlow: an index of tensors, and the files with their bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Literal, NamedTuple, TypeAlias

from gdcbuild.core.digest import Blob
from gdcbuild.files.content import CHUNK
from gdcbuild.frameworks.tensorflow.sstable import masked, rows
from gdcbuild.frameworks.tensorflow.wire import MAX_FIELDS, Malformed, Message, Wire

INDEX = "variables/variables.index"

Order: TypeAlias = Literal["little", "big"]

_AT_ONCE = 1 << 16
_MAX_DIMENSIONS = 254
_STRING, _VARIANT = 7, 21
_WIDTHS = {
    **dict.fromkeys((4, 6, 10, 11, 12, 24, 25), 1),  # 8 bit integers and floats, bool
    **dict.fromkeys((5, 14, 15, 16, 17, 19), 2),  # 16 bit integers, bfloat16, half
    **dict.fromkeys((1, 3, 13, 22), 4),  # float, 32 bit integers
    **dict.fromkeys((2, 8, 9, 23), 8),  # double, complex64, 64 bit integers
    18: 16,  # complex128
}
"""Bytes per element, by data type number. Strings and variants have no fixed length; newer types are not checked."""


class Damage(NamedTuple):
    """What is wrong with a file, and TensorFlow's error when it reads the file."""

    file: str
    what: str
    said: str = ""


class Tensor(NamedTuple):
    """An entry of the index: where the bytes of a tensor are, and their checksum."""

    name: str
    kind: int
    elements: int
    shard: int
    offset: int
    size: int
    crc: int


class Index(NamedTuple):
    """The content of the index. `order` is the byte order of the machine that wrote it.

    `names` also has tensors stored in slices; `tensors` has each slice instead.
    """

    shards: int
    order: Order
    names: set[str]
    tensors: list[Tensor]

    def files(self) -> dict[str, list[Tensor]]:
        """File path → its tensors."""
        found: dict[str, list[Tensor]] = {}
        for tensor in self.tensors:
            found.setdefault(f"variables/variables.data-{tensor.shard:05}-of-{self.shards:05}", []).append(tensor)
        return found


def read(stream: BinaryIO) -> Index:
    """Read the index from a seekable stream. Raises Malformed."""
    entries = rows(stream)
    key, value = next(entries, (b"", None))
    if key or value is None:
        raise Malformed("failed to seek to header entry")
    header = {number: found for number, found in Wire(io.BytesIO(value)).message().fields() if isinstance(found, int)}
    names, tensors, left = set(), [], MAX_FIELDS
    for key, value in entries:
        name, wire = key.decode(errors="replace"), Wire(io.BytesIO(value), left)
        names.add(name)
        tensor = _tensor(name, wire.message())
        left = wire.left
        if tensor is not None:
            tensors.append(tensor)
    return Index(header.get(1, 0), "big" if header.get(2) else "little", names, tensors)


def _tensor(name: str, entry: Message) -> Tensor | None:
    """The tensor of an entry; None for a tensor whose slices have their own entries."""
    found = dict.fromkeys((1, 3, 4, 5, 6), 0)
    elements = 1
    for number, value in entry.fields():
        match number, value:
            case 7, _:
                return None
            case 2, Message():
                elements = _elements(name, value)
            case _, int():
                found[number] = value
    kind, shard, offset, size, crc = (found[number] for number in (1, 3, 4, 5, 6))
    if kind in _WIDTHS and size != elements * _WIDTHS[kind]:
        raise Malformed(
            f"Invalid size in bundle entry: key {name}; stored size {size}; expected size {elements * _WIDTHS[kind]}"
        )
    return Tensor(name, kind, elements, shard, offset, size, crc)


def _elements(name: str, shape: Message) -> int:
    sizes = []
    for dimension in shape.messages(2):
        sizes.append(next((size for number, size in dimension.fields() if number == 1 and isinstance(size, int)), 0))
        if sizes[-1] >= 1 << 63 or len(sizes) > _MAX_DIMENSIONS:
            raise Malformed(f"Invalid tensor shape: {name}")
    return math.prod(sizes)


def faults(index: Index, artifact: Mapping[str, Blob]) -> Iterator[Damage]:
    """Damage to the files with the tensors. Reads each file once; ignores missing files."""
    for file, tensors in index.files().items():
        if file in artifact:
            yield from _shard(file, artifact[file], sorted(tensors, key=lambda t: (t.offset, t.size)), index.order)


def _shard(file: str, blob: Blob, tensors: list[Tensor], order: Order) -> Iterator[Damage]:
    needed, size = max(t.offset + t.size for t in tensors), blob.digest.size
    if size < needed:
        yield Damage(file, f"has {size:,} bytes, but {INDEX} needs {needed:,}", "Read less bytes than requested")
        return
    wrong, end = [], 0
    with blob.open() as stream:
        for tensor in tensors:
            if tensor.offset < end:
                yield Damage(INDEX, f"is damaged: {tensor.name} overlaps another tensor")
                return
            end = tensor.offset + tensor.size
            stream.seek(tensor.offset)
            try:
                crc = _checksum(_Span(stream, tensor.size), tensor, order)
            except Malformed:
                crc = -1
            if masked(crc) != tensor.crc:
                wrong.append(tensor.name)
    if wrong:
        what = f"does not match {INDEX}: the checksums of {len(wrong)} of its {len(tensors)} tensors differ"
        yield Damage(file, f"{what} ({some(wrong)})", "Checksum does not match")


class _Span:
    """The next `left` bytes of a stream, and the checksum of what was added."""

    def __init__(self, stream: BinaryIO, left: int) -> None:
        from google_crc32c import extend

        self._stream = stream
        self._extend = extend
        self.left = left
        self.crc = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, self.left))
        if len(data) < size:
            raise Malformed("truncated")
        self.left -= size
        return data

    def add(self, data: bytes) -> None:
        self.crc = self._extend(self.crc, data)

    def add_next(self, size: int) -> None:
        """Add the next bytes unchanged."""
        while size > 0:
            self.add(self.read(min(size, CHUNK)))
            size -= CHUNK

    def agrees(self, order: Order) -> bool:
        """Whether the checksum so far equals the next 4 bytes, which are then added."""
        data, crc = self.read(4), self.crc
        self.add(data)
        return int.from_bytes(data, order) == masked(crc)

    def lengths(self, count: int) -> Iterator[list[int]]:
        """The next `count` varints, in batches. Each has at least one byte, so `count` bytes can be read at once."""
        value = shift = 0
        while count:
            found = []
            for byte in self.read(min(count, _AT_ONCE)):
                value |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    found.append(value)
                    value = shift = 0
                elif shift >= 70:
                    raise Malformed("a length is too long")
            count -= len(found)
            yield found


def _checksum(span: _Span, tensor: Tensor, order: Order) -> int:
    """The checksum of a tensor. TensorFlow computes it with the lengths of strings and variants as fixed-size numbers."""
    if tensor.kind == _STRING and tensor.size:
        total = 0
        for lengths in span.lengths(tensor.elements):
            total += sum(lengths)
            span.add(b"".join(length.to_bytes(4 if length < 1 << 32 else 8, order) for length in lengths))
        if not span.agrees(order) or total != span.left:
            raise Malformed("the lengths of its strings are damaged")
    elif tensor.kind == _VARIANT:
        for _ in range(tensor.elements):
            ((length,),) = filter(None, span.lengths(1))
            span.add(length.to_bytes(8, order))
            span.add_next(length)
            if not span.agrees(order):
                raise Malformed("a variant is damaged")
    span.add_next(span.left)
    return span.crc


def some(names: list[str]) -> str:
    """At most five of the names, for a message."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "none"
