"""The order of jobs, what a failure stops, and what an interrupt does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from queue import SimpleQueue

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdcbuild.building.scheduler import Job, Report, run
from gdcbuild.core.ports import Flag
from gdcbuild.errors import ActionFailed, Interrupted, Problem


class Log:
    """Jobs that note their names; those in `failing` fail."""

    def __init__(self, failing: str = "") -> None:
        self.order: list[str] = []
        self.failing = failing
        self.lock = threading.Lock()

    def job(self, name: str, *needs: str) -> Job:
        def work(_cancel: Flag) -> None:
            with self.lock:
                self.order.append(name)
            if name in self.failing:
                raise ActionFailed(Problem(f"{name} failed"))

        return Job(name, needs, work)


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_needs_come_first(workers: int) -> None:
    log = Log()
    jobs = [log.job("d", "b", "c"), log.job("b", "a"), log.job("c", "a"), log.job("a"), log.job("e")]
    report = run(jobs, workers, keep_going=False)
    assert sorted(report.done) == ["a", "b", "c", "d", "e"]
    assert log.order.index("a") < min(log.order.index("b"), log.order.index("c"))
    assert log.order[-1] == "d" or log.order.index("d") > max(log.order.index("b"), log.order.index("c"))


def test_one_worker_is_deterministic() -> None:
    orders = []
    for _ in range(5):
        log = Log()
        run([log.job("b"), log.job("a"), log.job("c", "a"), log.job("d", "b")], 1, keep_going=False)
        orders.append(tuple(log.order))
    assert len(set(orders)) == 1


def test_needs_that_are_not_jobs_count_as_met() -> None:
    assert run([Log().job("a", "elsewhere")], 1, keep_going=False).done == ["a"]


def test_after_a_failure_nothing_starts() -> None:
    log = Log(failing="a")
    report = run([log.job("a"), log.job("b", "a"), log.job("c"), log.job("d", "c")], 1, keep_going=False)
    assert log.order == ["a"]
    assert report.skipped == {"b": "a"}, "only this needed what failed"
    assert sorted(report.not_started) == ["c", "d"]
    assert list(report.failed) == ["a"]


def test_after_a_failure_running_jobs_may_finish() -> None:
    failed = threading.Event()

    def fail(_cancel: Flag) -> None:
        failed.set()
        raise ActionFailed(Problem("no"))

    def patient(cancel: Flag) -> None:
        failed.wait(10)
        assert not cancel.wait(0.1), "it is not cancelled"

    log = Log()
    report = run([Job("bad", (), fail), Job("patient", (), patient), log.job("next", "patient")], 2, keep_going=False)
    assert (report.done, report.not_started, log.order) == (["patient"], ["next"], [])


def test_keep_going_runs_everything_that_does_not_need_the_failed_job() -> None:
    log = Log(failing="a")
    report = run([log.job("a"), log.job("b", "a"), log.job("e", "b"), log.job("c"), log.job("d", "c")], 1, keep_going=True)
    assert sorted(log.order) == ["a", "c", "d"]
    assert report.skipped == {"b": "a", "e": "a"}


def test_all_failures_are_kept() -> None:
    log = Log(failing="ac")
    assert sorted(run([log.job("a"), log.job("b"), log.job("c")], 2, keep_going=True).failed) == ["a", "c"]


def test_a_chain_of_ten_thousand() -> None:
    log = Log()
    jobs = [log.job(str(n), *([str(n - 1)] if n else [])) for n in range(10_000)]
    assert run(jobs, 2, keep_going=False).done == [str(n) for n in range(10_000)]


def test_ten_thousand_at_once_and_one_that_fails_first() -> None:
    log = Log(failing="x")
    jobs = [log.job("x"), *(log.job(str(n), "x") for n in range(10_000))]
    assert len(run(jobs, 2, keep_going=True).skipped) == 10_000


@dataclass
class Simulated:
    """Jobs that take no time but by a clock of their own, on as many workers as there are.

    A job ends when all running jobs have started and none ends before it. `begun` and `spans` (begin, end) are by that clock.
    """

    workers: int
    clock: float = 0.0
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)

    def run(self, jobs: Sequence[Job], pools: Mapping[str, int] | None = None, keep_going: bool = True) -> Report:
        running: dict[Future[None], Job] = {}
        outer = self

        class Pool:
            """Replaces ThreadPoolExecutor."""

            def __init__(self, *_: object, **__: object) -> None: ...
            def shutdown(self, *_: object, **__: object) -> None: ...

            def submit(self, work: Callable[[Flag], None], cancel: Flag) -> Future[None]:
                future: Future[None] = Future()
                (job,) = [j for j in jobs if j.work == work]
                running[future] = job
                outer.spans[job.id] = (outer.clock, outer.clock + job.seconds)
                return future

        class Ended:
            """Replaces the queue of ended jobs: here they end when they are taken."""

            def put(self, _: Future[None]) -> None: ...

            def get(self) -> Future[None]:
                future = min(running, key=lambda f: (outer.spans[running[f].id][1], running[f].id))
                job = running.pop(future)
                outer.clock = outer.spans[job.id][1]
                try:
                    job.work(Flag())
                    future.set_result(None)
                except Exception as error:
                    future.set_exception(error)
                return future

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gdcbuild.building.scheduler.ThreadPoolExecutor", Pool)
            patch.setattr("gdcbuild.building.scheduler.SimpleQueue", Ended)
            return run(jobs, self.workers, keep_going, pools)


def idle() -> Callable[[Flag], None]:
    """Work with its own identity that does nothing."""
    return lambda _cancel: None


def test_the_longest_chain_goes_first() -> None:
    """Four short jobs are declared before the first of a chain that takes as long as all of them."""
    short = [Job(f"short {n}", (), idle(), 1.0) for n in range(4)]
    chain = [Job("chain 0", (), idle(), 2.0), Job("chain 1", ("chain 0",), idle(), 2.0)]
    by_chain = Simulated(2)
    by_chain.run([*short, *chain])
    assert by_chain.clock == 4.0
    assert by_chain.spans["chain 0"][0] == 0.0
    first_come = Simulated(2)  # the order of declaration, as long as all chains are alike
    flat = [*short, Job("chain 0", (), idle(), 1.0), Job("chain 1", (), idle(), 1.0)]
    first_come.run(flat)
    assert [j for j, _ in sorted(first_come.spans.items(), key=lambda s: s[1])][:2] == ["short 0", "short 1"]


def test_known_durations_decide_the_order() -> None:
    for slow in ("a", "b", "c"):
        simulated = Simulated(1)
        simulated.run([Job(name, (), idle(), 9.0 if name == slow else 1.0) for name in "abc"])
        assert simulated.spans[slow][0] == 0.0


@st.composite
def dags(draw: st.DrawFn) -> list[Job]:
    jobs: list[Job] = []
    for n in range(draw(st.integers(1, 12))):
        needs = draw(st.lists(st.sampled_from([j.id for j in jobs]), unique=True, max_size=3)) if jobs else []
        seconds, pool = draw(st.integers(0, 5)), draw(st.sampled_from([None, "one", "two"]))
        jobs.append(Job(f"j{n}", tuple(needs), idle(), float(seconds), pool))
    return draw(st.permutations(jobs))


@given(dags(), st.integers(1, 4))
def test_whatever_the_jobs_are(jobs: list[Job], workers: int) -> None:
    """Needs come first, pools hold, no worker is idle while something may start, and all is done."""
    pools = {"one": 1, "two": 2}
    simulated = Simulated(workers)
    report = simulated.run(jobs, pools)
    spans = simulated.spans
    assert sorted(report.done) == sorted(j.id for j in jobs)
    assert (report.failed, report.skipped, report.not_started) == ({}, {}, [])
    for job in jobs:
        assert all(spans[need][1] <= spans[job.id][0] for need in job.needs)
    for moment in {begin for begin, _ in spans.values()}:
        at_once = [j for j in jobs if spans[j.id][0] <= moment < spans[j.id][1]]
        assert len(at_once) <= workers
        for pool, depth in pools.items():
            assert sum(j.pool == pool for j in at_once) <= depth
        for job in jobs:
            if spans[job.id][0] > moment and len(at_once) < workers and all(spans[n][1] <= moment for n in job.needs):
                assert job.pool is not None
                assert sum(j.pool == job.pool for j in at_once) == pools[job.pool]
    longest = max(sum(j.seconds for j in chain) for chain in _all_chains(jobs))
    work = sum(j.seconds for j in jobs)
    assert max(longest, work / workers) <= simulated.clock <= work
    if workers == 1:
        assert simulated.clock == work


def _all_chains(jobs: Sequence[Job]) -> list[list[Job]]:
    known = {j.id: j for j in jobs}

    def chains(job: Job) -> list[list[Job]]:
        return [[job], *([job, *rest] for need in job.needs for rest in chains(known[need]))]

    return [chain for job in jobs for chain in chains(job)]


@given(dags(), st.integers(1, 4), st.data())
def test_whatever_fails(jobs: list[Job], workers: int, data: st.DataObject) -> None:
    """Every job ends in exactly one way, and with keep_going all that does not need what failed is done."""
    bad = data.draw(st.sets(st.sampled_from([j.id for j in jobs]), min_size=1))
    keep_going = data.draw(st.booleans())
    jobs = [replace(j, work=_raises(ActionFailed(Problem("no")))) if j.id in bad else j for j in jobs]
    report = Simulated(workers).run(jobs, {"one": 1, "two": 2}, keep_going)
    ways = [*report.done, *report.failed, *report.skipped, *report.not_started]
    assert sorted(ways) == sorted(j.id for j in jobs)
    needing = {j.id for j in jobs if any(c.id in bad for chain in _chains_of(j, jobs) for c in chain[1:])}
    assert set(report.skipped) <= needing
    assert not set(report.done) & (bad | needing)
    if keep_going:
        assert (set(report.skipped), set(report.failed), report.not_started) == (needing, bad - needing, [])


def _chains_of(job: Job, jobs: Sequence[Job]) -> list[list[Job]]:
    return [chain for chain in _all_chains(jobs) if chain[0].id == job.id]


def _raises(error: BaseException) -> Callable[[Flag], None]:
    def work(_cancel: Flag) -> None:
        raise error

    return work


def test_an_unexpected_error_is_not_hidden() -> None:
    waited = threading.Event()

    def patient(cancel: Flag) -> None:
        cancel.wait(10)
        waited.set()

    with pytest.raises(ZeroDivisionError):
        run([Job("patient", (), patient), Job("bug", (), _raises(ZeroDivisionError()))], 2, keep_going=True)
    assert waited.is_set(), "what ran was cancelled, and waited for"


def test_an_interrupted_job_interrupts_the_run() -> None:
    with pytest.raises(Interrupted):
        run([Job("a", (), _raises(Interrupted(Problem("interrupted"))))], 1, keep_going=True)


def test_an_interrupt_cancels_running_jobs_and_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    started, ended = threading.Event(), threading.Event()

    def patient(cancel: Flag) -> None:
        started.set()
        cancel.wait(10)
        ended.set()

    class Interrupting(SimpleQueue[Future[None]]):
        def get(self, *_: object) -> Future[None]:
            started.wait(10)
            raise KeyboardInterrupt

    monkeypatch.setattr("gdcbuild.building.scheduler.SimpleQueue", Interrupting)
    log = Log()
    with pytest.raises(Interrupted):
        run([Job("patient", (), patient), log.job("next"), log.job("after", "patient")], 1, keep_going=True)
    assert ended.is_set()
    assert log.order == []


def test_a_job_that_ignores_an_interrupt_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def deaf(_cancel: Flag) -> None:
        over.wait(30)

    monkeypatch.setattr("gdcbuild.building.scheduler.END_SECONDS", 0.05)
    started = time.monotonic()
    try:
        with pytest.raises(ZeroDivisionError):
            run([Job("deaf", (), deaf), Job("bug", (), _raises(ZeroDivisionError()))], 2, True)
        assert time.monotonic() - started < 10
    finally:
        over.set()


def test_nothing_to_do() -> None:
    assert run([], 1, keep_going=False) == Report()
