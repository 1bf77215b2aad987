"""Where a published version came from: the commit and the files; and what a runner with an empty cache can tell by them."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from tests.e2e.test_incremental import FILES, MANIFEST
from tests.e2e.test_s3 import on_server
from tests.e2e.workspace import Workspace
from tests.servers import AwkwardS3, awkward


def git(workspace: Workspace, *arguments: str) -> str:
    who = {f"GIT_{role}_{what}": "someone" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *arguments], cwd=workspace.root, env={**os.environ, **who}, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def runner(workspace: Workspace, cache: Path) -> Workspace:
    """Another machine with the same files and bucket, and a cache of its own."""
    return Workspace(workspace.root, cache, workspace.variables)


def test_status_names_the_commit_and_the_files(workspace: Workspace) -> None:
    workspace.write({**FILES, "gdcbuild.yaml": MANIFEST, ".gitignore": "bucket\n*.pt\n"})
    git(workspace, "init", "-q")
    git(workspace, "add", "-A")
    git(workspace, "commit", "-q", "-m", "first")
    first = git(workspace, "rev-parse", "HEAD")
    assert workspace.ok("apply", "a").err.count("warning") == 0
    workspace.write({"handlers/helper.py": "x = 2\n"})
    workspace.ok("apply", "b@1")
    workspace.write({"handlers/helper.py": FILES["handlers/helper.py"]})
    shown = workspace.ok("status").out
    rows = {line.split()[0]: line for line in shown.splitlines()[1:]}
    assert f"commit {first[:12]}\n" in rows["a@1"] + "\n"
    assert f"commit {first[:12]}-dirty" in rows["b@1"]
    assert "commit" not in rows["b@2"]
    found = {(c["model"], c["version"]): c["provenance"] for c in workspace.ok("status", "--json").json["changes"]}
    assert found["b", "2"] is None
    assert found["b", "1"]["commit"] == f"{first}-dirty"
    assert found["a", "1"]["commit"] == first
    sources = {row["path"]: row["sha256"] for row in found["a", "1"]["sources"]}
    assert sources == {p: hashlib.sha256((workspace.root / p).read_bytes()).hexdigest() for p in sources}
    assert {"w1.pt", "handlers/helper.py"} <= sources.keys()


def test_without_a_repository_no_commit_is_named(workspace: Workspace) -> None:
    workspace.write({**FILES, "gdcbuild.yaml": MANIFEST})
    assert "commit" not in workspace.ok("apply", "a@1").err
    (row,) = workspace.ok("status", "a@1", "--json").json["changes"]
    assert row["provenance"]["commit"] is None


def test_a_repository_that_git_does_not_read_is_told(workspace: Workspace) -> None:
    workspace.write({**FILES, "gdcbuild.yaml": MANIFEST, ".git": "neither a folder nor a link\n"})
    told = workspace.ok("apply", "a@1").err
    assert "warning: the commit is not recorded: fatal: invalid gitfile format" in told
    workspace.variables["PATH"] = "/nowhere"
    assert "warning: the commit is not recorded: git cannot be run" in workspace.ok("apply", "b@1").err
    assert "warning" not in workspace.ok("apply", "b@1").err, "nothing is published, so there is nothing to record"


def test_a_runner_with_an_empty_cache_builds_nothing_that_is_published(workspace: Workspace, tmp_path: Path) -> None:
    workspace.write({**FILES, "gdcbuild.yaml": MANIFEST})
    workspace.ok("apply")
    before = workspace.snapshot("bucket")
    fresh = runner(workspace, tmp_path / "another")
    planned = fresh.ok("plan", "--json", "--detailed-exitcode").json
    assert planned["summary"].keys() == {"none"}
    assert {c["why"] for c in planned["changes"]} == {"up to date: published from the same inputs"}
    assert "Nothing to do: no action ran, no object was written." in fresh.ok("apply").err
    assert workspace.snapshot("bucket") == before
    fresh.write({"seed.txt": "changed"})
    changed = runner(workspace, tmp_path / "third").run("plan", "--detailed-exitcode", "--json")
    assert changed.code == 2
    assert [c["change"] for c in changed.json["changes"]] == ["none", "unknown", "none", "none"]
    assert changed.json["changes"][1]["why"] == "input seed.txt changed"


def test_seals_in_a_store_are_read_once(tmp_path: Path) -> None:
    with awkward(AwkwardS3()) as store:
        workspace = on_server(tmp_path, store.endpoint)
        workspace.ok("apply", "--env", "s3")
        fresh = runner(workspace, tmp_path / "another")
        reads = [0]
        for _ in range(2):
            store.log.clear()
            fresh.ok("plan", "--env", "s3", "--detailed-exitcode")
            assert {c["change"] for c in fresh.ok("status", "--env", "s3", "--json").json["changes"]} == {"none"}
            reads.append(store.log.count("GET"))
        assert reads == [0, 4, 0]
