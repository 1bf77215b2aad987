"""Packs large weights and compares, all in one run: python benchmarks/pack.py [--gib 1] [--rounds 3]

Beside `gdcbuild build` with an empty cache run `cp` and `sha256sum` of the same file, the least that copying it and naming it
by its content costs; and torch-model-archiver, deflating (its default) and with `--archive-format zip-store`, the latter also
with what gdcbuild does besides: weights and archive hashed (in Python, as quick as here), and the archive flushed to the disk.
Each is a process of its own. Of several rounds, run in turn, the quickest counts. Memory is the peak of what is resident.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MANIFEST = """\
schema: 1
handlers: {own: {file: handler.py}}
models: {model: {framework: pytorch-cpu.2-4, handler: own, versions: {"1": {weights: weights.bin}}}}
"""
BUILD = [sys.executable, "-m", "gdcbuild", "build", "--cache-dir", "cache"]
ARCHIVER = [
    *(sys.executable, "-W", "ignore", "-m", "model_archiver.model_packaging", "--model-name", "model", "--version", "1"),
    *("--serialized-file", "weights.bin", "--handler", "handler.py", "--export-path", "out", "--force"),
]
STORING = shlex.join([*ARCHIVER, "--archive-format", "zip-store"])
COPY = "cp + sha256sum"
OURS = "gdcbuild build"
EDITED = "gdcbuild build, handler edited"
STORED = "archiver, zip-store"
DEFLATED = "archiver, default"
RECORDED = "the same, hashed and flushed"
HASH = "import hashlib, sys; [hashlib.file_digest(open(f, 'rb'), 'sha256') for f in sys.argv[1:]]"
COMMANDS = {
    COPY: ["sh", "-c", "cp weights.bin out/copy && sha256sum weights.bin"],
    OURS: BUILD,
    EDITED: BUILD,
    STORED: ["sh", "-c", STORING],
    RECORDED: ["sh", "-ec", f"{STORING} && '{sys.executable}' -c \"{HASH}\" weights.bin out/model.mar && sync out/model.mar"],
    DEFLATED: ARCHIVER,
}


def write_weights(file: Path, gib: float) -> None:
    """What weights are to a compressor: it gets some percent off them, and takes its time."""
    source = random.Random(1)
    block = b"".join(source.randbytes(3) + b"\x3d" for _ in range(1 << 14))  # small: a child's peak begins with its parent's
    with file.open("wb") as target:
        for _ in range(int(gib * (1 << 14))):
            target.write(block)


def measure(folder: Path, name: str) -> tuple[float, int]:
    """Seconds, and the peak of memory in MiB, of one run."""
    if name != EDITED:
        shutil.rmtree(folder / "cache", ignore_errors=True)
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir()
    (folder / "handler.py").write_text(f"def handle(data, context):\n    return data\n# {time.monotonic_ns()}\n")
    os.sync()
    with (folder / "log").open("w+b") as log:
        started = time.monotonic()
        environment = {**os.environ, "TMPDIR": str(folder)}
        process = subprocess.Popen(COMMANDS[name], cwd=folder, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        taken = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{name} failed:\n{(folder / 'log').read_text()}")
    return taken, usage.ru_maxrss >> 10


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--gib", type=float, default=1.0, help="size of the weights")
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder / "weights.bin", given.gib)
        (folder / "gdcbuild.yaml").write_text(MANIFEST)
        runs: dict[str, list[tuple[float, int]]] = {kind: [] for kind in COMMANDS}
        for number in range(given.rounds):
            for kind in COMMANDS:
                if kind != DEFLATED or number == 0:  # it takes longer than all others together
                    runs[kind].append(measure(folder, kind))
    seconds = {kind: min(taken for taken, _ in found) for kind, found in runs.items()}
    for kind, found in runs.items():
        print(f"{kind:32} {seconds[kind]:7.2f} s  {max(memory for _, memory in found):5} MiB")
    print(f"{OURS} / {COPY}: {seconds[OURS] / seconds[COPY]:.2f} (wanted: at most 1.3)")
    print(f"{DEFLATED} / {OURS}: {seconds[DEFLATED] / seconds[OURS]:.1f} (wanted: at least 15)")
    print(f"{STORED} / {OURS}: {seconds[STORED] / seconds[OURS]:.2f} (wanted: at least 2.5)")
    print(f"{RECORDED} / {OURS}: {seconds[RECORDED] / seconds[OURS]:.2f}")
    print(f"{OURS}, memory: {max(memory for _, memory in runs[OURS])} MiB (wanted: below 150)")


if __name__ == "__main__":
    main()
