"""The PyTorch worker in a real toolchain: every way to a model, the same bytes every time, packed, checked and loaded."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gdcbuild.core.digest import Blob
from gdcbuild.core.graph import Image
from gdcbuild.files.content import FileBlob, hash_stream
from gdcbuild.frameworks.torchserve import worker
from gdcbuild.frameworks.torchserve.check import contract
from gdcbuild.frameworks.torchserve.mar import pack
from gdcbuild.runners import child

pytestmark = pytest.mark.toolchain

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, units: int = 8) -> None:
        super().__init__()
        self.seen = nn.Conv2d(1, 2, 3)
        self.hidden = nn.Linear(4, units)
        self.norm = nn.BatchNorm1d(units)
        self.layers = nn.Sequential(nn.ReLU(), nn.Dropout(0.5), nn.Linear(units, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() == 1:
            x = x.unsqueeze(0)
        return self.layers(self.norm(self.hidden(x))) / 2
"""

CODE = """
import random

import torch
from torch import nn

from digits.net import Net


def trained(units=8):
    model = Net(units)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(20):
        x = torch.randn(64, 4)
        loss = nn.functional.mse_loss(model(x), x[:, :3] * random.random())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def scripted():
    return torch.jit.script(trained().eval())


def with_inputs():
    return trained(), torch.ones(2, 4)


def program():
    return torch.export.export(trained().eval(), (torch.ones(2, 4),), dynamic_shapes=({0: torch.export.Dim("rows")},))


def program_by_itself(export_dir):
    torch.export.save(program(), f"{export_dir}/model.pt2")


def by_itself(export_dir):
    torch.jit.script(trained().eval()).save(f"{export_dir}/own.pt")


def onnx(export_dir):
    open(f"{export_dir}/model.onnx", "wb").write(b"not really")


def two_files(export_dir):
    for name in ("a.pt", "b.pt"):
        open(f"{export_dir}/{name}", "wb").write(b"x")


def no_file(export_dir):
    pass


def sequential():
    return nn.Sequential(nn.Linear(4, 3))


def local():
    class Inner(nn.Module):
        pass

    return Inner()


def nothing():
    trained()


def number():
    return 42


def not_scriptable():
    class Odd(nn.Module):
        def forward(self, x):
            return eval("x")

    return Odd()


def fails():
    return Net("many")
"""


class Box:
    """The toolchain, and a folder for each run in it."""

    def __init__(self, python: Path, tmp: Path) -> None:
        self.python, self.tmp, self.runs = python, tmp, 0

    def run(self, function: str, method: str | None = None, **args: Any) -> tuple[Path, dict[str, str] | None]:
        """The output folder and the error report of the worker, run in a new process and folder."""
        self.runs += 1
        place = self.tmp / ("deeper/" * self.runs) / f"run-{self.runs}"
        folder, out, request, error = place / "folder", place / "out", place / "request.json", place / "error.json"
        (folder / "digits").mkdir(parents=True)
        out.mkdir()
        (folder / "digits/net.py").write_text(NET)
        (folder / "digits/train.py").write_text(CODE)
        params = {"function": f"digits.train:{function}", "args": args, "method": method}
        request.write_text(
            json.dumps(
                {"folder": str(folder), "out": str(out), "error": str(error), "worker": worker.__file__, "params": params}
            )
        )
        environment = {"PATH": os.defpath, "HOME": str(place), "PYTHONHASHSEED": "0"}
        command = [str(self.python), child.__file__, str(request)]
        done = subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == (1 if error.exists() else 0), done.stderr[-4000:]
        return out, json.loads(error.read_text()) if error.exists() else None

    def built(self, function: str, method: str | None = None, **args: Any) -> Path:
        out, error = self.run(function, method, **args)
        assert error is None, error
        return out

    def mistake(self, function: str, method: str | None = None) -> dict[str, str]:
        _, error = self.run(function, method)
        assert error is not None
        return error

    def ask(self, code: str, *args: object) -> Any:
        """What a script in the toolchain prints, as JSON."""
        command = [str(self.python), "-W", "ignore", "-c", code, *map(str, args)]
        done = subprocess.run(command, check=False, env={"PATH": os.defpath}, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout)


@pytest.fixture
def box(torch_python: Path, tmp_path: Path) -> Box:
    return Box(torch_python, tmp_path)


def blobs(folder: Path) -> dict[str, Blob]:
    found: dict[str, Blob] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as stream:
            found[path.relative_to(folder).as_posix()] = FileBlob(hash_stream(stream), path)
    return found


def packed(inputs: Mapping[str, Blob], out: Path, handler: str = "base_handler") -> Path:
    """The archive of an export, which must pass the check."""
    out.mkdir()
    pack.run({"handler": handler, "version": "1", "runtime": "python", "config": None}, inputs, out)
    assert contract.check(blobs(out), Image("site", "pytorch", "2.13")) == []
    return out / "model.mar"


PREDICT = """
import importlib, json, os, sys, torch
folder, model_file = sys.argv[1:]
if model_file:
    sys.path.insert(0, folder)
    model = importlib.import_module(model_file.removesuffix(".py")).Net()
    model.load_state_dict(torch.load(f"{folder}/model.pt", weights_only=True))
    model.eval()
else:
    (name,) = (n for n in os.listdir(folder) if n.endswith((".pt", ".pt2")))
    file = f"{folder}/{name}"
    model = torch.export.load(file).module() if name.endswith("2") else torch.jit.load(file)
print(json.dumps(model(torch.arange(8.0).reshape(2, 4)).tolist()))
"""


def predictions(box: Box, folder: Path, model_file: str) -> list[float]:
    return [round(value, 4) for row in box.ask(PREDICT, folder, model_file) for value in row]


@pytest.fixture(scope="module")
def reference(torch_python: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """What the model predicts before anything is packed."""
    tmp = tmp_path_factory.mktemp("reference")
    box, flat = Box(torch_python, tmp), tmp / "flat"
    flat.mkdir()
    for path in [p for p in box.built("trained").rglob("*") if p.is_file()]:
        path.rename(flat / path.name)
    return predictions(box, flat, "net.py")


@pytest.mark.parametrize(
    ("function", "method", "expected"),
    [
        ("trained", None, {"weights/model.pt", "model_file/net.py"}),
        ("trained", "script", {"weights/model.pt"}),
        ("with_inputs", "trace", {"weights/model.pt"}),
        ("scripted", None, {"weights/model.pt"}),
        ("by_itself", None, {"weights/own.pt"}),
        ("program", None, {"weights/model.pt2"}),
        ("with_inputs", "export", {"weights/model.pt2"}),
        ("program_by_itself", None, {"weights/model.pt2"}),
    ],
)
def test_the_same_bytes_anywhere_and_a_model_that_loads(
    box: Box, tmp_path: Path, reference: list[float], function: str, method: str | None, expected: set[str]
) -> None:
    first, second = blobs(box.built(function, method)), blobs(box.built(function, method))
    assert set(first) == expected
    assert {path: blob.digest for path, blob in first.items()} == {path: blob.digest for path, blob in second.items()}
    if "weights/model.pt2" in expected:
        (tmp_path / "program.py").write_text("def handle(data, context): ...")
        first |= {"handler/program.py": blobs(tmp_path)["program.py"]}
    archive = packed(first, tmp_path / "packed", "program.py" if "handler/program.py" in first else "base_handler")
    with zipfile.ZipFile(archive) as members:
        members.extractall(tmp_path / "served")
    found = predictions(box, tmp_path / "served", "net.py" if "model_file/net.py" in expected else "")
    assert found == reference
    assert len(set(found)) == 6


def test_another_seed_or_argument_gives_other_bytes(box: Box) -> None:
    """Shows that the test above would notice a difference."""
    assert (
        blobs(box.built("trained"))["weights/model.pt"].digest
        != blobs(box.built("trained", units=9))["weights/model.pt"].digest
    )


ALIGNED = """
import json, sys, torch
reader = torch._C.PyTorchFileReader(sys.argv[1])
print(json.dumps([reader.get_record_offset(n) % 64 for n in reader.get_all_records() if "data/" in n]))
"""


def test_torchscript_contains_no_paths_and_stays_aligned(box: Box) -> None:
    file = box.built("scripted") / "weights/model.pt"
    data = file.read_bytes()
    assert str(box.tmp).encode() not in data
    assert b"site-packages" not in data
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        assert len(archive.read("model/.data/serialization_id")) == 40
    assert not [name for name in names if name.endswith(".debug_pkl")]
    assert set(box.ask(ALIGNED, file)) == {0}


def test_programs_contain_no_paths_and_stay_aligned(box: Box) -> None:
    file = box.built("program") / "weights/model.pt2"
    data = file.read_bytes()
    assert str(box.tmp).encode() not in data
    assert b"site-packages" not in data
    assert b"stack_trace" not in data
    assert b"nn_module_stack" in data
    assert set(box.ask(ALIGNED.replace('"data/" in n', '"weights/weight_" in n'), file)) == {0}


def test_programs_of_older_releases_contain_no_paths(tmp_path: Path) -> None:
    """Before 2.7 a program was a plain zip file, with the time in it."""
    graph: dict[str, Any] = {
        "graph_module": {"graph": {"nodes": [{"name": "relu", "metadata": {"stack_trace": "File /a/b", "torch_fn": "r"}}]}}
    }
    for name, moment in (("one", (2024, 5, 1, 1, 2, 4)), ("other", (2025, 5, 1, 1, 2, 4))):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for record, content in (("serialized_exported_program.json", json.dumps(graph)), ("serialized_state_dict.pt", "w")):
                file.writestr(zipfile.ZipInfo(record, moment), content)
        worker.make_canonical(tmp_path / name)
        graph["graph_module"]["graph"]["nodes"][0]["metadata"]["stack_trace"] = "File /c"
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    with zipfile.ZipFile(tmp_path / "one") as file:
        assert file.namelist() == ["serialized_exported_program.json", "serialized_state_dict.pt"]
        assert json.loads(file.read("serialized_exported_program.json"))["graph_module"]["graph"]["nodes"] == [
            {"name": "relu", "metadata": {"torch_fn": "r"}}
        ]


def test_other_formats_are_left_alone(box: Box) -> None:
    assert (box.built("onnx") / "weights/model.onnx").read_bytes() == b"not really"


@pytest.mark.parametrize(
    ("function", "method", "message", "hint"),
    [
        ("nothing", None, "returned nothing", "return a torch.nn.Module"),
        ("number", None, "returned int", "return a torch.nn.Module"),
        ("number", "script", "returned int", "return a torch.nn.Module"),
        ("with_inputs", None, "returned tuple", "with method: trace or export, a pair"),
        ("trained", "trace", "returned digits.net.Net, which cannot be traced", "return a pair (module, example_inputs)"),
        ("trained", "export", "returned digits.net.Net, which cannot be exported", "return a pair (module, example_inputs)"),
        ("sequential", None, "torch.nn.modules.container.Sequential, whose class is not defined", "method: script"),
        ("local", None, "local.<locals>.Inner, whose class is not defined", "method: script"),
        ("two_files", None, "wrote a.pt, b.pt instead of one weights file", "exactly one file"),
        ("no_file", None, "wrote nothing instead of one weights file", "exactly one file"),
        ("by_itself", "script", "`method: script` has no effect", "remove one"),
    ],
)
def test_mistakes_say_what_to_do(box: Box, function: str, method: str | None, message: str, hint: str) -> None:
    report = box.mistake(function, method)
    assert message in report["message"]
    assert hint in report["hint"]


def test_user_code_that_raises_is_shown_by_its_own_lines(box: Box) -> None:
    report = box.mistake("fails")
    assert report["message"].startswith("raised TypeError")
    assert 'File "digits/train.py"' in report["detail"]
    assert "child.py" not in report["detail"]


def test_what_torchscript_cannot_compile_is_the_users_to_know(box: Box) -> None:
    assert "eval" in box.mistake("not_scriptable", "script")["message"]
