"""The cache by itself: what a collection removes and what it keeps."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gdcbuild.store.locks import FileLocks
from tests.e2e.test_incremental import ALL, FILES
from tests.e2e.workspace import HANDLER, ONE_STEP, Workspace

DAY = 86_400


@pytest.fixture
def built(workspace: Workspace) -> Workspace:
    workspace.write(FILES)
    workspace.ok("apply")
    return workspace


def blobs(workspace: Workspace) -> list[Path]:
    return sorted(p for p in (workspace.cache / "cas").rglob("*") if p.is_file())


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def test_recently_used_blobs_are_kept(built: Workspace) -> None:
    before = blobs(built)
    built.ok("cache", "gc", "--max-age", "1h", "--max-size", "1M")
    assert blobs(built) == before
    for path in before:
        age(path, 2)
    built.ok("cache", "gc", "--max-age", "3d")
    assert blobs(built) == before


def test_old_blobs_are_removed_and_nothing_else(built: Workspace) -> None:
    for path in blobs(built):
        age(path, 40)
    assert "Removed 5 blobs" in built.ok("cache", "gc", "--max-age", "30d").err
    assert blobs(built) == []
    assert "Nothing to do" in built.ok("apply").err, "no bytes are needed to know that all is well"
    result = built.ok("apply", "--json")
    assert result.jobs() == []
    (built.root / "bucket").rename(built.root / "elsewhere")
    again = built.ok("apply", "--json")
    assert again.jobs(what="publish", outcome="created") == ALL
    assert again.jobs(outcome="built") == ["a@1", "a@2", "b@1", "b@2", "step:weights"]


def test_the_oldest_blobs_are_removed_first(workspace: Workspace) -> None:
    workspace.write({**FILES, "w1.pt": os.urandom(600_000), "wb.pt": os.urandom(600_000)})
    workspace.ok("apply")
    big = [p for p in blobs(workspace) if p.stat().st_size > 600_000]
    assert len(big) == 3
    for n, path in enumerate(big):
        age(path, 10 + n)
    workspace.ok("cache", "gc", "--max-size", "1M")
    assert [p.exists() for p in big] == [True, False, False]


def test_blobs_that_no_result_names_are_removed(built: Workspace) -> None:
    stray = built.cache / "cas/00" / ("0" * 64)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"x")
    built.ok("cache", "gc")
    assert stray.exists(), "too young"
    age(stray, 2)
    for path in blobs(built):
        if path != stray:
            age(path, 2)
    built.ok("cache", "gc")
    assert not stray.exists()
    assert len(blobs(built)) == 5


def test_unused_toolchains_are_removed(built: Workspace) -> None:
    used, unused, unfinished = (built.cache / "toolchains" / name for name in ("used", "unused", "unfinished"))
    for path in (used, unused, unfinished):
        path.mkdir(parents=True)
    for path in (used, unused):
        (path / "toolchain.json").write_text("{}")
    age(unused / "toolchain.json", 40)
    age(unfinished, 2)
    assert "2 toolchains" in built.ok("cache", "gc", "--max-age", "30d").err
    assert [p.name for p in (built.cache / "toolchains").iterdir()] == ["used"]


@pytest.mark.parametrize("arguments", [["--max-age", "soon"], ["--max-age", "30"], ["--max-size", "-1G"], ["--max-size", "1T"]])
def test_invalid_sizes_and_ages(built: Workspace, arguments: list[str]) -> None:
    result = built.run("cache", "gc", *arguments)
    assert (result.code, "write a whole number and a unit" in result.err) == (64, True), result.err


def test_use_is_noted(built: Workspace) -> None:
    for path in blobs(built):
        age(path, 40)
    (built.root / "bucket").rename(built.root / "elsewhere")
    built.ok("apply")
    built.ok("cache", "gc", "--max-age", "30d")
    assert len(blobs(built)) == 4, "all but the step's output, which nobody has read"


def test_blobs_of_a_running_action_are_kept(built: Workspace) -> None:
    running, ended = built.cache / "work" / "running", built.cache / "work" / "ended"
    toolchain = built.cache / "toolchains" / "unused"
    for path in (running, ended, toolchain):
        path.mkdir(parents=True)
    (toolchain / "toolchain.json").write_text("{}")
    for path in (running, ended, toolchain / "toolchain.json"):
        age(path, 40)
    with FileLocks(built.cache / "locks").hold("running"):
        built.ok("cache", "gc", "--max-age", "30d")
        assert (running.exists(), ended.exists(), toolchain.exists()) == (True, False, True)
    built.ok("cache", "gc", "--max-age", "30d")
    assert (running.exists(), toolchain.exists()) == (False, False)


def test_old_logs_are_removed(built: Workspace) -> None:
    logs = list((built.cache / "logs").iterdir())
    assert logs
    built.ok("cache", "gc", "--max-age", "30d")
    assert all(p.exists() for p in logs)
    for path in logs:
        age(path, 40)
    built.ok("cache", "gc", "--max-age", "30d")
    assert not any(p.exists() for p in logs)


@pytest.mark.parametrize("folder", ["snapshots", "listings"])
def test_old_memos_are_removed(built: Workspace, folder: str) -> None:
    (built.cache / folder).mkdir(exist_ok=True)
    old, young = built.cache / folder / "old", built.cache / folder / "young"
    for path in (old, young):
        path.write_text("of a workspace that is gone")
    age(old, 40)
    built.ok("cache", "gc")
    assert old.exists()
    built.ok("cache", "gc", "--max-age", "30d")
    assert (old.exists(), young.exists()) == (False, True)


PLAIN = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
"""Makes root a user who must heed the rights of files."""


@pytest.mark.skipif(subprocess.run([*PLAIN, "true"], check=False).returncode != 0, reason="root may do all, and unshare cannot")
def test_read_only_folders_are_removed(workspace: Workspace) -> None:
    """As Go's module cache is."""
    script = (
        "mkdir -p $HOME/a/b/c; touch $HOME/a/b/c/file; chmod 000 $HOME/a/b/c; chmod -R a-w $HOME/a $TMPDIR; echo > ${out}/w.pt"
    )
    workspace.write({"h.py": HANDLER, "gdcbuild.yaml": ONE_STEP % script})
    left = workspace.cache / "work" / "left" / "home" / "a"

    def run(*arguments: str) -> None:
        done = subprocess.run(
            [*PLAIN, sys.executable, "-m", "gdcbuild", *arguments],
            cwd=workspace.root,
            env=workspace.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    run("build")
    assert list((workspace.cache / "work").iterdir()) == []
    left.mkdir(parents=True)
    (left / "file").touch()
    left.chmod(0o500)
    age(workspace.cache / "work" / "left", 2)
    run("cache", "gc")
    assert list((workspace.cache / "work").iterdir()) == []


def test_a_damaged_mark_needs_no_installation(workspace: Workspace) -> None:
    """As in an air gap, where nothing can be installed again."""
    manifest = ONE_STEP.replace("    run:", "    framework: pt\n    run:") % "echo one > ${out}/w.pt"
    frameworks = "frameworks:\n  pt: {image: pytorch-cpu.2-4, toolchain: {requirements: none.txt}}\n"
    workspace.write({"h.py": HANDLER, "gdcbuild.yaml": manifest + frameworks, "none.txt": "# nothing\n"})
    workspace.ok("build")
    (mark,) = (workspace.cache / "toolchains").glob("*/toolchain.json")
    before = (mark.parent / "bin").stat()
    flip(mark)
    result = workspace.run("cache", "verify")
    assert (result.code, f"{mark} was damaged" in result.err) == (4, True), result.err
    workspace.ok("cache", "verify")
    workspace.write({"gdcbuild.yaml": (manifest + frameworks).replace("echo one", "echo two")})
    assert "installed" not in workspace.ok("build").err
    assert (mark.parent / "bin").stat() == before
    workspace.ok("cache", "verify")


def test_a_check_looks_at_records_too(built: Workspace) -> None:
    with sqlite3.connect(built.cache / "records" / "cache.db") as database:
        database.execute("UPDATE Cache SET value = substr(value, 1, 40) WHERE key LIKE 'result:%'")
    result = built.run("cache", "verify")
    assert result.code == 4
    assert result.err.count("the record result:") == 5
    built.ok("cache", "verify")
    assert len(built.ok("build", "--json").jobs(outcome="built")) == 5
    built.ok("cache", "verify")


def test_a_folder_of_the_cache_that_others_can_write_is_refused(built: Workspace) -> None:
    (built.cache / "records").chmod(0o775)
    result = built.run("plan")
    assert (result.code, f"chmod 700 {built.cache / 'records'}" in result.err) == (1, True), result.err


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_check_reports_a_database_that_had_to_be_created_again(built: Workspace) -> None:
    path = built.cache / "records" / "cache.db"
    path.write_bytes(b"\xff" * path.stat().st_size)
    result = built.run("cache", "verify")
    assert (result.code, f"{path.parent} was damaged" in result.err) == (4, True), result.err
    built.ok("cache", "verify")


def test_a_check_looks_at_memos_too(built: Workspace) -> None:
    built.age()
    built.ok("apply")
    built.age()
    built.ok("plan")
    toolchain = built.cache / "toolchains" / "some" / "toolchain.json"
    toolchain.parent.mkdir()
    toolchain.write_text("{}")
    memos = [*built.cache.glob("snapshots/*"), *built.cache.glob("listings/*"), toolchain]
    assert len(memos) == 3
    for path in memos:
        flip(path)
    result = built.run("cache", "verify")
    assert (result.code, [f"{p} was damaged" in result.err for p in memos]) == (4, [True] * 3), result.err
    built.ok("cache", "verify")
    assert "Nothing to do" in built.ok("apply").err


def test_unfinished_files_are_not_damage_and_are_removed(built: Workspace) -> None:
    left = [built.cache / "snapshots" / ".memo-x", built.cache / ".CACHEDIR.TAG.123"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    built.ok("cache", "verify")
    built.ok("cache", "gc")
    assert [p.exists() for p in left] == [True, True]
    for path in left:
        age(path, 2)
    built.ok("cache", "gc")
    assert [p.exists() for p in left] == [False, False]


UNSTEADY = ONE_STEP % "date +%s%N > ${out}/w.pt"
"""A step that gives other bytes each time."""


@pytest.mark.parametrize("collected", [True, False], ids=["collected", "lost"])
def test_a_lost_result_that_is_not_reproducible(workspace: Workspace, collected: bool) -> None:
    manifest = UNSTEADY.replace("{bucket: bucket}", "{bucket: bucket}\n  other: {bucket: other}")
    workspace.write({"h.py": HANDLER, "gdcbuild.yaml": manifest})
    workspace.ok("apply", "--env", "local")
    workspace.age()
    for _ in range(2):  # a snapshot is written
        workspace.ok("plan", "--env", "local")
    if collected:
        for blob in blobs(workspace):
            age(blob, 60)
        workspace.ok("cache", "gc", "--max-age", "30d")
    else:
        shutil.rmtree(workspace.cache / "cas")
    workspace.ok("build")
    workspace.ok("apply", "--env", "other")
    assert "Nothing to do" in workspace.ok("apply", "--env", "other").err
    assert workspace.ok("plan", "--env", "local", "--json").json["changes"][0]["change"] == "replace"
    shutil.rmtree(workspace.cache / "cas")
    again = workspace.run("apply", "--env", "local")
    assert (again.code, "building it again gave other bytes" in again.err) == (0, True), again.err
    assert "Nothing to do" in workspace.ok("apply", "--env", "local").err


def test_a_cache_that_is_moved(built: Workspace, tmp_path: Path) -> None:
    there = Workspace(tmp_path / "there" / "workspace", tmp_path / "disk" / "cache")
    shutil.copytree(built.root, there.root, ignore=shutil.ignore_patterns("bucket"), dirs_exist_ok=True)
    shutil.copytree(built.cache, there.cache, ignore=shutil.ignore_patterns("toolchains", "work"))
    done = there.ok("apply", "--json")
    assert (done.jobs(what="action", outcome="built"), done.jobs(what="publish", outcome="created")) == ([], ALL)
    assert there.served() == built.served()
