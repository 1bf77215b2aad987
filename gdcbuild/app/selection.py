"""Selects versions by pattern."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from gdcbuild.core.ids import VersionId
from gdcbuild.errors import Problem, UsageError


class Selection(NamedTuple):
    """Patterns MODEL or MODEL@VERSION, plain or globs. Without `include`, all versions; minus those in `exclude`."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()


ALL = Selection()


Selected = Selection | Sequence[str]
Models = Mapping[str, Collection[str]]
"""Model id → its version ids."""


def selection(select: Selected) -> Selection:
    """The selection from any of the accepted forms."""
    return select if isinstance(select, Selection) else Selection([select] if isinstance(select, str) else select)


def matching(select: Selected, models: Models, default: Callable[[], Models]) -> list[VersionId]:
    """The selected versions of these models, sorted; without `include`, all of `default`.

    Raises UsageError for every pattern that matches no version.
    """
    include, exclude = selection(select)
    found = {p: _matching(p, models) for p in (*include, *exclude)}
    problems = [_unmatched(pattern, models) for pattern, versions in found.items() if not versions]
    if problems:
        raise UsageError(*problems)
    included = {v for p in include for v in found[p]} if include else _matching("*", default())
    return sorted(included.difference(*(found[p] for p in exclude)))


def _unmatched(pattern: str, models: Models) -> Problem:
    from gdcbuild.manifest.validate import did_you_mean

    known = set(models) if "@" not in pattern else {str(v) for v in _matching("*", models)}
    return Problem(f"{pattern!r} matches no version", did_you_mean(pattern, known, "the manifest has no models"))


def _matching(pattern: str, models: Models) -> set[VersionId]:
    """The versions that a pattern matches. Plain names are looked up, for speed."""
    model, at, version = pattern.partition("@")
    return {VersionId(m, v) for m in _named(model, models) for v in (_named(version, models[m]) if at else models[m])}


def _named(pattern: str, names: Collection[str]) -> Collection[str]:
    if not any(c in pattern for c in "*?["):
        return [pattern] if pattern in names else []
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]
