"""Read the headers of a zip file, and refuse a file that two programs could read differently.

`zipfile`, and so gdcbuild, reads the directory at the end of the file. TorchServe reads from the start, by the header before
each member. What gdcbuild checks must be what TorchServe unpacks: members must follow each other without gaps from the first
byte to the directory, and both headers of each member must agree.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_DIRECTORY = 32 << 20
"""Largest directory in bytes that is read; it is held in memory."""

_END, _END64, _LOCATOR64 = struct.Struct("<4s4H2IH"), struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI")
_CENTRAL, _LOCAL = struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s5H3I2H")
_MAX_COMMENT = 0xFFFF
TAIL = _END.size + _MAX_COMMENT
"""Bytes at the end of a file that are searched for the end record."""

_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF

_ENCRYPTED, _DESCRIPTOR, _UTF8 = 0x1, 0x8, 0x800
_STORED, _DEFLATED = 0, 8
_MEANINGFUL = _ENCRYPTED | _DESCRIPTOR | _UTF8
"""The flags that affect how a member is read."""

_ZIP64, _UNICODE_PATH = 0x0001, 0x7075


class UnreadableArchive(ValueError):
    """The archive is damaged, ambiguous or unsafe; the message says why."""


class ArchiveTooLarge(UnreadableArchive):
    """The archive may be valid, but is too large to check."""


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A member's entry in the directory. Sizes are in bytes; `offset` is that of the member's own header."""

    raw: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int

    @property
    def name(self) -> str:
        return self.raw.decode("utf-8", "backslashreplace")


def check_layout(stream: BinaryIO, size: int, max_members: int) -> None:
    """Raise UnreadableArchive unless the `size` bytes of `stream` are one archive that every program reads the same way.

    Reads headers only. Holds at most the directory in memory, and trusts no size in a header.
    """
    start, end, count = _directory(stream, size)
    if count > max_members:
        raise ArchiveTooLarge(f"it has {count} members, more than the limit of {max_members}")
    if end - start > MAX_DIRECTORY:
        raise ArchiveTooLarge(f"its directory has {end - start} bytes, more than the limit of {MAX_DIRECTORY >> 20} MiB")
    stream.seek(start)
    entries = list(_entries(_exactly(stream, end - start, "the directory"), count))
    for entry in entries:
        if entry.offset + _LOCAL.size > start:
            raise UnreadableArchive(f"{entry.name!r} starts in or after the directory")
    position, before = 0, "the start"
    for entry in sorted(entries, key=lambda e: e.offset):
        if entry.offset < position:
            raise UnreadableArchive(f"{entry.name!r} overlaps {before}")
        if entry.offset > position:
            raise UnreadableArchive(f"{entry.offset - position} bytes between {before} and {entry.name!r} belong to no member")
        position, before = _end_of_member(stream, entry, start), repr(entry.name)
    if position != start:
        raise UnreadableArchive(f"{start - position} bytes between {before} and the directory belong to no member")


def is_zip(tail: bytes) -> bool:
    """Whether a file with these last TAIL bytes is a zip file for readers that start at its end, whatever comes before."""
    for at in _places(tail, b"PK\x05\x06"):
        if at + _END.size <= len(tail):
            count, length = _END.unpack_from(tail, at)[4:6]
            start = at - length
            wide = tail[max(0, at - _LOCATOR64.size) : at].startswith(b"PK\x06\x07")
            farther = start < 0 and len(tail) == TAIL
            if count and (wide or farther or tail[max(0, start) : start + 4] == b"PK\x01\x02"):
                return True
    return False


def _directory(stream: BinaryIO, size: int) -> tuple[int, int, int]:
    """Start, end and declared number of entries of the directory."""
    tail = min(size, TAIL)
    stream.seek(size - tail)
    data = _exactly(stream, tail, "the end")
    found = list(_places(data, b"PK\x05\x06"))
    fitting = [at for at in found if 0 < _reaches(data, at) <= len(data) and not data[_reaches(data, at) :].strip(b"\0")]
    if not fitting:
        if not found or not _reaches(data, found[-1]):
            raise UnreadableArchive("the file is damaged: it is not a zip file, or its end is missing")
        rest = len(data) - _reaches(data, found[-1])
        what = f"{rest} bytes follow its end" if rest > 0 else "it is truncated in the comment at its end"
        raise UnreadableArchive(f"the file is damaged: {what}")
    if fitting != found[-1:]:
        raise UnreadableArchive("it has two end records, one in the comment of the other")
    at = size - tail + fitting[0]
    _, disk, first_disk, here, count, length, start, _ = _END.unpack_from(data, fitting[0])
    end = at
    if at >= _LOCATOR64.size:
        stream.seek(at - _LOCATOR64.size)
        magic, locator_disk, at64, disks = _LOCATOR64.unpack(_exactly(stream, _LOCATOR64.size, "the end"))
        if magic == b"PK\x06\x07":
            small = (here, count, length, start)
            end, here, count, length, start = _end64(stream, at - _LOCATOR64.size, at64)
            full = (_FULL16, _FULL16, _FULL32, _FULL32)
            if any(s not in (f, v) for s, f, v in zip(small, full, (here, count, length, start), strict=True)):
                raise UnreadableArchive("its zip and zip64 end records contradict each other")
            disk, first_disk = disk % _FULL16 or locator_disk, first_disk % _FULL16 or max(0, disks - 1)
    if disk or first_disk or here != count:
        raise UnreadableArchive("it is part of a multi-part archive")
    if start + length != end:
        raise UnreadableArchive("the file is damaged: it is truncated, or something was added: its directory has moved")
    return start, end, count


def _reaches(data: bytes, at: int) -> int:
    """Where the end record at `at` ends, with its comment; 0 when there is no room for one."""
    if at + _END.size > len(data):
        return 0
    return at + _END.size + int.from_bytes(data[at + _END.size - 2 : at + _END.size], "little")


def _end64(stream: BinaryIO, locator: int, at: int) -> tuple[int, int, int, int, int]:
    """The zip64 end record: its offset, entries here and in all, the directory's length and start."""
    if at > locator - _END64.size:
        raise UnreadableArchive("its zip64 end record is not where it should be")
    stream.seek(at)
    magic, rest, _, _, disk, first, here, count, length, start = _END64.unpack(_exactly(stream, _END64.size, "the end"))
    if magic != b"PK\x06\x06" or at + 12 + rest != locator or disk or first:
        raise UnreadableArchive("its zip64 end record is not where it should be")
    return at, here, count, length, start


def _entries(data: bytes, count: int) -> Iterator[DirectoryEntry]:
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(data) or data[at : at + 4] != b"PK\x01\x02":
            raise UnreadableArchive(f"the file is damaged: its directory has fewer than the declared {count} entries")
        fields = _CENTRAL.unpack_from(data, at)
        flags, method, crc, packed, size = fields[3], fields[4], *fields[7:10]
        name_size, extra_size, comment_size, disk, offset = *fields[10:14], fields[16]
        at += _CENTRAL.size
        raw, extra = data[at : at + name_size], data[at + name_size : at + name_size + extra_size]
        at += name_size + extra_size + comment_size
        if at > len(data):
            raise UnreadableArchive("the file is damaged: the last entry of its directory is truncated")
        shown = raw.decode("utf-8", "backslashreplace")
        size, packed, offset = _wide(extra, (size, packed, offset), shown)
        if not raw:
            raise UnreadableArchive("a member has no name")
        if disk not in (0, _FULL16):
            raise UnreadableArchive("it is part of a multi-part archive")
        if flags & _ENCRYPTED:
            raise UnreadableArchive(f"{shown!r} is encrypted")
        if method not in (_STORED, _DEFLATED):
            raise UnreadableArchive(f"{shown!r} uses compression method {method}, which TorchServe cannot read")
        if method == _STORED and size != packed:
            raise UnreadableArchive(f"{shown!r} is stored, but has two sizes: {packed} bytes packed and {size} unpacked")
        if not (raw.isascii() or flags & _UTF8):
            raise UnreadableArchive(f"the name {shown!r} is not ASCII, and is not marked as UTF-8")
        yield DirectoryEntry(raw, flags, method, crc, packed, size, offset)
    if at != len(data):
        raise UnreadableArchive(f"the file is damaged: its directory has more than the declared {count} entries")


def _end_of_member(stream: BinaryIO, entry: DirectoryEntry, directory: int) -> int:
    """Compare the member's own header with the directory; return where the next header starts."""
    stream.seek(entry.offset)
    magic, _, flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL.unpack(
        _exactly(stream, _LOCAL.size, repr(entry.name))
    )
    if magic != b"PK\x03\x04":
        raise UnreadableArchive(f"the file is damaged: there is no header where {entry.name!r} should start")
    raw, extra = (_exactly(stream, length, repr(entry.name)) for length in (name_size, extra_size))
    if raw != entry.raw:
        raise UnreadableArchive(
            f"{entry.name!r} has a different name in its own header: {raw.decode('utf-8', 'backslashreplace')!r}"
        )
    size, packed, _ = _wide(extra, (size, packed, 0), entry.name)
    said = (flags & _MEANINGFUL, method)
    if said != (entry.flags & _MEANINGFUL, entry.method):
        raise UnreadableArchive(f"{entry.name!r} has different flags or another compression method in its own header")
    numbers, known = (crc, packed, size), (entry.crc, entry.packed, entry.size)
    later = bool(flags & _DESCRIPTOR)
    if numbers != known and not (later and all(n in (0, k) for n, k in zip(numbers, known, strict=True))):
        raise UnreadableArchive(f"{entry.name!r} has a different size or checksum in its own header")
    end: int = entry.offset + _LOCAL.size + name_size + extra_size + entry.packed
    if end > directory:
        raise UnreadableArchive(f"{entry.name!r} extends into the directory or past it")
    if later:
        end += _descriptor(stream, end, entry)
    return end


def _descriptor(stream: BinaryIO, at: int, entry: DirectoryEntry) -> int:
    """The length of the data descriptor after a member: its checksum and sizes, repeated."""
    stream.seek(at)
    data = stream.read(24)
    for magic in (b"PK\x07\x08", b""):
        for form in ("<III", "<IQQ"):
            packed = max(entry.packed, entry.size)
            if form == "<III" and packed > _FULL32:
                continue
            expected = magic + struct.pack(form, entry.crc, entry.packed, entry.size)
            follows = data[len(expected) : len(expected) + 2]
            if data.startswith(expected) and follows in (b"PK", b""):
                return len(expected)
    raise UnreadableArchive(f"{entry.name!r} has a different size or checksum after its data")


def _wide(extra: bytes, narrow: tuple[int, int, int], name: str) -> tuple[int, int, int]:
    """Size, packed size and offset; those that do not fit in 32 bits are in the extra field."""
    fields: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        at += 4 + length
        if at > len(extra):
            raise UnreadableArchive(f"{name!r} has an extra field that is too long")
        if kind in fields and kind in (_ZIP64, _UNICODE_PATH):
            raise UnreadableArchive(f"{name!r} has two sizes or two names in its extra fields")
        fields[kind] = extra[at - length : at]
    other = fields.get(_UNICODE_PATH)
    if other is not None and other[5:] != name.encode():
        raise UnreadableArchive(f"{name!r} has a second name: {other[5:].decode('utf-8', 'backslashreplace')!r}")
    rest, wide = fields.get(_ZIP64, b""), list(narrow)
    for index, number in enumerate(narrow):
        if number == _FULL32:
            if len(rest) < 8:
                raise UnreadableArchive(f"{name!r} lacks its zip64 size")
            wide[index], rest = int.from_bytes(rest[:8], "little"), rest[8:]
    return wide[0], wide[1], wide[2]


def _places(data: bytes, magic: bytes) -> Iterator[int]:
    at = data.find(magic)
    while at >= 0:
        yield at
        at = data.find(magic, at + 1)


def _exactly(stream: BinaryIO, count: int, what: str) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise UnreadableArchive(f"the file is damaged: {what} is truncated")
    return data
