"""What a version is called."""

from __future__ import annotations

from typing import NamedTuple


class VersionId(NamedTuple):
    """MODEL_ID and MODEL_VERSION_ID."""

    model: str
    version: str

    def __str__(self) -> str:
        return f"{self.model}@{self.version}"
