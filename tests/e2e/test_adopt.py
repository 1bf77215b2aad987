"""A bucket filled by a shell script: what matches is kept, what does not is reported; and drift is fixed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_s3 import KEYS, Bucket
from tests.e2e.workspace import HANDLER, Result, Workspace

MANIFEST = """\
schema: 1
environments:
  ours: {bucket: ours}
  theirs: {bucket: theirs}
  fixed: {bucket: theirs, immutable: true}
  s3: {bucket: "s3://bucket/team", endpoint: "${env.S3_ENDPOINT}"}
  s3-fixed: {bucket: "s3://bucket/team", endpoint: "${env.S3_ENDPOINT}", immutable: true}
default_environment: ours
models:
  keras:
    framework: tf2-cpu.2-18
    versions:
      "1": {saved_model: exports/1/}
  torch:
    framework: pytorch-cpu.2-4
    handler: echo
    versions:
      "1": {weights: w.pt}
handlers:
  echo: {file: echo.py}
"""


def saved_model(words: bytes) -> dict[str, bytes]:
    """The files of the smallest SavedModel that a server would take."""

    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    signature = field(1, b"serving_default") + field(2, field(3, b"tensorflow/serving/predict"))
    graph = field(2, field(1, field(4, b"serve")) + field(5, signature))
    return {"saved_model.pb": graph, "assets/words.txt": words}


EXPORT = saved_model(b"words")


@pytest.fixture
def ready(workspace: Workspace) -> Workspace:
    workspace.write({f"exports/1/{path}": data for path, data in EXPORT.items()})
    workspace.write({"gdcbuild.yaml": MANIFEST.replace("//bucket/", "//models/"), "w.pt": b"weights", "echo.py": HANDLER})
    return workspace


def by_hand(workspace: Workspace) -> None:
    """What `aws s3 cp --recursive` would leave: the export, and the archive that gdcbuild wrote elsewhere."""
    workspace.ok("apply")
    shutil.copytree(workspace.root / "exports/1", workspace.root / "theirs/keras/1")
    shutil.copytree(workspace.root / "ours/torch/1", workspace.root / "theirs/torch/1")


def changes(result: Result) -> list[str]:
    return [row["change"] for row in result.json["changes"]]


@pytest.mark.parametrize("env", ["theirs", "fixed"])
def test_a_live_bucket_whose_bytes_match(ready: Workspace, env: str) -> None:
    by_hand(ready)
    before = ready.snapshot("theirs")
    plan = ready.ok("plan", "--env", env, "--detailed-exitcode")
    assert plan.out.count("not published by gdcbuild, but the bytes are the same") == 2
    assert plan.out.endswith("Plan: 2 up to date.\n")
    assert changes(ready.ok("plan", "--env", env, "--json")) == ["none", "none"]
    assert "it has no seal" in ready.ok("status", "--env", env).out
    assert "Nothing to do" in ready.ok("apply", "--env", env).err
    assert ready.snapshot("theirs") == before, "nothing was written, no record either"
    assert ready.run("apply", "--env", env, "--repair").code == 64
    sealed = ready.ok("apply", "--env", env, "--repair", "*", "--json")
    assert sealed.jobs(outcome="repaired") == ["keras@1", "torch@1"]
    assert sealed.events[-1]["objects"] == 4, "a claim and a seal each"
    after = ready.snapshot("theirs")
    assert {p: f for p, f in after.items() if not p.startswith(".gdcbuild/")} == before
    assert "Nothing to do" in ready.ok("apply", "--env", env, "--repair", "*").err
    assert "Nothing to do" in ready.ok("apply", "--env", env).err
    ready.ok("verify", "--env", env, "--deep")
    assert ready.snapshot("theirs") == after


def test_a_build_with_the_same_bytes_as_the_bucket(ready: Workspace) -> None:
    """On a machine that has built nothing yet the plan cannot know; apply finds out, and writes nothing."""
    by_hand(ready)
    before = ready.snapshot("theirs")
    shutil.rmtree(ready.cache)
    assert changes(ready.ok("plan", "--env", "fixed", "--json")) == ["none", "unknown"]
    done = ready.ok("apply", "--env", "fixed", "--json").events[-1]
    assert (done["actions"], done["published"], done["objects"]) == (1, 0, 0)
    assert ready.snapshot("theirs") == before
    assert changes(ready.ok("plan", "--env", "fixed", "--json")) == ["none", "none"]


def test_an_archive_of_the_archiver_does_not_match(ready: Workspace) -> None:
    """Its archives contain the time of their creation: only a replacement by ours matches byte for byte."""
    by_hand(ready)
    (ready.root / "theirs/torch/1/model.mar").unlink()
    arguments = "--model-name model -v 1 --serialized-file w.pt --handler echo.py --export-path theirs/torch/1"
    subprocess.run(
        [sys.executable, "-m", "model_archiver.model_packaging", *arguments.split()],
        cwd=ready.root,
        env={"TMPDIR": str(ready.cache)},
        check=True,
    )
    before = ready.snapshot("theirs")
    assert changes(ready.ok("plan", "--env", "fixed", "--json")) == ["none", "conflict"]
    refused = ready.run("apply", "--env", "fixed")
    assert refused.code == 3
    assert "torch@1 is published and cannot change in fixed: not published by gdcbuild, and the bytes differ" in refused.err
    assert "model.mar: has " in refused.err
    assert ready.run("apply", "--env", "fixed", "--repair", "torch@1").code == 3
    assert ready.snapshot("theirs") == before, "refused before anything is written"
    assert changes(ready.ok("plan", "--env", "theirs", "--json")) == ["none", "replace"]
    assert ready.ok("apply", "--env", "theirs", "--json").jobs(outcome="replaced") == ["torch@1"]
    assert ready.served("theirs")["torch/1/model.mar"] == ready.served("ours")["torch/1/model.mar"]
    assert "Nothing to do" in ready.ok("apply", "--env", "theirs").err


def test_an_extra_or_missing_file_is_not_a_match(ready: Workspace) -> None:
    by_hand(ready)
    ready.write({"theirs/keras/1/notes.txt": "x"})
    assert changes(ready.ok("plan", "--env", "fixed", "--json")) == ["conflict", "none"]
    (ready.root / "theirs/keras/1/notes.txt").unlink()
    (ready.root / "theirs/keras/1/assets/words.txt").write_bytes(b"WORDS")
    row = ready.ok("plan", "keras", "--env", "fixed", "--json").json["changes"][0]
    assert (row["change"], row["detail"]) == (
        "conflict",
        ["assets/words.txt: differs from the artifact"],
    )


def repair(workspace: Workspace, told: Result) -> Result:
    """Run the command that a message gives."""
    (command,) = set(re.findall(r"gdcbuild (apply --repair .*)", told.err))
    return workspace.ok(*shlex.split(command))


@pytest.mark.parametrize("env", ["theirs", "fixed"])
def test_drift_is_fixed_by_the_suggested_command(ready: Workspace, env: str) -> None:
    ready.ok("apply", "--env", env)
    sound = ready.served("theirs")
    ready.write({"theirs/torch/1/model.mar": b"somebody's", "theirs/torch/1/stray": b"x"})
    assert changes(ready.ok("plan", "--env", env, "--json")) == ["none", "drift"]
    refused = ready.run("apply", "--env", env)
    assert refused.code == 3
    assert ready.served("theirs")["torch/1/model.mar"] == b"somebody's", "never silently"
    repair(ready, refused)
    assert ready.served("theirs") == sound
    assert "Nothing to do" in ready.ok("apply", "--env", env).err
    # in a folder, a change of the same size is found by reading only
    ready.write({"theirs/torch/1/model.mar": sound["torch/1/model.mar"][::-1]})
    found = ready.run("verify", "--env", env, "--deep")
    assert found.code == 4
    repair(ready, found)
    assert ready.served("theirs") == sound
    ready.ok("verify", "--env", env, "--deep")


def test_a_repair_restores_the_sealed_bytes_or_nothing(ready: Workspace) -> None:
    ready.ok("apply", "--env", "fixed")
    ready.write({"theirs/torch/1/model.mar": b"somebody's", "w.pt": b"other weights"})
    drifted = ready.served("theirs")
    refused = ready.run("apply", "--env", "fixed", "--repair", "torch@1")
    assert (refused.code, "the published bytes differ" in refused.err or "cannot change" in refused.err) == (3, True)
    assert ready.served("theirs") == drifted


def test_on_servers(s3_server: str, ready: Workspace, request: pytest.FixtureRequest) -> None:
    name = f"adopt-{abs(hash(request.node.name)) % 10**8}"
    bucket = Bucket(s3_server, name)
    ready.variables = {**KEYS, "S3_ENDPOINT": s3_server}
    ready.write({"gdcbuild.yaml": MANIFEST.replace("//bucket/", f"//{name}/")})
    by_hand(ready)
    for path, data in ready.served("theirs").items():
        bucket.client.put_object(Bucket=name, Key=f"team/{path}", Body=data)
    before = bucket.listing()
    assert changes(ready.ok("plan", "--env", "s3-fixed", "--json")) == ["none", "none"]
    assert "Nothing to do" in ready.ok("apply", "--env", "s3-fixed").err
    assert bucket.listing() == before
    ready.ok("apply", "--env", "s3-fixed", "--repair", "*")
    listing = bucket.listing()
    assert {key: listing[key] for key in before} == before, "sealed, and nothing sent again"
    for env in ("s3", "s3-fixed"):
        bucket.client.put_object(Bucket=name, Key="team/torch/1/model.mar", Body=b"somebody's")
        refused = ready.run("apply", "--env", env)
        assert refused.code == 3
        repair(ready, refused)
        assert bucket.read("team/torch/1/model.mar") == ready.served("ours")["torch/1/model.mar"]
        ready.ok("verify", "--env", env, "--deep")
        assert "Nothing to do" in ready.ok("apply", "--env", env).err
    bucket.client.put_object(Bucket=name, Key="team/keras/1/saved_model.pb", Body=EXPORT["saved_model.pb"])
    ready.ok("apply", "--env", "s3-fixed", "--repair", "keras@1")
    bucket.client.delete_object(Bucket=name, Key="team/keras/1/saved_model.pb")
    repair(ready, ready.run("verify", "--env", "s3-fixed"))
    assert bucket.read("team/keras/1/saved_model.pb") == EXPORT["saved_model.pb"]


def test_a_repair_that_may_be_unfinished_asks_in_a_protected_environment(ready: Workspace) -> None:
    ready.write({"gdcbuild.yaml": MANIFEST.replace("immutable: true", "immutable: true, protect: true", 1)})
    by_hand(ready)
    before = ready.snapshot("theirs")
    assert ready.run("apply", "--env", "fixed", "--repair", "*").code == 3
    assert ready.snapshot("theirs") == before
    ready.ok("apply", "--env", "fixed", "--repair", "*", "--yes")
    assert Path(ready.root / "theirs/.gdcbuild/v1/seals/keras/1").is_dir()
