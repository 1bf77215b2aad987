"""The manifest with the keys that the frameworks declare: its models, and how its keys merge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, create_model

from gdcbuild.core.keys import ChoiceKey, CodeKey, ConfigKey, EntryKey, ExportKey, FileKey, FilesKey, Key, Section
from gdcbuild.core.ports import Framework
from gdcbuild.errors import Location
from gdcbuild.manifest import model as m
from gdcbuild.manifest.yaml import Node

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Keys:
    """The manifest's keys, with those of the frameworks. `manifest` and `version` are the extended models.

    `replaced` maps a key to the keys that are not inherited alongside it. `merged` are the mappings that merge, each with
    the mappings in it that do, too. `appended` are the keys that append to a list. Below the keys in `free`, any string is
    a key.
    """

    frameworks: Mapping[str, Framework]
    manifest: type[m.Manifest]
    version: type[m.Version]
    sections: Sequence[Section]
    sources: Sequence[str]
    replaced: Mapping[str, Sequence[str]]
    merged: Mapping[str, Any]
    appended: frozenset[str]
    free: frozenset[str]

    def of(self, kind: str) -> dict[str, Key[Any]]:
        """The keys of one framework; those of all frameworks for an unknown kind."""
        chosen = [self.frameworks[kind]] if kind in self.frameworks else self.frameworks.values()
        return {key.name: key for framework in chosen for key in _all(framework)}

    def foreign(self, framework: Framework, node: Node) -> Iterator[tuple[str, Location]]:
        """Keys of a version, and of its export, that other frameworks declare and this one does not."""
        own = {"framework", *self.of(framework.kind)}
        yield from ((name, node.key(name)) for name, value in node.items() if name not in own and value.value is not None)
        options = {option.name for each in self.frameworks.values() for option in _options(each)}
        for key in framework.sources:
            place = node.get(key.name)
            if isinstance(key, ExportKey) and place is not None:
                strange = options.difference(option.name for option in key.options)
                yield from ((name, place.key(name)) for name, _ in place.items() if name in strange)

    def titles(self, name: str) -> str:
        """The frameworks that have a key, or an option of an export."""
        frameworks = self.frameworks.values()
        return _titles(f for f in frameworks if any(key.name == name for key in (*_all(f), *_options(f))))


@lru_cache
def keys_of(*frameworks: Framework) -> Keys:
    """The keys of these frameworks together."""
    every = [key for framework in frameworks for key in _all(framework)]
    sections = list({key.section.name: key.section for key in every if isinstance(key, EntryKey)}.values())
    kinds = [framework.kind for framework in frameworks]
    export = _extended(m.Export, dict(_fields(frameworks, _options)))
    version = _extended(m.Version, dict(_fields(frameworks, _all, export)))
    versions: Any = (dict.__class_getitem__((m.Id, version | None)), copy(m.Model.model_fields["versions"]))
    model = create_model("Model", __base__=version, __doc__=m.Model.__doc__, versions=versions)
    fields = {
        "policy": _extended(m.Policy, dict(_fields(frameworks, lambda framework: framework.policy))),
        "defaults": _extended(m.Defaults, dict.fromkeys(kinds, (version | None, None))),
        "frameworks": dict.__class_getitem__((m.Name, _extended(m.Framework, {"kind": _one_of(kinds) | None}))),
        "models": dict.__class_getitem__((m.Id, model)),
        **{section.name: (_entries(section), Field({}, description=section.about)) for section in sections},
    }
    named = {kind: [key.name for key in every if isinstance(key, kind)] for kind in (ExportKey, ConfigKey, FilesKey)}
    return Keys(
        {framework.kind: framework for framework in frameworks},
        _extended(m.Manifest, fields),
        version,
        sections,
        list(dict.fromkeys(key.name for framework in frameworks for key in framework.sources)),
        {key.name: key.replaces for key in every if isinstance(key, FileKey)},
        {name: {"args": {}} if name in named[ExportKey] else {} for name in (*named[ExportKey], *named[ConfigKey])},
        frozenset(f"{name}+" for name in (*named[FilesKey], "files", "data")),
        frozenset({*named[ConfigKey], "args"}),
    )


def _all(framework: Framework) -> list[Key[Any]]:
    return [*framework.sources, *framework.keys]


def _options(framework: Framework) -> list[ChoiceKey]:
    return [option for key in framework.sources if isinstance(key, ExportKey) for option in key.options]


def _titles(frameworks: Iterable[Framework]) -> str:
    return " and ".join(framework.title for framework in frameworks)


def _extended(base: type[M], fields: Mapping[str, Any]) -> type[M]:
    """The model with more fields. For fields it already has, only the type is replaced."""
    for name in fields.keys() & base.model_fields.keys():
        info = copy(base.model_fields[name])
        if isinstance(info.default, BaseModel):
            info.default = fields[name]()
        fields = {**fields, name: (fields[name], info)}
    return create_model(base.__name__, __base__=base, __doc__=base.__doc__, **fields)


def _fields(
    frameworks: Sequence[Framework], keys: Callable[[Framework], Iterable[Key[Any]]], export: type[m.Export] = m.Export
) -> Iterator[tuple[str, Any]]:
    """The fields for the frameworks' keys. The description names the frameworks, unless all have the key."""
    owners: dict[str, list[tuple[Framework, Key[Any]]]] = {}
    for framework in frameworks:
        for key in keys(framework):
            owners.setdefault(key.name, []).append((framework, key))
    for name, found in owners.items():
        about = "; ".join(dict.fromkeys(key.about for _, key in found))
        whose = f"{_titles(framework for framework, _ in found)}: " if len(found) < len(frameworks) else ""
        key, kind = found[0][1], export if isinstance(found[0][1], ExportKey) else _type(found[0][1])
        default = key.default if isinstance(key, ChoiceKey) else None
        yield (
            name,
            (
                kind | None if default is None else kind,
                Field(default, description=whose + about if whose else about[0].upper() + about[1:]),
            ),
        )
        if isinstance(key, FilesKey):
            yield (
                f"{name}_append",
                (kind | None, Field(None, alias=f"{name}+", description=f"Appended to the inherited `{name}`.")),
            )


def _entries(section: Section) -> Any:
    """The type of a section. Its entries do not merge, so a missing list is an empty one."""
    fields: dict[str, Any] = {}
    for key in section.keys:
        default: Any = ... if isinstance(key, CodeKey) else [] if isinstance(key, FilesKey) else None
        kind = _type(key)
        fields[key.name] = (kind | None if default is None else kind, Field(default, description=key.about))
    name = section.name.removesuffix("s").title()
    return dict.__class_getitem__((m.Name, create_model(name, __base__=m.Strict, __doc__=section.entry, **fields)))


def _type(key: Key[Any]) -> Any:
    """The type of a key's value in the manifest."""
    match key:
        case FilesKey():
            return list[m.AnyFiles]
        case ChoiceKey():
            return _one_of(key.choices)
        case EntryKey():
            return str
        case CodeKey():
            return m.Text
        case ConfigKey():
            return m.FileOrMapping
        case _:
            return m.OneFile


def _one_of(words: Iterable[str]) -> Any:
    return Literal.__getitem__(tuple(words))
