"""The results of the last run by model, with the stat data of the files used: one read instead of many.

A part (a model, or a step that models use) is valid while the size, times and inode of every file and folder used for it
stay the same. A snapshot may be deleted at any time; a damaged one is ignored.

The first line is JSON with the length and checksum of each part; the parts follow.
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
    """Stat data of files and folders: size, inode, mtime and ctime (ns since 1970) of each."""

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
    """One model or step. `manifest` is the file that declares it, `needs` the parts whose artifacts it reads.

    `rows` are (version, how it is built, hash and size of its tree, the tree as rows of path, hash, size); a step has none.
    """

    manifest: str
    paths: tuple[str, ...]
    stamp: str
    needs: tuple[str, ...]
    rows: Rows


class Head(NamedTuple):
    """What all parts share.

    `basis` covers everything except files: versions, variables, the cache. `stamp` is that of `paths`, which all parts
    depend on. `manifests` maps each included manifest to its stamp, and `all_manifests` is the stamp of all of them, in order.
    `models` maps ids to (manifest, version ids). `variables` are the environment variables read. `environments` are those
    chosen so far, by name, "" for the default one. `buckets` maps local buckets without variables to real paths.
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
    """The stat data of each path, relative to the folder `root` or absolute. Missing files have a fixed value."""
    found: list[int] = []
    stat, look = os.stat, _LOOK  # local names are faster: there may be many paths
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # resolves the root only once
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
    """An open snapshot; parts are read on demand. A damaged part counts as missing."""

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
        """The snapshot in a file, or None. Calls `damaged` if the file is damaged."""
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
        """The names of all parts."""
        return self._index.keys()

    def part(self, name: str) -> Part | None:
        raw = self.raw(name)
        try:
            return None if raw is None else Part(*json.loads(raw))
        except (ValueError, TypeError, RecursionError):
            return None

    def raw(self, name: str) -> bytes | None:
        """The part as written; None if it is missing or damaged."""
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
    """Replace the file with new `parts`, and those parts of `old` that are named in `kept`."""
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
    """Whether no part is damaged."""
    wrong: list[bool] = []
    snapshot = Snapshot.read(file, lambda: wrong.append(True))
    if snapshot is not None:
        for name in snapshot.names():
            snapshot.raw(name)
    return not wrong
