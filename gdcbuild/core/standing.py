"""The state of a version in the bucket: one of four standings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gdcbuild.core.objects import RemoteObject
    from gdcbuild.core.seal import Provenance

BEGUN = "a publish was started but not finished"


class Absent(NamedTuple):
    """No object, seal or claim."""


class Unfinished(NamedTuple):
    """A claim and no seal: a publish was started but not finished.

    `claimed` is the digest being written, `files` (path → object) what was uploaded so far. `unlike` says how these differ
    from the artifact, once they have been compared; a missing file is not a difference.
    """

    claimed: str
    files: Mapping[str, RemoteObject]
    unlike: tuple[str, ...] = ()


class Unmanaged(NamedTuple):
    """Objects (path → object) without seal or claim: not published by gdcbuild.

    `unlike` says how they differ from the artifact, once they have been compared.
    """

    files: Mapping[str, RemoteObject]
    unlike: tuple[str, ...] = ()


class Published(NamedTuple):
    """A seal, of the tree with this digest (64 hex digits).

    `drift` says how the objects differ from the seal, one line per file. If they do, `claimed` is the digest of a newer,
    unfinished publish, or "". `provenance` says what it was made from, if the seal was read and has it.
    """

    digest: str
    drift: tuple[str, ...] = ()
    claimed: str = ""
    provenance: Provenance | None = None


Standing = Absent | Unfinished | Unmanaged | Published


def damage(standing: Standing) -> tuple[str, ...]:
    """What is wrong with a version in the bucket, one line per file. Empty if nothing was ever published."""
    match standing:
        case Absent():
            return ()
        case Unfinished():
            return (BEGUN, "it has no seal")
        case Unmanaged():
            return ("it has no seal: not published by gdcbuild",)
        case Published(_, drift, claimed):
            return (BEGUN, *drift) if claimed else drift
