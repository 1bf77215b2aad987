"""Which parts of a snapshot are still valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from gdcbuild.memory.held import Held
from gdcbuild.memory.snapshot import Part, stamp


class Parts:
    """A chain of models, each built from the previous one; `asked` counts how often a part is read."""

    def __init__(self, root: Path, length: int) -> None:
        self.asked = 0
        self.parts: dict[str, Part] = {}
        for n in range(length):
            (root / f"{n}").write_text("")
            needs = (f"m{n - 1}",) if n else ()
            row: tuple[str, str, tuple[str, int], list[list[str]]] = ("1", "cached", ("0" * 64, 0), [])
            self.parts[f"m{n}"] = Part("f", (f"{n}",), stamp(root, (f"{n}",)).digest, needs, [row])

    def part(self, name: str) -> Part | None:
        self.asked += 1
        return self.parts.get(name)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("changed", [0, 50, 99])
def test_dependents_of_a_change_are_invalid_and_checked_once(tmp_path: Path, order: int, changed: int) -> None:
    chain = Parts(tmp_path, 100)
    (tmp_path / f"{changed}").write_text("other")
    found = Held(cast(Any, chain), tmp_path).desired(list(chain.parts)[::order])
    assert set(found) == {f"m{n}" for n in range(changed)}
    assert chain.asked <= 200
