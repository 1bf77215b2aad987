"""Compare with torch-model-archiver: for every option, gdcbuild's archive has the same members and manifest."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from model_archiver.manifest_components.manifest import RuntimeType
from model_archiver.model_packaging_utils import model_handlers

from tests.e2e.workspace import Workspace

MANIFEST = "MAR-INF/MANIFEST.json"


def zipped(**records: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as target:
        for name, data in records.items():
            target.writestr(f"model/{name}", data)
    return file.getvalue()


EMPTY = pickle.dumps({}, 2)
NET = b"from torch import nn\n\nclass Net(nn.Module):\n    def forward(self, x): return x\n"
FILES = {
    "weights/v1.pt": zipped(**{"data.pkl": EMPTY, "version": b"3\n"}),
    "weights/script.pt": zipped(**{"constants.pkl": pickle.dumps((), 2), "version": b"6\n"}),
    "weights/program.pt2": zipped(**{"models/model.json": b"{}", "version": b"6\n"}),
    "weights/graph.onnx": b"\x08\x07" * 500,
    "src/net.py": NET,
    "net.py": NET,
    "copies/net.py": NET,
    "src/digits.py": b"def handle(data, context): return data\n\ndef predict(data, context): return data\n",
    "src/dotted.name.json": b"{}",
    "src/requirements.txt": b"numpy==1.26.4\n",
    "src/needs.txt": b"numpy==1.26.4\n",
    "src/model-config.yaml": b"minWorkers: 1\nmaxWorkers: 1\n",
    "src/serve.yaml": b"batchSize: 4\n",
    "src/handled.yaml": b"handler: {model_path: x, engine_dir: y}\ndali: {batch_size: 8}\n",
    "src/awaited.yaml": b"handler: {model_path: x, engine_dir: y}\nasyncCommunication: true\n",
    "source_vocab.pt": EMPTY,
    "build/libdigits.so": b"\x7fELF",
    "labels.json": b'{"0": "zero"}',
    "folder/top.txt": b"",
    "folder/deep/deeper/words.txt": b"a\nb\n",
    "folder/deep/.hidden": b"kept",
    "folder/__pycache__/x.pyc": b"not kept",
    "other/index.txt": b"1\n",
    "other/\u00fcmlaut.txt": b"2\n",
}
HANDLERS = """\
handlers:
  digits: {file: src/digits.py}
  digits-predict: {file: "src/digits.py:predict"}
  needy: {file: src/digits.py, files: [labels.json], requirements: src/requirements.txt}
  native: {file: "build/libdigits.so:Digits"}
"""


@dataclass(frozen=True)
class Case:
    """One case, as keys of a model in the manifest and as arguments of the archiver."""

    keys: str
    arguments: str
    version: str = "1"


EAGER = "weights: weights/v1.pt, model_file: src/net.py"
EAGER_ARGUMENTS = "--serialized-file weights/v1.pt --model-file src/net.py"
OWN = "weights: weights/v1.pt, handler: digits"
OWN_ARGUMENTS = "--serialized-file weights/v1.pt --handler src/digits.py"
CASES = {
    "eager": Case(f"{EAGER}, handler: digits", f"{EAGER_ARGUMENTS} --handler src/digits.py"),
    "torchscript": Case(
        "weights: weights/script.pt, handler: digits", "--serialized-file weights/script.pt --handler src/digits.py"
    ),
    "torchscript-base": Case(
        "weights: weights/script.pt, handler: base_handler", "--serialized-file weights/script.pt --handler base_handler"
    ),
    "program": Case(
        "weights: weights/program.pt2, handler: digits", "--serialized-file weights/program.pt2 --handler src/digits.py"
    ),
    "onnx": Case(
        "weights: weights/graph.onnx, handler: digits", "--serialized-file weights/graph.onnx --handler src/digits.py"
    ),
    "onnx-base": Case(
        "weights: weights/graph.onnx, handler: base_handler", "--serialized-file weights/graph.onnx --handler base_handler"
    ),
    "function": Case(
        "weights: weights/v1.pt, handler: digits-predict", "--serialized-file weights/v1.pt --handler src/digits:predict"
    ),
    "extra-file": Case(f"{OWN}, files: [labels.json]", f"{OWN_ARGUMENTS} --extra-files labels.json"),
    "extra-files": Case(
        f"{OWN}, files: [labels.json, src/dotted.name.json, other/index.txt]",
        f"{OWN_ARGUMENTS} --extra-files labels.json,src/dotted.name.json,other/index.txt",
    ),
    "extra-glob": Case(f'{OWN}, files: ["other/*.txt"]', f"{OWN_ARGUMENTS} --extra-files other/*.txt"),
    "extra-folder": Case(f"{OWN}, files: [{{from: folder/, to: ./}}]", f"{OWN_ARGUMENTS} --extra-files folder"),
    "extra-both": Case(
        f"{OWN}, files: [{{from: folder/, to: ./}}, labels.json]", f"{OWN_ARGUMENTS} --extra-files folder/,labels.json"
    ),
    "requirements": Case(
        "weights: weights/v1.pt, handler: needy",
        f"{OWN_ARGUMENTS} --requirements-file src/requirements.txt --extra-files labels.json",
    ),
    "requirements-default": Case(
        f"{EAGER}, handler: image_classifier, requirements: src/requirements.txt",
        f"{EAGER_ARGUMENTS} --handler image_classifier --requirements-file src/requirements.txt",
    ),
    "no-weights": Case("model_file: src/net.py, handler: base_handler", "--model-file src/net.py --handler base_handler"),
    "twice": Case(
        f"{EAGER}, handler: digits, files: [net.py, copies/net.py]",
        f"{EAGER_ARGUMENTS} --handler src/digits.py --extra-files net.py,copies/net.py",
    ),
    "config": Case(f"{OWN}, config: src/model-config.yaml", f"{OWN_ARGUMENTS} --config-file src/model-config.yaml"),
    "config-named": Case(f"{OWN}, config: src/serve.yaml", f"{OWN_ARGUMENTS} -c src/serve.yaml"),
    "python": Case(f"{OWN}, runtime: python", f"{OWN_ARGUMENTS} --runtime python"),
    "python3": Case(f"{OWN}, runtime: python3", f"{OWN_ARGUMENTS} --runtime python3"),
    "LSP": Case(
        "weights: weights/script.pt, runtime: LSP, handler: native",
        "--serialized-file weights/script.pt --runtime LSP --handler build/libdigits:Digits",
    ),
    "LSP-default": Case(
        "weights: weights/script.pt, runtime: LSP, handler: TorchScriptHandler",
        "--serialized-file weights/script.pt --runtime LSP --handler TorchScriptHandler",
    ),
    "version-dotted": Case(OWN, OWN_ARGUMENTS, "1.10"),
    "version-text": Case(OWN, OWN_ARGUMENTS, "2024-05_rc.1"),
    "stored": Case(OWN, f"{OWN_ARGUMENTS} --archive-format zip-store --force"),
    "deflated": Case(f"{OWN}, compression: deflate", OWN_ARGUMENTS),
    "everything": Case(
        f"{EAGER}, handler: needy, config: src/model-config.yaml, files: [{{from: folder/, to: ./}}, other/index.txt]",
        f"{EAGER_ARGUMENTS} --handler src/digits.py -r src/requirements.txt -c src/model-config.yaml"
        " --extra-files labels.json,folder,other/index.txt",
        "7",
    ),
    **{
        f"default-{name}": Case(
            f"{EAGER}, handler: {name}, config: {config}, files: [source_vocab.pt]",  # what some of them do not do without
            f"{EAGER_ARGUMENTS} --handler {name} --config-file {config} --extra-files source_vocab.pt",
        )
        for name in sorted(model_handlers)
        for config in ["src/awaited.yaml" if "llm" in name else "src/handled.yaml"]
    },
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """All cases built by one command."""
    folder = tmp_path_factory.mktemp("parity")
    made = Workspace(folder / "workspace", folder / "cache")
    models = "".join(
        f'  {name}:\n    framework: pytorch-cpu.2-4\n    versions:\n      "{case.version}": {{{case.keys}}}\n'
        for name, case in CASES.items()
    )
    made.write(
        {**FILES, "gdcbuild.yaml": f"schema: 1\nenvironments: {{local: {{bucket: bucket}}}}\n{HANDLERS}models:\n{models}"}
    )
    made.ok("apply")
    return made


def content(archive: Path) -> dict[str, Any]:
    """Member → bytes, and the manifest as (key, value) pairs in their order, without the time."""
    with zipfile.ZipFile(archive) as found:
        members: dict[str, Any] = {name: found.read(name) for name in found.namelist() if not name.endswith("/")}
        assert len(members) == len(found.infolist())
    manifest = json.loads(members[MANIFEST])
    del manifest["createdOn"]
    members[MANIFEST] = json.dumps(manifest)
    return members


@pytest.mark.parametrize("name", CASES)
def test_members_and_manifest_are_the_archivers(name: str, workspace: Workspace, tmp_path: Path) -> None:
    case = CASES[name]
    (tmp_path / "staging").mkdir()
    command = [sys.executable, "-W", "ignore", "-m", "model_archiver.model_packaging", "--model-name", "model"]
    command += ["--version", case.version, "--export-path", str(tmp_path), *case.arguments.split()]
    environment = {"PATH": os.defpath, "TMPDIR": str(tmp_path / "staging")}
    done = subprocess.run(command, cwd=workspace.root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = content(tmp_path / "model.mar")
    assert content(workspace.root / "bucket" / name / case.version / "model.mar") == theirs
    assert len(theirs) >= 2


def test_every_option_is_tried() -> None:
    used = " ".join(case.arguments for case in CASES.values())
    runtimes = {word for word in used.split() if word in {kind.value for kind in RuntimeType}}
    assert runtimes == {kind.value for kind in RuntimeType}
    options = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "model_archiver.model_packaging", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    named = {word.strip(",") for line in options.splitlines() for word in line.split() if word.startswith("--")}
    elsewhere = {"--help", "--model-name", "--export-path", "--version"}
    assert {option for option in named if option not in used} <= elsewhere
