"""The recipes of a Makefile in the order in which make runs them: what a target needs comes before it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from gdcbuild.adopt.archiver import join
from gdcbuild.adopt.expand import expand
from gdcbuild.adopt.files import is_file
from gdcbuild.adopt.found import unknown
from gdcbuild.adopt.makefile import Makefile, Rule
from gdcbuild.errors import Location

_LINES = re.compile(r"(?<!\\)\n")
"""Where lines of a variable end that has several."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What make gives to one shell, most often a line; `doubt` says why it may not run."""

    text: str
    where: Location
    doubt: str


def recipes(made: Makefile, folder: str) -> Iterator[Recipe]:
    """All lines: those of the default goal and what it needs, then those of all other targets, by the same order.

    Variables have the values they have at the end of the file.
    """
    yield from _Order(made, folder).all()


class _Order:
    def __init__(self, made: Makefile, folder: str) -> None:
        self._variables = made.variables
        self._folder = folder
        self._rules = [rule for rule in made.rules if not _is_special(rule)]
        special = [rule for rule in made.rules if _is_special(rule) and rule.lines]
        self._special = [replace(rule, needs=[unknown("$<")], doubt=f"the rule {rule.targets[0]}") for rule in special]
        self._one_shell = any(".ONESHELL" in rule.targets for rule in made.rules)
        self._by_target: dict[str, list[Rule]] = {}
        patterns = [rule for rule in self._rules if any("%" in target for target in rule.targets)]
        self._patterns = list({(*rule.targets, "", *rule.needs): rule for rule in patterns}.values())  # make takes the last one
        self._done: set[str] = set()
        self._used: set[int] = set()
        for rule in sorted(self._rules, key=lambda rule: bool(rule.own)):  # a variable of a target makes it no goal
            for target in rule.targets:
                if "%" not in target:
                    self._by_target.setdefault(target, []).append(rule)
        for rule in self._rules:  # a value of one target's own is no value for others, but for those that it needs
            for name in rule.own:
                self._variables = {**self._variables, name: unknown(f"$({name})")}

    def all(self) -> Iterator[Recipe]:
        first = self._variables.get(".DEFAULT_GOAL", "")
        for target in [*([first] if first in self._by_target else []), *self._by_target]:
            yield from self._visit(target)
        for rule in [*self._patterns, *self._special]:
            if id(rule) not in self._used:
                yield from self._lines(rule, unknown("$@"), rule.needs, unknown("$*"))

    def _visit(self, target: str) -> Iterator[Recipe]:
        if target in self._done:
            return
        self._done.add(target)
        rules = self._by_target.get(target, [])
        needs = [need for rule in rules for need in _needs(rule, target)[0]]
        with_recipe = [rule for rule in rules if rule.lines]
        stem = ""
        if not with_recipe and (found := self._by_pattern(target)):
            rule, stem = found
            with_recipe, needs = [rule], [*_filled(rule.needs, stem), *needs]
            self._used.add(id(rule))
        for need in needs:
            if need != "|":
                yield from self._visit(need)
        last = next((rule for rule in reversed(with_recipe) if not rule.doubt), None)  # make takes the last of several
        if any(rule.doubt and rule.needs and rule not in with_recipe for rule in rules):
            needs = [unknown("$<")]
        for rule in [rule for rule in with_recipe if rule.doubt or rule.is_double or rule is last]:
            self._done.update(rule.targets if rule.is_grouped else ())
            yield from self._lines(rule, target, needs, stem or _needs(rule, target)[1])

    def _by_pattern(self, target: str) -> tuple[Rule, str] | None:
        """The pattern rule that makes a target, and the stem. Where none has what it needs, make fails: not reckoned with."""
        ready = [fit for fit in self._fits(target) if self._is_ready(fit, {target})]
        return next(iter(ready or ([] if self._is_file(target) else self._fits(target))), None)

    def _fits(self, target: str) -> list[tuple[Rule, str]]:
        """The pattern rules for a target, the shortest stem first."""
        fits = [(rule, stem) for rule in self._patterns if rule.lines for p in rule.targets if (stem := _stem(p, target))]
        return sorted(fits, key=lambda fit: len(fit[1]))

    def _is_ready(self, fit: tuple[Rule, str], above: set[str]) -> bool:
        """Whether all is there that a rule needs, or is made. `above` is what needs it, which no other pattern makes."""
        needs = [n for n in _filled(fit[0].needs, fit[1]) if not (n == "|" or n in self._by_target or self._is_file(n))]
        return all(n not in above and any(self._is_ready(f, {*above, n}) for f in self._fits(n)) for n in needs)

    def _is_file(self, name: str) -> bool:
        return is_file(join(self._folder, name))

    def _lines(self, rule: Rule, target: str, needs: list[str], stem: str) -> Iterator[Recipe]:
        own = {name: value for r in self._by_target.get(target, []) for name, value in r.own.items()}
        variables = {**self._variables, **own, **_automatic(target, needs, stem)}
        recipes = [
            Recipe(line, where, doubt or rule.doubt)
            for text, where, doubt in rule.lines
            for line in _LINES.split(expand(text, variables))
        ]
        if not self._one_shell:
            yield from recipes
        elif recipes:  # one text, with its lines where they stand
            first, text = recipes[0].where.line, ""
            for recipe in recipes:
                text += "\n" * max(recipe.where.line - first - text.count("\n"), bool(text)) + recipe.text
            yield Recipe(text, recipes[0].where, recipes[0].doubt)


def _is_special(rule: Rule) -> bool:
    return bool(rule.targets) and all(target.startswith(".") and "/" not in target for target in rule.targets)


def _needs(rule: Rule, target: str) -> tuple[list[str], str]:
    """What a rule wants for a target, and the stem that a static pattern finds in it."""
    stem = _stem(rule.pattern, target) if rule.pattern else ""
    return (_filled(rule.needs, stem) if rule.pattern else rule.needs), stem


def _stem(pattern: str, target: str) -> str:
    before, _, after = pattern.partition("%")
    fits = target.startswith(before) and target.endswith(after) and len(target) > len(before) + len(after)
    return target[len(before) : len(target) - len(after)] if fits else ""


def _filled(needs: list[str], stem: str) -> list[str]:
    return [need.replace("%", stem, 1) for need in needs]


def _automatic(target: str, needs: list[str], stem: str) -> dict[str, str]:
    """$@, $<, $^ and such, with their folders and names."""
    wanted = needs[: needs.index("|")] if "|" in needs else needs
    unlike = list(dict.fromkeys(wanted))
    found = {"@": target, "<": "".join(wanted[:1]), "^": " ".join(unlike), "+": " ".join(wanted)}
    found |= {"*": stem or unknown("$*"), "?": unknown("$?")}
    for name in ("@", "<", "*"):
        path = found[name]
        found[f"{name}D"] = (posixpath.dirname(path) or ".") if path else ""
        found[f"{name}F"] = posixpath.basename(path)
    return found
