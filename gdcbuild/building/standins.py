"""Refuses inputs that are only placeholders for other files, before anything is built from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gdcbuild.core.graph import Graph, SourceFile
from gdcbuild.core.ports import Workspace
from gdcbuild.errors import ManifestError, Problem, raise_all


def refuse(graph: Graph, actions: Iterable[str], workspace: Workspace) -> None:
    """Raise ManifestError for every input of these actions that is a Git LFS pointer or another placeholder."""
    raise_all(ManifestError, _problems(graph, actions, workspace))


def _problems(graph: Graph, actions: Iterable[str], workspace: Workspace) -> Iterator[Problem]:
    for identifier in actions:
        for item in graph.actions[identifier].inputs:
            found = workspace.standin(item.origin.path, item.named) if isinstance(item.origin, SourceFile) else None
            if found is not None:
                yield found._replace(where=item.where)
