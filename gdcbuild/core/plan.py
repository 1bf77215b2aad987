"""The plan as data: what each version in the bucket would become, and what it takes."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import NamedTuple

from gdcbuild.core.digest import Digest, Tree
from gdcbuild.core.ids import VersionId
from gdcbuild.errors import Problem, Refused


class Kind(StrEnum):
    """What would happen to a version in the bucket."""

    NONE = "none"
    CREATE = "create"
    REPLACE = "replace"
    CONFLICT = "conflict"
    DRIFT = "drift"
    ORPHAN = "orphan"
    UNKNOWN = "unknown"


class Build(StrEnum):
    """What it takes to have the artifact."""

    SOURCE = "source"
    CACHED = "cached"
    BUILD = "build"


class Desired(NamedTuple):
    """What a version should be: how its artifact comes about, why it must be built ("" when it need not), and the artifact.

    `tree` is None while the artifact is not known. `key` is the action key that it then has, where that alone decides
    its bytes; "" where it does not.
    """

    build: Build
    why: str
    tree: Tree | None
    key: str = ""


class Change(NamedTuple):
    """One row of the plan: one version. `digest` is the artifact's, None when it is not known yet (or not ours to know).

    `published` is the digest sealed in the bucket, if any. An orphan has no `build`: the manifest does not know it.
    `hint` is the mend of a conflict that a new version id is not the first answer to. `removed` are the files of a
    replaced version that no seal speaks for and the artifact does not have.
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


PUBLISHED = frozenset({Kind.CREATE, Kind.REPLACE, Kind.UNKNOWN})
"""The kinds for which apply has something to publish."""

PENDING = frozenset({Kind.CREATE, Kind.REPLACE, Kind.CONFLICT, Kind.DRIFT, Kind.UNKNOWN})


class Plan(NamedTuple):
    """Sorted rows, one a version."""

    environment: str
    url: str
    changes: tuple[Change, ...]

    @property
    def summary(self) -> dict[str, int]:
        return dict(sorted(Counter(str(c.kind) for c in self.changes).items()))

    @property
    def pending(self) -> bool:
        """True when the bucket is not what the manifest says, or may not be."""
        return any(c.kind in PENDING for c in self.changes)

    @property
    def conflicts(self) -> tuple[Refused, ...]:
        """Why rows must not be applied, one error for each that must not."""
        return tuple(
            Refused(
                Problem(
                    f"{c.id} {_refusal(c)} in {self.environment}: {c.why}",
                    c.hint or f"give the new artifact a new version id, beside {c.id.version!r}",
                    detail="\n".join(c.detail),
                )
            )
            for c in self.changes
            if c.kind is Kind.CONFLICT
        )

    def raise_if_unsafe(self) -> None:
        """Raise Refused for every row that must not be applied."""
        if conflicts := self.conflicts:
            raise Refused(*(problem for error in conflicts for problem in error.problems))


def _refusal(change: Change) -> str:
    return "cannot be published" if change.hint else "is published and may not change"
