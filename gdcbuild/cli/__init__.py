"""The command line: one file per command. Errors are rendered and turned into exit codes here."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import FrameType

from gdcbuild.errors import DamageFound, GdcbuildError, Interrupted, Problem, of_system
from gdcbuild.report import unread

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SIGNALLED = 128
"""Exit codes above it are 128 + the number of the signal that ended the command."""

_PATIENCE = 1.0
"""Seconds after which a second Ctrl-C is deliberate: a key may repeat, and a parent process may pass the signal on."""


def main() -> None:
    """The console script."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end_at_once)  # nothing to clean up yet
    if sys.getfilesystemencoding() != "utf-8":
        # a file's name goes into artifacts, and must be the same text in every locale
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - it is this very program
    code = run(sys.argv[1:])
    for number in _STOPS:  # everything is done and reported
        signal.signal(number, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # already reported; Python's own shutdown would change the exit code
            unread(stream)
    # Python would wait for interrupted threads that wait for a server. If no database is open, skip the clean-up of objects,
    # which takes as long as a plan.
    if code > _SIGNALLED or "sqlite3" not in sys.modules:
        os._exit(code)
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code."""
    gc.disable()  # garbage collection takes a tenth of a plan; see options.collecting
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the parent process
            setattr(sys, name, io.StringIO())
        elif isinstance(stream, io.TextIOWrapper):  # escape what the locale cannot show
            stream.reconfigure(errors="backslashreplace")
    stop = _Stop()
    try:
        from gdcbuild.cli.plain_args import read

        stop.listen()
        found = read(["version"] if arguments == ["--version"] else arguments)  # a common habit
        if found is not None:
            code = found[0](**found[1])
        else:
            from gdcbuild.cli import typer_app

            code = typer_app.run(arguments)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except Interrupted as error:
        return stop.told(error.problems, _wants_json(arguments))
    except KeyboardInterrupt:
        return stop.told((Problem("interrupted"),), _wants_json(arguments))
    except GdcbuildError as error:
        told = isinstance(error, DamageFound)  # verify has printed its document
        return _failed(error.problems, error.exit_code, _wants_json(arguments) and not told)
    except BrokenPipeError:
        unread(sys.stdout)  # the reader of our output is gone: not an error
        return 0
    except OSError as error:
        return _failed((of_system(error),), 1, _wants_json(arguments))
    except Exception as error:
        if stop.asked:  # an interrupted import may raise another error
            return stop.told((Problem("interrupted"),), _wants_json(arguments))
        if not (isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "new thread" in str(error))):
            raise
        hint = "allow more (ulimit -u, ulimit -v, the container's limits), or run fewer jobs at a time: -j 1"
        problem = Problem(f"the system is out of memory or threads: {str(error) or 'out of memory'}", hint)
        return _failed((problem,), 1, _wants_json(arguments))


class _Stop:
    """Ctrl-C, SIGTERM or SIGHUP: ends the command cleanly; the second time, immediately. `code` is the exit code."""

    code = 130

    def __init__(self) -> None:
        self._since = 0.0

    def listen(self) -> None:
        sys.unraisablehook = self._lost
        signal.signal(signal.SIGALRM, self._again)
        for number in _STOPS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup it stays ignored
                signal.signal(number, self._asked)

    @property
    def asked(self) -> bool:
        return bool(self._since)

    def told(self, problems: Iterable[Problem], as_json: bool) -> int:
        """Report the interruption. Returns the exit code."""
        if sys.stderr.isatty():
            sys.stderr.write("\n")  # a terminal has shown ^C
        return _failed(problems, self.code, as_json)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if not self._since:
            self.code, self._since = _SIGNALLED + number, time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - self._since > _PATIENCE:
            _end_at_once(number, frame)

    def _lost(self, found: sys.UnraisableHookArgs) -> None:
        """Python drops exceptions raised in callbacks: raise the interruption again shortly after."""
        if issubclass(found.exc_type, KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            sys.__unraisablehook__(found)

    def _again(self, _number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    """Exit without cleaning up, like SIGKILL: the next run cleans up."""
    shown = b"\x1b[?25h\n" if os.isatty(2) else b""  # a display hides the cursor, and a terminal has shown ^C
    with suppress(OSError):
        os.write(2, shown + b"error: interrupted\n")
    os._exit(_SIGNALLED + number)


def _failed(problems: Iterable[Problem], code: int, as_json: bool) -> int:
    """Report problems on stderr, and as JSON on stdout if asked for. Returns the exit code."""
    from gdcbuild.report import text

    with suppress(OSError):  # if nobody can read it, there is still the exit code
        sys.stderr.write(text.problems(problems) + "\n")
    with suppress(OSError):
        if as_json:
            from gdcbuild.report import jsonl, show

            show(jsonl.dumps(jsonl.failure(problems, code), indent=None))
    return code


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for JSON, even if it could not be parsed."""
    from gdcbuild.cli.options import WITH_JSON

    named = next((word for word in arguments if not word.startswith("-")), "")
    asked = os.environ.get("GDCBUILD_JSON", "").lower() in ("1", "true", "t", "yes", "y", "on")
    return named in WITH_JSON and (asked or "--json" in arguments)
