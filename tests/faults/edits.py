"""Damage: a flipped bit, a cut, an edit."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Case = tuple[str, int]
"""What to do with which seed or length: "flip", "edit" or "cut"."""


@contextmanager
def fresh_folder() -> Iterator[Path]:
    """In memory where that can be: thousands of databases are written."""
    with tempfile.TemporaryDirectory(prefix="gdcbuild-damage-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as made:
        yield Path(made)


def damaged(data: bytes, case: Case) -> bytes:
    """The bytes with one bit flipped, one random edit made, or cut to a length."""
    what, number = case
    if what == "cut":
        return data[:number]
    chance = random.Random(number)
    if what == "flip":
        at = chance.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    start = chance.randrange(len(data) + 1)
    length = chance.choice((1, 2, 4, 16, 100, 4096))
    new = chance.choice((chance.randbytes(length), bytes(length), b"\xff" * length, data[:length]))
    return data[:start] + new + data[start + chance.choice((0, length)) :]
