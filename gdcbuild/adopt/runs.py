"""What a simple command does: it packs, takes files elsewhere, changes what the script knows; or it is named."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from gdcbuild.adopt import commands
from gdcbuild.adopt.archiver import NotUnderstood, join, packing
from gdcbuild.adopt.files import text_of
from gdcbuild.adopt.found import UNKNOWN, Found, shown
from gdcbuild.adopt.uploads import Uploads
from gdcbuild.adopt.values import Values
from gdcbuild.errors import Location

PLAINLY = "run it plainly, in a copy of the script"
_MOVES = frozenset({"cd", "pushd", "popd"})
_SETS = frozenset({"read", "mapfile", "readarray", "getopts"})
_GLOBBING = frozenset({"noglob", "dotglob", "nocaseglob", "extglob", "globstar", "nullglob", "failglob"})
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_MAKE = re.compile(r"g?make(?:\[\d+\])?:")


class Runs:
    """Notes what commands do. `hint` is what to do about what only a run would tell."""

    def __init__(self, found: Found, folder: str, hint: str) -> None:
        self._found = found
        self._uploads = Uploads(found, folder)
        self._hint = hint
        self.archives = self._uploads.at.keys()

    def run(self, fields: list[str], where: Location, doubt: str, values: Values) -> None:
        """A command, whose `doubt` is why it is not known that it runs, and once; "" when that is known."""
        arguments = commands.archiver(fields)
        if arguments is not None:
            self._pack(arguments, where, doubt, values)
        elif (undone := self._uploads.command(fields, values.folder, where, doubt, values.environment())) is not None:
            if undone:
                self._found.refuse(where, f"{undone} in {doubt} is not understood", self._hint)
        elif what := commands.wrapped(fields):
            self._found.refuse(where, f"{what} is run by {shown(fields[0])}", PLAINLY)
        elif _is_unclear(fields):
            self._found.refuse(where, f"what runs here is not known: {shown(' '.join(fields))}", self._hint)
        else:
            for name, sure in commands.scripts(fields):
                self._script(name, sure, fields, where, values.folder)

    def _pack(self, arguments: list[str], where: Location, doubt: str, values: Values) -> None:
        if {"-h", "--help"} & set(arguments):
            return
        if doubt:
            self._found.refuse(where, f"{commands.ARCHIVER} in {doubt} is not understood", self._hint)
            return
        try:
            self._uploads.packed(packing(arguments, values.folder, where))
        except NotUnderstood as error:
            self._found.refuse(where, str(error), self._hint)

    def _script(self, name: str, sure: bool, fields: list[str], where: Location, folder: str) -> None:
        """Name a script that a command runs if it does what matters, or cannot be looked into."""
        path = join(folder, name)
        if not name or (path in self._found.files and not commands.is_told_variables(fields)):
            return
        text = text_of(path)
        if text is None and sure:
            self._found.refuse(where, f"{shown(name)} is run, and cannot be read", "import it as well, from where it is")
        elif text is not None and (what := commands.matters(text)):
            told = "with variables of its own, " if commands.is_told_variables(fields) else ""
            message = f"{what} in {name}, which is run here, {told}is not understood"
            self._found.refuse(where, message, f"import it as well: gdcbuild import {name}")


def _is_unclear(fields: Sequence[str]) -> bool:
    """Whether the program is in a variable that the script sets in ways that are not followed."""
    first = fields[0]
    if first == "eval":  # what programs print to be evaluated are settings
        return bool(UNKNOWN.match(" ".join(fields[1:2]))) and not shown(fields[1]).startswith("$(")
    if posixpath.basename(first) in commands.SHELLS and "-c" in fields[:-1]:
        return bool(UNKNOWN.match(fields[fields.index("-c") + 1]))
    return bool(UNKNOWN.match(first)) and bool(re.search(r"\[[@*]\]|, which ", first))


def builtin(fields: list[str], doubt: str, values: Values) -> bool:
    """Apply a command of the shell's own to the values; False if it is another. `doubt` is why the next may run without it."""
    program = fields[0]
    if _MAKE.fullmatch(program) and fields[2:3] == ["directory"]:
        values.go(["pushd" if fields[1] == "Entering" else "popd", *fields[3:]])
    elif program in _MOVES:
        if doubt:
            values.lost(f"{program} in {doubt}")
        else:
            values.go(fields)
    elif program == "unset":
        for name in fields[1:]:
            values.unset(name)
    elif program in _SETS or (program == "printf" and fields[1:2] == ["-v"]):
        for name in fields[1:]:
            if _IDENTIFIER.fullmatch(name):
                values.lose(name)
    elif program == "let" or program.startswith("(("):
        for text in fields[1:] if program == "let" else [shown(program)[4:-2]]:
            values.count(text)
    elif program in ("shopt", "set"):
        is_off = "-u" in fields if program == "shopt" else any(field.startswith("+") for field in fields)
        change = values.options.difference_update if is_off else values.options.update
        change(_GLOBBING.intersection("noglob" if re.fullmatch(r"[-+]\w*f\w*", field) else field for field in fields))
    elif program == "shift":
        values.shift(fields)
    else:
        return False
    return True
