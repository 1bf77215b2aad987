"""Reads a workspace: the root manifest and all it includes, with variables put in and every mistake collected."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gdcbuild.errors import Location, ManifestError, Problem, UsageError, raise_all
from gdcbuild.manifest import environments
from gdcbuild.manifest.model import Environment, Manifest
from gdcbuild.manifest.paths import Paths
from gdcbuild.manifest.validate import Fault, did_you_mean, validate
from gdcbuild.manifest.validate import problems as said
from gdcbuild.manifest.yaml import Node, parse

_VARIABLE = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True, slots=True)
class File:
    """One manifest: its path and folder below the root, its nodes with variables put in, its validated form."""

    path: str
    folder: str
    node: Node
    manifest: Manifest


@dataclass(frozen=True)
class Loaded:
    """All manifests of a workspace, the root's first.

    `problems` is what is wrong with them; what it is about has been taken out, so that the rest can be looked at in the
    same run. `broken` names it, (section, name): nothing more need be said of those. `included` are the paths of all
    included manifests, those that were left out among them.
    """

    root: Path
    files: tuple[File, ...]
    paths: Paths
    variables: Mapping[str, str]
    problems: tuple[Problem, ...]
    broken: frozenset[tuple[str, str]]
    included: frozenset[str]
    looked: frozenset[str]

    @property
    def main(self) -> File:
        return self.files[0]

    def environment(self, name: str | None) -> tuple[str, Environment]:
        """The environment of that name, or the default one. Its variables are only wanted now."""
        manifest = self.main.manifest
        known = manifest.environments
        chosen = name or manifest.default_environment
        if chosen is None:
            if len(known) != 1:
                raise UsageError(
                    Problem("no environment is chosen", f"give --env NAME; {did_you_mean('', known, 'none is declared')}")
                )
            chosen = next(iter(known))
        if chosen not in known:
            error = UsageError if name else ManifestError
            where = None if name else self.main.node.key("default_environment")
            raise error(
                Problem(f"there is no environment {chosen!r}", did_you_mean(chosen, known, "declare environments"), where)
            )
        section = self.main.node.get("environments")
        node = section.get(chosen) if section else None
        assert node is not None
        problems: list[Problem] = []
        filled = _substitute(node, _variables(self.main.node), self.variables, problems)
        found = validate(Environment, filled)
        if isinstance(found, list):
            problems += said(found)
        problems += environments.problems(filled)
        raise_all(ManifestError, problems)
        assert isinstance(found, Environment)
        return chosen, found


def load(manifest: Path, variables: Mapping[str, str], without: Collection[str] = ()) -> Loaded:
    """Read and validate a whole workspace, collecting every mistake in every file.

    Included manifests in `without` (paths below the root) are left out, for whoever knows that they need not be read.
    Raises ManifestError only when the root manifest is beyond use.
    """
    root = manifest.parent
    paths = Paths(root)
    shown = os.path.relpath(root, Path.cwd())
    problems: list[Problem] = []
    files: list[File] = []
    broken: set[tuple[str, str]] = set()
    main_node: Node | None = None
    waiting: list[tuple[str, Location | None]] = [(manifest.name, None)]
    seen = {manifest.name, *without}
    looked: set[str] = set()
    while waiting:
        path, asked = waiting.pop(0)
        display = posixpath.normpath(posixpath.join(shown, path))
        try:
            data = (root / path).read_bytes()
        except OSError as error:
            problems.append(Problem(f"{display} cannot be read: {error.strerror}", "", asked or Location(display)))
            continue
        node, found = parse(data, display)
        problems += found
        if node is None:
            continue
        if main_node is None:
            main_node = node
        if not isinstance(node.value, dict):
            problems.append(Problem("a manifest is a mapping", "begin with `schema: 1`", node.where))
            continue
        node = _filled(node, main_node, variables, problems)
        folder = posixpath.dirname(path)
        checked = validate(Manifest, node)
        if isinstance(checked, list):
            problems += said(checked)
            node = _without_faults(node, checked, broken)
            checked = validate(Manifest, node)
        if isinstance(checked, list):
            raise_all(ManifestError, problems)
            continue
        files.append(File(path, folder, node, checked))
        if len(files) > 1:
            problems += _root_only(node)
        section = node.get("environments")
        for _, environment in section.items() if section else ():
            problems += environments.problems(environment)
        for pattern, where in _includes(node):
            try:
                with paths.watched() as seen_here:
                    names = paths.expand(folder, pattern, where)
                looked |= seen_here - set(names)
                for name in names:
                    if name not in seen:
                        seen.add(name)
                        waiting.append((name, where))
            except ManifestError as error:
                problems += error.problems
    if not files:
        raise_all(ManifestError, problems)
    included = frozenset(seen - {manifest.name})
    return Loaded(root, tuple(files), paths, variables, tuple(problems), frozenset(broken), included, frozenset(looked))


def _without_faults(node: Node, faults: list[Fault], broken: set[tuple[str, str]]) -> Node:
    """The manifest without what is wrong in it: the version it is in, the key that should not be there, or the entry."""
    result = node
    for fault in faults:
        path = [str(step) for step in fault.path]
        if path[:1] == ["models"] and path[2:3] == ["versions"] and len(path) > 4:
            cut = path[:4]
            broken.add(("versions", f"{path[1]}@{path[3]}"))
        elif fault.extra:
            cut = path
        else:
            cut = path[:2]
            broken.add((path[0], path[1]) if len(path) > 1 else (path[0], ""))
        result = _removed(result, cut)
    if result.get("schema") is None:
        value = {**dict(result.items()), "schema": Node(1, node.where)}
        result = replace(result, value=value)
    return result


def _removed(node: Node, path: list[str]) -> Node:
    """A copy without the node at a path. Steps that lead nowhere, a union's branch for one, are passed over."""
    if not path:
        return node
    step, rest = path[0], path[1:]
    if isinstance(node.value, list) and step.isdigit() and int(step) < len(node.value):
        items = [_removed(child, rest) if i == int(step) else child for i, child in enumerate(node.value)]
        return replace(node, value=items)
    if not isinstance(node.value, dict) or step not in node.value:
        return _removed(node, rest)
    if not rest:
        return replace(node, value={k: n for k, n in node.items() if k != step})
    return replace(node, value={k: _removed(n, rest) if k == step else n for k, n in node.items()})


def _includes(node: Node) -> Iterator[tuple[str, Location]]:
    include = node.get("include")
    for item in include.value if include and isinstance(include.value, list) else ():
        if isinstance(item.value, str):
            yield item.value, item.where


def _root_only(node: Node) -> list[Problem]:
    return [
        Problem(f"{key} stands in an included manifest", "move it to the root manifest", node.key(key))
        for key in ("environments", "default_environment", "policy", "pools")
        if node.get(key)
    ]


def _variables(node: Node) -> dict[str, Node]:
    section = node.get("vars")
    return dict(section.items()) if section else {}


def _filled(node: Node, main: Node, variables: Mapping[str, str], problems: list[Problem]) -> Node:
    """The node with ${vars.X} and ${env.X} put in. Environments are filled when one is chosen, not before."""
    known = {**_variables(main), **_variables(node)}
    value = {
        key: child if key in ("vars", "environments") else _substitute(child, known, variables, problems)
        for key, child in node.items()
    }
    return replace(node, value=value)


def _substitute(node: Node, known: Mapping[str, Node], variables: Mapping[str, str], problems: list[Problem]) -> Node:
    if isinstance(node.value, dict):
        return replace(node, value={k: _substitute(n, known, variables, problems) for k, n in node.items()})
    if isinstance(node.value, list):
        return replace(node, value=[_substitute(n, known, variables, problems) for n in node.value])
    if not isinstance(node.value, str) or "${" not in node.value:
        return node
    whole = _VARIABLE.fullmatch(node.value)
    if whole and whole[1].startswith("vars."):
        found = known.get(whole[1].removeprefix("vars."))
        if found is not None:
            return replace(node, value=found.value, text=found.text)

    def put(match: re.Match[str]) -> str:
        name = match[1]
        if name == "out":
            return match[0]
        if name.startswith("vars."):
            found = known.get(name.removeprefix("vars."))
            if found is not None:
                return found.text
            hint = did_you_mean(name, [f"vars.{k}" for k in known], "declare it under vars")
            problems.append(Problem(f"there is no variable {name!r}", hint, node.where))
        elif name.startswith("env."):
            if name.removeprefix("env.") in variables:
                return variables[name.removeprefix("env.")]
            problems.append(
                Problem(
                    f"the environment variable {name.removeprefix('env.')} is not set", "set it, or write the value", node.where
                )
            )
        else:
            problems.append(Problem(f"${{{name}}} is not known", "write ${vars.NAME} or ${env.NAME}", node.where))
        return ""

    filled = _VARIABLE.sub(put, node.value)
    return replace(node, value=filled, text=filled)
