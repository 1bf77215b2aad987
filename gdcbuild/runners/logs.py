"""What commands have printed."""

from __future__ import annotations

import os
from pathlib import Path

_END = 1 << 16
"""Bytes of a log that are read to tell of a failure. All of it may be gigabytes."""


def end_of(log: Path) -> str:
    """The end of a log; its first line may lack its beginning."""
    with log.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - _END))
        return stream.read(_END).decode(errors="replace")
