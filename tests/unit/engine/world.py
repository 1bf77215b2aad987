"""A small world in memory: actions that concatenate their inputs, a workspace of bytes, a bucket in a dictionary."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gdcbuild.building.judge import NOTHING, Judged, Work, desired, judge
from gdcbuild.building.rebuilder import Ports, Rebuilder
from gdcbuild.core.digest import Blob
from gdcbuild.core.graph import Action, Command, Graph, Image, Input, MadeBy, Policy, SourceFile, Toolchain, Version
from gdcbuild.core.ids import VersionId
from gdcbuild.core.keys import ChoiceKey, Key
from gdcbuild.core.plan import Desired, Plan, Terms
from gdcbuild.core.ports import Remote, Run
from gdcbuild.core.request import Lowered, VersionRequest
from gdcbuild.core.run import Report
from gdcbuild.core.seal import NO_CHECKOUT, Checkout
from gdcbuild.core.standing import damage
from gdcbuild.engine.apply import Running, apply, build
from gdcbuild.engine.planner import survey
from gdcbuild.errors import Problem
from gdcbuild.files.read_progress import unwatched
from gdcbuild.publishing.observe import Bucket, Look, audit, observe
from gdcbuild.remotes.memory import MemoryRemote
from gdcbuild.report.memory import Recorder
from gdcbuild.runners.memory import FixedToolchains, MemoryRunner
from gdcbuild.store.memory import MemoryCAS, MemoryLocks, MemoryRecords, MemoryWorkspace

IMAGE = Image("toy-1", "toy", "1.0")


class Toy:
    """A framework that finds fault with artifacts that contain "bad"."""

    kind = "toy"
    entry = "out"
    title = "Toy"
    sources: Sequence[Key[Any]] = ()
    keys: Sequence[Key[Any]] = ()
    policy: Sequence[ChoiceKey] = ()
    check_version = 1

    def version_problem(self, version: str) -> str | None:
        return None

    def lower(self, request: VersionRequest) -> Lowered | list[Problem]:
        raise NotImplementedError

    def mistake(self, action: Action, item: Input, start: Callable[[int], bytes]) -> Problem | None:
        return None

    def check(self, artifact: Mapping[str, Blob], image: Image, policy: Policy) -> list[Problem]:
        with artifact["out"].open() as stream:
            return [Problem("it is bad", "make it good")] if b"bad" in stream.read() else []


def action(identifier: str, *inputs: str, kind: str = "join", **more: Any) -> Action:
    """An action whose inputs are workspace files ("name") or what other actions made ("@action")."""
    given = tuple(
        Input(f"{n}", MadeBy(name[1:], "out")) if name.startswith("@") else Input(f"{n}", SourceFile(name))
        for n, name in enumerate(inputs)
    )
    return Action(identifier, kind, Command(("join",)), given, **{"outputs": ("out",), **more})


def graph(actions: Sequence[Action], published: Sequence[str], toolchains: Mapping[str, Toolchain] | None = None) -> Graph:
    """A graph that publishes the artifacts of some actions, each as version 1 of a model called like the action."""
    versions = {VersionId(name, "1"): Version(VersionId(name, "1"), name, IMAGE) for name in published}
    return Graph({a.id: a for a in actions}, versions, toolchains or {})


def join(run: Run, inputs: Mapping[str, bytes]) -> Mapping[str, bytes]:
    return {"out": b"(" + b" ".join(data for _, data in sorted(inputs.items())) + b")"}


def first(run: Run, inputs: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Keeps the first letter of each input: most changes of its inputs change nothing."""
    return {"out": b"".join(data[:1] for _, data in sorted(inputs.items()))}


class Given:
    """A graph as it was given. Every action is judged once."""

    def __init__(self, graph: Graph, rebuilder: Rebuilder) -> None:
        self._graph = graph
        self._rebuilder = rebuilder
        self._judged = NOTHING

    def work(self, wanted: Collection[VersionId]) -> Work:
        found = judge(self._graph, wanted, self._rebuilder, self._judged)
        self._judged = Judged({**self._judged.verdicts, **found.verdicts}, {**self._judged.made, **found.made})
        return Work(self._graph, found, self._rebuilder)

    def desired(self, wanted: Collection[VersionId]) -> Mapping[VersionId, Desired]:
        return desired(self._graph, wanted, self.work(wanted).judged)


@dataclass
class World:
    """Everything outlives a run but the runner's list of what ran."""

    files: MemoryWorkspace = field(default_factory=MemoryWorkspace)
    cas: MemoryCAS = field(default_factory=MemoryCAS)
    records: MemoryRecords = field(default_factory=MemoryRecords)
    remote: MemoryRemote = field(default_factory=MemoryRemote)
    toolchains: FixedToolchains = field(default_factory=lambda: FixedToolchains({}))
    runner: MemoryRunner = field(default_factory=lambda: MemoryRunner({"join": join, "first": first}))
    variables: dict[str, str] = field(default_factory=dict)
    immutable: bool = False
    clean: bool = False
    toy: Toy = field(default_factory=Toy)
    confirm: Callable[[Plan], None] = lambda _: None
    checkout: Checkout = NO_CHECKOUT
    recorder: Recorder = field(default_factory=Recorder)

    def rebuilder(self, graph: Graph) -> Rebuilder:
        cache = (self.cas, self.records, self.runner, self.toolchains)
        return Rebuilder(graph, Ports(*cache, self.files, MemoryLocks(), self.variables, {"toy": self.toy}))

    def bucket(self, repair: bool = False) -> Bucket:
        return Bucket(self.remote, Terms("toy", self.immutable, repair, self.clean), self.records, lambda: unwatched)

    def plan(self, graph: Graph, repair: bool = False) -> Plan:
        return survey(Given(graph, self.rebuilder(graph)), sorted(graph.versions), self.bucket(repair))[0]

    def apply(self, graph: Graph, workers: int = 1, keep_going: bool = False, repair: bool = False) -> Report:
        """Plan and carry out; afterwards `ran` and `recorder` tell of this run alone."""
        self._forget_events()
        running = Running(workers, keep_going, self.confirm, lambda _: self.checkout)
        source = Given(graph, self.rebuilder(graph))
        return apply(source, sorted(graph.versions), self.bucket(repair), running, self.recorder.emit)

    def rebuild(self, graph: Graph) -> Report:
        """Build and check, and publish nothing."""
        self._forget_events()
        return build(Given(graph, self.rebuilder(graph)), sorted(graph.versions), Running(), self.recorder.emit)

    def _forget_events(self) -> None:
        self.runner.ran.clear()
        self.recorder.events.clear()

    @property
    def ran(self) -> list[str]:
        return sorted(self.runner.ran)

    def served(self) -> dict[str, bytes]:
        """Key → bytes of all that servers see."""
        keys = [o.key for o in self.remote.list("") if not o.key.startswith(".gdcbuild/")]
        return {key: self.remote.open(key).read() for key in keys}

    def objects(self) -> dict[str, bytes]:
        return {o.key: self.remote.open(o.key).read() for o in self.remote.list("")}


def verify(
    remote: Remote,
    ids: Sequence[VersionId] | None = None,
    deep: bool = False,
    known: Sequence[VersionId] = (),
    entries: set[str] | None = None,
) -> dict[VersionId, tuple[str, ...]]:
    """What is wrong with each of the versions, or with all there is."""
    look = Look(deep=unwatched if deep else None)
    found = audit(remote, known, entries, look) if ids is None else observe(remote, ids, look=look)
    return {id: damage(standing) for id, standing in found.standings.items()}
