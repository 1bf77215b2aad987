"""The verdict on every action that some versions need, and what these versions should be. Runs nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gdcbuild.core.graph import Graph, SourceFile
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Build, Desired
from gdcbuild.core.recipe import Recipe
from gdcbuild.core.verdict import Hit, Miss, Taken, Unknown, Verdict
from gdcbuild.engine.artifacts import Artifact
from gdcbuild.engine.parallel import each
from gdcbuild.engine.rebuilder import Rebuilder


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on every action that some versions need, in order, the artifacts that are known, and all recipes."""

    verdicts: Mapping[str, Verdict]
    made: Mapping[str, Artifact]
    recipes: Mapping[str, Recipe]


def judge(graph: Graph, wanted: Iterable[VersionId], rebuilder: Rebuilder) -> Judged:
    """Judge the wanted versions' actions and all they need. Runs nothing."""
    needed = graph.closure(graph.versions[v].action for v in wanted)
    workspace = rebuilder.ports.workspace
    sources = {i.origin.path for a in needed for i in graph.actions[a].inputs if isinstance(i.origin, SourceFile)}
    each(len(os.sched_getaffinity(0)), workspace.digest, workspace.slow(sources))
    verdicts: dict[str, Verdict] = {}
    made: dict[str, Artifact] = {}
    recipes: dict[str, Recipe] = {}
    for action in graph.order:
        if action in needed:
            verdicts[action], artifact = rebuilder.judge(graph.actions[action], made)
            if artifact is not None:
                made[action] = artifact
            recipes[action] = artifact.recipe if artifact is not None else rebuilder.recipe(graph.actions[action], recipes)
    return Judged(verdicts, made, recipes)


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
            return Desired(Build.BUILD, why, None, judged.recipes[action])
