"""Read protocol buffers without their definitions: varints, fixed numbers, length-delimited fields.

Seeks past fields that are not needed, so a file of 2 GB takes no more memory than a small one.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import BinaryIO

MAX_TEXT = 1 << 16
"""Longest name in bytes that is read; TensorFlow's own are far shorter."""

MAX_FIELDS = 1_000_000
"""Most fields read from one file, which takes seconds. A real file has hundreds."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}


class Malformed(ValueError):
    """The bytes are not valid; the message says what is wrong, and where."""


class TooLarge(Malformed):
    """The file has more content than is read, and more than any real file has."""


def varint(stream: BinaryIO, end: int) -> int:
    """The number at the stream's position, as an unsigned 64-bit integer. It must not extend past `end`."""
    value = shift = 0
    while True:
        at = stream.tell()
        byte = stream.read(1)
        if at >= end or not byte:
            raise Malformed(f"truncated at byte {at}")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF
        shift += 7
        if shift >= 70:
            raise Malformed(f"the number at byte {at - 9} is too long")


class Wire:
    """A seekable stream, and the number of fields that may still be read from it."""

    def __init__(self, stream: BinaryIO, left: int | None = None) -> None:
        self.stream = stream
        self.left = MAX_FIELDS if left is None else left

    def message(self) -> Message:
        """The whole stream as one message."""
        return Message(self, 0, self.stream.seek(0, io.SEEK_END))


@dataclass(frozen=True, slots=True)
class Message:
    """A part of the stream that is one message, or bytes."""

    wire: Wire
    start: int
    end: int

    def fields(self) -> Iterator[tuple[int, int | Message]]:
        """Number and value of every field: an unsigned int, or a Message for a length-delimited field."""
        position, stream = self.start, self.wire.stream
        while position < self.end:
            self.wire.left -= 1
            if self.wire.left < 0:
                raise TooLarge(f"more than {MAX_FIELDS:,} fields")
            stream.seek(position)
            key = varint(stream, self.end)
            number, kind = key >> 3, key & 7
            value: int | Message
            if kind == _VARINT:
                value = varint(stream, self.end)
                after = stream.tell()
            elif kind == _BYTES:
                length = varint(stream, self.end)
                after = stream.tell() + length
                value = Message(self.wire, after - length, after)
            elif kind in _FIXED:
                after = stream.tell() + _FIXED[kind]
                value = int.from_bytes(stream.read(_FIXED[kind]), "little")
            else:
                raise Malformed(f"the field at byte {position} has the unknown type {kind}")
            if number == 0 or after > self.end:
                raise Malformed(f"the field at byte {position} is damaged or truncated")
            yield number, value
            position = after

    def messages(self, wanted: int) -> Iterator[Message]:
        """The length-delimited fields with that number."""
        return (value for number, value in self.fields() if number == wanted and isinstance(value, Message))

    def follow(self, *wanted: int) -> Iterator[Message]:
        """The length-delimited fields at a path of numbers, from the outermost to the innermost."""
        found = iter([self])
        for number in wanted:
            found = chain.from_iterable(map(partial(Message.messages, wanted=number), found))
        return found

    def first_text(self, wanted: int) -> str:
        """The first occurrence of the field as text, "" when it is missing; reads no further."""
        return next((message.text() for message in self.messages(wanted)), "")

    def text_of(self, wanted: int) -> str:
        """The field as text, "" when it is missing; the last of several counts, as in protobuf."""
        text = ""
        for message in self.messages(wanted):
            text = message.text()
        return text

    def text(self) -> str:
        if self.end - self.start > MAX_TEXT:
            raise Malformed(f"the name at byte {self.start} has {self.end - self.start} bytes")
        self.wire.stream.seek(self.start)
        return self.wire.stream.read(self.end - self.start).decode(errors="replace")
