"""What was found in scripts and lists: archives that are packed, and where they go. Paths are absolute and may not exist."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

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


@dataclass(frozen=True, slots=True)
class Packing:
    """One run of torch-model-archiver in a folder, by its options.

    `archive` is the file that it writes, or the folder, with `no-archive`. `commands` is how many other commands ran before.
    """

    where: Location
    folder: str
    archive: str
    model_name: str
    version: str
    handler: str
    serialized_file: str | None = None
    model_file: str | None = None
    extra_files: tuple[str, ...] = ()
    runtime: str = "python"
    archive_format: str = "default"
    requirements_file: str | None = None
    config_file: str | None = None
    commands: int = 0


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket that something is uploaded to; values may name variables of the environment as ${env.NAME}."""

    url: str
    endpoint: str = ""
    region: str = ""
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """Where an archive or a folder goes: the ids in its key. `commands` is how many other commands ran before."""

    model: str
    version: str
    bucket: Bucket
    where: Location
    commands: int


@dataclass(frozen=True, slots=True)
class OtherCommand:
    """A command that is not imported. `paths` are those it may change, and `may_change_more` whether perhaps others, too."""

    where: Location
    text: str
    paths: tuple[str, ...]
    may_change_more: bool


@dataclass(slots=True)
class Findings:
    """All that was read.

    `copies` are where each packing's archive was copied to last, `targets` where it was uploaded. `folders` are SavedModels
    that are uploaded, `archives` uploaded files that nothing here packs, and `uploads` uploaded folders, each with the number
    of other commands before. `problems` say what is left out of the manifest, and why; `notes` what comes out differently.
    `files` are the scripts that are imported.
    """

    packings: list[Packing] = field(default_factory=list)
    copies: dict[int, str] = field(default_factory=dict)
    targets: dict[int, list[Target]] = field(default_factory=dict)
    folders: list[tuple[str, Target]] = field(default_factory=list)
    archives: list[tuple[str, Target]] = field(default_factory=list)
    uploads: list[tuple[str, int]] = field(default_factory=list)
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


def text_of(path: str) -> str | None:
    """The text of a script; None when there is none that can be read."""
    if not os.path.isfile(path):
        return None
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(LARGEST + 1)
    except OSError:
        return None
    return None if b"\0" in data or len(data) > LARGEST else data.decode("utf-8-sig", "replace")
