"""What CONTRIBUTING says of adding things is enough: a file or a folder each, and the line it gives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import rows

ROOT = Path(__file__).parent.parent.parent

WRITTEN = {
    "a bucket kind": """
from pathlib import Path
from gdcbuild.remotes.directory import DirectoryRemote

def open_bucket(rest, endpoint, region, ca_file):
    return DirectoryRemote(Path(rest))
""",
    "a command": '''
def addedcommand() -> None:
    """Greet."""
    print("hello")
''',
    "a runner": """
import os
from gdcbuild.runners import process

class LocalRunner(process.LocalRunner):
    def run(self, run, cancel):
        with open(os.environ["RAN"], "a") as ran:
            print(run.action.id, file=ran)
        return super().run(run, cancel)
""",
}

NAMES = {"a framework": "onnx", "a bucket kind": "addedkind", "a command": "addedcommand", "a runner": "addedrunner"}

MODEL = b"\x08\x08\x3a\x02\x12\x00\x42\x04\x0a\x00\x10\x11"
"""ir_version 8, a graph, and ONNX's own operators at version 17."""

CUSTOM = MODEL + b"\x42\x09\x0a\x05com.x\x10\x01"

MANIFEST = """\
schema: 1
environments: {local: {bucket: "addedkind://%s"}}
policy: {operators: %s}
frameworks: {onnx: {image: onnx-cpu, kind: onnx, version: "1.17"}}
defaults: {onnx: {files: [words.txt]}}
models:
  m:
    framework: onnx
    versions:
      "1": {onnx: {step: copy, path: made.onnx}%s}
steps:
  copy: {run: [cp, it.onnx, "${out}/made.onnx"], inputs: [it.onnx], outputs: [made.onnx]}
"""


def with_everything_added(folder: Path) -> None:
    """A copy of gdcbuild with one more of each kind, as CONTRIBUTING says."""
    shutil.copytree(ROOT / "gdcbuild", folder / "gdcbuild")
    told = {cells[0]: cells[1:] for cells in rows(ROOT / "CONTRIBUTING.md", "| To add")}
    assert told.keys() == NAMES.keys()
    for kind, (write, line, place) in told.items():
        path, line = (text.strip("`").replace("NAME", NAMES[kind]).replace("PATTERN", "/.+") for text in (write, line))
        target = folder / path
        target.parent.mkdir(exist_ok=True)
        if kind in WRITTEN:
            target.write_text(WRITTEN[kind])
        else:
            shutil.copytree(ROOT / "tests" / "onnx", target.parent, dirs_exist_ok=True)
        table, file = re.fullmatch(r"(?:`(\w+)` in|instead of the one in) `(\S+)`", place).groups()  # type: ignore[union-attr]
        text = (folder / file).read_text()
        imported = line.rpartition(" ")[2]
        old = rf"^{table}\b.*[({{]\n" if table else rf"^ *(?=from \S+ import {imported}\n)"
        start = re.search(old, text, re.MULTILINE)
        assert start is not None, f"{kind}: {place}"
        rest = text[start.end() :] if table else text[start.end() :].partition("\n")[2]
        changed = f"{text[: start.end()]}    {line}\n{rest}" if table else f"{text[: start.end()]}{line}\n{rest}"
        (folder / file).write_text(changed)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    with_everything_added(tmp_path / "copy")
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "words.txt").write_text("a b c\n")
    return tmp_path / "w"


def run(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    base = workspace.parent
    more = {"PYTHONPATH": str(base / "copy"), "GDCBUILD_CACHE_DIR": str(base / "cache"), "RAN": str(base / "ran")}
    command = [sys.executable, "-m", "gdcbuild", *arguments]
    return subprocess.run(command, cwd=workspace, env={**os.environ, **more}, capture_output=True, text=True, check=False)


def test_one_line_each_is_enough(workspace: Path) -> None:
    bucket = workspace.parent / "published"

    def given(model: bytes, operators: str = "deny", more: str = "") -> None:
        (workspace / "it.onnx").write_bytes(model)
        (workspace / "gdcbuild.yaml").write_text(MANIFEST % (bucket, operators, more))

    assert run(workspace, "addedcommand").stdout == "hello\n"
    schema = run(workspace, "schema").stdout
    assert all(words in schema for words in ('"onnx"', '"operators"', "ONNX and PyTorch: more files"))
    given(MODEL, more=", weights: w.pt")
    refused = run(workspace, "validate")
    assert "m@1: `weights` is for PyTorch, and onnx-cpu serves ONNX" in refused.stderr, refused.stderr
    given(b"no model")
    assert "model.onnx is not an ONNX model" in run(workspace, "apply").stderr
    given(CUSTOM)
    assert "operators of com.x" in run(workspace, "apply").stderr
    given(CUSTOM, "allow")
    applied = run(workspace, "apply")
    assert applied.returncode == 0, applied.stderr
    published = {p.relative_to(bucket).as_posix(): p.read_bytes() for p in bucket.glob("m/1/*")}
    assert published == {"m/1/model.onnx": CUSTOM, "m/1/words.txt": b"a b c\n"}
    assert set((workspace.parent / "ran").read_text().split()) == {"step:copy"}
    assert run(workspace, "plan", "--detailed-exitcode").returncode == 0
