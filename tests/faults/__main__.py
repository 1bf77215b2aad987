"""Tries every fault there is: `python -m tests.faults [--sample] [calls|full|damage|sharing]...`."""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.faults import calls, damage, full, sharing
from tests.faults.pool import each
from tests.faults.scene import Scene

SAMPLED_CALLS = 40


def run_calls(folder: Path, sample: bool) -> int:
    """Killed, or refused by the system, at every call."""
    if calls.why_not():
        print(f"calls: skipped, {calls.why_not()}")
        return 0
    scene = Scene(folder / "points")
    scene.warm()
    found = list(calls.points(scene))
    print(f"calls: {len(found)} faults at {len({(p.call, p.number) for p in found})} system calls", flush=True)
    return each("calls", partial(calls.case, folder), calls.spread(found, SAMPLED_CALLS) if sample else found)


def run_full(folder: Path, sample: bool) -> int:
    """On a disk of every size that is too small."""
    if full.why_not():
        print(f"full: skipped, {full.why_not()}")
        return 0
    return each("full", partial(full.case, folder), list(full.sizes(not sample)))


def run_damage(folder: Path, sample: bool) -> int:
    """On a cache that is not what it was."""
    return damage.run(folder, damage.SAMPLE if sample else damage.WHOLE)


def run_sharing(folder: Path, sample: bool) -> int:
    """With others on the same cache."""
    return sharing.run(folder, sharing.SAMPLE if sample else sharing.WHOLE)


PARTS = {"calls": run_calls, "full": run_full, "damage": run_damage, "sharing": run_sharing}


def main(arguments: list[str]) -> int:
    failed = 0
    for part in [a for a in arguments if a != "--sample"] or PARTS:
        # a fault is a fault in memory, too; where many processes meet the disk's own pace matters
        place = "/dev/shm" if part in ("calls", "damage") and Path("/dev/shm").is_dir() else None
        with tempfile.TemporaryDirectory(prefix="gdcbuild-faults-", dir=place) as made:
            failed += PARTS[part](Path(made), "--sample" in arguments)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
