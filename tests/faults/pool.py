"""Tries many cases in several processes, each of which may hang or die."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.faults.scene import Fault

WORKERS = 2
PATIENCE = 120
"""Seconds after which a case is said to hang."""


def each(what: str, one: Callable[[Any], str], cases: Sequence[Any]) -> int:
    """Try every case, which says in a word how it went; prints the counts and what failed, and returns how many did."""
    started, ended, failed = time.monotonic(), Counter[str](), 0
    with ProcessPoolExecutor(WORKERS) as pool:
        for case, (well, said) in zip(
            cases, pool.map(_Guarded(one), cases, chunksize=max(1, min(50, len(cases) // 20))), strict=True
        ):
            if well:
                ended[said] += 1
            else:
                failed += 1
                print(f"FAILED {what}: {case}\n{said}", flush=True)
    counts = ", ".join(f"{number} {said}" for said, number in sorted(ended.items()))
    print(f"{what}: {counts or 'none'}, {failed} failed, {time.monotonic() - started:.0f} s", flush=True)
    return failed


@dataclass(frozen=True)
class _Guarded:
    """Whether it went well, and what was said."""

    one: Callable[[Any], str]

    def __call__(self, case: Any) -> tuple[bool, str]:
        signal.signal(signal.SIGALRM, _ring)
        signal.alarm(PATIENCE)
        try:
            return True, self.one(case)
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"
        finally:
            signal.alarm(0)


def _ring(_number: int, _frame: object) -> None:
    raise Fault("it hangs")
