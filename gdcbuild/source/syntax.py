"""Finds files that do not parse before anything is built from them."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from gdcbuild.core.graph import Graph, Input, SourceFile
from gdcbuild.core.ids import VersionId
from gdcbuild.errors import ManifestError, Problem, of_system, raise_all
from gdcbuild.files import standins
from gdcbuild.frameworks import FRAMEWORKS


def refuse_mistakes(graph: Graph, wanted: Iterable[VersionId], root: Path) -> None:
    """Raise ManifestError with every syntax error in the files that these versions are built from."""
    raise_all(ManifestError, _mistakes(graph, wanted, root))


def _mistakes(graph: Graph, wanted: Iterable[VersionId], root: Path) -> Iterator[Problem]:
    shown = os.path.relpath(root, Path.cwd())
    seen: set[tuple[str, Input]] = set()
    for action in map(graph.actions.__getitem__, sorted(graph.closure(graph.versions[v].action for v in wanted))):
        framework = FRAMEWORKS.get(action.kind.partition(".")[0])
        for item in action.inputs if framework is not None else ():
            if not isinstance(item.origin, SourceFile) or (action.kind, item) in seen:
                continue
            seen.add((action.kind, item))
            assert framework is not None
            start = partial(_start, root / item.origin.path)
            display = posixpath.normpath(posixpath.join(shown, item.origin.path))
            try:
                if standins.recognise(item.path, start(standins.MAX_BYTES + 1)):  # reported as such, with what to do
                    continue
                found = framework.mistake(action, item, start)
            except OSError as error:
                found = of_system(error, f"{display} cannot be read", "make the file readable")
            if found is not None:
                yield found._replace(where=found.where._replace(file=display) if found.where else None)


def _start(file: Path, count: int) -> bytes:
    with file.open("rb") as stream:
        return stream.read(count)
