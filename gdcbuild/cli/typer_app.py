"""The Typer application. Each command is a function in its own module, imported on use."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

import typer
from typer.exceptions import TyperException

from gdcbuild.errors import GdcbuildError, Problem, UsageError

COMMANDS = (
    "init",
    "import",
    "validate",
    "plan",
    "build",
    "apply",
    "status",
    "explain",
    "verify",
    "cache",
    "schema",
    "version",
)
USAGE_OF_TYPER = 2

HABITS = {
    "clean": "gdcbuild cache gc frees disk space; what changed is built again without cleaning",
    "destroy": "no command deletes a version: see `Retire a version` in the documentation",
    "-auto-approve": "apply asks only in a protected environment; --yes skips the question",
    "-out": "plans are not saved: apply makes and shows its own",
    "-upgrade": "nothing needs to be fetched; init writes a first manifest",
}
"""Words people know from other tools, and what to use here."""


def run(arguments: list[str]) -> object:
    """Run a command line. Returns its exit code if it is not 0."""
    try:
        return typer.main.get_command(app(_completed() or arguments)).main(
            args=arguments, prog_name="gdcbuild", standalone_mode=False
        )
    except typer.Abort as error:
        raise KeyboardInterrupt from error
    except TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # Typer does not export the class
            sys.stderr.write(error.format_message() + "\n")
            return UsageError.exit_code
        context = getattr(error, "ctx", None)
        command = context.command_path if context else f"gdcbuild {_named(arguments)}".strip()
        habit = next((HABITS[word] for word in arguments if word in HABITS), "")
        message = error.format_message().partition(" Did you mean")[0] if habit else error.format_message()
        problem = Problem(message, habit or f"see: {command} --help")
        raise (UsageError if error.exit_code == USAGE_OF_TYPER else GdcbuildError)(problem) from error


def _named(arguments: Sequence[str]) -> str:
    """The command in a command line; "" if there is none."""
    named = next((word for word in arguments if not word.startswith("-")), "")
    return named if named in COMMANDS else ""


def _completed() -> list[str]:
    """The incomplete command line during shell completion; otherwise, empty."""
    if "_GDCBUILD_COMPLETE" not in os.environ:
        return []
    typed = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""  # bash; other shells
    return typed.split()[1:]


def app(arguments: Sequence[str]) -> typer.Typer:
    """The application for a command line: with only the command it names, or with all commands."""
    found = typer.Typer(
        name="gdcbuild",
        help="Build models from one manifest and publish only the versions that changed.",
        no_args_is_help=True,
        add_completion=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        callback=_several,
    )
    named = _named(arguments)
    for name in (named,) if named else COMMANDS:
        function = "import_" if name == "import" else name  # a Python keyword cannot name a module
        module = import_module(f"gdcbuild.cli.{function}")
        if hasattr(module, "app"):
            found.add_typer(module.app, name=name)
        elif not named and _asks_for_help(arguments):
            found.command(name)(_summary(getattr(module, function)))
        else:
            found.command(name)(getattr(module, function))
    return found


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return not arguments or not {"-h", "--help"}.isdisjoint(arguments)


def _summary(command: Callable[..., object]) -> Callable[[], None]:
    """A command with only its description, for the list of commands: declaring flags is what makes Typer slow."""

    def only_described() -> None: ...

    only_described.__doc__ = command.__doc__
    return only_described


def _several() -> None:
    """Without a callback, Typer would treat a single command as the whole program."""
