"""What a toolchain's requirements file says: that every package is pinned, and which packages it names."""

from __future__ import annotations

import re

_PINNED = re.compile(r"[A-Za-z0-9._-]+(\[[^]]*\])?\s*==\s*[^\s*;#,]+\s*(;[^#]*)?(\s+--hash=\S+|\s*\\)*\s*(#.*)?$")
_ALLOWED = re.compile(r"\s*(#.*|--(hash|require-hashes|only-binary|no-binary|no-index|prefer-binary)\b.*)?$")
_NAME = re.compile(r"\s*([A-Za-z0-9._-]+)")


def unpinned(text: str) -> list[tuple[int, str]]:
    """Every line, with its number, that does not say exactly what is installed."""
    return [
        (number, line.strip())
        for number, line in enumerate(text.splitlines(), 1)
        if not (_ALLOWED.match(line) or _PINNED.match(line.strip()))
    ]


def names(text: str) -> set[str]:
    """The packages it names, as pip compares names."""
    found = (_NAME.match(line) for line in text.splitlines() if not _ALLOWED.match(line))
    return {re.sub(r"[-_.]+", "-", match[1]).lower() for match in found if match}
