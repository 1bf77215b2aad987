"""Fields of a command as they come to be, part by part."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator

_GLOB = re.compile(r"[*?\[]")


class Fields:
    """Those that are complete, each a text and the glob that it is ("" for none), and what there is of one more."""

    def __init__(self) -> None:
        self._done: list[tuple[str, str]] = []
        self._open: list[tuple[str, bool]] = []

    def add(self, text: str, is_quoted: bool) -> None:
        """Add to the field at hand."""
        self._open.append((text, is_quoted))

    def end(self) -> None:
        """Begin another field, if there is one at hand."""
        if self._open:
            is_glob = any(_GLOB.search(text) for text, is_quoted in self._open if not is_quoted)
            pattern = "".join(glob.escape(text) if is_quoted else text for text, is_quoted in self._open)
            self._done.append(("".join(text for text, _ in self._open), pattern if is_glob else ""))
            self._open = []

    def matched(self, folder: str) -> Iterator[str]:
        """All of them; of a glob what it matches in a folder, if that is anything."""
        for text, pattern in self._done:
            yield from (sorted(glob.glob(pattern, root_dir=folder)) if pattern else []) or [text]
