"""Validates a value against its model, and reports every mistake with its place in the file."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError

from gdcbuild.errors import Problem
from gdcbuild.manifest.model import TAGS
from gdcbuild.manifest.yaml import Node, is_placeholder

M = TypeVar("M", bound=BaseModel)


_FILE = 'write a path, {step: NAME, path: FILE}, {model: ID, version: "ID", path: FILE} or {root: NAME, path: FILE}'
_SHOWN = 80
_NO_TEXT = {dict: "a mapping", list: "a list", type(None): "nothing"}

_WANTED = {
    "bool_type": ("expected true or false", "write true or false"),
    "dict_type": ("expected a mapping", "write KEY: VALUE lines below it, or {KEY: VALUE}"),
    "list_type": ("expected a list", "write [ONE, ANOTHER]"),
    "model_type": ("expected a mapping", "write KEY: VALUE lines below it, or {KEY: VALUE}"),
    "string_type": ("expected a string", "write a string, in quotes if it looks like something else"),
    "string_too_short": ("is empty", "give a value, or remove the key"),
    "too_short": ("is empty; expected at least one item", "write [ONE, ANOTHER]"),
    "int_type": ("expected a whole number", "write it without quotes, such as 4"),
    "greater_than_equal": ("expected at least 1", "write 1 or more"),
}
"""Pydantic's error type → what is wrong, and how to write it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake: the path of the invalid value, and the problem (None if it has been reported).

    `missing` is true if the value is absent. A reference is invalid as a whole.
    """

    path: tuple[str | int, ...]
    problem: Problem | None
    missing: bool


def validate(model: type[M], node: Node) -> M | list[Fault]:
    """The validated value, or all mistakes in it."""
    try:
        return model.model_validate(node.plain())
    except ValidationError as error:
        found = error.errors(include_url=False)
        return [_fault(model, node, e) for e in _apart(model, node, found)]


def _fault(model: type[BaseModel], node: Node, error: Any) -> Fault:
    whole = tuple(takewhile(lambda step: step not in TAGS, error["loc"]))
    missing = error["type"] == "missing" and whole == error["loc"]
    return Fault(_written(whole), _problem(model, node, error), missing)


def _apart(model: type[BaseModel], node: Node, found: Iterable[Any]) -> list[Any]:
    """The errors without those that follow from another one: a key is missing because it is misspelt, or a value because
    it was read as part of the key."""
    errors = list(found)
    names = {tuple(e["loc"][:-1]) for e in errors if e["loc"][-1:] == ("[key]",)}
    names = {loc for loc in names if node.at(loc)[1].value is None}
    meant = {
        (*e["loc"][:-1], near)
        for e in errors
        if e["type"] == "extra_forbidden"
        for near in _near(str(e["loc"][-1]), _keys(model, tuple(e["loc"][:-1])))
    }
    return [e for e in errors if tuple(e["loc"]) not in names and (e["type"] != "missing" or tuple(e["loc"]) not in meant)]


def _near(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, known, 1, 0.6) if len(name) <= _SHOWN else []


_LISTED = 20
GUESSES = 100
"""How many mistakes of one kind get a hint with a similar name: finding one compares it with all names."""


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A hint for an unknown name."""
    names = sorted(known)
    near = _near(name, names)
    if near:
        return f"did you mean {near[0]!r}?"
    listed = ", ".join(names[:_LISTED]) + (f", and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    return f"known: {listed}" if names else otherwise


def _problem(model: type[BaseModel], node: Node, error: Any) -> Problem | None:
    path = tuple(error["loc"])
    where, found = node.at(path)
    name = str(path[-1]) if path else ""
    if name == "[key]":
        name, found = str(path[-2]), Node(path[-2], where, text=str(path[-2]))
    kind = error["type"]
    if found.refused and kind != "missing":
        return None
    if kind == "extra_forbidden":
        if is_placeholder(name):
            return None
        keys = _keys(model, path[:-1])
        return Problem(f"unknown key {quoted(name)}", did_you_mean(name, keys, "remove it"), where)
    if kind in ("missing", "union_tag_not_found") and any(is_placeholder(key) for key, _ in found.items()):
        return None
    if kind == "missing":
        return Problem(f"{name!r} is missing", f"add {_described(model, path) or name}", node.at(path[:-1])[0])
    if kind == "string_pattern_mismatch":
        if is_placeholder(name):
            return None
        word, _, rest = found.text.partition(" ")
        hint = f"write a colon: {word}: {rest[0]}" if rest[:1] in ("{", "[") else _pattern_hint(error)
        return Problem(f"{quoted(found.text)} is not a valid name", hint, where)
    if kind == "string_type" and isinstance(found.value, int | float) and not isinstance(found.value, bool):
        return Problem(f"{found.text} is a number; expected a string", f'write "{found.text}"', where)
    if kind == "literal_error":
        expected = error["ctx"]["expected"]
        if isinstance(found.value, str) and found.text == expected:
            return Problem(
                f"{name}: {found.text!r} is a string; expected a number", f"write it without quotes: {expected}", where
            )
        if name == "schema" and type(found.value) is int and found.value > 1:
            return Problem(f"schema {found.text} needs a newer gdcbuild", "update gdcbuild, or write schema: 1", where)
        one_of = "one of " if " or " in expected else ""
        said = f"{name}: {_NO_TEXT[type(found.value)]}" if type(found.value) in _NO_TEXT else quoted(found.text)
        return Problem(f"{said} is not {one_of}{expected}", f"write {expected}", where)
    written = _written(path)
    if kind == "union_tag_not_found":
        return Problem(f"{_called(written)}: expected a path or a reference", _FILE, where)
    message, fix = _WANTED.get(kind) or (error["msg"].removeprefix("Value error, "), "write another value")
    if path and path[-1] in TAGS:
        fix = f"{_FILE}, or {{from: PATH, to: FOLDER/}}" if isinstance(written[-1], int) else _FILE
    described = _described(model, written)
    hint = f"{fix}; {described}" if described else fix
    return Problem(f"{_called(written)}: {message[0].lower()}{message[1:]}", hint, where)


def quoted(text: str) -> str:
    """The user's text, quoted for a message and shortened."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."


def _written(path: Iterable[str | int]) -> tuple[str | int, ...]:
    """A pydantic error path as in the file: without union branches and key marks."""
    return tuple(step for step in path if step != "[key]" and step not in TAGS)


def _called(path: tuple[Any, ...]) -> str:
    """What to call a value in messages: its key, or its number in the list."""
    if not path:
        return "the manifest"
    return f"item {path[-1] + 1} of {path[-2]}" if isinstance(path[-1], int) else _plain(str(path[-1]))


def _plain(name: str) -> str:
    return name if name.isprintable() else repr(name)


def _pattern_hint(error: Any) -> str:
    pattern = error["ctx"]["pattern"]
    if ":" in pattern:
        return 'write "package.module:function"'
    if pattern.startswith("^[0-9]"):
        return 'write MAJOR.MINOR in quotes, such as "2.13"'
    if "{0,61}" in pattern:
        return "use letters, digits, . _ and -, at most 63; begin and end with a letter or a digit"
    return "use letters, digits, . _ and -; begin and end with a letter, a digit or _"


def _keys(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    found = _at(model, path)
    return [f.alias or n for n, f in found.model_fields.items()] if found else []


def _described(model: type[BaseModel], path: tuple[Any, ...]) -> str:
    owner = _at(model, path[:-1]) if path else None
    if owner is not None:
        for name, field in owner.model_fields.items():
            if path[-1] in (name, field.alias) and field.description:
                return f"{path[-1]}: {field.description}"
    return ""


def _at(model: type[BaseModel], path: tuple[Any, ...]) -> type[BaseModel] | None:
    """The model at the path of a validation error, through optionals, containers and tagged unions."""
    current: Any = model
    for step in path:
        current = _unwrap(current, step)
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = next((f for n, f in current.model_fields.items() if step in (f.alias or n, n)), None)
            if field is None:
                if step in TAGS:
                    continue
                return None
            current = field.annotation
        elif get_origin(current) is dict:
            current = get_args(current)[1]
        elif get_origin(current) is list:
            current = get_args(current)[0]
        elif step not in TAGS:
            return None
    current = _unwrap(current, None)
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _unwrap(annotation: Any, step: Any) -> Any:
    """Strip Annotated and None; from a union, take the branch tagged `step`."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, types.UnionType, typing.Union):
            branches = [a for a in get_args(annotation) if a is not type(None)]
            tagged = [a for a in branches if any(isinstance(m, Tag) and m.tag == step for m in getattr(a, "__metadata__", ()))]
            if tagged:
                annotation = tagged[0]
            elif len(branches) == 1:
                annotation = branches[0]
            else:
                return annotation
        else:
            return annotation
