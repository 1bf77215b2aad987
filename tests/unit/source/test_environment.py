"""What a snapshot keeps of the variables that a manifest asks for."""

from __future__ import annotations

import os

from gdcbuild.source.environment import Variables


def test_values_that_are_not_utf8_are_told_apart() -> None:
    found = {Variables({"X": os.fsdecode(value)}).digests(["X"])["X"] for value in (b"caf\xe9", b"caf\xe8", b"caf?")}
    assert len(found) == 3
