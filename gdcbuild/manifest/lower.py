"""From a valid workspace to the graph: turns steps and versions into actions; each framework makes its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from gdcbuild.core.graph import Action, Command, Graph, Image, Input, Origin, Policy, SourceFile, Version
from gdcbuild.core.ids import VersionId
from gdcbuild.errors import ManifestError, Problem, raise_all
from gdcbuild.manifest import bucket_overlap
from gdcbuild.manifest import model as m
from gdcbuild.manifest.inputs import listed
from gdcbuild.manifest.load import File, Loaded
from gdcbuild.manifest.mistakes import Mistakes
from gdcbuild.manifest.names import Names
from gdcbuild.manifest.validate import did_you_mean
from gdcbuild.manifest.versions import Served, declared, incomplete, inputs_of, is_foreign, merged, misplaced, request
from gdcbuild.manifest.wrong import Wrong


def lower(loaded: Loaded, images: Mapping[str, Image]) -> Graph:
    """The graph of a workspace. Raises ManifestError with every mistake in it, including cycles."""
    lowered = lower_what_can_be(loaded, images)
    raise_all(ManifestError, lowered.wrong.all())
    return lowered.graph


class Lowered(NamedTuple):
    """The graph of all valid versions, and what is `wrong` with the others.

    `unread` is true if something refers to a model that no manifest read so far contains.
    """

    graph: Graph
    wrong: Wrong
    unread: bool


def lower_what_can_be(loaded: Loaded, images: Mapping[str, Image]) -> Lowered:
    """The graph without invalid entries. Raises ManifestError with every mistake if one concerns the whole workspace."""
    lowering = _Lowering(loaded, images)
    graph, wrong = lowering.graph(), lowering.names.wrong
    lost = bucket_overlap.problems(bucket_overlap.buckets(loaded.main.node, loaded.root), loaded.paths.taken)
    if common := [*loaded.problems, *lowering.mistakes.problems, *lost]:
        raise_all(ManifestError, [*common, *wrong.all()])
    _ = graph.order
    return Lowered(graph, wrong, lowering.names.unread)


class _Lowering:
    """`mistakes` concern the whole workspace; those of one entry are in `names.wrong`."""

    def __init__(self, loaded: Loaded, images: Mapping[str, Image]) -> None:
        self.loaded = loaded
        self.frameworks = loaded.keys.frameworks
        self.names = Names(loaded, images)
        self.mistakes = Mistakes()
        self.actions: dict[str, Action] = {}
        self.versions: dict[VersionId, Version] = {}
        self.origins: dict[str, Origin] = {}
        self.common = set(loaded.looked)
        self.epoch = self._epoch()

    def graph(self) -> Graph:
        for file in self.loaded.files:
            self._refuse_framework_in_defaults(file)
            for name, step in file.manifest.steps.items():
                identifier = self.names.step_id(file, name)
                with self._origin(identifier, file), self.names.mistakes_of(identifier):
                    self._step(file, name, step)
            for name, model in file.manifest.models.items():
                with self._origin(name, file):
                    for version in model.versions:
                        with self.names.mistakes_of(f"{name}@{version}"):
                            self._version(file, VersionId(name, version))
            with self.loaded.paths.watched() as looked:
                for name in file.manifest.frameworks:
                    with self.names.mistakes_of(self.names.entry(file, "frameworks", name)):
                        self.names.framework(file, name, file.node.where)
            self.common |= looked
        self._prune()
        idle = self._idle()
        self.origins[""] = Origin(self.loaded.main.path, frozenset(self.common))
        main = self.loaded.main.manifest
        policy = Policy(main.policy.model_dump())
        name = self.loaded.root.name
        return Graph(self.actions, self.versions, self.names.toolchains, name, main.pools, policy, self.origins, idle)

    def _prune(self) -> None:
        """Remove actions that need something that could not be lowered."""
        waiting: dict[str, list[str]] = {}
        gone = []
        for action in self.actions.values():
            for need in action.needs:
                waiting.setdefault(need, []).append(action.id)
                if need not in self.actions:
                    gone.append(action.id)
        while gone:
            identifier = gone.pop()
            if self.actions.pop(identifier, None) is not None:
                gone += waiting.get(identifier, ())
        self.versions = {id: version for id, version in self.versions.items() if version.action in self.actions}

    def _idle(self) -> frozenset[str]:
        """Files read for entries and steps of the root manifest that no version needs.

        For those of other manifests, the files count for the whole workspace: no other manifest can use them. Files of
        entries that are used count for their models.
        """
        idle: dict[bool, set[str]] = {True: set(), False: self.common}
        for file in self.loaded.files:
            for section, name in self.names.entries(file):
                owner = self.names.entry(file, section.name, name)
                with self.loaded.paths.watched() as looked, self.names.mistakes_of(owner) as mistakes:
                    entry = declared(self.names, file, section, name, mistakes)
                if (file.path, section.name, name) not in self.names.used:
                    idle[file is self.loaded.main].update(looked, _sources(inputs_of(entry)))
        graph = Graph(self.actions, self.versions, {})
        used = graph.closure(v.action for v in self.versions.values())
        for file in self.loaded.files:
            for id in (self.names.step_id(file, name) for name in file.manifest.steps):
                if id not in used:
                    inputs = self.actions[id].inputs if id in self.actions else ()
                    idle[file is self.loaded.main].update(self.origins[id].looked, _sources(inputs))
        return frozenset(idle[True])

    @contextmanager
    def _origin(self, name: str, file: File) -> Iterator[None]:
        """Record every file looked at inside the context as one that this model or step depends on."""
        with self.loaded.paths.watched() as looked:
            yield
        self.origins[name] = Origin(file.path, frozenset(looked))

    def _epoch(self) -> int | None:
        """SOURCE_DATE_EPOCH, as reproducible-builds.org defines it."""
        text = self.loaded.variables.get("SOURCE_DATE_EPOCH", "")
        if not text:
            return None
        if not re.fullmatch("[0-9]{1,12}", text):
            self.mistakes.problems.append(
                Problem(
                    f"SOURCE_DATE_EPOCH is {text!r}, not a number of seconds since 1970", "correct the variable, or unset it"
                )
            )
            return None
        return int(text)

    def _refuse_framework_in_defaults(self, file: File) -> None:
        for kind in self.frameworks:
            node = file.find("defaults", kind)
            if node is not None and node.get("framework"):
                message = "`framework` has no effect in defaults: it selects them"
                self.mistakes.problems.append(Problem(message, "set it on each model", node.key("framework")))

    def _step(self, file: File, name: str, step: m.Step) -> None:
        node, where = file.at("steps", name), file.where("steps", name)
        mistakes = Mistakes()
        toolchain = None
        if step.framework is not None:
            with mistakes:
                _, toolchain = self.names.framework(file, step.framework, node.key("framework"))
        cwd, laid = self.names.inputs(file).in_place(file.folder, listed(step.inputs, node.get("inputs")), mistakes)
        if not step.run[0].strip():
            mistakes.problems.append(Problem("the command is empty", "run: [COMMAND, ARGUMENT, ...]", node.key("run")))
        pools = self.loaded.main.manifest.pools
        if step.pool is not None and step.pool not in pools:
            mistakes.problems += self.names.unknown(file, "pools", step.pool, pools, node.key("pool")).problems
        outputs: tuple[str, ...] = ()
        with mistakes:
            outputs = self.names.outputs(file, name)
        mistakes.raise_all()
        identifier = self.names.step_id(file, name)
        self.actions[identifier] = Action(
            identifier,
            "step",
            Command(tuple(step.run)),
            laid,
            {},
            toolchain,
            tuple(step.env),
            outputs,
            cwd,
            pool=step.pool,
            where=where,
        )

    def _version(self, file: File, identifier: VersionId) -> None:
        mistakes = Mistakes()
        where = file.where("models", identifier.model, "versions", identifier.version)
        served = None
        with mistakes:
            served = self._served(file, identifier)
        known = served or Served(Image("", "", ""), "")
        node = merged(self.names, self.loaded.main, file, identifier, known.image.kind)
        asked = request(self.names, file, identifier, known, node, self.epoch, mistakes)
        if served is not None:
            framework = self.frameworks[served.image.kind]
            problem = framework.version_problem(identifier.version)
            if problem is not None:
                mistakes.problems.append(Problem(problem, "", where))
            if not self._lacks(identifier, served.image.kind):
                mistakes.problems += [*incomplete(asked), *misplaced(self.loaded.keys, asked, node)]
                lowered = [] if is_foreign(self.loaded.keys, asked, node) else framework.lower(asked)
                if isinstance(lowered, list):
                    mistakes.problems += lowered
                elif not mistakes.problems:
                    self.actions.update({action.id: action for action in lowered.actions})
                    self.versions[identifier] = Version(identifier, lowered.final.id, served.image, where)
        mistakes.raise_all()

    def _served(self, file: File, identifier: VersionId) -> Served:
        model = file.at("models", identifier.model)
        own = file.at("models", identifier.model, "versions", identifier.version)
        node = own.get("framework") or model.get("framework")
        if node is None or node.value is None:
            if self._lacks(identifier):
                raise ManifestError()
            known = did_you_mean("", self.names.scope(file, "frameworks"), "an image, such as tf2-cpu.2-18")
            where = file.where("models", identifier.model, "versions", identifier.version)
            raise ManifestError(Problem(f"{identifier.model} has no framework", f"add framework: NAME; {known}", where))
        image, toolchain = self.names.framework(file, str(node.value), node.where)
        return Served(image, toolchain)

    def _lacks(self, identifier: VersionId, kind: str | None = None) -> bool:
        """Whether an invalid value was removed from the version, so that whatever it lacks has been reported."""
        broken = self.names.is_broken
        return (
            broken("models", identifier.model)
            or broken("versions", str(identifier))
            or (kind is not None and broken("defaults", kind))
        )


def _sources(inputs: Iterable[Input]) -> Iterator[str]:
    return (i.origin.path for i in inputs if isinstance(i.origin, SourceFile))
