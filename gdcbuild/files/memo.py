"""Memos: files in the cache that only save time. One is there whole or not at all, and says itself whether it is sound.

Its first line has a checksum of its own; what comes after it, the line has checksums of. It is not waited for the disk:
what a power failure leaves half-written, a checksum tells.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

RACY_NS = 1_000_000_000
"""What changed so shortly before it was looked at may change again within one tick of its clock: it is not remembered."""

UNFINISHED = ".memo-"
"""How the name of one begins that is still being written."""


def checksum(data: bytes) -> str:
    """32 hex digits."""
    return hashlib.sha256(data).hexdigest()[:32]


def sealed(text: bytes) -> bytes:
    """A first line."""
    return checksum(text).encode() + text + b"\n"


def opened(line: bytes) -> bytes | None:
    """What was sealed in this line; None when it is not as it was written."""
    text = line[32:-1]
    return text if sealed(text) == line else None


def is_trusted(file: Path) -> bool:
    """Whether nobody else can have written it: it is there, and it, its folder and the cache above that are ours alone."""
    try:
        found = [os.stat(path) for path in (file, file.parent, file.parent.parent)]  # noqa: PTH116 - quick to reach
    except OSError:
        return False
    return all(s.st_uid == os.geteuid() and not s.st_mode & 0o022 for s in found)


def replace(file: Path, pieces: Iterable[bytes]) -> None:
    """Write it anew. A memo is not worth a complaint."""
    import tempfile

    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=UNFINISHED, dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.writelines(pieces)
            os.replace(temporary, file)  # noqa: PTH105 - both are plain names
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108
            raise
