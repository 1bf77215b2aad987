"""Damaged SavedModels, as TensorFlow's own loader judges them and as our contract does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from gdcbuild.core.graph import Image
from gdcbuild.errors import Caution, Problem
from gdcbuild.files.content import FileBlob, hash_stream
from gdcbuild.frameworks.tensorflow import contract
from tests.unit.frameworks.bundles import INDEX, POINTER, SHARD, bundle, floats

pytestmark = pytest.mark.toolchain

LOADER = Path(__file__).parent.parent / "serving" / "c_api_many.py"
IMAGE = Image("any", "tensorflow", "99.0")

CODE = """
import sys

import tensorflow as tf

v1 = tf.compat.v1


class Variables(tf.Module):
    def __init__(self):
        self.large = tf.Variable(tf.random.normal([1024, 300]))
        self.scalar = tf.Variable(1.5)
        self.empty = tf.Variable(tf.zeros([0, 3]))
        self.words = tf.Variable([["a", "b" * 200, "c" * 20000]])
        self.others = [tf.Variable(tf.cast([0, 1], t)) for t in (tf.int8, tf.bool, tf.float16, tf.bfloat16, tf.complex64)]
        self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        self.table.insert([f"word {n}" for n in range(300)], tf.range(300, dtype=tf.int64))

    @tf.function(input_signature=[tf.TensorSpec([None, 1024], tf.float32, name="x")])
    def score(self, x):
        found = self.table.lookup(tf.strings.reduce_join(self.words, axis=1))
        return {"y": x @ self.large * self.scalar + tf.cast(found, tf.float32)}


class Plain(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def score(self, x):
        return {"y": x * 2}


def built(folder, variables):
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 400], name="x")
        slices = v1.fixed_size_partitioner(3)
        w = v1.get_variable("w", [400, 4], partitioner=slices) if variables else tf.ones([400, 4])
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": x @ tf.convert_to_tensor(w)})
        builder = v1.saved_model.Builder(folder)
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()


for name, module in (("module", Variables()), ("plain", Plain()), ("another", Variables())):
    tf.saved_model.save(module, f"{sys.argv[1]}/{name}", {"serving_default": module.score})
built(f"{sys.argv[1]}/v1", True)
built(f"{sys.argv[1]}/v1-plain", False)
"""


class Case(NamedTuple):
    """A change to an export. `said` is a part of what TensorFlow says, "" when it loads the model."""

    export: str
    change: Callable[[Path], object]
    said: str


def write(path: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / path).write_bytes(change((folder / path).read_bytes()))


def flip(at: float) -> Callable[[bytes], bytes]:
    """Flip a bit of the byte at a fraction of the file, or this many bytes before its end."""

    def flipped(data: bytes) -> bytes:
        place = int(at * len(data)) if at >= 0 else len(data) + int(at)
        return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]

    return flipped


def copy(*paths: str, of: str) -> Callable[[Path], object]:
    return lambda folder: [shutil.copy(folder.parent.parent / of / path, folder / path) for path in paths]


def remove(path: str) -> Callable[[Path], object]:
    return lambda folder: shutil.rmtree(folder / path) if (folder / path).is_dir() else (folder / path).unlink(True)


def put(path: str, data: bytes) -> Callable[[Path], object]:
    def add(folder: Path) -> None:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(data)

    return add


OWN = bundle({"w": floats(*range(1600))._replace(shape=(400, 4))})

CASES = {
    "as it is": Case("module", lambda folder: None, ""),
    "slices": Case("v1", lambda folder: None, ""),
    "data is a pointer": Case("module", put(SHARD, POINTER), "Read less bytes"),
    "data is empty": Case("module", put(SHARD, b""), "Read less bytes"),
    "data is half": Case("module", write(SHARD, lambda data: data[: len(data) // 2]), "Read less bytes"),
    "data lacks a byte": Case("module", write(SHARD, lambda data: data[:-1]), "Read less bytes"),
    "data is gone": Case("module", remove(SHARD), "No such file"),
    "data is zeros": Case("module", write(SHARD, lambda data: bytes(len(data))), "Checksum does not match"),
    "a page is zeros": Case("module", write(SHARD, lambda data: bytes(4096) + data[4096:]), "Checksum does not match"),
    "the first bit": Case("module", write(SHARD, flip(0)), "Checksum does not match"),
    "a bit of a tensor": Case("module", write(SHARD, flip(0.5)), "Checksum does not match"),
    "a bit of a string": Case("module", write(SHARD, flip(-1)), "Checksum does not match"),
    "a bit of a slice": Case("v1", write(SHARD, flip(0.5)), "Checksum does not match"),
    "more data": Case("module", write(SHARD, lambda data: data + b"more"), ""),
    "data of another": Case("module", copy(SHARD, of="another"), "Checksum does not match"),
    "both of another": Case("module", copy(SHARD, INDEX, of="another"), ""),
    "both of another model": Case("module", copy(SHARD, INDEX, of="v1"), "not found in checkpoint"),
    "index is a pointer": Case("module", put(INDEX, POINTER), "not an sstable"),
    "index is empty": Case("module", put(INDEX, b""), "file is too short to be an sstable"),
    "index is half": Case("module", write(INDEX, lambda data: data[: len(data) // 2]), "not an sstable"),
    "index is longer": Case("module", write(INDEX, lambda data: data + b"x"), "not an sstable"),
    "index is moved": Case("module", write(INDEX, lambda data: b"x" + data), "block checksum mismatch"),
    "a bit of the magic number": Case("module", write(INDEX, flip(-1)), "not an sstable"),
    "a bit of the footer's padding": Case("module", write(INDEX, flip(-10)), ""),
    "a bit of an entry": Case("module", write(INDEX, flip(0.5)), "block checksum mismatch"),
    "a bit of the list of blocks": Case("module", write(INDEX, flip(-60)), "block checksum mismatch"),
    "a stray data file": Case("module", put("variables/variables.data-00001-of-00002", b"x"), ""),
    "our own index and data": Case("v1", lambda folder: [put(p, d)(folder) for p, d in OWN.items()], ""),
    "no variables, a file of them": Case("plain", lambda folder: None, ""),
    "no variables, no file": Case("plain", remove("variables"), ""),
    "no variables, TensorFlow 1": Case("v1-plain", lambda folder: None, ""),
    "no variables, stray data": Case("v1-plain", put(SHARD, b"x"), ""),
}

WORSE = {
    "no index": Case("module", remove(INDEX), ""),
    "no variables/": Case("v1", remove("variables"), ""),
    "a damaged index, of no variables": Case("plain", put(INDEX, b"x"), ""),
}
"""TensorFlow loads these but the check refuses them: predictions need variables, and damage is never intended."""


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """The exports of a toolchain, made when they are first asked for."""
    made: dict[Path, Path] = {}

    def make(python: Path) -> Path:
        if python not in made:
            made[python] = tmp_path_factory.mktemp("exports")
            environment = {"PATH": os.defpath, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
            subprocess.run([python, "-c", CODE, made[python]], check=True, env=environment, capture_output=True, timeout=300)
        return made[python]

    return make


def problems(folder: Path) -> list[Problem]:
    blobs = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as stream:
            blobs[path.relative_to(folder).as_posix()] = FileBlob(hash_stream(stream), path)
    return [p for p in contract.check(blobs, IMAGE) if not isinstance(p, Caution)]


@pytest.mark.parametrize("version", ["2.18", "2.14"])
def test_what_tensorflow_refuses_is_refused(
    request: pytest.FixtureRequest, exports: Callable[[Path], Path], version: str
) -> None:
    python = request.getfixturevalue({"2.18": "tf218_python", "2.14": "tf214_python"}[version])
    made = exports(python)
    for name, case in {**CASES, **WORSE}.items():
        shutil.copytree(made / case.export, made / "cases" / name)
        case.change(made / "cases" / name)
    command = [python, LOADER, *({**CASES, **WORSE})]
    environment = {"PATH": os.defpath, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, check=True, cwd=made / "cases", env=environment, capture_output=True, timeout=300)
    said = json.loads(done.stdout)
    found = {name: problems(made / "cases" / name) for name in said}
    for name, case in {**CASES, **WORSE}.items():
        assert (case.said in said[name]) if case.said else said[name] == "", (name, said[name])
        assert bool(found[name]) == (bool(case.said) or name in WORSE), (name, found[name], said[name])
        if case.said and not name.endswith("a pointer"):
            assert case.said in found[name][0].message, (name, found[name])
