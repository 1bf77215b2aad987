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
"""What opening says of a link, a folder, a socket."""

_LONGEST_WAIT = 0.1
"""Seconds between two looks at a lock that another one holds."""


class FileLocks:
    """One file a name, which is there while the lock is held; what a killed process leaves is taken over."""

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
        """Hold it inside the context if nobody else does; tells whether that is so."""
        handle = self._attempt(name)
        try:
            yield handle is not None
        finally:
            if handle is not None:
                self._release(name, handle)

    def _attempt(self, name: str) -> int | None:
        """A handle that has the lock; None while another one has it."""
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
        """Remove a folder, a link or the like that has a lock's name: nobody can hold that. One process at a time does."""
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
        """Remove the file while it is held: whoever has it open sees that it is gone, and takes the next one."""
        with suppress(OSError):
            (self._folder / name).unlink()
        os.close(handle)
