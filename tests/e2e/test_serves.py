"""Real servers and loaders read the held-out digits with every published version of the examples."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests import serving
from tests.e2e.workspace import Workspace
from tests.serving.torchserve import TorchServe, TorchServeError

pytestmark = pytest.mark.toolchain

ENOUGH = 0.9
TENSORFLOW = ["digits-calibrated/1", "digits-keras/1", "digits-keras/2", "digits-module/1", "digits-module/2"]
TENSORFLOW_214 = ["digits-builder/1", "digits-estimator/1", "digits-keras2/1"]
PYTORCH = [
    *("digits-archive/1", "digits-eager/1", "digits-eager/2", "digits-program/1"),
    *("digits-torchscript/1", "digits-torchscript/2"),
]
BASE_HANDLER = "digits-torchscript/3"
LOADERS = ["tensorflow_loader.py", "c_api_loader.py"]


def versions(bucket: Path) -> list[str]:
    """MODEL/VERSION of all that a server would find in a bucket."""
    return sorted(p.relative_to(bucket).as_posix() for p in bucket.glob("*/*") if not p.parent.name.startswith("."))


def load(python: Path, loader: str, saved_model: Path, digits: Path) -> dict[str, Any]:
    """What a loader script prints, run in a toolchain's Python."""
    script = Path(serving.__path__[0]) / loader
    command = [str(python), str(script), str(saved_model), str(digits)]
    done = subprocess.run(command, capture_output=True, text=True, env={"TF_CPP_MIN_LOG_LEVEL": "2"}, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@dataclass(frozen=True)
class Digits:
    """`images` of 64 numbers each, and what they show."""

    images: list[list[float]]
    labels: list[int]


@pytest.fixture(scope="module")
def digits(held_out: Path, torchserve_bin: Path) -> Digits:
    """The held-out digits, read in an environment that has numpy."""
    code = "import json, sys, numpy; d = numpy.load(sys.argv[1]); print(json.dumps([d[k].tolist() for k in sys.argv[2:]]))"
    command = [str(torchserve_bin / "python"), "-c", code, str(held_out), "test_images", "test_labels"]
    return Digits(*json.loads(subprocess.run(command, capture_output=True, check=True).stdout))


@pytest.fixture(scope="module")
def servers(torchserve_bin: Path) -> Iterator[Callable[[str | None], TorchServe]]:
    """Envelope → a TorchServe with it, started on first use."""
    with ExitStack() as stack:
        yield cache(lambda envelope: stack.enter_context(TorchServe(torchserve_bin, envelope)))


@pytest.fixture(params=[None, "json"], ids=["plain", "json-envelope"])
def server(request: pytest.FixtureRequest, servers: Callable[[str | None], TorchServe]) -> TorchServe:
    """TorchServe as it comes, and with the envelope that makes it speak Google's request format by itself."""
    return servers(request.param)


@contextmanager
def registered(server: TorchServe, published: Path, version: str) -> Iterator[str]:
    """The name under which a version is served, for as long as the context lasts."""
    name = version.replace("/", "-")
    server.register(published / version / "model.mar", name)
    try:
        yield name
    finally:
        server.unregister(name)


def right(server: TorchServe, name: str, digits: Digits) -> float:
    """The share of held-out digits that a model reads right, asked for in a request of one and one of all others."""
    answers = [server.predict(name, {"instances": part}) for part in (digits.images[:1], digits.images[1:])]
    scores = [row for answer in answers for row in answer["predictions"]]
    assert [len(row) for row in scores] == [10] * len(digits.images)
    hits = [row.index(max(row)) == label for row, label in zip(scores, digits.labels, strict=True)]
    return hits.count(True) / len(hits)


def test_every_published_version_is_tried(published: Path, published_214: Path) -> None:
    assert versions(published) == sorted([*TENSORFLOW, *PYTORCH, BASE_HANDLER])
    assert versions(published_214) == TENSORFLOW_214


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("version", TENSORFLOW)
def test_tensorflow(published: Path, tf218_python: Path, held_out: Path, version: str, loader: str) -> None:
    assert load(tf218_python, loader, published / version, held_out)["accuracy"] >= ENOUGH


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("version", TENSORFLOW_214)
def test_tensorflow_214(published_214: Path, tf214_python: Path, held_out: Path, version: str, loader: str) -> None:
    assert load(tf214_python, loader, published_214 / version, held_out)["accuracy"] >= ENOUGH


@pytest.mark.parametrize("version", PYTORCH)
def test_torchserve(published: Path, server: TorchServe, digits: Digits, version: str) -> None:
    with registered(server, published, version) as name:
        assert right(server, name, digits) >= ENOUGH
        found = server.describe(name)
    assert [worker["status"] for worker in found["workers"]] == ["READY"]
    # from the model-config.yaml in the archive
    assert (found["batchSize"], found["maxBatchDelay"], found["maxWorkers"]) == (8, 20, 1)


def test_torchserves_own_handler(published: Path, servers: Callable[[str | None], TorchServe], digits: Digits) -> None:
    with registered(servers("json"), published, BASE_HANDLER) as name:
        assert right(servers("json"), name, digits) >= ENOUGH


def test_torchserves_own_handler_does_not_read_json(published: Path, servers: Callable[[str | None], TorchServe]) -> None:
    server = servers(None)
    with registered(server, published, BASE_HANDLER) as name:
        assert [worker["status"] for worker in server.describe(name)["workers"]] == ["READY"]
        with pytest.raises(TorchServeError) as caught:
            server.predict(name, {"instances": [[0.0] * 64]})
        assert caught.value.status >= 500


def test_a_bad_request_gets_an_explanation(published: Path, servers: Callable[[str | None], TorchServe]) -> None:
    server = servers(None)
    with registered(server, published, "digits-eager/1") as name:
        with pytest.raises(TorchServeError, match="64 numbers") as caught:
            server.predict(name, {"instances": [[0.0, 1.0]]})
        assert caught.value.status == 400


MANIFEST = """\
schema: 1
environments: {local: {bucket: bucket}}
frameworks:
  site: {image: serving/pytorch-cpu.2-13, kind: pytorch, version: "2.13"}
handlers:
  function: {file: "handlers/entry.py:answer"}
  folder: {file: handlers/folder.py, files: [{from: helpers/, to: helpers/}]}
  native: {file: "handlers/libnative.so:Digits"}
models:
  native: {framework: site, handler: native, runtime: LSP, versions: {"1": {weights: weights.bin}}}
  function: {framework: site, handler: function, versions: {"1": {weights: weights.bin}}}
  folder: {framework: site, handler: folder, versions: {"1": {weights: weights.bin}}}
  python3: {framework: site, handler: function, runtime: python3, versions: {"1": {weights: weights.bin}}}
  deflated: {framework: site, handler: function, compression: deflate, versions: {"1": {weights: weights.bin}}}
  repacked: {framework: site, compression: deflate, versions: {"1": {mar: {model: folder, version: "1", path: model.mar}}}}
  batched:
    framework: site
    handler: folder
    config: {batchSize: 3, maxBatchDelay: 50, minWorkers: 1, maxWorkers: 2, responseTimeout: 77}
    versions: {"1": {weights: weights.bin}}
"""
ENTRY_HANDLER = """\
import hashlib, os

def answer(data, context):
    if data is None:
        return None
    file = os.path.join(context.system_properties["model_dir"], context.manifest["model"]["serializedFile"])
    said = {"weights": hashlib.sha256(open(file, "rb").read()).hexdigest(), "runtime": context.manifest["runtime"]}
    return [said] * len(data)
"""
FOLDER_HANDLER = """\
from helpers.deep.words import word
from helpers.weights import digest

class Handler:
    def initialize(self, context):
        self.said = {"weights": digest(context), "word": word()}

    def handle(self, data, context):
        return [self.said] * len(data)
"""
HELPERS = {
    "helpers/__init__.py": "",
    "helpers/deep/__init__.py": "",
    "helpers/deep/words.py": "import os\n\ndef word():\n    return open(os.path.dirname(__file__) + '/word.txt').read()\n",
    "helpers/deep/word.txt": "kept",
    "helpers/weights.py": (
        "import hashlib, os\n\n"
        "def digest(context):\n"
        "    folder, name = context.system_properties['model_dir'], context.manifest['model']['serializedFile']\n"
        "    return hashlib.sha256(open(os.path.join(folder, name), 'rb').read()).hexdigest()\n"
    ),
}
WEIGHTS = b"".join(b"%d," % n for n in range(400_000))


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bucket with archives of every kind that the examples do not have."""
    folder = tmp_path_factory.mktemp("kinds")
    workspace = Workspace(folder / "workspace", folder / "cache", {"SOURCE_DATE_EPOCH": "1700000000"})
    workspace.write(
        {
            "gdcbuild.yaml": MANIFEST,
            "handlers/entry.py": ENTRY_HANDLER,
            "handlers/folder.py": FOLDER_HANDLER,
            "handlers/libnative.so": b"\x7fELF",
            "weights.bin": WEIGHTS,
            **HELPERS,
        }
    )
    workspace.ok("apply")
    return workspace.root / "bucket"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("function", {"runtime": "python"}),
        ("python3", {"runtime": "python3"}),
        ("deflated", {"runtime": "python"}),
        ("folder", {"word": "kept"}),
        ("repacked", {"word": "kept"}),
        ("batched", {"word": "kept"}),
    ],
)
def test_archives_of_every_kind(
    kinds: Path, servers: Callable[[str | None], TorchServe], model: str, said: dict[str, str]
) -> None:
    server = servers(None)
    with registered(server, kinds, f"{model}/1") as name:
        assert server.predict(name, {}) == {"weights": hashlib.sha256(WEIGHTS).hexdigest(), **said}
        found = server.describe(name)
    assert [worker["status"] for worker in found["workers"]] == ["READY"]
    assert found["runtime"] == said.get("runtime", "python")
    expected = (3, 50, 2, 77) if model == "batched" else (1, 100, 1, 120)
    assert tuple(found[key] for key in ("batchSize", "maxBatchDelay", "maxWorkers", "responseTimeout")) == expected


def test_deflated_is_smaller(kinds: Path) -> None:
    sizes = {model: (kinds / model / "1/model.mar").stat().st_size for model in ("function", "deflated", "folder", "repacked")}
    assert sizes["function"] > len(WEIGHTS) > 2 * sizes["deflated"]
    assert sizes["folder"] > len(WEIGHTS) > 2 * sizes["repacked"]


def test_a_compiled_handler_is_accepted_but_has_no_worker(kinds: Path, servers: Callable[[str | None], TorchServe]) -> None:
    """TorchServe's packages have no C++ backend: it registers and describes the archive, and cannot start a worker for it."""
    server = servers(None)
    server.register(kinds / "native/1/model.mar", "native", workers=0)
    try:
        found = server.describe("native")
        assert (found["runtime"], found["workers"]) == ("LSP", [])
        with pytest.raises(TorchServeError):
            server.scale("native", 1)
        assert "model_worker_socket not found" in server.log()
    finally:
        server.unregister("native")
