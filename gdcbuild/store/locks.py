"""Locks between processes of one machine: flock, which the kernel frees when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event as Flag

from gdcbuild.errors import Interrupted, Problem

_POLL_SECONDS = 0.05


class FileLocks:
    """One file a name. They save double work; nothing is wrong without them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def hold(self, name: str, cancel: Flag | None = None) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            stop = cancel or Flag()
            while not _taken(handle):
                if stop.wait(_POLL_SECONDS):
                    raise Interrupted(Problem("interrupted"))
            yield
        finally:
            os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
