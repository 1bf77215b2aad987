"""The check accepts an archive exactly when a real TorchServe can start a worker for it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdcbuild.core.digest import BytesBlob
from gdcbuild.core.graph import Image
from gdcbuild.errors import Caution
from gdcbuild.frameworks.torchserve.check.contract import check
from gdcbuild.frameworks.torchserve.mar.writer import MANIFEST
from tests.serving.torchserve import TorchServe, TorchServeError

pytestmark = pytest.mark.toolchain

IMAGE = Image("pytorch-cpu.2-13", "pytorch", "2.13")
METHODS = "    def initialize(self, context): ...\n    def handle(self, data, context):\n        return [1] * len(data)\n"
OWN = f"class Own:\n{METHODS}"
FIELDS = "from dataclasses import dataclass, field\nfrom typing import ClassVar\n@dataclass\nclass Own:\n"
LATE = "def make():\n    global Late\n    class Late(Base): ...\nmake()\ndel Base\n"
PP = "minWorkers: 1\nmaxWorkers: 1\nparallelType: pp\n"


@pytest.fixture(scope="module")
def server(torchserve_bin: Path) -> Iterator[TorchServe]:
    with TorchServe(torchserve_bin) as started:
        yield started


def archive(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    described = {"modelName": "model", "modelVersion": "1", "handler": "h.py", "configFile": "c.yaml"}
    manifest = json.dumps({"runtime": "python", "model": described})
    with zipfile.ZipFile(buffer, "w") as target:
        for name, text in {"w.bin": "w", "h.py": OWN, "c.yaml": "batchSize: 1\n", **files, MANIFEST: manifest}.items():
            target.writestr(name, text)
    return buffer.getvalue()


def refusals(data: bytes) -> list[str]:
    return [p.message for p in check({"model.mar": BytesBlob(data)}, IMAGE) if not isinstance(p, Caution)]


def registered(server: TorchServe, data: bytes, tmp_path: Path) -> str:
    """What TorchServe says against an archive; "" when its worker runs and answers."""
    file = tmp_path / "model.mar"
    file.write_bytes(data)
    try:
        server.register(file, "model")  # which unregisters it again when its worker does not start
        try:
            assert server.predict("model", {}) == 1
        finally:
            server.unregister("model")
    except TorchServeError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "files",
    [
        {"types.py": ""},
        {"torch/__init__.py": ""},
        {"_struct.so": "x"},
        {"h.py": f"import os\nwith open(os.devnull) as handle: ...\n{OWN}"},
        {"h.py": f"handle = None\n{OWN}"},
        {"h.py": f"import json as handle\n{OWN}"},
        {"h.py": f"import abc\nclass Own(metaclass=abc.ABCMeta):\n    @abc.abstractmethod\n    def more(self): ...\n{METHODS}"},
        {"h.py": f"{FIELDS}    threshold: float = field(repr=False)\n{METHODS}"},
        {"h.py": f"class Own:\n    def __new__(cls, size): ...\n{METHODS}"},
        {"c.yaml": f"{PP}parallelLevel: 2\n"},
    ],
)
def test_what_ends_a_worker_is_refused(server: TorchServe, tmp_path: Path, files: dict[str, str]) -> None:
    data = archive(files)
    assert len(refusals(data)) == 1
    assert registered(server, data, tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        {"h.py": OWN.replace("Own", "Base") + LATE},
        {"h.py": f"import sys\n{OWN}setattr(sys.modules[__name__], 'H', Own)\ndel Own\n"},
        {"h.py": f"{OWN}vars()['H'] = vars().pop('Own')\n"},
        {
            "h.py": f"class E(Exception):\n    __module__ = 'errors'\n{OWN}",
            "abc.py": "",
            "torch/labels.txt": "",
            "types.v2.py": "",
        },
        {"h.py": f"{OWN}try:\n    open('/none')\nexcept OSError as handle: ...\n"},
        {"h.py": f"{FIELDS}    a: int = 1\n    b: ClassVar[int]\n    c: int = field(init=False)\n{METHODS}"},
        {"h.py": f"import abc\nclass Own:\n    @abc.abstractmethod\n    def more(self): ...\n{METHODS}"},
        {"c.yaml": "minWorkers: 0\nmaxWorkers: 1\njobQueueSize: -1\nBatchSize: 4\nbatch_size: 3\n"},
    ],
)
def test_what_a_worker_takes_is_accepted(server: TorchServe, tmp_path: Path, files: dict[str, str]) -> None:
    data = archive(files)
    assert registered(server, data, tmp_path) == ""
    assert refusals(data) == []
