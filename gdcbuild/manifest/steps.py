"""What a step declares that can be judged by itself: its outputs, and the variables it may see."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gdcbuild.errors import Location, ManifestError, Problem, raise_all
from gdcbuild.manifest.inputs import clean_reference, folders_of
from gdcbuild.manifest.model import Step
from gdcbuild.manifest.yaml import Node

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def declared(step: Step, node: Node) -> tuple[str, ...]:
    """The outputs, as clean paths. Raises every mistake in them and in `env`, each at its item."""
    problems: list[Problem] = []
    given: dict[str, Location] = {}
    for text, where in _items(step.outputs, node, "outputs"):
        try:
            path = clean_reference(text, where)
        except ManifestError as error:
            problems += error.problems
            continue
        if not path:
            problems.append(Problem(f"the output {text!r} is the folder of all outputs", "name what is made in it", where))
            continue
        given[path] = where
    for path, where in given.items():
        for above in folders_of(path):
            if above in given:
                message = f"the outputs {above!r} and {path!r} are a file and a folder of one name"
                problems.append(Problem(message, "rename one of them", where))
    for name, where in _items(step.env, node, "env"):
        if not _VARIABLE.fullmatch(name):
            problems.append(Problem(f"{name!r} is no name of a variable", "use letters, digits and _", where))
    raise_all(ManifestError, problems)
    return tuple(given)


def _items(values: list[str], node: Node, key: str) -> Iterator[tuple[str, Location]]:
    found = node.get(key)
    places = found.value if found is not None and isinstance(found.value, list) else []
    for value, place in zip(values, places, strict=False):
        yield value, place.where
