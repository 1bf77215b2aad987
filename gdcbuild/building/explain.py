"""Why a version is built or not: its action and all above it, each compared with its last result."""

from __future__ import annotations

from gdcbuild.building.judge import Judged
from gdcbuild.building.rebuilder import Rebuilder
from gdcbuild.core.graph import Graph
from gdcbuild.core.ids import VersionId
from gdcbuild.core.verdict import Explanation, Miss


def explain(graph: Graph, judged: Judged, version: VersionId, rebuilder: Rebuilder) -> list[Explanation]:
    """The version's own action first, then those it needs, last in build order first."""
    needed = graph.closure([graph.versions[version].action])
    chain = []
    for action, verdict in reversed(list(judged.verdicts.items())):
        if action in needed:
            found = rebuilder.explain(graph.actions[action], verdict.key) if isinstance(verdict, Miss) else None
            chain.append(Explanation(action, verdict, None if found is None else tuple(found)))
    return chain
