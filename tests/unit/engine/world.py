"""A small world in memory: actions that concatenate their inputs, a workspace of bytes, a bucket in a dictionary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gdcbuild.core.digest import Blob
from gdcbuild.core.graph import Action, Command, Graph, Image, Input, MadeBy, Policy, SourceFile, Toolchain, Version
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Plan, Terms
from gdcbuild.core.ports import Remote, Run
from gdcbuild.core.request import Lowered, VersionRequest
from gdcbuild.core.standing import Absent, damage
from gdcbuild.core.watch import unwatched
from gdcbuild.engine.apply import Applying, Target
from gdcbuild.engine.judge import Judged, desired, judge
from gdcbuild.engine.observe import Look, Observation, audit, compare, deepened, observe
from gdcbuild.engine.planner import plan
from gdcbuild.engine.rebuilder import Ports, Rebuilder
from gdcbuild.errors import Problem
from gdcbuild.remotes.memory import MemoryRemote
from gdcbuild.report.memory import Recorder
from gdcbuild.runners.memory import FixedToolchains, MemoryRunner
from gdcbuild.store.memory import MemoryCAS, MemoryLocks, MemoryRecords, MemoryWorkspace

IMAGE = Image("toy-1", "toy", "1.0")


class Toy:
    """A framework that finds fault with artifacts that contain "bad"."""

    kind = "toy"
    entry = "out"
    default_handlers: Sequence[str] = ()
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


def action(identifier: str, *inputs: str, kind: str = "join", **more: object) -> Action:
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
    recorder: Recorder = field(default_factory=Recorder)

    def rebuilder(self, graph: Graph) -> Rebuilder:
        ports = Ports(self.cas, self.records, self.runner, self.toolchains, self.files, MemoryLocks(), self.variables)
        return Rebuilder(graph, ports)

    def plan(self, graph: Graph, repair: bool = False) -> Plan:
        wanted = sorted(graph.versions)
        judged = judge(graph, wanted, self.rebuilder(graph))
        observed = self.observe(graph, judged, repair)
        return plan(desired(graph, wanted, judged), observed, "memory:", self.terms(repair))

    def terms(self, repair: bool = False) -> Terms:
        return Terms("toy", self.immutable, repair)

    def observe(self, graph: Graph, judged: Judged, repair: bool = False) -> Observation:
        found = observe(self.remote, sorted(graph.versions), graph.versions.keys())
        made = {id: judged.made[v.action].tree for id, v in graph.versions.items() if v.action in judged.made}
        return compare(self.remote, deepened(self.remote, found, unwatched) if repair else found, made, self.records)

    def apply(self, graph: Graph, workers: int = 1, keep_going: bool = False, repair: bool = False) -> Plan:
        """Plan and carry out; afterwards `ran` and `recorder` tell of this run alone."""
        self.runner.ran.clear()
        self.recorder.events.clear()
        wanted = sorted(graph.versions)
        rebuilder = self.rebuilder(graph)
        judged = judge(graph, wanted, rebuilder)
        observed = self.observe(graph, judged, repair)
        found = plan(desired(graph, wanted, judged), observed, "memory:", self.terms(repair))
        found.refuse_conflicts()
        target = Target(self.remote, self.terms(repair), observed.standings)
        run = Applying(graph, judged, rebuilder, {"toy": Toy()}, target, self.recorder.emit)
        run.run(found, workers, keep_going)
        return found

    def rebuild(self, graph: Graph) -> None:
        """Build and check, and publish nothing."""
        wanted = sorted(graph.versions)
        rebuilder = self.rebuilder(graph)
        judged = judge(graph, wanted, rebuilder)
        found = plan(desired(graph, wanted, judged), Observation(dict.fromkeys(wanted, Absent())), "", Terms("build"))
        Applying(graph, judged, rebuilder, {"toy": Toy()}, None, self.recorder.emit).run(found, 1, False)

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
