"""Databases between two processes: what a killed one leaves is brought to rest.

SQLite passes over the rest of its log (-wal) in silence from the first frame on that is damaged. How many frames there were
is in the index of the log (-shm), which processes share while they run, and which stays when the last one is killed.
"""

from __future__ import annotations

import sqlite3
import struct
from contextlib import closing
from pathlib import Path

_HEADER = struct.Struct("=I12xI28x")
"""Of the index: its version, and how many frames there are. It comes twice."""


def settle(database: Path) -> bool:
    """Take what its log holds into a database that nobody has open, or lay a new one; False when something is lost.

    Raises sqlite3.Error when what is left does not fit together.
    """
    log, index = (database.with_name(database.name + suffix) for suffix in ("-wal", "-shm"))
    if not database.exists() and not database.is_symlink():
        alone = not log.exists()
        _lay(database)
        return alone
    if not log.exists() and not index.exists():  # whoever had it open last has seen to it
        return database.stat().st_size > 0
    written = _frames(index) if index.exists() or log.stat().st_size else 0
    with closing(sqlite3.connect(database)) as connection:
        read = connection.execute("PRAGMA wal_checkpoint").fetchone()[1]
        if written is not None and read >= written:
            return True
        (sound,) = connection.execute("PRAGMA integrity_check").fetchone()
        if sound != "ok":
            raise sqlite3.DatabaseError(sound)
    return False


def _lay(database: Path) -> None:
    """A new database, there whole or not at all: one that is empty has been cut."""
    new = database.with_name("new.db")
    for path in (*database.parent.glob(f"{database.name}-*"), *database.parent.glob(f"{new.name}*")):
        path.unlink()
    with closing(sqlite3.connect(new)) as connection:
        connection.execute("PRAGMA auto_vacuum = FULL")  # as diskcache has it, which comes too late for that
        connection.execute("PRAGMA user_version = 1")  # to have something to write
    new.replace(database)


def _frames(index: Path) -> int | None:
    """How many frames the log had; None when the index does not tell."""
    try:
        with index.open("rb") as stream:
            first, second = stream.read(_HEADER.size), stream.read(_HEADER.size)
    except OSError:
        return None
    if not first:  # nobody came to write anything
        return 0
    if len(first) != _HEADER.size or first != second:
        return None
    return int(_HEADER.unpack(first)[1])
