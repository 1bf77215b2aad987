"""Output of commands."""

from __future__ import annotations

import os
from pathlib import Path

_END = 1 << 16
"""Bytes of a log that are read to report a failure. The whole may be gigabytes."""


def end_of(log: Path) -> str:
    """The end of a log; its first line may lack its beginning."""
    with log.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _END))
        return stream.read(_END).decode(errors="replace")
