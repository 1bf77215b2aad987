"""Goes through a shell script: which of its commands surely run, and how often. Known loops are gone through round by round."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from glob import has_magic
from itertools import takewhile

from gdcbuild.adopt import blocks
from gdcbuild.adopt.blocks import Item
from gdcbuild.adopt.feeds import Feeds
from gdcbuild.adopt.found import UNKNOWN, Found
from gdcbuild.adopt.nesting import BLOCK, CASE, IF, LOOP, ROUNDS, SUBSHELL, Nesting
from gdcbuild.adopt.tokens import Fed, Operator, Part, Word
from gdcbuild.adopt.values import Values
from gdcbuild.adopt.words import Lexer
from gdcbuild.errors import Location

MOST = 50_000
"""Words of bodies that are read once more for a round or a call."""

_OPENS = {"for": LOOP, "while": LOOP, "until": LOOP, "select": LOOP, "if": IF, "case": CASE}
_CLOSES = frozenset({"done", "fi", "esac", "}"})


@dataclass(slots=True)
class Function:
    """The items of a body, and the file they stand in. `doubt` says why it may not be the one that the name has."""

    body: Sequence[Item]
    script: str
    is_subshell: bool
    doubt: str
    is_called: bool = False


class TooMany(Exception):
    """More rounds and calls than are followed."""


class Walker(ABC):
    """Reads texts, and has each simple command in them done. What may not run, or more than once, is in doubt."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._left = MOST

    def _begin(self, values: Values, doubt: str) -> None:
        """A new shell. `doubt` is why it may not run."""
        self._values = values
        self._nesting = Nesting(values)
        self._functions: dict[str, list[Function]] = {}
        self._named = set[str]()
        self._tested = self._is_test = False  # of the list behind && and ||; of the last command
        self._ended = doubt
        self._feeds = Feeds(self._found, self._called)

    @abstractmethod
    def _command(self, words: list[Word], after: str, ends: str) -> None:
        """A simple command between two operators."""

    @abstractmethod
    def _called(self, text: str, where: Location, apart: bool = True) -> None:
        """A text that is run and not read."""

    def _read(self, text: str, file: str, line: int) -> None:
        lexer = Lexer(text, file, line)
        items = list(lexer.items())
        if lexer.unfinished:
            what, where = lexer.unfinished
            self._found.refuse(where, f"the text ends within {what} that begins here", "complete it: the rest is not read")
            while items and not isinstance(items[-1], Operator):
                items.pop()
        self._walk(items, Location(file))

    def _walk(self, items: Sequence[Item], where: Location) -> None:
        """Commands one after another; loops and functions in one piece, where that can be."""
        words: list[Word] = []
        after, at = "\n", 0
        floor, self._nesting.floor = self._nesting.floor, len(self._nesting.levels)
        while at < len(items):
            item = items[at]
            begins = isinstance(item, Word) and not self._nesting.is_pattern
            if begins and all(word.literal in blocks.LEADS for word in words):
                found = blocks.definition(items, at)
                if found or blocks.at_place(items, at) == "for":
                    self._step(words, Operator("", item.where), after)  # the keywords before it
                    after, words = "" if words else after, []
                    if passed := self._define(*found, items, after) if found else self._for(items, at, after):
                        at = passed
                        continue
            at += 1
            if isinstance(item, Word):
                words.append(item)
            elif isinstance(item, Fed):
                self._feeds.feed(item)
            else:
                self._step(words, item, after)
                is_continued = item.text == "\n" and not words and after in ("&&", "||", "|")
                words, after = [], after if is_continued else item.text
        self._step(words, Operator("\n", where), after)
        self._nesting.floor = floor

    def _step(self, words: list[Word], ends: Operator, after: str) -> None:
        """One simple command, or the part of a compound one that stands before an operator."""
        self._tested = self._tested and after in ("&&", "||", ")")
        for word in words:
            self._feeds.word(word)
        rest = self._keywords(words, after, ends.text)
        if self._nesting.is_pattern:
            self._nesting.levels[-1].is_pattern = ends.text != ")"
        elif ends.text == "(":
            self._nesting.open(SUBSHELL, self._branch_doubt(after))
        else:
            if rest:
                self._command(rest, after, ends.text)
            if ends.text == ")" and self._nesting.kind == SUBSHELL:
                self._nesting.close()
                self._tested = self._is_test
            elif ends.text == ";;" and self._nesting.kind == CASE:
                self._nesting.branch()
                self._nesting.levels[-1].is_pattern = True
            elif ends.text == "\n":
                self._feeds.end_line()

    def _keywords(self, words: list[Word], after: str, ends: str) -> list[Word]:
        """Enter and leave compound commands; returns the words of the simple command that is left."""
        while words:
            word = words[0].literal
            if kind := _OPENS.get(word):
                level = self._nesting.open(kind, kind if kind in (LOOP, CASE) else self._branch_doubt(after), after == "|")
                level.is_pattern = kind == CASE
                if word in ("for", "select") and len(words) > 1 and words[1].literal:
                    self._values.doubt = ""
                    self._values.lose(words[1].literal)
                for part in words[1].parts if word == "for" and len(words) > 1 else ():
                    self._values.count(part.text)  # of for ((...))
                if word in ("for", "select") and len(words) > 2 and words[2].literal == "do":
                    words = words[2:]
                elif word in ("for", "select", "case"):
                    return []
            elif word == "{":
                self._nesting.open(BLOCK, self._branch_doubt(after), after == "|")
            elif word in _CLOSES:
                self._nesting.close(ends in ("|", "&"))
                self._tested = self._tested or (word == "}" and self._is_test)
            elif word in ("then", "else", "elif"):
                self._nesting.branch()
            elif word == "!":
                self._tested = True
            elif word not in ("do", "time", "-p"):
                break
            words = words[1:]
        return words

    def _branch_doubt(self, after: str) -> str:
        return "a || branch" if after == "||" else "an && branch behind a test" if after == "&&" and self._tested else ""

    def _doubt(self, after: str) -> str:
        """Why it is not known that a command runs, and once; "" when it is."""
        return self._nesting.doubt or self._branch_doubt(after) or self._ended

    def _define(self, name: str, begin: int, end: int, items: Sequence[Item], after: str) -> int:
        """Take in a function; returns where the text goes on."""
        apart = any(level.kind == BLOCK or level.is_apart for level in self._nesting.levels)  # a block may turn out to be that
        doubt = self._doubt(after) or ("a block" if apart else "")
        function = Function(items[begin + 1 : end], self._values.script, blocks.at_place(items, begin) == "(", doubt)
        known = self._functions.get(name, [])
        same = [other for other in known if other.body == function.body]  # read once more
        if not same:
            self._named.discard(name)
        function.is_called = any(other.is_called for other in same)
        self._functions[name] = [*([other for other in known if other not in same] if doubt else []), function]
        return min(end + 1, len(items))

    def _for(self, items: Sequence[Item], at: int, after: str) -> int:
        """Follow a loop whose words are known; returns where the text goes on, 0 when they are not."""
        header = [word for word in takewhile(lambda item: isinstance(item, Word), items[at:]) if isinstance(word, Word)]
        if blocks.at_place(items, at + 2) == "do":  # of `for NAME do`
            header = header[:2]
        found = blocks.body(items, at + len(header), ("do",))
        if not found or self._doubt(after) or len(header) < 2 or not header[1].literal.isidentifier():
            return 0
        begin, end = found
        self._values.doubt = ""
        listed = header[3:] or [Word((Part("variable", "@", True),), header[0].where)]
        fields = [field for word in listed for field in self._values.fields(word)] if len(header) != 3 else []
        if any(UNKNOWN.search(field) or has_magic(field) for field in fields):
            return 0
        for word in header:
            self._feeds.word(word)
        depth, known = len(self._nesting.levels), self._found.amount
        if after == "|" or next((i.text for i in items[end + 1 :] if isinstance(i, Operator)), "") in ("|", "&"):
            self._nesting.open(SUBSHELL, "")
        level = self._nesting.open(ROUNDS, "")
        for field in fields:
            self._nesting.again(level)
            self._values.doubt = self._nesting.doubt or self._ended
            self._values.set(header[1].literal, field)
            self._body(items[begin + 1 : end], header[0].where)
            self._nesting.close_to(self._nesting.levels.index(level) + 1)
        self._nesting.again(level)
        self._nesting.close_to(depth)
        plain = [part.text for word in listed for part in word.parts if part.kind == "text" and not part.quoted]
        if self._found.amount > known and (glob := next(filter(has_magic, plain), "")):
            message = f"the loop is over the files that {glob} matches now"
            self._found.note(header[0].where, message, "import it again when there are more")
        return end + 1

    def _body(self, items: Sequence[Item], where: Location) -> None:
        """Read a body once more."""
        self._left -= 1 + len(items)
        if self._left < 0:
            raise TooMany(where)
        self._walk(items, where)
