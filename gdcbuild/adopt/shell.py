"""Follows a shell script as far as it can be known without running it: what its commands do, and those they call."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence

from gdcbuild.adopt import commands
from gdcbuild.adopt.archiver import join
from gdcbuild.adopt.files import text_of
from gdcbuild.adopt.found import UNKNOWN, Found, shown
from gdcbuild.adopt.nesting import BLOCK, CALL, SUBSHELL
from gdcbuild.adopt.runs import Runs, builtin
from gdcbuild.adopt.tokens import Word
from gdcbuild.adopt.values import Values
from gdcbuild.adopt.walk import Function, TooMany, Walker
from gdcbuild.errors import Location

TRACE = "put in what it comes to; or run it and import the trace: bash -x SCRIPT 2>&1 | grep '^+' | gdcbuild import -"
_DECLARES = frozenset({"export", "readonly", "local", "declare", "typeset"})
_LEAVES = frozenset({"exit", "return", "break", "continue"})
DEEPEST = 50
"""Scripts that read each other, and functions that call each other."""

_SETUPS = frozenset({"activate", "conda.sh", "nvm.sh", ".bashrc", ".profile", ".bash_profile"})
"""Scripts of users and tools, which pack nothing."""

_CALLS = re.compile(r"(?:^|[;&|({!`\n]|\b(?:if|then|else|do|while))\s*([\w.:-]+)")
_TESTS = frozenset(
    {"[", "test", "[[", "((", "false", "grep", "egrep", "fgrep", "which", "type", "hash", "command", "cmp", "diff"}
)


class Shell(Walker):
    """Reads commands one after another, and notes the archives they pack and where they take them.

    `folder` is where they start (absolute), `script` the file they stand in, "" for standard input. `hint` is what to do about
    what only a run would tell. `has_braces` is whether it is a shell that knows {a,b}.
    """

    def __init__(
        self,
        found: Found,
        folder: str,
        script: str,
        given: Mapping[str, str] | None = None,
        hint: str = TRACE,
        has_braces: bool = True,
    ) -> None:
        super().__init__(found)
        self._runs = Runs(found, folder, hint)
        self._hint = hint
        self._start = folder
        self._script = script
        self._given = dict(given or {})
        self._has_braces = has_braces
        self._reading = [script]
        self.restart()

    def restart(self, doubt: str = "") -> None:
        """A new shell in the first folder, as make starts one for every line. `doubt` is why it may not run."""
        self._begin(Values(self._start, self._script, self._given, self._has_braces, self._runs.archives), doubt)
        self._calls: list[tuple[str, bool]] = []
        self._last = ""

    def read(self, text: str, file: str, line: int = 1) -> None:
        """Read a whole text, whose first line is the file's line `line`."""
        try:
            self._read(text, file, line)
            while unused := [(n, f) for n, known in self._functions.items() for f in known if not f.is_called]:
                for name, function in unused:
                    self._enter(name, function, None, Location(file), f"the function {name}()")
        except TooMany as error:
            where = error.args[0]
            self._found.refuse(where, "loops and functions run more than is followed: the rest is not read", self._hint)

    def _command(self, words: list[Word], after: str, ends: str) -> None:
        values = self._values
        values.doubt = self._doubt(after)
        apart = after == "|" or ends in ("|", "&")  # in a process of its own
        before = values.saved() if apart else None
        assigned = list[tuple[Word, re.Match[str]]]()
        while words and (match := commands.ASSIGNMENT.match(words[0].parts[0].text if words[0].parts else "")):
            assigned.append((words[0], match))
            words = words[1:]
        fields = [f for word in words for f in values.fields(word)]
        lent = [values.lend(word, match) for word, match in assigned] if fields else []
        for word, match in assigned if not fields else ():
            values.assign(word, match)
            self._assigned(word, match)
        if fields[:1] and fields[0] in _DECLARES:
            self._declare(fields, words[1:])
        elif fields and (match := re.match(r"([A-Za-z_]\w*)\[.*\]\+?=", fields[0])):
            values.lose(match[1])
        elif fields:
            traced = len(fields[0]) if not fields[0].strip("+") else 0
            if bare := commands.bare(fields):
                self._feeds.command(bare, after == "|", words[0].where)
                given = None if any(map(values.may_split, words)) else bare[1:]
                if bare[0] in self._functions and bare[0] == fields[0]:  # `command` and its like pass functions over
                    self._call(bare, given, words[0].where, values.doubt, apart)
                else:
                    self._run(bare, given, words[0].where, after, apart, traced)
                if fields[0] == "exec" and not (apart or values.doubt or self._nesting.leave("exit", 1)):
                    self._ended = "a part behind exec"
        for held in reversed(lent):
            values.put(*held)
        if before:
            values.restore(before)

    def _assigned(self, word: Word, match: re.Match[str]) -> None:
        """Name a command that is put into a variable where that may not happen: what runs it later does not know it."""
        text = "".join(part.text for part in word.parts)[match.end() :]
        if self._values.doubt and not text.startswith("(") and (what := commands.matters(text)):
            self._found.refuse(word.where, f"{what} in {self._values.doubt} is not understood", self._hint)

    def _declare(self, fields: Sequence[str], words: Sequence[Word]) -> None:
        """A local, export and their like."""
        options = {letter for field in fields[1:] if field.startswith("-") for letter in field}
        words = [one for word in words for one in self._values.resolved(word)]
        is_local = bool(self._calls) and fields[0] not in ("export", "readonly") and "g" not in options
        for word in words:
            match = commands.ASSIGNMENT.match(word.parts[0].text) if word.parts else None
            name = match[1] if match else word.literal
            if is_local and name.isidentifier():
                self._values.hide(name)
                if not match or match[2] == "+=":
                    self._values.put(name, None, None)
            if match:
                self._values.assign(word, match)
            if options & set("iulnA"):  # then a value is not what is written
                self._values.lose(name)
            if match and "n" in options:  # what is another name's is not known either
                self._values.lose(word.parts[0].text[match.end() :])

    def _run(self, fields: list[str], given: list[str] | None, where: Location, after: str, apart: bool, traced: int) -> None:
        """`given` are its arguments, if it is sure how many; `traced` the number of plus signs that a trace has before it."""
        program, doubt = fields[0], self._values.doubt
        last, self._last = self._last, program
        if traced > 1 and (last, program) == ("cd", "pwd"):  # of a $(cd ... && pwd), which is a process of its own
            self._values.go(["cd", "-"])
        tested, fails = self._tested, program in ("exit", "return") and fields[1:] not in ([], ["0"])
        is_test = posixpath.basename(program) in _TESTS or program.startswith(("((", "[[")) or (fails and program == "return")
        self._tested = tested or is_test
        self._is_test = is_test or (tested and after != "||")
        if program == "eval" and not UNKNOWN.search(" ".join(fields)):
            self._within(" ".join(fields[1:]), where, doubt, BLOCK)
        elif program in _LEAVES:
            fails = fails or (after == "||" and not tested and not fields[1:])
            # a command that fails is not reckoned with, so neither is one that leaves because of that
            if not (traced or apart or (doubt and (fails or program == "exit"))):
                count = int(fields[1]) if fields[1:] and fields[1].isdecimal() and program in ("break", "continue") else 1
                if not self._nesting.leave(program, count) and not doubt and program in ("exit", "return"):
                    self._ended = f"a part behind {program}"
        elif program in ("source", ".") and len(fields) > 1:
            if not traced:  # else its commands follow
                self._source(fields[1], given, where, doubt)
        elif program == "set" and ("--" in fields or (fields[1:2] and fields[1][0] not in "-+")):
            self._values.arguments(given[given.index("--") + 1 :] if given and "--" in given else None)
        elif not builtin(fields, self._branch_doubt(after), self._values):
            self._runs.run(fields, where, doubt, self._values)

    def _call(self, fields: list[str], arguments: list[str] | None, where: Location, doubt: str, apart: bool) -> None:
        name = fields[0]
        functions = self._functions[name]
        if len(functions) > 1 or functions[0].doubt:
            doubt = doubt or f"the function {name}()"
        if arguments is None or functions[0].doubt:
            self._runs.run(fields, where, doubt, self._values)  # it may run its arguments, or be a program
        if doubt and (name, True) in self._calls:
            return  # it is being read in doubt already, and its commands are named
        if len(self._calls) >= DEEPEST:
            message = f"{name}() calls itself, or what calls it, too often to be followed"
            self._found.refuse(where, message, self._hint)
            return
        tested, self._is_test = self._tested, False
        for function in functions:
            self._enter(name, function, arguments, where, doubt, apart)
        self._tested = tested or self._is_test

    def _called(self, text: str, where: Location, apart: bool = True) -> None:
        """Name what functions do that are called in a text which is not read."""
        for name in dict.fromkeys(_CALLS.findall(text)):
            if name in self._functions and (name not in self._named or not apart):
                self._named.add(name)  # once: its arguments are not known, so it comes to the same
                self._call([name], None, where, f"the function {name}(), called at {where},", apart)

    def _enter(
        self, name: str, function: Function, arguments: list[str] | None, where: Location, doubt: str, apart: bool = False
    ) -> None:
        """Read a function's body as it runs with these arguments, None where they are not known."""
        function.is_called = True
        depth = len(self._nesting.levels)
        if apart or function.is_subshell:
            self._nesting.open(SUBSHELL, doubt)
        self._nesting.open(CALL, doubt)
        self._values.call(arguments)
        self._calls.append((name, bool(doubt)))
        script, self._values.script = self._values.script, function.script
        self._body(function.body, where)
        self._values.script = script
        self._nesting.close_to(depth)
        self._calls.pop()
        self._values.end_call()

    def _source(self, name: str, given: list[str] | None, where: Location, doubt: str) -> None:
        """Read a script that runs as part of this one; one that may be missing, as only a test decides, is passed over."""
        if posixpath.basename(name) in _SETUPS:
            return
        beside = join(posixpath.dirname(self._values.script or self._start), name)
        path = next((place for place in (join(self._values.folder, name), beside) if text_of(place) is not None), "")
        if path and path in self._reading:
            return
        if not path or len(self._reading) > DEEPEST:
            outside = name.startswith(("/", "~")) and not name.startswith(f"{self._start}/")
            if not doubt or UNKNOWN.search(name):
                tell = self._found.note if outside else self._found.refuse
                tell(where, f"{shown(name)} is not read: it is not there", "add what it packs and uploads by hand")
            return
        script, self._values.script = self._values.script, path
        self._reading.append(path)
        if given is None or given[1:]:  # arguments of its own, which may stay
            self._values.arguments(None)
        self._within(text_of(path) or "", Location(path.removeprefix(f"{self._start}/"), 1), doubt, CALL)
        self._values.script = script
        self._reading.pop()

    def _within(self, text: str, where: Location, doubt: str, kind: str) -> None:
        """Read a text that runs in the place of a command."""
        depth = len(self._nesting.levels)
        self._nesting.open(kind, doubt)
        self._read(text, where.file, where.line)
        self._nesting.close_to(depth)
