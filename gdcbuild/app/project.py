"""The public Python API, on which the command line is built: a workspace and its operations."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from gdcbuild.app.cache import cache_folder
from gdcbuild.app.parts import Parts
from gdcbuild.app.selection import ALL, Selected, Selection, matching, selection
from gdcbuild.core.plan import Build
from gdcbuild.errors import (
    BlobDamaged,
    BlobMissing,
    GdcbuildError,
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

if TYPE_CHECKING:
    from gdcbuild.app.calls import Explained, Options, Status, Verification
    from gdcbuild.building.judge import Judge
    from gdcbuild.core.events import Event
    from gdcbuild.core.graph import Graph
    from gdcbuild.core.ids import VersionId
    from gdcbuild.core.plan import Change, Desired, Plan
    from gdcbuild.core.run import Report
    from gdcbuild.core.standing import Standing
    from gdcbuild.engine.apply import Running
    from gdcbuild.publishing.observe import Bucket
    from gdcbuild.source.environment import Environment
    from gdcbuild.source.source import Source

    Surveyed = tuple[Plan, Mapping[VersionId, Standing]]

_ATTEMPTS = 3
"""How often a run is started if the cache is damaged; each time, the damage is removed first."""

P = ParamSpec("P")
R = TypeVar("R")


def _public(function: Callable[P, R]) -> Callable[P, R]:
    """Turn errors of the operating system into a GdcbuildError."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BrokenPipeError:  # the receiver of events is gone
            raise
        except OSError as error:
            raise StoreError(of_system(error)) from error

    return called


class Project:
    """A workspace. Every call reads it as it is then. Make one call at a time, from any thread.

    `on_event` receives events, from several threads; see core.events.
    """

    def __init__(
        self, folder: Path, file: str | None, cache: Path, variables: Mapping[str, str], on_event: Callable[[Event], None]
    ) -> None:
        manifest, self._member = find(folder, file, variables)
        self._parts = Parts(manifest, cache, variables, on_event)
        if self._member:
            message = f"the workspace is that of {os.path.relpath(manifest)}, which includes this folder"
            self._parts.warn(Note(message, "use -f gdcbuild.yaml for the manifest here alone"))
        self._source: Source | None = None

    @_public
    def plan(self, environment: str | None = None, select: Selected = ALL) -> Plan:
        """What apply would do, and why. Builds and writes nothing."""
        return self._surveyed(environment, select, Parsed)[0]

    @_public
    def status(self, environment: str | None = None, select: Selected = ALL) -> Status:
        """The state of each version in the bucket, compared with the manifest. Reads every seal completely."""
        from gdcbuild.app.calls import Status

        return Status(*self._surveyed(environment, select))

    @_public
    def build(self, select: Selected = ALL, options: Options | None = None) -> Report:
        """Build what changed and check it against its image. Publishes nothing and does not read the bucket."""
        from gdcbuild.engine.apply import build

        source, wanted = self._checked(select)
        running = self._running(options)
        return self._despite_damage(source, lambda source: build(_judge(source, running), wanted, running, self._parts.emit))

    @_public
    def apply(self, environment: str | None = None, select: Selected = ALL, options: Options | None = None) -> Report:
        """Build what changed and publish what differs. Running it again does nothing."""
        from gdcbuild.engine.apply import apply

        source, wanted = self._checked(select)
        chosen, bucket = self._bucket(source, environment, select, options is not None and options.repair)

        def confirm(plan: Plan) -> None:
            if options is not None and options.confirm is not None:
                options.confirm(plan, chosen)
            elif chosen.protect and plan.pending:
                raise Refused(Problem(f"{chosen.name} is protected", "confirm with --yes; in Python, pass confirm"))

        running = self._running(options, confirm)
        return self._despite_damage(
            source, lambda source: apply(_judge(source, running), wanted, bucket, running, self._parts.emit)
        )

    @_public
    def verify(self, environment: str | None = None, select: Selected = ALL, deep: bool = False) -> Verification:
        """The state of each version in the bucket; with `deep`, by reading every byte.

        Without a selection: every version that is in the manifest, is sealed, or would be loaded by a server.
        """
        from gdcbuild.app.calls import Verification
        from gdcbuild.frameworks import FRAMEWORKS
        from gdcbuild.publishing.observe import Look, audit, observe
        from gdcbuild.remotes import waited

        source, wanted = self._selected(select)
        _, bucket = self._bucket(source, environment, select)
        look = Look(deep=self._parts.watched() if deep else None)
        with waited(bucket.remote, self._parts.warn):
            if not bucket.complete:
                return Verification(observe(bucket.remote, wanted, look=look).standings)
            entries = {framework.entry for framework in FRAMEWORKS.values()}
            found = audit(bucket.remote, wanted, entries, look).standings
            return Verification(found, found.keys() - set(wanted))

    @_public
    def explain(self, select: Sequence[str], environment: str | None = None) -> Mapping[VersionId, Explained]:
        """Why each version would be built and published, or not."""
        from gdcbuild.app.calls import Explained
        from gdcbuild.building.explain import explain

        source, wanted = self._checked(select)
        graph, judged, rebuilder = source.work(wanted)
        changes = self._changes(source, wanted, environment)
        return {v: Explained(changes.get(v), explain(graph, judged, v, rebuilder)) for v in wanted}

    @_public
    def validate(self) -> Graph:
        """Check that every file exists and parses, and return the graph of the whole workspace."""
        from gdcbuild.building import standins
        from gdcbuild.manifest.mistakes import Mistakes
        from gdcbuild.source.syntax import refuse_mistakes
        from gdcbuild.store.workspace import DiskWorkspace

        plain, mistakes = self._parts.plain(), Mistakes()
        with mistakes:
            plain.refuse(None)
        with mistakes:
            files = DiskWorkspace(plain.root, self._parts.records())
            standins.refuse(plain.graph, plain.graph.actions, files)
        with mistakes:
            refuse_mistakes(plain.graph, plain.graph.versions, plain.root)
        mistakes.raise_all()
        return plain.graph

    def open(self) -> Source:
        """Read the workspace now, for the next call. Raises ManifestError for problems of the workspace as a whole."""
        self._source = self._opened()
        return self._source

    def _selected(self, select: Selected) -> tuple[Source, list[VersionId]]:
        """The selected versions, sorted; by default, those of the member."""
        source = self._opened()
        if self._member and not selection(select).include:
            self._parts.warn(Note(f"selected: the models of {self._member}", "name other models to select them"))
        return source, matching(select, source.models(), lambda: source.models(self._member))

    def _is_partial(self, select: Selected) -> bool:
        """Whether anything is left out."""
        return bool(self._member) or any(selection(select))

    def _checked(self, select: Selected) -> tuple[Source, list[VersionId]]:
        """Select versions, and refuse mistakes in them and all they need; without a selection, anywhere."""
        source, wanted = self._selected(select)
        source.check(wanted if self._is_partial(select) else None)
        return source, wanted

    def _surveyed(self, environment: str | None, select: Selected, judge: Callable[[Source], Judge] | None = None) -> Surveyed:
        """The plan and the state of the bucket. Without a `judge`, mistakes are tolerated and every seal is read completely."""
        from gdcbuild.engine.planner import survey

        source, wanted = self._checked(select) if judge else self._selected(select)
        _, bucket = self._bucket(source, environment, select)
        return survey(judge(source) if judge else source, wanted, bucket, whole_seals=judge is None)

    def _changes(self, source: Source, wanted: Collection[VersionId], environment: str | None) -> Mapping[VersionId, Change]:
        """The changes planned for the versions, if an environment is chosen and its bucket can be read."""
        from gdcbuild.engine.planner import survey

        try:
            _, bucket = self._bucket(source, environment, Selection([str(v) for v in wanted]))
            return {change.id: change for change in survey(source, wanted, bucket)[0].changes}
        except (UsageError, RemoteError) as error:
            if environment is not None:
                raise
            for problem in error.problems if isinstance(error, RemoteError) else ():
                self._parts.warn(problem)
            return {}

    def _running(self, options: Options | None, confirm: Callable[[Plan], None] = lambda _: None) -> Running:
        from gdcbuild.app.calls import Options
        from gdcbuild.engine.apply import Running

        jobs, keep_going, *_ = options or Options()
        return Running(jobs or len(os.sched_getaffinity(0)), keep_going, confirm, self._parts.checkout)

    def _bucket(
        self, source: Source, environment: str | None, select: Selected, repair: bool = False
    ) -> tuple[Environment, Bucket]:
        return self._parts.bucket(source, environment, not self._is_partial(select), repair)

    def _opened(self) -> Source:
        """The workspace opened for this call, or else as it is now."""
        source, self._source = self._source, None
        return source or self._parts.source()

    def _despite_damage(self, source: Source, attempt: Callable[[Source], Report]) -> Report:
        """Start again if blobs turn out to be damaged or missing when read: then they are built again.

        If their bytes differ this time, the plan is no longer valid, and is made again.
        """
        for _ in range(_ATTEMPTS - 1):
            try:
                return attempt(source)
            except (BlobMissing, BlobDamaged, ResultChanged, Several) as error:
                found = error.errors if isinstance(error, Several) else (error,)
                if not self._discard(found):
                    raise
                source = self._parts.source(believe=False)
        return attempt(source)

    def _discard(self, found: Sequence[GdcbuildError]) -> bool:
        """Remove what is damaged. Returns whether starting again can help."""
        damaged = [e for e in found if isinstance(e, BlobDamaged)]
        removed = bool(damaged and self._parts.cache.cas.discard_damaged())
        if not removed and not any(isinstance(e, BlobMissing | ResultChanged) for e in found):
            return False
        for problem in (p for e in found if isinstance(e, ResultChanged) for p in e.problems):
            self._parts.warn(Problem(problem.message, "planning again"))
        for problem in (p for e in damaged for p in e.problems):
            self._parts.warn(Problem(f"the cache is damaged: {problem.message}", "it is removed and built again"))
        return True


class Parsed:
    """A source that refuses to build versions from files that do not parse."""

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


def _judge(source: Source, running: Running) -> Judge:
    """The source, with files parsed first. With `keep_going`, the check of each version finds what does not parse."""
    return source if running.keep_going else Parsed(source)


def load(
    directory: str | Path = ".",
    file: str | None = None,
    cache: str | Path | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
    variables: Mapping[str, str] = os.environ,
) -> Project:
    """The workspace whose manifest is in a folder or its nearest parent.

    `file` is the root manifest instead of gdcbuild.yaml, `cache` the cache folder. `variables` replace the environment
    variables.
    """
    folder = Path(cache) if cache is not None else Path(given) if (given := variables.get("GDCBUILD_CACHE_DIR")) else None
    project = Project(Path(directory), file, cache_folder(folder, variables), variables, on_event)
    _public(project.open)()
    return project


plan, build, apply, verify, status = Project.plan, Project.build, Project.apply, Project.verify, Project.status
