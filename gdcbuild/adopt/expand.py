"""References of make replaced by values. Functions of make are not followed, but for `call` and `foreach`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gdcbuild.adopt.found import UNKNOWN, unknown

MOST = 10_000
"""References that are followed for one text: recursive variables may never end."""

_CLOSING = {"(": ")", "{": "}"}
_FUNCTION = re.compile(r"(?P<name>[a-z-]+)\s+(?P<rest>.*)", re.DOTALL)
_NEXT = re.compile(rf"\$|{UNKNOWN.pattern}", re.DOTALL)
_NAME = re.compile(r"[\w.@<^*?+-]+")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """A text with its references replaced; $$ is $, which is the shell's. What refers to itself is not known."""
    return _Expansion().text(text, variables, ())


def words(text: str) -> list[str]:
    """Words of a text; what is unknown is not cut."""
    return re.findall(r"(?:\ue000.*?\ue001|\S)+", text, re.DOTALL)


class _Expansion:
    def __init__(self) -> None:
        self._left = MOST

    def text(self, text: str, variables: Mapping[str, str], active: tuple[str, ...]) -> str:
        made, at = list[str](), 0
        while found := _NEXT.search(text, at):
            end = _end(text, found.start()) if found[0] == "$" else found.end()
            whole = text[found.start() : end]
            made += [text[at : found.start()], self._one(whole, variables, active) if found[0] == "$" else whole]
            at = end
        return "".join([*made, text[at:]])

    def _one(self, whole: str, variables: Mapping[str, str], active: tuple[str, ...]) -> str:
        self._left -= 1
        if whole in ("$$", "$"):
            return "$"
        name = whole[2:-1] if whole[1] in _CLOSING else whole[1:]
        if function := _FUNCTION.fullmatch(name):
            return self._function(function["name"], function["rest"], whole, variables, active)
        if not _NAME.fullmatch(name) or name in active or self._left < 0:
            return unknown(whole)
        if name in variables:
            return self.text(variables[name], variables, (*active, name))
        return unknown(f"${name}")  # from the environment, or nothing

    def _function(self, name: str, rest: str, whole: str, variables: Mapping[str, str], active: tuple[str, ...]) -> str:
        arguments = list(_arguments(rest))
        if self._left < 0:
            return unknown(whole)
        if name == "call" and arguments[0] in variables and arguments[0] not in active:
            given = [self.text(argument.strip(), variables, active) for argument in arguments[1:]]
            scope = {**variables, **{str(n): value for n, value in enumerate([*given, *[""] * (9 - len(given))], 1)}}
            return self.text(variables[arguments[0]], scope, (*active, arguments[0]))
        if name == "foreach" and len(arguments) == 3:
            listed, variable = self.text(arguments[1], variables, active), arguments[0].strip()
            if not UNKNOWN.search(listed):
                return " ".join(self.text(arguments[2], {**variables, variable: word}, active) for word in listed.split())
        inner = self.text(rest, variables, active)  # so that commands within are seen
        return unknown(f"$({name} {inner})")


def _end(text: str, at: int) -> int:
    """Where a reference ends that begins with the $ there."""
    opening = text[at + 1 : at + 2]
    if opening not in _CLOSING:
        return at + 1 + len(opening)
    depth = 0
    for place in range(at + 1, len(text)):
        depth += (text[place] == opening) - (text[place] == _CLOSING[opening])
        if not depth:
            return place + 1
    return len(text)


def _arguments(text: str) -> Iterator[str]:
    """Parts between commas that no bracket encloses."""
    start = depth = 0
    for place, c in enumerate(text):
        depth += (c in "({") - (c in ")}")
        if c == "," and not depth:
            yield text[start:place]
            start = place + 1
    yield text[start:]
