"""Checks that a toolchain's requirements file pins every package."""

from __future__ import annotations

from pathlib import Path

from gdcbuild.errors import Location, Problem
from gdcbuild.files import requirements


def unpinned(file: Path, shown: str) -> list[Problem]:
    """One problem for each line of a requirements file that does not pin its package."""
    vague = requirements.unpinned(file.read_text(errors="replace"))
    return [Problem(problem, hint, Location(shown, number, 1)) for number, problem, hint in vague]
