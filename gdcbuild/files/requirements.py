"""A toolchain's requirements file: whether every package is pinned, and which packages it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_PINNED = re.compile(r"[A-Za-z0-9._-]+(\[[^]]*\])?\s*==\s*[^\s*;#,]+\s*(;[^#]*)?(\s+--hash=\S+|\s*\\)*\s*(#.*)?$")
_ALLOWED = re.compile(r"\s*(#.*|--(hash|require-hashes|only-binary|no-binary|no-index|prefer-binary)\b.*)?$")
_NAME = re.compile(r"\s*([A-Za-z0-9._-]+)")
_OPTION = re.compile(r"--?[A-Za-z][a-z-]*")
_SHORT = {"-i": "--index-url", "-f": "--find-links", "-r": "--requirement", "-c": "--constraint", "-e": "--editable"}
_FILE = re.compile(r"://|\.whl\b|\.tar\.gz\b|\.zip\b|^[./]|^[A-Za-z0-9._-]+(\[[^]]*\])?\s*@")


class Vague(NamedTuple):
    """A line that does not fix exactly what is installed, with the hint what to write instead."""

    number: int
    problem: str
    hint: str


def unpinned(text: str) -> Iterator[Vague]:
    """Every line that does not fix exactly what is installed."""
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if not (_ALLOWED.match(line) or _PINNED.match(line)):
            yield Vague(number, *(_of_option(match[0]) if (match := _OPTION.match(line)) else _of_package(line)))


def names(text: str) -> set[str]:
    """The packages in the file, normalized as pip does."""
    found = (_NAME.match(line) for line in text.splitlines() if not _ALLOWED.match(line))
    return {normalized(match[1]) for match in found if match}


def normalized(name: str) -> str:
    """A package's name, normalized as pip does."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _of_option(written: str) -> tuple[str, str]:
    option = _SHORT.get(written[:2], written)
    if option in ("--requirement", "--constraint"):
        return (
            f"{written!r} reads another file, which is not part of the toolchain's digest",
            "copy the lines of that file here",
        )
    if option == "--editable":
        hint = "build a wheel of it, pin NAME==VERSION, and set PIP_FIND_LINKS to the wheel's folder"
        return f"{written!r} installs a link to a folder, whose code can change", hint
    name = option.removeprefix("--")
    hint = f"set the variable PIP_{name.upper().replace('-', '_')}, or `{name}` in pip.conf"
    return f"{written!r} belongs in pip's configuration: package sources differ between machines", hint


def _of_package(line: str) -> tuple[str, str]:
    if _FILE.search(line):
        shown = re.sub(r"//[^/\s]*@", "//", line)  # without a password
        hint = "pin NAME==VERSION, and set PIP_FIND_LINKS to the folder or page that has the file"
        return f"{shown!r} names a file, not a version", hint
    hint = "pin it as NAME==VERSION, and also every package that pip installs with it (pip freeze lists them)"
    return f"{line!r} is not pinned to an exact version", hint
