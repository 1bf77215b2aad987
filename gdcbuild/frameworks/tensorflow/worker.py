"""Writes a SavedModel from user code or a Keras file, with the same bytes every time.

Runs in the toolchain, which has no gdcbuild: imports only the standard library and, when it starts, TensorFlow
(2.8 or newer). One export a process: TensorFlow numbers its functions on through the life of a process.
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
    """What the process this runs in offers for dealing with user code."""

    Mistake: Callable[[str, str], Exception]
    """An error to raise, of a message and a hint."""

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
    """Take chance, clock and memory addresses out of what TensorFlow and Keras write. Before any user code."""
    import tensorflow as tf
    from tensorflow.python.framework import func_graph
    from tensorflow.python.ops import lookup_ops
    from tensorflow.python.util import object_identity

    tf.keras.utils.set_random_seed(SEED)  # Python's, NumPy's and TensorFlow's
    tf.config.experimental.enable_op_determinism()
    tf.config.threading.set_intra_op_parallelism_threads(1)  # sums depend on how the work is split
    tf.config.threading.set_inter_op_parallelism_threads(1)

    # A graph of the v1 API has a seed of its own; without one, op determinism refuses random ops in it.
    seed = tf.Graph.seed
    tf.Graph.seed = property(lambda graph: SEED if seed.fget(graph) is None else seed.fget(graph), seed.fset)

    # The set is walked to number the variables of a SavedModel, and TensorFlow's walks by memory address.
    func_graph.object_identity = types.SimpleNamespace(
        **{**vars(object_identity), "ObjectIdentityWeakSet": OrderedWeakSet},
    )

    # A table that is read from a file is named after its path.
    shared_name = lookup_ops.TextFileInitializer._shared_name
    lookup_ops.TextFileInitializer._shared_name = property(
        lambda table: by_content(shared_name.fget(table), str(table._filename_arg))
    )

    # Keras 2 names functions of recurrent layers by uuid4, which no seed reaches.
    numbers = itertools.count(1)
    uuid.uuid4 = lambda: uuid.UUID(int=next(numbers), version=4)


def by_content(name: str, file: str) -> str:
    """A name made of a file's path, made of the file's base name and content instead."""
    path = Path(file)
    if not path.is_file():
        return name
    return name.replace(file, f"{path.name}-{hashlib.sha256(path.read_bytes()).hexdigest()}")


class OrderedWeakSet:
    """Weak references to objects told apart by identity, in the order in which they were added."""

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[Any]] = {}

    def add(self, item: Any) -> None:
        known = self._references.get(id(item))
        if known is None or known() is not item:  # an address may come back with another object
            self._references.pop(id(item), None)
            self._references[id(item)] = weakref.ref(item)

    def __iter__(self) -> Iterator[Any]:
        for reference in list(self._references.values()):
            item = reference()
            if item is not None:
                yield item


def export(function: Callable[..., Any], args: dict[str, Any], out: Path, child: TensorFlowChild) -> None:
    """Call the user's function and write what it returns, or let it write."""
    if "export_dir" in inspect.signature(function).parameters:
        child.call(function, **{**args, "export_dir": str(out)})
        return
    result = child.call(function, **args)
    if result is None:
        raise child.Mistake("returned nothing", ACCEPTED)
    write(result, out, child)


def write(result: Any, out: Path, child: TensorFlowChild) -> None:
    """Write what a function returned, in the way that fits its type."""
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
    """The Keras the model is of (there may be two: keras and tf_keras), None if it is no Keras model.

    A model's Keras has been imported by whoever made it; this imports none.
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
    """The model of a `.keras` or `.h5` file, which holds no code and gets none to run."""
    import tensorflow as tf

    try:
        return tf.keras.models.load_model(file, compile=False)
    except Exception as error:
        keras = sys.modules[tf.keras.Model.__module__.partition(".")[0]]
        raise child.Mistake(
            f"Keras {keras.__version__} cannot load {file}: {type(error).__name__}: {error}",
            "use a toolchain with the Keras that saved it; a model with layers of its own needs `export` instead of `keras`",
        ) from error


def lift(out: Path) -> None:
    """Move the content of the only folder in `out` up: an estimator writes into one named after the time."""
    (folder,) = out.iterdir()
    folder = folder.rename(out / "estimator")  # a name that none of its files has
    for path in list(folder.iterdir()):
        path.rename(out / path.name)
    folder.rmdir()


def fix_fingerprint(file: Path) -> None:
    """Replace the random uuid of a fingerprint by one derived from its other fields, all of them hashes of content."""
    if not file.exists():
        return
    from tensorflow.core.protobuf.fingerprint_pb2 import FingerprintDef

    fingerprint = FingerprintDef.FromString(file.read_bytes())
    if "uuid" in FingerprintDef.DESCRIPTOR.fields_by_name:
        fingerprint.uuid = ""
        content = hashlib.sha256(fingerprint.SerializeToString(deterministic=True)).digest()
        fingerprint.uuid = str(uuid.UUID(bytes=content[:16], version=4))
        file.write_bytes(fingerprint.SerializeToString(deterministic=True))
