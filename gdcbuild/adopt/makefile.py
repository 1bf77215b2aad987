"""Recipes of a Makefile as shell text, variables of make put in."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from gdcbuild.adopt.found import unknown

_ASSIGNMENT = re.compile(
    r"\s*(?:export\s+|override\s+)*(?P<name>[\w.-]+)\s*(?P<how>::?=|\?=|\+=|!=|=)\s*(?P<value>.*)\Z", re.DOTALL
)
_RULE = re.compile(r"(?P<targets>[^\s:=#][^:=#]*?)\s*::?(?!=)\s*(?P<needs>[^;#=]*?)\s*(?:;(?P<recipe>.*))?\Z", re.DOTALL)
_REFERENCE = re.compile(r"\$(?:\$|\((?P<round>[^()]*(?:\([^()]*\)[^()]*)*)\)|\{(?P<curly>[^{}]*)\}|(?P<one>.))", re.DOTALL)
_CONDITION = re.compile(r"\s*(ifeq|ifneq|ifdef|ifndef)\b")
MOST = 10_000
"""References that are followed for one text: recursive variables may never end."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One line of a recipe, which make gives to a shell of its own."""

    text: str
    line: int


def looks_like(text: str) -> bool:
    """Whether a text without a name is a Makefile: a rule with a recipe below it."""
    return re.search(r"^[\w./%$(){}-][^\n=]*:(?!=)[^\n=]*\n(?:[^\S\n]*\n)*\t\S", text, re.MULTILINE) is not None


def recipes(text: str) -> Iterator[Recipe]:
    """Every line of every recipe, in order. Variables have the value they have at the end of the file."""
    lines = list(_logical(text))
    variables = _variables(lines)
    automatic: dict[str, str] = {}
    for line, number in lines:
        if line.startswith("\t"):
            yield Recipe(_expand(line[1:].lstrip().lstrip("@-+ "), {**variables, **automatic}), number)
        elif not _ASSIGNMENT.match(line) and (rule := _RULE.match(line)):
            automatic = _automatic(_expand(rule["targets"], variables), _expand(rule["needs"], variables))
            if rule["recipe"]:
                yield Recipe(_expand(rule["recipe"].strip().lstrip("@-+ "), {**variables, **automatic}), number)


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


def _variables(lines: list[tuple[str, int]]) -> dict[str, str]:
    found: dict[str, str] = {}
    depth = 0
    for line, _ in lines:
        if line.startswith("\t"):
            continue
        depth += bool(_CONDITION.match(line)) - (line.strip() == "endif")
        match = _ASSIGNMENT.match(line)
        if match is None:
            continue
        name, value = match["name"], re.sub(r"\s*(?<!\\)#.*", "", match["value"])
        if depth > 0 or match["how"] == "!=":
            found[name] = unknown(f"$({name})")
        elif match["how"] == "+=":
            found[name] = f"{found.get(name, '')} {value}".strip()
        elif match["how"] == ":=" or match["how"] == "::=":
            found[name] = _expand(value, found)
        elif match["how"] != "?=" or name not in found:
            found[name] = value
    return found


def _automatic(targets: str, needs: str) -> dict[str, str]:
    """$@, $< and $^ of a rule, their folders and names; of a pattern they are another for each file."""
    if "%" in targets or len(targets.split()) != 1:
        return {name: unknown(f"${name}") for name in ("@", "<", "^", "*", "?", "@D", "@F", "<D", "<F")}
    wanted = needs.partition("|")[0].split()
    first = "".join(wanted[:1])
    found = {"@": targets, "<": first, "^": " ".join(wanted), "*": unknown("$*"), "?": unknown("$?")}
    for name, path in (("@", targets), ("<", first)):
        found[f"{name}D"] = (posixpath.dirname(path) or ".") if path else ""
        found[f"{name}F"] = posixpath.basename(path)
    return found


def _expand(text: str, variables: dict[str, str]) -> str:
    """References replaced by values; $$ by $, which is the shell's. What refers to itself is not known."""
    left = MOST

    def expand(text: str, active: tuple[str, ...]) -> str:
        def one(match: re.Match[str]) -> str:
            nonlocal left
            left -= 1
            if match[0] == "$$":
                return "$"
            name = match["round"] or match["curly"] or match["one"] or ""
            if not re.fullmatch(r"[\w.@<^*?-]+", name) or name in active or left < 0:
                return unknown(match[0])
            if name in variables:
                return expand(variables[name], (*active, name))
            return unknown(f"${name}")  # from the environment, or nothing

        return _REFERENCE.sub(one, text)

    return expand(text, ())
