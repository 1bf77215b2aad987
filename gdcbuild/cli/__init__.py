"""The command line: one file a command. Here every error is rendered, and turned into an exit code, once."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from gdcbuild.errors import GdcbuildError, Interrupted

USAGE = 64


class _Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: ends as an interrupt does, with its own exit code."""


def main() -> None:
    """The console script."""
    if sys.getfilesystemencoding() != "utf-8":
        # a file's name goes into artifacts, and must be the same text in every locale
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - it is this very program
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit code."""
    import typer
    from typer.exceptions import TyperException

    from gdcbuild.cli.commands import app
    from gdcbuild.report import text

    ended = {"code": 130}

    def terminate(number: int, _frame: FrameType | None) -> None:
        ended["code"] = 128 + number
        raise _Terminated

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup it stays ignored
            signal.signal(number, terminate)
    try:
        code = typer.main.get_command(app).main(args=arguments, prog_name="gdcbuild", standalone_mode=False)
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except TyperException as error:
        sys.stderr.write(f"error: {error.format_message()}\n    see: gdcbuild --help\n")
        return USAGE if error.exit_code == 2 else 1
    except Interrupted as error:
        sys.stderr.write(text.problems(error.problems) + "\n")
        return ended["code"]
    except GdcbuildError as error:
        sys.stderr.write(text.problems(error.problems) + "\n")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("error: interrupted\n")
        return ended["code"]
    except BrokenPipeError:
        # whoever read our output has gone: not an error, and nothing more may be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        sys.stderr.write(f"error: {error.filename or 'the system'}: {error.strerror or error}\n")
        return 1
