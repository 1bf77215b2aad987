"""A real `apply` whose cache, or bucket, is on a disk that fills up; then there is space again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.e2e.workspace import Result
from tests.faults.scene import TIMEOUT, Fault, Outcome, Scene, sober, warmed

WHERE = ("cache", "bucket")
PAGE = 4
"""KiB: what a small file takes."""

_SCRIPT = """
set -e
disk=$1 size=$2 out=$3; shift 3
mkdir -p "$disk"
mount -t tmpfs -o "size=${size}k,mode=700" tmpfs "$disk"
code=0; "$@" apply -j 1 >"$out/out" 2>"$out/err" || code=$?
echo "$code" >"$out/code"
mount -o remount,size=64m "$disk"
"$@" apply -j 1 >>"$out/again" 2>&1
cp -a "$disk" "$out/disk"
"""


def _apart() -> list[str]:
    return ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]


@cache
def why_not() -> str:
    """Why it cannot be run here; "" when it can."""
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    done = subprocess.run(
        [*_apart(), "mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", "/mnt"], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else f"a small disk cannot be mounted here: {done.stderr.strip()}"


def sizes(whole: bool) -> Iterator[tuple[str, int]]:
    """Where, and how many KiB there are: from next to nothing to enough."""
    for where, enough in zip(WHERE, (640, 128), strict=True):
        for size in range(PAGE, enough + 1, PAGE) if whole else (PAGE, enough // 4, enough // 2):
            yield where, size


def case(folder: Path, where_size: tuple[str, int]) -> str:
    scene, clean = warmed(folder)
    return "fixed" if attempt(scene, *where_size, clean) else "space enough"


def attempt(scene: Scene, where: str, size: int, clean: Outcome) -> bool:
    """Run into the full disk, free space, and check that everything can be fixed. False if there was enough space."""
    scene.start_over()
    disk, out = (scene.cache if where == "cache" else scene.bucket), scene.folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    command = [*_apart(), "bash", "-c", _SCRIPT, "-", str(disk), str(size), str(out), sys.executable, "-m", "gdcbuild"]
    environment = {**scene.environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        command, cwd=scene.root, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT
    )
    first = Result(int((out / "code").read_text()), (out / "out").read_text(), (out / "err").read_text())
    sober(first)
    if first.code and not ("free space" in first.err and str(disk) in first.err):
        raise Fault(f"it says neither where nor what to do\n{first.err}")
    if done.returncode != 0:
        raise Fault(f"the rerun ended with {done.returncode}\n{(out / 'again').read_text()}{done.stderr}")
    shutil.rmtree(disk)
    shutil.copytree(out / "disk", disk, symlinks=True)
    scene.recover(clean)
    return first.code != 0 or "warning" in first.err
