"""The verdict on every action that some versions need, and what these versions should be. Runs nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from gdcbuild.building import standins
from gdcbuild.building.artifacts import Artifact
from gdcbuild.building.rebuilder import Rebuilder
from gdcbuild.core.graph import Action, Graph, SourceFile
from gdcbuild.core.ids import VersionId
from gdcbuild.core.parallel import each
from gdcbuild.core.plan import Build, Desired
from gdcbuild.core.verdict import Hit, Miss, Taken, Unknown, Verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on every action that some versions need, in order, and the artifacts that are known."""

    verdicts: Mapping[str, Verdict]
    made: Mapping[str, Artifact]


NOTHING = Judged({}, {})


class Work(NamedTuple):
    """A graph, the verdicts on the wanted actions, and the rebuilder of their artifacts."""

    graph: Graph
    judged: Judged
    rebuilder: Rebuilder


class Judge(Protocol):
    """Says what versions should be, and what it takes to build them. Judges every action once, and runs nothing."""

    def desired(self, wanted: Collection[VersionId]) -> Mapping[VersionId, Desired]:
        """What each of the versions should be, as far as known; versions with mistakes are left out."""
        ...

    def work(self, wanted: Collection[VersionId]) -> Work:
        """What it takes to build the versions. Raises ManifestError for mistakes in them.

        Raises ResultChanged if one of them is no longer what `desired` said: then the source must be read and the plan made
        again.
        """
        ...


def judge(graph: Graph, wanted: Iterable[VersionId], rebuilder: Rebuilder, known: Judged = NOTHING) -> Judged:
    """Judge the wanted versions' actions and all they need, except those in `known`. Runs nothing."""
    needed = graph.closure(graph.versions[v].action for v in wanted)
    fresh = needed - known.verdicts.keys()
    workspace = rebuilder.ports.workspace
    sources = {i.origin.path for a in fresh for i in graph.actions[a].inputs if isinstance(i.origin, SourceFile)}
    each(len(os.sched_getaffinity(0)), workspace.digest, workspace.slow(sources))
    standins.refuse(graph, fresh, workspace)
    verdicts: dict[str, Verdict] = {}
    made: dict[str, Artifact] = {}
    for action in graph.order:
        if action in needed:
            if action in fresh:
                verdicts[action], artifact = rebuilder.judge(graph.actions[action], made)
            else:
                verdicts[action], artifact = known.verdicts[action], known.made.get(action)
            if artifact is not None:
                made[action] = artifact
    return Judged(verdicts, made)


def desired(graph: Graph, wanted: Iterable[VersionId], judged: Judged) -> dict[VersionId, Desired]:
    """What each of the wanted versions should be, as far as the verdicts tell."""
    return {v: _desired(graph.actions[graph.versions[v].action], judged) for v in wanted}


def _desired(action: Action, judged: Judged) -> Desired:
    match judged.verdicts[action.id]:
        case Taken(tree):
            return Desired(Build.SOURCE, "", tree)
        case Hit(_, tree):
            return Desired(Build.CACHED, "", tree)
        case Miss(key, why):
            return Desired(Build.BUILD, why, None, key.hash if action.is_pure else "")
        case Unknown(_, why):
            return Desired(Build.BUILD, why, None)
