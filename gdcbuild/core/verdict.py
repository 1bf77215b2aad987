"""The verdict on an action: up to date, to be built because of something, or unknown until something else is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gdcbuild.core.digest import Tree
from gdcbuild.core.key import Difference, Key


@dataclass(frozen=True, slots=True)
class Taken:
    """No work: the artifact is files of the workspace, unchanged."""

    tree: Tree


@dataclass(frozen=True, slots=True)
class Hit:
    """Up to date: the action cache has the result of these inputs. `bound` files depend on where the cache is."""

    key: Key
    tree: Tree
    bound: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Miss:
    """To be built, because of `why`."""

    key: Key
    why: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Unknown until `until` (an action or a toolchain) has been built."""

    until: str
    why: str


def tied(bound: Sequence[str]) -> str:
    """The message about files that contain the path of their working folder."""
    more = f" and {len(bound) - 3} more" if len(bound) > 3 else ""
    verb = "contains" if len(bound) == 1 else "contain"
    return f"not reproducible: {', '.join(bound[:3])}{more} {verb} the path of the working folder"


Verdict = Taken | Hit | Miss | Unknown


@dataclass(frozen=True, slots=True)
class Explanation:
    """One action of the chain. `differences` is None if no earlier result is recorded."""

    action: str
    verdict: Verdict
    differences: tuple[Difference, ...] | None

    @property
    def state(self) -> str:
        """One line for people."""
        match self.verdict:
            case Taken():
                return "files of the workspace, unchanged"
            case Hit(_, _, bound):
                return f"up to date; {tied(bound)}" if bound else "up to date"
            case Miss(_, why):
                return f"to build: {why}"
            case Unknown(_, why):
                return f"unknown: {why}"
