"""`${vars.NAME}` and `${env.NAME}`: put into values once, after parsing, and never into keys."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import replace

from gdcbuild.errors import Problem
from gdcbuild.manifest.validate import did_you_mean
from gdcbuild.manifest.yaml import Node

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_LATER = ("vars", "environments")
"""Sections that are left as they are: values stay as written, and environments are filled when one is chosen."""


def declared(node: Node) -> dict[str, Node]:
    """The variables of a manifest."""
    section = node.get("vars")
    return dict(section.items()) if section else {}


def fill(node: Node, main: Node, variables: Mapping[str, str], problems: list[Problem]) -> Node:
    """The manifest with variables put in: its own before those of the root manifest."""
    known = {**declared(main), **declared(node)}
    value = {k: n if k in _LATER else put_in(n, known, variables, problems) for k, n in node.items()}
    return replace(node, value=value)


def put_in(node: Node, known: Mapping[str, Node], variables: Mapping[str, str], problems: list[Problem]) -> Node:
    """The value with variables put in. One that holds a variable which is not known is marked as refused."""
    if isinstance(node.value, dict):
        return replace(node, value={k: put_in(n, known, variables, problems) for k, n in node.value.items()})
    if isinstance(node.value, list):
        return replace(node, value=[put_in(n, known, variables, problems) for n in node.value])
    if not isinstance(node.value, str) or "${" not in node.value:
        return node
    whole = _VARIABLE.fullmatch(node.value)
    if whole and (found := known.get(whole[1].removeprefix("vars."))) and whole[1].startswith("vars."):
        return replace(node, value=found.value, text=found.text, refused=_is_refused(found))
    refused = node.refused

    def put(match: re.Match[str]) -> str:
        nonlocal refused
        section, _, name = match[1].partition(".")
        if match[1] == "out":
            return match[0]
        if section == "vars" and name in known:
            refused = refused or _is_refused(known[name])
            return known[name].text
        if section == "env" and name in variables and _is_text(variables[name]):
            return variables[name]
        refused = True
        problems.append(_problem(match[1], known, variables)._replace(where=node.where))
        return match[0]

    filled = _VARIABLE.sub(put, node.value)
    return replace(node, value=filled, text=filled, refused=refused)


def _is_refused(variable: Node) -> bool:
    """Whether all has been said of it where it is declared."""
    return variable.refused or isinstance(variable.value, dict | list | None)


def _is_text(value: str) -> bool:
    """False for what came as bytes that are not UTF-8: no path and no command line of ours can have it."""
    return not any("\ud800" <= c <= "\udfff" for c in value)


def _problem(variable: str, known: Mapping[str, Node], variables: Mapping[str, str]) -> Problem:
    if variable.startswith("vars."):
        hint = did_you_mean(variable, [f"vars.{name}" for name in known], "declare it under vars")
        return Problem(f"there is no variable {variable!r}", hint)
    if variable.startswith("env."):
        name = variable.removeprefix("env.")
        wrong = "is not UTF-8" if name in variables else "is not set"
        return Problem(f"the environment variable {name} {wrong}", "set it, or write the value")
    meant = {"out": "out", **{name: f"vars.{name}" for name in known}}
    near = difflib.get_close_matches(variable, meant, 1)
    hint = f"did you mean ${{{meant[near[0]]}}}?" if near else "write ${vars.NAME} or ${env.NAME}"
    return Problem(f"${{{variable}}} is not known", hint)
