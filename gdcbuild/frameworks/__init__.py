"""Everything TensorFlow or PyTorch: a folder each, listed here. Importing this imports neither of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module

from gdcbuild.core.ports import Framework

FOLDERS = (
    "gdcbuild.frameworks.tensorflow",
    "gdcbuild.frameworks.torchserve",
)
"""Each has a module `rules` with its FRAMEWORK."""


def load(folders: Iterable[str]) -> dict[str, Framework]:
    """The frameworks in these folders, by kind."""
    found: list[Framework] = [import_module(f"{folder}.rules").FRAMEWORK for folder in folders]
    return {framework.kind: framework for framework in found}


FRAMEWORKS: Mapping[str, Framework] = load(FOLDERS)
