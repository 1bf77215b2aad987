"""Follows the straight lines of a shell script: assignments, `cd`, loops over known words, archives and where they go."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gdcbuild.adopt import known_commands
from gdcbuild.adopt.archiver import NotUnderstood, join, packing
from gdcbuild.adopt.findings import TRACE, UNKNOWN, Findings, shown, text_of
from gdcbuild.adopt.known_commands import ARCHIVER, ASSIGNMENT, TESTS, program_of
from gdcbuild.adopt.shell_commands import Command, Parser, atoms
from gdcbuild.adopt.uploads import Uploads
from gdcbuild.adopt.variables import Variables
from gdcbuild.errors import Location

PLAINLY = "run it plainly, in a copy of the script"
MOST = 50_000
"""Commands in the rounds of loops."""

_SETUPS = re.compile(r"(?:.*/)?(?:activate|conda\.sh|nvm\.sh|\.bashrc|\.profile|\.bash_profile)")
"""Scripts of users and tools, which pack nothing."""

_LEAVES = ("exit", "return", "break", "continue")
_SETS = re.compile(r"declare|typeset|read|mapfile|readarray|getopts|let|unset|\(\(.*", re.DOTALL)
_BLOCKS = {"while": "a loop", "until": "a loop", "for": "a loop", "case": "a case", "if": "", "{": ""}
_OWN = ("PWD", "OLDPWD", "0", "BASH_SOURCE")
_ENDS = {"fi": ("if",), "done": ("while", "until", "for"), "esac": ("case",), "}": ("{",), ")": ("(",)}
_ASSIGNS = re.compile(r"\$(?:\(\(|\[|\{\w+\[).*(?:\+\+|--|[^=!<>]=[^=])|\$\{\w+:?=", re.DOTALL)
"""Expansions that change variables."""

_NAME = re.compile(r"[A-Za-z_]\w*")


class Block(NamedTuple):
    """What is open in a script, and what was known where it began.

    `doubt` says why its commands may not run, or may run more than once; "" if they surely run, in `(...)` without effect.
    """

    opening: str
    doubt: str
    saved: dict[str, str]


class Script:
    """Reads the commands of a script that starts in `folder`; `path` is the file, "" for standard input.

    What a part sets that may not run is not known after it, nor, where that is a function, after any function is called.
    """

    def __init__(self, found: Findings, folder: str, path: str) -> None:
        self._found = found
        self._uploads = Uploads(found, folder)
        self._values = Variables(folder, path, self._uploads.at.keys())
        self._blocks: list[Block] = []
        self._functions = set[str]()
        self._set_in_functions = set[str]()
        self._defined = self._ended = self._last = ""
        self._tested = False  # of the commands behind && and ||
        self._left = MOST

    def read(self, text: str, where: Location, is_inner: bool = False) -> None:
        """Follow a text that begins at a place; with `is_inner`, all of it is there."""
        self._follow(list(Parser(text, where, is_inner).commands()))

    def _follow(self, commands: Sequence[Command]) -> None:
        at = 0
        while at < len(commands):
            end = self._rounds(commands, at) if commands[at].keyword == "for" else 0
            if not end:
                self._step(commands[at])
            at = end or at + 1

    def _rounds(self, commands: Sequence[Command], at: int) -> int:
        """Follow a loop whose words are known; returns where the text goes on, 0 if they are not."""
        header, end, depth = commands[at].words, at, 0
        while end < len(commands) and (depth or end == at):
            depth += (commands[end].keyword in ("for", "while", "until")) - (commands[end].keyword == "done")
            end += 1
        body = commands[at + 1 : end - 1]
        fields = [one for raw in header[3:] for one in self._values.split(raw)]
        is_known = header[2:3] == ["in"] and not any(pattern or UNKNOWN.search(text) for text, pattern in fields)
        leaves = any(command.words[:1] and command.words[0] in _LEAVES for command in body)
        self._left -= len(body) * len(fields)
        if depth or not is_known or leaves or self._left < 0 or self._doubt(commands[at]):
            return 0
        saved = dict(self._values.held)
        for text, _ in fields:
            self._values.held[header[1]] = text
            self._follow(body)
        if commands[at].after == "|" or any(c.ends in ("|", "&") and not c.words for c in commands[end : end + 1]):
            self._values.held = saved
        return end

    def _doubt(self, command: Command) -> str:
        """Why it is not known that a command runs, and once; "" when it is."""
        return next((b.doubt for b in reversed(self._blocks) if b.doubt), "") or self._branch(command.after) or self._ended

    def _branch(self, after: str) -> str:
        return "a || branch" if after == "||" else "an && branch behind a test" if after == "&&" and self._tested else ""

    def _step(self, command: Command) -> None:
        """A keyword, or a simple command."""
        keyword, branch = command.keyword, self._branch(command.after)
        if keyword != "}":
            self._tested = keyword == "!" or (self._tested and command.after in ("&&", "||", ")", "}", "!", "time"))
        if keyword == "unfinished":
            message = f"the text ends within {command.words[0]} that begins here"
            self._found.refuse(command.where, message, "complete it: the rest is not read")
        elif keyword == "function":
            self._defined = command.words[0]
            self._functions.add(self._defined)
        elif keyword in _BLOCKS or command.ends == "(":
            doubt = f"the function {self._defined}()" if self._defined else _BLOCKS.get(keyword, "") or branch
            self._defined = ""
            self._inner(command)
            self._blocks.append(Block(keyword or "(", doubt, dict(self._values.held)))
            self._lose(command.words[1:2] if keyword == "for" else (), "a loop")
        elif keyword in ("then", "else", "elif") and self._close("fi"):
            self._blocks.append(Block("if", "an if", dict(self._values.held)))
        elif not keyword:
            self._simple(command, self._doubt(command))
        self._close(keyword)
        self._close(command.ends)

    def _close(self, end: str) -> bool:
        """Leave the innermost block, if this ends it."""
        if not self._blocks or self._blocks[-1].opening not in _ENDS.get(end, ()):
            return False
        opening, doubt, saved = self._blocks.pop()
        changed = self._values.changed(saved)
        if opening == "(" or doubt.startswith("the function"):
            self._values.held = saved
            self._set_in_functions.update(changed)
        elif doubt:
            self._lose(changed, doubt)
        return True

    def _lose(self, names: Iterable[str], why: str) -> None:
        """From here on these variables are not known."""
        for name in names:
            self._values.lose(name, why)

    def _inner(self, command: Command) -> None:
        """Follow the commands in $(...) and <(...), which run apart."""
        words = [*command.words, *(word for _, word in command.redirections)]
        for text in [atom.text for word in words for atom in atoms(word) if atom.is_expansion]:
            if re.match(r"`|[$<>]\((?!\()", text):
                depth, saved = len(self._blocks), dict(self._values.held)
                self._blocks.append(Block("$(", "$(...)", saved))
                self.read(text[1 if text[0] == "`" else 2 : -1], command.where, is_inner=True)
                self._values.held = saved
                del self._blocks[depth:]
            self._lose(_NAME.findall(text) if _ASSIGNS.match(text) else (), "the script")

    def _simple(self, command: Command, doubt: str) -> None:
        values, words, before = self._values, list(command.words), dict(self._values.held)
        prompt = words[0][0] if words and words[0][0] in "!%" and len(words[0]) > 1 else ""  # of a notebook
        if prompt:
            words[0] = words[0][1:]
        self._inner(command)
        is_export = words[:1] in (["export"], ["readonly"], ["local"])
        words = words[is_export:]
        count = next((number for number, raw in enumerate(words) if not ASSIGNMENT.match(raw)), len(words))
        fields = [text for raw in words[count:] for text in values.fields(raw)]
        writes = [f for how, raw in command.redirections if ">" in how and how[-1] != "&" for f in values.fields(raw)]
        own = dict(values.held)
        # The arguments of an export are all expanded before the first is set.
        for name, text in [values.assigned(raw) for raw in words] if is_export else map(values.assigned, words[:count]):
            values.held[name] = text
            if doubt and (what := known_commands.matters(text)):
                self._found.refuse(command.where, f"not followed: {what} in {doubt}", TRACE)
        if is_export:
            self._lose([text.partition("=")[0] for text in fields if "=" in text], "the script")
        elif fields:
            environment, values.held = values.held, own
            self._run(fields, writes, command, doubt, environment)
        elif writes:
            self._uploads.other([":"], writes, values.folder, command.where)
        if command.after == "|" or command.ends in ("|", "&") or prompt == "!":
            values.held = before
        elif branch := self._branch(command.after):
            self._lose(values.changed(before), branch)

    def _run(self, given: list[str], writes: list[str], command: Command, doubt: str, environment: Mapping[str, str]) -> None:
        """Apply a command of the shell's own, or follow a program."""
        fields, first, values, where = known_commands.bare(given), given[0], self._values, command.where
        if not fields:
            return
        program, plus, last = fields[0], len(first) if not first.strip("+") else 0, self._last
        self._last = program
        if plus > 1 and (last, program) == ("cd", "pwd"):  # of a $(cd ... && pwd), which is run apart
            values.go(["cd", "-"])
        for text, start in command.documents:
            if (what := known_commands.matters(text)) and (text.startswith("#!") or not known_commands.is_known(fields)):
                place = start._replace(line=start.line + known_commands.line_of(text))
                self._found.refuse(place, f"not followed: {what} in a text that {shown(program)} reads", PLAINLY)
        self._tested = self._tested or program in self._functions or TESTS.fullmatch(program_of(fields)) is not None
        if program in self._functions and program == first:
            if what := known_commands.matters(" ".join(fields)):
                self._found.refuse(where, f"not followed: {what} is run by the function {program}()", TRACE)
            self._uploads.other(fields, writes, values.folder, where, is_program=False)
            self._lose([*fields[1:], *self._set_in_functions], f"the function {program}()")
        elif program == "eval" and not UNKNOWN.search(" ".join(fields)):
            self.read(" ".join(fields[1:]), where, is_inner=True)
        elif program in ("source", ".") and len(fields) > 1:
            if not (plus or _SETUPS.fullmatch(fields[1])):  # in a trace, its commands follow
                self._lose([name for name in values.held if name not in _OWN], "the script")
                report = self._found.note if fields[1][0] in "/~" else self._found.refuse  # of the system; of this project
                if not doubt:
                    report(where, f"not followed: {shown(fields[1])} is sourced", "put its lines in its place, in a copy")
        elif re.fullmatch(r"g?make(?:\[\d+\])?:", program) and fields[2:3] == ["directory"]:
            values.go(["pushd" if fields[1] == "Entering" else "popd", *fields[3:]])
        elif program in ("cd", "pushd", "popd"):
            values.go(fields)
        elif _SETS.fullmatch(program) or fields[:2] == ["printf", "-v"]:
            self._lose(_NAME.findall(" ".join(fields[program[:2] != "((" :])), "the script")
        elif program == "shopt" or (program == "set" and any(re.fullmatch(r"-\w*f\w*|noglob", text) for text in fields)):
            values.has_globs = False
        else:
            is_fed = bool(command.documents) or (command.after == "|" and last in ("curl", "wget"))
            self._program(fields, writes, where, doubt, environment, is_fed)
        if (program in _LEAVES or first == "exec") and not (plus or doubt) and command.ends not in ("|", "&"):
            self._ended = f"a part behind {first}"

    def _program(
        self, fields: list[str], writes: list[str], where: Location, doubt: str, environment: Mapping[str, str], is_fed: bool
    ) -> None:
        """A program: it packs, takes archives elsewhere, or is reported."""
        found, folder, arguments = self._found, self._values.folder, known_commands.archiver(fields)
        if arguments is not None:
            if {"-h", "--help"} & set(arguments):
                return
            try:
                if doubt:
                    raise NotUnderstood(f"not followed: {ARCHIVER} in {doubt}")
                self._uploads.packed(packing(arguments, folder, where))
            except NotUnderstood as error:
                found.refuse(where, str(error), TRACE)
        elif self._uploads.command(fields, folder, where, doubt, environment):
            return
        elif what := known_commands.wrapped(fields):
            found.refuse(where, f"not followed: {what} is run by {shown(fields[0])}", PLAINLY)
        elif known_commands.is_unclear(fields, is_fed):
            found.refuse(where, f"what runs here is not known: {shown(' '.join(fields))}", TRACE)
        elif known_commands.is_known(fields) or not self._scripts(fields, where):
            self._uploads.other(fields, writes, folder, where)

    def _scripts(self, fields: list[str], where: Location) -> bool:
        """Report files that a command names, and may run, if they pack or upload."""
        run = known_commands.script_of(fields)
        for name in [
            *fields,
            *(f"{name}/Makefile" for name in fields),
            *(["Makefile"] if fields[0] in ("make", "gmake") else []),
        ]:
            path = join(self._values.folder, name)
            if path in self._found.files:
                return True
            text = text_of(path)
            if what := known_commands.matters(text):
                by = "make -n TARGET | gdcbuild import -" if name.endswith("Makefile") else f"gdcbuild import {name}"
                self._found.refuse(where, f"not followed: {what} in {name}, which is run here", f"import it as well: {by}")
                return True
            if name == run and not text:
                self._found.refuse(where, f"{shown(run)} is run, and cannot be read", "import it as well, from where it is")
                return True
        return False
