"""The plan as data: what each action would do, and what each version in the bucket would become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gdcbuild.core.digest import Digest, Tree
from gdcbuild.core.graph import VersionId
from gdcbuild.core.key import Difference, Key
from gdcbuild.errors import Problem, Refused


@dataclass(frozen=True, slots=True)
class Taken:
    """No work: the artifact is files of the workspace, as they are."""

    tree: Tree


@dataclass(frozen=True, slots=True)
class Hit:
    """Up to date: the action cache knows what these inputs give."""

    key: Key
    tree: Tree


@dataclass(frozen=True, slots=True)
class Miss:
    """To be built, because of `why`."""

    key: Key
    why: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Not to be known until `until` (an action or a toolchain) has been built."""

    until: str
    why: str


Verdict = Taken | Hit | Miss | Unknown


@dataclass(frozen=True, slots=True)
class Explanation:
    """One action of the chain. `differences` is None when nothing is remembered to compare with."""

    action: str
    verdict: Verdict
    differences: tuple[Difference, ...] | None

    @property
    def state(self) -> str:
        """One line for people."""
        match self.verdict:
            case Taken():
                return "files of the workspace, as they are"
            case Hit():
                return "up to date"
            case Miss(_, why):
                return f"to build: {why}"
            case Unknown(_, why):
                return f"unknown: {why}"


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


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the plan: one version. `digest` is the artifact's, None when it is not known yet (or not ours to know).

    `published` is the digest sealed in the bucket, if any. An orphan has no `build`: the manifest does not know it.
    """

    id: VersionId
    kind: Kind
    build: Build | None
    why: str
    digest: Digest | None
    published: str | None = None
    detail: tuple[str, ...] = ()


PENDING = frozenset({Kind.CREATE, Kind.REPLACE, Kind.CONFLICT, Kind.DRIFT, Kind.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Plan:
    """Sorted rows, one a version, and the verdict on every action they need."""

    environment: str
    url: str
    changes: tuple[Change, ...]
    verdicts: Mapping[str, Verdict]

    @property
    def summary(self) -> dict[str, int]:
        return dict(sorted(Counter(str(c.kind) for c in self.changes).items()))

    @property
    def pending(self) -> bool:
        """True when the bucket is not what the manifest says, or may not be."""
        return any(c.kind in PENDING for c in self.changes)

    def raise_if_unsafe(self) -> None:
        """Raise Refused for every row that must not be applied."""
        conflicts = [c for c in self.changes if c.kind is Kind.CONFLICT]
        if conflicts:
            raise Refused(
                *(
                    Problem(
                        f"{c.id} is published and may not change in {self.environment}: {c.why}",
                        f"give the new artifact a new version id, beside {c.id.version!r}",
                        detail="\n".join(c.detail),
                    )
                    for c in conflicts
                )
            )
