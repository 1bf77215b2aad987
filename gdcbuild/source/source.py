"""What planning, building and applying need to know of a workspace."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gdcbuild.build.judge import Judge

if TYPE_CHECKING:
    from gdcbuild.core.ids import VersionId
    from gdcbuild.errors import Location
    from gdcbuild.source.environment import Environment


class Source(Judge, Protocol):
    """One workspace, as it was when it was read. Every action is judged once, whoever asks, and nothing is run.

    Raises ManifestError for what is wrong with the workspace as a whole.
    """

    @property
    def root(self) -> Path:
        """The folder of the root manifest."""
        ...

    def models(self, below: str = "") -> Mapping[str, Collection[str]]:
        """Model id → its version ids, of the manifests whose path begins so; those that are wrong, too."""
        ...

    def environment(self, name: str | None) -> Environment:
        """The environment of that name, or the default one. Only now its variables are needed."""
        ...

    def where(self, *path: str) -> Location:
        """The place of a key of the root manifest."""
        ...

    def check(self, wanted: Collection[VersionId] | None) -> None:
        """Raise ManifestError for what is wrong with these versions and with all they need, or with anything at all (None).

        Warns of what is wrong with anything else.
        """
        ...
