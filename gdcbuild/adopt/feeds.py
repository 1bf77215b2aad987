"""Text that commands give each other, or that stands in $(...): not followed, but named where it would matter if it ran."""

from __future__ import annotations

import re
from collections.abc import Callable

from gdcbuild.adopt import commands
from gdcbuild.adopt.found import Found, shown
from gdcbuild.adopt.runs import PLAINLY
from gdcbuild.adopt.tokens import Fed, Word
from gdcbuild.errors import Location


class Feeds:
    """Watches the lines of a script, one after another."""

    def __init__(self, found: Found, called: Callable[[str, Location, bool], None]) -> None:
        self._found = found
        self._called = called
        self._commands: list[list[str]] = []
        self._fed: list[Fed] = []

    def word(self, word: Word) -> None:
        """Name commands within a word."""
        for part in word.parts:
            if part.kind == "command" or (part.kind == "unknown" and part.text.startswith(("((", "[["))):
                self._named(part.text, word.where, "$")

    def feed(self, fed: Fed) -> None:
        """Something for a command of the line."""
        if fed.is_commands:
            self._named(fed.text, fed.where, "<")
        else:
            self._fed.append(fed)

    def _named(self, text: str, where: Location, mark: str) -> None:
        self._called(text, where, True)
        if what := commands.matters(text):
            self._found.refuse(where, f"{what} within {mark}(...) is not understood", PLAINLY)

    def command(self, fields: list[str], piped: bool, where: Location) -> None:
        """A command of the line; a shell among them runs what the one before writes."""
        self._commands.append(fields)
        for field in fields[1:] if commands.runs_text(fields) else ():
            self._called(shown(field), where, fields[0] != "eval")
        if self._fed or not commands.reads_commands(fields):
            return
        text = "\n".join(" ".join(before) for before in self._commands[:-1]) if piped else ""
        what, shell = commands.matters(text), fields[0]
        if what:
            self._found.refuse(where, f"{what} is run by {shell}", PLAINLY)
        elif not re.match(r"(curl|wget)\b", text):  # they install programs
            given = f"what {shown(text.split()[0])} writes" if text else "what is given to it"
            self._found.refuse(where, f"{shell} runs {given}, which is not known", PLAINLY)

    def end_line(self) -> None:
        """Name here-documents that a command of the line, or a loop that ends there, may run, and those that are scripts."""
        runner = next((shown(f[0]) for f in self._commands if not commands.only_shows(f)), "" if self._commands else "a loop")
        for fed in self._fed:
            text = f"a text that {runner} reads" if runner else "a script that is written here"
            if (runner or fed.text.startswith("#!")) and (what := commands.matters(fed.text)):
                lines = fed.text.count("\n", 0, commands.begins(fed.text))
                place = fed.where._replace(line=fed.where.line + lines, column=1 if lines else fed.where.column)
                self._found.refuse(place, f"{what} in {text} is not understood", PLAINLY)
        self._commands, self._fed = [], []
