"""All output, for people and machines: the only code that formats."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from gdcbuild.errors import named

if TYPE_CHECKING:
    from gdcbuild.core.events import Event
    from gdcbuild.core.ports import Reporter
    from gdcbuild.report.terminal import TerminalReporter


@contextmanager
def closing(reporter: Reporter) -> Iterator[Reporter]:
    """A reporter whose display is cleared at the end, whatever happens."""
    try:
        yield reporter
    finally:
        reporter.close()


class QuietReporter:
    """For read-only commands: warnings, and on a terminal the progress of reading large files."""

    def __init__(self, live: bool) -> None:
        self._live = live
        self._display: TerminalReporter | None = None  # rarely needed, and slow to import

    def emit(self, event: Event) -> None:
        from gdcbuild.core.events import Reading, Warned

        if isinstance(event, Reading) and self._live and self._display is None:
            from gdcbuild.report.terminal import TerminalReporter

            self._display = TerminalReporter()
        if self._display is not None:
            self._display.emit(event)
        elif isinstance(event, Warned):
            from gdcbuild.report import text

            with suppress(OSError):  # an unread warning must not prevent the answer
                sys.stderr.write(text.warning(event.problem) + "\n")

    def close(self) -> None:
        if self._display is not None:
            self._display.close()


def show(text: str, stream: TextIO | None = None) -> None:
    """Write a line of data to stdout. A reader that has gone is fine; other failures are raised with the stream's name."""
    stream = stream or sys.stdout
    try:
        stream.write(text + "\n")
        stream.flush()
    except OSError as error:
        unread(stream)
        if not isinstance(error, BrokenPipeError):
            raise named(error, "standard output") from error


def unread(stream: TextIO) -> None:
    """Discard everything written to the stream from now on: nobody reads it, or it cannot be written."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
