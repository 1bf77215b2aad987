"""Text for people: problems, plans, and one line for each thing that is done."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from gdcbuild.core.events import Event, JobFailed, JobFinished, JobNotStarted, JobSkipped, JobStarted, Planned, Summed, Warned
from gdcbuild.core.plan import Change, Explanation, Kind, Plan
from gdcbuild.errors import Problem

_MARKS = {
    Kind.CREATE: "+",
    Kind.REPLACE: "~",
    Kind.UNKNOWN: "?",
    Kind.CONFLICT: "!",
    Kind.DRIFT: "!",
    Kind.ORPHAN: "-",
    Kind.NONE: " ",
}
_COUNTED = {
    Kind.CREATE: "to create",
    Kind.REPLACE: "to replace",
    Kind.UNKNOWN: "to build first",
    Kind.CONFLICT: "in conflict",
    Kind.DRIFT: "drifted",
    Kind.ORPHAN: "not in the manifest",
    Kind.NONE: "up to date",
}


def problem(found: Problem, level: str = "error") -> str:
    """`file:line:column: error: what is wrong`, the mend below it, then any detail."""
    lines = [f"{found.where}: {level}: {found.message}" if found.where else f"{level}: {found.message}"]
    lines += [f"    {line}" for line in found.hint.splitlines()]
    lines += [f"    | {line}" for line in found.detail.splitlines()]
    return "\n".join(lines)


def problems(found: Iterable[Problem]) -> str:
    """Several, one below the other."""
    return "\n".join(problem(p) for p in found)


def plan(found: Plan) -> str:
    """A row for every version that is not up to date, and the counts."""
    rows = [_row(c) for c in found.changes if c.kind is not Kind.NONE]
    head = f"{found.environment}: {found.url}"
    counts = ", ".join(f"{n} {_COUNTED[Kind(kind)]}" for kind, n in found.summary.items()) or "no versions"
    return "\n".join([head, *_columns(rows), f"Plan: {counts}."])


def _row(change: Change) -> tuple[str, str, str, str]:
    build = change.build.value if change.build else ""
    return f"  {_MARKS[change.kind]} {change.id}", change.kind.value, build, change.why


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as aligned columns."""
    return "\n".join(_columns(rows))


def duration(seconds: float) -> str:
    """As short as it can be read: 0.3 s, 12 s, 2 min 5 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def amount(count: int, one: str) -> str:
    """`1 object`, `2 objects`."""
    return f"{count} {one}{'' if count == 1 else 's'}"


def line(event: Event) -> str | None:
    """The line an event is worth, or None. A cached action and an unchanged version did nothing, and are worth none."""
    match event:
        case Planned(found, total):
            return plan(found) if found is not None and (total or found.pending) else None
        case JobStarted(job, "toolchain"):
            return f"installing {job}"
        case JobFinished(job, _, outcome, seconds) if outcome not in ("cached", "unchanged", "sound"):
            return f"{outcome:<10} {job}  {duration(seconds)}"
        case JobFailed(job, what, _, seconds):
            return f"{'failed':<10} {'' if what == 'action' else what + ' '}{job}  {duration(seconds)}"
        case JobSkipped(job, because):
            return f"{'skipped':<10} {job}, because {because} failed"
        case JobNotStarted(job):
            return f"not started {job}"
        case Warned(found):
            return problem(found, "warning")
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
    """A line for each finished thing, on stderr: for logs and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()

    def emit(self, event: Event) -> None:
        text = line(event)
        if text is not None:
            with self._lock:
                self._stream.write(text + "\n")
                self._stream.flush()

    def close(self) -> None:
        self._stream.flush()


_STATES = {
    Kind.CREATE: "not published",
    Kind.REPLACE: "outdated",
    Kind.UNKNOWN: "to be built first",
    Kind.CONFLICT: "outdated, and may not change",
    Kind.DRIFT: "drifted",
    Kind.ORPHAN: "not in the manifest",
    Kind.NONE: "up to date",
}


def status(found: Plan) -> str:
    """A row for every version: what is published, and how it compares."""
    rows = [
        (f"  {c.id}", _STATES[c.kind], f"sha256:{c.published[:12]}" if c.published else "-", "; ".join(c.detail))
        for c in found.changes
    ]
    return "\n".join([f"{found.environment}: {found.url}", *_columns(rows)])


def explanations(found: Mapping[str, Iterable[Explanation]]) -> str:
    """For each version its chain of actions, each with what changed since its last result."""
    lines = []
    for version, chain in found.items():
        lines.append(f"{version}:")
        for step in chain:
            lines.append(f"  {step.action}: {step.state}")
            for d in step.differences or ():
                lines += [f"      {d}", f"        before  {d.before or '-'}", f"        after   {d.after or '-'}"]
    return "\n".join(lines)
