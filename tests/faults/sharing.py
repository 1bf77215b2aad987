"""Many processes on one cache: they build the same things at the same time, are killed at any time, and a collection runs."""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gdcbuild.app.cache import Cache
from tests.e2e.workspace import Result, Workspace
from tests.faults.scene import HANDLER, MANIFEST, TIMEOUT, Fault, sober

VERSIONS = ("1", "2", "3")


@dataclass(frozen=True)
class Amount:
    """How many processes at a time, and how many times each builds and publishes everything."""

    members: int
    rounds: int


WHOLE = Amount(members=8, rounds=50)
SAMPLE = Amount(members=3, rounds=2)


def manifest() -> str:
    text = MANIFEST + "".join(f'      "{v}": {{weights: {{step: s{v}, path: w.pt}}}}\n' for v in VERSIONS) + "steps:\n"
    for v in VERSIONS:
        text += f'  s{v}: {{run: [sh, -c, "sleep 0.1; cat seed{v} > ${{out}}/w.pt"], inputs: [seed{v}], outputs: [w.pt]}}\n'
    return text


class Member:
    """One builder: its own workspace and bucket, and the shared cache."""

    def __init__(self, folder: Path, cache: Path, name: str) -> None:
        self.workspace = Workspace(folder / name, cache)
        self.workspace.write({"gdcbuild.yaml": manifest(), "handler.py": HANDLER})
        self.chance = random.Random(name)

    def round(self, number: int, archives: dict[tuple[str, str], bytes], killed: bool) -> Counter[tuple[str, str]]:
        """Build a choice of what the others build too, and look at what was published. Counts the actions that ran."""
        chosen = {v: f"{number} {self.chance.randrange(3)}" for v in VERSIONS}
        self.workspace.write({f"seed{v}": content for v, content in chosen.items()})
        shutil.rmtree(self.workspace.root / "bucket", ignore_errors=True)
        while killed and self.chance.random() < 0.6:
            self.kill(self.chance.uniform(0.2, 1.5))
        result = self.apply().wait()
        sober(result)
        if result.code != 0:
            raise Fault(f"it ended with {result.code}\n{result.err}")
        served = self.workspace.served()
        if set(served) != {f"m/{v}/model.mar" for v in VERSIONS}:
            raise Fault(f"published {sorted(served)}")
        for v, content in chosen.items():
            archive = served[f"m/{v}/model.mar"]
            if archives.setdefault((v, content), archive) != archive:
                raise Fault(f"version {v} of {content!r} came out in two ways")
            with zipfile.ZipFile(io.BytesIO(archive)) as found:
                if found.testzip() or (found.read("w.pt"), found.read("handler.py")) != (content.encode(), HANDLER.encode()):
                    raise Fault(f"version {v} is not of {content!r}")
        built = result.jobs(outcome="built")
        return Counter((job, chosen[job[-1]]) for job in built)

    def apply(self) -> Running:
        return Running(self.workspace)

    def kill(self, after: float) -> None:
        running = self.apply()
        time.sleep(after)
        running.process.kill()
        running.process.communicate(timeout=TIMEOUT)


class Running:
    """An `apply` that goes on beside us."""

    def __init__(self, workspace: Workspace) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gdcbuild", "apply", "--json", "-j", "2"],
            cwd=workspace.root,
            env=workspace.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> Result:
        try:
            out, err = self.process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise Fault("it does not end") from None
        return Result(self.process.returncode, out, err)


def run(folder: Path, amount: Amount) -> int:
    """At rest, then among kills and collections; prints what each part came to, and returns how many failed."""
    return _part(folder / "together", amount, False) + _part(folder / "killed", amount, True)


def _part(folder: Path, amount: Amount, killed: bool) -> int:
    cache = folder / "cache"
    archives: dict[tuple[str, str], bytes] = {}
    started = time.monotonic()

    def member(number: int) -> tuple[Counter[tuple[str, str]], list[str]]:
        built, faults = Counter[tuple[str, str]](), []
        this = Member(folder, cache, f"member{number}")
        for n in range(amount.rounds):
            try:
                built += this.round(n, archives, killed)
            except Fault as fault:
                faults.append(f"round {n} of {number}: {fault}")
        return built, faults

    with ThreadPoolExecutor(amount.members) as pool, _collections(folder, cache, killed) as collected:
        ended = list(pool.map(member, range(amount.members)))
    built = sum((b for b, _ in ended), Counter[tuple[str, str]]())
    faults = [fault for _, all_faults in ended for fault in all_faults]
    if not killed:
        faults += [f"{job} of {content!r} ran {count} times" for (job, content), count in built.items() if count > 1]
    faults += [f"the collection ended with {c.code}\n{c.err}" for c in collected if c.code]
    faults += [f"damaged: {what}" for what in Cache(cache, lambda _: None).discard_damaged()]
    faults += [f"left behind: {p}" for p in (cache / "work").iterdir() if not killed]
    print(*(f"FAILED {fault}" for fault in faults), sep="\n", end="\n" if faults else "", flush=True)
    kind = f"sharing among kills and {len(collected)} collections" if killed else "sharing"
    print(
        f"{kind}: {amount.members} x {amount.rounds} rounds, {built.total()} actions run for {len(built)} that differ, "
        f"{len(faults)} failed, {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return len(faults)


@contextmanager
def _collections(folder: Path, cache: Path, wanted: bool) -> Iterator[list[Result]]:
    """Collect again and again, of blobs that have been made to look old."""
    ended, said, chance = threading.Event(), list[Result](), random.Random(0)
    workspace = Workspace(folder / "collector", cache)

    def collect() -> None:
        while not ended.wait(0.2):
            blobs = list((cache / "cas").glob("*/*"))
            for path in chance.sample(blobs, min(3, len(blobs))):
                try:
                    os.utime(path, (0, 0))
                except FileNotFoundError:
                    continue
            said.append(workspace.run("cache", "gc", "--max-age", "1h", "--max-size", "1M"))

    thread = threading.Thread(target=collect)
    if wanted:
        thread.start()
    try:
        yield said
    finally:
        ended.set()
        if wanted:
            thread.join()
