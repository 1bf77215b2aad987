"""The command line: one file a command. Here every error is rendered, and turned into an exit code, once."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType

from gdcbuild.errors import GdcbuildError, Interrupted, Problem, of_system

_SIGNALLED = 128
"""Exit codes above it say by which signal a command was ended."""


class _Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: ends as an interrupt does, with its own exit code."""


def main() -> None:
    """The console script."""
    if sys.getfilesystemencoding() != "utf-8":
        # a file's name goes into artifacts, and must be the same text in every locale
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - it is this very program
    code = run(sys.argv[1:])
    # Threads of what was interrupted may wait for a server, and Python would wait for them. Else, where nothing is open,
    # putting a plan's objects away would take as long as making it.
    if code > _SIGNALLED or "sqlite3" not in sys.modules:
        with suppress(OSError):  # whoever read our output may have been interrupted too
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code."""
    gc.disable()  # looking for cycles among a thousand modules' objects takes a tenth of a plan; see Project for what works
    from gdcbuild.cli.reading import read

    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by whoever started us
            setattr(sys, stream, io.StringIO())
    ended = {"code": 130}

    def terminate(number: int, _frame: FrameType | None) -> None:
        ended["code"] = _SIGNALLED + number
        raise _Terminated

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup it stays ignored
            signal.signal(number, terminate)
    try:
        found = read(["version"] if arguments == ["--version"] else arguments)  # as most programs are asked
        if found is not None:
            code = found[0](**found[1])
        else:
            from gdcbuild.cli import commands

            code = commands.run(arguments)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except Interrupted as error:
        _say(error.problems)
        return ended["code"]
    except GdcbuildError as error:
        _say(error.problems)
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return ended["code"]
    except BrokenPipeError:
        # whoever read our output has gone: not an error, and nothing more may be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _say([of_system(error)])
        return 1


def _say(problems: Iterable[Problem]) -> None:
    from gdcbuild.report import text

    sys.stderr.write(text.problems(problems) + "\n")
