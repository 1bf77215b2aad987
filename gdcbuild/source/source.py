"""What planning, building and applying need to know about a workspace."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gdcbuild.building.judge import Judge

if TYPE_CHECKING:
    from gdcbuild.core.ids import VersionId
    from gdcbuild.errors import Location
    from gdcbuild.source.environment import Environment


class Source(Judge, Protocol):
    """A workspace as it was when it was read. Every action is judged at most once, and nothing is run.

    Raises ManifestError for problems of the workspace as a whole.
    """

    @property
    def root(self) -> Path:
        """The folder of the root manifest."""
        ...

    def models(self, below: str = "") -> Mapping[str, Collection[str]]:
        """Model id → version ids, for manifests whose path starts with `below`; includes invalid versions."""
        ...

    def environment(self, name: str | None) -> Environment:
        """The environment of that name, or the default one, with its variables resolved."""
        ...

    def where(self, *path: str) -> Location:
        """The location of a key in the root manifest."""
        ...

    def check(self, wanted: Collection[VersionId] | None) -> None:
        """Raise ManifestError for problems of these versions and of everything they need; for None, of the whole workspace.

        Warn about all other problems.
        """
        ...
