"""A folder that belongs to one run at a time, and commands in it that leave no processes. See guard.py."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, BinaryIO

from gdcbuild.errors import ActionFailed, Interrupted, Problem
from gdcbuild.files.folders import remove

if TYPE_CHECKING:
    import socket

WAIT_SECONDS = 30.0
"""Seconds to wait for processes of another run: its guard ends them sooner."""

_KILL_SECONDS = 1.5
"""Seconds a guard may need to kill everything; after that we no longer wait for it."""

_POLL_SECONDS = 0.1


class Place:
    """An empty folder, ours while `lock` is open: a descriptor of the folder itself, which guards keep open too."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def run(
        self, argv: Sequence[str], output: BinaryIO, cancel: Flag, *, env: Mapping[str, str], cwd: Path | None = None
    ) -> int:
        """Run a command to its end; its exit code, or minus the number of the signal that ended it.

        No process that it started is left, whatever it did to get away. Raises OSError when it cannot be started, and
        Interrupted once `cancel` was set and it had some seconds to end by itself.
        """
        import socket
        import subprocess

        from gdcbuild.runners import guard

        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = subprocess.Popen(
                    # isolated, so that nothing of the user's runs in the guard
                    [sys.executable, "-I", "-S", guard.__file__, str(theirs.fileno()), str(self._lock), *argv],
                    cwd=cwd,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(theirs.fileno(), self._lock),
                    start_new_session=True,  # an interrupt from the terminal is for us alone
                )
            told = _answer(ours, cancel, guard.GRACE_SECONDS + _KILL_SECONDS)
        if told is None:
            raise Interrupted(Problem("interrupted"))
        process.wait()
        how, _, number = told.partition(" ")
        if how == "error":
            raise OSError(int(number), os.strerror(int(number)), argv[0])
        return int(number) if how == "exit" else -int(number)


def _answer(channel: socket.socket, cancel: Flag, patience: float) -> str | None:
    """The guard's first line; None if it was told to end the command and did not within that many seconds."""
    channel.settimeout(_POLL_SECONDS)
    deadline: float | None = None
    line: str | None = None
    while line is None:
        try:
            line = channel.recv(64).decode().split("\n")[0]
        except TimeoutError:
            if deadline is None and cancel.is_set():
                channel.shutdown(1)  # SHUT_WR: we only receive from now on
                deadline = time.monotonic() + patience
            elif deadline is not None and time.monotonic() > deadline:
                break  # the guard continues without us, and keeps the folder locked
    if deadline is not None:
        return None
    if not line:
        raise ActionFailed(Problem("the process that guards the command was killed", "run the command again"))
    return line


@contextmanager
def claimed(path: Path, cancel: Flag) -> Iterator[Place]:
    """An empty folder at `path` for this run alone. What another run left there is removed, once none of its processes runs.

    The folder stays. Raises ActionFailed if another process keeps it, Interrupted if `cancel` is set meanwhile.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = None
    try:
        while lock is None:
            if cancel.is_set():
                raise Interrupted(Problem("interrupted"))
            lock = _try(path)
            if lock is None and time.monotonic() > deadline:
                raise ActionFailed(
                    Problem(
                        f"{path} is still in use by another run: {_users(path)}",
                        "end those processes, then run the command again",
                    )
                )
        yield Place(path, lock)
    finally:
        if lock is not None:
            os.close(lock)


def _try(path: Path) -> int | None:
    """A descriptor of the folder, empty and locked; None after a moment if another process has it."""
    path.mkdir(exist_ok=True)
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(path, lock):
            if not any(path.iterdir()):
                taken, lock = lock, -1
                return taken
            _end_strays(path)
            put_away(path)
    except BlockingIOError:
        time.sleep(_POLL_SECONDS)
    finally:
        if lock >= 0:
            os.close(lock)
    return None


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the folder still has this name: it may have been renamed before we got its lock."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _end_strays(path: Path) -> None:
    """Kill the processes of a run whose guard was killed too. Their home is below the folder."""
    mark = f"={path}/".encode()
    for _ in range(100):
        found = [p for p in Path("/proc").glob("[0-9]*") if mark in _read(p / "environ")]
        if not found:
            return
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)
        time.sleep(_POLL_SECONDS / 10)


def _read(file: Path) -> bytes:
    """A file of /proc; empty if the process has ended, or is another user's."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def put_away(path: Path) -> None:
    """Remove a folder of ours. It is renamed first, so a process that still writes to it does no harm."""
    with suppress(FileNotFoundError):  # what ran in it may have removed it
        path.rename(path.with_name(f"{path.name}.{time.time_ns()}"))
    for name in os.listdir(path.parent):  # noqa: PTH208 - glob would compile a pattern for each action
        if name.startswith(f"{path.name}."):
            remove(path.parent / name)


def _users(folder: Path) -> str:
    """The processes that have the folder open, for people."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(link.readlink() == folder for link in (process / "fd").iterdir()):
                words = _read(process / "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
                found.append(f"process {process.name} ({words[:200]})")
        except OSError:  # of another user, or ended meanwhile
            continue
    return ", ".join(found) or "a process of another user"
