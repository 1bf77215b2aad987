"""The cache folder and its parts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gdcbuild.errors import Problem, UsageError

if TYPE_CHECKING:
    from gdcbuild.core.events import Event
    from gdcbuild.core.ports import Records
    from gdcbuild.store.disk import DiskCAS
    from gdcbuild.store.gc import Collected
    from gdcbuild.store.locks import FileLocks
    from gdcbuild.store.records import DiskRecords


class Cache:
    """The cache folder: private to its owner, and needed only for speed."""

    def __init__(self, folder: Path, emit: Callable[[Event], None]) -> None:
        from gdcbuild.store.folder import prepare

        self.folder = folder
        self._emit = emit
        prepare(folder, self._warn)

    @cached_property
    def cas(self) -> DiskCAS:
        from gdcbuild.store.disk import DiskCAS

        return DiskCAS(self.folder / "cas")

    @cached_property
    def records(self) -> DiskRecords:
        from gdcbuild.store.records import DiskRecords

        return DiskRecords(self.folder / "records", self._warn)

    @cached_property
    def locks(self) -> FileLocks:
        from gdcbuild.store.locks import FileLocks

        return FileLocks(self.folder / "locks")

    def collect(self, max_age: float | None, max_size: int | None) -> Collected:
        """Remove what has not been used for a long time; see store.gc."""
        from gdcbuild.store.gc import collect

        return collect(self.folder, self.cas, self.records, self.locks, max_age, max_size)

    def discard_damaged(self) -> list[str]:
        """Remove every damaged blob, record and memo. Returns their names."""
        from gdcbuild.files.read_progress import Watch

        watched = Watch(self._emit).stream
        return [*self.cas.discard_damaged(watched), *self.records.discard_damaged(), *self._discard_damaged_memos()]

    def _discard_damaged_memos(self) -> Iterator[str]:
        from gdcbuild.files.memo import UNFINISHED
        from gdcbuild.memory import snapshot
        from gdcbuild.remotes import listings
        from gdcbuild.runners.toolchains import MARK, mark_of, unmark

        kinds: dict[str, tuple[Callable[[Path], bool], Callable[[Path], None]]] = {
            "snapshots/*": (snapshot.is_whole, partial(Path.unlink, missing_ok=True)),
            "listings/*": (listings.is_whole, partial(Path.unlink, missing_ok=True)),
            f"toolchains/*/{MARK}": (lambda path: mark_of(path.parent) != "", lambda path: unmark(path.parent)),
        }
        for pattern, (is_whole, discard) in kinds.items():
            for path in sorted(self.folder.glob(pattern)):
                if not path.name.startswith(UNFINISHED) and not is_whole(path):
                    discard(path)
                    yield str(path)

    def _warn(self, problem: Problem) -> None:
        from gdcbuild.core.events import Warned

        self._emit(Warned(problem))


class LateRecords:
    """Records that are opened on first use: opening takes longer than a plan without changes."""

    def __init__(self, opened: Callable[[], Records]) -> None:
        self._opened = opened

    def get(self, table: str, key: str) -> Any | None:
        return self._opened().get(table, key)

    def put(self, table: str, key: str, value: Any) -> None:
        self._opened().put(table, key, value)


def cache_folder(given: Path | None, variables: Mapping[str, str]) -> Path:
    """The given folder, else gdcbuild in XDG_CACHE_HOME, else in ~/.cache."""
    if given is not None:
        return given.absolute()
    base = variables.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - the other way raises
    if base.startswith("~"):
        raise UsageError(Problem("no home directory, so no default cache location", "set GDCBUILD_CACHE_DIR to a folder"))
    return Path(base).absolute() / "gdcbuild"
