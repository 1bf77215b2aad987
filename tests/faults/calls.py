"""A real `apply` that is killed, or refused by the system, at each of its system calls that change a file."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.faults.scene import Fault, Outcome, Scene, sober, warmed

CALLS = (
    "openat",
    *(f"{name}{suffix}" for name in ("rename", "link", "unlink", "mkdir") for suffix in ("", "at")),
    *("renameat2", "rmdir", "symlink", "fsync", "fdatasync", "sync_file_range", "write", "pwrite64", "writev", "pwritev"),
    *("copy_file_range", "sendfile", "ftruncate", "truncate", "fallocate", "chmod", "fchmod", "fchmodat", "utimensat"),
)
ERRORS = {
    "EIO": {"openat", "rename", "link", "unlink", "mkdir", "fsync", "fdatasync", "write", "pwrite64", "ftruncate", "fchmod"},
    "ENOSPC": {"openat", "rename", "link", "mkdir", "write", "pwrite64", "ftruncate"},
}


@dataclass(frozen=True, order=True)
class Point:
    """The number-th call of that name, counted from 1; `does` is KILL or an error to return instead."""

    call: str
    number: int
    does: str
    line: str = ""

    def __str__(self) -> str:
        return f"{self.does} at {self.call} {self.number}: {self.line}"


@cache
def why_not() -> str:
    """Why it cannot be run here; "" when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    probe = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=openat", "-e", "inject=openat:error=EIO:when=10000", "true"]
    done = subprocess.run(probe, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"strace cannot trace here: {done.stderr.strip()}"


def strace(log: Path | str, *options: str) -> list[str]:
    """It does not follow: strace counts in each process separately, and a fault is meant for ours alone."""
    return ["strace", "-qq", "-y", "-s", "16", "-o", str(log), *options]


def points(scene: Scene) -> Iterator[Point]:
    """Every point of a clean run, in its order, and each fault that is tried there."""
    scene.start_over()
    log = scene.folder / "strace.log"
    result = scene.forked("apply", "-j", "1", tracer=strace(log, "-e", f"trace={','.join(CALLS)}"))
    if result.code != 0:
        raise Fault(result.err)
    counted: Counter[str] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        found = re.match(r"(\w+)\((.*)", line)
        if found is None:
            continue
        call, arguments = found[1], found[2]
        counted[call] += 1
        inside = str(scene.cache) in arguments or str(scene.bucket) in arguments or str(scene.root) in arguments
        if inside and (call != "openat" or "O_CREAT" in arguments):
            for does in ("KILL", *(error for error, calls in ERRORS.items() if call in calls)):
                yield Point(call, counted[call], does, arguments.replace(str(scene.folder), "")[:110])


def spread(all_points: Sequence[Point], number: int) -> list[Point]:
    """About so many of them, of every call and every fault, and from beginning to end."""
    kinds: dict[tuple[str, str], list[Point]] = {}
    for point in all_points:
        kinds.setdefault((point.call, point.does), []).append(point)
    share = max(1, number // len(kinds))
    chosen = [list_[(2 * n + 1) * len(list_) // (2 * share)] for list_ in kinds.values() for n in range(share)]
    return sorted(set(chosen))[:: max(1, len(set(chosen)) // number)]


def case(folder: Path, point: Point) -> str:
    scene, clean = warmed(folder)
    return "fixed" if attempt(scene, point, clean) else "not reached"


def attempt(scene: Scene, point: Point, clean: Outcome) -> bool:
    """Run into the fault, then check that everything can be fixed. False if the run never reached that point."""
    scene.start_over()
    what = "signal=KILL" if point.does == "KILL" else f"error={point.does}"
    options = ("-e", f"trace={point.call}", "-e", f"inject={point.call}:{what}:when={point.number}")
    log = scene.folder / "strace.log"
    result = scene.forked("apply", "-j", "1", tracer=strace(log, *options))
    if point.does == "KILL":
        if result.code != -signal.SIGKILL:
            return False
    else:
        sober(result)
        if "(INJECTED)" not in log.read_text(errors="replace"):
            return False
    scene.recover(clean, killed=point.does == "KILL")
    return True
