"""The cache folder and what is in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gdcbuild.errors import Problem, StoreError

if TYPE_CHECKING:
    from gdcbuild.core.events import Event
    from gdcbuild.core.ports import Records
    from gdcbuild.store.disk import DiskCAS
    from gdcbuild.store.gc import Collected
    from gdcbuild.store.records import DiskRecords


class Cache:
    """The cache folder: private to its owner, and nothing in it is needed for anything but speed."""

    def __init__(self, folder: Path, emit: Callable[[Event], None]) -> None:
        self.folder = folder
        self._emit = emit
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = folder.stat()
            tag = folder / "CACHEDIR.TAG"
            if not tag.exists():
                tag.write_text(
                    "Signature: 8a477f597d28d172789f06886806bc55\n# gdcbuild's cache; it may be deleted at any time.\n"
                )
        except OSError as error:
            raise StoreError(
                Problem(
                    f"the cache folder {folder} cannot be used: {error.strerror}", "set GDCBUILD_CACHE_DIR to a folder of yours"
                )
            ) from error
        if mode.st_uid != os.geteuid() or stat.S_IMODE(mode.st_mode) & 0o022:
            raise StoreError(
                Problem(
                    f"others can write to the cache folder {folder}: what they put there would be published",
                    f"chown it to you and chmod 700 {folder}, or set GDCBUILD_CACHE_DIR to a folder of yours",
                )
            )

    @cached_property
    def cas(self) -> DiskCAS:
        from gdcbuild.store.disk import DiskCAS

        return DiskCAS(self.folder / "cas")

    @cached_property
    def records(self) -> DiskRecords:
        from gdcbuild.core.events import Warned
        from gdcbuild.store.records import DiskRecords

        return DiskRecords(self.folder / "records", lambda problem: self._emit(Warned(problem)))

    def collect(self, max_age: float | None, max_size: int | None) -> Collected:
        """Remove what has not been used for long; see store.gc."""
        from gdcbuild.store.gc import collect

        return collect(self.folder, self.cas, self.records, max_age, max_size)

    def discard_damaged(self) -> list[str]:
        """Remove every blob whose bytes are not those of its name; returns their paths."""
        from gdcbuild.core.digest import hash_stream

        removed = []
        for blob in self.cas.all():
            with blob.open() as stream:
                found = hash_stream(stream)
            if found != blob.digest:
                self.cas.discard(blob.digest)
                removed.append(str(blob.path))
        return removed


class LateRecords:
    """Records that are opened when first asked for: opening takes longer than a plan that needs none."""

    def __init__(self, opened: Callable[[], Records]) -> None:
        self._opened = opened

    def get(self, table: str, key: str) -> Any | None:
        return self._opened().get(table, key)

    def put(self, table: str, key: str, value: Any) -> None:
        self._opened().put(table, key, value)


def cache_folder(given: Path | None, variables: Mapping[str, str]) -> Path:
    """The folder given, else gdcbuild below XDG_CACHE_HOME, else below ~/.cache."""
    if given is not None:
        return given.absolute()
    base = variables.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).absolute() / "gdcbuild"
