"""Refuses inputs that are only placeholders for other files, before anything is built from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gdcbuild.core.graph import Action, Files, Graph, Input, SourceFile
from gdcbuild.core.ports import Workspace
from gdcbuild.errors import ManifestError, Problem, raise_all
from gdcbuild.files.standins import may_be_empty


def refuse(graph: Graph, actions: Iterable[str], workspace: Workspace) -> None:
    """Raise ManifestError for every input of these actions that is a Git LFS pointer or another placeholder."""
    raise_all(ManifestError, _problems(graph, actions, workspace))


def _problems(graph: Graph, actions: Iterable[str], workspace: Workspace) -> Iterator[Problem]:
    for identifier in actions:
        for item in graph.actions[identifier].inputs:
            found = workspace.standin(item.origin.path, item.named) if isinstance(item.origin, SourceFile) else None
            if found is not None and not _is_empty_asset(graph.actions[identifier], item, workspace):
                yield found._replace(where=item.where)


def _is_empty_asset(action: Action, item: Input, workspace: Workspace) -> bool:
    """Whether this is an empty file of a SavedModel that is taken as it is, and that TensorFlow would load."""
    if not isinstance(action.run, Files) or item.named or not isinstance(item.origin, SourceFile):
        return False
    return may_be_empty(item.path) and workspace.digest(item.origin.path).size == 0
