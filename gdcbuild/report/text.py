"""Text for people: problems, plans, explanations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from gdcbuild.core.plan import Change, Kind, Plan

if TYPE_CHECKING:
    from gdcbuild.core.ids import VersionId
    from gdcbuild.core.seal import Provenance
    from gdcbuild.core.verdict import Explanation
    from gdcbuild.errors import Problem

_MARKS = {
    Kind.CREATE: "+",
    Kind.REPLACE: "~",
    Kind.REPAIR: "~",
    Kind.UNKNOWN: "?",
    Kind.CONFLICT: "!",
    Kind.DRIFT: "!",
    Kind.ORPHAN: "-",
    Kind.NONE: " ",
}
_COUNTED = {
    Kind.CREATE: "to create",
    Kind.REPLACE: "to replace",
    Kind.REPAIR: "to repair",
    Kind.UNKNOWN: "to build first",
    Kind.CONFLICT: "in conflict",
    Kind.DRIFT: "drifted",
    Kind.ORPHAN: "not in the manifest",
    Kind.NONE: "up to date",
}


FEW = 5
"""Most files or versions that a message names."""

_ESCAPED = {n: ascii(chr(n))[1:-1] for n in (*range(32), *range(127, 160), *range(0x2028, 0x202F), *range(0x2066, 0x206A))}
"""Characters that move the cursor, start a line, reverse the text, or control the terminal otherwise."""

_IN_LOGS = {n: text for n, text in _ESCAPED.items() if n != ord("\t")}


def plain(text: str, escaped: Mapping[int, str] = _ESCAPED) -> str:
    """Text without control characters: names may come from a bucket that others write to. All output passes here."""
    return text if text.isprintable() else text.translate(escaped)


def problem(found: Problem, level: str = "error") -> str:
    """`file:line:column: error: what is wrong`, the hint below it, then any detail."""
    lines = [plain(f"{found.where}: {level}: {found.message}" if found.where else f"{level}: {found.message}")]
    lines += [f"    {plain(line)}" for line in found.hint.splitlines()]
    lines += [f"    | {plain(line, _IN_LOGS)}" for line in found.detail.splitlines()]
    return "\n".join(lines)


def warning(found: Problem) -> str:
    """A problem that does not stop the run."""
    from gdcbuild.errors import Note

    return problem(found, "note" if isinstance(found, Note) else "warning")


def problems(found: Iterable[Problem]) -> str:
    """Several, one below the other."""
    return "\n".join(problem(p) for p in found)


def plan(found: Plan) -> str:
    """A row for every version that is not up to date, or was not published by gdcbuild, and the counts."""
    shown = [c for c in found.changes if c.kind is not Kind.NONE or c.published is None]
    rows = [
        line for change, row in zip(shown, _columns([_row(c) for c in shown]), strict=True) for line in (row, *_removed(change))
    ]
    head = plain(f"{found.environment}: {found.url}")
    counts = ", ".join(f"{n} {_COUNTED[Kind(kind)]}" for kind, n in found.summary.items()) or "no versions"
    return "\n".join([head, *rows, f"Plan: {counts}."])


def _row(change: Change) -> tuple[str, str, str, str]:
    build = change.build.value if change.build else ""
    return f"  {_MARKS[change.kind]} {change.id}", change.kind.value, build, change.why


def _removed(change: Change) -> list[str]:
    few = [f"      removes: {plain(path)}" for path in change.removed[:FEW]]
    more = len(change.removed) - len(few)
    return [*few, f"      and {more} more"] if more else few


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return []
    rows = [tuple(map(plain, row)) for row in rows]
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


_STATES = {
    Kind.CREATE: "not published",
    Kind.REPLACE: "outdated",
    Kind.REPAIR: "to repair",
    Kind.UNKNOWN: "must be built first",
    Kind.CONFLICT: "outdated, and cannot change",
    Kind.DRIFT: "drifted",
    Kind.ORPHAN: "not in the manifest",
    Kind.NONE: "up to date",
}


def status(found: Plan, provenance: Mapping[VersionId, Provenance]) -> str:
    """A row for every version: what is published, from which commit, and how it compares."""
    rows = [
        (
            f"  {c.id}",
            _STATES[c.kind],
            f"sha256:{c.published[:12]}" if c.published else "-",
            _commit(provenance[c.id].commit) if c.id in provenance else "-",
            c.why if c.kind is Kind.UNKNOWN else "; ".join(c.detail),
        )
        for c in found.changes
    ]
    return "\n".join([plain(f"{found.environment}: {found.url}"), *_columns(rows)])


def _commit(found: str) -> str:
    name, dash, dirty = found.partition("-")
    return f"commit {name[:12]}{dash}{dirty}" if found else "-"


def explanations(found: Mapping[VersionId, tuple[Change | None, Sequence[Explanation]]]) -> str:
    """For each version, the change and its chain of actions, each with what changed since its last result."""
    lines = []
    for version, (change, chain) in found.items():
        lines.append(f"{version}: {change.kind}, {change.why}" if change is not None else f"{version}:")
        for step in chain:
            lines.append(f"  {step.action}: {_state(step)}")
            for d in step.differences or ():
                lines += [f"      {d}", f"        before  {d.before or '-'}", f"        after   {d.after or '-'}"]
    return "\n".join(map(plain, lines))


def _state(step: Explanation) -> str:
    """The state of an action. What is in the cache need not be what is published."""
    from gdcbuild.core.verdict import Hit  # only needed here

    cached = isinstance(step.verdict, Hit)
    return f"in the cache{step.state.removeprefix('up to date')}" if cached else step.state
