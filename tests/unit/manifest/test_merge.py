"""Defaults: maps merge, scalars and lists replace, `key+` appends, sources replace each other."""

from __future__ import annotations

from typing import Any

import pytest

from gdcbuild.frameworks import FRAMEWORKS
from gdcbuild.manifest.keys import keys_of
from gdcbuild.manifest.merge import merge
from gdcbuild.manifest.yaml import parse

KEYS = keys_of(*FRAMEWORKS.values())


@pytest.mark.parametrize(
    ("levels", "result"),
    [
        (["{handler: a}", "{}"], {"handler": "a"}),
        (["{handler: a}", "{handler: b}"], {"handler": "b"}),
        (["{files: [a]}", "{files: [b]}"], {"files": ["b"]}),
        (["{files: [a]}", "{files+: [b]}"], {"files": ["a", "b"]}),
        (["{files: [a]}", "{files+: [b]}", "{files+: [c]}"], {"files": ["a", "b", "c"]}),
        (["{}", "{files+: [b]}"], {"files": ["b"]}),
        (["{files+: [b], files: [a]}"], {"files": ["a", "b"]}),
        (["{export: {files: [a], files+: [b]}}"], {"export": {"files": ["a", "b"]}}),
        (["{export: {args: {n+: [1]}}}", "{export: {args: {n+: [2]}}}"], {"export": {"args": {"n": [1, 2]}}}),
        (["{config: {a: 1, b: 1}}", "{config: {b: 2}}"], {"config": {"a": 1, "b": 2}}),
        (["{config: file}", "{config: {b: 2}}"], {"config": {"b": 2}}),
        (["{config: {b: 2}}", "{config: file}"], {"config": "file"}),
        (
            ["{export: {function: f, args: {a: 1}, files: [x]}}", "{export: {args: {b: 2}, files+: [y]}}"],
            {"export": {"function": "f", "args": {"a": 1, "b": 2}, "files": ["x", "y"]}},
        ),
        (["{export: {function: f}}", "{weights: w}"], {"weights": "w"}),
        (["{weights: w}", "{export: {function: f}}"], {"export": {"function": "f"}}),
        (["{weights: w}", "{weights: v}"], {"weights": "v"}),
        (["{weights: {step: s, path: p}}", "{weights: {model: m}}"], {"weights": {"model": "m"}}),
        (["{handler: h, config: c, files: [f], framework: t}", "{mar: m}"], {"framework": "t", "mar": "m"}),
        (["{handler: h}", "{mar: m, handler: g}"], {"mar": "m", "handler": "g"}),
    ],
)
def test_table(levels: list[str], result: dict[str, Any]) -> None:
    nodes = [parse(level.encode(), f"f{n}")[0] for n, level in enumerate(levels)]
    assert merge(KEYS, *nodes).plain() == result
    again = [parse(x.encode(), "f")[0] for x in levels]
    assert [node.plain() for node in nodes if node] == [node.plain() for node in again if node]


def test_values_keep_their_locations() -> None:
    one, other = parse(b"{handler: a, config: {x: 1}}", "one")[0], parse(b"\n{config: {y: 2}}", "other")[0]
    merged = merge(KEYS, one, other)
    assert [str(merged.at(path)[0]) for path in (("handler",), ("config", "x"), ("config", "y"))] == [
        "one:1:2",
        "one:1:23",
        "other:2:11",
    ]
