"""Shell text into words and operators: quoting, comments, continuations, here-documents. Nothing is run or looked up."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import groupby

from gdcbuild.adopt.found import MARKS
from gdcbuild.adopt.tokens import Fed, Operator, Part, Word
from gdcbuild.errors import Location

_NAME = re.compile(r"[A-Za-z_]\w*|[0-9@*#?$!-]")
_BRACED = re.compile(r"(?P<name>\w+|[@*#?$!-])(?:\[0\])?(?::?\?.*|(?P<how>:?[-=])(?P<default>.*))?\Z", re.DOTALL)
_OPERATORS = ("&&", "||", ";;", ";", "&", "|", "(", ")", "\n")
_REDIRECTION = re.compile(r"\d*(?:&>>?|>>?\||>>?&?(?!\()|<<<|<&|<>|<(?!\())|\d+>>?&?")
_HEREDOC = re.compile(
    r"""\d*<<(?P<dash>-?)[ \t]*(?:'(?P<single>[^'\n]+)'|"(?P<double>[^"\n]+)"|\\?(?P<plain>[^\s<>;&|()'"]+))"""
)
_ESCAPES = {"n": "\n", "t": "\t"}
_TEST = re.compile(r"\[\[\s.*?\s\]\](?=[\s;&|)]|\Z)", re.DOTALL)


class Lexer:
    """Reads a text; `line` is the number of its first line in the file.

    `unfinished` says what the text ends within, and where that begins; known once all items were read.
    """

    def __init__(self, text: str, file: str, line: int = 1) -> None:
        self._text = text.replace("\r\n", "\n")
        self._file = file
        self._first = line
        self._starts = [0, *(m.end() for m in re.finditer("\n", self._text))]
        self._at = 0
        self._heredocs: list[tuple[str, bool, bool, Location]] = []
        self.unfinished: tuple[str, Location] | None = None

    def items(self) -> Iterator[Word | Operator | Fed]:
        text = self._text
        while self._at < len(text):
            if text.startswith("\\\n", self._at):
                self._continuation()
            elif text[self._at] in " \t":
                self._at += 1
            elif text[self._at] == "#":
                self._at = self._line_end()
            elif match := _HEREDOC.match(text, self._at):
                word = match["single"] or match["double"] or match["plain"]
                is_plain = bool(match["plain"]) and "\\" not in match[0]
                self._heredocs.append((word, bool(match["dash"]), is_plain, self._where()))
                self._at = match.end()
            elif match := _REDIRECTION.match(text, self._at):
                where = self._where()
                self._at = match.end()
                target = self._target()
                for part in target.parts if target else ():
                    if match[0].endswith("<<<") or part.kind == "command":
                        yield Fed(part.text, where, not match[0].endswith("<<<"))
            elif text.startswith(("((", "[["), self._at) and (inner := self._test()):
                yield inner
            elif operator := next((o for o in _OPERATORS if text.startswith(o, self._at)), None):
                where = self._where()
                self._at += len(operator)
                if operator == "\n":
                    yield from self._bodies()
                yield Operator(operator, where)
            else:
                yield self._word()
        if self._heredocs:
            self._ends_within("a here-document", self._heredocs[0][3])

    def _ends_within(self, what: str, where: Location) -> None:
        self.unfinished = self.unfinished or (what, where)

    def _continuation(self) -> None:
        if self._at + 2 >= len(self._text):
            self._ends_within("a continued line", self._where())
        self._at += 2

    def _where(self) -> Location:
        number = bisect_right(self._starts, self._at) - 1
        return Location(self._file, self._first + number, self._at - self._starts[number] + 1)

    def _line_end(self) -> int:
        end = self._text.find("\n", self._at)
        return len(self._text) if end < 0 else end

    def _test(self) -> Word | None:
        """(( )) or [[ ]], in which other rules hold."""
        where, start = self._where(), self._at
        if self._text[start] == "(":
            self._enclosed("(", ")", 1)
        elif match := _TEST.match(self._text, start):
            self._at = match.end()
        else:
            return None
        text = self._text[start : self._at]
        return Word((Part("text", text[:2], False), Part("unknown", text, True)), where)

    def _target(self) -> Word | None:
        while self._text[self._at : self._at + 1] in (" ", "\t"):
            self._at += 1
        return None if self._text[self._at : self._at + 1] in ("", "\n", ";", "&", "|", ")", "(") else self._word()

    def _bodies(self) -> Iterator[Fed]:
        for word, dash, is_plain, begins in self._heredocs:
            where, lines, ended, continued = self._where(), list[str](), False, False
            while self._at < len(self._text) and not ended:
                end = self._line_end()
                line = self._text[self._at : end]
                self._at = end + 1
                ended = not continued and (line.lstrip("\t") if dash else line) == word
                continued = is_plain and (len(line) - len(line.rstrip("\\"))) % 2 == 1
                if not ended:
                    lines.append(line)
            if not ended:
                self._ends_within("a here-document", begins)
            yield Fed("\n".join(lines), where)
        self._heredocs.clear()

    def _word(self) -> Word:
        where, parts = self._where(), list[Part]()
        while self._at < len(self._text):
            c = self._text[self._at]
            follows = self._text[self._at + 1 : self._at + 2]
            substitution = c in "<>" and follows == "("
            if (c in " \t\n;&|<>" and not substitution) or c == ")" or (c == "(" and not self._is_array(parts)):
                break
            if substitution:
                parts.append(Part("command", self._enclosed("(", ")", 2)[2:-1], True))
            elif c == "(":
                parts.append(Part("unknown", self._enclosed("(", ")", 1), False))
            elif c == "'":
                parts.append(self._single())
            elif c == MARKS[0]:
                parts.append(self._marked())
            elif c == '"':
                parts += self._double()
            elif c == "\\":
                if follows in ("", "\n"):
                    self._continuation()
                else:
                    parts.append(Part("text", follows, True))
                    self._at += 2
            elif c == "$" and follows and follows in "'\"":
                parts += self._dollar_quote(follows)
            elif c in "$`":
                parts.append(self._expansion(False))
            else:
                parts.append(Part("text", c, False))
                self._at += 1
        return Word(tuple(_joined(parts)), where)

    def _is_array(self, parts: list[Part]) -> bool:
        return bool(parts) and parts[-1] == Part("text", "=", False)

    def _until(self, mark: str, what: str) -> str:
        """The text up to the next such mark."""
        end = self._text.find(mark, self._at + 1)
        if end < 0:
            self._ends_within(what, self._where())
            end = len(self._text)
        text, self._at = self._text[self._at + 1 : end], end + 1
        return text

    def _marked(self) -> Part:
        """What make already found to be unknown."""
        return Part("unknown", self._until(MARKS[1], "something unknown"), True)

    def _single(self) -> Part:
        return Part("text", self._until("'", "a quote"), True)

    def _dollar_quote(self, quote: str) -> list[Part]:
        self._at += 1
        if quote == '"':
            return self._double()
        where, start = self._where(), self._at + 1
        match = re.compile(r"(?:[^'\\]|\\.)*", re.DOTALL).match(self._text, start)
        self._at = (match.end() if match else start) + 1
        if self._at > len(self._text):
            self._ends_within("a quote", where)
        text = re.sub(r"\\([nt'\"\\])", lambda m: _ESCAPES.get(m[1], m[1]), self._text[start : self._at - 1])
        return [Part("unknown" if "\\" in text else "text", text, True)]

    def _double(self) -> list[Part]:
        where, parts = self._where(), [Part("text", "", True)]
        self._at += 1
        while self._at < len(self._text) and self._text[self._at] != '"':
            c = self._text[self._at]
            if c == "\\" and self._text[self._at + 1 : self._at + 2] in ('"', "\\", "$", "`", "\n"):
                escaped = self._text[self._at + 1]
                parts.append(Part("text", "" if escaped == "\n" else escaped, True))
                self._at += 2
            elif c == MARKS[0]:
                parts.append(self._marked())
            elif c in "$`":
                parts.append(self._expansion(True))
            else:
                parts.append(Part("text", c, True))
                self._at += 1
        if self._at >= len(self._text):
            self._ends_within("a quote", where)
        self._at += 1
        return parts

    def _expansion(self, quoted: bool) -> Part:
        if self._text[self._at] == "`":
            return Part("command", self._until("`", "`...`"), quoted)
        if self._text.startswith("$((", self._at):
            return Part("unknown", self._enclosed("(", ")", 2), quoted)
        if self._text.startswith("$(", self._at):
            return Part("command", self._enclosed("(", ")", 2)[2:-1], quoted)
        if self._text.startswith("${", self._at):
            whole = self._enclosed("{", "}", 2, quoted)
            return _braced(whole, quoted)
        if self._text.startswith("$[", self._at):
            return Part("unknown", self._enclosed("[", "]", 2), quoted)
        match = _NAME.match(self._text, self._at + 1)
        if match is None:
            self._at += 1
            return Part("text", "$", quoted)
        self._at = match.end()
        return Part("variable", match[0], quoted)

    def _enclosed(self, opening: str, closing: str, skip: int, quoted: bool = False) -> str:
        """The text up to the bracket that closes, quotes and inner brackets passed over."""
        where, start, depth = self._where(), self._at, 1
        self._at += skip
        while self._at < len(self._text) and depth:
            c = self._text[self._at]
            if c == "'" and not quoted:
                self._single()
            elif c == '"' and not quoted:
                self._double()
            elif c == "#" and opening == "(" and self._text[self._at - 1] in " \t\n":
                self._at = self._line_end()
            else:
                depth += (c == opening) - (c == closing)
                self._at += 2 if c == "\\" else 1
        if depth:
            self._ends_within(f"{opening}...{closing}", where)
        return self._text[start : self._at]


def _braced(whole: str, quoted: bool) -> Part:
    whole = whole.replace("BASH_SOURCE[0]", "BASH_SOURCE", 1)
    match = _BRACED.match(whole[2:-1])
    if match is None:
        return Part("unknown", whole, quoted)
    if match["how"] and not quoted and re.search(r"['\\]", match["default"]):
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
