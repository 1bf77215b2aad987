"""Records as they are when the process that had them open has ended."""

from __future__ import annotations

from gdcbuild.store.records import DiskRecords


def close(records: DiskRecords) -> None:
    """Let go of the database. If it is used again, it opens again."""
    records._cache.close()
    records._leave()
