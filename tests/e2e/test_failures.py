"""Failures during a run: reported in the words of what failed, without leaving partial results."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.test_incremental import FILES
from tests.e2e.workspace import HANDLER, ONE_STEP, Workspace
from tests.toolchains import ROOT

EXPORT = """\
schema: 1
environments:
  local: {bucket: bucket}
frameworks:
  pt: {kind: pytorch, version: "2.13", image: site/pytorch, toolchain: {requirements: toolchain.txt}}
models:
  m:
    framework: pt
    handler: base_handler
    versions:
      "1":
        export: {function: "net:build", files: [net.py]}
"""


FIXED = """
    PATH HOME TMPDIR USER LOGNAME LANG LC_ALL TZ PYTHONHASHSEED PYTHONDONTWRITEBYTECODE PYTHONNOUSERSITE PYTHONUNBUFFERED
    SOURCE_DATE_EPOCH OMP_NUM_THREADS CUDA_VISIBLE_DEVICES CUBLAS_WORKSPACE_CONFIG TF_CPP_MIN_LOG_LEVEL TF_DETERMINISTIC_OPS
    TF_ENABLE_ONEDNN_OPTS HF_HUB_OFFLINE TRANSFORMERS_OFFLINE
"""
"""The variables that every action sees. Another one would make results depend on more than their key."""


@pytest.fixture
def workspace(workspace: Workspace) -> Workspace:
    """With the handler that ONE_STEP names."""
    workspace.write({"h.py": HANDLER})
    return workspace


def published(workspace: Workspace) -> bool:
    return (workspace.root / "bucket").exists()


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            "def inner():\n    raise ValueError('no such layer')\n\n\ndef build():\n    inner()\n",
            ["raised ValueError: no such layer", 'File "net.py", line 6, in build', 'File "net.py", line 2, in inner'],
        ),
        ("def build():\n    pass\n", ["returned nothing"]),
        ("def build(export_dir):\n    pass\n", ["wrote nothing"]),
        (
            "import torch\n\n\ndef build(export_dir):\n    torch.save({}, 'elsewhere.pt')\n",
            ["wrote outside its output folder: elsewhere.pt"],
        ),
        ("import nowhere\n\n\ndef build():\n    pass\n", ["raised ModuleNotFoundError: No module named 'nowhere'"]),
        ("def bild():\n    pass\n", ["has no function 'build'", "bild"]),
        ("def build(:\n", ["SyntaxError", "net.py"]),
    ],
    ids=["raises", "returns nothing", "writes nothing", "writes elsewhere", "missing module", "missing function", "syntax"],
)
def test_export_function_that_fails(
    tmp_path: Path, shared_cache: Path, torch_python: Path, code: str, expected: list[str]
) -> None:
    workspace = Workspace(tmp_path / "workspace", shared_cache)
    requirements = (ROOT / "examples/toolchains/pytorch-2.13.txt").read_text()
    workspace.write({"gdcbuild.yaml": EXPORT, "net.py": code, "toolchain.txt": requirements})
    result = workspace.run("apply")
    assert result.code == 1, result.err
    for text in [*expected, "gdcbuild.yaml:12:9: error:"]:
        assert text in result.err
    for ours in ("child.py", "worker.py", "importlib"):
        assert ours not in result.err
    assert not published(workspace)


def test_toolchain_that_cannot_be_installed(workspace: Workspace) -> None:
    workspace.write({"gdcbuild.yaml": EXPORT, "net.py": "", "toolchain.txt": "gdcbuild-has-no-such-package==1.0\n"})
    workspace.variables["PIP_NO_INDEX"] = "1"
    result = workspace.run("apply")
    assert result.code == 1
    assert "gdcbuild.yaml:5:" in result.err
    assert "the toolchain of toolchain.txt cannot be installed" in result.err
    assert "gdcbuild-has-no-such-package==1.0" in result.err
    assert "Traceback" not in result.err
    assert not published(workspace)
    assert not list((workspace.cache / "toolchains").iterdir())


@pytest.mark.parametrize("command", ["plan", "apply"])
def test_an_interpreter_with_an_editable_package(workspace: Workspace, tmp_path: Path, command: str) -> None:
    info = tmp_path / "site-packages" / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "direct_url.json").write_text('{"url": "file:///mine", "dir_info": {"editable": true}}')
    workspace.variables["PYTHONPATH"] = f"{info.parent}:{os.environ.get('PYTHONPATH', '')}"
    step = ONE_STEP % "echo > ${out}/w.pt"
    workspace.write({"gdcbuild.yaml": step})
    workspace.ok(command)
    workspace.write({"gdcbuild.yaml": step.replace("  s:\n", "  s:\n    framework: pytorch-cpu.2-4\n")})
    result = workspace.run(command)
    assert (result.code, "Traceback" in result.err) == (1, False), result.err
    assert "gdcbuild.yaml:13:3: error: its toolchain has mine installed as editable" in result.err


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            "rmdir ${out}; ln -s $HOME ${out}",
            ["the command moved or replaced its output folder", "do not move or replace it"],
        ),
        ("echo the reason; exit 3", ["step:s: 'sh' ended with exit code 3", "| the reason"]),
        ("true", ["step:s did not make 'w.pt'", "it made nothing"]),
        ("touch ${out}/w.pt ${out}/more", ["step:s made 'more', which it does not declare"]),
        ("ln -s /etc/passwd ${out}/w.pt", ["'w.pt' is not a regular file"]),
        ("kill -SEGV $$", ["was ended by SIGSEGV"]),
    ],
)
def test_step_that_fails(workspace: Workspace, command: str, expected: list[str]) -> None:
    workspace.write({"gdcbuild.yaml": ONE_STEP % command})
    result = workspace.run("apply")
    assert result.code == 1
    for text in expected:
        assert text in result.err
    assert "Traceback" not in result.err
    assert not published(workspace)
    assert workspace.run("apply").code == 1, "a failure is not remembered as a result"


def test_log_of_a_failed_step_is_kept(workspace: Workspace) -> None:
    workspace.write({"gdcbuild.yaml": ONE_STEP % "seq 100; exit 1"})
    result = workspace.run("apply")
    log = result.err.split("the full output is in ")[1].splitlines()[0]
    assert Path(log).read_text().splitlines() == [str(n) for n in range(1, 101)]
    assert "| 100" in result.err
    assert "| 50" not in result.err


def test_a_step_sees_only_what_it_declares(workspace: Workspace) -> None:
    text = ONE_STEP % "find . -type f | sort > ${out}/w.pt; env | sort >> ${out}/w.pt"
    text = text.replace("    outputs: [w.pt]", "    outputs: [w.pt]\n    inputs: [seen.txt]\n    env: [WANTED]")
    workspace.write({"gdcbuild.yaml": text, "seen.txt": "", "unseen.txt": ""})
    workspace.variables |= {"WANTED": "yes", "UNWANTED": "no", "AWS_SECRET_ACCESS_KEY": "secret"}
    workspace.ok("build")
    blobs = [p.read_text() for p in (workspace.cache / "cas").rglob("*") if p.is_file() and p.read_bytes().startswith(b"./")]
    (seen,) = blobs
    assert seen.splitlines()[0] == "./seen.txt"
    assert "unseen.txt" not in seen
    assert "WANTED=yes" in seen.splitlines()
    assert "secret" not in seen
    names = {line.partition("=")[0] for line in seen.splitlines() if not line.startswith("./")}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {*FIXED.split(), "WANTED"}, "what a shell sets by itself aside"


def test_declared_variable_is_part_of_the_key(workspace: Workspace) -> None:
    text = (ONE_STEP % "echo $WANTED > ${out}/w.pt").replace("    outputs", "    env: [WANTED]\n    outputs")
    workspace.write({"gdcbuild.yaml": text})
    workspace.variables |= {"WANTED": "1", "OTHER": "1"}
    workspace.ok("build")
    workspace.variables["OTHER"] = "2"
    assert workspace.ok("build", "--json").jobs(outcome="built") == []
    workspace.variables["WANTED"] = "2"
    assert workspace.ok("build", "--json").jobs(outcome="built") == ["m@1", "step:s"]


def test_input_that_changes_while_it_runs(workspace: Workspace) -> None:
    text = (ONE_STEP % f"echo x >> {workspace.root}/seed.txt; touch ${{out}}/w.pt").replace(
        "    outputs", "    inputs: [seed.txt]\n    outputs"
    )
    workspace.write({"gdcbuild.yaml": text, "seed.txt": ""})
    result = workspace.run("apply")
    assert (result.code, "seed.txt changed while step:s ran" in result.err) == (1, True), result.err
    assert not published(workspace)
    for content in ("", "x\n"):  # neither under the key that it began with, nor under that of what it has become
        workspace.write({"seed.txt": content})
        assert "step:s: to build: not built yet" in workspace.ok("explain", "m@1").out


@pytest.mark.parametrize("command", ["touch ${out}/other", "touch ${out}/w.pt ${out}/more", "true"])
def test_undeclared_outputs_are_not_kept(workspace: Workspace, command: str) -> None:
    workspace.write({"gdcbuild.yaml": ONE_STEP % command})
    assert workspace.run("apply").code == 1
    assert "step:s: to build: not built yet" in workspace.ok("explain", "m@1").out
    assert not [p for p in (workspace.cache / "cas").rglob("*") if p.is_file()]
    assert list((workspace.cache / "work").iterdir()) == []


def test_keep_going(workspace: Workspace) -> None:
    manifest = FILES["gdcbuild.yaml"]
    assert isinstance(manifest, str)
    workspace.write({**FILES, "gdcbuild.yaml": manifest.replace("cat seed.txt >", "cat nowhere >")})
    result = workspace.run("apply", "-k", "--json")
    assert result.code == 1
    assert result.jobs(what="publish", outcome="created") == ["a@1", "b@1", "b@2"]
    assert {e["job"] for e in result.events if e["event"] == "job_skipped"} == {"a@2", "publish a@2"}


def test_contract_is_checked_before_anything_is_uploaded(workspace: Workspace) -> None:
    workspace.write({**FILES, "handlers/other.py": "def handle(data, context:\n"})
    assert workspace.run("apply").code == 65, "without -k nothing starts"
    assert workspace.served() == {}
    result = workspace.run("apply", "-k")
    assert (result.code, "b@2" in result.err) == (1, True), result.err
    assert sorted(p for p in workspace.served()) == ["a/1/model.mar", "a/2/model.mar", "b/1/model.mar"]
    assert workspace.run("build").code == 1
