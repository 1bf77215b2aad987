"""Names in folders. A folder with the same times and inode has the same names."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gdcbuild.errors import Problem, RemoteError, damaged, of_system
from gdcbuild.files import memo

SCHEMA = 1

Look = list[int]


class Listings:
    """Reads folders, cached ones only if they have changed. Caches nothing by itself."""

    def __init__(self) -> None:
        self._old: dict[str, tuple[Look, list[str]]] = {}
        self._new: dict[str, tuple[Look, list[str]]] | None = None

    @contextmanager
    def remembered(self, file: Path, warn: Callable[[Problem], None]) -> Iterator[None]:
        """Inside the context, cache in `file` what is read; what is not read is dropped.

        A memo: if damaged, it counts as absent.
        """
        self._old, self._new, started = _read(file, warn), {}, time.time_ns()
        try:
            yield
            fresh = {key: row for key, row in self._new.items() if max(row[0][:2]) < started - memo.RACY_NS}
            if fresh != self._old:
                _write(file, fresh)
        finally:
            self._old, self._new = {}, None

    def names(self, root: str, folder: str) -> list[str]:
        """The files and folders in a folder below `root`, the last one first; both end in "/", unless they are "".

        Folders end in "/", so that they sort like keys. Empty if there is no such folder. Symlinks to folders, and
        special files, are left out. (Thousands of folders are read this way, so it is simple on purpose.)
        """
        path = root + folder
        try:
            if self._new is None:
                return _scan(path)
            s = os.stat(path)  # noqa: PTH116
            look = [s.st_mtime_ns, s.st_ctime_ns, s.st_ino]
            known = self._old.get(folder)
            row = known if known is not None and known[0] == look else (look, _scan(path))
            self._new[folder] = row
            return row[1]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            hint = "the bucket's folder must be readable" if isinstance(error, PermissionError) else ""
            raise RemoteError(of_system(error, f"cannot read {os.path.normpath(path)}", hint)) from error


def _scan(path: str) -> list[str]:
    found = []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found.append(entry.name + "/")
            elif entry.is_file():
                found.append(entry.name)
    if len(found) > 1:
        found.sort(reverse=True)
    return found


def _read(file: Path, warn: Callable[[Problem], None]) -> dict[str, tuple[Look, list[str]]]:
    """The cached listing; empty if it is damaged, of another schema, or others could have written it."""
    if not memo.is_trusted(file):
        return {}
    try:
        text = memo.opened(file.read_bytes())
        if text is None:
            warn(damaged(file))
            return {}
        schema, rows = json.loads(text)
        return {key: (look, names) for key, look, names in rows} if schema == SCHEMA else {}
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def _write(file: Path, rows: dict[str, tuple[Look, list[str]]]) -> None:
    text = json.dumps([SCHEMA, [(key, *row) for key, row in rows.items()]], separators=(",", ":"))
    memo.replace(file, (memo.sealed(text.encode()),))


def is_whole(file: Path) -> bool:
    """Whether the cached listing is undamaged."""
    wrong: list[Problem] = []
    _read(file, wrong.append)
    return not wrong
