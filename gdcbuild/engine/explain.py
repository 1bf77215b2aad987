"""Why a version is built or not: its action and all above it, each compared with its last result."""

from __future__ import annotations

from gdcbuild.core.graph import Graph
from gdcbuild.core.ids import VersionId
from gdcbuild.core.verdict import Explanation, Miss
from gdcbuild.engine.judge import judge
from gdcbuild.engine.rebuilder import Rebuilder


def explain(graph: Graph, version: VersionId, rebuilder: Rebuilder) -> list[Explanation]:
    """The version's own action first, then those it needs, nearest last made first."""
    judged = judge(graph, [version], rebuilder)
    chain = []
    for action, verdict in reversed(list(judged.verdicts.items())):
        found = rebuilder.explain(graph.actions[action], verdict.key) if isinstance(verdict, Miss) else None
        chain.append(Explanation(action, verdict, None if found is None else tuple(found)))
    return chain
