"""Parsing without Typer gives what Typer gives."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from gdcbuild.cli.options import FLAGS
from gdcbuild.cli.plain_args import QUICK, read
from gdcbuild.cli.typer_app import app

WORDS = ["a", "m@1", "dir/x", "*", "--", "-", "", "-1", "2", "0", "--env", "--env=prod", "--env=", "--nonsense", "-h", "-j4"]
FLAG_WORDS = [name for flag in FLAGS.values() for name in flag.names]


def through_typer(words: Sequence[str]) -> dict[str, Any] | None:
    """The arguments that Typer parses, including defaults; None if it refuses the command line."""
    group: Any = typer.main.get_command(app(words))
    command = group.commands[words[0]]
    try:
        context = command.make_context(words[0], list(words[1:]), resilient_parsing=False)
    except (typer.Exit, typer.Abort, SystemExit):
        return None
    except Exception as error:  # every way of refusing is an exception of its own
        assert type(error).__module__.startswith("typer"), repr(error)
        return None
    return {name: list(value) if isinstance(value, list | tuple) else value for name, value in context.params.items()}


def with_defaults(found: tuple[Any, dict[str, Any]]) -> dict[str, Any]:
    command, given = found
    code = command.__code__
    names = code.co_varnames[: code.co_argcount]
    defaults = dict(zip(reversed(names), reversed(command.__defaults__ or ()), strict=False))
    return {**defaults, **given}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Compare, with a missing value equal to an empty list."""
    return one.keys() == other.keys() and all((one[k] or None) == (other[k] or None) for k in one)


@given(st.sampled_from(sorted(QUICK)), st.lists(st.sampled_from([*WORDS, *FLAG_WORDS]), max_size=6))
def test_accepted_command_lines_give_what_typer_gives(command: str, words: list[str]) -> None:
    found = read([command, *words], {})
    if found is not None:
        expected = through_typer([command, *words])
        assert expected is not None, "Typer refuses it"
        assert same(with_defaults(found), expected)


@pytest.mark.parametrize("command", sorted(QUICK - {"explain", "version"}))
def test_common_command_lines_are_accepted(command: str) -> None:
    for words in itertools.permutations([["-C", "folder"], ["--cache-dir", "x"], ["-f", "file"]]):
        assert read([command, *itertools.chain(*words)], {}) is not None


def test_variables() -> None:
    found = read(["plan"], {"GDCBUILD_ENV": "prod", "GDCBUILD_CACHE_DIR": "/c", "OTHER": "x"})
    assert found is not None
    assert (found[1]["env"], str(found[1]["cache_dir"])) == ("prod", "/c")
    found = read(["plan", "--env", "test"], {"GDCBUILD_ENV": "prod"})
    assert found is not None
    assert found[1]["env"] == "test"
    assert read(["plan"], {"GDCBUILD_JSON": "1"}) is None, "what is not text is Typer's"


@pytest.mark.parametrize(
    "line", ["", "--help", "plan --help", "nonsense", "cache stats", "plan --env", "explain", "build -j 0", "build -j4"]
)
def test_other_command_lines_are_left_to_typer(line: str) -> None:
    assert read(line.split(), {}) is None


@pytest.mark.parametrize("command", sorted(QUICK))
def test_every_parameter_is_a_flag(command: str) -> None:
    function = getattr(import_module(f"gdcbuild.cli.{command}"), command)
    assert {kind for name, kind in function.__annotations__.items() if name != "return"} <= {
        f"options.{name}" for name in FLAGS
    }
