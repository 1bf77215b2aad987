"""Names for content: the digest of bytes, and the tree of a folder."""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

from gdcbuild.errors import BlobDamaged, Problem, named

if TYPE_CHECKING:
    from concurrent.futures import Future

    from _typeshed import WriteableBuffer

CHUNK = 1 << 20

_FICLONE = 0x4004_9409
"""The request of linux/fs.h."""

_AHEAD = 4
"""Pieces that the quickest may be before the slowest."""

_FLUSHED = 1 << 25
"""Bytes that the disk is asked for at a time."""


class Digest(NamedTuple):
    """SHA-256 (64 hex digits) and size in bytes."""

    hash: str
    size: int

    def __str__(self) -> str:
        return f"sha256:{self.hash}"

    @classmethod
    def of(cls, data: bytes) -> Digest:
        return cls(hashlib.sha256(data).hexdigest(), len(data))


class Blob(Protocol):
    """Bytes of a known digest that can be read more than once. Readers verify; `open` does not.

    `crc` is their CRC-32 where that was found beside the digest: an archive has it before the bytes.
    """

    @property
    def digest(self) -> Digest: ...

    @property
    def crc(self) -> int | None: ...

    def open(self) -> BinaryIO: ...


class Reading(io.FileIO):
    """A file that is read. When that fails, the error says of which file: the system says it only of what cannot be opened."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            raise self.failed(error) from error

    def readall(self) -> bytes:
        try:
            return super().readall()
        except OSError as error:
            raise self.failed(error) from error

    def failed(self, error: OSError) -> Exception:
        """What to raise when the file cannot be read."""
        return named(error, str(self.name))


class FileBlob(NamedTuple):
    """A blob that lies in a file."""

    digest: Digest
    path: Path
    crc: int | None = None

    def open(self) -> BinaryIO:
        return io.BufferedReader(Reading(self.path))


class BytesBlob(NamedTuple):
    """A blob held in memory: records, and small members of archives."""

    data: bytes

    @property
    def digest(self) -> Digest:
        return Digest.of(self.data)

    @property
    def crc(self) -> int:
        return zlib.crc32(self.data)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.data)


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The stream's bytes in pieces of at most 1 MiB."""
    while data := stream.read(CHUNK):
        yield data


class Search:
    """Whether some bytes occur in a stream whose pieces `look` gets, across the borders of pieces too."""

    def __init__(self, wanted: bytes) -> None:
        self.found = False
        self._wanted = wanted
        self._end = b""

    def look(self, data: bytes) -> None:
        if self.found:
            return
        kept = len(self._wanted) - 1
        self.found = self._wanted in data or self._wanted in self._end + data[:kept]
        self._end = (self._end + data[-kept:])[-kept:]


def beside(stream: BinaryIO, *works: Callable[[bytes], object]) -> Iterator[bytes]:
    """The stream's bytes in pieces of at most 1 MiB; each `work` gets them too, in their order, in a thread of its own.

    All works are done when the iteration ends. What one of them raises ends it.
    """
    from collections import deque
    from concurrent.futures import ThreadPoolExecutor

    helpers = [ThreadPoolExecutor(1) for _ in works]
    busy: deque[list[Future[object]]] = deque()
    try:
        for data in chunks(stream):
            busy.append([helper.submit(work, data) for helper, work in zip(helpers, works, strict=True)])
            yield data
            while len(busy) > _AHEAD:
                _ended(busy.popleft())
        while busy:
            _ended(busy.popleft())
    finally:
        for helper in helpers:
            helper.shutdown(cancel_futures=True)


def _ended(futures: Iterable[Future[object]]) -> None:
    for future in futures:
        future.result()


def hash_stream(stream: BinaryIO, write: Callable[[bytes], object] | None = None) -> Digest:
    """Digest of all that is left in the stream; each piece also goes to `write`, in the same pass."""
    hasher, size = hashlib.sha256(), 0
    for data in chunks(stream):
        hasher.update(data)
        size += len(data)
        if write is not None:
            write(data)
    return Digest(hasher.hexdigest(), size)


def hash_and_crc(stream: BinaryIO) -> tuple[Digest, int]:
    """Digest and CRC-32 of all that is left in the stream, found beside each other."""
    hasher, size, crc = hashlib.sha256(), 0, 0

    def checksum(data: bytes) -> None:
        nonlocal crc
        crc = zlib.crc32(data, crc)

    for data in beside(stream, checksum):
        hasher.update(data)
        size += len(data)
    return Digest(hasher.hexdigest(), size), crc


def copy_verified(blob: Blob, write: Callable[[bytes], object]) -> None:
    """Write the blob's bytes out and raise BlobDamaged if they turn out to be others."""
    with blob.open() as stream:
        refuse_other(blob, hash_stream(stream, write))


def place(blob: Blob, file: BinaryIO, seen: Callable[[bytes], object] = len) -> None:
    """Put the blob's bytes into an empty file, open for reading too; raise BlobDamaged if they turn out to be others.

    Where the file system can, it shares the blocks of the blob's own file, and nothing is copied. `seen` gets each piece.
    """
    with blob.open() as source:
        if not _cloned(source, file):
            refuse_other(blob, hash_stream(source, lambda data: (file.write(data), seen(data))))
            return
    try:
        found = hash_stream(file, seen)
    except OSError:
        copy_verified(blob, len)  # its blocks are the blob's: if that is what cannot be read, the blob says so
        raise
    refuse_other(blob, found)


def flushing(file: BinaryIO) -> Callable[[bytes], object]:
    """To be called with each piece written to the file: the disk begins with it, so that a sync in the end waits less."""
    start, written = file.tell(), 0

    def begin(data: bytes) -> None:
        nonlocal start, written
        written += len(data)
        if written >= _FLUSHED:
            # said of what is not on the disk yet, this means: go and write it; hardly any of it leaves memory
            os.posix_fadvise(file.fileno(), start, written, os.POSIX_FADV_DONTNEED)
            start, written = start + written, 0

    return begin


def _cloned(source: BinaryIO, target: BinaryIO) -> bool:
    """Whether the file system has made the target share all blocks of the source."""
    import fcntl

    try:
        fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
    except OSError:  # it cannot, they are on two file systems, or the source is no file
        return False
    return True


def refuse_other(blob: Blob, found: Digest) -> None:
    """Raise BlobDamaged when what was read of the blob has another digest than it."""
    if found != blob.digest:
        place = f" ({blob.path})" if isinstance(blob, FileBlob) else ""
        raise BlobDamaged(Problem(f"expected {blob.digest}, {blob.digest.size} bytes; read {found}, {found.size} bytes{place}"))


def read_verified(blob: Blob) -> bytes:
    """All bytes of a small blob, verified."""
    buffer = io.BytesIO()
    copy_verified(blob, buffer.write)
    return buffer.getvalue()


class Tree(Mapping[str, Digest]):
    """Sorted relative POSIX path → digest: what an artifact is. Folders exist through their files only."""

    def __init__(self, files: Mapping[str, Digest] | Iterable[tuple[str, Digest]] = (), digest: Digest | None = None) -> None:
        """`digest` spares computing it, for whoever has it from a place that can be trusted as much as the files."""
        self._files = dict(sorted(dict(files).items()))
        self._digest = digest

    def __getitem__(self, path: str) -> Digest:
        return self._files[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def keys(self) -> KeysView[str]:
        return self._files.keys()  # the dictionary's own is quicker than the one of Mapping, and so are its items

    def items(self) -> ItemsView[str, Digest]:
        return self._files.items()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and self._files == other._files

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Tree({self._files!r})"

    @property
    def digest(self) -> Digest:
        """Digest of the canonical text, one `HASH SIZE PATH` line a file; size is that of all files together.

        A backslash and a line feed in a path are written as `\\\\` and `\\n`, so that no two trees have one text.
        """
        if self._digest is None:
            text = "".join(f"{d.hash} {d.size} {_one_line(path)}\n" for path, d in self._files.items())
            self._digest = Digest(hashlib.sha256(text.encode()).hexdigest(), sum(d.size for d in self._files.values()))
        return self._digest

    def under(self, path: str) -> Tree:
        """The part below `path`: the file itself under its base name, or the folder's files relative to it.

        Empty when there is nothing there; `""` and `"."` are the whole.
        """
        clean = path.strip("/")
        if clean in ("", "."):
            return self
        if clean in self._files:
            return Tree({clean.rsplit("/", 1)[-1]: self._files[clean]})
        prefix = clean + "/"
        return Tree({p[len(prefix) :]: d for p, d in self._files.items() if p.startswith(prefix)})

    def to_json(self) -> list[list[str | int]]:
        return [[path, d.hash, d.size] for path, d in self._files.items()]

    @classmethod
    def from_json(cls, rows: Iterable[tuple[str, str, int]], digest: Digest | None = None) -> Tree:
        return cls({path: Digest(hash, size) for path, hash, size in rows}, digest)


def _one_line(path: str) -> str:
    return path.replace("\\", "\\\\").replace("\n", "\\n")
