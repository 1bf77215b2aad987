"""What a version is in the bucket, as it was found: one of four standings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gdcbuild.core.objects import RemoteObject
    from gdcbuild.core.seal import Provenance

BEGUN = "a publish was started but not finished"


class Absent(NamedTuple):
    """Nothing of it is there."""


class Unfinished(NamedTuple):
    """A claim and no seal: a publishing has begun and not ended.

    `claimed` is the digest that it writes, `files` (path → object) what has arrived. `unlike` says how these differ from
    the artifact, once they have been compared; that a file is missing is no difference.
    """

    claimed: str
    files: Mapping[str, RemoteObject]
    unlike: tuple[str, ...] = ()


class Unmanaged(NamedTuple):
    """Objects (path → object), and neither seal nor claim: not published by gdcbuild.

    `unlike` says how they differ from the artifact, once they have been compared.
    """

    files: Mapping[str, RemoteObject]
    unlike: tuple[str, ...] = ()


class Published(NamedTuple):
    """A seal, of the tree with this digest (64 hex digits).

    `drift` says how the objects differ from the seal, one line a file. Where they do, `claimed` is the digest of a newer
    publishing that has begun and not ended, "" where there is none. `provenance` says what it was made from, where the
    seal was read and says so.
    """

    digest: str
    drift: tuple[str, ...] = ()
    claimed: str = ""
    provenance: Provenance | None = None


Standing = Absent | Unfinished | Unmanaged | Published


def damage(standing: Standing) -> tuple[str, ...]:
    """What is wrong with a version in the bucket, one line a file. Nothing, where nothing was ever published."""
    match standing:
        case Absent():
            return ()
        case Unfinished():
            return (BEGUN, "it has no seal")
        case Unmanaged():
            return ("it has no seal: not published by gdcbuild",)
        case Published(_, drift, claimed):
            return (BEGUN, *drift) if claimed else drift
