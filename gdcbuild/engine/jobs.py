"""The jobs of a run: they build what is needed, check it against its image, and publish it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial

from gdcbuild import __version__
from gdcbuild.building import scheduler
from gdcbuild.building.artifacts import Artifact, files_of, named
from gdcbuild.building.judge import Work
from gdcbuild.core.decision import change_of
from gdcbuild.core.digest import Digest
from gdcbuild.core.events import (
    Event,
    JobFailed,
    JobFinished,
    JobNotStarted,
    JobSkipped,
    JobStarted,
    JobWaiting,
    Outcome,
    Planned,
    Progress,
    Summed,
    Warned,
    What,
)
from gdcbuild.core.graph import Version
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Build, Change, Desired, Kind, Plan, Terms, refused
from gdcbuild.core.ports import Flag, Remote
from gdcbuild.core.run import Ended, Report, VersionReport
from gdcbuild.core.seal import MOST_SOURCES, NO_CHECKOUT, Checkout, Provenance
from gdcbuild.core.standing import Standing
from gdcbuild.core.verdict import Hit, Taken, tied
from gdcbuild.errors import (
    BlobDamaged,
    Caution,
    ContractViolated,
    GdcbuildError,
    Interrupted,
    Problem,
    Refused,
    ResultChanged,
    Several,
    StoreError,
    of_system,
    raise_all,
)
from gdcbuild.files.content import copy_verified
from gdcbuild.files.read_progress import EVERY
from gdcbuild.publishing.observe import Observation, compare
from gdcbuild.publishing.publisher import publish
from gdcbuild.publishing.writer import Release, SoFar

_DECIDE = "decide"
"""The job that refuses versions that must not change, once everything that only a build could tell is built."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to publish, on which terms, the standing of every version in the plan, and the commit for the seals.

    With `in_part`, publish what may be published, even if another version is refused.
    """

    remote: Remote
    terms: Terms
    seen: Mapping[VersionId, Standing]
    checkout: Checkout = NO_CHECKOUT
    in_part: bool = False


class Jobs:
    """Carries out a plan. With `target` None it builds and checks, but publishes nothing."""

    def __init__(self, work: Work, plan: Plan, target: Target | None, emit: Callable[[Event], None]) -> None:
        self._graph = work.graph
        self._verdicts = work.judged.verdicts
        self._made = dict(work.judged.made)
        self._rebuilder = work.rebuilder
        self._plan = plan
        self._changes = {c.id: c for c in plan.changes}
        self._target = target
        self._emit = emit
        self._lock = threading.Lock()
        self._publishing: dict[VersionId, SoFar] = {}
        self._sound: set[VersionId] = set()
        self._ended: dict[VersionId, Ended] = {}
        self._failed: dict[str, GdcbuildError] = {}
        self._actions = 0
        self._objects = 0

    def run(self, todo: Collection[VersionId], workers: int, keep_going: bool) -> Report:
        """Build, check and publish these versions. Raises the errors of all failed jobs together, at the end."""
        started = time.monotonic()
        versions = [self._graph.versions[id] for id in todo]
        before, finishes = self._decisions(versions), self._finishes(versions)
        builds = self._builds(versions)
        self._emit(Planned(self._plan if self._target else None, len(builds) + len(finishes)))
        try:
            done = scheduler.run([*builds, *before, *finishes], workers, keep_going, self._graph.pools)
        except Interrupted as error:
            if not any(left.begun for left in self._publishing.values()):
                raise
            raise Interrupted(Problem("interrupted; the next run finishes what was started in the bucket")) from error
        finally:
            self._tell_left()
        self._tell_undone(done, {job.id for job in before})
        failed = [*done.failed.values(), *(self._plan.refusals if self._target else ())]
        seconds = time.monotonic() - started
        report = Report(self._plan.environment, self._versions(), self._actions, self._objects, seconds)
        self._emit(Summed(self._actions, len(report.published), self._objects, len(failed), seconds))
        _raise(failed, report)
        return report

    def _tell_undone(self, done: scheduler.Report, silent: Collection[str]) -> None:
        because = {**done.skipped, **dict.fromkeys(done.not_started, _DECIDE)}
        for job, cause in because.items():
            if job not in silent and job.removeprefix("publish ") not in self._failed:
                self._emit(JobNotStarted(job) if cause == _DECIDE else JobSkipped(job, cause))

    def _versions(self) -> tuple[VersionReport, ...]:
        return tuple(self._version(c) for c in self._plan.changes if c.kind is not Kind.ORPHAN)

    def _version(self, change: Change) -> VersionReport:
        id, digest = change.id, change.digest
        if id in self._graph.versions and (artifact := self._made.get(self._graph.versions[id].action)):
            digest = artifact.tree.digest
        error: GdcbuildError | None = refused(change, self._plan.environment) if self._target else None
        outcome: Ended = self._ended.get(id, "unchanged" if change.kind is Kind.NONE else "skipped")
        if error := error or self._failed.get(str(id)):
            outcome = "refused" if isinstance(error, Refused) else "failed"
        return VersionReport(id, change.kind, outcome, digest, error.problems if error else ())

    def _tell_left(self) -> None:
        """Count and report what failed publishes have left in the bucket, whatever stopped them."""
        with self._lock:  # a job that is no longer waited for may still end
            publishing = list(self._publishing.items())
        for id, left in publishing:
            self._objects += left.objects
            if left.gone:
                hint = f"publish it: gdcbuild apply {id} --env {self._plan.environment}"
                self._emit(Warned(Problem(f"no server can load {id} until it is published again", hint)))

    def _builds(self, versions: Iterable[Version]) -> list[scheduler.Job]:
        """A job for every action that must or may run: its bytes are needed and the cache does not have them."""
        graph, cas = self._graph, self._rebuilder.ports.cas
        wanted = {v.action for v in versions}
        jobs: dict[str, scheduler.Job] = {}
        toolchains: dict[str, scheduler.Job] = {}
        for identifier in reversed(graph.order):
            if identifier not in wanted:
                continue
            verdict = self._verdicts[identifier]
            if isinstance(verdict, Taken) or (isinstance(verdict, Hit) and self._made[identifier].held(cas)):
                continue
            action = graph.actions[identifier]
            wanted.update(action.needs)
            needs = action.needs
            if action.toolchain is not None and self._rebuilder.lacks(action):
                toolchains[action.toolchain] = self._toolchain(action.toolchain)
                needs = (*needs, toolchains[action.toolchain].id)
            seconds = self._rebuilder.expected(action)
            jobs[identifier] = scheduler.Job(identifier, needs, partial(self._build, identifier), seconds, action.pool)
        return [*toolchains.values(), *(jobs[i] for i in graph.order if i in jobs)]

    def _toolchain(self, name: str) -> scheduler.Job:
        """A separate job, so that all missing toolchains are installed at once, before the first action needs them."""
        return scheduler.Job(f"toolchain {name}", (), partial(self._rebuilder.prepare, name))

    def _decisions(self, versions: Iterable[Version]) -> list[scheduler.Job]:
        """Jobs that find conflicts only a build can tell, before anything is written."""
        target = self._target
        if target is None or target.in_part or not (target.terms.immutable or target.terms.repair):
            return []
        unknown = [v for v in versions if self._changes[v.id].kind is Kind.UNKNOWN]
        checks = [scheduler.Job(f"check {v.id}", (v.action,), partial(self._check, v)) for v in unknown]
        decide = scheduler.Job(_DECIDE, tuple(job.id for job in checks), partial(self._decide, unknown, target))
        return [*checks, decide] if checks else []

    def _finishes(self, versions: Iterable[Version]) -> list[scheduler.Job]:
        if self._target is None:
            return [scheduler.Job(f"check {v.id}", (v.action,), partial(self._check, v)) for v in versions]
        finish = partial(partial, self._finish, self._target)
        return [scheduler.Job(f"publish {v.id}", (v.action, _DECIDE), finish(v)) for v in versions]

    def _build(self, identifier: str, cancel: Flag) -> None:
        action = self._graph.actions[identifier]
        with self._lock:
            made = {need: self._made[need] for need in action.needs}
        with self._reported(identifier, "action") as ended:
            waits = partial(self._emit, JobWaiting(identifier, "action"))
            artifact, outcome = self._rebuilder.make(action, made, cancel, waits)
            with self._lock:
                self._made[identifier] = artifact
                self._actions += outcome == "built"
            ended(outcome)
        if artifact.bound and outcome == "built":
            hint = "the same inputs give other bytes in another cache folder: write relative paths, or none"
            self._emit(Warned(Caution(f"{identifier} is {tied(artifact.bound)}", hint, action.where)))

    def _decide(self, versions: Iterable[Version], target: Target, _: Flag) -> None:
        """Refuse the versions that must not change, now that their bytes are known: all of them together."""
        trees = {v.id: self._made[v.action].tree for v in versions}
        seen = compare(target.remote, Observation(target.seen), trees, self._rebuilder.ports.records).standings
        found = []
        for id, tree in trees.items():
            change = change_of(id, Desired(Build.CACHED, "", tree), seen[id], target.terms)
            if error := refused(change, self._plan.environment):
                found.append(error)
                with suppress(Refused), self._reported(str(id), "publish"):
                    raise error
        raise_all(Refused, (problem for error in found for problem in error.problems))

    def _check(self, version: Version, _: Flag) -> None:
        """Check the artifact against its image."""
        artifact = self._made[version.action]
        with self._reported(str(version.id), "check") as ended, self._at_rest(version, artifact):
            self._refuse_unplanned(version, artifact)
            self._refuse_unservable(version, artifact)
            ended("sound")
        with self._lock:
            self._sound.add(version.id)
            if self._target is None:
                self._ended[version.id] = "built"

    def _finish(self, target: Target, version: Version, cancel: Flag) -> None:
        """Check the artifact, unless it was checked before, and publish it."""
        if version.id not in self._sound:
            self._check(version, cancel)
        artifact = self._made[version.action]
        with self._reported(str(version.id), "publish") as ended, self._at_rest(version, artifact):
            left = SoFar()
            with self._lock:
                self._publishing[version.id] = left
            release = self._release(version, artifact, target.checkout)
            progress = self._progress(version.id, release.tree.digest.size, cancel)
            written = publish(target.remote, release, target.seen[version.id], target.terms, left, progress)
            with self._lock:
                del self._publishing[version.id]
                self._objects += written.objects
                self._ended[version.id] = written.outcome
            ended(written.outcome)

    def _refuse_unplanned(self, version: Version, artifact: Artifact) -> None:
        planned = self._changes[version.id].digest
        if self._target is None or planned is None or planned == artifact.tree.digest:
            return
        if isinstance(self._verdicts[version.action], Hit):
            lost = f"{version.id}: a cached result was lost, and building it again gave other bytes"
            raise ResultChanged(Problem(lost, "run the command again, and check the plan", version.where))
        hint = "run the command again, and check the plan"
        raise Refused(Problem(f"the files of {version.id} changed after the plan was made", hint, version.where))

    @contextmanager
    def _at_rest(self, version: Version, artifact: Artifact) -> Iterator[None]:
        """Treat other bytes than expected as damage of the cache, unless a file of the workspace has changed."""
        try:
            yield
        except (BlobDamaged, FileNotFoundError):
            artifact.refuse_changed(self._rebuilder.ports.workspace, f"{version.id} was read", version.where)
            raise

    @contextmanager
    def _reported(self, job: str, what: What) -> Iterator[Callable[[Outcome], None]]:
        """Report a job's start and end: the outcome given to the callable, or the error raised."""
        started = time.monotonic()

        def ended(outcome: Outcome) -> None:
            self._emit(JobFinished(job, what, outcome, time.monotonic() - started))

        self._emit(JobStarted(job, what))
        try:
            try:
                yield ended
            except OSError as error:
                problem = of_system(error)
                hint = problem.hint or ("" if what == "publish" else "no partial results were kept")
                raise StoreError(problem._replace(message=f"{job}: {problem.message}", hint=hint)) from error
        except GdcbuildError as error:
            with self._lock:
                self._failed[job] = error
            self._emit(JobFailed(job, what, error.problems, time.monotonic() - started))
            raise

    def _refuse_unservable(self, version: Version, artifact: Artifact) -> None:
        """Refuse what the image's server would refuse. The verdict is cached: the same bytes are checked once."""
        ports, image = self._rebuilder.ports, version.image
        framework = ports.frameworks[image.kind]
        policy = replace(self._graph.policy, named=named(self._graph, version, self._made, ports.workspace))
        chosen = " ".join(f"{key.name}={policy.options.get(key.name)}" for key in framework.policy)
        key = (
            f"{image.kind} {image.name} {image.version} {framework.check_version} {chosen}"
            f" named={Digest.of(' '.join(sorted(policy.named)).encode()).hash} {artifact.tree.digest.hash}"
        )
        cautions = ports.records.get("checked", key)
        if cautions is None:
            blobs = artifact.blobs(ports.cas, ports.workspace)
            found = framework.check(blobs, image, policy)
            mistakes = [p for p in found if not isinstance(p, Caution)]
            for blob in blobs.values() if mistakes else ():
                copy_verified(blob, len)  # the cache may be damaged: then the blob is built again
            raise_all(
                ContractViolated,
                (Problem(f"{version.id}: {p.message}", p.hint, p.where or version.where, p.detail) for p in mistakes),
            )
            artifact.refuse_changed(ports.workspace, f"{version.id} was checked", version.where)
            cautions = [[p.message, p.hint, p.detail] for p in found]
            ports.records.put("checked", key, cautions)
        for message, hint, detail in cautions:
            self._emit(Warned(Caution(f"{version.id}: {message}", hint, version.where, detail)))

    def _progress(self, id: VersionId, total: int, cancel: Flag) -> Callable[[int], None]:
        """A callback that gets the bytes sent, reports them at intervals, and stops the publish when cancelled."""
        sent, due, lock = 0, 0.0, threading.Lock()

        def progress(count: int) -> None:
            nonlocal sent, due
            if cancel.is_set():
                raise Interrupted(Problem("interrupted"))
            with lock:
                sent += count
                now = time.monotonic()
                if now >= due or sent == total:
                    due = now + EVERY
                    self._emit(Progress(str(id), sent, total))

        return progress

    def _release(self, version: Version, artifact: Artifact, checkout: Checkout) -> Release:
        ports = self._rebuilder.ports
        return Release(
            version.id,
            artifact.blobs(ports.cas, ports.workspace),
            ports.frameworks[version.image.kind].entry,
            f"gdcbuild {__version__}",
            self._provenance(version, artifact, checkout),
            artifact.sources,
        )

    def _provenance(self, version: Version, artifact: Artifact, checkout: Checkout) -> Provenance:
        sources = artifact.made_from.sources()
        used = {**files_of(self._graph, version, self._rebuilder.ports.workspace), **sources} if checkout.commit else {}
        return Provenance(artifact.made_from.key, checkout.describe(used), sources if len(sources) <= MOST_SOURCES else None)


def _raise(failed: list[GdcbuildError], report: Report) -> None:
    """Raise one error with all problems and the report, of their kind if they share one. Nothing if nothing failed."""
    kinds = {type(error) for error in failed}
    try:
        if len(kinds) > 1:
            raise Several(failed)
        for kind in kinds:
            raise_all(kind, [problem for error in failed for problem in error.problems])
    except GdcbuildError as error:
        error.report = report
        raise
