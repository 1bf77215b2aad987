"""Parses common command lines without Typer, whose import takes longer than a plan without changes.

It uses the same data as Typer and accepts only plain forms. Everything else, including help and mistakes, is left to Typer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from gdcbuild.cli.options import FLAGS, Flag

QUICK = frozenset({"plan", "status", "validate", "build", "apply", "explain", "verify", "version"})
"""Commands whose parameters are all flags in `options`."""


def read(words: Sequence[str], variables: Mapping[str, str] = os.environ) -> tuple[Callable[..., Any], dict[str, Any]] | None:
    """The command and its arguments; None if Typer must parse them."""
    if not words or words[0] not in QUICK:
        return None
    command = getattr(import_module(f"gdcbuild.cli.{words[0]}"), words[0])
    flags = {p: FLAGS[kind.removeprefix("options.")] for p, kind in command.__annotations__.items() if p != "return"}
    found: dict[str, Any] = {}
    for parameter, flag in flags.items():
        given = variables.get(flag.variable, "") if flag.variable else ""
        if given:
            if flag.kind not in (str, Path):
                return None
            found[parameter] = flag.kind(given)
    rest = list(reversed(words[1:]))
    while rest:
        word = rest.pop()
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        parameter = _named(flags, name if word.startswith("-") else "")
        if not parameter:
            return None
        kind = flags[parameter].kind
        if kind is bool:
            if equals:
                return None
            found[parameter] = True
            continue
        if word.startswith("-") and not equals:
            if not rest:
                return None
            value = rest.pop()
        elif not equals:
            value = word
        if value.startswith("-") or (kind is int and not (value.isdecimal() and value.isascii() and int(value))):
            return None
        if kind == list[str]:
            found.setdefault(parameter, []).append(value)
        elif not flags[parameter].names and parameter in found:
            return None
        else:
            found[parameter] = kind(value)
    wanted = command.__code__.co_argcount - len(command.__defaults__ or ())
    return (command, found) if found.keys() >= set(command.__code__.co_varnames[:wanted]) else None


def _named(flags: Mapping[str, Flag], name: str) -> str:
    """The parameter of a flag; for an empty name, the argument."""
    return next((p for p, flag in flags.items() if (name in flag.names if name else not flag.names)), "")
