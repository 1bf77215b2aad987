"""The store in memory: for tests, and as the simplest implementation of the ports."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from typing import Any, BinaryIO

from gdcbuild.core.digest import Blob, BytesBlob, Digest
from gdcbuild.errors import BlobMissing, Interrupted, ManifestError, Problem
from gdcbuild.files import standins


@dataclass(frozen=True, slots=True)
class _Held:
    """Bytes under the digest they were stored with: if they have changed since, their reader finds out."""

    digest: Digest
    data: bytes
    crc = None

    def open(self) -> BinaryIO:
        return io.BytesIO(self.data)


class MemoryCAS:
    """Digest → bytes in a dictionary."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}

    def missing(self, digests: Iterable[Digest]) -> set[Digest]:
        return {d for d in digests if d not in self._blobs}

    def put(self, file: Path, digest: Digest | None = None, seen: Callable[[bytes], object] | None = None) -> Digest:
        data = file.read_bytes()
        if seen is not None and digest is None:
            seen(data)
        file.unlink()
        digest = digest or Digest.of(data)
        self._blobs[digest] = data
        return digest

    def get(self, digest: Digest) -> Blob:
        if digest not in self._blobs:
            raise BlobMissing(Problem(f"{digest} is not in the cache"))
        return _Held(digest, self._blobs[digest])

    def discard(self, digest: Digest) -> None:
        self._blobs.pop(digest, None)


class MemoryRecords:
    """JSON text in a dictionary: values are converted as JSON does."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], str] = {}

    def get(self, table: str, key: str) -> Any | None:
        text = self._records.get((table, key))
        return None if text is None else json.loads(text)

    def put(self, table: str, key: str, value: Any) -> None:
        self._records[table, key] = json.dumps(value)


class MemoryWorkspace:
    """A workspace of files given as bytes."""

    def __init__(self, files: Mapping[str, bytes] | None = None) -> None:
        self.files = dict(files or {})

    def digest(self, path: str) -> Digest:
        return self.blob(path).digest

    def slow(self, paths: Iterable[str]) -> list[str]:  # noqa: ARG002 - the port's signature
        return []

    def blob(self, path: str) -> Blob:
        if path not in self.files:
            raise ManifestError(Problem(f"there is no file {path!r}"))
        return BytesBlob(self.files[path])

    def standin(self, path: str, named: bool = True) -> Problem | None:
        found = standins.recognise(path, self.files[path])
        if found is None or (found.kind == "dvc" and not named and found.path in self.files):
            return None
        return found.problem(path, path)


class MemoryLocks:
    """One lock per name, within this process."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    @contextmanager
    def hold(self, name: str, cancel: Flag | None = None, waits: Callable[[], None] | None = None) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        stop = cancel or Flag()
        while not lock.acquire(timeout=0.05):
            if stop.is_set():
                raise Interrupted(Problem("interrupted"))
            if waits is not None:
                waits()
                waits = None
        try:
            yield
        finally:
            lock.release()
