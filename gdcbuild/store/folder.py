"""The cache folder itself: private to its owner, who alone decides what would be published from it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from gdcbuild.errors import Problem, StoreError, of_system
from gdcbuild.store.disk import make_folder

PARTS = ("cas", "records", "toolchains", "work", "logs", "locks", "snapshots", "listings")
_OURS = {*PARTS, "lost+found"}
"""What a cache may contain; a separate disk has the last one."""

TAG = "CACHEDIR.TAG"
_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n# gdcbuild's cache, schema 1; it may be deleted at any time.\n"
UNFINISHED_TAG = f".{TAG}."
_ELSEWHERE = "set GDCBUILD_CACHE_DIR to a folder that you own"


def prepare(folder: Path, warn: Callable[[Problem], None]) -> None:
    """Create the folder and its parts, mode 700. Raises StoreError if that fails, or if others can write to one of them."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _refuse_others(folder)
        for path in (folder, *(folder / part for part in PARTS)):
            make_folder(path)
            _refuse_shared(path)
        for path in (folder / "records").iterdir():
            _refuse_shared(path)
    except OSError as error:
        raise StoreError(of_system(error, f"the cache folder {folder} cannot be used", _ELSEWHERE)) from error
    _tag(folder / TAG, warn)


def _refuse_others(folder: Path) -> None:
    """Raise StoreError for a folder of something else, as an empty --cache-dir names: backups would skip it."""
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    others = {name for name in found - _OURS if not name.startswith(UNFINISHED_TAG)}
    if others and TAG not in found:
        problem = f"{folder} is not a gdcbuild cache: it contains other files, such as {min(others)!r}"
        raise StoreError(Problem(problem, "choose an empty folder, or one that does not exist"))


def _refuse_shared(path: Path) -> None:
    """Raise StoreError if others can write to it, or have put a link there."""
    try:
        link, found = path.lstat(), path.stat()
    except FileNotFoundError:
        return  # the database's own files come and go
    foreign = found.st_uid != os.geteuid() or link.st_uid not in (os.geteuid(), 0)
    if foreign or stat.S_IMODE(found.st_mode) & 0o022:
        raise StoreError(
            Problem(
                f"other users can write to {path} in the cache, so what they write would be published",
                f"chown it to you and chmod {'700' if path.is_dir() else '600'} {path}, or {_ELSEWHERE}",
            )
        )


def _tag(path: Path, warn: Callable[[Problem], None]) -> None:
    """Tell backup tools to skip the folder. Nothing depends on it."""
    try:
        try:
            if path.read_bytes() == _TAG:
                return
            warn(Problem(f"{path} is damaged", "no action needed; it will be regenerated"))
        except FileNotFoundError:
            pass
        temporary = path.with_name(f"{UNFINISHED_TAG}{os.getpid()}")
        temporary.write_bytes(_TAG)
        temporary.replace(path)
    except OSError as error:
        warn(of_system(error, f"{path} cannot be written", "remove what is there; until then backups may include the cache"))
