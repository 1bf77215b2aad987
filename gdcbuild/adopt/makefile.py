"""A Makefile: its variables and rules, with what it includes and which of its conditionals hold, as far as that is known."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from gdcbuild.adopt.archiver import join
from gdcbuild.adopt.commands import matters
from gdcbuild.adopt.expand import expand, words
from gdcbuild.adopt.files import text_of
from gdcbuild.adopt.found import UNKNOWN, Found, shown, unknown
from gdcbuild.errors import Location

_VARIABLE = r"\s*(?:export\s+|override\s+|private\s+)*(?P<name>[\w.-]+)\s*(?P<how>:{0,3}=|\?=|\+=|!=)[^\S\n]*(?P<value>.*)\Z"
_ASSIGNMENT = re.compile(_VARIABLE, re.DOTALL)
_DEFINE = re.compile(r"\s*(?:override\s+|export\s+)*define\s+(?P<name>[\w.-]+)\s*(?P<how>:{0,2}=|\?=|\+=)?\s*\Z")
_UNDEFINE = re.compile(r"\s*(?:override\s+)?undefine\s+(?P<name>[\w.-]+)\s*\Z")
_CONDITION = re.compile(r"\s*(?P<word>ifeq|ifneq|ifdef|ifndef)\b\s*(?P<what>.*)\Z", re.DOTALL)
_ELSE = re.compile(r"\s*else\b(?P<condition>.*)\Z", re.DOTALL)
_INCLUDE = re.compile(r"\s*(?P<word>-include|sinclude|include)\s+(?P<files>.*)\Z", re.DOTALL)
_SIDES = re.compile(
    r"""\((?P<a>.*?),(?P<b>.*)\)\s*\Z|(?P<q>['"])(?P<c>.*?)(?P=q)\s*(?P<r>['"])(?P<d>.*?)(?P=r)\s*\Z""", re.DOTALL
)
_AT_ONCE = (":=", "::=")
"""What gives a variable a value that is expanded once, and so is what is added to it."""

DEEPEST = 50
"""Files that include each other."""


@dataclass(slots=True)
class Rule:
    """Targets, what they need, and the lines of the recipe, each where it stands. `own` are variables of the targets alone.

    `doubt` says why it may not be a rule at all. `pattern` is that of a static pattern rule. `::` makes a
    double rule, and `&:` a grouped one, which makes all its targets at once.
    """

    targets: list[str]
    needs: list[str]
    doubt: str
    pattern: str = ""
    lines: list[tuple[str, Location, str]] = field(default_factory=list)
    own: dict[str, str] = field(default_factory=dict)
    is_double: bool = False
    is_grouped: bool = False


@dataclass(slots=True)
class _Condition:
    """An open conditional. `holds` is None when that is not known; `held` when an earlier branch of it did, or may have."""

    holds: bool | None
    held: bool | None
    word: str


def looks_like(text: str) -> bool:
    """Whether a text without a name is a Makefile: a rule with a recipe below it."""
    return re.search(r"^[\w./%$(){}-][^\n=]*:(?!=)[^\n=]*\n(?:[^\S\n]*\n)*\t\S", text, re.MULTILINE) is not None


class Makefile:
    """Reads a Makefile; `folder` is where make runs. What is not followed goes to the problems of `found`."""

    def __init__(self, found: Found, folder: str) -> None:
        self.rules: list[Rule] = []
        self.variables: dict[str, str] = {"MAKE": "make", "CURDIR": folder}
        self._simple = frozenset[str]()
        self._found = found
        self._folder = folder
        self._rule: Rule | None = None
        self._conditions: list[_Condition] = []
        self._defined: tuple[str, str, list[str]] | None = None
        self._reading: list[str] = []

    def read(self, text: str, file: str) -> None:
        """Read a text, whose name is for messages."""
        where = Location(file)
        for line, number in _logical(text):
            where = Location(file, number, 1)
            self._line(line, where)
        if self._defined:
            self._found.refuse(where, f"the text ends within define {self._defined[0]}", "complete it: the rest is not read")
            self._defined = None

    def _line(self, line: str, where: Location) -> None:
        if self._defined is not None:
            self._define(line)
            return
        is_recipe = line.startswith("\t") and self._rule is not None
        if (not is_recipe and self._conditional(line)) or any(c.holds is False for c in self._conditions):
            return
        if self._rule and is_recipe:
            self._rule.lines.append((line[1:].lstrip().lstrip("@-+ "), where, self._doubt()))
        elif match := _UNDEFINE.match(line):
            self._set(match["name"], "=", unknown(f"$({match['name']})"))
        elif match := _DEFINE.match(line):
            self._defined = (match["name"], match["how"] or "=", [])
        elif match := _INCLUDE.match(line):
            self._include(match["files"], match["word"] == "include", where)
        elif match := _ASSIGNMENT.match(line):
            self._assign(match, where)
        elif line.strip() and not line.lstrip().startswith("#"):
            self._add_rule(line, where)

    def _define(self, line: str) -> None:
        assert self._defined is not None
        name, how, lines = self._defined
        if line.strip() == "endef":
            self._defined = None
            if not any(c.holds is False for c in self._conditions):
                self._set(name, how, "\n".join(text.lstrip("\t").lstrip("@-+ ") for text in lines))
        else:
            lines.append(line)

    def _doubt(self) -> str:
        return next((f"an {c.word} that only a run would decide" for c in self._conditions if c.holds is None), "")

    def _conditional(self, line: str) -> bool:
        if match := _CONDITION.match(line):
            holds = self._decided(match["word"], match["what"])
            self._conditions.append(_Condition(holds, holds, match["word"]))
        elif self._conditions and (match := _ELSE.match(line)):
            condition = self._conditions[-1]
            further = _CONDITION.match(match["condition"])
            holds = self._decided(further["word"], further["what"]) if further else True
            if condition.held is None:
                holds = False if holds is False else None
            elif condition.held:
                holds = False
            condition.holds = holds
            condition.held = True if condition.held or holds else None if condition.held is None or holds is None else False
        elif self._conditions and re.match(r"\s*endif\b", line):
            self._conditions.pop()
        else:
            return False
        return True

    def _decided(self, word: str, what: str) -> bool | None:
        """Whether a condition holds; None when that depends on what only a run would tell."""
        what = re.sub(r"\s+#.*", "", what).strip()
        if word in ("ifdef", "ifndef"):
            value = self.variables.get(expand(what, self.variables))
            return None if value is None or UNKNOWN.search(value) else (value != "") == (word == "ifdef")
        sides = _SIDES.match(what)
        if sides is None:
            return None
        first, second = sides["a"] if sides["q"] is None else sides["c"], sides["b"] if sides["q"] is None else sides["d"]
        left, right = expand(first.strip(), self.variables), expand(second.strip(), self.variables)
        return None if UNKNOWN.search(left + right) else (left == right) == (word == "ifeq")

    def _include(self, files: str, needed: bool, where: Location) -> None:
        for name in words(expand(re.sub(r"\s#.*", "", files), self.variables)):
            path = join(self._folder, name)
            for place in sorted(glob.glob(path)) or [path]:
                text = text_of(place)
                if text is not None and place not in self._reading and len(self._reading) < DEEPEST:
                    self._reading.append(place)
                    self.read(text, place.removeprefix(f"{self._folder}/"))
                    self._reading.pop()
                elif text is None and (needed or UNKNOWN.search(name)):
                    what = "is not known" if UNKNOWN.search(name) else "is not there"
                    message = f"the Makefile that is included, {shown(name)}, {what}: it is not read"
                    self._found.refuse(where, message, "run import where it is, or add what it packs by hand")

    def _assign(self, match: re.Match[str], where: Location) -> None:
        value = re.sub(r"\s*(?<!\\)#.*", "", match["value"])
        if what := matters(value) if "$(shell" in value or match["how"] == "!=" else "":
            self._found.refuse(where, f"{what} in the value of {match['name']} is not understood", "run it in a recipe")
        if match["name"] == ".RECIPEPREFIX":
            self._found.refuse(where, "recipes with another prefix than a tab are not read", "use tabs, in a copy")
        self._set(match["name"], match["how"], value)

    def _set(self, name: str, how: str, value: str) -> None:
        known = self.variables
        if self._doubt() or how == "!=":
            known[name] = unknown(f"$({name})")
        elif how == "+=":
            value = expand(value, known) if name in self._simple else value
            known[name] = f"{known.get(name, '')} {value}".strip()
        elif how != "?=" or name not in known:
            known[name] = expand(value, known) if how in _AT_ONCE else value
            self._simple = self._simple | {name} if how in _AT_ONCE else self._simple - {name}

    def _add_rule(self, line: str, where: Location) -> None:
        parts = _split(line, ":")
        if parts is None:
            self._other(line, where)
            return
        targets, rest = parts
        double, grouped = rest.startswith(":"), targets.endswith("&")
        rest = rest.removeprefix(":")
        names = words(expand(targets.removesuffix("&"), self.variables))
        if match := _ASSIGNMENT.match(rest):
            own = expand(match["value"], self.variables) if match["how"].startswith(":") else match["value"]
            known = self.variables.get(match["name"], "")
            own = f"{known} {own}" if match["how"] == "+=" else known if match["how"] == "?=" and known else own
            self.rules.append(Rule(names, [], self._doubt(), own={match["name"]: own}))
            return
        needs, recipe = _split(rest, ";") or (rest, "")
        needs = re.sub(r"(^|\s)#.*", "", needs)
        pattern, needs = _split(needs, ":") or ("", needs)
        wanted = words(expand(needs, self.variables))
        self._rule = Rule(names, wanted, self._doubt(), pattern.strip(), is_double=double, is_grouped=grouped)
        if recipe.strip():
            self._rule.lines.append((recipe.strip().lstrip("@-+ "), where, self._doubt()))
        self.rules.append(self._rule)

    def _other(self, line: str, where: Location) -> None:
        """A line of its own is a call of a function, most often an eval, whose rules are not read."""
        known = (value for name, value in self.variables.items() if re.search(rf"\b{re.escape(name)}\b", line))
        if what := next(filter(None, map(matters, [expand(line, self.variables), *known])), ""):
            self._found.refuse(where, f"{what} in {line.strip()} is not understood", "write the rules out, in a copy")


def _logical(text: str) -> Iterator[tuple[str, int]]:
    """Lines with their continuations; in a recipe these stay, since the shell reads them."""
    held, start = "", 0
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        start = start if held else number
        held += line.removeprefix("\t") if held.startswith("\t") else line
        if held.endswith("\\") and not held.endswith("\\\\"):
            held = f"{held}\n" if held.startswith("\t") else f"{held[:-1]} "
            continue
        yield held, start
        held = ""
    if held:
        yield held, start


def _split(text: str, mark: str) -> tuple[str, str] | None:
    """What stands before and after a mark that no bracket encloses; None without one."""
    depth = 0
    for place, c in enumerate(text):
        depth += (c in "({") - (c in ")}")
        if c == mark and not depth:
            return text[:place], text[place + 1 :]
    return None
