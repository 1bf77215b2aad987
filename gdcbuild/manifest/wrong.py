"""Problems of a workspace by the entry they concern, so that everything else can still be built."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping

from gdcbuild.core.keys import Section
from gdcbuild.errors import Location, Problem
from gdcbuild.manifest.model import ID, NAME
from gdcbuild.manifest.yaml import Node

Owner = tuple[str, str]
"""A section and the name of an entry; a version is ("versions", "MODEL@VERSION")."""

_SECTIONS = {"models": ID, "steps": NAME, "frameworks": NAME, "roots": NAME}
"""Section → pattern of its names, for sections whose entries may be wrong without affecting others. Frameworks add theirs."""


class Wrong:
    """Problems by entry. An entry is affected by the problems of everything it needs."""

    def __init__(self) -> None:
        self._problems: dict[str, list[Problem]] = {}
        self._needs: dict[str, set[str]] = {}

    def add(self, name: str, problems: Iterable[Problem] = (), needs: Iterable[str] = ()) -> None:
        self._problems.setdefault(name, []).extend(problems)
        self._needs.setdefault(name, set()).update(needs)

    def of(self, names: Iterable[str]) -> list[Problem]:
        """The problems of these entries and of everything they need."""
        seen: set[str] = set()
        stack = list(names)
        while stack:
            name = stack.pop()
            if name not in seen:
                seen.add(name)
                stack += self._needs.get(name, ())
        return [problem for name in sorted(seen) for problem in self._problems.get(name, ())]

    def all(self) -> list[Problem]:
        return [problem for problems in self._problems.values() for problem in problems]


class Places:
    """Finds the entry that a place in a manifest belongs to."""

    def __init__(self, manifest: Node, sections: Iterable[Section]) -> None:
        names = {**_SECTIONS, **{section.name: NAME for section in sections}}
        starts = {(where.line, where.column): owner for where, owner in _starts(manifest, names)}
        self._starts = sorted(starts)
        self._owners = [starts[start] for start in self._starts]

    def owner(self, where: Location) -> Owner | None:
        """The entry at a place; None outside any entry."""
        found = bisect(self._starts, (where.line, where.column))
        return self._owners[found - 1] if found else None


def versions(manifest: Node) -> dict[str, tuple[str, ...]]:
    """Model id → version ids, for every valid id, whatever else may be wrong."""
    found = {}
    models = manifest.get("models")
    for model, node in models.items() if models else ():
        declared = node.get("versions")
        if re.match(ID, model):
            found[model] = tuple(v for v, _ in declared.items() if re.match(ID, v)) if declared else ()
    return found


def _starts(manifest: Node, names: Mapping[str, str]) -> Iterator[tuple[Location, Owner | None]]:
    """Where each entry starts, and where each section does (None)."""
    for key, section in manifest.items():
        yield manifest.key(key), None
        for name, entry in section.items() if key in names else ():
            owner = (key, name) if re.match(names[key], name) else None
            yield section.key(name), owner
            for part, value in entry.items() if key == "models" and owner else ():
                yield entry.key(part), owner
                for version, _ in value.items() if part == "versions" else ():
                    yield value.key(version), ("versions", f"{name}@{version}") if re.match(ID, version) else owner


def by_owner(manifest: Node, problems: Iterable[Problem], sections: Iterable[Section]) -> Mapping[Owner | None, list[Problem]]:
    """The problems of one manifest by the entry they concern; None for the manifest as a whole."""
    places = Places(manifest, sections)
    found: dict[Owner | None, list[Problem]] = {}
    for problem in problems:
        found.setdefault(places.owner(problem.where) if problem.where else None, []).append(problem)
    return found
