"""For a terminal: what is finished scrolls by; below it stands what runs, what waits, and how far an upload is."""

from __future__ import annotations

import os
import threading

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import (
    Progress as Bars,
)
from rich.text import Text

from gdcbuild.core.events import Event, JobFailed, JobFinished, JobNotStarted, JobSkipped, JobStarted, Planned, Progress, Summed
from gdcbuild.report.lines import line


class _Sent(ProgressColumn):
    """Bytes sent of bytes to send, for uploads only."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text("")
        return Text(f"{task.completed / 1e6:.1f} of {task.total / 1e6:.1f} MB")


class TerminalReporter:
    """Redraws a few lines at the bottom of the terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, no_color=bool(os.environ.get("NO_COLOR")))
        self._bars = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            _Sent(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._lock = threading.Lock()
        self._running: dict[str, TaskID] = {}
        self._total = 0
        self._ended = 0
        self._head: TaskID | None = None

    def emit(self, event: Event) -> None:
        with self._lock:
            self._track(event)
            text = line(event)
            if text is not None:
                self._console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        with self._lock:
            self._bars.stop()

    def _track(self, event: Event) -> None:
        match event:
            case Planned(_, total):
                self._total = total
                if total:
                    self._head = self._bars.add_task("", total=None)
                    self._bars.start()
            case JobStarted(job, what):
                verb = {"toolchain": "installing", "action": "building", "check": "checking", "publish": "publishing"}[what]
                self._running[f"{what} {job}"] = self._bars.add_task(f"{verb} {job}", total=None)
            case Progress(job, sent, total):
                task = self._running.get(f"publish {job}")
                if task is not None:
                    self._bars.update(task, completed=sent, total=total)
            case JobFinished(job, what) | JobFailed(job, what):
                task = self._running.pop(f"{what} {job}", None)
                if task is not None:
                    self._bars.remove_task(task)
                self._ended += what != "toolchain"
            case JobSkipped() | JobNotStarted():
                self._ended += 1
            case Summed():
                self._bars.stop()
            case _:
                pass
        if self._head is not None:
            jobs = sum(not key.startswith("toolchain") for key in self._running)
            waiting = max(0, self._total - self._ended - jobs)
            self._bars.update(self._head, description=f"{self._ended} done, {jobs} running, {waiting} waiting")
