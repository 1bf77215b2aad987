"""Files that scripts name: whether they are there, and their text."""

from __future__ import annotations

import os
from pathlib import Path

LARGEST = 1 << 24
"""Bytes of a script: what is larger is none, and may have no end."""


def is_folder(path: str) -> bool:
    """Whether a folder is there. A path that no system takes, as scripts may well name, is none: pathlib's would raise."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: str) -> bool:
    """The same of a file."""
    return os.path.isfile(path)  # noqa: PTH113


def text_of(path: str) -> str | None:
    """The text of a script; None when there is none that can be read."""
    if not is_file(path):
        return None
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except OSError:
        return None
    return None if b"\0" in data or len(data) > LARGEST else data.decode("utf-8-sig", "replace")
