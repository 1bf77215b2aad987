"""For a terminal: finished jobs scroll by; below them are the running jobs, their progress, and how many wait."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

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

from gdcbuild.core.events import (
    Event,
    JobFailed,
    JobFinished,
    JobNotStarted,
    JobSkipped,
    JobStarted,
    Planned,
    Progress,
    Reading,
    Summed,
    What,
)
from gdcbuild.report.lines import line

_VERBS = {"toolchain": "installing", "action": "building", "check": "checking", "publish": "publishing"}


class _Bytes(ProgressColumn):
    """Bytes read or sent, and the total, if known."""

    def render(self, task: Task) -> Text:
        if not task.total:
            return Text("")
        return Text(f"{task.completed / 1e6:.1f} of {task.total / 1e6:.1f} MB")


class TerminalReporter:
    """Redraws a few lines at the bottom of the terminal."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, no_color=bool(os.environ.get("NO_COLOR")))
        self._bars = Bars(
            SpinnerColumn("dots" if self._console.encoding.startswith("utf") else "line"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            _Bytes(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._lock = threading.Lock()
        self._running: dict[str, TaskID] = {}
        self._total = 0
        self._ended = 0
        self._last: What = "publish"
        self._head: TaskID | None = None
        self._gone = False
        """Whether the terminal is gone."""

    def emit(self, event: Event) -> None:
        with self._lock:
            if self._gone:
                return
            try:
                self._track(event)
                text = line(event)
                if text is not None:
                    self._console.print(text, markup=False, soft_wrap=True)
            except OSError:  # the terminal is gone; the run continues
                self._gone = True
                self._stop()

    def close(self) -> None:
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        with suppress(OSError):
            self._bars.stop()

    def _track(self, event: Event) -> None:
        match event:
            case Planned(plan, total):
                for earlier in self._bars.task_ids:  # of a run that is started again
                    self._bars.remove_task(earlier)
                self._running.clear()
                self._total, self._ended, self._head = total, 0, None
                self._last = "publish" if plan is not None else "check"
                if total:
                    self._head = self._bars.add_task("", total=None)
                    self._bars.start()
            case JobStarted(job, what):
                self._running[f"{what} {job}"] = self._bars.add_task(f"{_VERBS[what]} {job}", total=None)
            case Progress(job, sent, total):
                task = self._running.get(f"publish {job}")
                if task is not None:
                    self._bars.update(task, completed=sent, total=total)
            case Reading(job, path, done, total):
                self._read(job, path, done, total)
            case JobFinished(job, what) | JobFailed(job, what):
                self._remove(f"{what} {job}")
                self._ended += what in ("action", self._last) or (what == "check" and isinstance(event, JobFailed))
            case JobSkipped() | JobNotStarted():
                self._ended += 1
            case Summed():
                self._bars.stop()
            case _:
                pass
        if self._head is not None:
            jobs = sum(not key.startswith(("toolchain", "hash")) for key in self._running)
            waiting = max(0, self._total - self._ended - jobs)
            self._bars.update(self._head, description=f"{self._ended} done, {jobs} running, {waiting} waiting")

    def _read(self, job: str, path: str, done: int, total: int) -> None:
        """Show the progress of reading a file: beside its action, or on its own line until its digest is known."""
        if job:
            task = self._running.get(f"action {job}")
            if task is not None:
                self._bars.update(task, description=f"building {job} from {path}", completed=done, total=total)
            return
        key = f"hash {path}"
        if done >= total:
            self._remove(key)
            if self._head is None and not self._running:
                self._bars.stop()  # the next output may go to the terminal directly
        elif key in self._running:
            self._bars.update(self._running[key], completed=done, total=total)
        else:
            self._running[key] = self._bars.add_task(f"hashing {path}", completed=done, total=total)
            self._bars.start()

    def _remove(self, key: str) -> None:
        task = self._running.pop(key, None)
        if task is not None:
            self._bars.remove_task(task)
