"""Replaces `${vars.NAME}` and `${env.NAME}` in values, once, after parsing; never in keys."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import replace

from gdcbuild.errors import Problem
from gdcbuild.manifest.validate import GUESSES, did_you_mean, quoted
from gdcbuild.manifest.yaml import Node

_VARIABLE = re.compile(r"\$\{([^}]*)(\}?)")
_LATER = ("vars", "environments")
"""Sections that are left as they are: `vars` cannot contain variables, and environments are resolved when chosen."""


def declared(node: Node) -> dict[str, Node]:
    """The variables of a manifest. Invalid ones are marked as refused."""
    section = node.get("vars")
    return {name: replace(n, refused=_is_refused(n)) for name, n in section.items()} if section else {}


def fill(node: Node, main: Node, variables: Mapping[str, str], problems: list[Problem]) -> Node:
    """The manifest with variables resolved: its own first, then those of the root manifest."""
    known = {**declared(main), **declared(node)}
    value = {k: n if k in _LATER else put_in(n, known, variables, problems, (k,)) for k, n in node.items()}
    section = node.get("vars")
    for _, variable in section.items() if section else ():
        if _holds_variable(variable):
            message = f"{quoted(variable.text)}: values under `vars` cannot contain variables"
            problems.append(Problem(message, "write the value itself", variable.where))
    return replace(node, value=value)


def put_in(
    node: Node, known: Mapping[str, Node], variables: Mapping[str, str], problems: list[Problem], path: tuple[str, ...] = ()
) -> Node:
    """The value with variables resolved. A value with an unknown variable is marked as refused."""
    if isinstance(node.value, dict):
        value = {k: put_in(n, known, variables, problems, (*path, k)) for k, n in node.value.items()}
        return replace(node, value=value)
    if isinstance(node.value, list):
        return replace(node, value=[put_in(n, known, variables, problems, path) for n in node.value])
    if not _holds_variable(node):
        return node
    whole = _VARIABLE.fullmatch(node.text)
    if whole and (found := known.get(whole[1].removeprefix("vars."))) and whole[1].startswith("vars.") and whole[2]:
        return replace(node, value=found.value, text=found.text, refused=found.refused)
    refused = node.refused

    def put(match: re.Match[str]) -> str:
        nonlocal refused
        section, _, name = match[1].partition(".")
        if not match[2]:
            refused = True
            problems.append(Problem(f"{quoted(match[0])} has no closing }}", "close the variable with }", node.where))
            return match[0]
        if match[1] == "out" and path[:1] == ("steps",) and path[2:] == ("run",):
            return match[0]
        if section == "vars" and name in known:
            refused = refused or known[name].refused
            return known[name].text
        if section == "env" and name in variables and _is_text(variables[name]):
            return variables[name]
        refused = True
        problems.append(_problem(match[1], known if len(problems) < GUESSES else {}, variables)._replace(where=node.where))
        return match[0]

    filled = _VARIABLE.sub(put, node.text)
    return replace(node, value=filled, text=filled, refused=refused)


def _is_refused(variable: Node) -> bool:
    """Whether the variable is invalid, which is reported where it is declared."""
    return variable.refused or isinstance(variable.value, dict | list | None) or _holds_variable(variable)


def _holds_variable(node: Node) -> bool:
    return isinstance(node.value, str) and "${" in node.value


def _is_text(value: str) -> bool:
    """False for bytes that are not UTF-8, which paths and commands cannot contain."""
    return not any("\ud800" <= c <= "\udfff" for c in value)


def _problem(variable: str, known: Mapping[str, Node], variables: Mapping[str, str]) -> Problem:
    if variable.startswith("vars."):
        hint = did_you_mean(variable, [f"vars.{name}" for name in known], "declare it under vars")
        return Problem(f"unknown variable {variable!r}", hint)
    if variable.startswith("env."):
        name = variable.removeprefix("env.")
        wrong = "is not UTF-8" if name in variables else "is not set"
        return Problem(f"the environment variable {name} {wrong}", "set it, or write the value")
    if variable == "out":
        return Problem(
            "${out} is available only in a step's `run`", "remove it; elsewhere, write {step: NAME, path: FILE} for an output"
        )
    meant = {"out": "out", **{name: f"vars.{name}" for name in known}}
    near = difflib.get_close_matches(variable, meant, 1)
    hint = (
        f"did you mean ${{{meant[near[0]]}}}?"
        if near
        else "write ${vars.NAME} or ${env.NAME}; $NAME without braces is left to the shell"
    )
    return Problem(f"unknown variable ${{{variable}}}", hint)
