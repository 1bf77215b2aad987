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
ROOT = "./"
"""As `to`: the top of the archive."""


def entries(path: str) -> Iterator[Entry]:
    """Entries for one item of --extra-files, an absolute path; none when the archiver finds nothing there.

    What is not there is taken for a file, or for a folder if it ends in "/".
    """
    plain = path.rstrip("/")
    if not _GLOB.search(plain):
        yield from _folder(plain) if path.endswith("/") or os.path.isdir(plain) else [plain]
        return
    matched = sorted(glob.glob(plain))
    hidden = sorted(glob.glob(plain, include_hidden=True)) != matched
    if not hidden and "**" not in plain and matched and all(os.path.isfile(m) for m in matched):
        yield plain
        return
    for match in matched:
        yield from _folder(match) if os.path.isdir(match) else [match]


def _folder(path: str) -> Iterator[Entry]:
    """A folder's content at the top of the archive. The archiver ignores some folders, so then each file is named."""
    if not _is_filtered(path):
        if not os.path.isdir(path) or any(p.is_file() for p in Path(path).rglob("*")):
            yield f"{path}/", ROOT
        return
    for file in sorted(Path(path).rglob("*")):
        inner = file.relative_to(path)
        if file.is_file() and not any(_passed_over(part) for part in inner.parts[:-1]):
            below = posixpath.dirname(inner.as_posix())
            yield file.as_posix(), f"{below}/" if below else ROOT


def _is_filtered(path: str) -> bool:
    """Whether the archiver packs less of a folder than a manifest's {from, to} would."""
    return any(p.is_dir() and _passed_over(p.name) and p.name not in ("__pycache__", ".git") for p in Path(path).rglob("*"))


def _passed_over(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "__pycache__")
