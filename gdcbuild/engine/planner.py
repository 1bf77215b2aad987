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


def plan(
    desired: Mapping[VersionId, Desired],
    observed: Observation,
    environment: str,
    url: str,
    immutable: bool,
    repair: bool = False,
) -> Plan:
    """The change of every desired version, and a row for each orphan that was observed. All sorted.

    With `repair`, drift is to be put back, and what others published with the same bytes is to be sealed.
    """
    changes = [_change(id, version, observed, immutable, repair) for id, version in desired.items()]
    changes += [
        Change(id, Kind.ORPHAN, None, "published, but not in the manifest", None, sealed.digest)
        for id, sealed in observed.orphans.items()
    ]
    return Plan(environment, url, tuple(sorted(changes, key=lambda c: c.id)))


def _change(id: VersionId, desired: Desired, observed: Observation, immutable: bool, repair: bool) -> Change:
    sealed = observed.sealed.get(id)
    published = sealed.digest if sealed else None
    digest = desired.tree.digest if desired.tree is not None else None
    other = Kind.CONFLICT if immutable else Kind.REPLACE
    lines: tuple[str, ...] = ()
    if digest is None and (sealed or id in observed.foreign):
        kind, why = Kind.UNKNOWN, desired.why if sealed else f"published by other means; {desired.why}"
    elif digest and immutable and observed.unfinished.get(id, str(digest)) != str(digest):
        kind, why = Kind.CONFLICT, f"it is being published with {observed.unfinished[id]}"
    elif sealed is None and id in observed.foreign:
        unlike = observed.unlike.get(id, ())
        kind, why = _foreign(other, bool(unlike), repair)
        lines = unlike or ("it has no seal",)
    elif sealed is None:
        begun = "a publishing was begun and not ended" if id in observed.unfinished else "not published yet"
        kind, why = Kind.CREATE, "; ".join(w for w in (begun, desired.why) if w)
    elif digest and digest.hash != published:
        kind, why = other, "published with other bytes"
    else:
        lines = observed.drift(id)
        kind, why = _sealed(lines, id in observed.unfinished, repair)
    return Change(id, kind, desired.build, why, digest, published, lines)


def _foreign(other: Kind, unlike: bool, repair: bool) -> tuple[Kind, str]:
    if unlike:
        return other, "published by other means, with other bytes"
    same = "published by other means, with the same bytes"
    return (Kind.CREATE, f"{same}; to be sealed") if repair else (Kind.NONE, same)


def _sealed(lines: tuple[str, ...], unfinished: bool, repair: bool) -> tuple[Kind, str]:
    if not lines:
        return Kind.NONE, "up to date"
    if unfinished:
        return Kind.REPLACE, "another publishing was begun and not ended"
    return (Kind.REPLACE, f"to be put back; {lines[0]}") if repair else (Kind.DRIFT, lines[0])
