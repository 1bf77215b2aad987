"""What a run did, as data."""

from __future__ import annotations

from typing import Literal, NamedTuple

from gdcbuild.core.digest import Digest
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Kind
from gdcbuild.errors import Problem

Ended = Literal["created", "replaced", "repaired", "unchanged", "built", "refused", "failed", "skipped"]
"""How a run ended for a version. `skipped`: not tried, because something else failed first."""


class VersionReport(NamedTuple):
    """One version: the planned change, how it ended, the digest of its artifact if known, and what went wrong."""

    id: VersionId
    change: Kind
    outcome: Ended
    digest: Digest | None
    problems: tuple[Problem, ...] = ()


class Report(NamedTuple):
    """A run of build or apply. Counts are of actions that ran, and of objects that were written to the bucket."""

    environment: str
    versions: tuple[VersionReport, ...]
    actions: int
    objects: int
    seconds: float

    @property
    def published(self) -> tuple[VersionReport, ...]:
        """The versions that were written to the bucket."""
        return tuple(v for v in self.versions if v.outcome in ("created", "replaced", "repaired"))
