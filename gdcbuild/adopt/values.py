"""What a script knows at a moment: its variables, its folder, and what words come to by them."""

from __future__ import annotations

import glob
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

from gdcbuild.adopt.archiver import join
from gdcbuild.adopt.found import UNKNOWN, unknown
from gdcbuild.adopt.tokens import Part, Word
from gdcbuild.adopt.words import Lexer
from gdcbuild.errors import Location

LONGEST = 1 << 16
"""Characters of a variable, and words of an array, that are kept track of."""

FOLDER = "PWD"
_SELF = r"\$(?:\{(?:0|BASH_SOURCE(?:\[0\])?(?::-\$0)?)\}|0|BASH_SOURCE)"
_REAL = rf'\$\(\s*(?:readlink\s+-f|realpath)\s+(?:--\s+)?"?{_SELF}"?\s*\)'
_DIRNAME = rf'dirname\s+(?:--\s+)?"?(?:{_SELF}|{_REAL})"?'
_QUIETLY = r"(?:\s*[12&]?>\s*/dev/null)?(?:\s*2>&1)?"
_HERE = re.compile(
    rf'\s*(?:{_DIRNAME}|cd\s+(?:(?:--|-P)\s+)*"?\$\(\s*{_DIRNAME}\s*\)(?P<rest>[/\w.-]*)"?{_QUIETLY}\s*(?:&&|;)\s*pwd(?:\s+-P)?)\s*'
)
_PWD = re.compile(r"\s*pwd(\s+-P)?\s*")
_ARRAY = re.compile(r"\$\{(\w+)\[[@*]\]\}")
_BRACES = re.compile(r"\{[^{}\s]*(?:,|\.\.)[^{}\s]*\}")


class Values:
    """Variables and the folder (absolute). `script` is the file that is read, "" for standard input, `main` the one that runs.

    `doubt` says why it is not known that the command at hand runs: then what it sets is not known. While a function's body is
    read, `body` collects the names that it sets, and nothing is set.
    """

    def __init__(self, folder: str, script: str, given: Mapping[str, str]) -> None:
        self.folder = self._previous = folder
        self.script = self._main = script
        self.doubt = ""
        self.body: set[str] | None = None
        self._pushed: list[str] = []
        self._lent: dict[str, str | None] = {}
        self._variables = dict(given)
        self._arrays: dict[str, list[str]] = {}

    def saved(self) -> tuple[str, dict[str, str], dict[str, list[str]]]:
        """All that a subshell may change without a word."""
        return self.folder, dict(self._variables), dict(self._arrays)

    def restore(self, saved: tuple[str, dict[str, str], dict[str, list[str]]]) -> None:
        """Leave a subshell."""
        self.folder, self._variables, self._arrays = saved

    def go(self, fields: Sequence[str]) -> None:
        """A cd, pushd or popd."""
        to = [f for f in fields[1:] if f not in ("--", "-P", "-L")]
        here = self.folder
        if fields[0] == "popd":
            self.folder = self._pushed.pop() if self._pushed else "/" + unknown("popd")
        else:
            self.folder = self._previous if to == ["-"] else join(here, to[0] if to else unknown("~"))
        if fields[0] == "pushd":
            self._pushed.append(here)
        self._previous = here

    def lost(self, why: str) -> None:
        """From here on the folder is not known."""
        self.folder = "/" + unknown(why)

    def lend(self, word: Word, match: re.Match[str]) -> None:
        """An assignment in front of a command, which lasts as long as that."""
        if self.body is None:
            self._lent.setdefault(match[1], self._variables.get(match[1]))
            self._variables[match[1]] = self._assigned(word, match)

    def end_lending(self) -> None:
        """The command is over."""
        for name, value in self._lent.items():
            if value is None:
                self._variables.pop(name, None)
            else:
                self._variables[name] = value
        self._lent.clear()

    def assign(self, word: Word, match: re.Match[str]) -> None:
        """An assignment; `match` is that of its name."""
        is_array = len(word.parts) == 2 and word.parts[1].kind == "unknown" and word.parts[1].text.startswith("(")
        if is_array and match.end() == len(word.parts[0].text):
            self._assign_array(match[1], word.parts[1].text[1:-1], match[2] == "+=", word.where)
        else:
            self.set(match[1], self._assigned(word, match))

    def _assigned(self, word: Word, match: re.Match[str]) -> str:
        rest = word.parts[0].text[match.end() :]
        text = "".join(self._text(part) for part in (Part("text", rest, True), *word.parts[1:]))
        if rest.startswith("~"):
            text = unknown("~") + text[1:]
        return self._variables.get(match[1], "") + text if match[2] == "+=" else text

    def _assign_array(self, name: str, text: str, more: bool, where: Location) -> None:
        words = [item for item in Lexer(text, where.file, where.line).items() if isinstance(item, Word)]
        fields = [*(self._arrays.get(name, []) if more else []), *(f for word in words for f in self.fields(word))]
        self.set(name, fields[0] if fields else "")
        if not self.doubt and self.body is None and len(fields) <= LONGEST and name in self._variables:
            self._arrays[name] = fields

    def set(self, name: str, text: str) -> None:
        """Give a variable a value."""
        if self.body is not None:
            self.body.add(name)
            return
        self._arrays.pop(name, None)
        if self.doubt or len(text) > LONGEST:
            text = unknown(f"${name}, which {self.doubt} sets," if self.doubt else f"${name}")
        self._variables[name] = text

    def unset(self, name: str) -> None:
        """Take a variable away."""
        if self.doubt or self.body is not None:
            self.set(name, "")
        else:
            self._variables.pop(name, None)
            self._arrays.pop(name, None)

    def environment(self) -> Mapping[str, str]:
        """The variables, as programs may see them."""
        return self._variables

    def fields(self, word: Word) -> Iterator[str]:
        """A word as the shell would pass it on: expanded, split where it is not quoted, globs matched."""
        texts = [part for part in word.parts if part != Part("text", "", True)]
        if len(texts) == 1 and (array := _ARRAY.fullmatch(texts[0].text)) and array[1] in self._arrays:
            yield from self._arrays[array[1]]
            return
        fields, pattern = [""], False
        for number, part in enumerate(word.parts):
            text = self._text(part)
            if part.kind == "text" and not part.quoted:
                text = _BRACES.sub(lambda match: unknown(match[0]), text)
                text = unknown("~") + text[1:] if not number and text.startswith("~") else text
                pattern |= bool(re.search(r"[*?\[]", text))
            if part.kind == "text" or part.quoted or UNKNOWN.search(text):
                fields[-1] += text
            else:
                pieces = text.split()
                fields[-1] += "".join(pieces[:1])
                fields += pieces[1:]
        if fields == [""] and not any(part.kind == "text" for part in word.parts):
            return
        for field in fields:
            matched = sorted(glob.glob(join(self.folder, field))) if pattern else []
            yield from [posixpath.relpath(m, self.folder) for m in matched] or [field]

    def _text(self, part: Part) -> str:
        match part.kind:
            case "text":
                return part.text
            case "variable":
                return self._value(part)
            case "command" if _PWD.fullmatch(part.text):
                return self.folder
            case "command" if self.script and (here := _HERE.fullmatch(part.text)):
                script = self.script if "BASH_SOURCE" in part.text else self._main
                return join(posixpath.dirname(script), (here["rest"] or "").lstrip("/") or ".")
            case "command":
                return unknown(f"$({part.text})")
            case _:
                return unknown(part.text)

    def _value(self, part: Part) -> str:
        name = part.text
        if name == FOLDER:
            return self.folder
        held = self._variables.get(name)
        if part.default is not None and (held is None or (not held and ":" in part.how)):
            held = "".join(self._text(p) for p in part.default)
            if "=" in part.how:
                self.set(name, held)
        return unknown(f"${name}") if held is None else held
