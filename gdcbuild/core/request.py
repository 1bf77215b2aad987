"""What the manifest asks of a framework for one version: every path resolved, nothing of YAML left."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gdcbuild.core.graph import Action, Image, Input, MadeBy, SourceFile
from gdcbuild.core.ids import VersionId
from gdcbuild.errors import Location


@dataclass(frozen=True, slots=True)
class Export:
    """Call `function` ("package.module:name") in the toolchain, among `inputs`, with keyword arguments `args`.

    `cwd` is the folder, below the action's, that is on its import path.
    """

    function: str
    inputs: tuple[Input, ...]
    args: Mapping[str, Any]
    method: Literal["script", "trace", "export"] | None
    cwd: str
    where: Location


@dataclass(frozen=True, slots=True)
class Handler:
    """A TorchServe handler: a default one by `name`, or the file `file`, with an entry `function` or none.

    The inputs of `files` lie under their name in the archive.
    """

    name: str
    where: Location
    file: Input | None = None
    function: str | None = None
    files: tuple[Input, ...] = ()
    requirements: Input | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """One source of a version: the key it was given under ("weights", "saved_model", ...) and its files.

    The inputs of a folder lie relative to that folder, a single file under its base name.
    """

    key: str
    inputs: tuple[Input, ...]
    where: Location


@dataclass(frozen=True, slots=True)
class VersionRequest:
    """One version of one model, as the manifest gives it."""

    id: VersionId
    image: Image
    toolchain: str
    where: Location
    sources: tuple[Source, ...] = ()
    export: Export | None = None
    model_file: Input | None = None
    handler: Handler | None = None
    files: tuple[Input, ...] = ()
    config: Input | Mapping[str, Any] | None = None
    requirements: Input | None = None
    """Those of the archive; the handler may bring some of its own instead."""
    runtime: str = "python"
    deflate: bool = False
    epoch: int | None = None
    """The moment, in seconds since 1970, that artifacts are to tell instead of a fixed one."""
    given: Mapping[str, Location] = field(default_factory=dict)
    """Every key that was given for this version, and where: for refusing those the framework does not know.

    Those of a configuration that is given as a mapping are there as `config.KEY`, at any depth.
    """
    same: Callable[[SourceFile | MadeBy, SourceFile | MadeBy], bool] = operator.eq
    """Whether what comes from two places surely has the same bytes."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """The actions that make a version, the last of which makes what is published."""

    actions: tuple[Action, ...]

    @property
    def final(self) -> Action:
        return self.actions[-1]
