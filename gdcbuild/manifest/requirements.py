"""What a toolchain's requirements file must be: every package pinned."""

from __future__ import annotations

from pathlib import Path

from gdcbuild.core import requirements
from gdcbuild.errors import Location, Problem


def unpinned(file: Path, shown: str) -> list[Problem]:
    """Every line of a requirements file that does not say exactly what is installed."""
    return [
        Problem(
            f"{line!r} does not say exactly what is installed",
            "pin it: NAME==VERSION, for every package that pip would install (pip freeze lists them)",
            Location(shown, number, 1),
        )
        for number, line in requirements.unpinned(file.read_text(errors="replace"))
    ]
