"""Finds the root manifest, as git finds its repository."""

from __future__ import annotations

import os
from pathlib import Path

from gdcbuild.errors import Problem, UsageError

NAME = "gdcbuild.yaml"


def find(start: Path, file: str | None) -> Path:
    """The root manifest: `file` below `start`, or the nearest gdcbuild.yaml in `start` or above it."""
    if file is not None:
        path = start / file
        if not path.is_file():
            raise UsageError(Problem(_no_file(path), "correct -f, or -C"))
        return path.parent.resolve() / path.name  # a link is where it lies, as when it is found
    if not start.is_dir():
        raise UsageError(Problem(f"there is no folder {start}", "correct -C"))
    for folder in (start.resolve(), *start.resolve().parents):
        path = folder / NAME
        if path.is_file():
            if folder != start.resolve() and path.stat().st_uid not in (0, os.geteuid()):
                # it says what is run; as for git, whoever can write above us is not obeyed for that
                raise UsageError(Problem(f"{path}, found above, belongs to another user", f"if it is to be used: -f {path}"))
            return path
    raise UsageError(Problem(f"there is no {NAME} here or in a folder above", "write one with: gdcbuild init"))


def _no_file(path: Path) -> str:
    """What is there instead of a file."""
    if path.is_dir():
        return f"{path} is a folder, the root manifest is wanted"
    if path.exists():
        return f"{path} is no regular file"
    return f"{path} is a symlink to nothing" if path.is_symlink() else f"there is no file {path}"
