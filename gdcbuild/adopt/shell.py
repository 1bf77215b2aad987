"""Follows a shell script as far as it can be known without running it: which commands surely run, where, and with what."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gdcbuild.adopt import commands
from gdcbuild.adopt.archiver import join
from gdcbuild.adopt.feeds import Feeds
from gdcbuild.adopt.files import text_of
from gdcbuild.adopt.found import UNKNOWN, Found, shown, unknown
from gdcbuild.adopt.runs import Runs, builtin
from gdcbuild.adopt.tokens import Fed, Operator, Word
from gdcbuild.adopt.values import FOLDER, Values
from gdcbuild.adopt.words import Lexer
from gdcbuild.errors import Location

TRACE = "put in what it comes to; or run it and import the trace: bash -x SCRIPT 2>&1 | grep '^+' | gdcbuild import -"
_OPENS = {"for": "a loop", "while": "a loop", "until": "a loop", "select": "a loop", "if": "an if", "case": "a case"}
_CLOSES = frozenset({"done", "fi", "esac", "}"})
_DECLARES = frozenset({"export", "readonly", "local", "declare", "typeset"})
DEEPEST = 50
"""Scripts that read each other."""

_SETUPS = frozenset({"activate", "conda.sh", "nvm.sh", ".bashrc", ".profile", ".bash_profile"})
"""Scripts of users and tools, which pack nothing."""

_TESTS = frozenset({"[", "test", "[[", "((", "false", "grep", "which", "type", "hash", "command", "cmp", "diff"})


@dataclass(slots=True)
class _Level:
    """A compound command that is open; `doubt` says why it is not known that what is in it runs, or runs once."""

    kind: str
    doubt: str
    saved: tuple[str, dict[str, str], dict[str, list[str]]]
    function: str = ""
    moved: bool = False
    is_pattern: bool = False


class Shell:
    """Reads commands one after another, and notes the archives they pack and where they take them.

    `folder` is where they start (absolute), `script` the file they stand in, "" for standard input. `hint` is what to do about
    what only a run would tell.
    """

    def __init__(
        self, found: Found, folder: str, script: str, given: Mapping[str, str] | None = None, hint: str = TRACE
    ) -> None:
        self._found = found
        self._runs = Runs(found, folder, hint)
        self._start = folder
        self._script = script
        self._given = dict(given or {})
        self._reading = [script]
        self.restart()

    def restart(self, doubt: str = "") -> None:
        """A new shell in the first folder, as make starts one for every line. `doubt` is why it may not run."""
        self._values = Values(self._start, self._script, self._given)
        self._nesting: list[_Level] = []
        self._functions: dict[str, set[str]] = {}
        self._function = ""
        self._tested = False
        self._last = ""
        self._ended = doubt
        self._feeds = Feeds(self._found)

    def read(self, text: str, file: str, line: int = 1) -> None:
        """Read a text whose first line is the file's line `line`."""
        words: list[Word] = []
        after = "\n"
        lexer = Lexer(text, file, line)
        for item in lexer.items():
            if isinstance(item, Word):
                words.append(item)
            elif isinstance(item, Fed):
                self._feeds.feed(item)
            else:
                self._step(words, item, after)
                words, after = [], item.text
        if lexer.unfinished:
            what, where = lexer.unfinished
            self._found.refuse(where, f"the text ends within {what} that begins here", "complete it: the rest is not read")
            words = []
        self._step(words, Operator("\n", Location(file)), after)

    def _step(self, words: list[Word], ends: Operator, after: str) -> None:
        """One simple command, or the part of a compound one that stands before an operator."""
        self._tested = self._tested and after in ("&&", "||")
        for word in words:
            self._feeds.word(word)
        rest = self._keywords(words, after)
        if self._nesting and self._nesting[-1].is_pattern:
            self._nesting[-1].is_pattern = ends.text != ")"
            return
        if ends.text == "(":
            if len(rest) == 1 and rest[0].literal:
                self._function = rest[0].literal
            else:
                self._open("(", after)
            return
        if rest:
            self._command(rest, after, ends.text)
            self._function = ""
        if ends.text == ")" and not self._function and self._nesting and self._nesting[-1].kind == "(":
            self._close()
        elif ends.text == ";;":
            self._branch()
            self._nesting[-1:] = [replace(level, is_pattern=True) for level in self._nesting[-1:]]
        elif ends.text == "\n":
            self._feeds.end_line()

    def _keywords(self, words: list[Word], after: str) -> list[Word]:
        """Enter and leave compound commands; returns the words of the simple command that is left."""
        while words:
            word = words[0].literal
            if word in _OPENS:
                self._open(_OPENS[word], after)
                self._nesting[-1].is_pattern = word == "case"
                if word in ("for", "select", "case"):
                    if len(words) > 1 and words[1].literal and word != "case":
                        self._values.doubt = ""
                        self._values.set(words[1].literal, unknown(f"${words[1].literal}"))
                    return []
            elif word == "function":
                self._function = words[1].literal if len(words) > 1 else ""
                words = words[1:]
            elif word == "{":
                self._open("{", after)
            elif word in _CLOSES:
                self._close()
                return []
            elif word in ("then", "else", "elif"):
                self._branch()
            elif word == "!":
                self._tested = True
            elif word not in ("do", "time", "-p"):
                break
            words = words[1:]
        return words

    def _open(self, kind: str, after: str) -> None:
        function, self._function = self._function, ""
        doubt = f"the function {function}()" if function else self._branch_doubt(after)
        if kind in ("a loop", "a case"):
            doubt = kind
        self._nesting.append(_Level(kind, doubt, self._values.saved(), function))
        if function:
            self._functions[function] = set()
        self._values.body = self._body()

    def _branch(self) -> None:
        """Between the branches of an if or a case; each begins in the folder that the whole began in."""
        if self._nesting and self._nesting[-1].kind in ("an if", "a case"):
            level = self._nesting[-1]
            level.moved = level.moved or (bool(level.doubt) and self._values.folder != level.saved[0])
            if not level.doubt:  # what stands before the first `then` runs
                level.saved = self._values.saved()
            level.doubt = level.kind
            self._values.folder = level.saved[0]

    def _close(self) -> None:
        if not self._nesting:
            return
        level = self._nesting.pop()
        moved = level.moved or self._values.folder != level.saved[0]
        if level.kind == "(" and not level.function:
            self._values.restore(level.saved)
        elif level.function:
            self._values.folder = level.saved[0]
            if moved and level.kind != "(":
                self._functions[level.function].add(FOLDER)
        elif level.doubt and moved:
            self._values.lost(f"cd in {level.doubt}")
        self._values.body = self._body()

    def _body(self) -> set[str] | None:
        """Where the names go that the innermost function sets; None outside of functions."""
        return next((self._functions[level.function] for level in reversed(self._nesting) if level.function), None)

    def _branch_doubt(self, after: str) -> str:
        return "a || branch" if after == "||" else "an && branch behind a test" if after == "&&" and self._tested else ""

    def _doubt(self, after: str) -> str:
        """Why it is not known that a command runs, and once; "" when it is."""
        inside = next((level.doubt for level in reversed(self._nesting) if level.doubt), "")
        return inside or self._branch_doubt(after) or self._ended

    def _command(self, words: list[Word], after: str, ends: str) -> None:
        values = self._values
        values.doubt = self._doubt(after)
        piped = "|" in (after, ends)
        before = values.saved() if piped else None
        assigned = list[tuple[Word, re.Match[str]]]()
        while words and (match := commands.ASSIGNMENT.match(words[0].parts[0].text if words[0].parts else "")):
            assigned.append((words[0], match))
            words = words[1:]
        fields = [f for word in words for f in values.fields(word)]
        for word, match in assigned:
            values.assign(word, match) if not fields else values.lend(word, match)
        if fields[:1] and fields[0] in _DECLARES:
            for word in words[1:]:
                match = commands.ASSIGNMENT.match(word.parts[0].text) if word.parts else None
                if match and (values.body is None or fields[0] in ("export", "readonly")):
                    values.assign(word, match)
        elif fields:
            traced = len(fields[0]) if not fields[0].strip("+") else 0
            if bare := commands.bare(fields):
                self._feeds.command(bare, after == "|", words[0].where)
                self._run(bare, words[0].where, after, piped, traced)
        values.end_lending()
        if before:  # a part of a pipe runs in a process of its own
            values.restore(before)

    def _run(self, fields: list[str], where: Location, after: str, piped: bool, traced: int) -> None:
        """`traced` is the number of plus signs that a trace has before the command."""
        program, doubt = fields[0], self._values.doubt
        last, self._last = self._last, program
        if traced > 1 and (last, program) == ("cd", "pwd"):  # of a $(cd ... && pwd), which is a process of its own
            self._values.go(["cd", "-"])
        self._tested = self._tested or program in _TESTS or program.startswith(("((", "[["))
        if program in self._functions:
            self._call(program)
            self._runs.run(fields, where, doubt, self._values)  # it may be that it runs its arguments
        elif program == "eval" and not UNKNOWN.search(" ".join(fields)):
            self._within(" ".join(fields[1:]), where, doubt)
        elif program in ("exit", "return") and not (self._nesting or doubt or piped or traced):
            self._ended = f"a part behind {program}"
        elif program in ("source", ".") and len(fields) > 1:
            if not traced:  # else its commands follow
                self._source(fields[1], where, doubt)
        elif not builtin(fields, self._branch_doubt(after), self._values):
            self._runs.run(fields, where, doubt, self._values)

    def _call(self, function: str) -> None:
        """What a function sets, itself or by those it calls, is not known afterwards."""
        values = self._values
        if values.body is not None:
            values.body.add(f"{function}()")
            return
        names, seen = [f"{function}()"], set[str]()
        while names:
            if (name := names.pop()) in seen:
                continue
            seen.add(name)
            if name == FOLDER:
                values.lost(f"cd in the function {function}()")
            elif name.endswith("()"):
                names += self._functions.get(name[:-2], ())
            else:
                values.set(name, unknown(f"${name}, which the function {function}() sets,"))

    def _source(self, name: str, where: Location, doubt: str) -> None:
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
        self._within(text_of(path) or "", Location(path.removeprefix(f"{self._start}/"), 1), doubt)
        self._values.script = script
        self._reading.pop()

    def _within(self, text: str, where: Location, doubt: str) -> None:
        """Read a text that runs in the place of a command."""
        depth = len(self._nesting)
        self._nesting.append(_Level("{", doubt, self._values.saved()))
        self.read(text, where.file, where.line)
        while len(self._nesting) > depth:
            self._close()
