"""Names for content: the digest of bytes, and the tree of a folder."""

from __future__ import annotations

import hashlib
import io
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping
from typing import BinaryIO, NamedTuple, Protocol


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

    `crc` is their CRC-32 if it was computed with the digest: an archive needs it before the bytes.
    """

    @property
    def digest(self) -> Digest: ...

    @property
    def crc(self) -> int | None: ...

    def open(self) -> BinaryIO: ...


class BytesBlob(NamedTuple):
    """A blob held in memory: records, and small members of archives."""

    data: bytes

    @property
    def digest(self) -> Digest:
        return Digest.of(self.data)

    @property
    def crc(self) -> int:
        import zlib  # loading it takes a plan time, which has no use for it

        return zlib.crc32(self.data)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.data)


class Tree(Mapping[str, Digest]):
    """Sorted relative POSIX path → digest: what an artifact is. Folders exist through their files only."""

    def __init__(self, files: Mapping[str, Digest] | Iterable[tuple[str, Digest]] = (), digest: Digest | None = None) -> None:
        """`digest` saves computing it; it must be as trustworthy as the files."""
        self._files = dict(sorted(dict(files).items()))
        self._digest = digest

    def __getitem__(self, path: str) -> Digest:
        return self._files[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def keys(self) -> KeysView[str]:
        return self._files.keys()  # the dictionary's own view is faster than Mapping's, and so are its items

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
        """Digest of the canonical text, one `HASH SIZE PATH` line per file; size is that of all files together.

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
