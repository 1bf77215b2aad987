"""Which programs of this machine a command starts: its first word, found in PATH, and the interpreters of scripts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from gdcbuild.core.ports import Programs, Workspace
from gdcbuild.errors import ManifestError

_PATH = "/usr/local/bin:/usr/bin:/bin"
_FIRST_LINE = 256
"""Bytes of a script that Linux reads to find its interpreter."""

_MOST = 5
"""Nested interpreters that Linux follows."""


def search_path(variables: Mapping[str, str], bin: Path | None) -> str:
    """The PATH of an action: ours, or the folder of its toolchain's programs before the usual ones."""
    return variables.get("PATH", _PATH) if bin is None else f"{bin}:{_PATH}"


class HostPrograms:
    """Programs by name. `files` are all files of the machine; `variables` is our own environment."""

    def __init__(self, files: Workspace, variables: Mapping[str, str]) -> None:
        self._files = files
        self._variables = variables

    def of(self, command: str, bin: Path | None, env: Mapping[str, str]) -> Programs:
        """The programs of a command; see core.ports.Runner."""
        folders = env.get("PATH", search_path(self._variables, bin)).split(":")
        digests: dict[str, str] = {}
        looked: list[Path] = []
        word = "" if bin is not None and command in ("python", "python3") else command
        while word and word not in digests and len(digests) < _MOST:
            file = _find(word, folders, looked)
            if file is None:
                if bin is None and not _is_input(word):
                    digests[word] = "not found"
                break
            line = _first_line(file)
            if bin is not None and f"{bin}/python".encode() in line:
                break  # a script of the toolchain, whose digest covers it
            digests[word] = self._digest(file)
            word = interpreter(line)
        return Programs(digests, looked)

    def _digest(self, file: Path) -> str:
        try:
            return str(self._files.digest(str(file).lstrip("/")))
        except ManifestError:
            return "not readable"


def interpreter(line: bytes) -> str:
    """The interpreter in the first line of a script, or "". For `env`, the program that it looks for."""
    if not line.startswith(b"#!"):
        return ""
    words = os.fsdecode(line[2:].split(b"\n")[0]).split()
    if words and words[0].rpartition("/")[2] == "env":
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return words[0] if words else ""


def _find(word: str, folders: Iterable[str], looked: list[Path]) -> Path | None:
    """The file to run, searched as the system does; adds every path tried to `looked`."""
    for file in (Path(folder, word) for folder in ([""] if "/" in word else folders)):
        if file.is_absolute():  # a relative path would be an input of the action, and inputs cannot be executed
            looked.append(file)
            if os.access(file, os.X_OK) and file.is_file():
                return file
    return None


def _is_input(word: str) -> bool:
    return "/" in word and not word.startswith("/")


def _first_line(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(_FIRST_LINE)
    except OSError:
        return b""
