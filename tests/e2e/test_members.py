"""Many models in one workspace: what is wrong with one stops only what needs it."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from tests.e2e.workspace import HANDLER, Workspace

ROOT = """\
schema: 1
include: [a/gdcbuild.yaml, b/gdcbuild.yaml]
environments: {local: {bucket: bucket}}
handlers:
  shared: {file: h.py}
  other: {file: other.py}
"""
MEMBER = """\
schema: 1
models:
  NAME:
    framework: pytorch-cpu.2-4
    handler: shared
    versions:
      "1": {weights: NAME.pt}
"""
A, B = MEMBER.replace("NAME", "a"), MEMBER.replace("NAME", "b")
FILES = {
    "gdcbuild.yaml": ROOT,
    "h.py": HANDLER,
    "other.py": HANDLER,
    "a/gdcbuild.yaml": A,
    "a/a.pt": "a",
    "b/gdcbuild.yaml": B,
    "b/b.pt": "b",
}
POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 9\n"
WRONG = {
    "missing file": (B.replace("b.pt", "gone.pt"), "there is no file 'gone.pt'", "7:22"),
    "empty glob": (B.replace("versions", "files: [x/*.txt]\n    versions"), "'x/*.txt' matches no file", "6:13"),
    "unset variable": (B.replace("b.pt", "'${env.GDCBUILD_TEST_UNSET}/b.pt'"), "GDCBUILD_TEST_UNSET is not set", "7:22"),
    "unknown key": (B.replace("{weights", "{wieghts"), "unknown key 'wieghts'", "7:13"),
    "not the framework's": (B.replace("weights", "keras"), "keras", "7:13"),
    "a handler of its own": (
        B.replace("handler: shared", "handler: h") + "handlers: {h: {file: gone.py}}\n",
        "gone.py",
        "8:22",
    ),
    "a variable in its handler": (
        B.replace("handler: shared", "handler: h") + "handlers: {h: {file: '${env.GDCBUILD_TEST_UNSET}'}}\n",
        "GDCBUILD_TEST_UNSET is not set",
        "8:22",
    ),
    "a step": (
        B.replace("b.pt", "{step: s, path: o}") + "steps: {s: {run: [x], inputs: [gone.txt], outputs: [o]}}\n",
        "there is no file 'gone.txt'",
        "8:32",
    ),
    "requirements": (
        B.replace("pytorch-cpu.2-4", "f") + "frameworks: {f: {image: pytorch-cpu.2-4, toolchain: {requirements: gone.txt}}}\n",
        "there is no file 'gone.txt'",
        "8:54",
    ),
}


@pytest.fixture
def members(workspace: Workspace) -> Workspace:
    workspace.write(FILES)
    return workspace


@pytest.mark.parametrize("wrong", WRONG)
def test_a_mistake_stops_only_what_needs_it(members: Workspace, wrong: str) -> None:
    manifest, message, place = WRONG[wrong]
    members.write({"b/gdcbuild.yaml": manifest})
    caution = members.ok("plan", "a")
    assert "warning: 1 mistake outside the selection\n" in caution.err
    assert f"b/gdcbuild.yaml:{place}: " in caution.err
    assert message in caution.err
    assert "created    a@1" in members.ok("apply", "--exclude", "b").err
    for command in (["plan"], ["apply"], ["build"], ["validate"], ["plan", "b"], ["explain", "b@1"], ["build", "*"]):
        refused = members.run(*command)
        assert (refused.code, f"b/gdcbuild.yaml:{place}: error: " in refused.err, message in refused.err) == (65, True, True), (
            command,
            refused.err,
        )
    assert sorted(members.served()) == ["a/1/model.mar"]


def test_what_is_needed_of_another_model_is_needed(members: Workspace) -> None:
    members.write({"a/gdcbuild.yaml": A.replace("a.pt", "{model: b, version: '1', path: b.pt}")})
    (members.root / "b/b.pt").unlink()
    refused = members.run("plan", "a")
    assert (refused.code, "b/gdcbuild.yaml:7:22: error: there is no file 'b.pt'" in refused.err) == (65, True), refused.err


def test_another_version_of_the_same_model_may_lack_its_data(members: Workspace) -> None:
    members.write({"a/gdcbuild.yaml": A + '      "2": {weights: gone.pt}\n'})
    assert "1 mistake outside the selection" in members.ok("build", "a@1").err
    assert "created    a@1" in members.ok("apply", "a@1").err
    members.age()
    for _ in range(2):
        assert "1 up to date" in members.ok("plan", "a@1").out
        assert members.run("plan", "a").code == 65


def test_memory_hides_no_mistake(members: Workspace) -> None:
    """Also not one with what no model uses: only a command for everything looks at that."""
    members.ok("apply")
    members.age()
    members.ok("plan")
    for gone in ("b/b.pt", "other.py"):
        (members.root / gone).unlink()
        members.age()
        for _ in range(2):
            assert "1 up to date" in members.ok("plan", "a").out
            refused = members.run("plan")
            assert (refused.code, gone.rpartition("/")[2] in refused.err) == (65, True), refused.err


def test_an_auditor_needs_no_inputs(members: Workspace, tmp_path: Path) -> None:
    """A fresh clone of the manifests alone, and no cache: what is published is looked at all the same."""
    members.ok("apply", "a")
    clone = Workspace(tmp_path / "clone", tmp_path / "other-cache")
    clone.write({path: content for path, content in FILES.items() if path.endswith(".yaml")})
    shutil.copytree(members.root / "bucket", clone.root / "bucket")
    for selected in ([], ["a"]):
        status = clone.ok("status", *selected)
        assert status.err == ""
        assert "a/gdcbuild.yaml:7:22: there is no file 'a.pt'" in status.out
        clone.ok("verify", "--deep", *selected)
    rows = {row["model"]: row for row in clone.ok("status", "--json").json["changes"]}
    clone.write({"a/a.pt": POINTER, "h.py": HANDLER})
    assert "a.pt" in clone.ok("status", "a").out
    refused = clone.run("plan", "a")
    assert (refused.code, "git lfs pull" in refused.err) == (65, True), refused.err
    assert rows["a"]["published"]
    assert not rows["b"]["published"]
    (clone.root / "bucket/a/1/model.mar").write_bytes(b"other")
    assert clone.run("verify", "a").code == 4


@pytest.mark.parametrize(
    ("manifest", "place"),
    [("schema: 1\nmodels: [", "3:1"), (B + "nodels: {}\n", "8:1"), (B.replace("  b:", "  'b?':"), "3:3")],
    ids=["not YAML", "unknown section", "an id that is none"],
)
def test_what_may_hide_a_model_stops_everything(members: Workspace, manifest: str, place: str) -> None:
    members.write({"b/gdcbuild.yaml": manifest})
    for command in ("plan", "status"):
        refused = members.run(command, "a")
        assert (refused.code, f"b/gdcbuild.yaml:{place}: error: " in refused.err) == (65, True), (command, refused.err)


def test_an_id_that_two_models_have_stops_them(members: Workspace) -> None:
    members.write({"b/gdcbuild.yaml": B.replace("  b:", "  a:"), "c/gdcbuild.yaml": MEMBER.replace("NAME", "c"), "c/c.pt": "c"})
    members.write({"gdcbuild.yaml": ROOT.replace("b/gdcbuild.yaml", "b/gdcbuild.yaml, c/gdcbuild.yaml")})
    refused = members.run("plan", "a")
    assert (refused.code, "b/gdcbuild.yaml:3:3: error: two models have the id 'a'" in refused.err) == (65, True), refused.err
    members.ok("plan", "c")


def test_in_a_members_folder_the_workspace_is_the_roots(members: Workspace) -> None:
    """With the root's defaults and environments, the member's models selected, and its own missing data alone."""
    root = ROOT + "defaults: {pytorch: {files: [extra.txt]}}\n"
    members.write({"gdcbuild.yaml": root, "extra.txt": "x", "a/src/net.py": ""})
    (members.root / "b/b.pt").unlink()
    result = members.ok("apply", cwd="a/src")
    whose, selected = "note: the workspace is that of ../../gdcbuild.yaml", "note: selected: the models of a/"
    assert (result.err.count(whose), result.err.count(selected)) == (1, 1)
    for command in (["plan", "a"], ["validate"]):
        err = members.run(*command, cwd="a").err
        assert (err.count(whose.replace("../../", "../")), err.count(selected)) == (1, 0), command
    with zipfile.ZipFile(members.root / "bucket/a/1/model.mar") as archive:
        assert "extra.txt" in archive.namelist()
    assert sorted(members.served()) == ["a/1/model.mar"]
    assert "b@1" not in members.ok("status", cwd="a").out
    assert "b@1" in members.ok("status", "b", cwd="a").out
    assert ": 1 version" in members.ok("verify", cwd="a").err
    members.write({"b/b.pt": "b"})
    assert "created    b@1" in members.ok("apply", "b", cwd="a").err
    assert members.ok("plan", "--exclude", "b", cwd="a").err.startswith("note: ")
    refused = members.run("plan", "-f", "gdcbuild.yaml", cwd="a")
    assert (refused.code, "note:" in refused.err) == (65, False), "the root's handler is unknown to it"
