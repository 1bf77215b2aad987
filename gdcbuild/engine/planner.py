"""Desired against observed: the change of every version. Builds and writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gdcbuild.core.plan import Change, Kind, Plan
from gdcbuild.engine.bucket import BEGUN

if TYPE_CHECKING:
    from gdcbuild.core.ids import VersionId
    from gdcbuild.core.plan import Desired
    from gdcbuild.engine.bucket import Observation

SAME = "up to date: published from the same inputs"


def plan(
    desired: Mapping[VersionId, Desired],
    observed: Observation,
    environment: str,
    url: str,
    immutable: bool,
    repair: bool = False,
) -> Plan:
    """The change of every desired version, and a row for each orphan that was observed. All sorted.

    With `repair`, drift is to be put back, and what others published with the same bytes is to be sealed.
    """
    changes = [_change(id, version, observed, immutable, repair) for id, version in desired.items()]
    changes += [
        Change(id, Kind.ORPHAN, None, "published, but not in the manifest", None, sealed.digest)
        for id, sealed in observed.orphans.items()
    ]
    return Plan(environment, url, tuple(sorted(changes, key=lambda c: c.id)))


def _change(id: VersionId, desired: Desired, observed: Observation, immutable: bool, repair: bool) -> Change:
    sealed = observed.sealed.get(id)
    published = sealed.digest if sealed else None
    digest = desired.tree.digest if desired.tree is not None else None
    other = Kind.CONFLICT if immutable else Kind.REPLACE
    lines: tuple[str, ...] = ()
    hint = ""
    if sealed and observed.drift(id) and id not in observed.unfinished and not repair:
        # whatever is to come: what lies there is nobody's that is known, and is not to be removed unseen
        lines = observed.drift(id)
        kind, why = Kind.DRIFT, lines[0]
    elif sealed and digest is None:
        kind, why = (Kind.NONE, SAME) if _is_made_from_the_same(id, desired, observed) else (Kind.UNKNOWN, desired.why)
    elif digest and immutable and observed.unfinished.get(id, str(digest)) != str(digest):
        kind, why = Kind.CONFLICT, f"it was begun with {observed.unfinished[id]}"
        hint = f"give the new artifact a new version id, beside {id.version!r}, or publish once more the bytes that were begun"
    elif sealed is None:
        kind, why, lines = _unsealed(id, desired, observed, other, repair)
        if kind is Kind.CONFLICT and not immutable:
            hint = "leave it out (--exclude), or have it replaced, by an apply without --repair"
    elif digest and digest.hash != published:
        lines = observed.drift(id)
        kind, why = other, f"{BEGUN}; {lines[0]}" if lines and id in observed.unfinished else "published with other bytes"
    else:
        lines = observed.drift(id)
        kind, why = _sealed(lines, id in observed.unfinished, repair)
    removed = _removed(id, desired, observed) if kind is Kind.REPLACE else ()
    return Change(id, kind, desired.build, why, digest, published, lines, hint, removed)


def _is_made_from_the_same(id: VersionId, desired: Desired, observed: Observation) -> bool:
    """Whether what is published, and still lies there, was made from what its artifact would be made from now."""
    origin = observed.provenance.get(id)
    same = origin is not None and origin.key == desired.key != ""
    return same and not observed.drift(id) and id not in observed.unfinished


def _removed(id: VersionId, desired: Desired, observed: Observation) -> tuple[str, ...]:
    there = observed.foreign.get(id) or observed.left.get(id) or ()
    return tuple(sorted(path for path in there if path not in (desired.tree or ())))


def _unsealed(
    id: VersionId, desired: Desired, observed: Observation, other: Kind, repair: bool
) -> tuple[Kind, str, tuple[str, ...]]:
    unlike = observed.unlike.get(id, ())
    begun = id in observed.left or (other is Kind.CONFLICT and id in observed.unfinished)
    state = "published by other means" if id in observed.foreign else BEGUN if begun else "not published yet"
    if desired.tree is None and (begun or id in observed.foreign):
        # what lies there may have to go, or may not change: that is told when the bytes are known
        return Kind.UNKNOWN, f"{state}; {desired.why}", ()
    if id in observed.foreign:
        return *_foreign(other, bool(unlike), repair), unlike or ("it has no seal",)
    if unlike:
        return other, f"{state}; {unlike[0]}", unlike
    return Kind.CREATE, "; ".join(w for w in (state, desired.why) if w), ()


def _foreign(other: Kind, unlike: bool, repair: bool) -> tuple[Kind, str]:
    if unlike:
        others = "published by other means, with other bytes"
        return (Kind.CONFLICT, f"{others}, which a repair leaves alone") if repair else (other, others)
    same = "published by other means, with the same bytes"
    return (Kind.CREATE, f"{same}; to be sealed") if repair else (Kind.NONE, same)


def _sealed(lines: tuple[str, ...], unfinished: bool, repair: bool) -> tuple[Kind, str]:
    if not lines:
        return Kind.NONE, "up to date"
    if unfinished:
        return Kind.REPLACE, "another publishing was begun and not ended"
    return (Kind.REPLACE, f"to be put back; {lines[0]}") if repair else (Kind.DRIFT, lines[0])
