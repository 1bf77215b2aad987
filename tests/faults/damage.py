"""Flipped bits, cuts and edits in every file of a cache: each is a miss or found out, never believed."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gdcbuild.core.digest import Digest
from gdcbuild.errors import BlobDamaged, Problem
from gdcbuild.files.content import read_verified
from gdcbuild.store.disk import DiskCAS
from gdcbuild.store.records import DiskRecords
from tests.faults import memos
from tests.faults.edits import Case, damaged, fresh_folder
from tests.faults.pool import each
from tests.faults.scene import Fault, Scene, warmed
from tests.records import close

DATABASE = "cache.db"
VALUES: dict[str, Any] = {f"{n:064x}": {"schema": 1, "tree": [[f"file{n}", f"{n:064x}", n]], "seconds": n} for n in range(40)}
Files = dict[str, bytes]


@dataclass(frozen=True)
class Amount:
    """How many flips, how many edits of each file, every which length to cut at (16 times that where a process has the
    database open), how often through the command line."""

    flips: int
    edits: int
    stride: int
    commands: int


WHOLE = Amount(flips=10_000, edits=2_000, stride=1, commands=100)
SAMPLE = Amount(flips=100, edits=110, stride=499, commands=2)


def run(folder: Path, amount: Amount) -> int:
    """Do it all; returns how many failed."""
    scene, _ = warmed(folder)
    failed = sum(each(what, one, cases) for what, one, cases in _parts(scene, amount))
    return failed + each("the command line", partial(_command_line, folder), list(range(amount.commands)))


def _parts(scene: Scene, amount: Amount) -> Iterator[tuple[str, Callable[[Case], str], list[Case]]]:
    blobs = {str(p.relative_to(scene.cache)): p.read_bytes() for p in (scene.cache / "cas").rglob("*") if p.is_file()}
    flips = [("flip", n) for n in range(amount.flips)]
    yield "bits of blobs", partial(_blob, blobs), flips[: amount.flips // 2]
    with tempfile.TemporaryDirectory() as folder:
        closed, running = pristine(Path(folder))
    yield "bits of the database", partial(_database, closed, DATABASE), flips[amount.flips // 2 :]
    for state, files in (("", closed), (" of a running process", running)):
        stride = amount.stride * (16 if state else 1)
        for name, data in files.items():
            cases = [*(("edit", n) for n in range(amount.edits)), *(("cut", n) for n in range(0, len(data), stride))]
            yield f"{name}{state}", partial(_database, files, name), cases
    for name, one, size in memos.kinds():
        yield name, one, [*(("edit", n) for n in range(amount.edits)), *(("cut", n) for n in range(size))]


def pristine(folder: Path) -> tuple[Files, Files]:
    """The files of a database at rest, and of one that a process has open or was killed with."""
    records = DiskRecords(folder / "records", lambda _: None)
    for key in list(VALUES)[:20]:
        records.put("result", key, VALUES[key])
    close(records)
    closed = {p.name: p.read_bytes() for p in (folder / "records").iterdir()}
    records = DiskRecords(folder / "records", lambda _: None)
    for key in list(VALUES)[20:]:
        records.put("result", key, VALUES[key])
    running = {p.name: p.read_bytes() for p in sorted((folder / "records").iterdir())}
    close(records)
    return closed, running


def _database(files: Files, name: str, case: Case) -> str:
    """Read, list, write and check a database of which one file is damaged."""
    with fresh_folder() as folder:
        return _read(folder, files, name, case)


def _read(folder: Path, files: Files, name: str, case: Case) -> str:
    (folder / "records").mkdir()
    for other, data in files.items():
        (folder / "records" / other).write_bytes(damaged(data, case) if other == name else data)
    told: list[Problem] = []
    records = DiskRecords(folder / "records", told.append)
    try:
        known = set(VALUES) if DATABASE + "-wal" in files else set(list(VALUES)[:20])
        found = {key: records.get("result", key) for key in known}
        if wrong := {key: value for key, value in found.items() if value is not None and value != VALUES[key]}:
            raise Fault(f"believed {wrong}")
        if None in found.values() and not told:
            raise Fault("a miss without a warning")
        strange = set(records.keys("result")) - known
        if any(records.get("result", key) is not None for key in strange):
            raise Fault(f"believed {strange}")
        records.put("result", "new", ["new"])
        if records.get("result", "new") != ["new"] and not told:
            raise Fault("it does not keep, and does not say so")
        records.discard_damaged()
        if records.discard_damaged():
            raise Fault("what is damaged is not removed")
        return "miss, reported" if None in found.values() else "no harm"
    finally:
        close(records)


def _blob(blobs: Files, case: Case) -> str:
    """Flip a bit of one blob: its reader notices, and a check finds only that one."""
    with fresh_folder() as folder:
        name = random.Random(case[1]).choice(sorted(blobs))
        for other, data in blobs.items():
            path = folder / other
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(damaged(data, case) if other == name else data)
            path.chmod(0o444)
        cas = DiskCAS(folder / "cas")
        for other, data in blobs.items():
            digest = Digest(Path(other).name, len(data))
            try:
                if read_verified(cas.get(digest)) != data:
                    raise Fault("damaged bytes are believed")
            except BlobDamaged:
                if other != name:
                    raise
            else:
                if other == name:
                    raise Fault("nobody noticed")
        if cas.discard_damaged() != [str(folder / name)]:
            raise Fault("the check does not find it")
        return "found"


def _command_line(folder: Path, number: int) -> str:
    """Flip bits in a real cache, keeping mode, size and time; what is then published is right. What nobody has read stays
    damaged until the cache is checked."""
    scene, clean = warmed(folder)
    scene.start_over()
    scene.rerun(clean)
    chance = random.Random(number)
    for path in chance.sample(sorted(p for p in scene.cache.rglob("*") if p.is_file() and p.stat().st_size), 3):
        before = path.stat()
        path.chmod(0o600)
        path.write_bytes(damaged(path.read_bytes(), ("flip", number)))
        path.chmod(before.st_mode & 0o777)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    if number % 2:
        obstruct(scene.cache / "locks", [*clean.results, "records"], chance)
        shutil.rmtree(scene.cache / "cas")
    shutil.rmtree(scene.bucket, ignore_errors=True)
    scene.rerun(clean, forgotten=True)
    left = scene.discard_damaged()
    if scene.discard_damaged():
        raise Fault("what is damaged is not removed")
    shutil.rmtree(scene.bucket)
    scene.rerun(clean)
    return "fixed, the rest found" if left else "fixed"


def obstruct(locks: Path, names: list[str], chance: random.Random) -> None:
    """Replace every lock by something else."""
    for name in names:
        path = locks / name
        match chance.choice(("text", "folder", "link", "fifo")):
            case "text":
                path.write_bytes(chance.randbytes(100))
            case "folder":
                (path / "below").mkdir(parents=True)
            case "link":
                path.symlink_to(locks / "nowhere")
            case "fifo":
                os.mkfifo(path)
