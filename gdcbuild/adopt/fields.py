"""Fields of a command as they come to be, part by part."""

from __future__ import annotations

import glob
import posixpath
import re
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from gdcbuild.adopt.found import unknown

_NOT_READ = re.compile(r"\*\*|\[\^|\[\[:")
"""What Python's globs read otherwise, or an option of the shell decides."""

_FOR_NONE = frozenset({"nullglob", "failglob"})
"""Options that matter only where nothing is matched."""


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
            is_glob = any(glob.has_magic(text) for text, is_quoted in self._open if not is_quoted)
            pattern = "".join(glob.escape(text) if is_quoted else text for text, is_quoted in self._open)
            self._done.append(("".join(text for text, _ in self._open), pattern if is_glob else ""))
            self._open = []

    def matched(self, folder: str, made: Collection[str], options: Collection[str]) -> Iterator[str]:
        """All of them; of a glob what it matches in a folder, if that is anything. `made` are files that will be there, too.

        `options` are those of the shell that have globs come to something else.
        """
        for text, pattern in self._done:
            if pattern and (_NOT_READ.search(text) or not _FOR_NONE.issuperset(options)):
                yield unknown(text)
            elif pattern:
                found = {*glob.glob(pattern, root_dir=folder), *_made(pattern, folder, made)}
                yield from sorted(found) or [unknown(text) if options else text]
            else:
                yield text


def _made(pattern: str, folder: str, made: Collection[str]) -> Iterator[str]:
    """What a glob matches among files, and the folders they lie in."""
    wanted = pattern.rstrip("/").split("/")
    fixed = next(number for number, part in enumerate(wanted) if glob.has_magic(part))
    before = "".join(f"{part}/" for part in wanted[:fixed])
    root = posixpath.join(posixpath.normpath(posixpath.join(folder, before)), "")
    for path in made:
        parts = path.removeprefix(root).split("/") if path.startswith(root) else []
        pairs = list(zip(parts, wanted[fixed:], strict=False))
        fits = len(parts) >= len(wanted) - fixed + pattern.endswith("/") and not any(part.startswith(".") for part, _ in pairs)
        if fits and all(fnmatchcase(part, glob_part) for part, glob_part in pairs):
            yield before + "/".join(part for part, _ in pairs) + "/" * pattern.endswith("/")
