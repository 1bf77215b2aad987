"""What a framework adds to the manifest: keys by the shape of their values, and what each value becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from gdcbuild.core.graph import Input
from gdcbuild.errors import Location

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Key(Generic[T]):
    """A key, whose value becomes a T for the framework. `about` describes it in messages and in the JSON Schema."""

    name: str
    about: str


@dataclass(frozen=True, slots=True)
class FileKey(Key[Input]):
    """One file, or an output of another action.

    Where it is given, the keys in `replaces` are not inherited from defaults or from the model.
    """

    replaces: Sequence[str] = ()


class FolderKey(Key[tuple[Input, ...]]):
    """A folder: all its files, relative to it."""


class FilesKey(Key[tuple[Input, ...]]):
    """A list of files, each under its base name or where the manifest says. `NAME+` appends to an inherited list."""


class ConfigKey(Key[Input | Mapping[str, Any]]):
    """A file, or its content as a mapping, which merges with an inherited one."""


class CodeKey(Key["Code"]):
    """A source file, or FILE:FUNCTION. It must be given."""


@dataclass(frozen=True, slots=True)
class ChoiceKey(Key[str]):
    """One of a few words. Without a `default` it may be left out."""

    choices: Sequence[str] = ()
    default: str | None = None


@dataclass(frozen=True, slots=True)
class ExportKey(Key["Export"]):
    """A function to call in the toolchain. `options` are this framework's own keys of an export."""

    options: Sequence[ChoiceKey] = ()


@dataclass(frozen=True, slots=True)
class EntryKey(Key["Entry"]):
    """The name of an entry of `section`, or one of `ready`, which need not be declared."""

    section: Section
    ready: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the manifest with entries by name, which several models may share. `entry` describes one of them."""

    name: str
    about: str
    entry: str
    keys: Sequence[Key[Any]]


class Values(dict[str, Any]):
    """The values that were given, by key."""

    def of(self, key: Key[T]) -> T | None:
        found: T | None = self.get(key.name)
        return found


@dataclass(frozen=True, slots=True)
class Code:
    """A source file, None when it was not found, and the function in it that was named."""

    file: Input | None
    function: str | None
    where: Location


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a section. One that need not be declared has no values."""

    name: str
    where: Location
    values: Values


@dataclass(frozen=True, slots=True)
class Export:
    """Call `function` ("package.module:name") in the toolchain, among `inputs`, with keyword arguments `args`.

    `cwd` is the folder, below the action's, that is on its import path.
    """

    function: str
    inputs: tuple[Input, ...]
    args: Mapping[str, Any]
    options: Values
    cwd: str
    where: Location
