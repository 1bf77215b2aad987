"""What the manifest asks of a framework for one version, with every path resolved and no YAML."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from gdcbuild.core.graph import Action, Image, Input, MadeBy, SourceFile
from gdcbuild.core.ids import VersionId
from gdcbuild.core.keys import Export, Values
from gdcbuild.errors import Location


@dataclass(frozen=True, slots=True)
class Source:
    """One source of a version: the key it was given under ("weights", "saved_model", ...) and its files.

    The inputs of a folder have paths relative to that folder; a single file has its base name.
    """

    key: str
    inputs: tuple[Input, ...]
    where: Location


@dataclass(frozen=True, slots=True)
class VersionRequest:
    """One version of one model, as written in the manifest."""

    id: VersionId
    image: Image
    toolchain: str
    where: Location
    sources: tuple[Source, ...] = ()
    export: Export | None = None
    values: Values = field(default_factory=Values)
    """Those of the framework's other keys."""
    epoch: int | None = None
    """The timestamp for artifacts, in seconds since 1970, instead of the fixed one."""
    given: Mapping[str, Location] = field(default_factory=dict)
    """Every key that was given for this version, and where.

    Those of a configuration that is given as a mapping are there as `config.KEY`, at any depth.
    """
    same: Callable[[SourceFile | MadeBy, SourceFile | MadeBy], bool] = operator.eq
    """Whether two origins certainly have the same bytes."""
    declared: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Section → the names of the entries that the manifest sees."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """The actions that make a version, the last of which makes what is published."""

    actions: tuple[Action, ...]

    @property
    def final(self) -> Action:
        return self.actions[-1]
