"""Reads a workspace: the root manifest and everything it includes, with variables resolved and every mistake collected."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gdcbuild.core.ports import Framework
from gdcbuild.errors import Location, ManifestError, Problem, UsageError, raise_all
from gdcbuild.manifest import environments
from gdcbuild.manifest.keys import Keys, keys_of
from gdcbuild.manifest.model import Environment, Manifest
from gdcbuild.manifest.paths import Paths
from gdcbuild.manifest.prune import Path as NodePath
from gdcbuild.manifest.prune import sound
from gdcbuild.manifest.validate import did_you_mean
from gdcbuild.manifest.variables import declared, fill, put_in
from gdcbuild.manifest.wrong import Owner, by_owner, versions
from gdcbuild.manifest.yaml import Node, parse


@dataclass(frozen=True, slots=True)
class File:
    """One manifest: its path and folder below the root, its nodes with variables resolved, its validated form.

    `versions` maps model ids to version ids, including invalid versions. `wrong` has the problems of its entries.
    """

    path: str
    folder: str
    node: Node
    manifest: Manifest
    versions: Mapping[str, tuple[str, ...]]
    wrong: Mapping[Owner, tuple[Problem, ...]]

    def find(self, *path: str) -> Node | None:
        """The node at a path of keys, or None."""
        node: Node | None = self.node
        for key in path:
            node = node.get(key) if node else None
        return node

    def at(self, *path: str) -> Node:
        """The node at a path of keys that must exist."""
        found = self.find(*path)
        assert found is not None
        return found

    def where(self, *path: str) -> Location:
        """The location nearest to a path of keys."""
        return self.node.at(path)[0]


@dataclass(frozen=True)
class Loaded:
    """All manifests of a workspace, the root's first.

    `problems` concern no single entry. Invalid values have been removed, so that the rest can be checked in the same run.
    `broken` names the entries they were removed from, as (section, name): what is missing there is not reported again.
    `included` are the paths of all included manifests, including those that were not read.
    """

    root: Path
    files: tuple[File, ...]
    paths: Paths
    variables: Mapping[str, str]
    problems: tuple[Problem, ...]
    broken: frozenset[tuple[str, str]]
    included: frozenset[str]
    looked: frozenset[str]
    keys: Keys

    @property
    def main(self) -> File:
        return self.files[0]

    def environment(self, name: str | None) -> tuple[str, Environment]:
        """The environment of that name, or the default one, with its variables resolved."""
        manifest = self.main.manifest
        known = manifest.environments
        chosen = name or manifest.default_environment
        if chosen is None:
            if not known:
                hint = "add to the root manifest: environments: {local: {bucket: bucket}}"
                raise UsageError(Problem("the manifest declares no environment", hint))
            if len(known) != 1:
                raise UsageError(Problem("no environment is chosen", f"choose one with --env NAME; {did_you_mean('', known)}"))
            chosen = next(iter(known))
        if chosen not in known:
            raise UsageError(Problem(f"unknown environment {chosen!r}", did_you_mean(chosen, known, "declare environments")))
        section = self.main.node.get("environments")
        node = section.get(chosen) if section else None
        assert node is not None
        problems: list[Problem] = []
        found = sound(Environment, put_in(node, declared(self.main.node), self.variables, problems), {})
        raise_all(ManifestError, [*problems, *found.problems, *environments.problems(found.node, self.root)])
        assert found.value is not None
        return chosen, found.value


def load(
    manifest: Path, variables: Mapping[str, str], frameworks: Mapping[str, Framework], without: Collection[str] = ()
) -> Loaded:
    """Read and validate a whole workspace, collecting every mistake in every file.

    Included manifests in `without` (paths below the root) are not read.
    Raises ManifestError only if nothing of the root manifest can be used.
    """
    root, keys = manifest.parent, keys_of(*frameworks.values())
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
        node, found = parse(data, display, keys.free)
        if node is None:
            problems += found
            continue
        if main_node is None:
            main_node = node
        if not isinstance(node.value, dict):
            problems += [*found, Problem("a manifest must be a mapping", "start with `schema: 1`", node.where)]
            continue
        filled = fill(node, main_node, variables, found)
        checked = sound(keys.manifest, filled, {"schema": Node(1, node.where)})
        found += checked.problems
        wrong = by_owner(filled, found, keys.sections) if found else {}
        problems += wrong.get(None, ())
        broken.update(map(_broken, checked.without))
        assert checked.value is not None
        node, folder = checked.node, posixpath.dirname(path)
        own = {owner: tuple(about) for owner, about in wrong.items() if owner is not None}
        files.append(File(path, folder, node, checked.value, versions(filled), own))
        if len(files) > 1:
            problems += _root_only(node)
        else:
            with paths.watched() as seen_here:
                problems += environments.missing(node, checked.value, broken, paths)
            looked |= seen_here
        section = node.get("environments")
        for _, environment in section.items() if section else ():
            problems += environments.problems(environment, root)
        for pattern, where in includes(node):
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
    return Loaded(root, tuple(files), paths, variables, tuple(problems), frozenset(broken), included, frozenset(looked), keys)


def _broken(path: NodePath) -> tuple[str, str]:
    """The entry that a removed value belonged to: a version, or an entry of a section."""
    names = [str(step) for step in path]
    if names[:1] == ["models"] and names[2:3] == ["versions"] and len(names) > 3:
        return "versions", f"{names[1]}@{names[3]}"
    return (names[0] if names else ""), (names[1] if len(names) > 1 else "")


def includes(node: Node) -> Iterator[tuple[str, Location]]:
    """The paths and globs that a manifest includes, each with its location."""
    include = node.get("include")
    for item in include.value if include and isinstance(include.value, list) else ():
        if isinstance(item.value, str):
            yield item.value, item.where


def _root_only(node: Node) -> list[Problem]:
    return [
        Problem(f"{key} is not allowed in an included manifest", "move it to the root manifest", node.key(key))
        for key in ("environments", "default_environment", "policy", "pools", "roots")
        if node.get(key)
    ]
