"""gdcbuild version."""

from __future__ import annotations

from gdcbuild import __version__
from gdcbuild.report import show


def version() -> None:
    """Print the version."""
    show(f"gdcbuild {__version__}")
