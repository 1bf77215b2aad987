"""Files and errors of the real PyTorch, compared with the check."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from gdcbuild.core.digest import BytesBlob
from gdcbuild.core.graph import Image
from gdcbuild.frameworks.torchserve.check.classes import Class
from gdcbuild.frameworks.torchserve.check.weights import FORMATS, NEWEST_TORCH, eager, recognise
from gdcbuild.frameworks.torchserve.mar.archive import open_archive
from gdcbuild.frameworks.torchserve.pickles.search import scan
from tests.unit.frameworks.zips import Entry, made, mar

pytestmark = pytest.mark.toolchain

WRITE = """
import os, sys, torch
os.chdir(sys.argv[1])
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(4, 2), torch.nn.BatchNorm1d(2)
    def forward(self, x):
        return self.b(self.a(x))
net = Net().eval()
optimizer = torch.optim.Adam(net.parameters())
torch.save(net.state_dict(), "state.pt")
torch.save(net.state_dict(), "legacy.pt", _use_new_zipfile_serialization=False)
torch.save(net.state_dict(), "protocol4.pt", pickle_protocol=4)
torch.save({"epoch": 3, "optimizer": optimizer.state_dict(), "net": net.state_dict()}, "checkpoint.pt")
kinds = {str(t): torch.zeros(2, dtype=t) for t in (torch.bfloat16, torch.float16, torch.int8, torch.bool, torch.complex64)}
torch.save({"sparse": torch.eye(2).to_sparse(), "parameter": torch.nn.Parameter(torch.zeros(2)), **kinds}, "kinds.pt")
torch.jit.script(net).save("script.pt")
torch.jit.trace(net, torch.zeros(1, 4)).save("trace.pt")
torch.export.save(torch.export.export(net, (torch.zeros(1, 4),)), "program.pt2")
torch.save(net, "whole.pt")
"""

READ = """
import json, sys, torch
said = {}
for file in sys.argv[1:]:
    try:
        torch.load(file, weights_only=None if file == "object" else False)
        said[file] = ""
    except Exception as error:
        said[file] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""

KINDS = {
    **dict.fromkeys(("state.pt", "legacy.pt", "protocol4.pt", "checkpoint.pt", "kinds.pt", "whole.pt"), "saved"),
    **dict.fromkeys(("script.pt", "trace.pt"), "torchscript"),
    "program.pt2": "program",
}
HOLDS = {"whole.pt": "a whole __main__.Net", "checkpoint.pt": "a mapping whose 'epoch' is a number, not a tensor"}
NET = Class("Net", ("torch.nn.Module",), {})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, torch_python: Path) -> Path:
    folder = tmp_path_factory.mktemp("written")
    program = tmp_path_factory.mktemp("program") / "write.py"  # TorchScript is made from the source in a file
    program.write_text(WRITE)
    subprocess.run([torch_python, "-W", "ignore", program, folder], check=True)
    return folder


@pytest.mark.parametrize("name", KINDS)
def test_what_pytorch_writes_is_known_and_has_nothing_unexpected_in_it(written: Path, name: str) -> None:
    with open_archive(BytesBlob(mar(Entry(name, (written / name).read_bytes())))) as archive:
        weights = recognise(archive, name)
        odd = [n for found in scan(archive, name) for n in found.names]
    assert (weights.kind, weights.holds) == (KINDS[name], HOLDS.get(name, ""))
    assert odd == ([] if name != "whole.pt" else ["__main__.Net", "torch.nn.modules.batchnorm.BatchNorm1d",
        "torch.nn.modules.linear.Linear"])  # fmt: skip


def test_the_table_of_formats_says_what_this_pytorch_reads(torch_python: Path) -> None:
    code = "import torch; print(torch.__path__[0], torch.__version__)"
    done = subprocess.run([torch_python, "-c", code], capture_output=True, text=True, check=True)
    folder, version = done.stdout.split()
    header = (Path(folder) / "include/caffe2/serialize/versions.h").read_text()
    (newest,) = re.findall(r"kMaxSupportedFileFormatVersion = (0x[0-9A-F]+)L;", header)
    assert version.startswith(".".join(map(str, NEWEST_TORCH)))
    assert max(FORMATS.values()) == int(newest, 16)


def test_what_pytorch_would_say_is_quoted(written: Path, torch_python: Path, tmp_path: Path) -> None:
    state = (written / "state.pt").read_bytes()
    cases = {
        "cut": state[:-200],
        "pickle": b"\x80\2}.",
        "safetensors": (20).to_bytes(8, "little") + b'{"a":{}}'.ljust(20),
        "program": (written / "program.pt2").read_bytes(),
        "object": made(Entry("w/data.pkl", b"\x80\2}U\1acos\nsystem\ns."), Entry("w/version", b"3\n")),
        "state": state,
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [torch_python, "-W", "ignore", "-c", READ, *cases], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    for name, said in json.loads(done.stdout).items():
        with open_archive(BytesBlob(mar(Entry(name, cases[name])))) as archive:
            problems = list(eager(archive, name, Image("x", "pytorch", "2.13"), NET))
        assert bool(problems) == bool(said), name
        for problem in problems:
            quoted = problem.message.rpartition("it would say: ")[2].rpartition("TorchServe: ")[2]
            assert quoted.partition(": ")[2] in said or quoted in said, (quoted, said)
