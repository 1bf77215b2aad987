"""Write a PyTorch model from user code, with the same bytes every time.

Runs in the toolchain, where gdcbuild is not installed: imports only the standard library and, at run time, PyTorch (2.1 or
newer). The parent process fixes string hashing, because TorchScript writes constants in the order of a set.

Output goes to one folder per role: `weights/NAME`, and for an eager model `model_file/NAME.py`.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import random
import shutil
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

SEED = 0

ENVIRONMENT = {
    "ATEN_CPU_CAPABILITY": "default",
    "CUDA_VISIBLE_DEVICES": "-1",
    "MKL_CBWR": "COMPATIBLE",
    "OMP_NUM_THREADS": "1",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
}
"""Sums and random numbers differ on another device, with a newer CPU's kernels, or with more threads."""

ACCEPTED = (
    "return a torch.nn.Module, a ScriptModule or an ExportedProgram; with method: trace or export, a pair (module,"
    " example_inputs); or give the function a parameter `export_dir` and write one weights file there"
)

NAME, PROGRAM = "model.pt", "model.pt2"
"""PyTorch writes the file's name into the file, so the name changes its bytes."""

ALIGNMENT = 64
"""PyTorch aligns tensors to this many bytes, so that they can be mapped into memory."""


class TorchChild(Protocol):
    """What the child process offers for running user code."""

    Mistake: Callable[[str, str], Exception]
    """The error to raise, made from a message and a hint."""

    def function(self, reference: str) -> Callable[..., Any]: ...

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any: ...

    def framework(self, name: str, line: str) -> None: ...


def run(params: Mapping[str, Any], out: Path, child: TorchChild) -> None:
    """Write one model to `out`, an empty folder.

    `params` are {"function": "module:name", "args": {...}, "method": None, "script", "trace" or "export"}. A function with a
    parameter `export_dir` gets a folder to which it must write exactly one file, the weights.
    """
    os.environ.update(ENVIRONMENT)
    child.framework("torch", "torch==2.4.1")
    make_deterministic()
    function, args, method = child.function(params["function"]), dict(params["args"]), params["method"]
    weights = out / "weights"
    weights.mkdir()
    if "export_dir" in inspect.signature(function).parameters:
        if method is not None:
            raise child.Mistake(
                f"the function writes to export_dir itself, so `method: {method}` has no effect", "remove one of them"
            )
        child.call(function, **{**args, "export_dir": str(weights)})
        only_weights(weights, child)
    else:
        write(child.call(function, **args), method, weights, child)
    for file in weights.iterdir():
        make_canonical(file)


def make_deterministic() -> None:
    """Seed the random numbers of PyTorch, NumPy and Python. Call before any user code."""
    import torch

    random.seed(SEED)
    with suppress(ImportError):
        import numpy as np

        np.random.seed(SEED)
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)


def write(result: Any, method: str | None, weights: Path, child: TorchChild) -> None:
    """Write what a function returned to the folder `weights`, depending on its type and `method`."""
    import torch

    file = weights / NAME
    if result is None:
        raise child.Mistake("returned nothing", ACCEPTED)
    if isinstance(result, torch.export.ExportedProgram):
        torch.export.save(result, weights / PROGRAM)
    elif isinstance(result, torch.jit.ScriptModule):
        torch.jit.save(result, str(file))
    elif method in ("trace", "export"):
        if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], torch.nn.Module)):
            problem = f"returned {kind(result)}, which cannot be {method.removesuffix('e')}ed"
            raise child.Mistake(problem, "return a pair (module, example_inputs)")
        module, inputs = result
        if method == "trace":
            torch.jit.save(child.call(torch.jit.trace, module.eval(), inputs), str(file))
        else:
            inputs = inputs if isinstance(inputs, tuple) else (inputs,)
            torch.export.save(child.call(torch.export.export, module.eval(), inputs), weights / PROGRAM)
    elif not isinstance(result, torch.nn.Module):
        raise child.Mistake(f"returned {kind(result)}, which cannot be written as a PyTorch model", ACCEPTED)
    elif method == "script":
        torch.jit.save(child.call(torch.jit.script, result.eval()), str(file))
    else:
        source = source_of(result, child)
        torch.save(result.state_dict(), str(file))
        (weights.parent / "model_file").mkdir()
        shutil.copyfile(source, weights.parent / "model_file" / source.name)


def source_of(model: Any, child: TorchChild) -> Path:
    """The declared file that defines the model's class, from which a server creates the model."""
    cls = type(model)
    module = sys.modules.get(cls.__module__)
    file = Path(getattr(module, "__file__", None) or "/").absolute()
    if not file.is_relative_to(Path.cwd()) or getattr(module, cls.__name__, None) is not cls:
        raise child.Mistake(
            f"returned {kind(model)}, whose class is not defined at the top level of one of the export's `files`",
            "set method: script, or define the class there: the archive of an eager model needs its source",
        )
    return file


def only_weights(folder: Path, child: TorchChild) -> None:
    """Refuse anything but exactly one weights file."""
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    if len(files) != 1 or "/" in files[0]:
        raise child.Mistake(
            f"wrote {', '.join(files) or 'nothing'} instead of one weights file",
            "write exactly one file to the folder `export_dir`; list other files for the archive under the model's `files`",
        )


def kind(value: Any) -> str:
    """The type's full name, for messages."""
    name = type(value)
    return name.__qualname__ if name.__module__ == "builtins" else f"{name.__module__}.{name.__qualname__}"


def make_canonical(file: Path) -> None:
    """Remove the paths of source files from a TorchScript file or a `torch.export` program; leave other files unchanged.

    The paths are in debug records and stack traces, which only show Python lines in errors, and change the file's
    identifier. Keeps PyTorch's layout: stored records, in order, aligned.
    """
    if not zipfile.is_zipfile(file):
        return
    fresh = file.with_name("canonical")
    with zipfile.ZipFile(file) as source:
        names = source.namelist()
        folder = names[0].partition("/")[0] if names else ""
        programs = [name for name in names if is_program(name, folder)]
        if not programs and f"{folder}/constants.pkl" not in names:
            return
        identifier = f"{folder}/.data/serialization_id"
        identity = hashlib.sha256()
        with fresh.open("wb") as raw, zipfile.ZipFile(raw, "w") as target:
            for old in source.infolist():
                if old.filename.endswith(".debug_pkl") or old.filename == identifier:
                    continue
                if old.filename in programs:
                    data = json.dumps(without_traces(json.loads(source.read(old)))).encode()
                    identity.update(f"{old.filename} {zlib.crc32(data)}\n".encode())
                    target.writestr(aligned(old.filename, len(data), raw.tell()), data)
                    continue
                identity.update(f"{old.filename} {old.CRC}\n".encode())
                with source.open(old) as record, target.open(aligned(old.filename, old.file_size, raw.tell()), "w") as copy:
                    shutil.copyfileobj(record, copy, 1 << 20)
            if identifier in names:
                number = f"{int(identity.hexdigest(), 16) % 10**40:040d}"
                target.writestr(aligned(identifier, len(number), raw.tell()), number)
    fresh.replace(file)


def is_program(name: str, folder: str) -> bool:
    """Whether a record holds the graph of a `torch.export` program; PyTorch before 2.7 used only the second name."""
    return (name.startswith(f"{folder}/models/") and name.endswith(".json")) or name == "serialized_exported_program.json"


def without_traces(value: Any) -> Any:
    """A program's graph without the stack traces of its nodes."""
    if isinstance(value, dict):
        return {key: without_traces(item) for key, item in value.items() if key != "stack_trace"}
    return [without_traces(item) for item in value] if isinstance(value, list) else value


def aligned(name: str, size: int, offset: int) -> zipfile.ZipInfo:
    """The header of a record that starts at `offset`, padded as PyTorch does so that its data is aligned."""
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.file_size = size
    padding = -(offset + 30 + len(name.encode()) + 4) % ALIGNMENT
    info.extra = b"FB" + struct.pack("<H", padding) + b"Z" * padding
    return info
