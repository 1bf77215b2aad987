"""Placeholder files are refused in every role, before anything is built or published."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.e2e.workspace import HANDLER, ONE_STEP, ONE_VERSION, Workspace
from tests.unit.frameworks.test_tensorflow_contract import graph
from tests.unit.frameworks.test_tensorflow_contract import model as saved_model

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 9\n" % 0
MANIFEST = """\
schema: 1
environments:
  local: {bucket: bucket}
models:
  m:
    framework: pytorch-cpu.2-4
    handler: h
    versions:
      "1": {weights: own.weights}
      "2": {weights: net.onnx, handler: base_handler}
      "3": {weights: data.bin.dvc}
      "4": {mar: old.mar}
      "5": {weights: {step: s, path: w.pt}}
      "6": {weights: good.pt, files: ["vocabs/*", {from: assets/, to: assets/}]}
  t:
    framework: tf2-cpu.2-18
    versions:
      "1": {saved_model: exported/}
      "2": {keras: net.keras}
handlers:
  h: {file: h.py, files: [tokenizer.model, __init__.py]}
steps:
  s: {run: [sh, -c, "cp seed ${out}/w.pt"], inputs: [seed], outputs: [w.pt]}
"""
FILES: dict[str, str | bytes] = {
    "gdcbuild.yaml": MANIFEST,
    "h.py": HANDLER,
    "__init__.py": "",
    "good.pt": b"weights",
    "own.weights": POINTER,
    "net.onnx": b"",
    "data.bin.dvc": "outs:\n- md5: 22a1a2931c8370d3aeedd7183606fd7f\n  size: 14\n  path: data.bin\n",
    "old.mar": POINTER,
    "seed": POINTER,
    "vocabs/a.txt": b"/annex/objects/MD5E-s5--0cc175b9c0f1b6a831c399e269772661.txt\n",
    "vocabs/empty.txt": "",
    "assets/.gitkeep": "",
    "assets/table": POINTER,
    "exported/saved_model.pb": b"graph",
    "exported/variables/variables.index": b"index",
    "exported/variables/variables.data-00000-of-00001": POINTER,
    "net.keras": POINTER,
    "tokenizer.model": POINTER,
}
LFS = "is a Git LFS pointer, not the file itself"
EMPTY = "is empty; models, weights and tokenizers never are"
EXPECTED = [
    f"9:22: error: 'own.weights' {LFS} fetch it: git lfs pull --include own.weights",
    f"10:22: error: 'net.onnx' {EMPTY}",
    "11:22: error: 'data.bin.dvc' is a DVC file, not the data it describes fetch it: dvc pull data.bin.dvc",
    f"12:18: error: 'old.mar' {LFS} fetch it: git lfs pull --include old.mar",
    "14:39: error: 'vocabs/a.txt' is a git-annex pointer, not the file itself fetch it: git annex get vocabs/a.txt",
    f"14:51: error: 'assets/table' {LFS}",
    f"18:26: error: 'exported/variables/variables.data-00000-of-00001' {LFS}",
    f"19:20: error: 'net.keras' {LFS}",
    f"21:27: error: 'tokenizer.model' {LFS}",
    f"23:54: error: 'seed' {LFS}",
]


@pytest.mark.parametrize("command", ["validate", "plan", "build", "apply"])
def test_placeholders_in_every_role_are_reported_at_once(workspace: Workspace, command: str) -> None:
    workspace.write(FILES)
    done = workspace.run(command)
    told = " ".join(done.err.split())
    assert done.code == 65
    assert [line for line in EXPECTED if f"gdcbuild.yaml:{line}" not in told] == []
    assert done.err.count("error: ") == len(EXPECTED)
    assert not (workspace.root / "bucket").exists()


def test_only_the_selected_models_need_their_files(workspace: Workspace) -> None:
    workspace.write({**FILES, "tokenizer.model": b"words"})
    other = '  o:\n    framework: pytorch-cpu.2-4\n    handler: h\n    versions: {"1": {weights: good.pt}}\n'
    workspace.write({"gdcbuild.yaml": MANIFEST.replace("  t:\n", f"{other}  t:\n")})
    workspace.ok("apply", "o")
    assert workspace.run("apply", "t").code == 65


def test_a_pointer_instead_of_published_weights(workspace: Workspace) -> None:
    """Same path and same manifest, as in a checkout without Git LFS on another runner."""
    workspace.write({"gdcbuild.yaml": ONE_VERSION, "h.py": HANDLER, "w.pt": b"weights"})
    workspace.ok("apply")
    workspace.age()
    workspace.ok("plan")
    published = workspace.snapshot("bucket")
    workspace.write({"w.pt": POINTER})
    done = workspace.run("apply")
    assert (done.code, f"'w.pt' {LFS}" in done.err) == (65, True), done.err
    workspace.write({"w.pt": b"weights"})
    assert workspace.ok("plan", "--detailed-exitcode").code == 0
    assert workspace.snapshot("bucket") == published


def test_a_pointer_is_not_parsed_as_python(workspace: Workspace) -> None:
    workspace.write({"gdcbuild.yaml": ONE_VERSION, "h.py": POINTER, "w.pt": b"weights"})
    done = workspace.run("validate")
    assert (done.code, f"'h.py' {LFS}" in done.err, "invalid syntax" in done.err) == (65, True, False), done.err


def test_a_pointer_that_a_step_makes_is_not_published(workspace: Workspace) -> None:
    """Such as a step that copies a file that is not one of its inputs."""
    (workspace.root / "elsewhere").write_bytes(POINTER)
    workspace.write({"gdcbuild.yaml": ONE_STEP % f"cp {workspace.root}/elsewhere ${{out}}/w.pt", "h.py": HANDLER})
    done = workspace.run("apply")
    assert done.code == 1
    assert f"m@1: 'w.pt' {LFS}" in done.err
    assert "fetch the files before the model is saved or packed: git lfs pull" in done.err
    assert workspace.served() == {}


def test_missing_dvc_and_annex_files_get_a_command(workspace: Workspace, tmp_path: Path) -> None:
    key = f"SHA256E-s7--{hashlib.sha256(b'weights').hexdigest()}.pt"
    workspace.write({"gdcbuild.yaml": ONE_VERSION, "h.py": HANDLER, "w.pt.dvc": FILES["data.bin.dvc"]})
    done = workspace.run("plan")
    assert done.code == 65
    assert "there is no file 'w.pt'\n    fetch it: dvc pull w.pt.dvc" in done.err
    assert "did you mean" not in done.err
    (workspace.root / "w.pt").symlink_to(f".git/annex/objects/{key}/{key}")
    assert "fetch it: git annex get w.pt" in workspace.run("plan").err
    workspace.write({f".git/annex/objects/{key}/{key}": b"weights"})
    workspace.ok("plan")


def test_an_empty_saved_model_is_refused_and_empty_assets_are_not(workspace: Workspace) -> None:
    versions = "{'1': {saved_model: a/}, '2': {saved_model: b/}}"
    head = MANIFEST.partition("models:")[0]
    workspace.write({"gdcbuild.yaml": f"{head}models: {{t: {{framework: tf2-cpu.2-18, versions: {versions}}}}}\n"})
    workspace.write({"a/saved_model.pb": b"", "b/saved_model.pb": saved_model(graph(saver=False)), "b/assets/vocab.txt": b""})
    for command in ("validate", "plan"):
        refused = workspace.run(command)
        assert (refused.code, f"'a/saved_model.pb' {EMPTY}" in refused.err, "vocab" in refused.err) == (65, True, False), (
            command
        )
    assert "created    t@2" in workspace.ok("apply", "t@2").err
