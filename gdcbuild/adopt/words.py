"""Shell text into words and operators: quoting, comments, continuations, here-documents. Nothing is run or looked up."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from gdcbuild.errors import Location

_NAME = re.compile(r"[A-Za-z_]\w*|[0-9@*#?$!-]")
_BRACED = re.compile(r"(?P<name>\w+|[@*#?$!-])(?:\[0\])?(?::?\?.*|(?P<how>:?[-=])(?P<default>.*))?\Z", re.DOTALL)
_OPERATORS = ("&&", "||", ";;", ";", "&", "|", "(", ")", "\n")
_REDIRECTION = re.compile(r"\d*(?:&>>?|>>?\||>>?&?|<<<|<&|<>|<)|\d+>>?&?")
_HEREDOC = re.compile(r"<<(?P<dash>-?)\s*(?P<quote>['\"\\]?)(?P<word>[\w.-]+)['\"]?")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a word. A variable has its name as text, a command what is in $(...).

    `default` is for a variable that is not set, or is empty too if `how` has a colon; with "=" in `how` it is assigned.
    """

    kind: Literal["text", "variable", "command", "unknown"]
    text: str
    quoted: bool
    default: tuple[Part, ...] | None = None
    how: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """Parts that stand without a space between them."""

    parts: tuple[Part, ...]
    where: Location

    @property
    def literal(self) -> str:
        """The word if it is unquoted text and nothing else, as keywords are; else ""."""
        return "".join(p.text for p in self.parts) if all(p.kind == "text" and not p.quoted for p in self.parts) else ""


@dataclass(frozen=True, slots=True)
class Operator:
    """What separates commands."""

    text: str
    where: Location


class Lexer:
    """Reads a text; `line` is the number of its first line in the file."""

    def __init__(self, text: str, file: str, line: int = 1) -> None:
        self._text = text.replace("\r\n", "\n")
        self._file = file
        self._first = line
        self._starts = [0, *(m.end() for m in re.finditer("\n", self._text))]
        self._at = 0
        self._heredocs: list[tuple[str, bool]] = []

    def items(self) -> Iterator[Word | Operator]:
        text = self._text
        while self._at < len(text):
            if text.startswith("\\\n", self._at):
                self._at += 2
            elif text[self._at] in " \t":
                self._at += 1
            elif text[self._at] == "#":
                self._at = self._line_end()
            elif match := _HEREDOC.match(text, self._at):
                self._heredocs.append((match["word"], bool(match["dash"])))
                self._at = match.end()
            elif match := _REDIRECTION.match(text, self._at):
                self._at = match.end()
                self._skip_target()
            elif operator := next((o for o in _OPERATORS if text.startswith(o, self._at)), None):
                where = self._where()
                self._at += len(operator)
                if operator == "\n":
                    self._skip_heredocs()
                yield Operator(operator, where)
            else:
                yield self._word()

    def _where(self) -> Location:
        number = bisect_right(self._starts, self._at) - 1
        return Location(self._file, self._first + number, self._at - self._starts[number] + 1)

    def _line_end(self) -> int:
        end = self._text.find("\n", self._at)
        return len(self._text) if end < 0 else end

    def _skip_target(self) -> None:
        while self._text[self._at : self._at + 1] in (" ", "\t"):
            self._at += 1
        if self._text[self._at : self._at + 1] not in ("", "\n", ";", "&", "|", ")"):
            self._word()

    def _skip_heredocs(self) -> None:
        for word, dash in self._heredocs:
            while self._at < len(self._text):
                end = self._line_end()
                line = self._text[self._at : end]
                self._at = end + 1
                if (line.lstrip("\t") if dash else line) == word:
                    break
        self._heredocs.clear()

    def _word(self) -> Word:
        where, parts = self._where(), list[Part]()
        while self._at < len(self._text):
            c = self._text[self._at]
            if c in " \t\n;&|<>" or (c == ")") or (c == "(" and not self._is_array(parts)):
                break
            if c == "(":
                parts.append(Part("unknown", self._enclosed("(", ")", 1), False))
            elif c == "'":
                parts.append(self._single())
            elif c == '"':
                parts += self._double()
            elif c == "\\":
                if self._text[self._at + 1 : self._at + 2] != "\n":
                    parts.append(Part("text", self._text[self._at + 1 : self._at + 2], True))
                self._at += 2
            elif c in "$`":
                parts.append(self._expansion(False))
            else:
                parts.append(Part("text", c, False))
                self._at += 1
        return Word(tuple(_joined(parts)), where)

    def _is_array(self, parts: list[Part]) -> bool:
        return bool(parts) and parts[-1] == Part("text", "=", False)

    def _single(self) -> Part:
        end = self._text.find("'", self._at + 1)
        end = len(self._text) if end < 0 else end
        text, self._at = self._text[self._at + 1 : end], end + 1
        return Part("text", text, True)

    def _double(self) -> list[Part]:
        parts = [Part("text", "", True)]
        self._at += 1
        while self._at < len(self._text) and self._text[self._at] != '"':
            c = self._text[self._at]
            if c == "\\" and self._text[self._at + 1 : self._at + 2] in ('"', "\\", "$", "`", "\n"):
                escaped = self._text[self._at + 1]
                parts.append(Part("text", "" if escaped == "\n" else escaped, True))
                self._at += 2
            elif c in "$`":
                parts.append(self._expansion(True))
            else:
                parts.append(Part("text", c, True))
                self._at += 1
        self._at += 1
        return parts

    def _expansion(self, quoted: bool) -> Part:
        if self._text[self._at] == "`":
            end = self._text.find("`", self._at + 1)
            end = len(self._text) if end < 0 else end
            text, self._at = self._text[self._at + 1 : end], end + 1
            return Part("command", text, quoted)
        if self._text.startswith("$((", self._at):
            return Part("unknown", self._enclosed("(", ")", 2), quoted)
        if self._text.startswith("$(", self._at):
            return Part("command", self._enclosed("(", ")", 2)[2:-1], quoted)
        if self._text.startswith("${", self._at):
            whole = self._enclosed("{", "}", 2)
            return _braced(whole, quoted)
        match = _NAME.match(self._text, self._at + 1)
        if match is None:
            self._at += 1
            return Part("text", "$", quoted)
        self._at = match.end()
        return Part("variable", match[0], quoted)

    def _enclosed(self, opening: str, closing: str, skip: int) -> str:
        """The text up to the bracket that closes, quotes and inner brackets passed over."""
        start, depth = self._at, 1
        self._at += skip
        while self._at < len(self._text) and depth:
            c = self._text[self._at]
            if c == "'":
                end = self._text.find("'", self._at + 1)
                self._at = len(self._text) - 1 if end < 0 else end
            elif c == "\\":
                self._at += 1
            depth += (c == opening) - (c == closing)
            self._at += 1
        return self._text[start : self._at]


def _braced(whole: str, quoted: bool) -> Part:
    inner = whole[2:-1]
    if inner in ("0%/*", "BASH_SOURCE%/*", "BASH_SOURCE[0]%/*"):
        return Part("command", 'dirname "$0"', quoted)
    match = _BRACED.match(inner)
    if match is None:
        return Part("unknown", whole, quoted)
    default = None if match["how"] is None else tuple(_parts(match["default"]))
    return Part("variable", match["name"], quoted, default, match["how"] or "")


def _parts(text: str) -> list[Part]:
    """The parts of a default value."""
    lexer = Lexer('"' + text.replace('"', "") + '"', "")
    return [part for item in lexer.items() if isinstance(item, Word) for part in item.parts]


def _joined(parts: list[Part]) -> Iterator[Part]:
    """Neighbouring text of one kind as one part."""
    for (kind, quoted), group in groupby(parts, key=lambda part: (part.kind, part.quoted)):
        if kind == "text":
            yield Part("text", "".join(part.text for part in group), quoted)
        else:
            yield from group
