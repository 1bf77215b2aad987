"""What all locks do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from gdcbuild.core.ports import Flag, Locks
from gdcbuild.errors import Interrupted
from gdcbuild.store.locks import FileLocks
from gdcbuild.store.memory import MemoryLocks

PATIENCE = 10.0
"""Seconds after which a thread that should have come is given up."""


@pytest.fixture(params=["file", "memory"])
def locks(request: pytest.FixtureRequest, tmp_path: Path) -> Locks:
    return FileLocks(tmp_path / "locks") if request.param == "file" else MemoryLocks()


def both_inside(locks: Locks, first: str, second: str, patience: float) -> bool:
    """Whether two threads hold the two names at the same time, when each waits so long for the other."""
    meeting = threading.Barrier(2)
    met = []

    def work(name: str) -> None:
        with locks.hold(name):
            try:
                meeting.wait(patience)
                met.append(name)
            except threading.BrokenBarrierError:
                return

    threads = [threading.Thread(target=work, args=(name,)) for name in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(met) == 2


def test_one_at_a_time_holds_a_name(locks: Locks) -> None:
    assert not both_inside(locks, "name", "name", 0.2)


def test_locks_with_other_names_do_not_block(locks: Locks) -> None:
    assert both_inside(locks, "name", "other", PATIENCE)


def test_a_name_is_free_again_after_an_error(locks: Locks) -> None:
    with pytest.raises(ZeroDivisionError), locks.hold("name"):
        _ = 1 / 0
    with locks.hold("name"):
        pass


def test_a_waiting_process_gets_the_lock_in_the_end(locks: Locks) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        with locks.hold("name"):
            done.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    with locks.hold("name"):
        for thread in threads:
            thread.start()
        assert done == []
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(done) == list(range(8))


def test_a_long_wait_is_reported_once(locks: Locks) -> None:
    told = threading.Semaphore(0)

    def work() -> None:
        with locks.hold("name", waits=told.release):
            pass

    thread = threading.Thread(target=work)
    with locks.hold("name"):
        thread.start()
        assert told.acquire(timeout=PATIENCE)
        assert not told.acquire(timeout=0.5)
    thread.join(PATIENCE)
    with locks.hold("name", waits=lambda: pytest.fail("nobody holds it")):
        pass


def test_file_locks_hold_against_others_of_the_same_folder(tmp_path: Path) -> None:
    class Fresh:
        """Each thread has its own locks, as two processes would."""

        def hold(
            self, name: str, cancel: Flag | None = None, waits: Callable[[], None] | None = None
        ) -> AbstractContextManager[None]:
            return FileLocks(tmp_path).hold(name, cancel, waits)

    assert not both_inside(Fresh(), "name", "name", 0.2)


def test_a_wait_can_be_cancelled(locks: Locks) -> None:
    cancel = threading.Event()
    timer = threading.Timer(0.1, cancel.set)
    with locks.hold("name"):
        timer.start()
        with pytest.raises(Interrupted), locks.hold("name", cancel):
            pass
    with locks.hold("name", cancel):  # nobody has it: there is nothing to wait for
        pass
