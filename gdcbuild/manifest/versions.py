"""From a version in the manifest to the request to its framework: defaults merged, names looked up, paths resolved.

Files that are not found stay in the request under their given names, so that the framework can check the rest in the same run.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from gdcbuild.core.graph import Image, Input, SourceFile
from gdcbuild.core.ids import VersionId
from gdcbuild.core.keys import (
    Code,
    CodeKey,
    ConfigKey,
    Entry,
    EntryKey,
    Export,
    ExportKey,
    FileKey,
    FilesKey,
    FolderKey,
    Key,
    Section,
    Values,
)
from gdcbuild.core.request import Source, VersionRequest
from gdcbuild.errors import Location, ManifestError, Problem
from gdcbuild.manifest.inputs import Named, listed
from gdcbuild.manifest.keys import Keys
from gdcbuild.manifest.load import File
from gdcbuild.manifest.merge import merge
from gdcbuild.manifest.mistakes import Mistakes
from gdcbuild.manifest.names import Names
from gdcbuild.manifest.path_hints import as_value
from gdcbuild.manifest.validate import validate
from gdcbuild.manifest.yaml import Node


class Served(NamedTuple):
    """What serves a version: its image, and the name of the toolchain."""

    image: Image
    toolchain: str


def merged(names: Names, main: File, file: File, identifier: VersionId, kind: str) -> Node:
    """All keys of a version: the defaults of its framework, those of its model, and its own."""
    model = file.at("models", identifier.model)
    own = file.at("models", identifier.model, "versions", identifier.version)
    shared = Node({k: n for k, n in model.items() if k != "versions"}, model.where, model.keys)
    owners = (main,) if file is main else (main, file)
    defaults = [owner.find("defaults", kind) for owner in owners]
    return merge(names.keys, *defaults, shared, Node({}, own.where) if own.value is None else own)


def request(
    names: Names, file: File, identifier: VersionId, served: Served, node: Node, epoch: int | None, mistakes: Mistakes
) -> VersionRequest:
    """The request for a version; `node` has all its keys. Raises ManifestError if they are not valid together."""
    version = validate(names.keys.version, node)
    if isinstance(version, list):
        raise ManifestError(*(fault.problem for fault in version if fault.problem is not None))
    values = _values(names, file, names.keys.of(served.image.kind).values(), version, node, mistakes)
    given = {key: values.pop(key) for key in names.keys.sources if key in values}
    export = next((source for source in given.values() if isinstance(source, Export)), None)
    sources = [
        Source(key, source if isinstance(source, tuple) else (source,), node.key(key))
        for key, source in given.items()
        if source is not export
    ]
    return VersionRequest(
        identifier,
        served.image,
        served.toolchain,
        file.where("models", identifier.model, "versions", identifier.version),
        tuple(sources),
        export,
        values,
        epoch,
        _places(node),
        names.inputs(file).same,
        {section.name: names.scope(file, section.name) for section in names.keys.sections},
    )


def incomplete(asked: VersionRequest) -> list[Problem]:
    """What every framework requires and the request lacks."""
    if asked.export is None or asked.export.function:
        return []
    return [Problem("the export has no function", 'add function: "package.module:function"', asked.export.where)]


def is_foreign(keys: Keys, asked: VersionRequest, node: Node) -> bool:
    """Whether all sources belong to other frameworks, so that checking the version further makes no sense."""
    return not asked.sources and asked.export is None and any(place and place.value for place in map(node.get, keys.sources))


def misplaced(keys: Keys, asked: VersionRequest, node: Node) -> Iterator[Problem]:
    """One problem for each key that only other frameworks have."""
    framework = keys.frameworks[asked.image.kind]
    hint = f"remove it; a {framework.title} model is made from one of {', '.join(key.name for key in framework.sources)}"
    for name, where in keys.foreign(framework, node):
        message = f"{asked.id}: `{name}` is for {keys.titles(name)}, and {asked.image.name} serves {framework.title}"
        yield Problem(message, hint, where)


def _values(names: Names, file: File, keys: Iterable[Key[Any]], given: BaseModel, node: Node, mistakes: Mistakes) -> Values:
    """The values of the keys, with all paths resolved."""
    found = Values()
    for key in keys:
        value, place = getattr(given, key.name), node.get(key.name)
        if value is not None and place is not None:
            found[key.name] = _value(names, file, key, Named(value, place), node.key(key.name), mistakes)
    return found


def _value(names: Names, file: File, key: Key[Any], given: Named, where: Location, mistakes: Mistakes) -> Any:
    match key:
        case FilesKey():
            return names.inputs(file).by_name(listed(given.value, given.node), mistakes)
        case FolderKey():
            with mistakes:
                return names.inputs(file).directory(given)
            return ()
        case CodeKey():
            return _code(names, file, given, where, mistakes)
        case EntryKey():
            return _entry(names, file, key, given.value, where, mistakes)
        case ExportKey():
            return _export(names, file, key, given, where, mistakes)
        case FileKey() | ConfigKey() if not isinstance(given.value, dict):
            return _one(names, file, given, mistakes)
    return given.value


def _one(names: Names, file: File, given: Named, mistakes: Mistakes) -> Input:
    """The given file; if it is invalid, an input with its name."""
    with mistakes:
        return names.inputs(file).one(given)
    called = given.value if isinstance(given.value, str) else given.value.path
    return Input(posixpath.basename(called) or called, SourceFile(called), given.node.where)


def _export(names: Names, file: File, key: ExportKey, given: Named, where: Location, mistakes: Mistakes) -> Export:
    export, place = given
    files = [*listed(export.files or (), place.get("files")), *listed(export.data or (), place.get("data"))]
    cwd, laid = names.inputs(file).in_place(file.folder, files, mistakes)
    options = _values(names, file, key.options, export, place, mistakes)
    return Export(export.function or "", laid, export.args or {}, options, cwd, where)


def _code(names: Names, file: File, given: Named, where: Location, mistakes: Mistakes) -> Code:
    path, colon, function = given.value.rpartition(":")
    if not colon:
        return Code(_one(names, file, given, mistakes), None, where)
    if path and function:
        return Code(_one(names, file, given._replace(value=path), mistakes), function, where)
    message, hint = f"{given.value!r} is not FILE or FILE:FUNCTION", "write FILE.py, or FILE.py:FUNCTION"
    mistakes.problems.append(Problem(message, hint, where))
    return Code(None, function, where)


def _entry(names: Names, file: File, key: EntryKey, name: str, where: Location, mistakes: Mistakes) -> Entry:
    """The entry of that name: a declared one, else a built-in one."""
    scope = names.scope(file, key.section.name)
    if name not in scope:
        if name not in key.ready:
            problems = names.unknown(file, key.section.name, name, [*scope, *key.ready], where).problems
            hint = _declared(key, name) if "/" in name or ".py" in name else ""
            mistakes.problems += [p._replace(hint=hint or p.hint) for p in problems]
        return Entry(name, where, Values())
    owner = scope[name][0]
    names.used.add((owner.path, key.section.name, name))
    names.need(owner, key.section.name, name)
    return declared(names, owner, key.section, name, mistakes)


def _declared(key: EntryKey, file: str) -> str:
    """How to declare an entry for a file that was given instead of a name."""
    folder, base = posixpath.split(file.partition(":")[0])
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", posixpath.basename(folder) or base.removesuffix(".py"))
    entry = f"{{{name}: {{{key.section.keys[0].name}: {as_value(file)}}}}}"
    return f"declare it, {key.section.name}: {entry}, and write {key.name}: {name}"


def declared(names: Names, file: File, section: Section, name: str, mistakes: Mistakes) -> Entry:
    """The entry that a file declares under that name."""
    entry, place = getattr(file.manifest, section.name)[name], file.at(section.name, name)
    return Entry(name, place.where, _values(names, file, section.keys, entry, place, mistakes))


def inputs_of(entry: Entry) -> Iterator[Input]:
    """All inputs of an entry."""
    for value in entry.values.values():
        found = value.file if isinstance(value, Code) else value
        yield from found if isinstance(found, tuple) else (found,) if isinstance(found, Input) else ()


def _places(node: Node) -> dict[str, Location]:
    """The location of each key of a version, and, as `config.KEY` to any depth, of each key of its configuration."""
    found = {key: node.key(key) for key, _ in node.items() if key != "framework"}
    stack = [(key, child) for key, child in node.items() if key == "config"]
    while stack:
        path, parent = stack.pop()
        for key, child in parent.items():
            found[f"{path}.{key}"] = parent.key(key)
            stack.append((f"{path}.{key}", child))
    return found
