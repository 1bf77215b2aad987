"""The static graph: actions, what they read, and the versions that come out at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gdcbuild.core.ids import VersionId
from gdcbuild.errors import Location, ManifestError, Problem

STEP = "step:"
"""How ids of steps' actions begin; those of versions begin with the model's id and an @."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the workspace, by its path relative to the workspace root; of another root ("ROOT:PATH") by its whole path."""

    path: str
    name: str = ""

    @property
    def shown(self) -> str:
        """Its name, the same on every machine."""
        return self.name or self.path


@dataclass(frozen=True, slots=True)
class MadeBy:
    """An output of another action: one file of its artifact, a folder of it, or (path "") all of it."""

    action: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Input:
    """One input of an action. `path` is its place in the action's folder.

    For a SourceFile that is the file's path. For a MadeBy, `path` ending in "/" (or "") is the folder for the outputs,
    relative names kept; otherwise the one file is placed at exactly `path`. `named` is true for a file that the
    manifest names itself, rather than through a folder or a glob; for an output, see its origin.
    """

    path: str
    origin: SourceFile | MadeBy
    where: Location | None = field(default=None, compare=False)
    named: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Files:
    """No work: the artifact is the inputs, unchanged."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command line of the user's; `${out}` is the folder for its outputs, a first word `python` the toolchain's."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Worker:
    """Code of ours that runs user code in the toolchain: the dotted name of a module that imports only
    the standard library and its framework, with a function `run(params, out, child)`."""

    module: str


@dataclass(frozen=True, slots=True)
class Inline:
    """Code of ours that runs no user code, in this process: the dotted name of a module with a function
    `run(params, inputs, out)`: Mapping[str, Any], Mapping[str, Blob], Path of an empty folder."""

    module: str


@dataclass(frozen=True, slots=True)
class Action:
    """One unit of work. Everything here but `id`, `pool` and `where` goes into its key, through `core.key`.

    `toolchain` names an entry of Graph.toolchains, or is None when no Python environment matters.
    `outputs` are the files (or folders, ending in "/") it must make, and no others; None leaves that to the worker.
    `cwd` is the folder below the action's folder in which it starts.
    `version` is the adapter's own version number: raise it when the same inputs would give other bytes.
    `pool` names an entry of Graph.pools: only that many actions of a pool run at a time.
    """

    id: str
    kind: str
    run: Files | Command | Worker | Inline
    inputs: tuple[Input, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    toolchain: str | None = None
    env: tuple[str, ...] = ()
    outputs: tuple[str, ...] | None = None
    cwd: str = ""
    version: int = 1
    pool: str | None = None
    where: Location | None = field(default=None, compare=False)

    @property
    def is_pure(self) -> bool:
        """Whether its key alone decides its bytes: our own code runs, on files of the workspace, and no toolchain counts."""
        return isinstance(self.run, Inline) and self.toolchain is None and not self.env and not self.needs

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the actions whose artifacts this one reads, each once."""
        return tuple(dict.fromkeys(i.origin.action for i in self.inputs if isinstance(i.origin, MadeBy)))


@dataclass(frozen=True, slots=True)
class Image:
    """A serving container. `kind` is the framework kind, `version` the framework's release in it ("2.18")."""

    name: str
    kind: str
    version: str
    deprecated: bool = False


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A Python environment to export in: a pinned requirements file of the workspace, or (None) our own interpreter."""

    name: str
    requirements: str | None = None
    where: Location | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Version:
    """A version to publish: the artifact of `action`, served by `image`."""

    id: VersionId
    action: str
    image: Image
    where: Location | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model or a step comes from: its manifest, and all files and folders it was lowered from."""

    manifest: str
    looked: frozenset[str]


@dataclass(frozen=True, slots=True)
class Policy:
    """What to do about files that a server would load but that may be unwanted.

    `options`: the choice for each key that the frameworks declare. `named`: SHA-256 of the files that the
    manifest names by themselves for the one version that is looked at, so that they may look like secrets.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    named: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Graph:
    """All actions and versions of a workspace, valid: every edge leads to an action, and there is no cycle.

    `name` is the root folder's: it distinguishes workspaces that share a cache, for people only. `origins` are
    by model id, and by action id for steps; "" has what belongs to none alone. `idle` is what was read for parts of the
    root manifest that none of these versions needs.
    """

    actions: Mapping[str, Action]
    versions: Mapping[VersionId, Version]
    toolchains: Mapping[str, Toolchain]
    name: str = ""
    pools: Mapping[str, int] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    origins: Mapping[str, Origin] = field(default_factory=dict)
    idle: frozenset[str] = frozenset()

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Action ids, every one after those it needs; the same for every order of declaration.

        Raises ManifestError with the whole cycle when there is one.
        """
        return tuple(_topological({a.id: a.needs for a in self.actions.values()}, self.actions))

    def closure(self, wanted: Iterable[str]) -> set[str]:
        """Ids of the wanted actions and of all they need, directly or indirectly."""
        seen: set[str] = set()
        stack = list(wanted)
        while stack:
            action = stack.pop()
            if action not in seen:
                seen.add(action)
                stack.extend(self.actions[action].needs)
        return seen


def owner(action: str) -> str:
    """The model or step of an action."""
    return action if action.startswith(STEP) else action.partition("@")[0]


def _topological(needs: Mapping[str, tuple[str, ...]], actions: Mapping[str, Action]) -> Iterator[str]:
    """Depth first with an explicit stack, so that a chain of 10,000 needs no recursion."""
    done: set[str] = set()
    for root in sorted(needs):
        if root in done:
            continue
        path: dict[str, Iterator[str]] = {root: iter(sorted(needs[root]))}
        while path:
            current = next(reversed(path))
            step = next((n for n in path[current] if n not in done), None)
            if step is None:
                path.popitem()
                done.add(current)
                yield current
            elif step in path:
                raise _cycle(list(path)[list(path).index(step) :], actions)
            else:
                path[step] = iter(sorted(needs[step]))


def _cycle(chain: list[str], actions: Mapping[str, Action]) -> ManifestError:
    lines = [f"{a} ({actions[a].where}) needs" for a in chain] + [chain[0]]
    return ManifestError(
        Problem(
            f"a cycle: {' needs '.join([*chain, chain[0]])}",
            "remove one of these edges",
            actions[chain[0]].where,
            "\n".join(lines),
        )
    )
