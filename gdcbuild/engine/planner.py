"""Desired against observed: the verdict on every action, and the change of every version. Builds and writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gdcbuild.core.graph import Graph
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Build, Change, Desired, Kind, Plan
from gdcbuild.core.verdict import Hit, Miss, Taken, Unknown, Verdict
from gdcbuild.engine.artifacts import Artifact
from gdcbuild.engine.bucket import Observation
from gdcbuild.engine.rebuilder import Rebuilder


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on every action that some versions need, in order, and the artifacts that are known."""

    verdicts: Mapping[str, Verdict]
    made: Mapping[str, Artifact]


def judge(graph: Graph, wanted: Iterable[VersionId], rebuilder: Rebuilder) -> Judged:
    """Judge the wanted versions' actions and all they need. Runs nothing."""
    needed = graph.closure(graph.versions[v].action for v in wanted)
    verdicts: dict[str, Verdict] = {}
    made: dict[str, Artifact] = {}
    for action in graph.order:
        if action in needed:
            verdicts[action], artifact = rebuilder.judge(graph.actions[action], made)
            if artifact is not None:
                made[action] = artifact
    return Judged(verdicts, made)


def desired(graph: Graph, wanted: Iterable[VersionId], judged: Judged) -> dict[VersionId, Desired]:
    """What each of the wanted versions should be, as far as the verdicts tell."""
    return {v: _desired(graph.versions[v].action, judged) for v in wanted}


def _desired(action: str, judged: Judged) -> Desired:
    match judged.verdicts[action]:
        case Taken(tree):
            return Desired(Build.SOURCE, "", tree)
        case Hit(_, tree):
            return Desired(Build.CACHED, "", tree)
        case Miss(_, why) | Unknown(_, why):
            return Desired(Build.BUILD, why, None)


def plan(desired: Mapping[VersionId, Desired], observed: Observation, environment: str, url: str, immutable: bool) -> Plan:
    """The change of every desired version, and a row for each orphan that was observed. All sorted."""
    changes = [_change(id, version, observed, immutable) for id, version in desired.items()]
    changes += [
        Change(id, Kind.ORPHAN, None, "published, but not in the manifest", None, sealed.digest)
        for id, sealed in observed.orphans.items()
    ]
    return Plan(environment, url, tuple(sorted(changes, key=lambda c: c.id)))


def _change(id: VersionId, desired: Desired, observed: Observation, immutable: bool) -> Change:
    sealed = observed.sealed.get(id)
    published = sealed.digest if sealed else None
    digest = desired.tree.digest if desired.tree is not None else None
    lines: tuple[str, ...] = ()
    if sealed is None:
        begun = "a publishing was begun and not ended" if id in observed.unsealed else "not published yet"
        kind, why = Kind.CREATE, "; ".join(w for w in (begun, desired.why) if w)
    elif digest is None:
        kind, why = Kind.UNKNOWN, desired.why
    elif digest.hash == published:
        lines = tuple(observed.drift(id))
        if lines and id in observed.unfinished:
            kind, why = Kind.REPLACE, "another publishing was begun and not ended"
        else:
            kind, why = (Kind.DRIFT, lines[0]) if lines else (Kind.NONE, "up to date")
    else:
        kind, why = (Kind.CONFLICT if immutable else Kind.REPLACE), "published with other bytes"
    return Change(id, kind, desired.build, why, digest, published, lines)
