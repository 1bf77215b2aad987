"""A bucket in memory: the reference for the others, and the bucket of the engine's tests."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

from gdcbuild.core.digest import Blob, Digest
from gdcbuild.core.ports import RemoteObject, Stored
from gdcbuild.files.content import read_verified


class MemoryRemote:
    """Key → bytes in a dictionary, with etags that identify content."""

    lookups = 1

    def __init__(self, url: str = "memory:") -> None:
        self.url = url
        self._lock = threading.Lock()
        self._objects: dict[str, bytes] = {}

    def list(self, prefix: str, after: str = "") -> Iterator[RemoteObject]:
        with self._lock:
            found = sorted((k, v) for k, v in self._objects.items() if k.startswith(prefix) and k > after)
        return (RemoteObject(key, len(data), _etag(data)) for key, data in found)

    def create(self, key: str, blob: Blob, progress: Callable[[int], None] | None = None) -> Stored:
        data = read_verified(blob)
        with self._lock:
            there = self._objects.get(key)
            if there is None:
                self._objects[key] = data
        if there is not None:
            return Stored("same" if there == data else "other", _etag(there))
        if progress is not None:
            progress(len(data))
        return Stored("created", _etag(data))

    def open(self, key: str, etag: str = "") -> BinaryIO:
        with self._lock:
            data = self._objects[key]
        if etag not in ("", _etag(data)):
            raise KeyError(key)
        return io.BytesIO(data)

    def delete(self, key: str, etag: str = "") -> None:
        with self._lock:
            data = self._objects.get(key)
            if data is not None and etag in ("", _etag(data)):
                del self._objects[key]


def _etag(data: bytes) -> str:
    return Digest.of(data).hash[:32]
