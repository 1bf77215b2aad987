"""Removes invalid parts of a value, so that the rest can be checked in the same run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from pydantic import BaseModel

from gdcbuild.errors import Problem
from gdcbuild.manifest.model import IN_REFERENCE
from gdcbuild.manifest.validate import validate
from gdcbuild.manifest.yaml import Node

M = TypeVar("M", bound=BaseModel)

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Sound(Generic[M]):
    """The value (None if nothing is left), its node, the problems, and the paths of everything removed."""

    value: M | None
    node: Node
    problems: tuple[Problem, ...]
    without: frozenset[Path]


def sound(model: type[M], node: Node, stand_ins: Mapping[str, Node]) -> Sound[M]:
    """The valid part of a value. Values refused by YAML or for a variable are not reported again.

    `stand_ins` replace required keys, so that the rest can be checked without them.
    """
    without: set[Path] = set()
    problems: list[Problem] = []
    cuts = set(_refused(node)) - {()}
    while True:
        found = validate(model, node)
        if isinstance(found, list):
            if not without:  # later problems follow from removed parts
                problems = [fault.problem for fault in found if fault.problem is not None]
            cuts |= {f.path[:-1] if f.missing and f.path[-1] not in stand_ins else f.path for f in found}
        elif not cuts:
            return Sound(found, node, tuple(problems), frozenset(without))
        if cuts <= without or () in cuts:
            return Sound(None, node, tuple(problems), frozenset(without))
        without |= cuts
        for path in sorted(cuts, key=_order, reverse=True):
            node = _cut(node, path, stand_ins)
        cuts = set()


def _order(path: Path) -> list[str]:
    """A sort key that orders list items by index: the last is removed first, so that no index changes."""
    return [str(step).zfill(9) for step in path]


def _refused(node: Node) -> Iterator[Path]:
    """The paths of all refused values; for a part of a reference, the path of the reference."""
    children: list[tuple[str | int, Node]] = []
    if isinstance(node.value, dict):
        children = list(node.value.items())
    elif isinstance(node.value, list):
        children = list(enumerate(node.value))
    reference = {step for step, _ in children} <= IN_REFERENCE
    for step, child in children:
        if child.refused:
            yield () if reference else (step,)
        else:
            yield from ((step, *path) for path in _refused(child))


def _cut(node: Node, path: Path, stand_ins: Mapping[str, Node]) -> Node:
    """A copy without the value at a path."""
    step, rest = path[0], path[1:]
    if isinstance(node.value, list) and isinstance(step, int):
        kept = [_cut(n, rest, {}) if i == step else n for i, n in enumerate(node.value) if rest or i != step]
        return replace(node, value=kept)
    if not isinstance(node.value, dict):
        return node
    value = {k: _cut(n, rest, {}) if k == step else n for k, n in node.value.items() if rest or k != step}
    if step in stand_ins and step not in value:
        value[str(step)] = stand_ins[str(step)]
    return replace(node, value=value)
