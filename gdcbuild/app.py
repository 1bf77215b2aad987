"""The composition root: the only module that names concrete classes. Wires the parts into a Project."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gdcbuild.core.events import Event, Warned
from gdcbuild.core.graph import Graph, VersionId
from gdcbuild.core.plan import Plan
from gdcbuild.core.ports import Remote
from gdcbuild.errors import BlobDamaged, BlobMissing, ManifestError, Problem, UsageError
from gdcbuild.frameworks import FRAMEWORKS, images
from gdcbuild.manifest.load import Loaded, find, load
from gdcbuild.manifest.lower import lower
from gdcbuild.manifest.model import Environment
from gdcbuild.manifest.validate import did_you_mean

if TYPE_CHECKING:
    from gdcbuild.engine.bucket import Observation
    from gdcbuild.engine.planner import Judged
    from gdcbuild.engine.rebuilder import Rebuilder
    from gdcbuild.store.disk import DiskCAS
    from gdcbuild.store.gc import Collected
    from gdcbuild.store.locks import FileLocks
    from gdcbuild.store.records import DiskRecords

_ATTEMPTS = 3
"""How often a run is begun anew because the cache turned out to be damaged; each time the damage has been removed."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which versions: MODEL, MODEL@VERSION or globs of either; none means all. `exclude` takes away."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()


class Project:
    """A workspace that has been read, with everything it takes to plan and build it. Parts are made when first used."""

    def __init__(
        self, folder: Path, file: str | None, cache: Path, variables: Mapping[str, str], emit: Callable[[Event], None]
    ) -> None:
        self._variables = variables
        self._emit = emit
        self._cache_folder = cache
        self.loaded: Loaded = load(find(folder, file), variables)
        self.graph: Graph = lower(self.loaded, FRAMEWORKS, images.known())

    @cached_property
    def cache(self) -> Cache:
        return Cache(self._cache_folder, self._emit)

    @cached_property
    def rebuilder(self) -> Rebuilder:
        from gdcbuild.engine.rebuilder import Ports, Rebuilder
        from gdcbuild.runners.process import LocalRunner
        from gdcbuild.runners.toolchains import VenvToolchains
        from gdcbuild.store.workspace import DiskWorkspace

        cache, locks = self.cache, self.cache.locks
        workspace = DiskWorkspace(self.loaded.root, cache.records)
        logs = cache.folder / "logs"
        toolchains = VenvToolchains(cache.folder / "toolchains", logs, workspace, cache.records, locks, self._emit)
        runner = LocalRunner(cache.folder / "work", logs)
        ports = Ports(cache.cas, cache.records, runner, toolchains, workspace, locks, self._variables)
        return Rebuilder(self.graph, ports)

    def environment(self, name: str | None) -> tuple[str, Environment, Remote]:
        """The environment's name, its policy, and its bucket."""
        from gdcbuild.remotes import open_remote

        chosen, environment = self.loaded.environment(name)
        ca_file = None
        if environment.ca_file is not None:
            where = self.loaded.main.node.at(("environments", chosen, "ca_file"))[0]
            ca_file = self.loaded.root / self.loaded.paths.file("", environment.ca_file, where)
        where = self.loaded.main.node.at(("environments", chosen, "bucket"))[0]
        try:
            remote = open_remote(
                environment.bucket, self.loaded.root, endpoint=environment.endpoint, region=environment.region, ca_file=ca_file
            )
        except ManifestError as error:
            raise ManifestError(*(replace(p, where=p.where or where) for p in error.problems)) from error
        return chosen, environment, remote

    def select(self, selection: Selection) -> list[VersionId]:
        """The versions selected, sorted. Raises UsageError for every pattern that matches none."""
        everything = sorted(self.graph.versions)
        included = set(everything if not selection.include else ())
        problems = []
        for pattern in selection.include:
            found = _matching(pattern, everything)
            if not found:
                problems.append(self._unmatched(pattern, everything))
            included |= found
        for pattern in selection.exclude:
            found = _matching(pattern, everything)
            if not found:
                problems.append(self._unmatched(pattern, everything))
            included -= found
        if problems:
            raise UsageError(*problems)
        return sorted(included)

    @staticmethod
    def _unmatched(pattern: str, everything: Iterable[VersionId]) -> Problem:
        known = {v.model for v in everything} if "@" not in pattern else {str(v) for v in everything}
        return Problem(f"{pattern!r} matches no version", did_you_mean(pattern, known, "the manifest has no models"))

    def judged(self, wanted: Iterable[VersionId]) -> Judged:
        from gdcbuild.engine.planner import judge

        return judge(self.graph, wanted, self.rebuilder)

    def observe(self, remote: Remote, selection: Selection, wanted: Sequence[VersionId]) -> Observation:
        """What the bucket holds of the wanted versions; of everything, orphans too, when nothing was selected."""
        from gdcbuild.engine.bucket import observe

        partial = bool(selection.include or selection.exclude)
        return observe(remote, wanted, None if partial else self.graph.versions.keys(), memo=self.cache.records)

    def plan(self, environment: str | None, selection: Selection) -> Plan:
        from gdcbuild.engine.planner import plan

        wanted = self.select(selection)
        name, policy, remote = self.environment(environment)
        observed = self.observe(remote, selection, wanted)
        return plan(self.graph, wanted, self.judged(wanted), observed, name, remote.url, policy.immutable)

    def apply(
        self,
        environment: str | None,
        selection: Selection,
        workers: int,
        keep_going: bool,
        confirm: Callable[[Plan, Environment], None],
    ) -> None:
        """Build and publish what differs. `confirm` sees the plan before anything is done and may raise."""
        from gdcbuild.engine.apply import Applying, Target
        from gdcbuild.engine.planner import plan

        wanted = self.select(selection)
        name, policy, remote = self.environment(environment)

        def attempt() -> None:
            observed = self.observe(remote, selection, wanted)
            judged = self.judged(wanted)
            found = plan(self.graph, wanted, judged, observed, name, remote.url, policy.immutable)
            found.raise_if_unsafe()
            confirm(found, policy)
            target = Target(remote, policy.immutable, {c.id: c.published for c in found.changes})
            Applying(self.graph, judged, self.rebuilder, FRAMEWORKS, target, self._emit).run(found, workers, keep_going)

        self._despite_damage(attempt)

    def build(self, selection: Selection, workers: int, keep_going: bool) -> None:
        """Build and check; publish nothing, and look at no bucket."""
        from gdcbuild.engine.apply import Applying
        from gdcbuild.engine.bucket import Observation
        from gdcbuild.engine.planner import plan

        wanted = self.select(selection)

        def attempt() -> None:
            judged = self.judged(wanted)
            found = plan(self.graph, wanted, judged, Observation({}), "build", "nothing is published", False)
            Applying(self.graph, judged, self.rebuilder, FRAMEWORKS, None, self._emit).run(found, workers, keep_going)

        self._despite_damage(attempt)

    def verify(self, environment: str | None, selection: Selection, deep: bool) -> dict[VersionId, tuple[str, ...]]:
        """What is wrong with each published version, one line a file; without a selection of all that is sealed."""
        from gdcbuild.engine.verify import verify

        everything = not (selection.include or selection.exclude)
        _, _, remote = self.environment(environment)
        return verify(remote, None if everything else self.select(selection), deep)

    def _despite_damage(self, attempt: Callable[[], None]) -> None:
        """Blobs that are damaged, or gone, are found when they are read; beginning anew makes them anew."""
        for left in reversed(range(_ATTEMPTS)):
            try:
                attempt()
                return
            except BlobMissing:
                if not left:
                    raise
            except BlobDamaged as error:
                damaged = self.cache.cas.discard_damaged()
                if not left or not damaged:
                    raise
                for problem in error.problems:
                    self._emit(Warned(Problem(f"the cache is damaged: {problem.message}", "it is removed and made anew")))


class Cache:
    """The cache folder: private to its owner, and nothing in it is needed for anything but speed."""

    def __init__(self, folder: Path, emit: Callable[[Event], None]) -> None:
        from gdcbuild.store.folder import prepare

        self.folder = folder
        self._emit = emit
        prepare(folder, self._warn)

    @cached_property
    def cas(self) -> DiskCAS:
        from gdcbuild.store.disk import DiskCAS

        return DiskCAS(self.folder / "cas")

    @cached_property
    def records(self) -> DiskRecords:
        from gdcbuild.store.records import DiskRecords

        return DiskRecords(self.folder / "records", self._warn)

    @cached_property
    def locks(self) -> FileLocks:
        from gdcbuild.store.locks import FileLocks

        return FileLocks(self.folder / "locks")

    def collect(self, max_age: float | None, max_size: int | None) -> Collected:
        """Remove what has not been used for long; see store.gc."""
        from gdcbuild.store.gc import collect

        return collect(self.folder, self.cas, self.records, self.locks, max_age, max_size)

    def discard_damaged(self) -> list[str]:
        """Remove every blob and record that is not what was put there; returns what that was."""
        return [*self.cas.discard_damaged(), *self.records.discard_damaged()]

    def _warn(self, problem: Problem) -> None:
        self._emit(Warned(problem))


def cache_folder(given: Path | None, variables: Mapping[str, str]) -> Path:
    """The folder given, else gdcbuild below XDG_CACHE_HOME, else below ~/.cache."""
    if given is not None:
        return given.absolute()
    base = variables.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base).absolute() / "gdcbuild"


def _matching(pattern: str, versions: Iterable[VersionId]) -> set[VersionId]:
    model, at, version = pattern.partition("@")
    return {v for v in versions if fnmatch.fnmatchcase(v.model, model) and (not at or fnmatch.fnmatchcase(v.version, version))}
