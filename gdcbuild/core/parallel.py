"""One function over many items, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

JOBS = 8
"""How many objects are read or written at a time."""


def each(jobs: int, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Results in the order of the items, at most `jobs` at a time; with one job in the calling thread.

    The first error stops what has not started, and is raised when the rest has ended; an interrupt is raised at once.
    """
    todo = list(items)
    if jobs == 1 or len(todo) < 2:
        return [function(item) for item in todo]
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    pool = ThreadPoolExecutor(min(jobs, len(todo)), thread_name_prefix="each")
    try:
        futures = [pool.submit(function, item) for item in todo]
        wait(futures, return_when=FIRST_EXCEPTION)
        pool.shutdown(cancel_futures=True)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)  # they may wait for a server, for minutes
        raise
    failed = [e for f in futures if not f.cancelled() and (e := f.exception()) is not None]
    if failed:
        raise failed[0]
    return [future.result() for future in futures]
