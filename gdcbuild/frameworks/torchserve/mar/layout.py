"""Reads the headers of a zip file, and refuses one that two programs could read in two ways.

`zipfile`, and we with it, read the directory at the file's end. TorchServe reads the headers before each member, from the
file's start on. What is checked in the one must be what is unpacked by the other: so the members must lie one after another
without gaps, from the first byte to the directory, and both headers of each must say the same.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_DIRECTORY = 32 << 20
"""Bytes of the largest directory that is read; it is held in memory."""

_END, _END64, _LOCATOR64 = struct.Struct("<4s4H2IH"), struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI")
_CENTRAL, _LOCAL = struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s5H3I2H")
_MAX_COMMENT = 0xFFFF
TAIL = _END.size + _MAX_COMMENT
"""Bytes at the end of a file among which the end of a zip file is looked for."""

_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF

_ENCRYPTED, _DESCRIPTOR, _UTF8 = 0x1, 0x8, 0x800
_STORED, _DEFLATED = 0, 8
_MEANINGFUL = _ENCRYPTED | _DESCRIPTOR | _UTF8
"""The flags on which it depends how a member is read."""

_ZIP64, _UNICODE_PATH = 0x0001, 0x7075


class UnreadableArchive(ValueError):
    """The archive cannot be read, or must not be; the message says why."""


class ArchiveTooLarge(UnreadableArchive):
    """The archive may be in order, and it would take too much to find out."""


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """What the directory says of one member. Sizes are in bytes, `offset` is that of its own header."""

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
    """Raises UnreadableArchive when the `size` bytes of `stream` are not one archive that everybody reads alike.

    Reads headers only. At most the directory is held in memory; no size that a header tells is trusted.
    """
    start, end, count = _directory(stream, size)
    if count > max_members:
        raise ArchiveTooLarge(f"it has {count} members, more than {max_members}")
    if end - start > MAX_DIRECTORY:
        raise ArchiveTooLarge(f"its directory has {end - start} bytes, more than {MAX_DIRECTORY >> 20} MiB")
    stream.seek(start)
    entries = list(_entries(_exactly(stream, end - start, "the directory"), count))
    for entry in entries:
        if entry.offset + _LOCAL.size > start:
            raise UnreadableArchive(f"{entry.name!r} starts in the directory, or after it")
    position, before = 0, "the start"
    for entry in sorted(entries, key=lambda e: e.offset):
        if entry.offset < position:
            raise UnreadableArchive(f"{entry.name!r} overlaps with {before}")
        if entry.offset > position:
            raise UnreadableArchive(f"{entry.offset - position} bytes between {before} and {entry.name!r} belong to no member")
        position, before = _end_of_member(stream, entry, start), repr(entry.name)
    if position != start:
        raise UnreadableArchive(f"{start - position} bytes between {before} and the directory belong to no member")


def is_zip(tail: bytes) -> bool:
    """Whether a file with these last TAIL bytes is a zip file for readers that begin at its end, whatever lies before."""
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
    """Where the directory starts and ends, and how many entries it says it has."""
    tail = min(size, TAIL)
    stream.seek(size - tail)
    data = _exactly(stream, tail, "the end")
    found = list(_places(data, b"PK\x05\x06"))
    fitting = [at for at in found if 0 < _reaches(data, at) <= len(data) and not data[_reaches(data, at) :].strip(b"\0")]
    if not fitting:
        if not found or not _reaches(data, found[-1]):
            raise UnreadableArchive("the file is damaged: it is not a zip file, or its end is missing")
        rest = len(data) - _reaches(data, found[-1])
        what = f"{rest} bytes follow its end" if rest > 0 else "it is cut off in the comment at its end"
        raise UnreadableArchive(f"the file is damaged: {what}")
    if fitting != found[-1:]:
        raise UnreadableArchive("it has two ends, one in the comment of the other")
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
                raise UnreadableArchive("its two ends, of zip and of zip64, contradict each other")
            disk, first_disk = disk % _FULL16 or locator_disk, first_disk % _FULL16 or max(0, disks - 1)
    if disk or first_disk or here != count:
        raise UnreadableArchive("it is one part of an archive in several")
    if start + length != end:
        raise UnreadableArchive("the file is damaged: it is truncated, or something was added: its directory has moved")
    return start, end, count


def _reaches(data: bytes, at: int) -> int:
    """Where the end that is said to be at `at` ends itself, with its comment; 0 when there is no room for one."""
    if at + _END.size > len(data):
        return 0
    return at + _END.size + int.from_bytes(data[at + _END.size - 2 : at + _END.size], "little")


def _end64(stream: BinaryIO, locator: int, at: int) -> tuple[int, int, int, int, int]:
    """The end of a zip64 archive: where it lies, entries here and in all, the directory's length and start."""
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
            raise UnreadableArchive(f"the file is damaged: its directory does not have the {count} entries that it says")
        fields = _CENTRAL.unpack_from(data, at)
        flags, method, crc, packed, size = fields[3], fields[4], *fields[7:10]
        name_size, extra_size, comment_size, disk, offset = *fields[10:14], fields[16]
        at += _CENTRAL.size
        raw, extra = data[at : at + name_size], data[at + name_size : at + name_size + extra_size]
        at += name_size + extra_size + comment_size
        if at > len(data):
            raise UnreadableArchive("the file is damaged: the last entry of its directory is cut off")
        shown = raw.decode("utf-8", "backslashreplace")
        size, packed, offset = _wide(extra, (size, packed, offset), shown)
        if not raw:
            raise UnreadableArchive("a member has no name")
        if disk not in (0, _FULL16):
            raise UnreadableArchive("it is one part of an archive in several")
        if flags & _ENCRYPTED:
            raise UnreadableArchive(f"{shown!r} is encrypted")
        if method not in (_STORED, _DEFLATED):
            raise UnreadableArchive(f"{shown!r} is compressed in a way that TorchServe cannot read (method {method})")
        if method == _STORED and size != packed:
            raise UnreadableArchive(f"{shown!r} is stored as it is, and says it has {packed} bytes here and {size} unpacked")
        if not (raw.isascii() or flags & _UTF8):
            raise UnreadableArchive(f"the name {shown!r} is not ASCII, and does not say that it is UTF-8")
        yield DirectoryEntry(raw, flags, method, crc, packed, size, offset)
    if at != len(data):
        raise UnreadableArchive(f"the file is damaged: its directory has more than the {count} entries that it says")


def _end_of_member(stream: BinaryIO, entry: DirectoryEntry, directory: int) -> int:
    """Where the next header begins, after comparing the member's own header with the directory."""
    stream.seek(entry.offset)
    magic, _, flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL.unpack(
        _exactly(stream, _LOCAL.size, repr(entry.name))
    )
    if magic != b"PK\x03\x04":
        raise UnreadableArchive(f"the file is damaged: there is no header where {entry.name!r} should begin")
    raw, extra = (_exactly(stream, length, repr(entry.name)) for length in (name_size, extra_size))
    if raw != entry.raw:
        raise UnreadableArchive(f"{entry.name!r} has another name before its data: {raw.decode('utf-8', 'backslashreplace')!r}")
    size, packed, _ = _wide(extra, (size, packed, 0), entry.name)
    said = (flags & _MEANINGFUL, method)
    if said != (entry.flags & _MEANINGFUL, entry.method):
        raise UnreadableArchive(f"{entry.name!r} has other flags, or another method, before its data")
    numbers, known = (crc, packed, size), (entry.crc, entry.packed, entry.size)
    later = bool(flags & _DESCRIPTOR)
    if numbers != known and not (later and all(n in (0, k) for n, k in zip(numbers, known, strict=True))):
        raise UnreadableArchive(f"{entry.name!r} has another size or checksum before its data")
    end: int = entry.offset + _LOCAL.size + name_size + extra_size + entry.packed
    if end > directory:
        raise UnreadableArchive(f"{entry.name!r} reaches into the directory, or past it")
    if later:
        end += _descriptor(stream, end, entry)
    return end


def _descriptor(stream: BinaryIO, at: int, entry: DirectoryEntry) -> int:
    """The length of what follows a member whose sizes were not known before: checksum and sizes, again."""
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
    raise UnreadableArchive(f"{entry.name!r} has another size or checksum after its data")


def _wide(extra: bytes, narrow: tuple[int, int, int], name: str) -> tuple[int, int, int]:
    """Size, packed size and offset, where the extra field holds those that do not fit in 32 bits."""
    fields: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        at += 4 + length
        if at > len(extra):
            raise UnreadableArchive(f"{name!r} has an extra field that is longer than there is room")
        if kind in fields and kind in (_ZIP64, _UNICODE_PATH):
            raise UnreadableArchive(f"{name!r} has its size or its name twice")
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
        raise UnreadableArchive(f"the file is damaged: {what} is cut off")
    return data
