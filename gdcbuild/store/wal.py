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

_SMALLEST = 512
"""Bytes of a database. SQLite takes some that are shorter for new ones."""


def settle(database: Path) -> bool:
    """Take what its log holds into a database that nobody has open, or lay a new one; False when something is lost.

    Raises sqlite3.Error when what is left does not fit together.
    """
    log, index = (database.with_name(database.name + suffix) for suffix in ("-wal", "-shm"))
    if not database.exists() and not database.is_symlink():
        alone = not log.exists()
        _lay(database)
        return alone
    if database.stat().st_size < _SMALLEST:
        raise sqlite3.DatabaseError("the file is truncated")
    if not log.exists() and not index.exists():
        return True  # whoever had it open last has seen to it
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
    """A new database, there whole or not at all: one that is empty has been cut."""
    new = database.with_name("new.db")
    for path in (*database.parent.glob(f"{database.name}-*"), *database.parent.glob(f"{new.name}*")):
        path.unlink()
    with closing(sqlite3.connect(new)) as connection:
        connection.execute("PRAGMA auto_vacuum = FULL")  # as diskcache has it, which comes too late for that
        connection.execute("PRAGMA user_version = 1")  # to have something to write
    new.replace(database)


def _frames(index: Path) -> int | None:
    """How many frames the log had that must still be there; None when the index does not tell."""
    try:
        with index.open("rb") as stream:
            first, second = stream.read(_HEADER.size), stream.read(_HEADER.size)
    except FileNotFoundError:  # whoever had it open last was closing it, had taken all in, and removes the log after the index
        return 0
    if not any(first + second):  # it had just been made
        return 0
    return int(_HEADER.unpack(first)[1]) if first == second else None
