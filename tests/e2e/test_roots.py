"""Inputs below a folder outside the workspace, such as a mounted share: inputs like any other, by the root's name."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.e2e.workspace import HANDLER, Workspace
from tests.unit.frameworks.test_tensorflow_contract import model as saved_model

MANIFEST = """\
schema: 1
environments: {local: {bucket: bucket}}
roots: {nfs: "${env.SHARE}", beside: ../share}
handlers: {plain: {file: h.py}, h: {file: h.py, files: FILES}}
models:
  m:
    framework: pytorch-cpu.2-4
    handler: h
    versions:
      "1": {weights: {root: nfs, path: v1/w.pt}}
      "2": {weights: {step: s, path: w.pt}}
  other:
    framework: pytorch-cpu.2-4
    handler: plain
    versions:
      "1": {weights: own.pt}
steps:
  s: {run: [sh, -c, "cat v1/w.pt labels/*.txt renamed > ${out}/w.pt"], inputs: INPUTS, outputs: [w.pt]}
"""
FILES = "[{root: nfs, path: labels/, to: labels/}, {root: nfs, path: labels/one.txt}]"
INPUTS = "[{root: beside, path: v1/w.pt}, {root: nfs, path: labels/}, {root: nfs, path: v1/w.pt, to: renamed}]"


MANIFEST = MANIFEST.replace("FILES", FILES)


@pytest.fixture
def shared(workspace: Workspace) -> Workspace:
    workspace.write({"gdcbuild.yaml": MANIFEST.replace("INPUTS", INPUTS), "h.py": HANDLER, "own.pt": "own"})
    share = Workspace(workspace.root.parent / "share", workspace.cache)
    share.write({"v1/w.pt": b"w" * 300_000, "labels/one.txt": "1", "labels/deep/two.txt": "2"})
    workspace.variables["SHARE"] = str(share.root)
    return workspace


def share(workspace: Workspace) -> Path:
    return Path(workspace.variables["SHARE"])


def members(workspace: Workspace, path: str) -> dict[str, bytes]:
    with zipfile.ZipFile(workspace.root / "bucket" / path / "model.mar") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_they_are_inputs_like_any_other(shared: Workspace) -> None:
    assert shared.ok("apply", "--json").jobs(outcome="created") == ["m@1", "m@2", "other@1"]
    first = members(shared, "m/1")
    assert first["w.pt"] == b"w" * 300_000
    assert (first["one.txt"], first["labels/one.txt"], first["labels/deep/two.txt"]) == (b"1", b"1", b"2")
    assert members(shared, "m/2")["w.pt"] == b"w" * 300_000 + b"1" + b"w" * 300_000
    shared.age()
    for _ in range(2):
        assert "3 up to date" in shared.ok("plan").out
    (share(shared) / "labels/deep/two.txt").write_text("3")
    assert shared.ok("apply", "--json").jobs(outcome="replaced") == ["m@1", "m@2"]
    (share(shared) / "v1/w.pt").write_bytes(b"v" * 300_000)
    explained = shared.ok("explain", "m@1").out
    assert "input nfs:v1/w.pt (as weights/w.pt) changed" in explained
    assert "input nfs:v1/w.pt (as renamed) changed" in shared.ok("explain", "m@2").out


def test_nothing_says_where_the_root_lies(shared: Workspace) -> None:
    shared.ok("apply")
    moved = share(shared).with_name("mounted-elsewhere")
    shutil.copytree(share(shared), moved)
    for seal in (shared.root / "bucket/.gdcbuild").rglob("*.json"):
        text = seal.read_text()
        assert str(share(shared)) not in text
        if "/m/1/" in str(seal):
            assert "nfs:v1/w.pt" in json.dumps(json.loads(text))
    shared.variables["SHARE"] = str(moved)
    shutil.rmtree(shared.root / "bucket")
    result = shared.ok("apply", "--json")
    assert (result.jobs(outcome="built"), result.jobs(outcome="created")) == ([], ["m@1", "m@2", "other@1"])


def test_a_saved_model(shared: Workspace) -> None:
    (share(shared) / "sm").mkdir()
    (share(shared) / "sm/saved_model.pb").write_bytes(saved_model())
    models = "models: {tf: {framework: tf2-cpu.2-14, versions: {'1': {saved_model: {root: nfs, path: sm/}}}}}\n"
    shared.write({"gdcbuild.yaml": MANIFEST.partition("handlers:")[0] + models})
    shared.age()
    seen = {shared.ok("plan", "--json").json["changes"][0]["digest"] for _ in range(2)}
    (share(shared) / "sm/assets").mkdir()
    (share(shared) / "sm/assets/new.txt").write_text("new")
    seen.add(shared.ok("plan", "--json").json["changes"][0]["digest"])
    assert len(seen) == 2
    assert None not in seen


@pytest.mark.parametrize("how", ["not mounted", "unset", "file gone", "folder empty"])
def test_what_is_not_there_stops_only_what_needs_it(shared: Workspace, how: str) -> None:
    shared.ok("apply")
    shared.age()
    shared.ok("plan")
    message = {"not mounted": "there is no folder", "unset": "SHARE is not set", "file gone": "there is no file 'v1/w.pt'"}
    if how == "not mounted":
        share(shared).rename(shared.root.parent / "away")
    elif how == "unset":
        del shared.variables["SHARE"]
    elif how == "file gone":
        (share(shared) / "v1/w.pt").unlink()
    else:
        shutil.rmtree(share(shared) / "labels/deep")
        (share(shared) / "labels/one.txt").unlink()
    for _ in range(2):
        refused = shared.run("plan")
        assert (refused.code, message.get(how, "is empty") in refused.err) == (65, True), refused.err
        assert "1 up to date" in shared.ok("plan", "other").out
        assert "m@1" in shared.ok("status").out
        shared.ok("verify", "--deep")


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("out/w.pt", "is a symlink that points outside the root", "copy the file there"),
        ("../w.pt", "points outside the root", "paths of the root nfs stay below '"),
        ("/etc/hostname", "absolute path", "write it relative to the root nfs"),
        ("nope.pt", "there is no file 'nope.pt'", "it must be below the root nfs, '"),
    ],
)
def test_nothing_leads_out_of_the_root(shared: Workspace, path: str, message: str, hint: str) -> None:
    (share(shared).parent / "w.pt").write_text("outside")
    (share(shared) / "out").symlink_to("..")
    (share(shared) / "v1/link.pt").symlink_to("../../w.pt")
    shared.write({"gdcbuild.yaml": MANIFEST.replace("path: v1/w.pt}}", f"path: {path}}}}}", 1).replace("INPUTS", INPUTS)})
    refused = shared.run("plan")
    assert (refused.code, "gdcbuild.yaml:10:22: error: " in refused.err, message in refused.err) == (65, True, True), (
        refused.err
    )
    assert hint in refused.err
    whole = MANIFEST.replace("INPUTS", "[{root: nfs, path: v1/}]")
    shared.write({"gdcbuild.yaml": whole})
    assert "'v1/link.pt' is a symlink that points outside the root" in shared.run("plan").err
    (share(shared) / "v1/link.pt").unlink()
    (share(shared) / "v1/link.pt").symlink_to("w.pt")
    assert "points outside the root" not in shared.run("plan").err


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("{root: nfs, path: v1/w.pt}}", "{root: nsf, path: v1/w.pt}}", "10:22", "did you mean 'nfs'?"),
        ("{root: nfs, path: v1/w.pt}}", "{root: nfs}}", "10:13", "'path' is missing"),
        ("{root: nfs, path: v1/w.pt}}", "{root: nfs, path: v1/}}", "10:22", "is a folder; expected a file"),
        ("{root: nfs, path: v1/w.pt}}", "../share/v1/w.pt}", "10:22", "roots: {NAME: FOLDER}"),
        ("../share", "~/share", "3:30", "${env.HOME}"),
        ("../share", "s3://share", "3:30", "is not a folder"),
        ("bucket: bucket", "bucket: ../share/labels", "2:24", "contains inputs of versions"),
    ],
)
def test_mistakes(shared: Workspace, old: str, new: str, place: str, message: str) -> None:
    shared.write({"gdcbuild.yaml": MANIFEST.replace("INPUTS", INPUTS).replace(old, new, 1)})
    refused = shared.run("validate")
    assert (refused.code, f"gdcbuild.yaml:{place}: error: " in refused.err, message in refused.err) == (65, True, True), (
        refused.err
    )


def test_roots_stand_in_the_root_manifest(shared: Workspace) -> None:
    shared.write({"gdcbuild.yaml": "schema: 1\ninclude: [m.yaml]\n", "m.yaml": "schema: 1\nroots: {nfs: /mnt}\n"})
    assert "m.yaml:2:1: error: roots is not allowed in an included manifest" in shared.run("validate").err


def test_no_commit_has_them(shared: Workspace) -> None:
    text = MANIFEST.replace("INPUTS", INPUTS).replace("bucket: bucket", "bucket: bucket, clean: true")
    shared.write({"gdcbuild.yaml": text, ".gitignore": "/bucket/\n"})
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], cwd=shared.root, check=True)
    shared.ok("apply", "other")
    refused = shared.run("apply")
    assert (refused.code, "nfs:v1/w.pt" in refused.err, str(share(shared)) in refused.err) == (3, True, False), refused.err
    shared.write({"gdcbuild.yaml": text.replace(", clean: true", "")})
    subprocess.run([*git, "commit", "-qam", "more"], cwd=shared.root, check=True)
    shared.ok("apply")
    commits = {row["model"]: row["provenance"]["commit"] for row in shared.ok("status", "--json").json["changes"]}
    assert commits["m"].endswith("-dirty")
    assert not commits["other"].endswith("-dirty")
