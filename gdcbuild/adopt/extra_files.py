"""What --extra-files puts into an archive, as entries of `files`: folders and globs as the archiver reads them."""

from __future__ import annotations

import glob
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

Entry = str | tuple[str, str]
"""A path or glob, whose files go by their base names; or (from, to)."""

_GLOB = re.compile(r"[*?]|\[.*\]")
_TOP = "./"
"""As `to`: the top of the archive."""


def entries(path: str) -> Iterator[Entry]:
    """Entries for one item of --extra-files, an absolute path; none when the archiver finds nothing there.

    What is not there is taken for a file, or for a folder if it ends in "/".
    """
    plain = path.rstrip("/")
    matched = sorted(glob.glob(plain)) if _GLOB.search(plain) else [path]
    if matched == [path] and path.endswith("/"):
        yield from _folder(plain)
    elif (
        matched != [path] and "**" not in plain and matched and all(map(os.path.isfile, matched)) and not _hides(plain, matched)
    ):
        yield plain
    else:
        for match in matched:
            yield from _folder(match) if os.path.isdir(match) else [match]


def _hides(pattern: str, matched: list[str]) -> bool:
    """Whether a manifest's glob would match hidden files as well, which the archiver ignores."""
    return sorted(glob.glob(pattern, include_hidden=True)) != matched


def _folder(path: str) -> Iterator[Entry]:
    """A folder's content at the top of the archive. The archiver ignores some folders, so then each file is named."""
    inside = sorted(Path(path).rglob("*"))
    if not any(p.is_dir() and _is_ignored(p.name) and p.name not in ("__pycache__", ".git") for p in inside):
        if not os.path.isdir(path) or any(p.is_file() for p in inside):
            yield f"{path}/", _TOP
        return
    for file in inside:
        inner = file.relative_to(path)
        if file.is_file() and not any(map(_is_ignored, inner.parts[:-1])):
            below = posixpath.dirname(inner.as_posix())
            yield file.as_posix(), f"{below}/" if below else _TOP


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "__pycache__")
