"""Memos: files in the cache that only save time. A memo exists as a whole or not at all, and carries its own checksums.

The first line has its own checksum, and contains the checksums of the rest. Writing does not wait for the disk: a checksum
detects what a power failure leaves half-written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

RACY_NS = 1_000_000_000
"""A file changed less than this before it was read may change again within one clock tick, so it is not remembered."""

UNFINISHED = ".memo-"
"""Name prefix of a memo that is still being written."""


def checksum(data: bytes) -> str:
    """32 hex digits."""
    return hashlib.sha256(data).hexdigest()[:32]


def sealed(text: bytes) -> bytes:
    """The first line of a memo, with its checksum."""
    return checksum(text).encode() + text + b"\n"


def opened(line: bytes) -> bytes | None:
    """The text of a sealed line; None when the line is damaged."""
    text = line[32:-1]
    return text if sealed(text) == line else None


def is_trusted(file: Path) -> bool:
    """Whether nobody else can have written the file: it exists, and only we can write to it, its folder and the cache."""
    try:
        found = [os.stat(path) for path in (file, file.parent, file.parent.parent)]  # noqa: PTH116 - faster
    except OSError:
        return False
    return all(s.st_uid == os.geteuid() and not s.st_mode & 0o022 for s in found)


def replace(file: Path, pieces: Iterable[bytes]) -> None:
    """Replace the memo. Errors are ignored: a memo only saves time."""
    import tempfile

    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=UNFINISHED, dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.writelines(pieces)
            os.replace(temporary, file)  # noqa: PTH105 - both are plain strings
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise
