"""Shell text as a flat list of commands and keywords, with the words of each. Nothing is run or looked up."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from gdcbuild.errors import Location

_INSIDE = _PLAIN = r"(?<=\s)\#[^\n]*|[^()'\"\\`]|\\.|'[^']*'"
_BRACES = r"\$\{(?>[^{}\"'\\]|\\.|\"[^\"]*\"|'[^']*'|\{[^{}]*\})*+\}"
_BACKTICKS = r"`(?>[^`\\]|\\.)*+`"
for _ in range(3):  # as deep as $(cd "$(dirname "$0")" && pwd) in quotes
    _PARENTHESES = rf"\((?>{_INSIDE})*+\)"
    _DOUBLE = rf'"(?>[^"\\$`]|\\.|\${_PARENTHESES}|{_BRACES}|{_BACKTICKS}|\$)*+"'
    _INSIDE = rf"{_PLAIN}|{_DOUBLE}|{_PARENTHESES}|{_BACKTICKS}"
_DOLLAR = rf"\${_PARENTHESES}|{_BRACES}|{_BACKTICKS}|\$[A-Za-z_]\w*|\$[0-9@*#?$!-]|\$\[[^\]]*\]"
_PIECE = (
    rf"\$?'[^']*'|\$?{_DOUBLE}|\\(?!\n\Z).|{_DOLLAR}|[<>]{_PARENTHESES}|(?<==){_PARENTHESES}"
    r"""|[^\s'"\\$`;&|<>()]+|\$(?![('"{])"""
)
_TOKEN = re.compile(
    "|".join(
        (
            r"(?P<space>[ \t]+|\\\n(?!\Z)|\#[^\n]*)",
            r"""(?P<heredoc>\d*<<(?P<dash>-?)[ \t]*(?P<mark>'[^'\n]+'|"[^"\n]+"|\\?[^\s<>;&|()'"]+))""",
            r"(?P<redirection>\d*(?:&>>?|>>?\||>>?&?(?!\()|<<<|<&|<>|<(?!\())[ \t]*)",
            r"(?P<call>\([ \t]*\))",
            rf"(?P<word>\(\((?>{_INSIDE})*+\)\)|\[\[\s.{{0,999}}?\s\]\](?=[\s;&|)]|\Z)|(?>{_PIECE})+)",
            r"(?P<operator>&&|\|\||;;|\||[;&()\n])",
        )
    ),
    re.DOTALL,
)
_PIECES = re.compile(_PIECE, re.DOTALL)
_IN_QUOTES = re.compile(rf'\\["\\$`\n]|{_DOLLAR}|[^\\$`]+|.', re.DOTALL)
_QUOTES, _TABS, _NOT_CONTINUED = "'\"\\", r"\t*", r"(?<!\\\n)"
_KEYWORDS = ("if", "then", "else", "elif", "fi", "while", "until", "do", "done", "esac", "{", "}", "!", "time")
_OPENED = {"`": "`...`", "$": "(...)", "(": "(...)", "<": "(...)", "\\": "a continued line"}


@dataclass(slots=True)
class Command:
    """A simple command between the operators `after` and `ends`; or a keyword, some with words, all as they are written.

    `function` has its name, `for` and `case` have what is before their bodies, and `unfinished`, the last one of all, has what
    the text ends within, where that begins.
    """

    where: Location
    after: str = ""
    ends: str = ""
    keyword: str = ""
    words: list[str] = field(default_factory=list)
    redirections: list[tuple[str, str]] = field(default_factory=list)
    documents: list[tuple[str, Location]] = field(default_factory=list)


class Atom(NamedTuple):
    """A piece of a word: text, or an expansion as it is written."""

    text: str
    is_quoted: bool
    is_expansion: bool = False


def atoms(raw: str) -> Iterator[Atom]:
    """The pieces of a word."""
    for match in _PIECES.finditer(raw):
        text = match[0].removeprefix("$") if match[0][:2] in ("$'", '$"') else match[0]
        if text[0] == "'" and "\\" in text and match[0][0] == "$":
            yield Atom(text, True, True)
        elif text[0] in "'\\":
            yield Atom(text[1:-1] if text[0] == "'" else text[1:].strip("\n"), True)
        elif text[0] == '"':
            yield Atom("", True)
            for inner in _IN_QUOTES.findall(text[1:-1]):
                is_escape = inner[0] == "\\" and len(inner) > 1
                yield Atom(inner[1:].strip("\n") if is_escape else inner, True, inner[0] in "$`" and len(inner) > 1)
        else:
            yield Atom(text, False, (text[0] in "$`<>(" and len(text) > 1))


class Parser:
    """Reads a text that begins at a place; with `is_inner`, all of it is there."""

    def __init__(self, text: str, where: Location, is_inner: bool = False) -> None:
        self._text = text.replace("\r\n", "\n")
        self._begin = where
        self._is_inner = is_inner
        self._starts = [0, *(match.end() for match in re.finditer("\n", self._text))]
        self._unfinished: tuple[str, Location] | None = None

    def commands(self) -> Iterator[Command]:
        """All of them. Patterns of a `case` are left out."""
        at, is_pattern, how = 0, False, ""
        command, open_documents = Command(self._where(0), "\n"), list[tuple[str, bool, Command]]()
        while at < len(self._text):
            start, token = at, _TOKEN.match(self._text, at)
            if token is None:
                what = "{...}" if self._text.startswith("${", at) else _OPENED.get(self._text[at], "a quote")
                self._unfinished = what, self._where(at)
                break
            at = token.end()
            if token["heredoc"]:
                open_documents.append((token["mark"], bool(token["dash"]), command))
            elif token["redirection"]:
                how = token[0].strip()
            elif token["call"] and command.words:  # NAME(), of a function
                command.keyword = "function"
                yield command
                command = Command(self._where(at))
            elif token["word"] and how:
                if how.endswith("<<<"):
                    command.documents.append(("".join(atom.text for atom in atoms(token[0])), self._where(start)))
                command.redirections.append((how, token[0]))
                how = ""
            elif token["word"] and (not is_pattern or token[0] == "esac"):
                command.where = command.where if command.words else self._where(start)
                command.words.append(token[0])
                is_pattern = len(command.words) == 3 and command.words[0] == "case"
                for keyword in _keywords(command):
                    yield keyword
                    keeps = keyword.keyword in ("!", "time") and keyword.after in ("&&", "||")
                    command = Command(self._where(at), keyword.after if keeps else keyword.keyword)
            elif token["operator"]:
                how = ""
                if token[0] == "\n":
                    at = self._documents(open_documents, at)
                if is_pattern:
                    is_pattern = token[0] != ")"
                    continue
                is_continued = token[0] == "\n" and not command.words and command.after in ("&&", "||", "|")
                command.ends = token[0]
                command.keyword = "for" if command.words[:1] in (["for"], ["select"]) else ""
                yield command
                is_pattern = token[0] == ";;"
                command = Command(self._where(at), command.after if is_continued else token[0])
        self._documents(open_documents, at)
        if self._unfinished:
            command = Command(self._unfinished[1], keyword="unfinished", words=[self._unfinished[0]])
        command.ends = "\n"
        yield command

    def _where(self, at: int) -> Location:
        line = bisect_right(self._starts, at) - 1
        own = Location(self._begin.file, self._begin.line + line, at - self._starts[line] + 1)
        return self._begin if self._is_inner else own

    def _documents(self, opened: list[tuple[str, bool, Command]], at: int) -> int:
        """Read here-documents; returns where the text goes on."""
        for mark, dash, command in opened:
            start = at
            pattern = rf"{'' if mark[0] in _QUOTES else _NOT_CONTINUED}^{_TABS * dash}{re.escape(mark.strip(_QUOTES))}$\n?"
            end = re.compile(pattern, re.MULTILINE).search(self._text, at)
            at = end.end() if end else len(self._text)
            self._unfinished = self._unfinished or (None if end else ("a here-document", command.where))
            command.documents.append((self._text[start : end.start() if end else at], self._where(start)))
        opened.clear()
        return at


def _keywords(command: Command) -> Iterator[Command]:
    """The command itself, where its words so far are all of a keyword."""
    first, last, count = command.words[0], command.words[-1], len(command.words)
    is_loop = count == 3 and first in ("for", "select") and last == "do"
    if count == 2 and first == "function":
        command.words = [last]
    if (
        (count == 1 and first in _KEYWORDS)
        or (count == 2 and first == "function")
        or (count == 3 and first == "case")
        or is_loop
    ):
        command.keyword = "for" if is_loop else first
        yield command
    if is_loop:
        yield Command(command.where, keyword="do")
    if count == 1 and first == "$":  # a prompt
        command.words.clear()
