"""Locks between processes of one machine: flock, which the kernel frees when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event as Flag

from gdcbuild.errors import Interrupted, Problem

_NO_FILE = {errno.ELOOP, errno.EISDIR, errno.ENXIO}
"""Errors of opening a link, a folder, a socket."""

_LONGEST_WAIT = 0.1
"""Seconds between two attempts to get a lock."""


class FileLocks:
    """One file per name, which exists while the lock is held; a file of a killed process is reused."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def hold(self, name: str, cancel: Flag | None = None, waits: Callable[[], None] | None = None) -> Iterator[None]:
        cancel, wait = cancel or Flag(), 0.005
        while (handle := self._attempt(name)) is None:
            if cancel.wait(wait):
                raise Interrupted(Problem("interrupted"))
            if waits is not None and wait == _LONGEST_WAIT:
                waits()
                waits = None
            wait = min(2 * wait, _LONGEST_WAIT)
        try:
            yield
        finally:
            self._release(name, handle)

    @contextmanager
    def held(self, name: str) -> Iterator[bool]:
        """Hold the lock inside the context if nobody else does; yields whether it is held."""
        handle = self._attempt(name)
        try:
            yield handle is not None
        finally:
            if handle is not None:
                self._release(name, handle)

    def _attempt(self, name: str) -> int | None:
        """A handle with the lock; None while another process has it."""
        path = self._folder / name
        handle = self._open(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except (BlockingIOError, FileNotFoundError):  # FileNotFoundError: its last holder has just removed it
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        return None

    def _open(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            self._clear(path)
        return os.open(path, flags, 0o600)

    def _clear(self, path: Path) -> None:
        """Remove a folder, a link or the like with a lock's name, which nobody can hold. One process at a time."""
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if path.is_symlink() or (path.exists() and not path.is_dir() and not path.is_file()):
                path.unlink()
            elif path.is_dir():
                shutil.rmtree(path)
        finally:
            os.close(handle)

    def _release(self, name: str, handle: int) -> None:
        """Remove the file while it is held: a process that has it open sees that it is gone, and opens the next one."""
        with suppress(OSError):
            (self._folder / name).unlink()
        os.close(handle)
