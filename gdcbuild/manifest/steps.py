"""Checks a step's outputs and the names of its variables."""

from __future__ import annotations

import re

from gdcbuild.errors import Location, ManifestError, Problem, raise_all
from gdcbuild.manifest.inputs import clean_reference, folders_of, listed
from gdcbuild.manifest.model import Step
from gdcbuild.manifest.yaml import Node

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def declared(step: Step, node: Node) -> tuple[str, ...]:
    """The outputs as normalised paths. Raises ManifestError with every mistake in them and in `env`, each at its item."""
    problems: list[Problem] = []
    given: dict[str, Location] = {}
    for text, item in listed(step.outputs, node.get("outputs")):
        where = item.where
        try:
            path = clean_reference(text, where)
        except ManifestError as error:
            problems += error.problems
            continue
        if not path:
            problems.append(Problem(f"the output {text!r} is the output folder itself", "name the files in it", where))
            continue
        given[path] = where
    for path, where in given.items():
        above = next((folder for folder in folders_of(path) if folder in given), None)
        if above is not None:
            message = f"the outputs {above!r} and {path!r} are a file and a folder of the same name"
            problems.append(Problem(message, "rename one of them", where))
    for name, item in listed(step.env, node.get("env")):
        if not _VARIABLE.fullmatch(name):
            problems.append(Problem(f"{name!r} is not a valid variable name", "use letters, digits and _", item.where))
    raise_all(ManifestError, problems)
    return tuple(given)
