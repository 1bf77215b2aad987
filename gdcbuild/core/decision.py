"""Decides what to do with a version: one pure function of what it should be and what it is in the bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdcbuild.core.plan import Change, Kind
from gdcbuild.core.standing import BEGUN, Absent, Published, Unfinished, Unmanaged

if TYPE_CHECKING:
    from gdcbuild.core.ids import VersionId
    from gdcbuild.core.plan import Desired, Terms
    from gdcbuild.core.standing import Standing

SAME = "up to date: published from the same inputs"


_Decision = tuple[Kind, str, tuple[str, ...], str]
"""Kind, reason, how the bucket differs, and a hint if the usual one would be wrong."""


def change_of(id: VersionId, desired: Desired, standing: Standing, terms: Terms) -> Change:
    """Decide what to do with a version, from its standing and what is desired. Pure."""
    match standing:
        case Absent():
            found = _decision(Kind.CREATE, _because("not published yet", desired))
        case Unfinished():
            found = _unfinished(id, desired, standing, terms)
        case Unmanaged():
            found = _unmanaged(desired, standing, terms)
        case Published():
            found = _published(id, desired, standing, terms)
    kind, why, detail, hint = found
    digest = desired.tree.digest if desired.tree is not None else None
    published = standing.digest if isinstance(standing, Published) else None
    removed: tuple[str, ...] = ()
    if kind is Kind.REPLACE and isinstance(standing, Unfinished | Unmanaged):
        removed = tuple(sorted(path for path in standing.files if path not in (desired.tree or ())))
    return Change(id, kind, desired.build, why, digest, published, detail, hint, removed)


def _decision(kind: Kind, why: str, detail: tuple[str, ...] = (), hint: str = "") -> _Decision:
    return kind, why, detail, hint


def _published(id: VersionId, desired: Desired, standing: Published, terms: Terms) -> _Decision:
    drift, claimed = standing.drift, standing.claimed
    if drift and not claimed and not terms.repair:
        # someone unknown put these objects there; never delete them unasked
        return _decision(Kind.DRIFT, drift[0], drift)
    if desired.tree is None:
        origin = standing.provenance
        same = not drift and origin is not None and origin.key == desired.key != ""
        return _decision(Kind.NONE, SAME) if same else _decision(Kind.UNKNOWN, desired.why)
    digest = desired.tree.digest
    if terms.immutable and claimed not in ("", str(digest)):
        return _begun_with_other_bytes(id, claimed)
    if digest.hash != standing.digest:
        why = f"{BEGUN}; {drift[0]}" if claimed else "the published bytes differ"
        return _decision(_other(terms), why, drift)
    if not drift:
        return _decision(Kind.NONE, "up to date")
    if claimed:
        return _decision(Kind.REPLACE, "another publish was started but not finished", drift)
    return _decision(Kind.REPAIR, f"restore what was published; {drift[0]}", drift)


def _unfinished(id: VersionId, desired: Desired, standing: Unfinished, terms: Terms) -> _Decision:
    if not standing.files and not terms.immutable:
        return _decision(Kind.CREATE, _because("not published yet", desired))
    if desired.tree is None:
        # only the artifact's bytes tell whether objects must be deleted or may not change
        return _decision(Kind.UNKNOWN, _because(BEGUN, desired))
    if terms.immutable and standing.claimed != str(desired.tree.digest):
        return _begun_with_other_bytes(id, standing.claimed)
    if standing.unlike:
        return _decision(_other(terms), f"{BEGUN}; {standing.unlike[0]}", standing.unlike)
    return _decision(Kind.CREATE, _because(BEGUN, desired))


def _unmanaged(desired: Desired, standing: Unmanaged, terms: Terms) -> _Decision:
    unlike = standing.unlike
    if desired.tree is None:
        return _decision(Kind.UNKNOWN, _because("not published by gdcbuild", desired))
    if unlike and terms.repair:
        hint = "" if terms.immutable else "exclude it (--exclude), or replace it: apply without --repair"
        why = "not published by gdcbuild, and the bytes differ; --repair does not replace it"
        return _decision(Kind.CONFLICT, why, unlike, hint)
    if unlike:
        return _decision(_other(terms), "not published by gdcbuild, and the bytes differ", unlike)
    same, detail = "not published by gdcbuild, but the bytes are the same", ("it has no seal",)
    return _decision(Kind.REPAIR, f"{same}; a seal is added", detail) if terms.repair else _decision(Kind.NONE, same, detail)


def _other(terms: Terms) -> Kind:
    return Kind.CONFLICT if terms.immutable else Kind.REPLACE


def _begun_with_other_bytes(id: VersionId, claimed: str) -> _Decision:
    hint = (
        f"give the new artifact a new version id, beside {id.version!r}, or publish the bytes that the unfinished publish has"
    )
    return _decision(Kind.CONFLICT, f"an unfinished publish has {claimed}", hint=hint)


def _because(state: str, desired: Desired) -> str:
    return f"{state}; {desired.why}" if desired.why else state
