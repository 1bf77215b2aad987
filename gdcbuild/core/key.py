"""The identity of an action: one walk that gives both the key and its explanation.

The walk writes ingredients; the key is their digest and `explain` compares two lists of them, so the explanation of a
rebuild cannot drift from its reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gdcbuild.core.digest import Tree
from gdcbuild.core.graph import Action, Command, Files, Inline, Worker

KEY_SCHEMA = 3
"""Raise it when the walk below changes: old results are then not found, and `explain` says so."""

SCHEMA, ADAPTER, TOOLCHAIN, PROGRAM, INPUT = "key schema", "adapter version", "toolchain", "program ", "input "


@dataclass(frozen=True)
class Key:
    """The ingredients of one action, name → value, in the order of the walk.

    `origins` says where an input comes from if it has another path in the action's folder: for people, not an ingredient.
    """

    ingredients: Mapping[str, str]
    origins: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def hash(self) -> str:
        """64 hex digits."""
        text = json.dumps(list(self.ingredients.items()), ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def to_json(self) -> list[list[str]]:
        return [[name, value, *self._origin(name)] for name, value in self.ingredients.items()]

    def _origin(self, name: str) -> tuple[str, ...]:
        return (self.origins[name],) if name in self.origins else ()

    @classmethod
    def from_json(cls, rows: Any) -> Key | None:
        """The key that was written; None if the rows are not a key."""
        try:
            ingredients = {str(name): str(value) for name, value, *_ in rows}
            return cls(ingredients, {str(name): str(origin[0]) for name, _, *origin in rows if origin})
        except (TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True)
class Difference:
    """One ingredient that changed; None on the side where it is absent.

    `origin` is where an input comes from, if it has another path in the action's folder.
    """

    name: str
    before: str | None
    after: str | None
    origin: str | None = None

    def __str__(self) -> str:
        if self.name in (SCHEMA, ADAPTER):
            return f"gdcbuild itself changed ({self.name} {self.before}, now {self.after})"
        what = f"{INPUT}{self.origin} (as {self.name.removeprefix(INPUT)})" if self.origin else self.name
        if self.before is None:
            return f"{what} added"
        return f"{what} removed" if self.after is None else f"{what} changed"


def key_of(
    action: Action,
    inputs: Tree,
    toolchain: str | None,
    env: Mapping[str, str],
    origins: Mapping[str, str] | None = None,
    programs: Mapping[str, str] | None = None,
) -> Key:
    """The key of an action with `inputs`: path in its folder → digest.

    `toolchain` is the toolchain's digest; `env` the values of the variables the action may see; `origins` says where
    inputs come from, by their paths; `programs` are those of the machine that its command starts, name → digest.
    """
    elsewhere = {f"{INPUT}{path}": origin for path, origin in (origins or {}).items() if origin != path}
    return Key(dict(_walk(action, inputs, toolchain, env, programs or {})), elsewhere)


def _walk(
    action: Action, inputs: Tree, toolchain: str | None, env: Mapping[str, str], programs: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    yield SCHEMA, str(KEY_SCHEMA)
    yield "kind", action.kind
    yield ADAPTER, str(action.version)
    yield "run", _canonical(_how(action.run))
    if action.cwd:
        yield "folder", action.cwd
    for name in sorted(action.params):
        yield f"parameter {name}", _canonical(action.params[name])
    if action.outputs is not None:
        yield "outputs", _canonical(sorted(action.outputs))
    if action.toolchain is not None:
        yield TOOLCHAIN, str(toolchain)
    for name, bytes_of in programs.items():
        yield f"{PROGRAM}{name}", bytes_of
    for name in sorted(action.env):
        yield f"variable {name}", _secret(name, env.get(name))
    for path, digest in inputs.items():
        yield f"{INPUT}{path}", f"{digest} {digest.size}"


def _how(run: Files | Command | Worker | Inline) -> list[str]:
    match run:
        case Files():
            return ["files"]
        case Command(argv):
            return ["command", *argv]
        case Worker():  # kind and version say which one: a module may move
            return ["worker"]
        case Inline():
            return ["inline"]


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _secret(name: str, value: str | None) -> str:
    """A digest of a variable's value: ingredients are shown and stored, so the value must not be."""
    if value is None:
        return "not set"
    return f"sha256:{hashlib.sha256(f'{name}={value}'.encode('utf-8', 'surrogateescape')).hexdigest()}"


Contents = Callable[[str], Mapping[str, str]]
"""The contents behind a toolchain's digest, name → value; empty if no longer known."""


def differences(before: Key, after: Key, contents: Contents) -> list[Difference]:
    """What was added, removed or changed, in the order of the walk; for a toolchain, which of its packages."""
    old, new = before.ingredients, after.ingredients
    if old.get(SCHEMA) != new.get(SCHEMA):  # other ingredients may not mean the same in both schemas
        return [Difference(SCHEMA, old.get(SCHEMA), new.get(SCHEMA))]
    found: list[Difference] = []
    origins = {**before.origins, **after.origins}
    for difference in _compared(old, new, origins):
        if difference.name == TOOLCHAIN and difference.before and difference.after:
            had, has = contents(difference.before), contents(difference.after)
            if had and has:
                found += _compared(
                    {f"{TOOLCHAIN} {n}": v for n, v in had.items()}, {f"{TOOLCHAIN} {n}": v for n, v in has.items()}
                )
                continue
        found.append(difference)
    return found


def _compared(old: Mapping[str, str], new: Mapping[str, str], origins: Mapping[str, str] | None = None) -> Iterator[Difference]:
    for name in dict.fromkeys([*new, *old]):
        if old.get(name) != new.get(name):
            yield Difference(name, old.get(name), new.get(name), (origins or {}).get(name))
