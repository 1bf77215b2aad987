"""Follows the straight lines of a shell script: assignments, `cd`, loops over known words, archives and where they go."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from typing import NamedTuple

from gdcbuild.adopt import known_commands
from gdcbuild.adopt.archiver import NotUnderstood, join, packing
from gdcbuild.adopt.findings import TRACE, UNKNOWN, Findings, shown, text_of
from gdcbuild.adopt.known_commands import ARCHIVER, ASSIGNMENT, TESTS
from gdcbuild.adopt.shell_commands import Command, Parser, atoms
from gdcbuild.adopt.uploads import Uploads
from gdcbuild.adopt.variables import Saved, Variables
from gdcbuild.errors import Location

PLAINLY = "run it plainly, in a copy of the script"
MOST = 50_000
"""Commands in the rounds of loops."""

_SETUPS = ("activate", "conda.sh", "nvm.sh", ".bashrc", ".profile", ".bash_profile")
"""Scripts of users and tools, which pack nothing."""

_LEAVES = ("exit", "return", "break", "continue")
_SETS = re.compile(r"declare|typeset|read|mapfile|readarray|getopts|let|unset|\(\(.*", re.DOTALL)
_BLOCKS = {"while": "a loop", "until": "a loop", "for": "a loop", "case": "a case", "if": "", "{": ""}
_ENDS = {"fi": ("if",), "done": ("while", "until", "for"), "esac": ("case",), "}": ("{",)}
_COUNTS = re.compile(r"\+\+|--|[^=!<>]=[^=]")
_NAME = re.compile(r"[A-Za-z_]\w*")


class Block(NamedTuple):
    """What is open in a script, and what was known where it began.

    `doubt` says why its commands may not run, or may run more than once; "" if they surely run, in `(...)` without effect.
    """

    opening: str
    doubt: str
    saved: Saved
    function: str = ""


class Run(NamedTuple):
    """A command: its fields, the words behind the first as they are written, and the files that it is redirected to.

    `environment` are the variables that it sees.
    """

    fields: list[str]
    words: list[str]
    writes: list[str]
    doubt: str
    environment: dict[str, str]


class Script:
    """Reads the commands of a script that starts in `folder`; `path` is the file, "" for standard input."""

    def __init__(self, found: Findings, folder: str, path: str) -> None:
        self._found = found
        self._uploads = Uploads(found, folder)
        self._values = Variables(folder, path, self._uploads.at.keys())
        self._blocks: list[Block] = []
        self._functions: dict[str, list[str]] = {}  # what they set
        self._defined = self._ended = self._last = ""
        self._tested = False  # of the commands behind && and ||
        self._left = MOST

    def read(self, text: str, where: Location, is_inner: bool = False) -> None:
        """Follow a text that begins at a place, or with `is_inner` is all there."""
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
        header, end, depth = [word.raw for word in commands[at].words], at, 0
        while end < len(commands) and (depth or end == at):
            depth += (commands[end].keyword in ("for", "while", "until")) - (commands[end].keyword == "done")
            end += 1
        body = commands[at + 1 : end - 1]
        fields = [one for raw in header[3:] for one in self._values.split(raw)]
        is_known = header[2:3] == ["in"] and not any(pattern or UNKNOWN.search(text) for text, pattern in fields)
        leaves = any(command.words[:1] and command.words[0].raw in _LEAVES for command in body)
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
            self._tested = self._tested and command.after in ("&&", "||", ")", "}", "!", "time")
        if keyword == "unfinished":
            message = f"the text ends within {command.words[0].raw} that begins here"
            self._found.refuse(command.where, message, "complete it: the rest is not read")
        elif keyword == "function":
            self._defined = command.words[0].raw
        elif keyword in _BLOCKS or command.ends == "(":
            doubt = f"the function {self._defined}()" if self._defined else _BLOCKS.get(keyword, "") or branch
            self._inner(command)
            self._blocks.append(Block(keyword or "(", doubt, dict(self._values.held), self._defined))
            self._defined = ""
            if keyword == "for" and len(command.words) > 1:
                self._values.lose(command.words[1].raw, "a loop")
        elif keyword in ("then", "else", "elif") and self._close("if"):
            self._blocks.append(Block("if", "an if", dict(self._values.held)))
        elif keyword in _ENDS:
            self._close(*_ENDS[keyword])
        elif keyword == "!":
            self._tested = True
        elif not keyword:
            self._simple(command, self._doubt(command))
        if command.ends == ")":
            self._close("(")

    def _close(self, *openings: str) -> bool:
        """Leave the innermost block, if it is one of these."""
        if not self._blocks or self._blocks[-1].opening not in openings:
            return False
        block = self._blocks.pop()
        changed = self._values.changed(block.saved)
        if block.function or block.opening == "(":
            self._values.held = block.saved
            self._functions.update({block.function: changed} if block.function else {})
        elif block.doubt:
            for name in changed:
                self._values.lose(name, block.doubt)
        return True

    def _inner(self, command: Command) -> None:
        """Follow the commands in $(...) and <(...), which run apart."""
        for word in (*command.words, *(word for _, word in command.redirections)):
            for atom in atoms(word.raw) if "(" in word.raw or "`" in word.raw else ():
                if atom.is_expansion and re.match(r"`|[$<>]\((?!\()", atom.text):
                    depth = len(self._blocks)
                    self._blocks.append(Block("(", "$(...)", dict(self._values.held)))
                    self.read(atom.text[1 if atom.text[0] == "`" else 2 : -1], word.where, is_inner=True)
                    self._values.held = self._blocks[depth].saved
                    del self._blocks[depth:]
                elif atom.is_expansion and re.match(r"\$\(\(|\$\{\w+\[|\$\[", atom.text) and _COUNTS.search(atom.text):
                    for name in _NAME.findall(atom.text):
                        self._values.lose(name, "the script")

    def _simple(self, command: Command, doubt: str) -> None:
        values, words = self._values, [word.raw for word in command.words]
        prompt = words[0][0] if words and words[0][0] in "!%" and len(words[0]) > 1 else ""  # of a notebook
        if prompt:
            words[0] = words[0][1:]
        before = dict(values.held)
        self._inner(command)
        count = next((number for number, raw in enumerate(words) if not ASSIGNMENT.match(raw)), len(words))
        fields = [text for raw in words[count:] for text in values.fields(raw)]
        outputs = [word.raw for how, word in command.redirections if ">" in how and how[-1] != "&"]
        writes = [text for raw in outputs for text in values.fields(raw)]
        own = dict(values.held)
        for raw in words[:count]:
            name, text = values.assigned(raw)
            values.held[name] = text
            if doubt and not raw.endswith(")") and (what := known_commands.matters(text)):
                self._found.refuse(command.where, f"not followed: {what} in {doubt}", TRACE)
        environment = values.held
        if fields:
            values.held = own
            self._run(Run(fields, words[count + 1 :], writes, doubt, environment), command)
        elif writes:
            self._uploads.other([":"], writes, values.folder, command.where)
        changed = values.changed(before)
        if command.after == "|" or command.ends in ("|", "&") or prompt == "!":
            values.held = before
        elif branch := self._branch(command.after):
            for name in changed:
                values.lose(name, branch)

    def _run(self, run: Run, command: Command) -> None:
        """Apply a command of the shell's own, or follow a program."""
        fields, first, values = known_commands.bare(run.fields), run.fields[0], self._values
        if not fields:
            return
        program, plus = fields[0], len(first) if not first.strip("+") else 0
        if plus > 1 and (self._last, program) == ("cd", "pwd"):  # of a $(cd ... && pwd), which is run apart
            values.go(["cd", "-"])
        self._documents(fields, command)
        self._last = program
        self._tested = self._tested or program in self._functions or TESTS.fullmatch(posixpath.basename(program)) is not None
        if program in ("local", "declare", "typeset") and "-n" in fields:
            self._found.refuse(command.where, "not followed: a variable by another name", TRACE)
        if program in ("export", "readonly", "local"):
            assigned = [(raw, *values.assigned(raw)) for raw in run.words]  # before the first is set
            for raw, name, text in assigned:
                if name:
                    values.held[name] = text
                elif match := ASSIGNMENT.match("".join(values.fields(raw))):
                    values.lose(match[1], "the script")
        elif program in self._functions and program == first:
            for name in {name for changed in self._functions.values() for name in changed}:
                values.lose(name, f"the function {program}()")
            if what := known_commands.matters(" ".join(fields)):
                self._found.refuse(command.where, f"not followed: {what} is run by the function {program}()", TRACE)
            else:
                self._uploads.other(fields, run.writes, values.folder, command.where, is_program=False)
        elif program == "eval" and not UNKNOWN.search(" ".join(fields)):
            self.read(" ".join(fields[1:]), command.where, is_inner=True)
        elif program in ("source", ".") and len(fields) > 1:
            if not (plus or posixpath.basename(fields[1]) in _SETUPS):  # in a trace, its commands follow
                for name in values.held.keys() - {"PWD", "OLDPWD", "0", "BASH_SOURCE"}:
                    values.lose(name, "the script")
                if not run.doubt:
                    hint = "put its lines in its place, in a copy of the script"
                    report = (
                        self._found.note if fields[1][0] in "/~" else self._found.refuse
                    )  # of the system, or of this project
                    report(command.where, f"not followed: {shown(fields[1])} is sourced", hint)
        elif re.fullmatch(r"g?make(?:\[\d+\])?:", program) and fields[2:3] == ["directory"]:
            values.go(["pushd" if fields[1] == "Entering" else "popd", *fields[3:]])
        elif program in ("cd", "pushd", "popd"):
            values.go(fields)
        elif _SETS.fullmatch(program) or fields[:2] == ["printf", "-v"]:
            for name in _NAME.findall(" ".join(fields[program[:2] != "((" :])):
                values.lose(name, "the script")
        elif program == "shopt" or (program == "set" and any(re.fullmatch(r"-\w*f\w*|noglob", text) for text in fields)):
            values.has_globs = False
        else:
            self._program(fields, run, command.where)
        if (program in _LEAVES or first == "exec") and not (plus or run.doubt) and command.ends not in ("|", "&"):
            self._leave(f"a part behind {first}")

    def _leave(self, doubt: str) -> None:
        """After an exit and its like the rest of the subshell, or of the script, is in doubt."""
        for at in reversed(range(len(self._blocks))):
            if self._blocks[at].opening == "(":
                self._blocks[at] = self._blocks[at]._replace(doubt=doubt)
                return
        self._ended = doubt

    def _program(self, fields: list[str], run: Run, where: Location) -> None:
        """A program: it packs, takes archives elsewhere, or is reported."""
        found, folder, arguments = self._found, self._values.folder, known_commands.archiver(fields)
        if arguments is not None:
            if run.doubt and not {"-h", "--help"} & set(arguments):
                found.refuse(where, f"not followed: {ARCHIVER} in {run.doubt}", TRACE)
            elif not {"-h", "--help"} & set(arguments):
                try:
                    self._uploads.packed(packing(arguments, folder, where))
                except NotUnderstood as error:
                    found.refuse(where, str(error), TRACE)
        elif self._uploads.command(fields, folder, where, run.doubt, run.environment):
            return
        elif what := known_commands.wrapped(fields):
            found.refuse(where, f"not followed: {what} is run by {shown(fields[0])}", PLAINLY)
        elif known_commands.is_unclear(fields):
            found.refuse(where, f"what runs here is not known: {shown(' '.join(fields))}", TRACE)
        elif not any(self._script(name, is_sure, fields, where) for name, is_sure in known_commands.scripts(fields)):
            self._uploads.other(fields, run.writes, folder, where)

    def _script(self, name: str, is_sure: bool, fields: list[str], where: Location) -> bool:
        """Report a script that a command runs if it packs or uploads, or cannot be looked into."""
        path = join(self._values.folder, name)
        text = text_of(path)
        if path in self._found.files:
            return True
        if text is None and is_sure:
            self._found.refuse(where, f"{shown(name)} is run, and cannot be read", "import it as well, from where it is")
        elif text is not None and not known_commands.is_known(fields) and (what := known_commands.matters(text)):
            by = "make -n TARGET | gdcbuild import -" if name == "Makefile" else f"gdcbuild import {name}"
            self._found.refuse(where, f"not followed: {what} in {name}, which is run here", f"import it as well: {by}")
        else:
            return False
        return True

    def _documents(self, fields: list[str], command: Command) -> None:
        """Report text that a command reads and may run."""
        for text, where in command.documents:
            if (what := known_commands.matters(text)) and (not known_commands.only_shows(fields) or text.startswith("#!")):
                place = where._replace(line=where.line + known_commands.line_of(text))
                self._found.refuse(place, f"not followed: {what} in a text that {shown(fields[0])} reads", PLAINLY)
        is_shell = posixpath.basename(fields[0]) in known_commands.SHELLS
        reads = is_shell and ("-s" in fields or all(text.startswith("-") and text != "-c" for text in fields[1:]))
        piped = shown(self._last) if command.after == "|" else ""
        if reads and piped not in ("curl", "wget") and not command.documents:
            given = f"what {piped} writes" if piped else "what is given to it"
            self._found.refuse(command.where, f"{fields[0]} runs {given}, which is not known", PLAINLY)
