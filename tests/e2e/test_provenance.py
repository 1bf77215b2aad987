"""Where a published version came from: the commit and the files; and what a runner with an empty cache can tell by them."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from tests.e2e.test_incremental import FILES, MANIFEST
from tests.e2e.test_s3 import on_server
from tests.e2e.workspace import HANDLER, Workspace
from tests.servers import AwkwardS3, awkward


def git(workspace: Workspace, *arguments: str) -> str:
    who = {f"GIT_{role}_{what}": "someone" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *arguments], cwd=workspace.root, env={**os.environ, **who}, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def runner(workspace: Workspace, cache: Path) -> Workspace:
    """Another machine with the same files and bucket, and its own cache."""
    return Workspace(workspace.root, cache, workspace.variables)


def test_status_names_the_commit_and_the_files(workspace: Workspace) -> None:
    workspace.write({**FILES, "gdcbuild.yaml": MANIFEST, ".gitignore": "bucket\n"})
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


SHARED = """\
schema: 1
environments:
  local: {bucket: bucket}
include: [one/gdcbuild.yaml, two/gdcbuild.yaml]
"""
ONE = """\
schema: 1
models:
  one:
    framework: pytorch-cpu.2-4
    handler: h
    versions:
      "1": {weights: w.pt}
handlers:
  h: {file: h.py, files: [../vendor/net.py]}
"""


def test_a_version_is_dirty_if_its_own_files_are(workspace: Workspace, tmp_path: Path) -> None:
    """Not by what went into others; and by all of it: files of submodules, untracked ones, hidden ones, its manifest."""
    library = Workspace(tmp_path / "library", tmp_path / "cache")
    library.write({"net.py": "x = 1\n"})
    git(library, "init", "-q")
    git(library, "add", "-A")
    git(library, "commit", "-q", "-m", "first")
    files: dict[str, str | bytes] = {"w.pt": b"weights", "h.py": HANDLER}
    two = ONE.replace("one:", "two:").replace("../vendor/net.py", "more.py")
    workspace.write({"gdcbuild.yaml": SHARED, ".gitignore": "bucket\n"})
    workspace.write({"one/gdcbuild.yaml": ONE, **{f"one/{p}": c for p, c in files.items()}})
    workspace.write({"two/gdcbuild.yaml": two, **{f"two/{p}": c for p, c in files.items()}, "two/more.py": "x = 1\n"})
    git(workspace, "init", "-q")
    git(workspace, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library.root), "vendor")
    git(workspace, "add", "-A")
    git(workspace, "commit", "-q", "-m", "first")
    head = git(workspace, "rev-parse", "HEAD")

    def commits() -> dict[str, str]:
        workspace.ok("apply")
        return {c["model"]: c["provenance"]["commit"] for c in workspace.ok("status", "--json").json["changes"]}

    assert commits() == {"one": head, "two": head}
    workspace.write({"vendor/net.py": "x = 2\n", "two/more.py": "x = 2\n"})
    git(workspace, "update-index", "--assume-unchanged", "two/more.py")
    assert commits() == {"one": f"{head}-dirty", "two": f"{head}-dirty"}
    git(workspace, "checkout", "-q", "--recurse-submodules", "-f", "HEAD")
    workspace.write({"vendor/net.py": "x = 1\n", "one/w.pt": b"w", "two/more.py": "x = 1\n", "two/new.pt": b"w"})
    workspace.write({"two/gdcbuild.yaml": two.replace("w.pt", "new.pt")})
    git(workspace, "add", "one/w.pt")
    git(workspace, "commit", "-q", "-m", "second")
    head = git(workspace, "rev-parse", "HEAD")
    assert commits() == {"one": head, "two": f"{head}-dirty"}


def test_without_a_repository_no_commit_is_named(workspace: Workspace) -> None:
    workspace.write({**FILES, "gdcbuild.yaml": MANIFEST})
    assert "commit" not in workspace.ok("apply", "a@1").err
    (row,) = workspace.ok("status", "a@1", "--json").json["changes"]
    assert row["provenance"]["commit"] is None


def test_a_repository_that_git_cannot_read_is_reported(workspace: Workspace) -> None:
    workspace.write({**FILES, "gdcbuild.yaml": MANIFEST, ".git": "neither a folder nor a link\n"})
    told = workspace.ok("apply", "a@1").err
    assert "warning: the commit is not recorded: fatal: invalid gitfile format" in told
    workspace.variables["PATH"] = "/nowhere"
    assert "warning: the commit is not recorded: git cannot be run" in workspace.ok("apply", "b@1").err
    assert "warning" not in workspace.ok("apply", "b@1").err, "nothing is published, so there is nothing to record"


def test_a_runner_with_an_empty_cache_packs_nothing_that_is_published(workspace: Workspace, tmp_path: Path) -> None:
    workspace.write({**FILES, "gdcbuild.yaml": MANIFEST})
    workspace.ok("apply")
    before = workspace.snapshot("bucket")
    fresh = runner(workspace, tmp_path / "another")
    planned = fresh.run("plan", "--json", "--detailed-exitcode")
    assert planned.code == 2
    told = {f"{c['model']}@{c['version']}": (c["change"], c["why"]) for c in planned.json["changes"]}
    same = ("none", "up to date: published from the same inputs")
    assert told == {
        "a@1": same,
        "a@2": ("unknown", "known only after step:weights is built"),
        "b@1": same,
        "b@2": same,
    }
    applied = fresh.ok("apply", "--json")
    assert applied.jobs(what="action") == ["a@2", "step:weights"]
    assert workspace.snapshot("bucket") == before
    fresh.write({"handlers/other.py": "def handle(data, context):\n    return [1]\n"})
    changed = runner(workspace, tmp_path / "third").run("plan", "a@1", "b", "--json").json["changes"]
    assert [c["change"] for c in changed] == ["none", "none", "unknown"]


def test_git_is_only_read(workspace: Workspace, tmp_path: Path) -> None:
    """No index written, no lock taken, no hook run, no secret shown; and not the repository that a hook speaks of."""
    workspace.write({**FILES, "gdcbuild.yaml": MANIFEST, ".gitignore": "bucket\n"})
    git(workspace, "init", "-q")
    git(workspace, "add", "-A")
    git(workspace, "commit", "-q", "-m", "first")
    head = git(workspace, "rev-parse", "HEAD")
    told = tmp_path / "told"
    for name in ("post-index-change", "fsmonitor-watchman"):
        hook = workspace.root / ".git" / "hooks" / name
        hook.write_text(f"#!/bin/sh\nenv >> {told}\n")
        hook.chmod(0o755)
    git(workspace, "config", "core.fsmonitor", ".git/hooks/fsmonitor-watchman")
    workspace.age()
    (workspace.root / "h.txt").touch()
    (workspace.root / "seed.txt").touch()
    index = (workspace.root / ".git" / "index").read_bytes()
    other = Workspace(tmp_path / "other", tmp_path / "cache")
    git(other, "init", "-q")
    workspace.variables.update(GIT_DIR=str(other.root / ".git"), A_SECRET="x")
    workspace.ok("apply")
    assert (workspace.root / ".git" / "index").read_bytes() == index
    assert not told.exists()
    found = workspace.ok("status", "a@1", "--json").json["changes"][0]["provenance"]
    assert found["commit"] == head


def test_a_workspace_outside_any_commit_has_no_commit(workspace: Workspace, tmp_path: Path) -> None:
    outer = Workspace(workspace.root.parent, tmp_path / "cache")
    outer.write({".gitignore": "*\n"})
    git(outer, "init", "-q")
    git(outer, "add", "-f", ".gitignore")
    git(outer, "commit", "-q", "-m", "first")
    workspace.write({**FILES, "gdcbuild.yaml": MANIFEST})
    assert "warning" not in workspace.ok("apply", "a@1").err
    assert workspace.ok("status", "a@1", "--json").json["changes"][0]["provenance"]["commit"] is None
    git(workspace, "init", "-q")
    git(workspace, "add", "-A", "-f")
    assert "warning" not in workspace.ok("apply", "b@1").err, "nothing is committed yet"
    assert workspace.ok("status", "b@1", "--json").json["changes"][0]["provenance"]["commit"] is None


def test_seals_in_a_store_are_read_once(tmp_path: Path) -> None:
    with awkward(AwkwardS3()) as store:
        workspace = on_server(tmp_path, store.endpoint)
        workspace.ok("apply", "--env", "s3")
        fresh = runner(workspace, tmp_path / "another")
        reads = []
        for command in ("plan", "plan", "status"):
            store.log.clear()
            fresh.ok(command, "--env", "s3")
            reads.append(store.log.count("GET"))
        assert reads == [4, 0, 4]


def test_an_environment_that_requires_committed_files(workspace: Workspace) -> None:
    clean = MANIFEST.replace("{bucket: bucket}", "{bucket: bucket, clean: true}")
    assert clean != MANIFEST
    workspace.write({**FILES, "gdcbuild.yaml": clean, ".gitignore": "bucket\n"})
    refused = workspace.run("apply")
    assert (refused.code, "requires committed files" in refused.err) == (3, True)
    git(workspace, "init", "-q")
    git(workspace, "add", ".")
    git(workspace, "commit", "-qm", "first")
    workspace.write({"handlers/helper.py": "x = 2\n"})
    refused = workspace.run("apply")
    assert (refused.code, refused.err.splitlines()[-1]) == (3, "    | handlers/helper.py")
    assert not (workspace.root / "bucket").exists()
    assert workspace.ok("plan").out.count("create") > 1, "planning asks for no commit"
    workspace.ok("build")
    git(workspace, "commit", "-qam", "second")
    workspace.ok("apply")
