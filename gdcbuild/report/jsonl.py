"""Documents and events for machines, each with a schema number."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from gdcbuild.report import show

if TYPE_CHECKING:
    from gdcbuild.core.events import Event
    from gdcbuild.core.ids import VersionId
    from gdcbuild.core.key import Difference
    from gdcbuild.core.plan import Change, Plan
    from gdcbuild.core.seal import Provenance
    from gdcbuild.core.standing import Standing
    from gdcbuild.core.verdict import Explanation
    from gdcbuild.errors import Problem

SCHEMA = 1


def plan(found: Plan) -> dict[str, Any]:
    """The document of `plan --json`."""
    return {
        "schema": SCHEMA,
        "environment": found.environment,
        "url": found.url,
        "changes": [change(c) for c in found.changes],
        "summary": found.summary,
    }


def status(found: Plan, provenance: Mapping[VersionId, Provenance]) -> dict[str, Any]:
    """The document of `status --json`: that of a plan, with the provenance of each published version."""
    rows = [{**change(c), "provenance": provenance[c.id].to_json() if c.id in provenance else None} for c in found.changes]
    return {**plan(found), "changes": rows}


def change(found: Change) -> dict[str, Any]:
    """A row of a plan."""
    return {
        "model": found.id.model,
        "version": found.id.version,
        "change": str(found.kind),
        "build": str(found.build) if found.build else None,
        "why": found.why,
        "digest": str(found.digest) if found.digest else None,
        "published": f"sha256:{found.published}" if found.published else None,
        "detail": list(found.detail),
    }


def problem(found: Problem) -> dict[str, Any]:
    """A problem."""
    where = found.where._asdict() if found.where else None
    return {"message": found.message, "hint": found.hint, "where": where, "detail": found.detail}


def difference(found: Difference) -> dict[str, Any]:
    """An ingredient of a key that changed."""
    return {"name": found.name, "origin": found.origin, "before": found.before, "after": found.after}


def event(found: Event) -> dict[str, Any]:
    """One line of `apply --json`: its name in snake case and its fields."""
    from dataclasses import fields

    from gdcbuild.core.events import Planned

    name = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(found).__name__).lstrip("_")
    head = {"schema": SCHEMA, "event": name}
    if isinstance(found, Planned):
        return {**head, "jobs": found.total, "plan": plan(found.plan) if found.plan else None}
    return {**head, **{field.name: _plain(getattr(found, field.name)) for field in fields(found)}}


def _plain(value: Any) -> Any:
    """A field of an event, with problems as elsewhere."""
    from gdcbuild.errors import Problem

    if isinstance(value, Problem):
        return problem(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def failure(problems: Iterable[Problem], code: int) -> dict[str, Any]:
    """The output of a command that fails, instead of its document or as its last event."""
    return {"schema": SCHEMA, "event": "failed", "exit_code": code, "problems": [problem(p) for p in problems]}


def dumps(document: Any, stream: TextIO | None = None, indent: int | None = 2) -> str:
    """A document as text for the stream, or stdout: if that is not UTF-8, only ASCII, the rest escaped."""
    encoding = (stream or sys.stdout).encoding or "utf-8"
    return json.dumps(document, indent=indent, ensure_ascii=encoding.lower() not in ("utf-8", "utf8"))


class JsonReporter:
    """Prints one line of JSON for each event, on stdout."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._lock = threading.Lock()

    def emit(self, found: Event) -> None:
        text = dumps(event(found), self._stream, None)
        with self._lock:
            show(text, self._stream)

    def close(self) -> None:
        """Do nothing: all is written."""


def explanations(found: Mapping[VersionId, tuple[Change | None, Iterable[Explanation]]]) -> dict[str, Any]:
    """The document of `explain --json`."""

    def actions(chain: Iterable[Explanation]) -> list[dict[str, Any]]:
        return [
            {
                "action": step.action,
                "verdict": type(step.verdict).__name__.lower(),
                "state": step.state,
                "differences": None if step.differences is None else [difference(d) for d in step.differences],
            }
            for step in chain
        ]

    return {
        "schema": SCHEMA,
        "versions": {str(version): actions(chain) for version, (_, chain) in found.items()},
        "changes": {str(version): change(planned) for version, (planned, _) in found.items() if planned is not None},
    }


def standings(found: Mapping[VersionId, Standing]) -> dict[str, Any]:
    """The document of `verify --json`."""
    from gdcbuild.core.standing import damage

    rows = [
        {"model": v.model, "version": v.version, "standing": type(s).__name__.lower(), "findings": list(damage(s))}
        for v, s in found.items()
    ]
    return {"schema": SCHEMA, "versions": rows}
