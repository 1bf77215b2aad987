"""Runs between gdcbuild and a command: no process that the command started outlives it, or gdcbuild.

Runs as a script in a process of its own, so that it is still there when gdcbuild is killed. Starts in milliseconds, hence
nothing but the standard library, and little of that.

    guard.py CHANNEL FOLDER WORD...

CHANNEL is a socket. When its other end closes, the command is told to end (SIGTERM), and killed some seconds later. One line
comes back through it: `exit CODE`, `signal NUMBER`, or `error ERRNO` when the command cannot be started; by then no
descendant is left. FOLDER is a locked folder: a run that waits for its lock waits until everything has ended.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from contextlib import suppress

GRACE_SECONDS = 3.0
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36  # of prctl(2)
_RESCAN_SECONDS = 0.01
_TO_END = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def main(channel: int, folder: int, argv: list[str]) -> None:
    """Run the command until it ends or is killed; report how it ended once all its processes are gone."""
    for descriptor in (channel, folder):
        os.set_inheritable(descriptor, False)
    _prctl(_SET_CHILD_SUBREAPER, 1)  # orphaned descendants become our children, daemons too
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, *_TO_END):
        signal.signal(number, lambda *_: None)
    ended = _watch(_start(argv, channel), channel, woken)
    _end_descendants()
    with suppress(OSError):  # gdcbuild may be gone
        os.write(channel, ended.encode())


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _start(argv: list[str], channel: int) -> int:
    """Start the command: leader of a new session, killed if the guard is."""
    guard = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        _prctl(_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
            signal.signal(number, signal.SIG_DFL)
        if os.getppid() == guard:
            os.execvp(argv[0], argv)  # noqa: S606 - the user's command, without a shell as it was written
    except OSError as error:
        os.write(channel, f"error {error.errno}\n".encode())
    finally:
        os._exit(127)


def _watch(command: int, channel: int, woken: int) -> str:
    """Wait for the command; once told to end it, only for a limited time."""
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    poll.register(channel, select.POLLIN)
    deadline: float | None = None
    while True:
        status = _reap(command)
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
            return f"exit {code}\n" if code >= 0 else f"signal {-code}\n"
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            os.kill(command, signal.SIGKILL)
        ready = {descriptor for descriptor, _ in poll.poll(None if left is None else max(_RESCAN_SECONDS, left) * 1000)}
        told = set(os.read(woken, 512)) & set(_TO_END) if woken in ready else set()
        if deadline is None and (channel in ready or told):
            poll.unregister(channel)
            deadline = time.monotonic() + GRACE_SECONDS
            try:
                os.killpg(command, signal.SIGTERM)
            except ProcessLookupError:  # it has not started its session yet
                os.kill(command, signal.SIGKILL)


def _reap(command: int) -> int | None:
    """Reap all children that have ended; return the command's wait status if it is among them."""
    status = None
    with suppress(ChildProcessError):
        while True:
            pid, found = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == command:
                status = found
    return status


def _end_descendants() -> None:
    """Kill our children until none is left: the children of each that dies become ours."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] != 0:
                continue
        except ChildProcessError:
            return
        for child in _children():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        time.sleep(_RESCAN_SECONDS)


def _children() -> list[int]:
    """Every child process of ours. The kernel may be built without a list of them."""
    found = []
    with os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit():
                with suppress(OSError), open(f"/proc/{entry.name}/stat", "rb") as file:  # noqa: PTH123 - pathlib is slow to import
                    if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                        found.append(int(entry.name))
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
    os._exit(0)
