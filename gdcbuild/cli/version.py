"""gdcbuild version."""

from __future__ import annotations

import sys

from gdcbuild import __version__


def version() -> None:
    """Print the version."""
    sys.stdout.write((f"gdcbuild {__version__}") + "\n")
