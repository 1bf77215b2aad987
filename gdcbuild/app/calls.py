"""What the calls of a project take and return."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gdcbuild.core.ids import VersionId
from gdcbuild.errors import Problem, UsageError

if TYPE_CHECKING:
    from gdcbuild.core.plan import Change, Plan
    from gdcbuild.core.seal import Provenance
    from gdcbuild.core.standing import Standing
    from gdcbuild.core.verdict import Explanation
    from gdcbuild.source.environment import Environment


class Selection(NamedTuple):
    """Which versions: MODEL, MODEL@VERSION or globs of either; none means all. `exclude` takes away."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()


ALL = Selection()


class Options(NamedTuple):
    """How build and apply run.

    At most `jobs` run at a time, by default one for each processor. With `keep_going`, a failure stops only what needs what
    failed. With `repair`, apply puts back what drifted, and seals what others published with the same bytes. `confirm` is
    shown the plan and the environment before anything is done, and may raise; without it, nothing is applied to a
    protected environment.
    """

    jobs: int | None = None
    keep_going: bool = False
    repair: bool = False
    confirm: Callable[[Plan, Environment], None] | None = None


class Status(NamedTuple):
    """The plan, and what each version is in the bucket."""

    plan: Plan
    standings: Mapping[VersionId, Standing]

    @property
    def provenance(self) -> dict[VersionId, Provenance]:
        """What each published version was made from, where its seal says so."""
        from gdcbuild.core.standing import Published

        published = ((id, s.provenance) for id, s in self.standings.items() if isinstance(s, Published))
        return {id: origin for id, origin in published if origin is not None}


class Verification(NamedTuple):
    """What each version is in the bucket. Those that are `unknown` are not in the manifest."""

    standings: Mapping[VersionId, Standing]
    unknown: Collection[VersionId] = ()

    @property
    def damaged(self) -> dict[VersionId, tuple[str, ...]]:
        """What is wrong with each version that is not what was published, one line a file."""
        from gdcbuild.core.standing import damage

        return {id: lines for id, standing in self.standings.items() if (lines := damage(standing))}


class Explained(NamedTuple):
    """What is to be done with a version, where an environment says so, and why its actions run or not, its own first."""

    change: Change | None
    actions: Sequence[Explanation]


Selected = Selection | Sequence[str]
Models = Mapping[str, Collection[str]]
"""Model id → its version ids."""


def selection(select: Selected) -> Selection:
    """What is selected, however it was given."""
    return select if isinstance(select, Selection) else Selection([select] if isinstance(select, str) else select)


def matching(select: Selected, models: Models, default: Callable[[], Models]) -> list[VersionId]:
    """The versions selected of these models, sorted; all of the `default` when no others are named.

    Raises UsageError for every pattern that matches none.
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
    """The versions that MODEL or MODEL@VERSION names, each a glob or plain. (Plain names are looked up: there may be many.)"""
    model, at, version = pattern.partition("@")
    return {VersionId(m, v) for m in _named(model, models) for v in (_named(version, models[m]) if at else models[m])}


def _named(pattern: str, names: Collection[str]) -> Collection[str]:
    if not any(c in pattern for c in "*?["):
        return [pattern] if pattern in names else []
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]
