"""Databases between two processes: merges the log that a killed process has left.

SQLite silently ignores the rest of its log (-wal) from the first damaged frame on. The number of frames
is in the index of the log (-shm), which processes share while they run, and which remains if the last one is killed.
"""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

_HEADER = struct.Struct("=I12xI28x")
"""The index: its version, and the number of frames. It is stored twice."""

_SMALLEST = 512
"""Smallest size of a database in bytes. SQLite treats some shorter files as new databases."""


def settle(database: Path) -> bool:
    """Merge the log into a database that nobody has open, or create a new one; False if something is lost.

    Raises sqlite3.Error if the rest is inconsistent.
    """
    log, index = (database.with_name(database.name + suffix) for suffix in ("-wal", "-shm"))
    if not database.exists() and not database.is_symlink():
        alone = not log.exists()
        _lay(database)
        return alone
    if database.stat().st_size < _SMALLEST:
        raise sqlite3.DatabaseError("the file is truncated")
    if not log.exists() and not index.exists():
        return True  # its last user has merged it
    written = _frames(index)
    with closing(sqlite3.connect(database)) as connection:
        read = connection.execute("PRAGMA wal_checkpoint").fetchone()[1]
        if written is not None and read >= written:
            return True
        (sound,) = connection.execute("PRAGMA integrity_check").fetchone()
        if sound != "ok":
            raise sqlite3.DatabaseError(sound)
    return False


def _lay(database: Path) -> None:
    """Create a database, whole or not at all: an empty one is truncated."""
    new = database.with_name("new.db")
    for path in (*database.parent.glob(f"{database.name}-*"), *database.parent.glob(f"{new.name}*")):
        path.unlink()
    with closing(sqlite3.connect(new)) as connection:
        connection.execute("PRAGMA auto_vacuum = FULL")  # as diskcache sets it, too late to take effect
        connection.execute("PRAGMA user_version = 1")  # to have something to write
    new.replace(database)


def _frames(index: Path) -> int | None:
    """How many frames the log must have; None if the index does not tell."""
    try:
        with index.open("rb") as stream:
            first, second = stream.read(_HEADER.size), stream.read(_HEADER.size)
    except FileNotFoundError:  # its last user was closing it: has merged all, and removes the log after the index
        return 0
    if not any(first + second):  # it was just created
        return 0
    return int(_HEADER.unpack(first)[1]) if first == second else None
