"""Carries a plan out: builds what is needed, checks it against its image, publishes it. One job a piece of work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from gdcbuild import __version__
from gdcbuild.core.digest import Digest, copy_verified
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
from gdcbuild.core.graph import Graph, Version
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import PUBLISHED, Kind, Plan, Terms
from gdcbuild.core.ports import Flag, Framework, Remote
from gdcbuild.core.seal import MOST_SOURCES, NO_CHECKOUT, Checkout, Provenance
from gdcbuild.core.standing import Standing
from gdcbuild.core.verdict import Hit, Taken, tied
from gdcbuild.core.watch import EVERY
from gdcbuild.engine import scheduler
from gdcbuild.engine.artifacts import Artifact, files_of, named
from gdcbuild.engine.judge import Judged
from gdcbuild.engine.publisher import Publication, publish
from gdcbuild.engine.rebuilder import Rebuilder
from gdcbuild.engine.writer import Release, SoFar
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


@dataclass(frozen=True, slots=True)
class Target:
    """Where to publish, on which terms, what the plan saw of every version, and the commit that the seals name."""

    remote: Remote
    terms: Terms
    seen: Mapping[VersionId, Standing]
    checkout: Checkout = NO_CHECKOUT


@dataclass(slots=True)
class Counts:
    """What a run did."""

    actions: int = 0
    published: int = 0
    objects: int = 0


class Applying:
    """One run over one graph. `target` None builds and checks, and publishes nothing."""

    def __init__(
        self,
        graph: Graph,
        judged: Judged,
        rebuilder: Rebuilder,
        frameworks: Mapping[str, Framework],
        target: Target | None,
        emit: Callable[[Event], None],
    ) -> None:
        self._graph = graph
        self._verdicts = judged.verdicts
        self._made = dict(judged.made)
        self._rebuilder = rebuilder
        self._frameworks = frameworks
        self._target = target
        self._emit = emit
        self._lock = threading.Lock()
        self._planned: Mapping[VersionId, Digest | None] = {}
        self._publishing: dict[VersionId, SoFar] = {}
        self.counts = Counts()

    def run(self, plan: Plan, workers: int, keep_going: bool) -> None:
        """Carry the plan out. Raises the errors of the jobs that failed, together, after all that could be done was."""
        started = time.monotonic()
        versions = self._versions(plan)
        self._planned = {c.id: c.digest for c in plan.changes}
        jobs = [*self._builds(versions), *self._finishes(versions)]
        self._emit(Planned(plan if self._target else None, len(jobs)))
        try:
            report = scheduler.run(jobs, workers, keep_going, self._graph.pools)
        except Interrupted as error:
            if not any(left.begun for left in self._publishing.values()):
                raise
            raise Interrupted(Problem("interrupted; what was begun in the bucket is completed by the next run")) from error
        finally:
            self._tell_left(plan.environment)
        for job, cause in report.skipped.items():
            self._emit(JobSkipped(job, cause))
        for job in report.not_started:
            self._emit(JobNotStarted(job))
        failed = [*report.failed.values(), *(plan.refusals if self._target else ())]
        counts = self.counts
        self._emit(Summed(counts.actions, counts.published, counts.objects, len(failed), time.monotonic() - started))
        _raise(failed)

    def _tell_left(self, environment: str) -> None:
        """Count and tell what publishings that have not ended well have left in the bucket, whatever stopped them."""
        with self._lock:  # what is not waited for may still end
            publishing = list(self._publishing.items())
        for id, left in publishing:
            self.counts.objects += left.objects
            if left.gone:
                hint = f"publish it: gdcbuild apply {id} --env {environment}"
                self._emit(Warned(Problem(f"until {id} is published again, no server can load it", hint)))

    def _versions(self, plan: Plan) -> list[Version]:
        """The versions there is something to do for."""
        kinds = PUBLISHED if self._target else set(Kind) - {Kind.ORPHAN}
        return [self._graph.versions[c.id] for c in plan.changes if c.kind in kinds]

    def _builds(self, versions: Iterable[Version]) -> list[scheduler.Job]:
        """A job for every action that must run, or may: those whose bytes somebody needs and the cache does not have."""
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
        """A job of its own, so that all that are missing are made at once, before the first action needs them."""
        return scheduler.Job(f"toolchain {name}", (), partial(self._rebuilder.prepare, name))

    def _finishes(self, versions: Iterable[Version]) -> list[scheduler.Job]:
        verb = "publish" if self._target else "check"
        return [scheduler.Job(f"{verb} {v.id}", (v.action,), partial(self._finish, v)) for v in versions]

    def _build(self, identifier: str, cancel: Flag) -> None:
        action = self._graph.actions[identifier]
        with self._lock:
            made = {need: self._made[need] for need in action.needs}
        with self._reported(identifier, "action") as ended:
            waits = partial(self._emit, JobWaiting(identifier, "action"))
            artifact, outcome = self._rebuilder.make(action, made, cancel, waits)
            with self._lock:
                self._made[identifier] = artifact
                self.counts.actions += outcome == "built"
            ended(outcome)
        if artifact.bound and outcome == "built":
            hint = "with another cache folder the same inputs give other bytes: write relative paths, or none"
            self._emit(Warned(Caution(f"{identifier} is {tied(artifact.bound)}", hint, action.where)))

    def _finish(self, version: Version, cancel: Flag) -> None:
        """Check the artifact against its image, and publish it if there is somewhere to."""
        artifact = self._made[version.action]
        with self._reported(str(version.id), "check") as ended, self._at_rest(version, artifact):
            self._refuse_unplanned(version, artifact)
            self._check(version, artifact)
            ended("sound")
        if self._target is None:
            return
        with self._reported(str(version.id), "publish") as ended, self._at_rest(version, artifact):
            left = SoFar()
            with self._lock:
                self._publishing[version.id] = left
            written = self._publish(version, artifact, left, self._target, cancel)
            with self._lock:
                del self._publishing[version.id]
                self.counts.objects += written.objects
                self.counts.published += written.outcome != "unchanged"
            ended(written.outcome)

    def _refuse_unplanned(self, version: Version, artifact: Artifact) -> None:
        planned = self._planned.get(version.id)
        if self._target is None or planned is None or planned == artifact.tree.digest:
            return
        if isinstance(self._verdicts[version.action], Hit):
            lost = f"{version.id}: a result was lost, and made anew it has other bytes"
            raise ResultChanged(Problem(lost, "run the command again, and look at the plan", version.where))
        hint = "run the command again, and look at the plan"
        raise Refused(Problem(f"{version.id} is not what was planned: its files changed since", hint, version.where))

    @contextmanager
    def _at_rest(self, version: Version, artifact: Artifact) -> Iterator[None]:
        """Other bytes than those that were judged are the cache's damage, unless a file of the workspace has changed."""
        try:
            yield
        except (BlobDamaged, FileNotFoundError):
            artifact.refuse_changed(self._rebuilder.ports.workspace, f"{version.id} was read", version.where)
            raise

    @contextmanager
    def _reported(self, job: str, what: What) -> Iterator[Callable[[Outcome], None]]:
        """Report a job's beginning and its end: by what it says through the callable, or by the error it raises."""
        started = time.monotonic()

        def ended(outcome: Outcome) -> None:
            self._emit(JobFinished(job, what, outcome, time.monotonic() - started))

        self._emit(JobStarted(job, what))
        try:
            try:
                yield ended
            except OSError as error:
                problem = of_system(error)
                hint = problem.hint or ("" if what == "publish" else "nothing half-made was kept")
                raise StoreError(problem._replace(message=f"{job}: {problem.message}", hint=hint)) from error
        except GdcbuildError as error:
            self._emit(JobFailed(job, what, error.problems, time.monotonic() - started))
            raise

    def _check(self, version: Version, artifact: Artifact) -> None:
        """Refuse what the image's server would refuse. The verdict is remembered: the same bytes are checked once."""
        framework, ports, image = self._frameworks[version.image.kind], self._rebuilder.ports, version.image
        policy = replace(self._graph.policy, named=named(self._graph, version, self._made, ports.workspace))
        key = (
            f"{image.kind} {image.name} {image.version} {framework.check_version} pickle={policy.pickle}"
            f" named={Digest.of(' '.join(sorted(policy.named)).encode()).hash} {artifact.tree.digest.hash}"
        )
        cautions = ports.records.get("checked", key)
        if cautions is None:
            blobs = artifact.blobs(ports.cas, ports.workspace)
            found = framework.check(blobs, image, policy)
            mistakes = [p for p in found if not isinstance(p, Caution)]
            for blob in blobs.values() if mistakes else ():
                copy_verified(blob, len)  # what is wrong may be the cache's fault: then it is damage, and is made anew
            raise_all(
                ContractViolated,
                (Problem(f"{version.id}: {p.message}", p.hint, p.where or version.where, p.detail) for p in mistakes),
            )
            artifact.refuse_changed(ports.workspace, f"{version.id} was checked", version.where)
            cautions = [[p.message, p.hint, p.detail] for p in found]
            ports.records.put("checked", key, cautions)
        for message, hint, detail in cautions:
            self._emit(Warned(Caution(f"{version.id}: {message}", hint, version.where, detail)))

    def _publish(self, version: Version, artifact: Artifact, left: SoFar, target: Target, cancel: Flag) -> Publication:
        sent, due, lock, total = 0, 0.0, threading.Lock(), artifact.tree.digest.size

        def progress(count: int) -> None:
            nonlocal sent, due
            if cancel.is_set():
                raise Interrupted(Problem("interrupted"))
            with lock:
                sent += count
                now = time.monotonic()
                if now >= due or sent == total:
                    due = now + EVERY
                    self._emit(Progress(str(version.id), sent, total))

        ports = self._rebuilder.ports
        release = Release(
            version.id,
            artifact.blobs(ports.cas, ports.workspace),
            self._frameworks[version.image.kind].entry,
            f"gdcbuild {__version__}",
            self._provenance(version, artifact, target.checkout),
            artifact.sources,
        )
        return publish(target.remote, release, target.seen[version.id], target.terms, left, progress)

    def _provenance(self, version: Version, artifact: Artifact, checkout: Checkout) -> Provenance:
        sources = artifact.made_from.sources()
        used = {**files_of(self._graph, version, self._rebuilder.ports.workspace), **sources} if checkout.commit else {}
        return Provenance(artifact.made_from.key, checkout.describe(used), sources if len(sources) <= MOST_SOURCES else None)


def _raise(failed: list[GdcbuildError]) -> None:
    """One error with all problems, of their kind if they are of one. Nothing when nothing failed."""
    if not failed:
        return
    kinds = {type(error) for error in failed}
    if len(kinds) > 1:
        raise Several(failed)
    raise_all(kinds.pop(), [problem for error in failed for problem in error.problems])
