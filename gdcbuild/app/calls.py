"""What the calls of a project take and return. Imported when it is used: a plan needs none of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gdcbuild.core.ids import VersionId
from gdcbuild.core.standing import Published, damage

if TYPE_CHECKING:
    from gdcbuild.core.plan import Change, Plan
    from gdcbuild.core.seal import Provenance
    from gdcbuild.core.standing import Standing
    from gdcbuild.core.verdict import Explanation
    from gdcbuild.source.environment import Environment


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
        published = ((id, s.provenance) for id, s in self.standings.items() if isinstance(s, Published))
        return {id: origin for id, origin in published if origin is not None}


class Verification(NamedTuple):
    """What each version is in the bucket. Those that are `unknown` are not in the manifest."""

    standings: Mapping[VersionId, Standing]
    unknown: Collection[VersionId] = ()

    @property
    def damaged(self) -> dict[VersionId, tuple[str, ...]]:
        """What is wrong with each version that is not what was published, one line a file."""
        return {id: lines for id, standing in self.standings.items() if (lines := damage(standing))}


class Explained(NamedTuple):
    """What is to be done with a version, where an environment says so, and why its actions run or not, its own first."""

    change: Change | None
    actions: Sequence[Explanation]
