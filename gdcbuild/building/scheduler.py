"""Runs jobs in the order of their needs, several at a time. Does not know what a job does."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from queue import SimpleQueue

from gdcbuild.core.ports import Flag
from gdcbuild.errors import GdcbuildError, Interrupted, Problem

END_SECONDS = 5.0
"""Seconds to wait for running jobs after a cancel: a command has less, a server may not answer for minutes."""


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work and the ids of the jobs that must succeed before it.

    `seconds` is how long it is expected to take. Only a limited number of jobs of one `pool` run at a time.
    """

    id: str
    needs: tuple[str, ...]
    work: Callable[[Flag], None]
    seconds: float = 1.0
    pool: str | None = None


@dataclass(slots=True)
class Report:
    """How each job ended: done, failed with its error, skipped because of one it needs, or not started at all."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, GdcbuildError] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    not_started: list[str] = field(default_factory=list)


def run(jobs: Iterable[Job], workers: int, keep_going: bool, pools: Mapping[str, int] | None = None) -> Report:
    """Run all jobs, at most `workers` at a time, and of each pool at most as many as `pools` says.

    Of the jobs that may start, the one with the longest chain of waiting work goes first. After a failure nothing that
    needs the failed job starts; without `keep_going` nothing new starts at all. An interrupt (KeyboardInterrupt in this
    thread) cancels what is running, waits a while for it to end, and raises Interrupted.
    """
    todo = _Todo(jobs, pools or {})
    report, cancel = todo.report, Flag()
    running: dict[Future[None], str] = {}
    ended: SimpleQueue[Future[None]] = SimpleQueue()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="job")
    try:
        while True:
            while (keep_going or not report.failed) and len(running) < workers and (job := todo.take()) is not None:
                future = pool.submit(job.work, cancel)
                running[future] = job.id
                future.add_done_callback(ended.put)
            if not running:
                break
            future = ended.get()
            todo.ended(running.pop(future), future.exception())
        pool.shutdown()
    except BaseException as error:
        cancel.set()
        pool.shutdown(wait=False, cancel_futures=True)
        wait([future for future in running if not future.cancelled()], END_SECONDS)
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(Problem("interrupted; no partial results were kept")) from error
        raise
    report.not_started.extend(todo.waiting)
    return report


class _Todo:
    """The jobs that have not ended: `waiting` are those not started, each with its unfinished needs."""

    def __init__(self, jobs: Iterable[Job], pools: Mapping[str, int]) -> None:
        self._known = {job.id: job for job in jobs}
        self.waiting = {job.id: {n for n in job.needs if n in self._known} for job in self._known.values()}
        self._dependents: dict[str, list[str]] = {}
        self.report = Report()
        for job, needs in self.waiting.items():
            for need in needs:
                self._dependents.setdefault(need, []).append(job)
        self._ready = _Ready(self._known, _chains(self._known, self.waiting, self._dependents), pools)
        for job, needs in self.waiting.items():
            if not needs:
                self._ready.add(job)

    def take(self) -> Job | None:
        """The next job that may start, removed from `waiting`; None if none may."""
        job = self._ready.take()
        if job is None:
            return None
        del self.waiting[job]
        return self._known[job]

    def ended(self, job: str, error: BaseException | None) -> None:
        """Record how a job has ended. Raises errors that are not a job's failure."""
        self._ready.ended(job)
        if error is None:
            self.report.done.append(job)
            for dependent in self._dependents.get(job, ()):
                if dependent in self.waiting:
                    self.waiting[dependent].discard(job)
                    if not self.waiting[dependent]:
                        self._ready.add(dependent)
        elif isinstance(error, GdcbuildError) and not isinstance(error, Interrupted):
            self.report.failed[job] = error
            self._skip_dependents(job)
        else:
            raise error

    def _skip_dependents(self, cause: str) -> None:
        stack = list(self._dependents.get(cause, ()))
        while stack:
            job = stack.pop()
            if job in self.waiting:
                self.report.skipped[job] = cause
                del self.waiting[job]
                stack.extend(self._dependents.get(job, ()))


def _chains(
    known: Mapping[str, Job], needs: Mapping[str, Iterable[str]], dependents: Mapping[str, Iterable[str]]
) -> dict[str, float]:
    """For each job, the seconds of the longest chain that starts with it."""
    left = {job: sum(1 for _ in found) for job, found in needs.items()}
    order = [job for job, count in left.items() if not count]
    for job in order:  # which grows meanwhile
        for dependent in dependents.get(job, ()):
            left[dependent] -= 1
            if not left[dependent]:
                order.append(dependent)
    chains: dict[str, float] = {}
    for job in reversed(order):
        chains[job] = known[job].seconds + max((chains[d] for d in dependents.get(job, ())), default=0.0)
    return chains


class _Ready:
    """The jobs that may start, those with the longest waiting chain first, within the limits of their pools."""

    def __init__(self, known: Mapping[str, Job], chains: Mapping[str, float], pools: Mapping[str, int]) -> None:
        self._pool_of = {job.id: job.pool for job in known.values()}
        self._rank = {job: (-chains[job], place, job) for place, job in enumerate(known) if job in chains}
        self._room: dict[str | None, float] = {None: float("inf")}
        self._room.update(pools)
        self._heaps: dict[str | None, list[tuple[float, int, str]]] = {}

    def add(self, job: str) -> None:
        heapq.heappush(self._heaps.setdefault(self._pool_of[job], []), self._rank[job])

    def take(self) -> str | None:
        """The next job, which now occupies its pool; None if none may start."""
        open_pools = [pool for pool, heap in self._heaps.items() if heap and self._room[pool] > 0]
        if not open_pools:
            return None
        pool = min(open_pools, key=lambda p: self._heaps[p][0])
        self._room[pool] -= 1
        return heapq.heappop(self._heaps[pool])[2]

    def ended(self, job: str) -> None:
        self._room[self._pool_of[job]] += 1
