"""Write a SavedModel from user code or a Keras file, with the same bytes every time.

Runs in the toolchain, where gdcbuild is not installed: imports only the standard library and, at run time, TensorFlow
(2.8 or newer). One export per process: TensorFlow keeps numbering its functions for as long as a process lives.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import sys
import types
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

SEED = 0

REFUSED = "which cannot be written as a SavedModel"
ACCEPTED = (
    'return a Keras model, a tf.Module, a pair (module, {"serving_default": fn}), or a pair (estimator,'
    " serving_input_receiver_fn); or give the function a parameter `export_dir` and write the SavedModel there"
)


class TensorFlowChild(Protocol):
    """What the child process offers for running user code."""

    Mistake: Callable[[str, str], Exception]
    """The error to raise, made from a message and a hint."""

    def function(self, reference: str) -> Callable[..., Any]: ...

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any: ...

    def framework(self, name: str, line: str) -> None: ...


def run(params: Mapping[str, Any], out: Path, child: TensorFlowChild) -> None:
    """Write one SavedModel to the root of `out`, an empty folder.

    `params` are {"way": "keras", "file": PATH} or {"way": "function", "function": "module:name", "args": {...}}.
    """
    child.framework("tensorflow", "tensorflow-cpu==2.18.1")
    make_deterministic()
    if params["way"] == "keras":
        write(load_keras(params["file"], child), out, child)
    else:
        export(child.function(params["function"]), dict(params["args"]), out, child)
    fix_fingerprint(out / "fingerprint.pb")


def make_deterministic() -> None:
    """Remove randomness, time and memory addresses from what TensorFlow and Keras write. Call before any user code."""
    import tensorflow as tf
    from tensorflow.python.framework import func_graph
    from tensorflow.python.ops import lookup_ops
    from tensorflow.python.util import object_identity

    tf.keras.utils.set_random_seed(SEED)  # Python's, NumPy's and TensorFlow's
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(1)  # sums depend on how work is split
    tf.config.threading.set_inter_op_parallelism_threads(1)

    # A graph of the v1 API has its own seed; without one, op determinism refuses random ops in it.
    seed = tf.Graph.seed
    tf.Graph.seed = property(lambda graph: SEED if seed.fget(graph) is None else seed.fget(graph), seed.fset)

    # Variables of a SavedModel are numbered in the order of this set, and TensorFlow's own is ordered by memory address.
    func_graph.object_identity = types.SimpleNamespace(
        **{**vars(object_identity), "ObjectIdentityWeakSet": OrderedWeakSet},
    )

    # TensorFlow names a table read from a file after the file's path.
    shared_name = lookup_ops.TextFileInitializer._shared_name
    lookup_ops.TextFileInitializer._shared_name = property(
        lambda table: by_content(shared_name.fget(table), str(table._filename_arg))
    )

    # Keras 2 names the functions of recurrent layers with uuid4, which has no seed.
    numbers = itertools.count(1)
    uuid.uuid4 = lambda: uuid.UUID(int=next(numbers), version=4)


def by_content(name: str, file: str) -> str:
    """Replace the file's path in a name by the file's base name and digest."""
    path = Path(file)
    if not path.is_file():
        return name
    return name.replace(file, f"{path.name}-{hashlib.sha256(path.read_bytes()).hexdigest()}")


class OrderedWeakSet:
    """Weak references to objects, compared by identity, in insertion order."""

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[Any]] = {}

    def add(self, item: Any) -> None:
        known = self._references.get(id(item))
        if known is None or known() is not item:  # an address may be reused by another object
            self._references.pop(id(item), None)
            self._references[id(item)] = weakref.ref(item)

    def __iter__(self) -> Iterator[Any]:
        for reference in list(self._references.values()):
            item = reference()
            if item is not None:
                yield item


def export(function: Callable[..., Any], args: dict[str, Any], out: Path, child: TensorFlowChild) -> None:
    """Call the user's function and write what it returns, unless it writes the model itself."""
    if "export_dir" in inspect.signature(function).parameters:
        child.call(function, **{**args, "export_dir": str(out)})
        return
    result = child.call(function, **args)
    if result is None:
        raise child.Mistake("returned nothing", ACCEPTED)
    write(result, out, child)


def write(result: Any, out: Path, child: TensorFlowChild) -> None:
    """Write what a function returned, depending on its type."""
    import tensorflow as tf

    model, companion = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    keras = keras_of(model)
    if companion is not None and callable(getattr(model, "export_saved_model", None)):
        child.call(model.export_saved_model, str(out), companion)
        lift(out)
    elif companion is not None and (keras or isinstance(model, tf.Module)):
        child.call(tf.saved_model.save, model, str(out), signatures=companion)
    elif result is not model:
        raise child.Mistake(f"returned a pair of {kind(model)} and {kind(companion)}, {REFUSED}", ACCEPTED)
    elif keras and keras.__version__.startswith("2."):
        child.call(model.save, str(out), save_format="tf")
    elif keras:
        child.call(model.export, str(out))
    elif isinstance(model, tf.Module):
        child.call(tf.saved_model.save, model, str(out))
    else:
        raise child.Mistake(f"returned {kind(result)}, {REFUSED}", ACCEPTED)


def keras_of(model: Any) -> Any:
    """The Keras module a model belongs to (keras or tf_keras; both may be loaded), None if it is not a Keras model.

    Imports nothing: the code that made the model has imported its Keras.
    """
    for name in ("keras", "tf_keras"):
        module = sys.modules.get(name)
        if module is not None and isinstance(model, module.Model):
            return module
    return None


def kind(value: Any) -> str:
    """The type's full name, for messages."""
    name = type(value)
    return name.__qualname__ if name.__module__ == "builtins" else f"{name.__module__}.{name.__qualname__}"


def load_keras(file: str, child: TensorFlowChild) -> Any:
    """Load the model of a `.keras` or `.h5` file, without running code from it."""
    import tensorflow as tf

    try:
        return tf.keras.models.load_model(file, compile=False)
    except Exception as error:
        keras = sys.modules[tf.keras.Model.__module__.partition(".")[0]]
        raise child.Mistake(
            f"Keras {keras.__version__} cannot load {file}: {type(error).__name__}: {error}",
            "use a toolchain with the Keras that saved it; a model with custom layers needs `export` instead of `keras`",
        ) from error


def lift(out: Path) -> None:
    """Move the content of the only folder in `out` up: an estimator writes into a folder named after the time."""
    (folder,) = out.iterdir()
    folder = folder.rename(out / "estimator")  # a name that none of its files can have
    for path in list(folder.iterdir()):
        path.rename(out / path.name)
    folder.rmdir()


def fix_fingerprint(file: Path) -> None:
    """Replace the random uuid of a fingerprint by one derived from its other fields, which are hashes of content."""
    if not file.exists():
        return
    from tensorflow.core.protobuf.fingerprint_pb2 import FingerprintDef

    fingerprint = FingerprintDef.FromString(file.read_bytes())
    if "uuid" in FingerprintDef.DESCRIPTOR.fields_by_name:
        fingerprint.uuid = ""
        content = hashlib.sha256(fingerprint.SerializeToString(deterministic=True)).digest()
        fingerprint.uuid = str(uuid.UUID(bytes=content[:16], version=4))
        file.write_bytes(fingerprint.SerializeToString(deterministic=True))
