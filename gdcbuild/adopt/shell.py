"""Follows a shell script as far as it can be known without running it: variables, folders, and which commands surely run."""

from __future__ import annotations

import glob
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

from gdcbuild.adopt.archiver import NotUnderstood, join, packing
from gdcbuild.adopt.found import UNKNOWN, Found, shown, unknown
from gdcbuild.adopt.uploads import Uploads
from gdcbuild.adopt.words import Lexer, Operator, Part, Word
from gdcbuild.errors import Location, Problem

ARCHIVER = "torch-model-archiver"
LONGEST = 1 << 16
"""Characters of a variable that are kept track of."""

TRACE = "put in what it comes to; or run it and import the trace: bash -x SCRIPT 2>&1 | grep '^+' | gdcbuild import -"
_MODULE = ("model_archiver", "model_archiver.model_packaging")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?=)")
_OPENS = {"for": "a loop", "while": "a loop", "until": "a loop", "select": "a loop", "if": "an if", "case": "a case"}
_CLOSES = frozenset({"done", "fi", "esac", "}"})
_PASSED = frozenset({"then", "else", "elif", "do", "!", "time", "sudo", "exec", "command", "nohup", "env", "nice", "builtin"})
_RUNNERS = frozenset({"poetry", "uv", "pipenv", "pdm", "hatch", "rye"})
_DECLARES = frozenset({"export", "readonly", "local", "declare", "typeset"})
_TALKS = frozenset({"echo", "printf", "pip", "pip3", "which", "type", "hash", "apt-get", "conda", "man"})
_DIRNAME = r'dirname\s+(?:--\s+)?"?\$(?:\{(?:0|BASH_SOURCE(?:\[0\])?)\}|0|BASH_SOURCE)"?'
_HERE = re.compile(
    rf'\s*(?:{_DIRNAME}|cd\s+(?:--\s+)?"?\$\(\s*{_DIRNAME}\s*\)(?P<rest>[/\w.-]*)"?\s*(?:&&|;)\s*pwd(?:\s+-P)?)\s*'
)
_PWD = re.compile(r"\s*pwd(\s+-P)?\s*")


class Shell:
    """Reads commands one after another, and notes the archives they pack and where they take them.

    `folder` is where they start (absolute), `script` the file they stand in, "" for standard input.
    """

    def __init__(self, found: Found, folder: str, script: str, variables: Mapping[str, str] | None = None) -> None:
        self._found = found
        self._uploads = Uploads(found, folder)
        self._script = script
        self._start = folder
        self._folder = folder
        self._previous = folder
        self._given = dict(variables or {})
        self._variables = dict(self._given)
        self._nesting: list[tuple[str, str]] = []
        self._doubted = ""

    def restart(self) -> None:
        """A new shell in the first folder, as make starts one for every line."""
        self._folder, self._variables = self._start, dict(self._given)
        self._nesting.clear()

    def read(self, text: str, file: str, line: int = 1) -> None:
        """Read a text whose first line is the file's line `line`."""
        words: list[Word] = []
        after = "\n"
        for item in [*Lexer(text, file, line).items(), Operator("\n", Location(file))]:
            if isinstance(item, Word):
                words.append(item)
                continue
            self._step(words, item, after)
            words, after = [], item.text

    def _step(self, words: list[Word], ends: Operator, after: str) -> None:
        """One simple command, or the part of a compound one that stands before an operator."""
        if ends.text == "(":
            function = bool(words) and words[-1].literal != "" and words[-1].literal not in (*_OPENS, *_PASSED)
            if not function:
                self._keywords(words)
            self._nesting.append((f"the function {words[-1].literal}" if function else "(", self._folder))
            return
        rest = self._keywords(words)
        if rest:
            self._command(rest, after)
        if ends.text == ")" and self._nesting:
            kind, folder = self._nesting[-1]
            if kind == "(":
                self._folder = folder
                self._nesting.pop()
            elif kind.startswith("the function"):
                self._nesting[-1] = (f"{kind}()", folder)  # its body follows

    def _keywords(self, words: list[Word]) -> list[Word]:
        """Enter and leave compound commands; returns the words of the simple command that is left."""
        while words:
            word = words[0].literal
            if word in _OPENS:
                self._nesting.append((_OPENS[word], self._folder))
                if word in ("for", "select", "case"):
                    if len(words) > 1 and word != "case":
                        self._variables[words[1].literal] = unknown(f"${words[1].literal}")
                    return []
            elif word == "function":
                self._nesting.append((f"the function {words[1].literal if len(words) > 1 else ''}()", self._folder))
                return []
            elif word == "{":
                if not (self._nesting and self._nesting[-1][0].endswith("()")):
                    self._nesting.append(("{", self._folder))
            elif word in _CLOSES:
                if self._nesting:
                    self._nesting.pop()
                return []
            elif word not in ("then", "else", "elif", "do", "!", "time"):
                break
            words = words[1:]
        return words

    def _doubt(self, after: str) -> str:
        """Why it is not known that a command runs, and once; "" when it is."""
        inside = [kind for kind, _ in self._nesting if kind not in ("(", "{")]
        return inside[-1] if inside else "a || branch" if after == "||" else ""

    def _command(self, words: list[Word], after: str) -> None:
        doubt = self._doubted = self._doubt(after)
        while words and (match := _ASSIGNMENT.match(words[0].parts[0].text if words[0].parts else "")):
            self._assign(words[0], match, doubt)
            words = words[1:]
        fields = [field for word in words for field in self._fields(word)]
        if not fields:
            return
        if fields[0] in _DECLARES:
            for word in words[1:]:
                if word.parts and (match := _ASSIGNMENT.match(word.parts[0].text)):
                    self._assign(word, match, doubt)
            return
        self._run(_bare(fields), words[0].where, doubt)

    def _run(self, fields: list[str], where: Location, doubt: str) -> None:
        arguments = _archiver(fields)
        if arguments and {"-h", "--help"} & set(arguments):
            return
        wrapped = arguments is None and _mentions(fields)
        if not (arguments or wrapped or self._uploads.concerns(fields)):
            if fields[:1] == ["cd"] and not doubt:
                to = [f for f in fields[1:] if f not in ("--", "-P", "-L")]
                here = self._folder
                self._folder = self._previous if to == ["-"] else join(here, to[0] if to else "~")
                self._previous = here
            return
        if wrapped:
            self._refuse(where, f"{ARCHIVER} is run by {shown(fields[0])}", "run it plainly, in a copy of the script")
        elif doubt:
            what = ARCHIVER if arguments else "an upload"
            self._refuse(where, f"{what} in {doubt} is not understood", TRACE)
        elif arguments:
            try:
                self._uploads.packed(packing(arguments, self._folder, where))
            except NotUnderstood as error:
                self._refuse(where, str(error), TRACE)
        else:
            self._uploads.command(fields, self._folder, where)

    def _refuse(self, where: Location, message: str, hint: str) -> None:
        self._found.problems.append(Problem(message, hint, where))

    def _assign(self, word: Word, match: re.Match[str], doubt: str) -> None:
        first = word.parts[0]
        value = Word((Part("text", first.text[match.end() :], True), *word.parts[1:]), word.where)
        text = "".join(self._text(part) for part in value.parts)
        if match[2] == "+=":
            text = self._variables.get(match[1], "") + text
        self._set(match[1], text, doubt)

    def _set(self, name: str, text: str, doubt: str) -> None:
        if doubt or len(text) > LONGEST:
            text = unknown(f"${name}, which {doubt} sets," if doubt else f"${name}")
        self._variables[name] = text

    def _fields(self, word: Word) -> Iterator[str]:
        """A word as the shell would pass it on: expanded, split where it is not quoted, globs matched."""
        fields, pattern = [""], False
        for part in word.parts:
            text = self._text(part)
            if part.kind == "text" or part.quoted or UNKNOWN.search(text):
                fields[-1] += text
                pattern |= part.kind == "text" and not part.quoted and bool(re.search(r"[*?\[]", text))
            else:
                pieces = text.split()
                fields[-1] += "".join(pieces[:1])
                fields += pieces[1:]
        if fields == [""] and not any(part.kind == "text" for part in word.parts):
            return
        for field in fields:
            matched = sorted(glob.glob(join(self._folder, field))) if pattern else []
            yield from [posixpath.relpath(m, self._folder) for m in matched] or [field]

    def _text(self, part: Part) -> str:
        match part.kind:
            case "text":
                return part.text
            case "variable":
                return self._value(part)
            case "command" if _PWD.fullmatch(part.text):
                return self._folder
            case "command" if self._script and (here := _HERE.fullmatch(part.text)):
                return join(posixpath.dirname(self._script), (here["rest"] or "").lstrip("/") or ".")
            case "command":
                return unknown(f"$({part.text})")
            case _:
                return unknown(part.text)

    def _value(self, part: Part) -> str:
        name = part.text
        if name == "PWD":
            return self._folder
        held = self._variables.get(name)
        if part.default is not None and (held is None or (not held and ":" in part.how)):
            held = "".join(self._text(p) for p in part.default)
            if "=" in part.how:
                self._set(name, held, self._doubted)
        return unknown(f"${name}") if held is None else held


def _bare(fields: list[str]) -> list[str]:
    """Without what only starts another command, and the plus signs that `bash -x` puts before one."""
    while fields:
        if fields[0] in _PASSED or not fields[0].strip("+") or _ASSIGNMENT.match(fields[0]):
            fields = fields[1:]
        elif fields[0] in _RUNNERS and fields[1:2] == ["run"]:
            fields = fields[2:]
        else:
            break
    return fields


def _archiver(fields: Sequence[str]) -> list[str] | None:
    """The options of a run of the archiver; None for another command."""
    if fields and posixpath.basename(fields[0]) == ARCHIVER:
        return list(fields[1:])
    is_python = bool(fields) and re.fullmatch(r"python[\d.]*", posixpath.basename(fields[0]))
    return list(fields[3:]) if is_python and fields[1:2] == ["-m"] and fields[2:3] and fields[2] in _MODULE else None


def _mentions(fields: Sequence[str]) -> bool:
    """Whether the archiver is run by another program, with options of its own."""
    line = " ".join(fields)
    talks = bool(fields) and posixpath.basename(fields[0]) in _TALKS
    return not talks and bool(re.search(rf"{ARCHIVER}['\"]?\s.*(--handler|--model-n|--vers|-v\b)", line, re.DOTALL))
