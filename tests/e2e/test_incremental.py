"""Only what changed: what a second apply does after each kind of edit, with a cheap toolchain and real archives."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.workspace import HANDLER, Workspace

MANIFEST = """\
schema: 1
environments:
  local: {bucket: bucket}
default_environment: local
frameworks:
  pt: {image: pytorch-cpu.2-4}
handlers:
  shared: {file: handlers/shared.py, files: [handlers/helper.py]}
  other: {file: handlers/other.py}
models:
  a:
    framework: pt
    handler: shared
    versions:
      "1": {weights: w1.pt}
      "2": {weights: {step: weights, path: w2.pt}}
  b:
    framework: pt
    versions:
      "1": {weights: wb.pt, handler: shared}
      "2": {weights: wb.pt, handler: other}
steps:
  weights:
    run: [sh, -c, "cat seed.txt > ${out}/w2.pt"]
    inputs: [seed.txt]
    outputs: [w2.pt]
"""
FILES: dict[str, str | bytes] = {
    "gdcbuild.yaml": MANIFEST,
    "w1.pt": b"weights one",
    "wb.pt": b"weights of b",
    "seed.txt": "seed",
    "handlers/shared.py": HANDLER,
    "handlers/helper.py": "x = 1\n",
    "handlers/other.py": HANDLER,
}
ALL = ["a@1", "a@2", "b@1", "b@2"]


class Plain(Workspace):
    """Without the memory of the last run."""

    program = "tests.e2e.plain"


@pytest.fixture(params=[Workspace, Plain], ids=["remembered", "plain"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workspace]:
    """Everything here holds without the memory, too."""
    yield request.param(tmp_path / "workspace", tmp_path / "cache")
    if request.param is Plain:
        assert list((tmp_path / "cache/snapshots").iterdir()) == []


@pytest.fixture
def built(workspace: Workspace) -> Workspace:
    workspace.write(FILES)
    first = workspace.ok("apply", "--json")
    assert first.jobs(outcome="created") == ALL
    return workspace


def assert_nothing_done(workspace: Workspace) -> None:
    before = workspace.snapshot("bucket")
    result = workspace.ok("apply")
    assert "Nothing to do: no action ran, no object was written." in result.err
    assert workspace.snapshot("bucket") == before
    events = workspace.ok("apply", "--json").events
    assert [e["event"] for e in events] == ["planned", "summed"]
    assert workspace.snapshot("bucket") == before


def test_second_apply_does_nothing(built: Workspace) -> None:
    assert_nothing_done(built)


def test_shared_handler_rebuilds_exactly_what_packs_it(built: Workspace) -> None:
    before = built.served()
    built.write({"handlers/helper.py": "x = 2\n"})
    plan = built.ok("plan", "--json").json
    assert {(c["model"], c["version"]): c["change"] for c in plan["changes"]} == {
        ("a", "1"): "unknown",
        ("a", "2"): "unknown",
        ("b", "1"): "unknown",
        ("b", "2"): "none",
    }
    whys = {c["why"] for c in plan["changes"] if c["change"] == "unknown"}
    assert whys == {"input handlers/helper.py (as extra/helper.py) changed"}
    result = built.ok("apply", "--json")
    assert result.jobs(what="action", outcome="built") == ["a@1", "a@2", "b@1"]
    assert result.jobs(what="publish", outcome="replaced") == ["a@1", "a@2", "b@1"]
    after = built.served()
    assert {p for p in after if after[p] != before[p]} == {"a/1/model.mar", "a/2/model.mar", "b/1/model.mar"}
    assert_nothing_done(built)


def test_touching_a_file_does_nothing(built: Workspace) -> None:
    for path in built.root.rglob("*"):
        if path.is_file() and "bucket" not in path.parts:
            os.utime(path, ns=(1, 1))
    assert_nothing_done(built)


def test_reformatting_the_manifest_does_nothing(built: Workspace) -> None:
    text = MANIFEST.replace("  pt: {image: pytorch-cpu.2-4}", "  # a comment\n  pt:\n    image: 'pytorch-cpu.2-4'")
    models, steps = text.index("models:"), text.index("steps:")
    built.write({"gdcbuild.yaml": text[:models] + text[steps:] + "\n\n" + text[models:steps]})
    assert_nothing_done(built)


def test_fresh_clone_with_a_cache_does_nothing(built: Workspace, tmp_path: Path) -> None:
    clone = type(built)(tmp_path / "elsewhere" / "clone", built.cache)
    clone.write(FILES)
    shutil.copytree(built.root / "bucket", clone.root / "bucket")
    assert_nothing_done(clone)


def test_without_the_cache_versions_are_built_and_nothing_is_published(built: Workspace) -> None:
    before = built.snapshot("bucket")
    shutil.rmtree(built.cache)
    result = built.ok("apply", "--json")
    assert result.jobs(outcome="built") == ["a@2", "step:weights"]
    assert result.jobs(what="publish", outcome="unchanged") == ["a@2"]
    assert result.events[-1]["objects"] == 0
    shutil.rmtree(built.cache)
    assert built.ok("build", "--json").jobs(outcome="built") == ["a@1", "a@2", "b@1", "b@2", "step:weights"]
    assert_nothing_done(built)
    assert built.snapshot("bucket") == before


def test_unchanged_step_stops_the_rebuild(built: Workspace) -> None:
    text = MANIFEST.replace("cat seed.txt", "cat ./seed.txt")
    built.write({"gdcbuild.yaml": text})
    result = built.ok("apply", "--json")
    assert result.jobs(what="action", outcome="built") == ["step:weights"]
    assert result.jobs(what="publish", outcome="unchanged") == ["a@2"]
    assert_nothing_done(built)


def test_explain_names_what_changed(built: Workspace) -> None:
    built.write({"seed.txt": "other seed"})
    found = built.ok("explain", "a@2", "--json").json["versions"]["a@2"]
    assert [(step["action"], step["verdict"]) for step in found] == [("a@2", "unknown"), ("step:weights", "miss")]
    (difference,) = found[1]["differences"]
    assert difference["name"] == "input seed.txt"
    assert difference["before"] != difference["after"]
    text = built.ok("explain", "a@2").out
    assert "step:weights: to build: input seed.txt changed" in text
    assert difference["before"] in text


def test_new_version_publishes_it_alone(built: Workspace) -> None:
    before = built.served()
    extended = MANIFEST.replace("handler: other}\n", 'handler: other}\n      "3": {weights: w1.pt, handler: other}\n')
    built.write({"gdcbuild.yaml": extended})
    assert built.ok("apply", "--json").jobs(outcome="created") == ["b@3"]
    assert {p: c for p, c in built.served().items() if p != "b/3/model.mar"} == before


def test_removed_version_stays_and_is_named(built: Workspace) -> None:
    before = built.served()
    built.write({"gdcbuild.yaml": MANIFEST.replace('      "2": {weights: wb.pt, handler: other}\n', "")})
    plan = built.ok("plan", "--json", "--detailed-exitcode").json
    assert [(c["model"], c["version"]) for c in plan["changes"] if c["change"] == "orphan"] == [("b", "2")]
    built.ok("apply")
    assert built.served() == before


def test_selection(workspace: Workspace) -> None:
    workspace.write(FILES)
    assert workspace.ok("apply", "a@1", "--json").jobs(outcome="created") == ["a@1"]
    assert workspace.ok("apply", "*@2", "--exclude", "b", "--json").jobs(outcome="created") == ["a@2"]
    assert workspace.ok("apply", "-j", "1", "--json").jobs(outcome="created") == ["b@1", "b@2"]


def test_detailed_exitcode(workspace: Workspace) -> None:
    workspace.write(FILES)
    assert workspace.run("plan", "--detailed-exitcode").code == 2
    assert workspace.run("plan").code == 0
    workspace.ok("apply")
    assert workspace.run("plan", "--detailed-exitcode").code == 0


def test_immutable_environment_refuses(built: Workspace) -> None:
    built.write({"gdcbuild.yaml": MANIFEST.replace("{bucket: bucket}", "{bucket: bucket, immutable: true}")})
    built.ok("apply")
    built.write({"handlers/other.py": HANDLER + "# edited\n"})
    before = built.snapshot("bucket")
    result = built.run("apply")
    assert result.code == 3
    assert "b@2" in result.err
    assert built.snapshot("bucket") == before
    again = built.run("apply")
    assert (again.code, "new version id" in again.err) == (3, True), again.err
    plan = built.ok("plan", "--json").json
    assert [c["change"] for c in plan["changes"]] == ["none", "none", "none", "conflict"]


def test_a_conflict_does_not_stop_other_versions(built: Workspace) -> None:
    manifest = MANIFEST.replace("{bucket: bucket}", "{bucket: bucket, immutable: true}")
    built.write({"gdcbuild.yaml": manifest})
    built.ok("apply")
    built.write({"handlers/other.py": HANDLER + "# edited\n"})
    built.ok("build")
    built.write({"gdcbuild.yaml": manifest.replace('"1": {weights: wb.pt', '"3": {weights: wb.pt')})
    before = built.snapshot("bucket")
    assert built.run("apply").code == 3
    assert built.snapshot("bucket") == before
    rest = built.run("apply", "-k", "--json")
    assert (rest.code, rest.jobs(what="publish", outcome="created")) == (3, ["b@3"])
    assert "b@2 is published and cannot change" in rest.err


def test_drift_is_shown_and_not_changed(built: Workspace) -> None:
    (built.root / "bucket/a/1/model.mar").write_bytes(b"somebody's")
    assert built.run("plan", "--detailed-exitcode").code == 2
    before = built.snapshot("bucket")
    result = built.run("apply")
    assert (result.code, "a@1" in result.err, built.snapshot("bucket") == before) == (3, True, True), result.err
    verified = built.run("verify")
    assert (verified.code, "model.mar: has 10 bytes" in verified.err) == (4, True), verified.err


def test_verify_deep_reads_every_byte(built: Workspace) -> None:
    built.ok("verify", "--deep")
    path = built.root / "bucket/a/1/model.mar"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    built.ok("verify")
    result = built.run("verify", "--deep")
    assert (result.code, "a@1" in result.err) == (4, True), result.err


def test_damaged_cache_is_built_again(built: Workspace) -> None:
    shutil.rmtree(built.root / "bucket")
    blobs = [p for p in (built.cache / "cas").rglob("*") if p.is_file()]
    for blob in blobs:
        blob.chmod(0o644)
        blob.write_bytes(bytes([blob.read_bytes()[0] ^ 1]) + blob.read_bytes()[1:])
        blob.chmod(0o444)
    result = built.ok("apply", "--json")
    assert result.jobs(what="publish", outcome="created") == ALL
    assert [e for e in result.events if e["event"] == "warned"]
    built.ok("verify", "--deep")


def test_cache_verify_finds_and_removes_damage(built: Workspace) -> None:
    built.ok("cache", "verify")
    blob = next(p for p in (built.cache / "cas").rglob("*") if p.is_file())
    blob.chmod(0o644)
    blob.write_bytes(b"x" * blob.stat().st_size)
    assert built.run("cache", "verify").code == 4
    built.ok("cache", "verify")
    assert built.ok("cache", "stats", "--json").json["blobs"] == len(
        [p for p in (built.cache / "cas").rglob("*") if p.is_file()]
    )


def test_cache_that_others_can_write_is_refused(built: Workspace) -> None:
    built.cache.chmod(0o777)
    result = built.run("plan")
    assert (result.code, "chmod 700" in result.err) == (1, True), result.err


def test_two_at_once_do_the_work_once(workspace: Workspace) -> None:
    slow = MANIFEST.replace("cat seed.txt >", "sleep 1; cat seed.txt >")
    workspace.write({**FILES, "gdcbuild.yaml": slow})
    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(lambda _: workspace.ok("apply", "--json"), range(2)))
    built = [job for r in ended for job in r.jobs(what="action", outcome="built")]
    assert sorted(built) == ["a@1", "a@2", "b@1", "b@2", "step:weights"]
    workspace.ok("verify", "--deep")
    assert_nothing_done(workspace)
