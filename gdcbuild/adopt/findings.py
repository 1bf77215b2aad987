"""What was found in scripts and lists: archives that are packed, and where they go. Paths are absolute and may not exist."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gdcbuild.errors import Location, Problem

LARGEST = 1 << 24
"""Bytes of a script. Anything larger is not one, and may have no end."""

TRACE = "write out what it comes to; or import the trace of a run: bash -x SCRIPT 2>&1 | grep '^+' | gdcbuild import -"
"""What to do about what is not followed."""

UNKNOWN = re.compile("\ue000(.*?)\ue001", re.DOTALL)
"""Something in a value that only running the script would tell; between the marks is how the script writes it."""


def unknown(text: str) -> str:
    """The marked form of something that is not known."""
    return f"\ue000{shown(text)}\ue001"


def shown(text: str) -> str:
    """A value for people, marks removed."""
    return UNKNOWN.sub(r"\1", text)


class Target(NamedTuple):
    """Where an archive or a folder goes: the ids in its key, and the keys of an environment. `commands` as in Packing."""

    model: str
    version: str
    bucket: dict[str, str]
    where: Location
    commands: int


@dataclass(slots=True)
class Packing:
    """One run of torch-model-archiver in a folder, by its options.

    `archive` is the file that it writes, or the folder, with `no-archive`; after a copy, the copy. `commands` is how many other
    commands ran before.
    """

    where: Location
    folder: str
    archive: str
    model_name: str
    version: str
    handler: str
    extra_files: tuple[str, ...]
    runtime: str
    archive_format: str
    serialized_file: str | None
    model_file: str | None
    requirements_file: str | None
    config_file: str | None
    commands: int = field(default=0, init=False)
    targets: list[Target] = field(default_factory=list, init=False)


class OtherCommand(NamedTuple):
    """A command that is not imported. `paths` are those it may change, and `may_change_more` whether perhaps others, too."""

    where: Location
    text: str
    paths: tuple[str, ...]
    may_change_more: bool


@dataclass(slots=True)
class Findings:
    """All that was read.

    `uploaded` are archives (.mar) and SavedModels (folders) that are uploaded and nothing here packs; `folders` those that are
    uploaded as a whole, with the number of other commands before. `problems` say what is left out of the manifest, `notes` what
    comes out differently. `files` are the scripts that are imported.
    """

    packings: list[Packing] = field(default_factory=list)
    uploaded: list[tuple[str, Target]] = field(default_factory=list)
    folders: list[tuple[str, int]] = field(default_factory=list)
    commands: list[OtherCommand] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    files: set[str] = field(default_factory=set)

    def refuse(self, where: Location, message: str, hint: str) -> None:
        """Report what is left out."""
        self.problems.append(Problem(message, hint, where))

    def note(self, where: Location, message: str, hint: str) -> None:
        """Report what comes out differently."""
        self.notes.append(Problem(message, hint, where))


def text_of(path: str) -> str:
    """The text of a script; "" when there is none that can be read."""
    try:
        is_small = os.path.isfile(path) and Path(path).stat().st_size <= LARGEST
        data = Path(path).read_bytes() if is_small else b""
    except OSError:
        return ""
    return "" if b"\0" in data else data.decode("utf-8-sig", "replace")
