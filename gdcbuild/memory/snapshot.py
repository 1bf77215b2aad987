"""What a workspace came to the last time, by model, and how its files looked then: one read instead of many.

A part (a model, or a step that models use) holds for as long as nothing that was looked at for it has changed: no file's
size, times and inode, no folder's. It is a memo and may be deleted; whoever finds it damaged does without.

The first line is JSON that says of each part how long it is, and its checksum; then come the parts.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from gdcbuild.files import memo

SCHEMA = 2

_LOOK = attrgetter("st_size", "st_ino", "st_mtime_ns", "st_ctime_ns")
_NOTHING = (-1, -1, -1, -1)

Rows = list[tuple[str, str, tuple[str, int], Any]]


class Stamp(NamedTuple):
    """How some files and folders look: size, inode, and times of change of content and of anything (ns since 1970) of each."""

    looks: list[int]

    @property
    def digest(self) -> str:
        try:
            data = array("q", self.looks).tobytes()
        except OverflowError:  # an inode of 64 bits
            data = repr(self.looks).encode()
        return hashlib.sha256(data).hexdigest()[:32]

    @property
    def newest(self) -> int:
        return max(self.looks[3::4], default=0)


class Part(NamedTuple):
    """One model or step. `manifest` is the file it stands in, `needs` the parts whose artifacts it reads.

    `rows` are (version, how its artifact comes about, its tree's hash and size, the tree as rows of path, hash, size); a
    step has none.
    """

    manifest: str
    paths: tuple[str, ...]
    stamp: str
    needs: tuple[str, ...]
    rows: Rows


class Head(NamedTuple):
    """What holds for all parts.

    `basis` is everything that is not a file: versions, variables, which cache. `stamp` is of the `paths` that all parts
    share. `manifests` are path → its stamp, of the included ones, and `all_manifests` the stamp of all these together, in
    order; `models` are id → (its manifest, its version ids). `variables` are those that reading asked for.
    `environments` are those that were chosen, by name, "" for the default one; `buckets` are text → real path, of those
    that are folders and written without a variable.
    """

    basis: str
    paths: Collection[str]
    stamp: str
    manifests: Mapping[str, str]
    all_manifests: str
    models: Mapping[str, tuple[str, tuple[str, ...]]]
    variables: Collection[str]
    environments: Mapping[str, Any]
    buckets: Mapping[str, str]


def stamp(root: Path, paths: Iterable[str]) -> Stamp:
    """Look at each path: relative to the folder `root`, or absolute. What is not there looks like nothing."""
    found: list[int] = []
    stat, look = os.stat, _LOOK  # quick to reach: there may be many
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # its own way is gone only once
    try:
        for path in paths:
            try:
                found += look(stat(path, dir_fd=folder))
            except (OSError, ValueError):
                found += _NOTHING
    finally:
        os.close(folder)
    return Stamp(found)


class Snapshot:
    """A snapshot that has been opened; parts are read when asked for. Damage is as if nothing were there."""

    def __init__(
        self, head: Head, index: Mapping[str, tuple[int, int, str]], file: BinaryIO, start: int, damaged: Callable[[], None]
    ) -> None:
        self.head = head
        self._damaged = damaged
        self._index = index
        self._file = file
        self._start = start

    @classmethod
    def read(cls, file: Path, damaged: Callable[[], None]) -> Snapshot | None:
        """The snapshot in a file, None when there is none of ours; `damaged` is called when it is not as it was written."""
        try:
            stream = file.open("rb")
            line = stream.readline()
            text = memo.opened(line)
            if text is None:
                damaged()
                return None
            schema, *head, index = json.loads(text)
            return cls(Head(*head), index, stream, len(line), damaged) if schema == SCHEMA else None
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def names(self) -> Collection[str]:
        """Of all parts."""
        return self._index.keys()

    def part(self, name: str) -> Part | None:
        raw = self.raw(name)
        try:
            return None if raw is None else Part(*json.loads(raw))
        except (ValueError, TypeError, RecursionError):
            return None

    def raw(self, name: str) -> bytes | None:
        """The part as it is written, None when there is none or it is damaged."""
        found = self._index.get(name)
        if found is None:
            return None
        start, size, checksum = found
        try:
            data = os.pread(self._file.fileno(), size, self._start + start)
        except (OSError, ValueError, OverflowError):
            data = b""
        if memo.checksum(data) == checksum:
            return data
        self._damaged()
        return None


def write(file: Path, head: Head, parts: Mapping[str, Part], old: Snapshot | None, kept: Collection[str]) -> None:
    """Replace the file: fresh `parts`, and of the `old` ones those in `kept`."""
    raw = {name: json.dumps(part, separators=(",", ":")).encode() for name, part in parts.items()}
    for name in kept:
        data = old.raw(name) if old is not None else None
        if data is not None and name not in raw:
            raw[name] = data
    index, start = {}, 0
    for name, data in raw.items():
        index[name] = (start, len(data), memo.checksum(data))
        start += len(data)
    text = json.dumps([SCHEMA, *head, index], separators=(",", ":")).encode()
    memo.replace(file, (memo.sealed(text), *raw.values()))


def is_whole(file: Path) -> bool:
    """Whether all of it is as it was written."""
    wrong: list[bool] = []
    snapshot = Snapshot.read(file, lambda: wrong.append(True))
    if snapshot is not None:
        for name in snapshot.names():
            snapshot.raw(name)
    return not wrong
