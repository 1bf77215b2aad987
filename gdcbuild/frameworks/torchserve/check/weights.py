"""Recognise the format of weights from their bytes, and check that TorchServe's base handler loads it.

With a `modelFile` the handler calls `torch.load` and `load_state_dict`; without one it uses `torch.jit.load`, ONNX Runtime or
AOT Inductor, depending on the file's ending.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gdcbuild.core.graph import Image
from gdcbuild.errors import Problem
from gdcbuild.frameworks.torchserve.check import states
from gdcbuild.frameworks.torchserve.check.classes import Class
from gdcbuild.frameworks.torchserve.mar.archive import ZIP_MAGIC, Archive
from gdcbuild.frameworks.torchserve.mar.layout import ArchiveTooLarge, UnreadableArchive
from gdcbuild.frameworks.torchserve.pickles.search import is_torchscript, look

FORMATS = {(1, 10): 6, (1, 11): 9, (1, 12): 10}
"""PyTorch release → the newest TorchScript file format that it and later releases read.

Source: kMaxSupportedFileFormatVersion in torch/include/caffe2/serialize/versions.h in the wheels of 1.10.2, 1.11.0, 1.12.1,
2.1.2, 2.4.1 and 2.13.0. Since 1.11 PyTorch writes the newest format that it reads; before, 3 or what the operations need.
"""

NEWEST_TORCH = (2, 13)
"""The newest release covered by FORMATS; a newer one may read more."""

WEIGHTS_ONLY = (2, 6)
"""The release since which `torch.load` has weights_only=True by default."""

AOT_SINCE = (2, 3)
"""The release since which a compiled library (.so) can be loaded."""

ENDINGS = (
    *(".pt", ".pth", ".pt2", ".ckpt", ".bin", ".safetensors", ".onnx", ".so", ".engine", ".gguf", ".h5", ".npy", ".npz"),
    *(".pkl", ".pickle", ".joblib", ".model", ".zip", ".tar", ".gz", ".tgz"),
)
"""Endings of files that may be or contain weights."""

_STRICT = ("torch.nn.", "torchvision.models.", "pytorch_lightning.", "lightning.")
"""Prefixes of classes that load only a state dict."""

SAVE_STATE = "save it with torch.save(model.state_dict(), ...)"
SAVE_SCRIPT = "save it with torch.jit.script(model).save(...)"

_LEGACY = b"l\xfc\x9cF\xf9 j\xa8P\x19"
"""The magic number of `torch.save` files before they became zip files."""

Kind = Literal["torchscript", "saved", "program", "zip", "broken", "pickle", "safetensors", "other", "unseen"]

_SAID: Mapping[str, tuple[str, str]] = {
    "program": ("a torch.export program", "PytorchStreamReader failed locating file data.pkl"),
    "zip": ("a zip file without data.pkl", "PytorchStreamReader failed"),
    "broken": ("a damaged zip file", "PytorchStreamReader failed reading zip archive"),
    "pickle": ("a pickle not written by torch.save", "Invalid magic number; corrupt file?"),
    "safetensors": ("a safetensors file", "UnpicklingError: invalid load key"),
    "other": ("not a torch.save file", "UnpicklingError"),
}
"""Kind that `torch.load` refuses → its name, and PyTorch's error."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A weights file: its kind, the format number of TorchScript, what it contains instead of a state dict, its damage."""

    kind: Kind
    format: int = 0
    holds: str = ""
    why: str = ""


def recognise(archive: Archive, name: str) -> Weights:
    """Recognise the format of a member."""
    head = archive.start(name, 512)
    if head.startswith(ZIP_MAGIC):
        try:
            with archive.nested(name) as inner:
                assert inner is not None
                return _zipped(inner)
        except ArchiveTooLarge:
            return Weights("unseen")
        except UnreadableArchive as error:
            return Weights("broken", why=str(error))
    if _LEGACY in head[:32]:
        return Weights("saved")
    if re.match(rb"\x80[\x02-\x05]", head):
        return Weights("pickle")
    return Weights("safetensors" if head[8:9] == b"{" and not any(head[5:8]) else "other")


def _zipped(inner: Archive) -> Weights:
    names = {name.partition("/")[2]: name for name in inner.names}
    if is_torchscript(inner):
        version = names.get(".data/version") or names.get("version")
        if version is None:
            raise UnreadableArchive("it is TorchScript without a format version")
        try:
            return Weights("torchscript", int(inner.start(version, 20)))
        except ValueError:
            raise UnreadableArchive("its TorchScript format version is not a number") from None
    if "data.pkl" in names:
        return Weights("saved", holds=states.not_a_state(inner.start(names["data.pkl"], states.START)))
    program = names.keys() & {"archive_format", "models/model.json"} or "serialized_exported_program.json" in inner.names
    return Weights("program" if program else "zip")


def eager(archive: Archive, name: str, image: Image, network: Class | None) -> Iterator[Problem]:
    """Problems of weights for a model file, which defines `network` as far as known."""
    found = recognise(archive, name)
    takes_all = network is not None and network.has("load_state_dict")
    if found.kind == "unseen" or (found.kind == "torchscript" and takes_all):
        return
    if found.kind == "torchscript":
        yield Problem(
            f"{name} is TorchScript, but with a model_file TorchServe needs a state dict",
            "remove model_file, or save the weights with torch.save(model.state_dict(), ...)",
        )
    elif found.holds and _loads_strictly(network):
        said = (
            "Error(s) in loading state_dict" if found.holds.startswith("a mapping") else "Expected state_dict to be dict-like"
        )
        yield Problem(
            f"{name} contains {found.holds}; TorchServe: {said}",
            f"{SAVE_STATE}, so that the file contains only tensors by name",
        )
    elif found.kind != "saved":
        what, said = _SAID[found.kind]
        reason = f" ({found.why})" if found.why else ""
        yield Problem(f"{name} is {what}{reason}, but TorchServe needs a state dict; TorchServe: {said}", SAVE_STATE)
    elif _release(image.version) >= WEIGHTS_ONLY:
        for each in look(archive, name, only_weights=True):
            yield Problem(
                f"{each.place} imports {', '.join(each.names[:3]) or each.why}, but PyTorch {image.version} in {image.name}"
                " uses weights_only=True; TorchServe: Weights only load failed",
                SAVE_STATE,
            )


def _loads_strictly(network: Class | None) -> bool:
    """Whether the model certainly accepts only what `nn.Module` does: a state dict."""
    return (
        network is not None
        and all(base.startswith(_STRICT) for base in network.bases)
        and not any(network.has(name) for name in ("load_state_dict", "_load_from_state_dict"))
    )


def alone(archive: Archive, name: str, config: Mapping[str, Any], image: Image) -> Iterator[Problem]:
    """Problems of weights without a model file."""
    if name.endswith(".so"):
        export = config.get("pt2")
        if not (
            isinstance(export, dict) and isinstance(export.get("export"), dict) and export["export"].get("aot_compile") == 1
        ):  # true equals 1
            yield Problem(
                f"{name} is loaded only if the configuration says so; TorchServe: No model weights could be loaded",
                "add to config: {pt2: {export: {aot_compile: true}}}",
            )
        elif _release(image.version) < AOT_SINCE:
            yield Problem(
                f"{name} is a compiled library, which PyTorch {image.version} in {image.name} does not load; TorchServe: No"
                " model weights could be loaded",
                f"use an image with PyTorch {'.'.join(map(str, AOT_SINCE))} or newer, or {SAVE_SCRIPT}",
            )
        return
    if name.endswith(".onnx"):
        return
    found = recognise(archive, name)
    if found.kind == "program":
        yield Problem(
            f"{name} is a torch.export program, which no default handler of TorchServe loads; TorchServe: No model"
            " weights could be loaded",
            "use a handler whose initialize() loads it with torch.export.load, or export with method: script",
        )
    elif not name.endswith(".pt"):
        yield Problem(
            f"{name} has no model_file, and does not end in .pt; TorchServe: No model weights could be loaded",
            "add model_file with the model's class, or save TorchScript to a file ending in .pt",
        )
    elif found.kind not in ("torchscript", "unseen"):
        said = "failed locating file constants.pkl" if found.kind in ("saved", "zip") else "failed reading zip archive"
        reason = f" ({found.why})" if found.why else ""
        yield Problem(
            f"{name} is not TorchScript{reason}, and there is no model_file; TorchServe: PytorchStreamReader {said}",
            f"add model_file with the model's class, or {SAVE_SCRIPT}",
        )
    elif found.format > (newest := _newest_format(image)):
        yield Problem(
            f"{name} has TorchScript file format {found.format}, but PyTorch {image.version} in {image.name} reads up to"
            f" {newest}; TorchServe: Attempted to read a PyTorch file with version {found.format}",
            f"save it with PyTorch {image.version}",
        )


def _newest_format(image: Image) -> float:
    """The newest TorchScript file format that the image's PyTorch reads; infinite when unknown."""
    release = _release(image.version)
    known = [number for since, number in FORMATS.items() if since <= release <= NEWEST_TORCH]
    return max(known, default=math.inf)


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
