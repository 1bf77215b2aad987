"""The TensorFlow worker in real toolchains: every way to a SavedModel, and the same bytes every time."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gdcbuild.core.digest import Tree
from gdcbuild.core.graph import Image
from gdcbuild.files.content import FileBlob, hash_stream
from gdcbuild.frameworks.tensorflow import contract, saved_model, worker
from gdcbuild.runners import child

pytestmark = pytest.mark.toolchain

ENVIRONMENT = {"PATH": os.defpath, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "0"}

CODE = """
import pathlib

import numpy as np
import tensorflow as tf

K = tf.keras


def trained(model, shape):
    model.compile("adam", "mse")
    x = np.random.normal(size=(64, *shape)).astype("float32")
    model.fit(x, x.reshape(64, -1)[:, :4], epochs=1, batch_size=16, verbose=0)
    return model


def words():
    text = K.Input((1,), dtype="string")
    numbers = K.layers.StringLookup(vocabulary="words.txt")(text)
    vectors = K.layers.Flatten()(K.layers.Embedding(4, 2)(numbers))
    return K.Model(text, K.layers.Dense(2)(vectors))


def dense(units):
    return K.Sequential([K.Input((8,)), *(K.layers.Dense(units, activation="relu") for _ in range(4)), K.layers.Dense(4)])


def cnn():
    layers = [K.layers.Conv2D(4, 3), K.layers.BatchNormalization(), K.layers.Dropout(0.2), K.layers.Conv2D(4, 3)]
    return trained(K.Sequential([K.Input((8, 8, 1)), *layers, K.layers.Flatten(), K.layers.Dense(4)]), (8, 8, 1))


def lstm():
    layers = [K.layers.Bidirectional(K.layers.LSTM(4, return_sequences=True)), K.layers.GRU(4), K.layers.Dense(4)]
    return trained(K.Sequential([K.Input((5, 3)), *layers]), (5, 3))


class Scaler(tf.Module):
    def __init__(self):
        self.weights = [tf.Variable(tf.random.normal([4, 4])) for _ in range(8)]
        words = str(pathlib.Path(__file__).with_name("words.txt"))
        whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        initializer = tf.lookup.TextFileInitializer(words, tf.string, whole, tf.int64, number)
        self.table = tf.lookup.StaticHashTable(initializer, -1)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    def scale(self, x):
        for weight in self.weights:
            x = x @ weight
        return {"y": x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="key")])
    def look_up(self, key):
        return {"value": self.table.lookup(key)}


def module():
    scaler = Scaler()
    return scaler, {"serving_default": scaler.scale, "look_up": scaler.look_up}


def bare_module():
    return Scaler()


def estimator():
    columns = [tf.feature_column.numeric_column("x", shape=[8])]
    estimator = tf.estimator.DNNRegressor([4], columns)
    rows = {"x": np.random.normal(size=(64, 8))}, np.random.normal(size=64)
    estimator.train(lambda: tf.data.Dataset.from_tensor_slices(rows).shuffle(64).batch(8), steps=5)
    spec = tf.feature_column.make_parse_example_spec(columns)
    return estimator, tf.estimator.export.build_parsing_serving_input_receiver_fn(spec)


def builder(export_dir):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        y = x @ v1.get_variable("weight", [4, 2], initializer=v1.random_normal_initializer())
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        saver = v1.saved_model.Builder(export_dir)
        saver.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        saver.save()


def save_keras(export_dir, name):
    K.Sequential([K.Input((8,)), K.layers.Dense(4), K.layers.Dense(2)]).save(f"{export_dir}/{name}")


def unbuilt():
    class Net(K.Model):
        pass

    return Net()


def nothing():
    dense(4)


def number():
    return 42


def pair_of_numbers():
    return 1, 2


def one_in_a_tuple():
    return (dense(4),)
"""


class Box:
    """A toolchain, and a folder for each run in it."""

    def __init__(self, python: Path, tmp: Path) -> None:
        self.python, self.tmp, self.runs = python, tmp, 0

    def run(self, params: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> tuple[Path, dict[str, str] | None]:
        """The output folder and the error report of the worker, run in a new process and folder."""
        self.runs += 1
        place = self.tmp / ("deeper/" * self.runs) / f"run-{self.runs}"
        folder, out, temporary = place / "folder", place / "out", place / "tmp"
        for each in (folder, out, temporary):
            each.mkdir(parents=True)
        for name, data in {
            "models.py": CODE.encode(),
            "words.txt": b"a\nb\n",
            **(files or {}),
        }.items():
            (folder / name).write_bytes(data)
        request = place / "request.json"
        error = place / "error.json"
        request.write_text(
            json.dumps(
                {
                    "folder": str(folder),
                    "out": str(out),
                    "error": str(error),
                    "worker": worker.__file__,
                    "params": params,
                }
            )
        )
        env = {"HOME": str(temporary), "TMPDIR": str(temporary), "PYTHONHASHSEED": str(self.runs), "PYTHONSAFEPATH": "1"}
        env |= ENVIRONMENT
        command = [str(self.python), child.__file__, str(request)]
        done = subprocess.run(command, check=False, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == (1 if error.exists() else 0), done.stderr[-4000:]
        return out, json.loads(error.read_text()) if error.exists() else None

    def built(self, function: str, files: Mapping[str, bytes] | None = None, **args: Any) -> Path:
        out, error = self.run({"way": "function", "function": function, "args": args}, files)
        assert error is None, error
        return out

    def mistake(self, function: str, **args: Any) -> dict[str, str]:
        _, error = self.run({"way": "function", "function": function, "args": args})
        assert error is not None
        return error

    def ask(self, code: str, *args: object) -> Any:
        """What a script in the toolchain prints, as JSON."""
        command = [str(self.python), "-c", code, *map(str, args)]
        done = subprocess.run(command, check=False, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def tf218(tf218_python: Path, tmp_path: Path) -> Box:
    return Box(tf218_python, tmp_path)


@pytest.fixture
def tf214(tf214_python: Path, tmp_path: Path) -> Box:
    return Box(tf214_python, tmp_path)


@pytest.fixture(params=["2.18", "2.14"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Box:
    return Box(request.getfixturevalue({"2.18": "tf218_python", "2.14": "tf214_python"}[request.param]), tmp_path)


def blobs(folder: Path) -> dict[str, FileBlob]:
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as stream:
            found[path.relative_to(folder).as_posix()] = FileBlob(hash_stream(stream), path)
    return found


def tree(folder: Path) -> Tree:
    return Tree({name: blob.digest for name, blob in blobs(folder).items()})


TRUTH = """
import json, sys
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

def restored(graph):
    nodes = [node for body in (graph.node, *(f.node_def for f in graph.library.function)) for node in body]
    wanted = [node for node in nodes if "RestoreV2" in node.name and node.name.endswith("/tensor_names")]
    return sorted({name.decode() for node in wanted for name in node.attr["value"].tensor.string_val})


model = saved_model_pb2.SavedModel.FromString(open(sys.argv[1] + "/saved_model.pb", "rb").read())
graphs = [
    [
        sorted(graph.meta_info_def.tags),
        graph.meta_info_def.tensorflow_version,
        {name: signature.method_name for name, signature in graph.signature_def.items()},
        restored(graph.graph_def),
        [asset.filename for asset in graph.asset_file_def],
    ]
    for graph in model.meta_graphs
]
tags = graphs[0][0]
print(json.dumps([tf.__version__, graphs, sorted(tf.saved_model.load(sys.argv[1], tags).signatures)]))
"""


def servable(box: Box, folder: Path) -> None:
    """Our reader sees what TensorFlow's sees, and TensorFlow and our contract accept it."""
    version, graphs, loaded = box.ask(TRUTH, folder)
    with (folder / "saved_model.pb").open("rb") as stream:
        seen = saved_model.read(stream)
    assert [
        [sorted(g.tags), g.tensorflow_version, dict(g.signatures), sorted(g.restores), list(g.assets)] for g in seen
    ] == graphs
    assert "serving_default" in loaded
    major, minor = map(int, version.split(".")[:2])
    assert contract.check(blobs(folder), Image("same", "tensorflow", f"{major}.{minor}")) == []
    (older,) = contract.check(blobs(folder), Image("older", "tensorflow", f"{major}.{minor - 1}"))
    assert f"exported by TensorFlow {version}" in older.message


def same_twice(box: Box, build: Callable[[], Path]) -> Path:
    first, second = build(), build()
    assert dict(tree(first)) == dict(tree(second))
    servable(box, first)
    return first


@pytest.mark.parametrize(
    ("function", "args"), [("dense", {"units": 6}), ("cnn", {}), ("lstm", {}), ("words", {}), ("module", {}), ("builder", {})]
)
def test_the_same_bytes_in_another_process(box: Box, function: str, args: dict[str, Any]) -> None:
    same_twice(box, lambda: box.built(f"models:{function}", **args))


def test_the_same_bytes_from_an_estimator(tf214: Box) -> None:
    out = same_twice(tf214, lambda: tf214.built("models:estimator"))
    assert (out / "saved_model.pb").is_file()


@pytest.mark.parametrize(("python", "name"), [("tf218", "m.keras"), ("tf218", "m.h5"), ("tf214", "m.keras"), ("tf214", "m.h5")])
def test_the_same_bytes_from_a_keras_file(request: pytest.FixtureRequest, python: str, name: str) -> None:
    box: Box = request.getfixturevalue(python)
    file = (box.built("models:save_keras", name=name) / name).read_bytes()

    def convert() -> Path:
        out, error = box.run({"way": "keras", "file": name}, {name: file})
        assert error is None, error
        return out

    same_twice(box, convert)


def test_a_module_without_a_signature_is_left_to_the_contract(tf218: Box) -> None:
    out = tf218.built("models:bare_module")
    (problem,) = contract.check(blobs(out), Image("same", "tensorflow", "2.18"))
    assert "no signature serving_default" in problem.message
    assert 'return (module, {"serving_default": fn})' in problem.hint


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("models:nothing", "returned nothing"),
        ("models:number", "returned int, which cannot be written as a SavedModel"),
        ("models:pair_of_numbers", "returned a pair of int and int, which cannot be written as a SavedModel"),
        ("models:one_in_a_tuple", "returned tuple, which cannot be written as a SavedModel"),
    ],
)
def test_results_that_cannot_be_written_get_a_hint(tf218: Box, function: str, message: str) -> None:
    error = tf218.mistake(function)
    assert error["message"] == message
    assert error["hint"].startswith("return a Keras model, a tf.Module")
    assert error["detail"] == ""


def test_a_model_that_cannot_be_saved_is_the_users(tf218: Box) -> None:
    error = tf218.mistake("models:unbuilt")
    assert error["message"].startswith("raised ValueError: ")
    assert worker.__file__ not in error["detail"]


def test_a_keras_file_that_cannot_be_loaded(tf218: Box) -> None:
    _, error = tf218.run({"way": "keras", "file": "m.keras"}, {"m.keras": b"no zip"})
    assert error is not None
    assert error["message"].startswith("Keras 3.")
    assert "cannot load m.keras" in error["message"]
