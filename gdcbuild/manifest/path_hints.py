"""Hints for paths that cannot be used: what to write instead."""

from __future__ import annotations

import difflib
import json
import os
import posixpath
import re
import shlex
import unicodedata
from pathlib import Path

from gdcbuild.files import standins

_PLAIN = re.compile(r"[\w.][\w./ -]*")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
DVC = ".dvc"
"""The suffix of DVC's pointer to a file or folder."""

RELATIVE = "paths are relative to the manifest that contains them"
_LONGEST, _LONGEST_NAME = 4095, 255
"""In bytes, the limits of Linux."""


def unfit(text: str, absolute: str) -> tuple[str, str] | None:
    """What is wrong with a path as written, without looking at the disk, and what to write instead.

    `absolute` is the hint for an absolute path.
    """
    if _ADDRESS.match(text):
        return f"{text!r} is a URL, not a path", "download the file into the workspace, and write its path"
    if text.startswith(("/", "~")) or _DRIVE.match(text):
        return f"{text!r} is an absolute path", absolute
    if "\\" in text or any(ord(c) < 32 or ord(c) == 127 for c in text):
        plain = text.replace("\\", "/")
        hint = f"write {plain!r}" if plain.isprintable() else "use / and printable characters"
        return f"{text!r} has a backslash or a control character", hint
    data = os.fsencode(text)
    if len(data) > _LONGEST or any(len(part) > _LONGEST_NAME for part in data.split(b"/")):
        return f"{text[:40]!r}... is too long", f"a name has at most {_LONGEST_NAME} bytes, and a path {_LONGEST}"
    return None


def similar(root: Path, path: str, base: str, relative: str) -> str:
    """A hint for a path that does not exist, written for a manifest in the folder `base`.

    `relative` says what paths are relative to, for when nothing similar exists.
    """
    fetched = by_dvc(root, path)
    if fetched:
        return fetched
    folder, name = posixpath.split(path)
    written_folder = posixpath.relpath(folder or ".", base or ".")
    try:
        names = [p.name for p in (root / folder).iterdir()]
    except NotADirectoryError:
        return f"{written_folder!r} is not a folder"
    except OSError:
        return f"there is no folder {written_folder!r} either"
    for other in names:
        if unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", name):
            written = ascii(posixpath.normpath(posixpath.join(written_folder, other)))[1:-1]
            return f'a file with the same letters in another Unicode form exists: rename it, or write "{written}"'
    if "*" in name or "?" in name:
        return "name one file: globs are allowed only in lists"
    near = difflib.get_close_matches(name, names, 1)
    if not near:
        return relative
    return f"did you mean {posixpath.normpath(posixpath.join(written_folder, near[0]))!r}?"


def by_dvc(root: Path, path: str) -> str:
    """How to fetch a file, or a folder above it, that DVC manages; "" if it does not."""
    above = path
    while above:
        if os.path.lexists(root / f"{above}{DVC}"):
            return f"fetch it: dvc pull {shlex.quote(above + DVC)}"
        above = posixpath.dirname(above)
    return ""


def by_annex(root: Path, path: str) -> str:
    """How to fetch a file that is a broken link into git-annex; "" for anything else."""
    try:
        target = os.readlink(root / path)  # noqa: PTH115 - as it is written
    except OSError:
        return ""
    found = standins.annex(os.fsencode(target))
    return f"fetch it: git annex get {shlex.quote(path)}" if found and not os.path.exists(root / path) else ""  # noqa: PTH110


def content_of(folder: str) -> str:
    """How to include a folder in a list whose files are stored under their base names."""
    name = posixpath.normpath(folder)
    if name == "." or name.endswith(".."):
        return "name the files in it: the whole folder would include the manifest"
    beside, kept = as_value(f"{name}/"), as_value(f"{posixpath.basename(name)}/")
    return f"write {{from: {beside}, to: ./}} for all its files, or to: {kept} to keep the folder"


def as_value(path: str) -> str:
    """A path as a YAML value in a flow mapping, quoted if needed."""
    return path if _PLAIN.fullmatch(path) else json.dumps(path, ensure_ascii=False)
