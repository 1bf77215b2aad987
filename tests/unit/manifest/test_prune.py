"""What is left of a manifest when its invalid parts are reported and removed."""

from __future__ import annotations

from typing import Any

import pytest

from gdcbuild.frameworks import FRAMEWORKS
from gdcbuild.manifest.keys import keys_of
from gdcbuild.manifest.model import Manifest, Version
from gdcbuild.manifest.prune import Sound, sound
from gdcbuild.manifest.variables import put_in
from gdcbuild.manifest.yaml import Node, parse


def left(text: str) -> Sound[Any]:
    node, _ = parse(text.encode(), "f")
    assert node is not None
    return sound(keys_of(*FRAMEWORKS.values()).manifest, put_in(node, {}, {}, []), {"schema": Node(1, node.where)})


def test_a_valid_manifest_is_kept_completely() -> None:
    found = left("schema: 1\nmodels: {m: {versions: {'1': {weights: w}}}}\n")
    assert (found.problems, found.without) == ((), frozenset())


@pytest.mark.parametrize(
    ("text", "problems", "kept"),
    [
        ("models: {}", ["'schema' is missing"], {"models": {}}),
        ("schema: 2", ["schema 2 needs a newer gdcbuild"], {}),
        ("schema: 0", ["'0' is not 1"], {}),
        ("schema: true", ["'true' is not 1"], {}),
        ("schema: 1.0", ["'1.0' is not 1"], {}),
        ("schema: 1\nvars: []", ["vars: expected a mapping"], {}),
        ("schema: 1\ninclude: [a, 5, b, [], c]", ["5 is a number", "item 4 of include"], {"include": ["a", "b", "c"]}),
        ("schema: 1\ninclude: [5, *x, b, 6]", ["5 is a number", "6 is a number"], {"include": ["b"]}),
        (
            "schema: 1\nsteps: {s: {run: 5, outputs: [a]}, t: {run: [a], outputs: [b]}}",
            ["run: expected a list"],
            {"steps": ["t"]},
        ),
        ("schema: 1\nsteps: {s: {run: [5], outputs: [a]}}", ["5 is a number"], {"steps": []}),
        ("schema: 1\nsteps: {s: {ran: [a], outputs: [b]}}", ["unknown key 'ran'"], {"steps": []}),
        ("schema: 1\nsteps: {s: {<<: {run: [a]}, outputs: [b]}}", [], {"steps": []}),
        ("schema: 1\nsteps: {s: {run: [a], outputs: ['${env.X}']}}", [], {"steps": []}),
        ("schema: 1\npools: {'(x': 1, a/b: 0, c: 1}", ["'(x' is not", "at least 1", "'a/b' is not"], {"pools": {"c": 1}}),
        ("schema: 1\ndefault_environment: '${env.X}'\nvars: {a: 1}", [], {"vars": {"a": 1}}),
    ],
)
def test_the_smallest_invalid_part_is_removed(text: str, problems: list[str], kept: dict[str, Any]) -> None:
    found = left(text + "\n")
    assert [any(p.message.startswith(words) or words in p.message for p in found.problems) for words in problems] == [
        True
    ] * len(problems)
    assert len(found.problems) == len(problems), found.problems
    assert all(p.hint and p.where and p.where.line for p in found.problems)
    plain = found.node.plain()
    for key, value in kept.items():
        assert (sorted(plain[key]) if key == "steps" else plain[key]) == value
    assert isinstance(found.value, Manifest)


def test_nothing_is_left_unless_it_is_a_mapping() -> None:
    node, _ = parse(b"[]\n", "f")
    assert node is not None
    found = sound(Version, node, {})
    assert (found.value, len(found.problems)) == (None, 1)
