"""The user's files, hashed once: a memo by path, size, mtime, ctime and inode saves reading large ones again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from gdcbuild.core.digest import Digest
from gdcbuild.core.ports import Records
from gdcbuild.errors import ManifestError, Problem, of_system
from gdcbuild.files import standins
from gdcbuild.files.content import FileBlob, hash_and_crc, hash_stream
from gdcbuild.files.memo import RACY_NS
from gdcbuild.files.read_progress import Watched, unwatched

WORTH_A_MEMO = 1 << 17
"""Size in bytes from which reading a file takes longer than looking up its digest."""


_Known: TypeAlias = tuple[list[int], Digest, int | None]
"""The file's stat values, its digest, and its CRC-32 if it is large."""


class DiskWorkspace:
    """A workspace below a root folder. The memo is a shortcut; content decides."""

    def __init__(self, root: Path, records: Records, watched: Watched = unwatched) -> None:
        self._root = root
        self._watched = watched
        self._records = records
        self._known: dict[str, _Known] = {}
        self._standins: dict[str, standins.StandIn | None] = {}

    def digest(self, path: str) -> Digest:
        full = self._full(path)
        try:
            signature = _signature(os.stat(full))  # noqa: PTH116 - quick, and there are many
            memorable = signature[0] >= WORTH_A_MEMO
            known = self._known.get(path) or (self._remembered(full) if memorable else None)
            if known is not None and known[0] == signature:
                self._known[path] = known
                return known[1]
            with Path(full).open("rb") as stream:
                if signature[0] <= standins.MAX_BYTES:
                    self._standins[path] = standins.recognise(path, stream.read(standins.MAX_BYTES + 1))
                    stream.seek(0)
                watched = self._watched(path, signature[0], stream) if memorable else stream
                digest, crc = hash_and_crc(watched) if memorable else (hash_stream(stream), None)
                after = _signature(os.fstat(stream.fileno()))
        except OSError as error:
            raise ManifestError(of_system(error, f"{path} cannot be read", "create the file, or make it readable")) from error
        self._known[path] = after, digest, crc
        if memorable and after == signature and time.time_ns() - max(after[1], after[2]) > RACY_NS:
            self._records.put("stat", full, [*signature, digest.hash, digest.size, crc])
        return digest

    def slow(self, paths: Iterable[str]) -> list[str]:
        found = []
        for path in paths:
            full = self._full(path)
            with suppress(OSError):  # reported when the digest is needed
                signature = _signature(os.stat(full))  # noqa: PTH116 - quick, and there are many
                if signature[0] >= WORTH_A_MEMO:
                    known = self._known.get(path) or self._remembered(full)
                    if known is None or known[0] != signature:
                        found.append((-signature[0], path))
        return [path for _, path in sorted(found)]

    def blob(self, path: str) -> FileBlob:
        digest = self.digest(path)
        return FileBlob(digest, self._root / path, self._known[path][2])

    def standin(self, path: str, named: bool = True) -> Problem | None:
        full = self._full(path)
        with suppress(OSError):  # reported when the digest is needed
            if path not in self._known and os.stat(full).st_size <= standins.MAX_BYTES:  # noqa: PTH116 - quick
                self.digest(path)
        known = self._known.get(path)
        found = self._standins.get(path) if known and known[1].size <= standins.MAX_BYTES else None
        if found is None or (found.kind == "dvc" and not named and os.path.lexists(self._root / found.path)):
            return None
        if found.kind != "lfs":
            return found.problem(path, path)
        repository = next((f for f in Path(full).parents if os.path.lexists(f / ".git")), self._root)
        below = repository.relative_to(self._root).as_posix() if repository.is_relative_to(self._root) else "."
        return found.problem(path, Path(full).relative_to(repository).as_posix(), "" if below == "." else below)

    def _full(self, path: str) -> str:
        return path if path.startswith("/") else f"{self._root}/{path}"

    def _remembered(self, full: str) -> _Known | None:
        row = self._records.get("stat", full)
        if not isinstance(row, list) or len(row) != 7:
            return None
        return row[:4], Digest(row[4], row[5]), row[6]


def _signature(stat: os.stat_result) -> list[int]:
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
