"""Action results and memos in diskcache: JSON text only, nothing evicted. The only module that imports diskcache."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from operator import methodcaller
from pathlib import Path
from typing import Any, TypeVar

import diskcache
from diskcache.core import DBNAME, MODE_RAW, UNKNOWN

from gdcbuild.errors import Problem, StoreError
from gdcbuild.store.locks import FileLocks
from gdcbuild.store.wal import settle

_T = TypeVar("_T")

_SCHEMA = 1
"""Schema of a record's text, `SCHEMA CHECKSUM JSON`. Records of another schema count as absent."""

_ERRORS = (
    diskcache.Timeout,
    sqlite3.Error,
    OSError,
    MemoryError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
)
"""Errors of a damaged database: SQLite's, or diskcache's at an invalid row."""

_NOT_DAMAGE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
}
"""Errors of a sound database: creating it again would not help, and lose it."""


class _NoRecord(Exception):
    """A damaged record; the rest of the database may be sound."""


def _name(table: str, key: str) -> str:
    """The name of a record; bytes that are not UTF-8, as in some file names, are escaped."""
    return f"{table}:{key}".encode("utf-8", "backslashreplace").decode()


def _checksum(schema: str, name: str, text: str) -> str:
    """16 hex digits for this record: a flipped bit, or a record under another name, must be detected."""
    return hashlib.sha256(f"{schema} {name}\n{text}".encode()).hexdigest()[:16]


def _seal(name: str, value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"))
    return f"{_SCHEMA} {_checksum(str(_SCHEMA), name, text)} {text}"


def _opened(name: str, sealed: Any) -> Any:
    """The value of the name; None if absent or of another schema. Raises _NoRecord if it is damaged."""
    if sealed is None:
        return None
    schema, _, rest = str(sealed).partition(" ")
    checksum, _, text = rest.partition(" ")
    if checksum != _checksum(schema, name, text):
        raise _NoRecord("its checksum does not match")
    return json.loads(text) if schema == str(_SCHEMA) else None


class _TextDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Text in rows and nothing else: no pickles, which run code when read (CVE-2025-69872), and no files."""

    def store(self, value: Any, read: bool, key: Any = UNKNOWN) -> Any:  # noqa: ARG002 - records are not files
        if not isinstance(value, str) or read:
            raise TypeError("records are text")
        return 0, MODE_RAW, None, value

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:  # noqa: ARG002
        if mode != MODE_RAW or filename is not None or not isinstance(value, str):
            raise _NoRecord("it is not text")
        return value

    def remove(self, file_path: str) -> None:
        """A damaged row may name any file."""

    def get(self, key: Any, raw: bool) -> Any:
        return super().get(key, raw) if raw else None


class DiskRecords:
    """JSON records in a folder. Damage is a miss with a warning; a damaged database is created again."""

    def __init__(self, folder: Path, warn: Callable[[Problem], None]) -> None:
        self._folder = folder
        self._warn = warn
        self._said: set[str] = set()
        self._gone: list[str] = []
        self._lock = threading.RLock()
        self._checked = False
        self._locks = FileLocks(folder.parent / "locks")
        self._cache, self._inode, self._leave = self._open()

    def get(self, table: str, key: str) -> Any | None:
        name = _name(table, key)
        try:
            found = _opened(name, self._try(lambda cache: cache.get(name), None))
        except _NoRecord as error:
            self._say(f"the record {name[:40]} is damaged and was ignored: {error}")
            return None
        if found is None:
            self._check_once()
        return found

    def put(self, table: str, key: str, value: Any) -> None:
        name = _name(table, key)
        sealed = _seal(name, value)
        self._try(lambda cache: cache.set(name, sealed), None)

    def keys(self, table: str) -> list[str]:
        prefix = f"{table}:"
        return [name.removeprefix(prefix) for name in self._names() if name.startswith(prefix)]

    def discard_damaged(self) -> list[str]:
        """Remove every damaged record, or all if the database is damaged; return their names.

        Includes what was lost since the records were opened.
        """
        checked = self._cache
        wrong: list[Any] = self._try(lambda cache: cache.check(), [])
        if wrong:
            self._begin_anew(checked, str(wrong[0].message).splitlines()[0])
        removed, self._gone = self._gone, []
        for name in self._names():
            try:
                _opened(name, self._try(methodcaller("get", name), None))
            except _NoRecord:
                self._try(methodcaller("delete", name), None)
                removed.append(f"the record {name[:40]}")
        return removed

    def _names(self) -> list[str]:
        return self._try(lambda cache: list(_each_once(cache.iterkeys())), [])

    def _try(self, call: Callable[[Any], _T], otherwise: _T) -> _T:
        """The result of the call; `otherwise`, with a warning, if it fails."""
        cache = self._cache
        try:
            return call(cache)
        except _ERRORS as error:
            if _is_damage(error):
                self._begin_anew(cache, str(error))
            else:
                self._say(
                    f"cannot read or write records in {self._folder}: {_cause(error)}",
                    "check the folder's permissions and the disk",
                )
            return otherwise

    def _check_once(self) -> None:
        """Find out whether a damaged index hides records: once, on the first miss, since it costs far more than a hit."""
        with self._lock:
            if self._checked:
                return
            self._checked = True
            checked = self._cache
            found = self._try(lambda _: _integrity(self._folder / DBNAME), "ok")
            if found != "ok":
                self._begin_anew(checked, found)

    def _open(self) -> tuple[Any, int, Callable[[], object]]:
        """The database, its inode, and how to release it; created again if damaged. One process at a time."""
        with self._locks.hold("records"):
            try:
                return self._new()
            except _ERRORS as error:
                if not (_is_damage(error) or self._obstructed()):
                    hint = "free space on its disk, make the folder writable, or set GDCBUILD_CACHE_DIR to another folder"
                    raise StoreError(Problem(f"the action cache {self._folder} cannot be opened: {error}", hint)) from error
                self._remove(str(error))
                return self._new()

    def _obstructed(self) -> bool:
        """Whether a folder, a link or the like has the name of a file of the database."""
        return any(p.is_symlink() or not p.is_file() for p in self._folder.glob(f"{DBNAME}*"))

    def _new(self) -> tuple[Any, int, Callable[[], object]]:
        leave = self._enter()
        try:
            # no mmap: where the file is cut short, or the disk fails, reading a map kills the process
            cache = diskcache.Cache(
                str(self._folder), disk=_TextDisk, eviction_policy="none", cull_limit=0, statistics=0, sqlite_mmap_size=0
            )
            return cache, (self._folder / DBNAME).stat().st_ino, leave
        except BaseException:
            leave()
            raise

    def _enter(self) -> Callable[[], object]:
        """Register as a user of the database; the only user first merges what a killed process has left.

        Returns how to leave. The kernel does that too, but not before SQLite's files are closed.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        leave = weakref.finalize(self, os.close, handle)
        leave.atexit = False
        try:
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not settle(self._folder / DBNAME):
                    self._lost("the latest entries of the action cache are damaged and were ignored")
            fcntl.flock(handle, fcntl.LOCK_SH)
        except BaseException:
            leave()
            raise
        return leave

    def _remove(self, why: str) -> None:
        self._lost(f"the action cache is damaged and is created again: {why}")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _lost(self, message: str) -> None:
        self._gone.append(str(self._folder))
        self._say(message)

    def _begin_anew(self, broken: Any, why: str) -> None:
        """Replace a database that was found damaged during use; another process may have done so already."""
        with self._lock:
            if self._cache is not broken:
                return
            with self._locks.hold("records"), suppress(OSError):
                if (self._folder / DBNAME).stat().st_ino == self._inode:
                    self._remove(why)
            leave = self._leave
            self._cache, self._inode, self._leave = self._open()
            with suppress(sqlite3.Error):
                broken.close()
            leave()

    def _say(self, message: str, hint: str = "no action needed; it will be regenerated") -> None:
        with self._lock:
            if message not in self._said:
                self._said.add(message)
                self._warn(Problem(message, hint))


def _integrity(database: Path) -> str:
    """SQLite's check of the whole database: "ok", or the first error."""
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])


def _each_once(keys: Iterator[Any]) -> Iterator[str]:
    """Keys that are text. A damaged index may be cyclic."""
    seen = set()
    for key in keys:
        if key is not None and key in seen:
            raise ValueError("a key comes twice")
        seen.add(key)
        if isinstance(key, str):
            yield key


def _cause(error: BaseException) -> BaseException:
    """The first error: diskcache calls many errors a timeout, and rolls back what SQLite has rolled back already."""
    while isinstance(error, diskcache.Timeout | sqlite3.Error) and isinstance(error.__context__, sqlite3.Error):
        error = error.__context__
    return error


def _is_damage(error: BaseException) -> bool:
    """Whether the error means damage. An error without a code is about invalid text."""
    cause = _cause(error)
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF not in _NOT_DAMAGE
    return not isinstance(cause, OSError | diskcache.Timeout | MemoryError)
