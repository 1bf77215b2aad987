"""Artifacts: a tree, and where each of its files can be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

from gdcbuild.core.digest import Blob, Digest, Tree
from gdcbuild.core.graph import STEP, Action, Graph, Input, SourceFile, Version, owner
from gdcbuild.core.ports import CAS, Workspace
from gdcbuild.errors import ActionFailed, Location, Problem


class Origin(NamedTuple):
    """What something was made from: `files` of the workspace, by their paths there, and outputs of other actions.

    `key` is its action key, if that alone decides its bytes.
    """

    files: Mapping[str, Digest] = MappingProxyType({})
    needs: tuple[Origin, ...] = ()
    key: str = ""

    def sources(self) -> Tree:
        """Every file of the workspace that went into it."""
        found: dict[str, Digest] = {}
        seen: set[int] = set()
        stack = [self]
        while stack:
            origin = stack.pop()
            if id(origin) not in seen:
                seen.add(id(origin))
                found.update(origin.files)
                stack += origin.needs
        return Tree(found)


NOTHING = Origin()


@dataclass(frozen=True, slots=True)
class Artifact:
    """The outputs or inputs of an action.

    `sources` maps those paths that are files of the workspace to their path there; all others are in the CAS. `origins` says
    for people where inputs come from; `made_from` what everything was made from; `bound` which files contain the path of
    their working folder.
    """

    tree: Tree
    sources: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    made_from: Origin = NOTHING
    bound: tuple[str, ...] = ()

    def blobs(self, cas: CAS, workspace: Workspace) -> dict[str, Blob]:
        """Path → blob. Raises StoreError if the cache has lost one."""
        return {
            path: _Judged(digest, workspace.blob(self.sources[path])) if path in self.sources else cas.get(digest)
            for path, digest in self.tree.items()
        }

    def held(self, cas: CAS) -> bool:
        """True if the CAS has every file it should have."""
        return not cas.missing(d for path, d in self.tree.items() if path not in self.sources)

    def refuse_changed(self, workspace: Workspace, during: str, where: Location | None) -> None:
        """Raise ActionFailed if a file of the workspace has changed since it was judged."""
        changed = [source for path, source in self.sources.items() if workspace.digest(source) != self.tree[path]]
        if changed:
            raise ActionFailed(
                Problem(
                    f"{', '.join(changed[:5])} changed while {during}; the result is discarded",
                    "run the command again once the files no longer change",
                    where,
                )
            )


@dataclass(frozen=True, slots=True)
class _Judged:
    """A workspace file under the digest it was judged by: if it has changed since, its reader finds out."""

    digest: Digest
    file: Blob

    @property
    def crc(self) -> int | None:
        return self.file.crc if self.file.digest == self.digest else None

    def open(self) -> BinaryIO:
        return self.file.open()


def inputs_of(action: Action, made: Mapping[str, Artifact], workspace: Workspace) -> Artifact:
    """Everything in the action's folder: its inputs, outputs of other actions among them.

    Raises ActionFailed if a path does not name an output, or two inputs have the same path.
    """
    files: dict[str, Digest] = {}
    sources: dict[str, str] = {}
    origins: dict[str, str] = {}
    for item in action.inputs:
        for path, digest, source, made_as in _laid(action, item, made, workspace):
            origin = made_as
            if files.setdefault(path, digest) != digest:
                message = f"{action.id}: two inputs are at {path!r}: {origins[path]} and {origin}"
                raise ActionFailed(Problem(message, "move one to another folder: to: FOLDER/", item.where or action.where))
            origins[path] = origin
            if source is not None:
                sources[path] = source
    for path in _folders(files) & files.keys():
        message = f"{action.id}: {path!r} is both an input and a folder of inputs; the input is {origins[path]}"
        raise ActionFailed(Problem(message, "move one to another folder: to: FOLDER/", action.where))
    plain = {i.origin.shown: files[i.path] for i in action.inputs if isinstance(i.origin, SourceFile)}
    return Artifact(Tree(files), sources, origins, Origin(plain, tuple(made[need].made_from for need in action.needs)))


def named(graph: Graph, version: Version, made: Mapping[str, Artifact], workspace: Workspace) -> frozenset[str]:
    """SHA-256 of the files that the manifest names for a version. A step's inputs are not for publishing."""
    found = set()
    for identifier in graph.closure([version.action]):
        for item in () if identifier.startswith(STEP) else graph.actions[identifier].inputs:
            if isinstance(item.origin, SourceFile):
                digest = workspace.digest(item.origin.path) if item.named else None
            else:
                artifact = made.get(item.origin.action)
                digest = artifact.tree.get(item.origin.path) if artifact else None
            if digest is not None:
                found.add(digest.hash)
    return frozenset(found)


def files_of(graph: Graph, version: Version, workspace: Workspace) -> dict[str, Digest]:
    """Every file of the user's that determines a version: inputs of its actions, their requirements, and manifests."""
    paths = {graph.origins[""].manifest} if "" in graph.origins else set()
    named = {}
    for identifier in graph.closure([version.action]):
        action = graph.actions[identifier]
        named.update({i.origin.shown: i.origin.path for i in action.inputs if isinstance(i.origin, SourceFile)})
        if owner(identifier) in graph.origins:
            paths.add(graph.origins[owner(identifier)].manifest)
        if action.toolchain is not None and (requirements := graph.toolchains[action.toolchain].requirements):
            paths.add(requirements)
    named.update({path: path for path in paths})
    return {name: workspace.digest(path) for name, path in sorted(named.items())}


def _folders(files: Iterable[str]) -> set[str]:
    """Every folder that contains some of the files."""
    return {path[:end] for path in files for end, c in enumerate(path) if c == "/"}


def _laid(
    action: Action, item: Input, made: Mapping[str, Artifact], workspace: Workspace
) -> Iterator[tuple[str, Digest, str | None, str]]:
    """The files of one input: place, digest, path in the workspace if it is a file of it, and else what made it."""
    if isinstance(item.origin, SourceFile):
        yield item.path, workspace.digest(item.origin.path), item.origin.path, item.origin.shown
        return
    artifact, path, maker = made[item.origin.action], item.origin.path.rstrip("/"), item.origin.action
    if path in artifact.tree:
        name = path.rsplit("/", 1)[-1]
        place = item.path + name if item.path == "" or item.path.endswith("/") else item.path
        yield place, artifact.tree[path], artifact.sources.get(path), artifact.origins.get(path, f"{path} of {maker}")
        return
    below = artifact.tree.under(path)
    if not below:
        has = list(artifact.tree)
        listed = ", ".join(has[:8]) + (" ..." if len(has) > 8 else "")
        raise ActionFailed(
            Problem(f"{maker} did not make {item.origin.path!r}", f"it made: {listed}", item.where or action.where)
        )
    folder = item.path.rstrip("/")
    for name, digest in below.items():
        full = f"{path}/{name}" if path else name
        origin = artifact.origins.get(full, f"{full} of {maker}")
        yield f"{folder}/{name}" if folder else name, digest, artifact.sources.get(full), origin
