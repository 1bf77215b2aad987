"""The options of torch-model-archiver 0.12.

Its own parser cannot be used as a library: it reads sys.argv, and ends the process. A test holds this one against it.
"""

from __future__ import annotations

import argparse
import posixpath
import re
from functools import cache
from typing import Any, Never

from gdcbuild.adopt.findings import UNKNOWN, Packing, shown, unknown
from gdcbuild.errors import Location

RUNTIMES = ("python", "python3", "LSP")
FORMATS = ("tgz", "no-archive", "zip-store", "default")
NO_NAME = re.compile("[\0\ufffd\ud800-\udfff]")
"""Characters that JSON may hold and no path, and the one that stands for bytes that are not UTF-8."""
FILES = ("serialized_file", "model_file", "requirements_file", "config_file")


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
