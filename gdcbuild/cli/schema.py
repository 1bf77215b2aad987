"""gdcbuild schema."""

from __future__ import annotations


def schema() -> None:
    """Print the manifest's JSON Schema."""
    from gdcbuild.frameworks import FRAMEWORKS
    from gdcbuild.manifest.schema import json_schema
    from gdcbuild.report import show

    show(json_schema(FRAMEWORKS).rstrip("\n"))
