"""Read an archive from anyone, trusting nothing in it. Extracts nothing and unpickles nothing.

A zip file may have members outside its folder, duplicate names, links or devices, or be a zip bomb; such an archive is
refused. `layout` first makes sure that every program reads the archive the same way.
"""

from __future__ import annotations

import io
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from gdcbuild.core.digest import Blob, Digest
from gdcbuild.files.content import CHUNK, chunks, hash_stream
from gdcbuild.frameworks.torchserve.mar.layout import ArchiveTooLarge, UnreadableArchive, check_layout
from gdcbuild.frameworks.torchserve.mar.member_names import check_names, unpacked_as
from gdcbuild.frameworks.torchserve.mar.writer import MANIFEST

MAX_MEMBERS = 10_000
SMALL, MAX_HELD = 64 << 10, 4 << 20
"""Largest member in bytes that is kept in memory after it is read, and the most bytes of all such members."""

MAX_NESTED_MEMBERS = 100_000
"""Most members of an archive in the archive: PyTorch's own format has one for each tensor."""

MAX_RATIO = 200
ZIP_MAGIC = b"PK\x03\x04"
GZIP_MAGIC = b"\x1f\x8b"
FREE_SIZE, NESTED_FREE_SIZE = 4 << 30, 256 << 20
"""Unpacked bytes allowed at any ratio, because weights with many zeros compress well; and those of a nested archive."""

MAX_TEXT = 1 << 20
"""Largest member in bytes that is parsed: the manifest, a source file, a configuration."""

MAX_UNPACKED = 32 << 20
"""Largest compressed archive in the archive, in bytes, that is unpacked into memory to search it."""

_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, NotImplementedError, OSError, OverflowError, RuntimeError, ValueError),
)
"""Everything zipfile is known to raise for damaged bytes."""


class _Window(io.RawIOBase):
    """A part of a stream as a separate stream."""

    def __init__(self, stream: BinaryIO, start: int, size: int) -> None:
        self._stream, self._start, self._size, self._position = stream, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = (0, self._position, self._size)[whence]
        if base + offset < 0:
            raise OSError("before the start")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        self._stream.seek(self._start + self._position)
        data = self._stream.read(max(0, min(len(buffer), self._size - self._position)))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


@dataclass(frozen=True, slots=True)
class Member:
    """One member as a blob; the digest is of the unpacked bytes."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    digest: Digest

    @property
    def crc(self) -> int:
        return self.info.CRC

    def open(self) -> BinaryIO:
        return cast(BinaryIO, self.archive.open(self.info))


class Archive:
    """A zip file whose members all have valid names, sizes and types."""

    def __init__(self, zip_file: zipfile.ZipFile, stream: BinaryIO, max_size: int) -> None:
        self._zip = zip_file
        self._stream = stream
        infos = zip_file.infolist()
        _check_sizes(infos, max_size)
        for info in infos:
            _check_kind(info)
        names = [unpacked_as(i.filename) for i in infos]
        self._infos = {name: info for name, info in zip(names, infos, strict=True) if not info.is_dir()}
        check_names([name for name in names if name])
        self._held: dict[str, bytes] = {}
        self._room = MAX_HELD

    @property
    def names(self) -> list[str]:
        """The names of all members that are files, in the archive's order."""
        return list(self._infos)

    def manifest(self) -> dict[str, Any]:
        """The archive's manifest, which has a `model`. Raises UnreadableArchive."""
        if MANIFEST not in self._infos:
            raise UnreadableArchive(f"it has no {MANIFEST}")
        try:
            manifest = json.loads(self.text(MANIFEST), object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise UnreadableArchive(f"{MANIFEST} is not JSON: {error}") from None
        if not (isinstance(manifest, dict) and isinstance(manifest.get("model"), dict)):
            raise UnreadableArchive(f"{MANIFEST} has no `model`")
        return manifest

    def text(self, name: str) -> bytes:
        """All bytes of a small member. Raises UnreadableArchive."""
        if self._infos[name].file_size > MAX_TEXT:
            raise UnreadableArchive(f"{name} is larger than {MAX_TEXT >> 20} MiB")
        with self.open(name) as stream:
            return stream.read()

    def start(self, name: str, count: int) -> bytes:
        """The first `count` bytes of a member, or all it has. Raises UnreadableArchive."""
        with self.open(name) as stream:
            return stream.read(count)

    def end(self, name: str, count: int) -> bytes:
        """The last `count` bytes of a member, or all it has. Raises UnreadableArchive."""
        info = self._infos[name]
        with _damage(name), self._window(info) if info.compress_type == zipfile.ZIP_STORED else self._opened(name) as stream:
            stream.seek(max(0, info.file_size - count))
            return stream.read(count)

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a member for reading. Raises UnreadableArchive, also for damage found inside the `with` block."""
        with _damage(name), self._opened(name) as stream:
            yield stream

    def _opened(self, name: str) -> BinaryIO:
        """Open a member. A small one is read once and kept, because it is opened often: for secrets, pickles and its type."""
        if name not in self._held:
            size = self._infos[name].file_size
            if not size <= min(SMALL, self._room):
                return cast(BinaryIO, self._zip.open(self._infos[name]))
            self._held[name] = self._zip.read(self._infos[name])
            self._room -= size
        return io.BytesIO(self._held[name])

    def size(self, name: str) -> int:
        """A member's bytes when unpacked."""
        return self._infos[name].file_size

    @contextmanager
    def nested(self, name: str) -> Iterator[Archive | None]:
        """A member that is itself a zip file, None when it does not start as one. Raises UnreadableArchive when it is damaged.

        Reads none of its members, unless it is compressed.
        """
        info = self._infos[name]
        if self.start(name, len(ZIP_MAGIC)) != ZIP_MAGIC:
            yield None
            return
        with _damage(name):
            if info.compress_type == zipfile.ZIP_STORED:
                source = self._window(info)
            elif info.file_size <= MAX_UNPACKED:
                source = io.BytesIO(self._zip.read(info))
            else:
                raise ArchiveTooLarge(f"{name} is a compressed archive of more than {MAX_UNPACKED >> 20} MiB")
            with source as stream, open_nested(stream, info.file_size) as inner:
                yield inner

    def _window(self, info: zipfile.ZipInfo) -> BinaryIO:
        """A member's packed bytes, read in place; zipfile's own stream would read all of them to seek to the end."""
        self._stream.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", self._stream.read(4))
        return io.BufferedReader(_Window(self._stream, info.header_offset + 30 + name + extra, info.compress_size))

    def member(self, name: str) -> Member:
        """Read the whole member and return it as a blob. Raises UnreadableArchive when its size or checksum is wrong."""
        info = self._infos[name]
        with _damage(name), self._zip.open(info) as stream:
            digest = hash_stream(cast(BinaryIO, stream))
        if digest.size != info.file_size:
            raise UnreadableArchive(f"{name} has {digest.size} bytes, not the declared {info.file_size}")
        if info.compress_type == zipfile.ZIP_DEFLATED:
            self._check_packed(info)
        return Member(self._zip, info, digest)

    def _check_packed(self, info: zipfile.ZipInfo) -> None:
        """Raise UnreadableArchive unless unpacking ends at the declared size and at the last packed byte.

        zipfile reads as much as is declared and ignores the rest. A server reads to the end of the packed data.
        """
        unpacker, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        with _damage(info.filename), self._window(info) as packed:
            for data in chunks(packed):
                while data and not unpacker.eof and size <= info.file_size:
                    size += len(unpacker.decompress(data, CHUNK))
                    data = unpacker.unconsumed_tail
                if data or unpacker.unused_data:
                    break
            rest = len(packed.read(1)) + len(unpacker.unused_data)
        if not unpacker.eof or size != info.file_size or rest:
            raise UnreadableArchive(f"the size of {info.filename} is not the declared one, packed or unpacked")


@contextmanager
def open_archive(blob: Blob) -> Iterator[Archive]:
    """Open a blob as an archive. Raises UnreadableArchive."""
    with blob.open() as stream, _opened(stream, blob.digest.size, MAX_MEMBERS, FREE_SIZE) as archive:
        yield archive


@contextmanager
def open_nested(stream: BinaryIO, size: int) -> Iterator[Archive]:
    """Open a member of `size` bytes as an archive. Raises UnreadableArchive."""
    with _opened(stream, size, MAX_NESTED_MEMBERS, NESTED_FREE_SIZE) as archive:
        yield archive


@contextmanager
def _opened(stream: BinaryIO, size: int, max_members: int, free_size: int) -> Iterator[Archive]:
    with _damage("the file"):
        check_layout(stream, size, max_members)
        zip_file = zipfile.ZipFile(stream)
    with zip_file:
        yield Archive(zip_file, stream, free_size + MAX_RATIO * size)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; refused when it has a key twice, because readers differ in which one they use."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _check_sizes(infos: list[zipfile.ZipInfo], max_size: int) -> None:
    total = sum(i.file_size for i in infos)
    if total > max_size:
        raise UnreadableArchive(f"it unpacks to {total} bytes, more than the limit of {max_size} for its packed size")


def _check_kind(info: zipfile.ZipInfo) -> None:
    if info.filename != info.orig_filename:
        raise UnreadableArchive(f"the name {info.orig_filename!r} contains a NUL character")
    mode = stat.S_IFMT(info.external_attr >> 16)
    if mode and mode != (stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
        raise UnreadableArchive(f"{info.filename!r} is a link or a device, not a file")
    if info.is_dir() and info.file_size:
        raise UnreadableArchive(f"the folder {info.filename!r} has content")


@contextmanager
def _damage(what: str) -> Iterator[None]:
    try:
        yield
    except UnreadableArchive:
        raise
    except _DAMAGED as error:
        raise UnreadableArchive(f"{what} is damaged: {error}") from None
