"""Removes what was not used for long from the cache. Safe during builds: everything used recently is kept.

Results stay when their blobs are removed: a plan needs no bytes, and an action that needs them builds them again. A build
that loses a blob between looking for it and reading it starts again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from gdcbuild.core.digest import Digest
from gdcbuild.core.ports import Records
from gdcbuild.core.result import ActionResult
from gdcbuild.files.folders import remove
from gdcbuild.files.memo import UNFINISHED
from gdcbuild.store.disk import DiskCAS
from gdcbuild.store.folder import UNFINISHED_TAG
from gdcbuild.store.locks import FileLocks
from gdcbuild.store.records import DiskRecords

GUARD_SECONDS = 24 * 3600.0
"""Nothing that was used more recently is removed: a running build may be about to read it."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removed, and the size of the remaining blobs (bytes)."""

    blobs: int
    bytes: int
    toolchains: int
    left: int


def collect(
    folder: Path, cas: DiskCAS, records: DiskRecords, locks: FileLocks, max_age: float | None, max_size: int | None
) -> Collected:
    """Remove blobs no result names and leftovers of killed runs; blobs, logs, memos and toolchains unused for `max_age`
    seconds; and then, oldest first, as many blobs as it takes to come below `max_size` bytes."""
    oldest = float("inf") if max_age is None else max(max_age, GUARD_SECONDS)
    blobs = sorted((_age(b.path), b.digest) for b in cas.all())[::-1]  # oldest first
    named = set(_named(records, records.keys("result")))  # after the blobs: names everything recorded since they were listed
    total = sum(digest.size for _, digest in blobs)
    removed, freed = 0, 0
    for age, digest in blobs:
        surplus = max_size is not None and total - freed > max_size
        unneeded = digest not in named or age > oldest or surplus
        if unneeded and min(age, _age(cas.path(digest))) > GUARD_SECONDS:  # it may have been used since it was listed
            cas.discard(digest)
            removed += 1
            freed += digest.size
    for path in chain.from_iterable((folder / part).glob("*") for part in ("logs", "snapshots", "listings")):
        if _age(path) > oldest:
            path.unlink(missing_ok=True)
    for path in (*folder.glob(f"*/{UNFINISHED}*"), *folder.glob(f"{UNFINISHED_TAG}*")):
        if _age(path) > GUARD_SECONDS:
            path.unlink(missing_ok=True)
    running = _remove_leftovers(folder / "work", locks)
    toolchains = 0 if running else _remove_toolchains(folder / "toolchains", locks, oldest)
    return Collected(removed, freed, toolchains, total - freed)


def _named(records: Records, keys: Iterable[str]) -> Iterator[Digest]:
    """Every digest in a result."""
    for key in keys:
        result = ActionResult.from_json(records.get("result", key))
        if result is not None:
            yield from result.tree.values()


def _remove_leftovers(folder: Path, locks: FileLocks) -> bool:
    """Remove the folders of actions that ended without cleaning up; True if one has been running for that long."""
    running = False
    for work in folder.glob("*"):
        if _age(work) > GUARD_SECONDS:
            with locks.held(work.name) as ended:
                if ended:
                    remove(work)
                running |= not ended
    return running


def _remove_toolchains(folder: Path, locks: FileLocks, oldest: float) -> int:
    """Remove toolchains not used for `oldest` seconds, or not fully installed; return how many."""
    removed = 0
    for path in sorted(folder.glob("*")):
        with locks.held(f"toolchain-{path.name}") as ours:  # a user of it updates the mark under this lock
            unused = ours and _is_unused(path, oldest)
            if unused:
                (path / "toolchain.json").unlink(missing_ok=True)  # first: without it the rest is not a toolchain
                away = path.rename(path.with_name(f"{path.name}.{time.time_ns()}"))
        if unused:
            remove(away)  # outside the lock: it may take minutes
            removed += 1
    return removed


def _is_unused(path: Path, oldest: float) -> bool:
    mark = path / "toolchain.json"
    return _age(mark) > oldest if mark.exists() else _age(path) > GUARD_SECONDS


def _age(path: Path) -> float:
    """Seconds since it was last used; 0 if it is gone."""
    try:
        return max(0.0, time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        return 0.0
