"""What a toolchain's requirements file must be: every package pinned."""

from __future__ import annotations

import re
from pathlib import Path

from gdcbuild.errors import Location, Problem

_PINNED = re.compile(r"[A-Za-z0-9._-]+(\[[^]]*\])?\s*==\s*[^\s*;#,]+\s*(;[^#]*)?(\s+--hash=\S+|\s*\\)*\s*(#.*)?$")
_ALLOWED = re.compile(r"\s*(#.*|--(hash|require-hashes|only-binary|no-binary|no-index|prefer-binary)\b.*)?$")


def unpinned(root: Path, path: str) -> list[Problem]:
    """Every line of a requirements file that does not say exactly what is installed."""
    lines = (root / path).read_text(errors="replace").splitlines()
    return [
        Problem(
            f"{line.strip()!r} does not say exactly what is installed",
            "pin it: NAME==VERSION, for every package that pip would install (pip freeze lists them)",
            Location(path, number, 1),
        )
        for number, line in enumerate(lines, 1)
        if not (_ALLOWED.match(line) or _PINNED.match(line.strip()))
    ]
