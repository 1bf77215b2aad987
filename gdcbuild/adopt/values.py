"""What words come to by what a script knows at a moment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from gdcbuild.adopt import expansions
from gdcbuild.adopt.commands import ASSIGNMENT
from gdcbuild.adopt.fields import Fields
from gdcbuild.adopt.found import UNKNOWN, unknown
from gdcbuild.adopt.tokens import Part, Word
from gdcbuild.adopt.variables import LONGEST, Variables
from gdcbuild.adopt.words import Lexer
from gdcbuild.errors import Location

FOLDER = "PWD"
_WHOLE = re.compile(r"\$\{(?P<keys>!?)(?P<name>\w+)\[(?P<all>[@*])\]\}")
_ONE = re.compile(r"\$\{(?P<name>\w+)\[\$?\{?(?P<index>\w+)\}?\]\}")
_PATTERN = re.compile(r"[*?\[{]")
_BRACES = re.compile(r"\{[^{}\s]*(?:,|\.\.)[^{}\s]*\}")


def is_array(word: Word) -> bool:
    """Whether it is NAME=(...)."""
    match = len(word.parts) == 2 and ASSIGNMENT.fullmatch(word.parts[0].text)
    return bool(match) and word.parts[1].kind == "unknown" and word.parts[1].text.startswith("(")


class Values(Variables):
    """Variables, and the words in which they stand."""

    def lend(self, word: Word, match: re.Match[str]) -> tuple[str, str | None, list[str] | None]:
        """An assignment in front of a command, which lasts as long as that; returns what to give back."""
        held = match[1], *self._held(match[1])
        self.put(match[1], self._assigned(word, match), None)
        return held

    def assign(self, word: Word, match: re.Match[str]) -> None:
        """An assignment; `match` is that of its name."""
        if is_array(word):
            self._assign_array(match[1], word.parts[1].text[1:-1], match[2] == "+=", word.where)
        elif match[2] == "+=" and match[1] in self._arrays:
            self.lose(match[1])
        else:
            self.set(match[1], self._assigned(word, match))

    def _assigned(self, word: Word, match: re.Match[str]) -> str:
        rest = word.parts[0].text[match.end() :]
        text = "".join(self._text(part) for part in (Part("text", rest, True), *word.parts[1:]))
        if rest.startswith("~"):
            text = unknown("~") + text[1:]
        return self._variables.get(match[1], unknown(f"${match[1]}")) + text if match[2] == "+=" else text

    def resolved(self, word: Word) -> Iterator[Word]:
        """A word of a declaration without variables: the shell puts in all of them before it assigns the first."""
        if is_array(word):
            yield word
        elif word.parts and ASSIGNMENT.match(word.parts[0].text):
            yield Word((Part("text", "".join(map(self._text, word.parts)), False),), word.where)
        else:
            yield from (Word((Part("text", field, False),), word.where) for field in self.fields(word))

    def _assign_array(self, name: str, text: str, more: bool, where: Location) -> None:
        words = [item for item in Lexer(text, where.file, where.line).items() if isinstance(item, Word)]
        old = self._arrays.get(name, [self._variables[name]] if name in self._variables else []) if more else []
        fields = [*old, *(f for word in words for f in self.fields(word))]
        is_keyed = any(word.parts[0].text.startswith("[") for word in words)  # where globs are none, nor their order known
        self.set(name, unknown(f"${name}") if is_keyed else fields[0] if fields else "")
        if not self.doubt and not is_keyed and len(fields) <= LONGEST:
            self._arrays[name] = fields

    def may_split(self, word: Word) -> bool:
        """Whether a word may come to another number of words than it seems."""
        parts = [part for part in word.parts if part.kind != "text" and ("@" in part.text or not part.quoted)]
        if any(UNKNOWN.search(self._text(part)) for part in parts):
            return True
        is_pattern = any(_PATTERN.search(part.text) for part in word.parts if part.kind == "text" and not part.quoted)
        return is_pattern and any(map(UNKNOWN.search, self.fields(word)))

    def fields(self, word: Word) -> Iterator[str]:
        """A word as the shell would pass it on: braces and variables expanded, split where it is not quoted, globs matched."""
        for parts in islice(self._expanded(word.parts), expansions.MOST + 1):
            yield from self._fields(parts)

    def _expanded(self, parts: Sequence[Part]) -> Iterator[tuple[Part, ...]]:
        """The words that braces make of one."""
        for number, part in enumerate(parts):
            if part.kind == "text" and not part.quoted and _BRACES.search(part.text):
                for text in expansions.braces(part.text) if self.has_braces else [part.text]:
                    for rest in self._expanded(parts[number + 1 :]):
                        yield (*parts[:number], Part("text", _BRACES.sub(lambda m: unknown(m[0]), text), False), *rest)
                return
        plain = "".join(part.text if part.kind == "text" and not part.quoted else "?" for part in parts)
        if self.has_braces and len(parts) > 1 and _BRACES.search(plain):  # of which a part is quoted, or a variable
            parts = [Part("unknown", "".join(part.text for part in parts), False)]
        yield tuple(parts)

    def _fields(self, parts: Sequence[Part]) -> Iterator[str]:
        made = Fields()
        for number, part in enumerate(parts):
            words = self._list(part)
            if words is None:
                text = self._text(part)
                if part.kind == "text" and not part.quoted and not number and text.startswith("~"):
                    made.add(unknown("~"), True)
                    text = text[1:]
                words = [text]
            elif not words and len(parts) == 2 and parts[0].text == "":
                return  # "$@" of no arguments is no word
            for place, text in enumerate(words):
                if place:
                    made.end()
                if part.kind == "text" or part.quoted or UNKNOWN.search(text):
                    made.add(text, part.quoted or part.kind != "text")
                else:
                    self._split(text, made)
        made.end()
        yield from made.matched(self.folder, self._made, self.options)

    def _split(self, text: str, made: Fields) -> None:
        by = self._variables.get("IFS", " \t\n")
        if UNKNOWN.search(by) or (set(by) & set(text)).difference(" \t\n"):
            made.add(unknown(text), True)
            return
        for number, piece in enumerate(re.split(f"[{re.escape(by)}]+", text) if by else [text]):
            if number:
                made.end()
            if piece:
                made.add(piece, False)

    def _list(self, part: Part) -> list[str] | None:
        """The words of a part that comes to several: arguments or an array. None if it is none, or not known."""
        if part.kind == "variable" and (part.text == "@" or (part.text == "*" and not part.quoted)):
            return self._arrays.get("@") if part.default is None else None
        match = _WHOLE.fullmatch(part.text) if part.kind == "unknown" else None
        if match is None or (match["all"] == "*" and part.quoted):
            return None
        held = self._arrays.get(match["name"])
        if not match["keys"] or held is None:
            return held
        return None if any(map(UNKNOWN.search, held)) else [str(n) for n in range(len(held))]

    def _text(self, part: Part) -> str:
        match part.kind:
            case "text":
                return part.text
            case "variable":
                return self._value(part)
            case "command":
                return self._written(part.text)
            case _:
                words = self._list(replace(part, quoted=False))
                known = self._computed(part.text) if words is None else self._joined(words, "*" in part.text)
                return unknown(part.text) if known is None else known

    def _joined(self, words: Sequence[str], by_ifs: bool) -> str | None:
        """Several words as one, as "$*" and assignments have them."""
        by = self._variables.get("IFS", " ") if by_ifs else " "
        return None if UNKNOWN.search(by) else by[:1].join(words)

    def _written(self, command: str) -> str:
        """What a command in $(...) writes."""
        known = expansions.folder(command, self.folder, self.script, self._main)
        if known is None and re.match(r"\s*(?:basename|dirname|seq)\s", command):
            items = list(Lexer(command, "").items())
            words = [field for item in items if isinstance(item, Word) for field in self.fields(item)]
            if all(isinstance(item, Word) for item in items) and not any(map(UNKNOWN.search, words)):
                known = expansions.written(words)
        return unknown(f"$({command})") if known is None else known

    def _computed(self, text: str) -> str | None:
        """What ${NAME%PATTERN} and ${NAME[INDEX]} come to."""
        if text.startswith("$"):
            self.count(text)
        if match := expansions.CUT.fullmatch(text):
            value = self._value(Part("variable", match["name"], True))
            return None if UNKNOWN.search(value) else expansions.cut(value, match["how"], match["pattern"])
        if (match := _ONE.fullmatch(text)) and (held := self._arrays.get(match["name"])) is not None:
            name = match["index"]
            index = name if name.isdecimal() else self._value(Part("variable", name, True))
            is_known = index.isdecimal() and int(index) < len(held) and not any(map(UNKNOWN.search, held))
            return held[int(index)] if is_known else None  # what is not known may come to several
        return None

    def _value(self, part: Part) -> str:
        name, given = part.text, self._arrays.get("@")
        if name == FOLDER:
            return self.folder
        if name == "BASH_SOURCE" and self.script:
            return self.script
        held, is_number = self._variables.get(name), name.isdecimal() and name != "0"
        if given is not None and name in ("@", "*", "#"):
            held = str(len(given)) if name == "#" else self._joined(given, name == "*")
        elif given is not None and is_number:
            held = "".join(given[int(name) - 1 : int(name)]) if int(name) <= len(given) else None
        if part.default is not None and (held is None or (not held and ":" in part.how)):
            held = "".join(self._text(p) for p in part.default)
            if "=" in part.how:
                self.set(name, held)
        elif held is None and given is not None and is_number:
            return ""  # it is known that there is none
        return unknown(f"${name}") if held is None else held
