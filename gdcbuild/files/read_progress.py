"""Report progress while large files are read: at most a few times a second, and not for what is read at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, BinaryIO, TypeAlias, cast

from gdcbuild.core.events import Event, Reading

EVERY = 0.1
"""Seconds between two events."""

Watched: TypeAlias = Callable[[str, int, BinaryIO], BinaryIO]
"""Path, size and stream of a file → the stream to read instead."""


def unwatched(_path: str, _size: int, stream: BinaryIO) -> BinaryIO:
    """The stream itself."""
    return stream


class Watch:
    """Watch files while they are read: by the action `job`, or for their digests when it is ""."""

    def __init__(self, emit: Callable[[Event], None], job: str = "") -> None:
        self._emit = emit
        self._job = job
        self._due = time.monotonic() + EVERY

    def counter(self, path: str, size: int) -> Callable[[bytes], None]:
        """A function to call with each piece of a file of that size. A file once reported is also reported when it ends."""
        done, reported = 0, False

        def seen(data: bytes) -> None:
            nonlocal done, reported
            done += len(data)
            now = time.monotonic()
            if now >= self._due or (reported and done >= size):
                self._due, reported = now + EVERY, True
                self._emit(Reading(self._job, path, done, size))

        return seen

    def stream(self, path: str, size: int, stream: BinaryIO) -> BinaryIO:
        """The stream, reporting while it is read."""
        return shown(stream, self.counter(path, size))


def shown(stream: BinaryIO, seen: Callable[[bytes], object]) -> BinaryIO:
    """The stream, passing each piece read to `seen`, which may raise to stop."""
    return cast(BinaryIO, _Shown(stream, seen))


class _Shown:
    def __init__(self, stream: BinaryIO, seen: Callable[[bytes], object]) -> None:
        self._stream, self._seen = stream, seen

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._seen(data)
        return data
