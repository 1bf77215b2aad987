"""A workspace, its cache and its buckets, put together: the public Python API, and what the command line is written on."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

from gdcbuild.app.cache import Cache, LateRecords, cache_folder
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Build, Terms
from gdcbuild.errors import (
    BlobDamaged,
    BlobMissing,
    GdcbuildError,
    ManifestError,
    Note,
    Problem,
    Refused,
    RemoteError,
    ResultChanged,
    Several,
    StoreError,
    UsageError,
    of_system,
)
from gdcbuild.manifest.find import find
from gdcbuild.source.environment import Environment, Variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gdcbuild.core.digest import Digest
    from gdcbuild.core.events import Event
    from gdcbuild.core.graph import Graph
    from gdcbuild.core.plan import Change, Desired, Plan
    from gdcbuild.core.ports import Remote
    from gdcbuild.core.run import Report
    from gdcbuild.core.seal import Checkout, Provenance
    from gdcbuild.core.standing import Standing
    from gdcbuild.core.verdict import Explanation
    from gdcbuild.core.watch import Watched
    from gdcbuild.engine.apply import Running
    from gdcbuild.engine.judge import Judge
    from gdcbuild.engine.observe import Bucket
    from gdcbuild.engine.rebuilder import Ports, Rebuilder
    from gdcbuild.source.plain import PlainSource
    from gdcbuild.source.source import Source

_ATTEMPTS = 3
"""How often a run is started again because the cache turned out to be damaged; each time the damage has been removed."""

P = ParamSpec("P")
R = TypeVar("R")


class Selection(NamedTuple):
    """Which versions: MODEL, MODEL@VERSION or globs of either; none means all. `exclude` takes away."""

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()


ALL = Selection()


class Options(NamedTuple):
    """How build and apply run.

    At most `jobs` run at a time, by default one for each processor. With `keep_going`, a failure stops only what needs what
    failed. With `repair`, apply puts back what drifted, and seals what others published with the same bytes. `confirm` is
    shown the plan and the environment before anything is done, and may raise; without it, nothing is applied to a
    protected environment.
    """

    jobs: int | None = None
    keep_going: bool = False
    repair: bool = False
    confirm: Callable[[Plan, Environment], None] | None = None


class Status(NamedTuple):
    """The plan, and what each version is in the bucket."""

    plan: Plan
    standings: Mapping[VersionId, Standing]

    @property
    def provenance(self) -> dict[VersionId, Provenance]:
        """What each published version was made from, where its seal says so."""
        from gdcbuild.core.standing import Published

        published = ((id, s.provenance) for id, s in self.standings.items() if isinstance(s, Published))
        return {id: origin for id, origin in published if origin is not None}


class Verification(NamedTuple):
    """What each version is in the bucket. Those that are `unknown` are not in the manifest."""

    standings: Mapping[VersionId, Standing]
    unknown: Collection[VersionId] = ()

    @property
    def damaged(self) -> dict[VersionId, tuple[str, ...]]:
        """What is wrong with each version that is not what was published, one line a file."""
        from gdcbuild.core.standing import damage

        return {id: lines for id, standing in self.standings.items() if (lines := damage(standing))}


class Explained(NamedTuple):
    """What is to be done with a version, where an environment says so, and why its actions run or not, its own first."""

    change: Change | None
    actions: Sequence[Explanation]


class Parsed:
    """A source that refuses versions that must be built from files that do not parse."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.work = source.work

    def desired(self, wanted: Collection[VersionId]) -> Mapping[VersionId, Desired]:
        found = self._source.desired(wanted)
        todo = [id for id, version in found.items() if version.build is Build.BUILD]
        if todo:
            from gdcbuild.source.syntax import refuse_mistakes

            refuse_mistakes(self._source.work(todo).graph, todo, self._source.root)
        return found


def _judge(source: Source, options: Options) -> Judge:
    """With `keep_going`, the check of each version finds what does not parse."""
    return source if options.keep_going else Parsed(source)


def _public(function: Callable[P, R]) -> Callable[P, R]:
    """Raises what the system refuses as a GdcbuildError, too."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BrokenPipeError:  # whoever is told of events has gone
            raise
        except OSError as error:
            raise StoreError(of_system(error)) from error

    return called


class Project:
    """A workspace. Every call looks at it as it is then. One call at a time; from any thread.

    `on_event` is told what happens, from several threads; see core.events.
    """

    def __init__(
        self, folder: Path, file: str | None, cache: Path, variables: Mapping[str, str], on_event: Callable[[Event], None]
    ) -> None:
        self._emit = on_event
        self._cache_folder = cache
        self._environ = variables
        self._variables = Variables(variables)
        self._manifest, self._member = find(folder, file, variables)
        if self._member:
            root, member = os.path.relpath(self._manifest), self._member
            hint = "name other models, or -f gdcbuild.yaml to use the manifest here by itself"
            self._warn(Note(f"{root} includes this folder and is the root manifest; selected: the models of {member}", hint))
        self._source: Source | None = None

    @_public
    def plan(self, environment: str | None = None, select: Selection | Sequence[str] = ALL) -> Plan:
        """What apply would do, and why. Builds and writes nothing."""
        return self._surveyed(environment, select, Parsed).plan

    @_public
    def status(self, environment: str | None = None, select: Selection | Sequence[str] = ALL) -> Status:
        """What each version is in the bucket, and how it compares with the manifest. Reads every seal whole."""
        return self._surveyed(environment, select)

    @_public
    def build(self, select: Selection | Sequence[str] = ALL, options: Options = Options()) -> Report:
        """Build what changed and check it against its image. Publishes nothing, and looks at no bucket."""
        from gdcbuild.engine.apply import build

        source, wanted = self._checked(select)
        running = self._running(options)
        return self._despite_damage(source, lambda source: build(_judge(source, options), wanted, running, self._emit))

    @_public
    def apply(
        self, environment: str | None = None, select: Selection | Sequence[str] = ALL, options: Options = Options()
    ) -> Report:
        """Build what changed and publish what differs. A second time it does nothing."""
        from gdcbuild.engine.apply import apply

        source, wanted = self._checked(select)
        chosen, bucket = self._bucket(source, environment, select, options.repair)

        def confirm(plan: Plan) -> None:
            if options.confirm is not None:
                options.confirm(plan, chosen)
            elif chosen.protect and plan.pending:
                raise Refused(Problem(f"{chosen.name} is protected", "answer beforehand: --yes, or in Python confirm"))

        running = self._running(options, confirm)
        return self._despite_damage(source, lambda source: apply(_judge(source, options), wanted, bucket, running, self._emit))

    @_public
    def verify(
        self, environment: str | None = None, select: Selection | Sequence[str] = ALL, deep: bool = False
    ) -> Verification:
        """What each version is in the bucket, with `deep` by reading every byte.

        Without a selection, all in the manifest, all that is sealed, and all that a server would load.
        """
        from gdcbuild.engine.observe import Look, audit, observe
        from gdcbuild.frameworks import FRAMEWORKS
        from gdcbuild.remotes import waited

        source = self._opened()
        _, bucket = self._bucket(source, environment, select)
        wanted = self._select(source, select)
        look = Look(deep=self._watched() if deep else None)
        with waited(bucket.remote, self._warn):
            if not bucket.complete:
                return Verification(observe(bucket.remote, wanted, look=look).standings)
            entries = {framework.entry for framework in FRAMEWORKS.values()}
            found = audit(bucket.remote, wanted, entries, look).standings
            return Verification(found, found.keys() - set(wanted))

    @_public
    def explain(self, select: Sequence[str], environment: str | None = None) -> Mapping[VersionId, Explained]:
        """Why versions would be built and published, or not."""
        from gdcbuild.engine.explain import explain

        source, wanted = self._checked(select)
        graph, judged, rebuilder = source.work(wanted)
        changes = self._changes(source, wanted, environment)
        return {v: Explained(changes.get(v), explain(graph, judged, v, rebuilder)) for v in wanted}

    @_public
    def validate(self) -> Graph:
        """The graph of the whole workspace, whose files are there and parse."""
        from gdcbuild.engine import standins
        from gdcbuild.manifest.mistakes import Mistakes
        from gdcbuild.source.syntax import refuse_mistakes
        from gdcbuild.store.workspace import DiskWorkspace

        self._variables = Variables(self._environ)
        plain, mistakes = self._read(), Mistakes()
        with mistakes:
            plain.refuse(None)
        with mistakes:
            files = DiskWorkspace(plain.root, LateRecords(lambda: self._cache.records))
            standins.refuse(plain.graph, plain.graph.actions, files)
        with mistakes:
            refuse_mistakes(plain.graph, plain.graph.versions, plain.root)
        mistakes.raise_all()
        return plain.graph

    def open(self) -> Source:
        """Read the workspace for the next call now. Raises ManifestError for what is wrong with it as a whole."""
        self._source = self._opened()
        return self._source

    def _selected(self, select: Selection | Sequence[str]) -> tuple[Source, list[VersionId]]:
        source = self._opened()
        return source, self._select(source, select)

    def _checked(self, select: Selection | Sequence[str]) -> tuple[Source, list[VersionId]]:
        """Refuses mistakes in what is selected and all it needs; anywhere, when nothing is selected."""
        source, wanted = self._selected(select)
        source.check(wanted if self._is_partial(select) else None)
        return source, wanted

    def _surveyed(
        self, environment: str | None, select: Selection | Sequence[str], judge: Callable[[Source], Judge] | None = None
    ) -> Status:
        """The plan, or, without a `judge` of its own, what it says of the bucket, of which every seal is read whole."""
        from gdcbuild.engine.planner import survey

        source, wanted = self._checked(select) if judge else self._selected(select)
        _, bucket = self._bucket(source, environment, select)
        return Status(*survey(judge(source) if judge else source, wanted, bucket, whole_seals=judge is None))

    def _changes(self, source: Source, wanted: Collection[VersionId], environment: str | None) -> Mapping[VersionId, Change]:
        """What is to be done with the versions, as far as an environment is chosen and its bucket can be read."""
        from gdcbuild.engine.planner import survey

        try:
            _, bucket = self._bucket(source, environment, Selection([str(v) for v in wanted]))
            return {change.id: change for change in survey(source, wanted, bucket)[0].changes}
        except (UsageError, RemoteError) as error:
            if environment is not None:
                raise
            for problem in error.problems if isinstance(error, RemoteError) else ():
                self._warn(problem)
            return {}

    def _opened(self, believe: bool = True) -> Source:
        """The workspace as it is now. What has not changed since the last run is not read, if that is believed."""
        from gdcbuild.memory.remembered import RememberedSource

        source, self._source = self._source, None
        if source is not None:
            return source
        self.__dict__.pop("_ports", None)  # which knows files as they were
        self._variables = Variables(self._environ)
        return RememberedSource(self._manifest, self._variables, self._cache_folder, self._read, self._warn, believe)

    def _read(self, without: Collection[str] = ()) -> PlainSource:
        from gdcbuild.source.plain import PlainSource

        return PlainSource(self._manifest, self._variables, self._rebuilder, self._warn, without)

    def _warn(self, problem: Problem) -> None:
        from gdcbuild.core.events import Warned

        self._emit(Warned(problem))

    def _watched(self) -> Watched:
        """What tells how far large files are read."""
        from gdcbuild.core.watch import Watch

        return Watch(self._emit).stream

    @cached_property
    def _cache(self) -> Cache:
        return Cache(self._cache_folder, self._emit)

    def _rebuilder(self, graph: Graph) -> Rebuilder:
        from gdcbuild.engine.rebuilder import Rebuilder

        return Rebuilder(graph, self._ports)

    @cached_property
    def _ports(self) -> Ports:
        from gdcbuild.engine.rebuilder import Ports
        from gdcbuild.frameworks import FRAMEWORKS
        from gdcbuild.runners.process import LocalRunner
        from gdcbuild.runners.toolchains import VenvToolchains
        from gdcbuild.store.workspace import DiskWorkspace

        cache, locks = self._cache, self._cache.locks
        workspace = DiskWorkspace(self._manifest.parent, cache.records, self._watched())
        logs = cache.folder / "logs"
        toolchains = VenvToolchains(cache.folder / "toolchains", logs, workspace, cache.records, locks, self._emit)
        machine = DiskWorkspace(Path("/"), cache.records)
        runner = LocalRunner(cache.folder / "work", logs, self._emit, machine, self._variables)
        return Ports(cache.cas, cache.records, runner, toolchains, workspace, locks, self._variables, FRAMEWORKS)

    def _running(self, options: Options, confirm: Callable[[Plan], None] = lambda _: None) -> Running:
        from gdcbuild.app.commit import checkout
        from gdcbuild.engine.apply import Running

        def checked_out(files: Mapping[str, Digest]) -> Checkout:
            return checkout(self._manifest, files, self._environ, self._warn)

        return Running(options.jobs or len(os.sched_getaffinity(0)), options.keep_going, confirm, checked_out)

    def _bucket(
        self, source: Source, environment: str | None, select: Selection | Sequence[str], repair: bool = False
    ) -> tuple[Environment, Bucket]:
        """The environment chosen, and its bucket."""
        from gdcbuild.engine.observe import Bucket
        from gdcbuild.remotes import remembered, waited

        chosen = source.environment(environment)
        remote = self._remote(source, chosen)
        complete = not self._is_partial(select)

        @contextmanager
        def listing() -> Iterator[None]:
            with ExitStack() as contexts:
                if complete:
                    contexts.enter_context(remembered(remote, self._cache_folder / "listings", self._warn))
                contexts.enter_context(waited(remote, self._warn))
                yield

        terms = Terms(chosen.name, chosen.immutable, repair, chosen.clean)
        return chosen, Bucket(remote, terms, LateRecords(lambda: self._cache.records), self._watched, complete, listing)

    def _remote(self, source: Source, chosen: Environment) -> Remote:
        from gdcbuild.remotes import open_remote

        try:
            return open_remote(
                chosen.bucket,
                source.root,
                endpoint=chosen.endpoint,
                region=chosen.region,
                ca_file=Path(chosen.ca_file) if chosen.ca_file else None,
            )
        except ManifestError as error:
            where = source.where("environments", chosen.name, "bucket")
            raise ManifestError(*(p._replace(where=p.where or where) for p in error.problems)) from error

    def _is_partial(self, select: Selection | Sequence[str]) -> bool:
        """Whether anything is left out."""
        return bool(self._member) or any(_selection(select))

    def _select(self, source: Source, select: Selection | Sequence[str]) -> list[VersionId]:
        """The versions selected, sorted: those of the member, when no others are named.

        Raises UsageError for every pattern that matches none.
        """
        models, (include, exclude) = source.models(), _selection(select)
        found = {p: _matching(p, models) for p in (*include, *exclude)}
        problems = [_unmatched(pattern, models) for pattern, versions in found.items() if not versions]
        if problems:
            raise UsageError(*problems)
        included = {v for p in include for v in found[p]} if include else _matching("*", source.models(self._member))
        return sorted(included.difference(*(found[p] for p in exclude)))

    def _despite_damage(self, source: Source, attempt: Callable[[Source], Report]) -> Report:
        """Blobs that are damaged, or gone, are found when they are read; starting again makes them again.

        Where they do not come out as they were, what was planned with them no longer holds, and is planned again.
        """
        for _ in range(_ATTEMPTS - 1):
            try:
                return attempt(source)
            except (BlobMissing, BlobDamaged, ResultChanged, Several) as error:
                found = error.errors if isinstance(error, Several) else (error,)
                if not self._discard(found):
                    raise
                source = self._opened(believe=False)
        return attempt(source)

    def _discard(self, found: Sequence[GdcbuildError]) -> bool:
        """Remove what is damaged. Returns whether starting again may end otherwise."""
        damaged = [e for e in found if isinstance(e, BlobDamaged)]
        mended = bool(damaged and self._cache.cas.discard_damaged())
        if not mended and not any(isinstance(e, BlobMissing | ResultChanged) for e in found):
            return False
        for problem in (p for e in found if isinstance(e, ResultChanged) for p in e.problems):
            self._warn(Problem(problem.message, "it is planned again"))
        for problem in (p for e in damaged for p in e.problems):
            self._warn(Problem(f"the cache is damaged: {problem.message}", "it is removed and made again"))
        return True


def load(
    directory: str | Path = ".",
    file: str | None = None,
    cache: str | Path | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
    variables: Mapping[str, str] = os.environ,
) -> Project:
    """The workspace in a folder, or above it where its manifest is, read and validated.

    `file` is the root manifest instead of gdcbuild.yaml, `cache` the cache folder. `variables` stand in for the
    environment variables.
    """
    folder = Path(cache) if cache is not None else Path(given) if (given := variables.get("GDCBUILD_CACHE_DIR")) else None
    project = Project(Path(directory), file, cache_folder(folder, variables), variables, on_event)
    _public(project.open)()
    return project


plan, build, apply, verify, status = Project.plan, Project.build, Project.apply, Project.verify, Project.status


def _selection(select: Selection | Sequence[str]) -> Selection:
    return select if isinstance(select, Selection) else Selection([select] if isinstance(select, str) else select)


def _unmatched(pattern: str, models: Mapping[str, Collection[str]]) -> Problem:
    from gdcbuild.manifest.validate import did_you_mean

    known = set(models) if "@" not in pattern else {str(v) for v in _matching("*", models)}
    return Problem(f"{pattern!r} matches no version", did_you_mean(pattern, known, "the manifest has no models"))


def _matching(pattern: str, models: Mapping[str, Collection[str]]) -> set[VersionId]:
    """The versions that MODEL or MODEL@VERSION names, each a glob or plain. (Plain names are looked up: there may be many.)"""
    model, at, version = pattern.partition("@")
    return {VersionId(m, v) for m in _named(model, models) for v in (_named(version, models[m]) if at else models[m])}


def _named(pattern: str, names: Collection[str]) -> Collection[str]:
    if not any(c in pattern for c in "*?["):
        return [pattern] if pattern in names else []
    return [name for name in names if fnmatch.fnmatchcase(name, pattern)]
