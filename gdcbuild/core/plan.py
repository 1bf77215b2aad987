"""The plan as data: what would happen to each version in the bucket, and what it takes."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import NamedTuple

from gdcbuild.core.digest import Digest, Tree
from gdcbuild.core.ids import VersionId
from gdcbuild.errors import Problem, Refused, raise_all


class Kind(StrEnum):
    """What would happen to a version in the bucket."""

    NONE = "none"
    CREATE = "create"
    REPLACE = "replace"
    REPAIR = "repair"
    CONFLICT = "conflict"
    DRIFT = "drift"
    ORPHAN = "orphan"
    UNKNOWN = "unknown"


class Build(StrEnum):
    """What it takes to get the artifact."""

    SOURCE = "source"
    CACHED = "cached"
    BUILD = "build"


class Terms(NamedTuple):
    """What may be done to versions in an environment.

    `immutable`: a published version never changes. `clean`: only committed files are published. `repair`: restore what has
    drifted, and seal versions that gdcbuild did not publish if their bytes are the same.
    """

    environment: str
    immutable: bool = False
    repair: bool = False
    clean: bool = False


class Desired(NamedTuple):
    """What a version should be: where its artifact comes from, why it must be built ("" if it need not), and the artifact.

    `tree` is None while the artifact is not known. `key` is then its action key, if that alone decides its bytes, else "".
    """

    build: Build
    why: str
    tree: Tree | None
    key: str = ""


class Change(NamedTuple):
    """One row of the plan: one version. `digest` is the artifact's, None when it is not known yet (or not ours to know).

    `published` is the digest sealed in the bucket, if any. An orphan has no `build`: the manifest does not know it.
    `hint` says what to do about a conflict that a new version id does not solve. `removed` are the files of a
    replaced version without a seal that the artifact does not have.
    """

    id: VersionId
    kind: Kind
    build: Build | None
    why: str
    digest: Digest | None
    published: str | None = None
    detail: tuple[str, ...] = ()
    hint: str = ""
    removed: tuple[str, ...] = ()


PUBLISHED = frozenset({Kind.CREATE, Kind.REPLACE, Kind.REPAIR, Kind.UNKNOWN})
"""The kinds for which `apply` has something to publish."""

PENDING = PUBLISHED | {Kind.CONFLICT, Kind.DRIFT}


def refused(change: Change, environment: str) -> Refused | None:
    """The error if a version must not be applied, else None."""
    if change.kind is Kind.DRIFT:
        message = f"{change.id} differs from what was published, and is not changed"
        hint = f"find out who changed it; then restore it: gdcbuild apply --repair {change.id} --env {environment}"
    elif change.kind is Kind.CONFLICT:
        state = "cannot be published" if change.hint else "is published and cannot change"
        digests = f" (sha256:{change.published}, now {change.digest})" if change.published else ""
        message = f"{change.id} {state} in {environment}: {change.why}{digests}"
        hint = change.hint or f"give the new artifact a new version id, beside {change.id.version!r}"
    else:
        return None
    return Refused(Problem(message, hint, detail="\n".join(change.detail)))


class Plan(NamedTuple):
    """Sorted rows, one per version."""

    environment: str
    url: str
    changes: tuple[Change, ...]

    @property
    def summary(self) -> dict[str, int]:
        return dict(sorted(Counter(str(c.kind) for c in self.changes).items()))

    @property
    def pending(self) -> bool:
        """True if the bucket differs from the manifest, or might."""
        return any(c.kind in PENDING for c in self.changes)

    @property
    def refusals(self) -> tuple[Refused, ...]:
        """One error for each row that must not be applied."""
        return tuple(error for c in self.changes if (error := refused(c, self.environment)) is not None)

    def refuse_conflicts(self) -> None:
        """Raise Refused when there are rows in conflict, with the problems of all of them."""
        conflicts = Plan(self.environment, self.url, tuple(c for c in self.changes if c.kind is Kind.CONFLICT))
        raise_all(Refused, (problem for error in conflicts.refusals for problem in error.problems))
