"""Load a SavedModel with the C API, as TensorFlow Serving does: tag, graph and session, without Python.

Run in a toolchain's Python, of which it uses the shared libraries, the protocol buffers and numpy:

c_api_loader.py SAVED_MODEL DIGITS.npz  ->  {"accuracy": 0.97, "inputs": {...}, "outputs": {...}}
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import sys
import types
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

FLOAT = 1


class Buffer(ctypes.Structure):
    """TF_Buffer."""

    _fields_ = (("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p))


class Output(ctypes.Structure):
    """TF_Output: one output of an operation of the graph."""

    _fields_ = (("operation", c_void_p), ("index", c_int))


SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "TF_NewStatus": (c_void_p, []),
    "TF_GetCode": (c_int, [c_void_p]),
    "TF_Message": (c_char_p, [c_void_p]),
    "TF_NewGraph": (c_void_p, []),
    "TF_NewSessionOptions": (c_void_p, []),
    "TF_NewBuffer": (POINTER(Buffer), []),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        [c_void_p, POINTER(Buffer), c_char_p, POINTER(c_char_p), c_int, c_void_p, POINTER(Buffer), c_void_p],
    ),
    "TF_GraphOperationByName": (c_void_p, [c_void_p, c_char_p]),
    "TF_AllocateTensor": (c_void_p, [c_int, POINTER(c_int64), c_int, c_size_t]),
    "TF_TensorData": (c_void_p, [c_void_p]),
    "TF_TensorType": (c_int, [c_void_p]),
    "TF_NumDims": (c_int, [c_void_p]),
    "TF_Dim": (c_int64, [c_void_p, c_int]),
    "TF_SessionRun": (
        None,
        [c_void_p, POINTER(Buffer)]
        + [POINTER(Output), POINTER(c_void_p), c_int] * 2
        + [POINTER(c_void_p), c_int, POINTER(Buffer), c_void_p],
    ),
}


def library(folder: Path) -> Any:
    """The C API in a TensorFlow wheel, with the types of what is called here."""
    ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
    found = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"), mode=ctypes.RTLD_GLOBAL)
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(found, name)
        function.restype, function.argtypes = result, arguments
    return found


def meta_graph(folder: Path, data: bytes) -> Any:
    """The MetaGraphDef in `data`. Importing its protocol buffer must not import TensorFlow: a bare package stands for it."""
    package = types.ModuleType("tensorflow")
    package.__path__ = [str(folder)]
    sys.modules["tensorflow"] = package
    from tensorflow.core.protobuf import meta_graph_pb2

    return meta_graph_pb2.MetaGraphDef.FromString(data)


class Model:
    """A loaded SavedModel. Raises RuntimeError with TensorFlow's own message when it cannot be loaded or run."""

    def __init__(self, folder: Path, saved_model: str) -> None:
        self.tf = library(folder)
        self.status = self.tf.TF_NewStatus()
        self.graph = self.tf.TF_NewGraph()
        self.meta = self.tf.TF_NewBuffer()
        tags = (c_char_p * 1)(b"serve")
        options = self.tf.TF_NewSessionOptions()
        self.session = self.tf.TF_LoadSessionFromSavedModel(
            options, None, saved_model.encode(), tags, 1, self.graph, self.meta, self.status
        )
        self.check()
        data = ctypes.string_at(self.meta.contents.data, self.meta.contents.length)
        self.signature = meta_graph(folder, data).signature_def["serving_default"]

    def check(self) -> None:
        if self.tf.TF_GetCode(self.status) != 0:
            raise RuntimeError(self.tf.TF_Message(self.status).decode())

    def output(self, tensor: str) -> Output:
        """The place in the graph of a tensor's name: "OPERATION:INDEX"."""
        operation, _, index = tensor.partition(":")
        found = self.tf.TF_GraphOperationByName(self.graph, operation.encode())
        if not found:
            raise RuntimeError(f"the graph has no operation {operation!r}")
        return Output(found, int(index or 0))

    def run(self, images: np.ndarray) -> np.ndarray:
        """`scores` of serving_default for float32 `images`."""
        images = np.ascontiguousarray(images, np.float32)
        shape = (c_int64 * images.ndim)(*images.shape)
        fed = self.tf.TF_AllocateTensor(FLOAT, shape, images.ndim, images.nbytes)
        ctypes.memmove(self.tf.TF_TensorData(fed), images.ctypes.data, images.nbytes)
        result = c_void_p()
        source = self.output(self.signature.inputs["images"].name)
        target = self.output(self.signature.outputs["scores"].name)
        self.tf.TF_SessionRun(
            self.session,
            None,
            byref(source),
            byref(c_void_p(fed)),
            1,
            byref(target),
            byref(result),
            1,
            None,
            0,
            None,
            self.status,
        )
        self.check()
        if self.tf.TF_TensorType(result) != FLOAT:
            raise RuntimeError("scores are not float32")
        rows, columns = (self.tf.TF_Dim(result, axis) for axis in range(self.tf.TF_NumDims(result)))
        scores = np.empty((rows, columns), np.float32)
        ctypes.memmove(scores.ctypes.data, self.tf.TF_TensorData(result), scores.nbytes)
        return scores


def main(saved_model: str, digits_file: str) -> None:
    spec = importlib.util.find_spec("tensorflow")  # finds it, and does not import it
    assert spec is not None and spec.submodule_search_locations is not None
    model = Model(Path(next(iter(spec.submodule_search_locations))), saved_model)
    digits = np.load(digits_file)
    scores = model.run(digits["test_images"])
    assert scores.shape == (len(digits["test_labels"]), 10), scores.shape
    report = {
        "accuracy": float((scores.argmax(axis=1) == digits["test_labels"]).mean()),
        "inputs": {key: info.name for key, info in model.signature.inputs.items()},
        "outputs": {key: info.name for key, info in model.signature.outputs.items()},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # sessions and buffers are never closed here; the process ends with them
