"""The one verb: build what changed, check it against its image, publish what differs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from gdcbuild.building.artifacts import files_of
from gdcbuild.building.judge import Judge, Work
from gdcbuild.core.digest import Digest
from gdcbuild.core.events import Event
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import PUBLISHED, Plan, Terms
from gdcbuild.core.run import Report
from gdcbuild.core.seal import NO_CHECKOUT, Checkout
from gdcbuild.core.standing import Absent
from gdcbuild.engine import planner
from gdcbuild.engine.jobs import Jobs, Target
from gdcbuild.errors import Problem, Refused
from gdcbuild.publishing.observe import Bucket, Observation


@dataclass(frozen=True, slots=True)
class Running:
    """Options of a run: jobs at a time, and with `keep_going`, after a failure, everything that does not need what failed.

    `confirm` gets the plan before anything is done and may raise. `checkout` says which files match the commit.
    """

    workers: int = 1
    keep_going: bool = False
    confirm: Callable[[Plan], None] = lambda _: None
    checkout: Callable[[Mapping[str, Digest]], Checkout] = lambda _: NO_CHECKOUT


def apply(
    source: Judge, wanted: Collection[VersionId], bucket: Bucket, running: Running, emit: Callable[[Event], None]
) -> Report:
    """Build and publish what differs. Raises the errors of all failed jobs together, at the end.

    Known conflicts are decided first: without `keep_going`, one refuses the whole run. Versions of which only a build can
    tell are all built before anything is written.
    """
    plan, standings = planner.survey(source, wanted, bucket)
    if not running.keep_going:
        plan.refuse_conflicts()
    running.confirm(plan)
    todo = [change.id for change in plan.changes if change.kind in PUBLISHED]
    work = source.work(todo)
    files = _files(work, todo)
    commit = running.checkout(files) if todo else NO_CHECKOUT
    if bucket.terms.clean:
        _refuse_uncommitted(commit, files, plan.environment)
    jobs = Jobs(work, plan, Target(bucket.remote, bucket.terms, standings, commit, running.keep_going), emit)
    return jobs.run(todo, running.workers, running.keep_going)


def build(source: Judge, wanted: Collection[VersionId], running: Running, emit: Callable[[Event], None]) -> Report:
    """Build and check; publish nothing, and read no bucket."""
    work = source.work(wanted)
    nowhere = Observation(dict.fromkeys(wanted, Absent()))
    plan = planner.plan(source.desired(wanted), nowhere, "nothing is published", Terms("build"))
    return Jobs(work, plan, None, emit).run(wanted, running.workers, running.keep_going)


def _files(work: Work, versions: Collection[VersionId]) -> dict[str, Digest]:
    """Every file of the workspace that the versions are made from."""
    graph, workspace = work.graph, work.rebuilder.ports.workspace
    return {path: digest for id in versions for path, digest in files_of(graph, graph.versions[id], workspace).items()}


def _refuse_uncommitted(commit: Checkout, files: Mapping[str, Digest], environment: str) -> None:
    if found := commit.uncommitted(files):
        message = f"{environment} requires committed files, and these are not committed"
        raise Refused(Problem(message, "commit them, then run the command again", detail="\n".join(found)))
