"""What is found in scripts and lists: archives that are packed, and where they go. Paths are absolute, and need not exist."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gdcbuild.errors import Location, Problem

MARKS = ("\ue000", "\ue001")
UNKNOWN = re.compile("\ue000(.*?)\ue001", re.DOTALL)
"""Something in a value that only running the script would tell; between the marks stands how it is written there."""


def unknown(text: str) -> str:
    """The marked form of something that is not known."""
    return f"\ue000{shown(text)}\ue001"


def shown(text: str) -> str:
    """A value for people, marks removed."""
    return UNKNOWN.sub(r"\1", text)


@dataclass(frozen=True, slots=True)
class Packing:
    """One run of torch-model-archiver in a folder, by its options. `archive` is the file that it writes."""

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


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket that something is uploaded to; values may name variables of the environment as ${env.NAME}."""

    url: str
    endpoint: str = ""
    region: str = ""
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """Where an archive or a folder goes: the ids that its key says."""

    model: str
    version: str
    bucket: Bucket
    where: Location


@dataclass(slots=True)
class Found:
    """All that was read. `copies` are where each packing's archive was copied to last, `targets` where it was uploaded.

    `folders` are SavedModels that are uploaded, and `archives` files that are uploaded and that nothing here makes.
    `problems` say what is left out of the manifest, and why; `notes` what is in it and not quite the same. `made` says of files
    that commands fetch or copy where they come from. `files` are those that are read anyway: nothing needs to be said of them.
    """

    packings: list[Packing] = field(default_factory=list)
    copies: dict[int, str] = field(default_factory=dict)
    targets: dict[int, list[Target]] = field(default_factory=dict)
    folders: list[tuple[str, Target]] = field(default_factory=list)
    archives: list[tuple[str, Target]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    made: dict[str, tuple[str, Location]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)

    @property
    def amount(self) -> int:
        """How much was found that is packed or uploaded."""
        return len(self.packings) + sum(map(len, self.targets.values())) + len(self.folders) + len(self.archives)

    def refuse(self, where: Location, message: str, hint: str) -> None:
        """Name what is left out."""
        self.problems.append(Problem(message, hint, where))

    def note(self, where: Location, message: str, hint: str) -> None:
        """Name what is not quite the same."""
        self.notes.append(Problem(message, hint, where))
