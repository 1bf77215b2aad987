"""Desired against observed: what is to be done with every version. Builds and writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from gdcbuild.core.decision import change_of
from gdcbuild.core.plan import Change, Kind, Plan

if TYPE_CHECKING:
    from gdcbuild.building.judge import Judge
    from gdcbuild.core.ids import VersionId
    from gdcbuild.core.plan import Desired, Terms
    from gdcbuild.core.standing import Standing
    from gdcbuild.publishing.observe import Bucket, Observation


def survey(
    judge: Judge, wanted: Collection[VersionId], bucket: Bucket, whole_seals: bool = False
) -> tuple[Plan, Mapping[VersionId, Standing]]:
    """The plan for the versions, and what they are in the bucket."""
    desired = judge.desired(wanted)
    observed = bucket.observe(desired, whole_seals)
    return plan(desired, observed, bucket.remote.url, bucket.terms), observed.standings


def plan(desired: Mapping[VersionId, Desired], observed: Observation, url: str, terms: Terms) -> Plan:
    """The change of every desired version, and a row for each orphan that was observed. All sorted."""
    changes = [change_of(id, version, observed.standings[id], terms) for id, version in desired.items()]
    changes += [
        Change(id, Kind.ORPHAN, None, "published, but not in the manifest", None, digest)
        for id, digest in observed.orphans.items()
    ]
    return Plan(terms.environment, url, tuple(sorted(changes, key=lambda c: c.id)))
