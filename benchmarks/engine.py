"""Plans, builds and starts gdcbuild beside its peers, all in one run: bash benchmarks/run [--quick]

A monorepo of PyTorch versions is generated, built and published to a folder. Then nothing has changed, and each tool is asked
so: gdcbuild plan, ninja -n, git status, make -q, dvc status, over the very same files, as whole processes, in turn. Figures
are the median of the rounds, and ratios of these; memory is the peak of what is resident.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from monorepo import write, write_peers

BIN = Path(sys.executable).parent
GDCBUILD = str(BIN / "gdcbuild")
ARCHIVER = [str(BIN / "torch-model-archiver"), "--model-name", "model", "--version", "1", "--handler", "handler.py"]


def run(argv: Sequence[str], folder: Path) -> tuple[float, int]:
    """Seconds and peak memory (KiB) of a command, which must end with 0 (make -q and git may say otherwise)."""
    started = time.perf_counter()
    process = subprocess.Popen(argv, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(argv[:6])} failed in {folder}:\n{said.decode()[-2000:]}")
    return time.perf_counter() - started, usage.ru_maxrss


def medians(commands: Mapping[str, tuple[Sequence[str], Path]], rounds: int) -> dict[str, float]:
    """Seconds of each command, run in turn after a first round that does not count."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, (argv, folder) in commands.items():
            seconds, _ = run(argv, folder)
            if number:
                found[name].append(seconds)
    return {name: statistics.median(times) for name, times in found.items()}


def table(title: str, found: Mapping[str, float], base: str) -> None:
    """One row a command: seconds, and how often those of `base` go into them."""
    print(f"\n{title}")
    for name, seconds in found.items():
        print(f"  {name:<34} {seconds:>9.3f} s   {seconds / found[base]:>7.2f} x {base}")
    sys.stdout.flush()


def prepare(root: Path, versions: int, peers: bool) -> None:
    """A workspace in which nothing is left to do, for anybody."""
    write(root, versions)
    run([GDCBUILD, "apply"], root)
    if peers:
        write_peers(root)
        run(["ninja"], root)
        run(
            ["sh", "-c", "git init -q && git add -A && git -c user.name=x -c user.email=x@x commit -q -m all && git status"],
            root,
        )
    time.sleep(1.5)  # only what is at rest is remembered
    run([GDCBUILD, "plan"], root)


def null_plan(folder: Path, versions: int, rounds: int, slow: bool) -> Path:
    root = folder / f"monorepo-{versions}"
    prepare(root, versions, peers=True)
    commands = {
        "ninja -n": (["ninja", "-n"], root),
        "gdcbuild plan": ([GDCBUILD, "plan"], root),
        "git status": (["git", "status", "--porcelain"], root),
    }
    found = medians(commands, rounds)
    if slow:
        run(["sh", "-c", "dvc init -q && dvc commit -q -f"], root)
        slowly = {"make -q": (["make", "-q"], root), "dvc status": (["dvc", "status", "-q"], root)}
        found |= medians(slowly, 2)
    files = sum(1 for p in (root / "models").rglob("*") if p.is_file())
    table(f"Nothing has changed: {versions} versions, {files} files", found, "ninja -n")
    print(f"  gdcbuild plan: peak memory {run([GDCBUILD, 'plan'], root)[1] / 1024:.0f} MiB")
    return root


def selected(folder: Path, root: Path, rounds: int) -> None:
    alone = folder / "alone"
    prepare(alone, 5, peers=False)
    commands = {"alone": ([GDCBUILD, "plan", "m00000"], alone), "among all": ([GDCBUILD, "plan", "m00000"], root)}
    table(f"One model selected, among {sum(1 for _ in (root / 'models').iterdir())}", medians(commands, rounds), "alone")


def start(folder: Path, rounds: int) -> None:
    commands = {
        "python -c pass": ([sys.executable, "-c", "pass"], folder),
        "gdcbuild version": ([GDCBUILD, "version"], folder),
        "gdcbuild --help": ([GDCBUILD, "--help"], folder),
    }
    table("Start", medians(commands, rounds), "python -c pass")


def first_build(folder: Path, sizes: Sequence[int]) -> None:
    """A version costs the same however many there are; the archiver's is measured over 20 runs of it, one after the other."""
    loop = folder / "loop"
    write(loop, 20)
    script = "\n".join(_by_hand(loop, f"m{model:05}", version) for model in range(4) for version in range(1, 6))
    seconds, _ = run(["sh", "-e", "-c", script], loop)
    found = {"a loop of torch-model-archiver": seconds / 20}
    for size in sizes:
        root = folder / f"first-{size}"
        write(root, size)
        os.environ["GDCBUILD_CACHE_DIR"] = str(folder / f"cache-{size}")
        seconds, memory = run([GDCBUILD, "build"], root)
        found[f"gdcbuild build of {size}"] = seconds / size
        print(f"first build of {size}: {seconds:.1f} s, peak memory {memory / 1024:.0f} MiB")
        shutil.rmtree(root)
        shutil.rmtree(folder / f"cache-{size}")
    table("First build, a version", found, f"gdcbuild build of {sizes[-1]}")


def _by_hand(root: Path, model: str, version: int) -> str:
    folder = root / "models" / model
    extras = ",".join(str(p) for p in sorted((folder / f"v{version}").glob("*.txt")))
    target = f"{root}/out/{model}/{version}"
    own = f"--serialized-file {folder}/v{version}/weights.pt --handler {folder}/handler.py --extra-files {extras}"
    return f"mkdir -p {target} && {' '.join(ARCHIVER[:5])} {own} --export-path {target} --force"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="1,000 versions at most, and neither make nor DVC")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["GDCBUILD_CACHE_DIR"] = str(folder / "cache")
        start(folder, options.rounds)
        root = null_plan(folder, 1_000, options.rounds, slow=not options.quick)
        if not options.quick:
            root = null_plan(folder, 10_000, options.rounds, slow=False)
        selected(folder, root, options.rounds)
        first_build(folder, [100, 1_000] if options.quick else [100, 1_000, 10_000])


if __name__ == "__main__":
    main()
