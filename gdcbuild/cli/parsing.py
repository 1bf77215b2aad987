"""Reads values from the command line without pydantic where they are plain text.

Typer coerces every value through pydantic, whose import takes longer than a whole plan that finds no change.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any


def quicken(command: Any) -> Any:
    """The click command (or group) that Typer made, with the parameters of all its commands read so."""
    for parameter in command.params:
        _quicken(parameter)
    command.get_help_option = partial(_help_option, command.get_help_option)
    for below in getattr(command, "commands", {}).values():
        quicken(below)
    return command


def _quicken(parameter: Any) -> None:
    parameter.process_value = partial(_value, parameter, parameter.process_value)


def _help_option(otherwise: Callable[[Any], Any], ctx: Any) -> Any:
    """A command makes its help option when it is first asked for it, and keeps it."""
    found = otherwise(ctx)
    if found is not None and not isinstance(found.process_value, partial):
        _quicken(found)
    return found


def _value(parameter: Any, otherwise: Callable[[Any, Any], Any], ctx: Any, value: Any) -> Any:
    """The parameter's value from the given one; what is not plain (numbers, what is required) is left to Typer."""
    kind = parameter.type_descriptor.annotation
    if parameter.required:
        return otherwise(ctx, value)
    if value is None:
        found: Any = () if parameter.multiple or parameter.nargs == -1 else None
    elif kind == list[str] and isinstance(value, list | tuple):
        found = list(value)
    elif kind in (str, Path) and isinstance(value, str):
        found = kind(value)
    elif kind in (bool, int, Path) and isinstance(value, kind):
        found = value
    else:
        return otherwise(ctx, value)
    return found if parameter.callback is None else parameter.callback(ctx, parameter, found)
