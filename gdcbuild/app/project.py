"""A workspace, its cache and its buckets, put together: what the commands call."""

from __future__ import annotations

import fnmatch
import gc
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gdcbuild.app.cache import Cache, LateRecords
from gdcbuild.core.ids import VersionId
from gdcbuild.errors import BlobDamaged, BlobMissing, ManifestError, Problem, ResultChanged, Several, UsageError
from gdcbuild.manifest.find import find
from gdcbuild.source.environment import Environment, Variables

if TYPE_CHECKING:
    from gdcbuild.core.events import Event
    from gdcbuild.core.graph import Graph
    from gdcbuild.core.plan import Desired, Plan
    from gdcbuild.core.ports import Remote
    from gdcbuild.core.seal import Provenance
    from gdcbuild.core.standing import Standing
    from gdcbuild.core.watch import Watched
    from gdcbuild.engine.observe import Observation
    from gdcbuild.engine.rebuilder import Ports, Rebuilder
    from gdcbuild.source.plain import PlainSource
    from gdcbuild.source.source import Source

_ATTEMPTS = 3
"""How often a run is begun anew because the cache turned out to be damaged; each time the damage has been removed."""


class Selection(NamedTuple):
    """Which versions: MODEL, MODEL@VERSION or globs of either; none means all. `exclude` takes away."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()


class Project:
    """A workspace, with everything it takes to plan and build it. Parts are made when first used."""

    def __init__(
        self, folder: Path, file: str | None, cache: Path, variables: Mapping[str, str], emit: Callable[[Event], None]
    ) -> None:
        self._emit = emit
        self._cache_folder = cache
        self._environ = variables
        self._variables = Variables(variables)
        self._manifest = find(folder, file)

    @cached_property
    def source(self) -> Source:
        """The workspace, as commands look at it."""
        return self._opened()

    def _opened(self, believe: bool = True) -> Source:
        """The workspace, in which what has not changed since the last run is not read, if that is believed."""
        from gdcbuild.memory.remembered import RememberedSource

        return RememberedSource(self._manifest, self._variables, self._cache_folder, self.read, self._warn, believe)

    def read(self, without: Collection[str] = ()) -> PlainSource:
        """The workspace itself, without some of its included manifests."""
        from gdcbuild.source.plain import PlainSource

        return PlainSource(self._manifest, self._variables, self._rebuilder, self._warn, without)

    def valid(self) -> Graph:
        """The graph of the whole workspace, whose files are there and parse."""
        from gdcbuild.engine import standins
        from gdcbuild.manifest.mistakes import Mistakes
        from gdcbuild.source.syntax import refuse_mistakes
        from gdcbuild.store.workspace import DiskWorkspace

        plain, mistakes = self.read(), Mistakes()
        with mistakes:
            plain.refuse(None)
        with mistakes:
            standins.refuse(
                plain.graph, plain.graph.actions, DiskWorkspace(plain.root, LateRecords(lambda: self.cache.records))
            )
        with mistakes:
            refuse_mistakes(plain.graph, plain.graph.versions, plain.root)
        mistakes.raise_all()
        return plain.graph

    def _desired(self, wanted: Collection[VersionId]) -> Mapping[VersionId, Desired]:
        """What each of the versions should be. Raises ManifestError when files of one that must be built do not parse."""
        found = self.source.desired(wanted)
        todo = to_build(found)
        if todo:
            from gdcbuild.source.syntax import refuse_mistakes

            refuse_mistakes(self.source.work(todo).graph, todo, self.source.root)
        return found

    def _warn(self, problem: Problem) -> None:
        from gdcbuild.core.events import Warned

        self._emit(Warned(problem))

    def _watched(self) -> Watched:
        """What tells how far large files are read."""
        from gdcbuild.core.watch import Watch

        return Watch(self._emit).stream

    @cached_property
    def cache(self) -> Cache:
        return Cache(self._cache_folder, self._emit)

    def _rebuilder(self, graph: Graph) -> Rebuilder:
        from gdcbuild.engine.rebuilder import Rebuilder

        return Rebuilder(graph, self._ports)

    @cached_property
    def _ports(self) -> Ports:
        from gdcbuild.engine.rebuilder import Ports
        from gdcbuild.runners.process import LocalRunner
        from gdcbuild.runners.toolchains import VenvToolchains
        from gdcbuild.store.workspace import DiskWorkspace

        cache, locks = self.cache, self.cache.locks
        workspace = DiskWorkspace(self._manifest.parent, cache.records, self._watched())
        logs = cache.folder / "logs"
        toolchains = VenvToolchains(cache.folder / "toolchains", logs, workspace, cache.records, locks, self._emit)
        machine = DiskWorkspace(Path("/"), cache.records)
        runner = LocalRunner(cache.folder / "work", logs, self._emit, machine, self._variables)
        return Ports(cache.cas, cache.records, runner, toolchains, workspace, locks, self._variables)

    def environment(self, name: str | None) -> tuple[Environment, Remote]:
        """The environment chosen, and its bucket."""
        from gdcbuild.remotes import open_remote

        chosen = self.source.environment(name)
        try:
            remote = open_remote(
                chosen.bucket,
                self.source.root,
                endpoint=chosen.endpoint,
                region=chosen.region,
                ca_file=Path(chosen.ca_file) if chosen.ca_file else None,
            )
        except ManifestError as error:
            where = self.source.where("environments", chosen.name, "bucket")
            raise ManifestError(*(p._replace(where=p.where or where) for p in error.problems)) from error
        return chosen, remote

    def select(self, selection: Selection) -> list[VersionId]:
        """The versions selected, sorted. Raises UsageError for every pattern that matches none."""
        models = self.source.models()
        found = {p: _matching(p, models) for p in (*selection.include, *selection.exclude)}
        problems = [self._unmatched(pattern, models) for pattern, versions in found.items() if not versions]
        if problems:
            raise UsageError(*problems)
        included = {v for p in selection.include for v in found[p]} if selection.include else _matching("*", models)
        return sorted(included.difference(*(found[p] for p in selection.exclude)))

    def _check(self, selection: Selection, wanted: Collection[VersionId]) -> None:
        """Refuse mistakes in what is selected and all it needs; anywhere, when nothing is selected."""
        self.source.check(wanted if selection.include or selection.exclude else None)

    @staticmethod
    def _unmatched(pattern: str, models: Mapping[str, Collection[str]]) -> Problem:
        from gdcbuild.manifest.validate import did_you_mean

        known = set(models) if "@" not in pattern else {str(v) for v in _matching("*", models)}
        return Problem(f"{pattern!r} matches no version", did_you_mean(pattern, known, "the manifest has no models"))

    def observe(
        self,
        remote: Remote,
        selection: Selection,
        desired: Mapping[VersionId, Desired],
        deep: bool = False,
        seals: bool = False,
    ) -> Observation:
        """What the bucket holds of the desired versions; of everything, orphans too, when nothing was selected.

        With `deep`, every byte of what is sealed is read; with `seals`, every seal, whole, also where a listing tells enough.
        """
        from gdcbuild.core.standing import Unfinished, Unmanaged
        from gdcbuild.engine.observe import Look, compare, deepened, observe
        from gdcbuild.remotes import remembered, waited

        partial = bool(selection.include or selection.exclude)
        memo = LateRecords(lambda: self.cache.records)
        trees = {id: version.tree for id, version in desired.items() if version.tree is not None}
        listings = nullcontext() if partial else remembered(remote, self._cache_folder / "listings", self._warn)
        with listings, waited(remote, self._warn):
            known = None if partial else desired
            found = observe(remote, desired, known, Look() if seals else Look(memo, trees))
        if deep:
            found = deepened(remote, found, self._watched())
        if any(isinstance(standing, Unfinished | Unmanaged) for standing in found.standings.values()):
            found = compare(remote, found, trees, memo)
        return found

    def plan(self, environment: str | None, selection: Selection) -> Plan:
        return self._plan(environment, selection)[0]

    def status(self, environment: str | None, selection: Selection) -> tuple[Plan, Mapping[VersionId, Provenance]]:
        """The plan, and what each published version of the manifest was made from, as far as its seal says so."""
        from gdcbuild.core.standing import Published

        found, observed = self._plan(environment, selection, status=True)
        published = {id: found for id, found in observed.standings.items() if isinstance(found, Published)}
        return found, {id: found.provenance for id, found in published.items() if found.provenance is not None}

    def _plan(self, environment: str | None, selection: Selection, status: bool = False) -> tuple[Plan, Observation]:
        """The plan; or, for `status`, what it says of the bucket, of which every seal is read, whatever can be built."""
        from gdcbuild.core.plan import Terms
        from gdcbuild.engine.planner import plan

        wanted = self.select(selection)
        policy, remote = self.environment(environment)
        if not status:
            self._check(selection, wanted)
        desired = self.source.desired(wanted) if status else self._desired(wanted)
        observed = self.observe(remote, selection, desired, seals=status)
        return plan(desired, observed, remote.url, Terms(policy.name, policy.immutable)), observed

    def apply(
        self,
        environment: str | None,
        selection: Selection,
        workers: int,
        keep_going: bool,
        confirm: Callable[[Plan, Environment], None],
        repair: bool = False,
    ) -> None:
        """Build and publish what differs. `confirm` sees the plan before anything is done and may raise.

        With `repair`, put back what drifted too, and seal what was published by other means with the same bytes.
        """
        from gdcbuild.app.commit import checkout
        from gdcbuild.core.plan import PUBLISHED, Terms
        from gdcbuild.core.seal import NO_CHECKOUT
        from gdcbuild.engine.apply import Applying, Target
        from gdcbuild.engine.artifacts import files_of
        from gdcbuild.engine.planner import plan
        from gdcbuild.frameworks import FRAMEWORKS

        wanted = self.select(selection)
        policy, remote = self.environment(environment)
        terms = Terms(policy.name, policy.immutable, repair)
        self._check(selection, wanted)

        def attempt() -> None:
            desired = self.source.desired(wanted) if keep_going else self._desired(wanted)
            observed = self.observe(remote, selection, desired, deep=repair)
            found = plan(desired, observed, remote.url, terms)
            if not keep_going:
                found.refuse_conflicts()
            confirm(found, policy)
            todo = [c.id for c in found.changes if c.kind in PUBLISHED]
            graph, judged, rebuilder = self.source.work(todo)
            used = {p: d for id in todo for p, d in files_of(graph, graph.versions[id], rebuilder.ports.workspace).items()}
            at = checkout(self._manifest, used, self._environ, self._warn) if todo else NO_CHECKOUT
            target = Target(remote, terms, observed.standings, at)
            Applying(graph, judged, rebuilder, FRAMEWORKS, target, self._emit).run(found, workers, keep_going)

        self._despite_damage(attempt)

    def build(self, selection: Selection, workers: int, keep_going: bool) -> None:
        """Build and check; publish nothing, and look at no bucket."""
        from gdcbuild.core.plan import Terms
        from gdcbuild.core.standing import Absent
        from gdcbuild.engine.apply import Applying
        from gdcbuild.engine.judge import desired
        from gdcbuild.engine.observe import Observation
        from gdcbuild.engine.planner import plan
        from gdcbuild.frameworks import FRAMEWORKS
        from gdcbuild.source.syntax import refuse_mistakes

        wanted = self.select(selection)
        self._check(selection, wanted)

        def attempt() -> None:
            graph, judged, rebuilder = self.source.work(wanted)
            wished = desired(graph, wanted, judged)
            if not keep_going:  # then the check of each version finds them
                refuse_mistakes(graph, to_build(wished), self.source.root)
            nowhere = Observation(dict.fromkeys(wanted, Absent()))
            found = plan(wished, nowhere, "nothing is published", Terms("build"))
            Applying(graph, judged, rebuilder, FRAMEWORKS, None, self._emit).run(found, workers, keep_going)

        self._despite_damage(attempt)

    def has(self, id: VersionId) -> bool:
        """Whether the manifest has the version."""
        return id.version in self.source.models().get(id.model, ())

    def verify(self, environment: str | None, selection: Selection, deep: bool) -> Mapping[VersionId, Standing]:
        """What each version is in the bucket, with `deep` by reading every byte.

        Without a selection, all in the manifest, all that is sealed, and all that a server would load.
        """
        from gdcbuild.engine.observe import Look, audit, observe
        from gdcbuild.frameworks import FRAMEWORKS
        from gdcbuild.remotes import waited

        _, remote = self.environment(environment)
        wanted = self.select(selection)
        look = Look(deep=self._watched() if deep else None)
        with waited(remote, self._warn):
            if selection.include or selection.exclude:
                return observe(remote, wanted, look=look).standings
            return audit(remote, wanted, {framework.entry for framework in FRAMEWORKS.values()}, look).standings

    def _despite_damage(self, attempt: Callable[[], None]) -> None:
        """Blobs that are damaged, or gone, are found when they are read; beginning anew makes them anew.

        Where they do not come out as they were, what was planned with them no longer holds, and is planned anew.
        """
        gc.freeze()
        gc.enable()  # clients of S3 leave cycles, some 30 KiB a version; those who only look have no use for it
        for left in reversed(range(_ATTEMPTS)):
            try:
                attempt()
                return
            except (BlobMissing, BlobDamaged, ResultChanged, Several) as error:
                found = error.errors if isinstance(error, Several) else (error,)
                damaged = [e for e in found if isinstance(e, BlobDamaged)]
                mended = bool(damaged and self.cache.cas.discard_damaged())
                mended |= any(isinstance(e, BlobMissing | ResultChanged) for e in found)
                if not left or not mended:
                    raise
                for problem in (p for e in found if isinstance(e, ResultChanged) for p in e.problems):
                    self._warn(Problem(problem.message, "it is planned again"))
                for problem in (p for e in damaged for p in e.problems):
                    self._warn(Problem(f"the cache is damaged: {problem.message}", "it is removed and made anew"))
                self.source = self._opened(believe=False)


def to_build(desired: Mapping[VersionId, Desired]) -> list[VersionId]:
    """The versions whose bytes only a build can tell."""
    from gdcbuild.core.plan import Build

    return [id for id, version in desired.items() if version.build is Build.BUILD]


def _matching(pattern: str, models: Mapping[str, Collection[str]]) -> set[VersionId]:
    """The versions that MODEL or MODEL@VERSION names, each a glob or plain. (Plain names are looked up: there may be many.)"""
    model, at, version = pattern.partition("@")
    return {VersionId(m, v) for m in _named(model, models) for v in (_named(version, models[m]) if at else models[m])}


def _named(pattern: str, names: Collection[str]) -> Collection[str]:
    if not any(c in pattern for c in "*?["):
        return [pattern] if pattern in names else []
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]
