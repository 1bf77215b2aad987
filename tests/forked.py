"""Runs the real command line in a real process, without paying for Python's start and imports each time.

A server process imports gdcbuild once and forks a fresh process for each command, with the folder, environment and streams
it asks for. What depends on how Python itself starts (its own variables, the locale) gets a process started from nothing.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).parent.parent
STARTING = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
"""Variables that decide how an interpreter starts, by how their names begin."""

_ORDER = struct.Struct("!I")
_CODE = struct.Struct("!i")


class Ended(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


def run(arguments: Sequence[str], cwd: Path, env: Mapping[str, str], program: str = "gdcbuild.cli") -> Ended:
    """Run `python -m gdcbuild ARGUMENTS` in a folder and an environment. `program` is the module whose `main` that is."""
    if _starting(env) != _starting(os.environ):
        assert program == "gdcbuild.cli"
        command = [sys.executable, "-m", "gdcbuild", *arguments]
        done = subprocess.run(
            command, cwd=cwd, env=dict(env), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        return Ended(done.returncode, done.stdout, done.stderr)
    return _server().run({"arguments": list(arguments), "cwd": str(cwd), "env": dict(env), "program": program})


def _starting(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(STARTING)}


@cache
def _server() -> _Server:
    return _Server()


class _Server:
    """The process that forks. It ends when this one does, since its end of the socket closes then."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        command = [sys.executable, "-m", "tests.forked", str(theirs.fileno())]
        subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()

    def run(self, order: Mapping[str, object]) -> Ended:
        """Have one command run. Each has a connection of its own, so several threads may."""
        ours, theirs = socket.socketpair()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        data = json.dumps(order).encode()
        with self._lock:
            socket.send_fds(self._socket, [_ORDER.pack(len(data))], [out_write, err_write, theirs.fileno()])
            self._socket.sendall(data)
        for fd in (out_write, err_write):
            os.close(fd)
        theirs.close()
        with os.fdopen(out_read) as out, os.fdopen(err_read) as err, ours:
            errors: list[str] = []
            reader = threading.Thread(target=lambda: errors.append(err.read()))
            reader.start()
            printed = out.read()
            reader.join()
            return Ended(_CODE.unpack(ours.recv(_CODE.size))[0], printed, errors[0])


def _serve(fd: int) -> None:
    """Fork for each order until nobody gives any more."""
    import boto3  # noqa: F401 - imported before the fork, like all below

    import gdcbuild.cli.typer_app

    gdcbuild.cli.typer_app.app(["all"])
    for path in sorted((ROOT / "gdcbuild").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if path.stem not in ("__main__", "worker", "child", "guard"):
            with contextlib.suppress(ImportError):
                __import__(name)
    gc.collect()
    gc.freeze()  # so that a child does not copy the pages of what it only reads
    with socket.socket(fileno=fd) as orders:
        while True:
            head, fds, _, _ = socket.recv_fds(orders, _ORDER.size, 3)
            if not head:
                return
            data = b""
            while len(data) < _ORDER.unpack(head)[0]:
                data += orders.recv(_ORDER.unpack(head)[0] - len(data))
            if os.fork() == 0:
                orders.close()
                _wait(json.loads(data), *fds)
            for one in fds:
                os.close(one)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _wait(order: dict[str, object], out: int, err: int, answer: int) -> None:
    """Fork the command, wait for it, and answer with its exit code."""
    pid = os.fork()
    if pid == 0:
        os.close(answer)
        _become(order, out, err)
    os.close(out)
    os.close(err)
    os.write(answer, _CODE.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
    os._exit(0)


def _become(order: dict[str, object], out: int, err: int) -> None:
    """Be `python -m gdcbuild`, as if started from nothing."""
    main = import_module(str(order["program"])).main
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    sys.stdout, sys.stderr = _text(1, "strict"), _text(2, "backslashreplace")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    env, arguments = order["env"], order["arguments"]
    assert isinstance(env, dict)
    assert isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(str(order["cwd"]))
    sys.argv = [str(ROOT / "gdcbuild" / "__main__.py"), *arguments]
    sys.path[0] = os.getcwd()  # noqa: PTH109 - as `-m` has it
    code = 1
    try:
        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _text(fd: int, errors: str) -> IO[str]:
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(fd, "w", closefd=False)), "utf-8", errors, line_buffering=fd == 2)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
