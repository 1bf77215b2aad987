"""From one version of a model to what its framework is asked: defaults merged in, the handler found, every path resolved.

What cannot be found is put down as it is called, so that the framework can judge the rest in the same run.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any, NamedTuple

from gdcbuild.core.graph import Image, Input, SourceFile
from gdcbuild.core.ids import VersionId
from gdcbuild.core.request import Export, Handler, Source, VersionRequest
from gdcbuild.errors import Location, ManifestError, Problem
from gdcbuild.manifest import model as m
from gdcbuild.manifest.inputs import Named, listed
from gdcbuild.manifest.load import File
from gdcbuild.manifest.merge import SOURCES, merge
from gdcbuild.manifest.mistakes import Mistakes
from gdcbuild.manifest.names import Names
from gdcbuild.manifest.path_hints import as_value
from gdcbuild.manifest.validate import validate
from gdcbuild.manifest.yaml import Node


class Served(NamedTuple):
    """What serves a version: its image, the name of the toolchain, and the handlers that need not be declared."""

    image: Image
    toolchain: str
    handlers: tuple[str, ...]


def merged(main: File, file: File, identifier: VersionId, kind: str) -> Node:
    """All keys of a version: those of the defaults of its kind, of its model, its own."""
    model = file.at("models", identifier.model)
    own = file.at("models", identifier.model, "versions", identifier.version)
    shared = Node({k: n for k, n in model.items() if k != "versions"}, model.where, model.keys)
    owners = (main,) if file is main else (main, file)
    defaults = [owner.find("defaults", kind) for owner in owners]
    return merge(*defaults, shared, Node({}, own.where) if own.value is None else own)


def request(
    names: Names, file: File, identifier: VersionId, served: Served, node: Node, epoch: int | None, mistakes: Mistakes
) -> VersionRequest:
    """The request for the version that `node` has all keys of. Raises ManifestError when they do not fit together."""
    version = validate(m.Version, node)
    if isinstance(version, list):
        raise ManifestError(*(fault.problem for fault in version if fault.problem is not None))
    where = file.where("models", identifier.model, "versions", identifier.version)
    config: Any = version.config
    return VersionRequest(
        identifier,
        served.image,
        served.toolchain,
        where,
        tuple(_sources(names, file, version, node, mistakes)),
        _export(names, file, version.export, node, mistakes),
        _one(names, file, version.model_file, node.get("model_file"), mistakes),
        _handler(names, file, version.handler, node, served.handlers, mistakes),
        names.inputs(file).by_name(listed(version.files or (), node.get("files")), mistakes),
        config if isinstance(config, dict) else _one(names, file, config, node.get("config"), mistakes),
        _one(names, file, version.requirements, node.get("requirements"), mistakes),
        version.runtime or "python",
        version.compression == "deflate",
        epoch,
        _places(node),
        names.inputs(file).same,
    )


def incomplete(asked: VersionRequest) -> list[Problem]:
    """What no framework could do without."""
    if asked.export is None or asked.export.function:
        return []
    return [Problem("the export has no function", 'add function: "package.module:function"', asked.export.where)]


def _one(names: Names, file: File, given: Any, place: Node | None, mistakes: Mistakes) -> Input | None:
    """The one file that is given."""
    if given is None or place is None:
        return None
    with mistakes:
        return names.inputs(file).one(Named(given, place))
    called = given if isinstance(given, str) else given.path
    return Input(posixpath.basename(called) or called, SourceFile(called), place.where)


def _sources(names: Names, file: File, version: m.Version, node: Node, mistakes: Mistakes) -> list[Source]:
    """All sources that are given, but the export."""
    found = []
    for key in SOURCES[:-1]:
        given, place = getattr(version, key), node.get(key)
        if given is None or place is None:
            continue
        inputs: tuple[Input, ...] = ()
        if key == "saved_model":
            with mistakes:
                inputs = names.inputs(file).directory(Named(given, place))
        elif one := _one(names, file, given, place, mistakes):
            inputs = (one,)
        found.append(Source(key, inputs, node.key(key)))
    return found


def _export(names: Names, file: File, export: m.Export | None, node: Node, mistakes: Mistakes) -> Export | None:
    place = node.get("export")
    if export is None or place is None:
        return None
    where = node.key("export")
    given = [*listed(export.files or (), place.get("files")), *listed(export.data or (), place.get("data"))]
    cwd, laid = names.inputs(file).in_place(file.folder, given, mistakes)
    return Export(export.function or "", laid, export.args or {}, export.method, cwd, where)


def _handler(
    names: Names, file: File, name: str | None, node: Node, ready: tuple[str, ...], mistakes: Mistakes
) -> Handler | None:
    """The handler of that name: one that is declared before one that need not be."""
    if name is None:
        return None
    where = node.key("handler")
    scope = names.scope(file, "handlers")
    if name not in scope:
        if name not in ready:
            problems = names.unknown(file, "handlers", name, [*scope, *ready], where).problems
            hint = _declared(name) if "/" in name or ".py" in name else ""
            mistakes.problems += [p._replace(hint=hint or p.hint) for p in problems]
        return Handler(name, where)
    owner = scope[name][0]
    names.used.add((owner.path, name))
    names.need(owner, "handlers", name)
    return declared_handler(names, owner, name, mistakes)


def _declared(file: str) -> str:
    """How to declare the handler in a file that was given in the place of a name."""
    folder, base = posixpath.split(file.partition(":")[0])
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", posixpath.basename(folder) or base.removesuffix(".py"))
    return f"declare it, handlers: {{{name}: {{file: {as_value(file)}}}}}, and write handler: {name}"


def declared_handler(names: Names, file: File, name: str, mistakes: Mistakes) -> Handler:
    """The handler that a file declares under that name."""
    handler, place = file.manifest.handlers[name], file.at("handlers", name)
    path, colon, function = handler.file.rpartition(":")
    if colon and not (path and function):
        hint = "write FILE.py, or FILE.py:FUNCTION"
        mistakes.problems.append(Problem(f"{handler.file!r} is no handler's file", hint, place.key("file")))
        path = ""
    whole = handler.file if not colon else path
    return Handler(
        name,
        place.key("file"),
        _one(names, file, whole or None, place.get("file"), mistakes),
        function if colon else None,
        names.inputs(file).by_name(listed(handler.files, place.get("files")), mistakes),
        _one(names, file, handler.requirements, place.get("requirements"), mistakes),
    )


def _places(node: Node) -> dict[str, Location]:
    """Where each key of a version stands, and as `config.KEY`, to any depth, those of its configuration."""
    found = {key: node.key(key) for key, _ in node.items() if key != "framework"}
    stack = [(key, child) for key, child in node.items() if key == "config"]
    while stack:
        path, parent = stack.pop()
        for key, child in parent.items():
            found[f"{path}.{key}"] = parent.key(key)
            stack.append((f"{path}.{key}", child))
    return found
