"""Arguments and results of the calls of a project. Imported on use: a plan needs none of them."""

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

    At most `jobs` run at a time, by default one per processor. With `keep_going`, a failure stops only what depends on it.
    With `repair`, apply restores what drifted, and seals unmanaged versions with the same bytes. `confirm` gets the plan and
    the environment before anything is done, and may raise; without it, nothing is applied to a protected environment.
    """

    jobs: int | None = None
    keep_going: bool = False
    repair: bool = False
    confirm: Callable[[Plan, Environment], None] | None = None


class Status(NamedTuple):
    """The plan, and the state of each version in the bucket."""

    plan: Plan
    standings: Mapping[VersionId, Standing]

    @property
    def provenance(self) -> dict[VersionId, Provenance]:
        """What each published version was made from, if its seal records it."""
        published = ((id, s.provenance) for id, s in self.standings.items() if isinstance(s, Published))
        return {id: origin for id, origin in published if origin is not None}


class Verification(NamedTuple):
    """The state of each version in the bucket. Those in `unknown` are not in the manifest."""

    standings: Mapping[VersionId, Standing]
    unknown: Collection[VersionId] = ()

    @property
    def damaged(self) -> dict[VersionId, tuple[str, ...]]:
        """What is wrong with each damaged version, one line per file."""
        return {id: lines for id, standing in self.standings.items() if (lines := damage(standing))}


class Explained(NamedTuple):
    """The change planned for a version, if an environment is chosen, and why each action runs or not, its own first."""

    change: Change | None
    actions: Sequence[Explanation]
