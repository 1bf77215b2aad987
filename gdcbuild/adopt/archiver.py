"""The options of torch-model-archiver 0.12, and what --extra-files puts into an archive.

Its own parser cannot be used as a library: it reads sys.argv, and ends the process. A test holds this one against it.
"""

from __future__ import annotations

import argparse
import glob
import os
import posixpath
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Never

from gdcbuild.adopt.findings import UNKNOWN, Packing, shown, unknown
from gdcbuild.errors import Location

RUNTIMES = ("python", "python3", "LSP")
FORMATS = ("tgz", "no-archive", "zip-store", "default")
NO_NAME = re.compile("[\0\ufffd\ud800-\udfff]")
"""Characters that JSON may hold and no path, and the one that stands for bytes that are not UTF-8."""
FILES = ("serialized_file", "model_file", "requirements_file", "config_file")

Entry = str | tuple[str, str]
"""A path or glob, whose files go by their base names; or (from, to)."""

_GLOB = re.compile(r"[*?]|\[.*\]")
_TOP = "./"
"""As `to`: the top of the archive."""


class NotUnderstood(Exception):
    """A command line that torch-model-archiver would refuse, or that names what is not known."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        raise NotUnderstood(f"torch-model-archiver would say: {shown(message)}")


@cache
def parser() -> argparse.ArgumentParser:
    """A parser of its options. Raises NotUnderstood."""
    found = _Parser(prog="torch-model-archiver", add_help=False)
    found.add_argument("-h", "--help", action="store_true")
    for name in ("--model-name", "--handler", "--serialized-file", "--model-file", "--extra-files", "--export-path"):
        found.add_argument(name, required=name in ("--model-name", "--handler"))
    found.add_argument("--runtime", default="python", choices=RUNTIMES)
    found.add_argument("--archive-format", default="default", choices=FORMATS)
    found.add_argument("-f", "--force", action="store_true")
    found.add_argument("-v", "--version", required=True)
    found.add_argument("-r", "--requirements-file")
    found.add_argument("-c", "--config-file")
    return found


def packing(arguments: list[str], folder: str, where: Location) -> Packing:
    """What a command line packs when it runs in a folder. Raises NotUnderstood."""
    try:
        given = vars(parser().parse_args(arguments))
    except NotUnderstood as error:
        if found := next(filter(None, map(UNKNOWN.search, arguments)), None):
            raise NotUnderstood(f"{error}; but {found[1]} is known only when it runs") from error
        raise
    return from_options(given, folder, where)


def from_options(given: dict[str, Any], folder: str, where: Location) -> Packing:
    """What options pack, by the names they have in the library; absent ones are None. Raises NotUnderstood."""
    for name, value in given.items():
        option = "--" + name.replace("_", "-")
        if name != "export_path" and isinstance(value, str) and (found := UNKNOWN.search(value)):
            what = found[1].partition(", which ")[0]
            raise NotUnderstood(f"{option} is {shown(value).rstrip(',')}, and {what} is known only when it runs")
        if isinstance(value, str) and NO_NAME.search(value):
            raise NotUnderstood(f"{option} is {value!a}, which no file in UTF-8 can name")
    if found := UNKNOWN.search(folder):
        raise NotUnderstood(f"the folder in which it runs is not known: {found[1]}")
    archive_format = given.get("archive_format") or "default"
    name = given["model_name"] + ("" if archive_format == "no-archive" else ".mar")
    files = [join(folder, given[option]) if given.get(option) else None for option in FILES]
    return Packing(
        where,
        folder,
        posixpath.normpath(posixpath.join(folder, given.get("export_path") or "", name)),
        given["model_name"],
        given["version"],
        given["handler"],
        tuple(join(folder, item) for part in (given.get("extra_files") or "").split(",") if (item := part.strip())),
        given.get("runtime") or "python",
        archive_format,
        *files,
    )


def join(folder: str, path: str) -> str:
    """A path as seen from a folder. A trailing slash stays: it means a folder.

    What is above something unknown is not known either.
    """
    joined = posixpath.join(folder, path)
    if UNKNOWN.search(joined) and ".." in joined.split("/"):
        return posixpath.join("/", unknown(joined))
    return posixpath.normpath(joined) + ("/" if path.endswith("/") else "")


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
