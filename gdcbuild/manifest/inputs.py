"""From the paths in a manifest to the inputs of actions: each file, and its path in the action's folder."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from gdcbuild.core.graph import Input, MadeBy, SourceFile
from gdcbuild.errors import Location, ManifestError, Problem
from gdcbuild.manifest.globs import fixed
from gdcbuild.manifest.mistakes import Mistakes
from gdcbuild.manifest.model import FolderMap, ModelRef, RootRef, StepRef
from gdcbuild.manifest.path_hints import unfit
from gdcbuild.manifest.paths import Paths, lay
from gdcbuild.manifest.yaml import Node

_ELSEWHERE = "rename one, or place one elsewhere: {from: ..., to: ...}"


class Named(NamedTuple):
    """A path or reference as given, with its node."""

    value: Any
    node: Node


def listed(values: Sequence[Any], node: Node | None) -> list[Named]:
    """The items of a list, each with its node."""
    if node is None or not isinstance(node.value, list):
        return []
    return [Named(value, child) for value, child in zip(values, node.value, strict=True)]


class Inputs:
    """Resolves the paths of a manifest.

    `folder_of` maps each manifest to its folder. `made_by` finds the action of a reference, `root_of` a root by name.
    """

    def __init__(
        self,
        paths: Paths,
        folder_of: Mapping[str, str],
        made_by: Callable[[StepRef | ModelRef, Location], MadeBy],
        root_of: Callable[[str, Location], Paths],
    ) -> None:
        self.paths = paths
        self.root_of = root_of
        self.folder_of = folder_of
        self.made_by = made_by

    def folder(self, node: Node) -> str:
        """The folder of a node's manifest, relative to the root manifest's."""
        return self.folder_of[node.where.file]

    def one(self, named: Named) -> Input:
        """A single file, under its base name."""
        where = named.node.where
        if isinstance(named.value, str):
            path = self.paths.file(self.folder(named.node), named.value, where)
            return Input(posixpath.basename(path), SourceFile(path), where, named=True)
        if isinstance(named.value, RootRef):
            self.root_of(named.value.root, where).file("", named.value.path, where)
            (item,) = self._rooted(named.value, named.value.to or "", where)
            return replace(item, path=posixpath.basename(item.path))
        assert isinstance(named.value, StepRef | ModelRef)
        origin = self.made_by(named.value, where)
        to = named.value.to or ""
        name = posixpath.basename(origin.path if to.endswith("/") else _clean(to or origin.path, where))
        if not name or origin.path.endswith("/"):
            raise ManifestError(Problem("expected a single file", "name it: path: FILE", where))
        return Input(name, origin, where)

    def directory(self, named: Named) -> tuple[Input, ...]:
        """All files of a folder, relative to it."""
        where = named.node.where
        if isinstance(named.value, str):
            text = named.value
            folder = self.paths.resolve(self.folder(named.node), text, where)
            found = self.paths.folder(self.folder(named.node), text, where)
            cut = len(folder) + 1 if folder else 0
            return tuple(Input(p[cut:], SourceFile(p), where) for p in found)
        if isinstance(named.value, RootRef):
            self.root_of(named.value.root, where).folder("", named.value.path or ".", where)
            return tuple(self._rooted(named.value, "", where))
        assert isinstance(named.value, StepRef | ModelRef)
        origin = self.made_by(named.value, where)
        path = origin.path if not origin.path or origin.path.endswith("/") else origin.path + "/"
        return (Input("", MadeBy(origin.action, path), where),)

    def in_place(self, base: str, given: Iterable[Named], mistakes: Mistakes) -> tuple[str, tuple[Input, ...]]:
        """Files at their paths below the manifest's folder `base`; references and {from, to} at the given paths.

        Returns the working folder, relative to the action's folder, and the inputs.
        """
        sources: list[tuple[str, Location, bool]] = []
        placed: list[Input] = []
        for named in given:
            where, value = named.node.where, named.value
            with mistakes:
                if isinstance(value, str):
                    found = self._any(self.folder(named.node), value, where)
                    sources += [(path, where, self._is_named(named, found)) for path in found]
                elif isinstance(value, FolderMap):
                    placed += self._mapped(named, value)
                elif isinstance(value, RootRef):
                    placed += self._rooted(value, value.path if value.to is None else value.to, where)
                else:
                    origin = self.made_by(value, where)
                    placed.append(Input(_target(value.to, origin.path, where), origin, where))
        cwd, places = lay(base, [path for path, *_ in sources])
        inputs = [Input(places[path], SourceFile(path), where, itself) for path, where, itself in sources]
        inputs += [replace(i, path=posixpath.join(cwd, i.path)) if cwd else i for i in placed]
        return cwd, self._distinct(inputs, mistakes)

    def by_name(self, given: Iterable[Named], mistakes: Mistakes) -> tuple[Input, ...]:
        """Files under their base names; {from, to} keeps the structure of folders; references at the given paths."""
        inputs: list[Input] = []
        for named in given:
            where, value = named.node.where, named.value
            with mistakes:
                if isinstance(value, str):
                    found = self.paths.expand(self.folder(named.node), value, where, flat=True)
                    itself = self._is_named(named, found)
                    inputs += [Input(posixpath.basename(p), SourceFile(p), where, itself) for p in found]
                elif isinstance(value, FolderMap):
                    inputs += self._mapped(named, value)
                elif isinstance(value, RootRef):
                    inputs += self._rooted(value, value.to or "", where)
                else:
                    origin = self.made_by(value, where)
                    name = posixpath.basename(origin.path) if not origin.path.endswith("/") else ""
                    inputs.append(Input(_target(value.to, name, where), origin, where))
        return self._distinct(inputs, mistakes)

    def _is_named(self, named: Named, found: list[str]) -> bool:
        """Whether the given path is the file itself, not a folder or glob that contains it."""
        assert isinstance(named.value, str)
        return found == [self.paths.resolve(self.folder(named.node), named.value, named.node.where)]

    def _any(self, folder: str, text: str, where: Location) -> list[str]:
        if self.paths.is_folder(folder, text, where):
            return self.paths.folder(folder, text, where, text)
        return self.paths.expand(folder, text, where, fixed(text))

    def _mapped(self, named: Named, value: FolderMap) -> list[Input]:
        where, folder = named.node.where, self.folder(named.node)
        return [
            Input(to, SourceFile(path), where, itself)
            for to, path, itself in _below(self.paths, folder, value.source, value.to, where)
        ]

    def _rooted(self, value: RootRef, to: str, where: Location) -> list[Input]:
        """The files below another root, placed like those of {from, to}."""
        paths = self.root_of(value.root, where)
        return [
            Input(place, SourceFile(f"{paths.root}/{path}", f"{value.root}:{path}"), where, itself)
            for place, path, itself in _below(paths, "", value.path or ".", to, where)
        ]

    def _distinct(self, inputs: Iterable[Input], mistakes: Mistakes) -> tuple[Input, ...]:
        """The inputs without duplicates, sorted by path. Two different files for one path are a mistake that names both."""
        found: dict[str, Input] = {}
        folders: list[Input] = []
        for item in inputs:
            if item.path == "" or item.path.endswith("/"):
                folders.append(item)
                continue
            other = found.setdefault(item.path, item)
            if not self.same(other.origin, item.origin):
                message = f"two files for {item.path!r}: {described(other.origin)} ({other.where}) and {described(item.origin)}"
                mistakes.problems.append(Problem(message, _ELSEWHERE, item.where))
            elif item.named:
                found[item.path] = item
        for item in (*found.values(), *folders):
            above = next((found[folder] for folder in folders_of(item.path) if folder in found), None)
            if above is not None:
                message = f"{above.path!r} is both a file and a folder: {described(above.origin)} ({above.where}) and "
                message += f"{described(item.origin)} as {item.path!r}"
                mistakes.problems.append(Problem(message, _ELSEWHERE, item.where))
        return (*(found[p] for p in sorted(found)), *sorted(set(folders), key=lambda i: (i.path, str(i.origin))))

    def same(self, one: SourceFile | MadeBy, other: SourceFile | MadeBy) -> bool:
        """Whether the bytes are known to be the same. For outputs of actions, they are not known yet."""
        both = isinstance(one, SourceFile) and isinstance(other, SourceFile)
        return one == other or (both and self.paths.same(one.path, other.path))


def _below(paths: Paths, folder: str, text: str, to: str, where: Location) -> Iterator[tuple[str, str, bool]]:
    """A file, or all files of a folder: the target path, the source path, and whether the file itself was named."""
    if not paths.is_folder(folder, text, where):
        path = paths.file(folder, text, where)
        target = _clean(to, where)
        if to.endswith("/") or not target:
            target = posixpath.join(target, posixpath.basename(path))
        yield target, path, True
        return
    start = paths.resolve(folder, text, where)
    cut = len(start) + 1 if start else 0
    for path in paths.folder(folder, text, where, to):
        yield _clean(posixpath.join(to, path[cut:]), where), path, False


def folders_of(path: str) -> list[str]:
    """Every folder above a path, and the path itself if it ends in a slash."""
    return [path[:end] for end, c in enumerate(path) if c == "/"]


def described(origin: SourceFile | MadeBy) -> str:
    """An origin, as shown in messages."""
    if isinstance(origin, SourceFile):
        return origin.shown
    return f"{origin.path or 'everything'} of {origin.action}"


def _target(to: str | None, otherwise: str, where: Location) -> str:
    """The target path of a reference. Folders keep the trailing slash; the empty path means everything."""
    text = otherwise if to is None else to
    folder = text == "" or text.endswith("/") or (to is not None and (otherwise == "" or otherwise.endswith("/")))
    clean = _clean(text, where)
    return clean + "/" if folder and clean else clean


def _clean(text: str, where: Location) -> str:
    path = posixpath.normpath(text) if text else ""
    if path.startswith(("/", "../")) or path == "..":
        raise ManifestError(Problem(f"{text!r} points outside the folder", "write a relative path without ..", where))
    problem = unfit(text, "write a relative path")
    if problem is not None:
        raise ManifestError(Problem(*problem, where))
    return "" if path == "." else path


def clean_reference(text: str, where: Location) -> str:
    """A path in an action's output: relative, "" for everything, ending in "/" for a folder."""
    clean = _clean(text, where)
    return clean + "/" if clean and text.endswith(("/", "/.")) else clean
