"""One line for each job that ends: for logs and pipes."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from typing import TextIO

from gdcbuild.core.events import (
    Event,
    JobFailed,
    JobFinished,
    JobNotStarted,
    JobSkipped,
    JobStarted,
    JobWaiting,
    Planned,
    Summed,
    Warned,
)
from gdcbuild.report.text import amount, duration, plan, warning


def line(event: Event) -> str | None:
    """The line for an event, or None. A cached action and an unchanged version did nothing, and have no line."""
    match event:
        case Planned(found, total):
            return plan(found) if found is not None and (total or found.pending) else None
        case JobStarted(job, "toolchain"):
            return f"installing {job}"
        case JobWaiting(job, what):
            return f"{'waiting':<10} for another gdcbuild, which is {'installing' if what == 'toolchain' else 'building'} {job}"
        case JobFinished(job, _, outcome, seconds) if outcome not in ("cached", "unchanged", "sound"):
            return f"{outcome:<10} {job}  {duration(seconds)}"
        case JobFailed(job, what, _, seconds):
            return f"{'failed':<10} {'' if what == 'action' else what + ' '}{job}  {duration(seconds)}"
        case JobSkipped(job, because):
            return f"{'skipped':<10} {job}, because {because} failed"
        case JobNotStarted(job):
            return f"not started {job}"
        case Warned(found):
            return warning(found)
        case Summed():
            return _sum(event)
        case _:
            return None


def _sum(event: Summed) -> str:
    if not (event.actions or event.published or event.objects or event.failed):
        return "Nothing to do: no action ran, no object was written."
    done = (
        f"{amount(event.actions, 'action')} run, {amount(event.published, 'version')} published, "
        f"{amount(event.objects, 'object')} written, {duration(event.seconds)}"
    )
    return f"Failed: {amount(event.failed, 'job')}; {done}." if event.failed else f"Done: {done}."


class LineReporter:
    """Prints a line for each finished job, on stderr: for logs and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        text = line(event)
        if text is not None:
            with self._lock, suppress(OSError):  # a closed stream must not stop the run
                self._stream.write(text + "\n")
                self._stream.flush()

    def close(self) -> None:
        """Do nothing: all is written."""
