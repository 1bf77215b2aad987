"""The PyTorch framework: check a version's keys, and make its actions: an export if there is one, then the archive."""

from __future__ import annotations

import posixpath
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gdcbuild.core.digest import Blob
from gdcbuild.core.graph import Action, Image, Inline, Input, MadeBy, Policy, SourceFile, Worker
from gdcbuild.core.keys import ChoiceKey, Export, Key
from gdcbuild.core.ports import Framework
from gdcbuild.core.request import Lowered, VersionRequest
from gdcbuild.errors import Caution, Location, Problem
from gdcbuild.files import secrets, standins
from gdcbuild.frameworks.torchserve.check import config, contract, handlers, shadows
from gdcbuild.frameworks.torchserve.check.contract import NATIVE, PICKLE
from gdcbuild.frameworks.torchserve.check.handlers import DEFAULT_HANDLERS, LOADS_ITSELF
from gdcbuild.frameworks.torchserve.keys import (
    COMPRESSION,
    EXPORT,
    HANDLERS,
    IN_ARCHIVE,
    MAR,
    METHOD,
    NATIVE_HANDLERS,
    WEIGHTS,
    Handler,
    Request,
)
from gdcbuild.frameworks.torchserve.mar.pack import CONFIG_NAME, DEFLATE, EPOCH, EXTRA
from gdcbuild.frameworks.torchserve.mar.writer import ENTRY, MANIFEST

PACK = "pytorch.pack"
_PACKAGE = "gdcbuild.frameworks.torchserve"


class TorchServe:
    """The PyTorch framework: a version is an archive for TorchServe."""

    kind: str = "pytorch"
    title: str = "PyTorch"
    entry: str = ENTRY
    sources: Sequence[Key[Any]] = (WEIGHTS, MAR, EXPORT)
    keys: Sequence[Key[Any]] = (*IN_ARCHIVE, COMPRESSION)
    policy: Sequence[ChoiceKey] = (PICKLE,)
    check_version: int = 9 + secrets.VERSION + standins.VERSION

    def version_problem(self, version: str) -> str | None:  # noqa: ARG002 - the port's signature
        """None: TorchServe accepts any version."""
        return None

    def lower(self, request: VersionRequest) -> Lowered | list[Problem]:
        """The actions that make this version, or every problem that prevents them."""
        request = Request.of(request)
        roles = _roles(request)
        problems = [*_refusals(request), *_clashes(request, roles), *_shadows(request, roles), *_configured(request)]
        if problems:
            return problems
        if any(source.key == "mar" for source in request.sources):
            return Lowered((_repack(request),))
        pack = _pack(request, roles)
        return Lowered((pack,) if request.export is None else (_export(request, request.export), pack))

    def mistake(self, action: Action, item: Input, start: Callable[[int], bytes]) -> Problem | None:
        """The syntax error in a handler, a model file or a configuration."""
        role = item.path.partition("/")[0] if action.kind == PACK else ""
        if role in ("handler", "model_file") and item.path.endswith(".py"):
            return handlers.mistake(start, item.path)
        if role != "config":
            return None
        found = config.read(start(config.MAX_TEXT + 1), item.path)
        return found if isinstance(found, Problem) and not isinstance(found, Caution) else None

    def check(self, artifact: Mapping[str, Blob], image: Image, policy: Policy) -> list[Problem]:
        """Every reason why TorchServe would refuse the artifact, and cautions about it."""
        return contract.check(artifact, image, policy)


def _refusals(request: Request) -> Iterator[Problem]:
    """Keys that are missing or conflict."""
    given = {source.key: source.where for source in request.sources}
    if request.export is not None:
        given["export"] = request.export.where
    if not given and not _may_lack_weights(request):
        yield Problem(
            f"{request.id} has no source",
            'add one of weights: FILE, export: {function: "module:function", ...}, mar: FILE',
            request.where,
        )
    if len(given) > 1:
        yield Problem(f"{request.id} has {len(given)} sources: {', '.join(given)}", "keep one of them", [*given.values()][-1])
    parts = [key for key in ("model_file", "handler", "files", "config", "requirements") if getattr(request, key)]
    parts += ["runtime"] if "runtime" in request.given else []
    if "mar" in given:
        for key in parts:
            yield Problem(
                f"`{key}` has no effect: the existing archive has its own",
                f"remove it, or set `{key}` only on versions without `mar`",
                request.given.get(key, request.where),
            )
        return
    if "model_file" in parts and [*given] == ["export"]:
        yield Problem(
            "`model_file` only works with `weights`: an export adds the source of an eager model itself",
            "remove model_file",
            request.given.get("model_file", request.where),
        )
    if request.handler is None:
        known = request.declared.get(HANDLERS.name, ())
        own = next(iter(known)) if len(known) == 1 else "a name from `handlers`"
        hint = f"add handler: {own}, or one of TorchServe's: {', '.join(DEFAULT_HANDLERS)}"
        yield Problem(f"{request.id} has no handler", hint, request.where)
    else:
        yield from _misfit(request, request.handler)
        if request.requirements is not None and request.handler.requirements is not None:
            yield Problem(
                f"the version and its handler {request.handler.name!r} both have `requirements`",
                "remove one of them",
                request.given.get("requirements", request.where),
            )


def _may_lack_weights(request: Request) -> bool:
    """Whether the model needs only its source, or the handler may find the weights itself; the contract warns about both."""
    handler = request.handler
    return request.model_file is not None or (
        handler is not None and (handler.file is not None or handler.name in LOADS_ITSELF)
    )


def _configured(request: Request) -> Iterator[Problem]:
    """Settings TorchServe would ignore in a `config` mapping, each at its key. The contract checks files."""
    if isinstance(request.config, Mapping):
        base = request.handler is not None and request.handler.file is None
        for keys, problem in config.located(request.config, "config", base):
            if not isinstance(problem, Caution):  # the contract reports cautions
                yield problem._replace(where=request.given.get(".".join(("config", *keys))) or request.given.get("config"))


def _misfit(request: Request, handler: Handler) -> Iterator[Problem]:
    """A handler that the runtime cannot run."""
    native = request.runtime == NATIVE
    if handler.file is not None:
        file = handler.file.path
        if posixpath.splitext(file)[1] not in ("", ".py", ".so"):
            name = posixpath.basename(file)
            convert = f"convert it (jupyter nbconvert --to script {name}) and " if name.endswith(".ipynb") else ""
            yield Problem(f"the handler {name} is not a Python file", f"{convert}give its .py file", handler.where)
            return
        if file.endswith(".so") == native:
            return
        found, wanted = posixpath.basename(file), "a compiled library: FILE.so:CLASS" if native else "Python: FILE.py"
    else:
        if (handler.name in NATIVE_HANDLERS) == native:
            return
        found, wanted = handler.name, " or ".join(NATIVE_HANDLERS) if native else "another one, such as base_handler"
    yield Problem(
        f"the runtime {request.runtime} cannot use the handler {found}",
        f"give {wanted}; or runtime: {'python' if native else NATIVE}",
        request.given.get("runtime") or request.given.get("handler") or request.where,
    )


def _roles(request: Request) -> list[tuple[str, Input]]:
    """Every file of the archive with its role, except those of an export."""
    found = [("weights", item) for source in request.sources if source.key == "weights" for item in source.inputs]
    handler = request.handler
    if request.model_file is not None:
        found.append(("model_file", request.model_file))
    if handler is not None and handler.file is not None:
        found.append(("handler", handler.file))
    requirements = request.requirements or (handler.requirements if handler else None)
    if requirements is not None:
        found.append(("requirements", requirements))
    if isinstance(request.config, Input):
        found.append(("config", request.config))
    found += [(EXTRA, item) for item in (*(handler.files if handler else ()), *request.files)]
    return found


def _clashes(request: Request, roles: Iterable[tuple[str, Input]]) -> Iterator[Problem]:
    """Different files with the same name; packing checks files that another action makes."""
    where = request.given.get("config", request.where)
    first: dict[str, tuple[str, SourceFile | MadeBy | None, Location | None]] = {}
    first[MANIFEST] = ("the archive's manifest", None, None)
    if request.config is not None and not isinstance(request.config, Input):
        first[CONFIG_NAME] = ("the mapping given as `config`", None, where)
    for _, item in roles:
        if item.path == "" or item.path.endswith("/"):
            continue
        described = _described(item.origin)
        other, origin, place = first.setdefault(item.path, (described, item.origin, item.where))
        if origin is None or not request.same(origin, item.origin):
            at = f" ({place})" if place else ""
            yield Problem(
                f"two files for {item.path!r} in the archive: {other}{at} and {described}",
                "rename one, or move one to a folder: {from: ..., to: ...}",
                item.where,
            )


def _shadows(request: Request, roles: Iterable[tuple[str, Input]]) -> Iterator[Problem]:
    """Files that would replace modules of TorchServe's worker. With installed packages among them, the contract decides."""
    if request.runtime == NATIVE or any(shadows.is_record(item.path) for _, item in roles):
        return
    for role, item in roles:
        found = shadows.clash(item.path, role in ("handler", "model_file"))
        if found is not None:
            yield found._replace(where=item.where)


def _pack(request: Request, roles: Iterable[tuple[str, Input]]) -> Action:
    inputs: dict[object, Input] = {}
    for role, item in sorted(roles, key=lambda r: not r[1].named):  # of identical files, prefer a named one
        folder = item.path == "" or item.path.endswith("/")
        inputs.setdefault((item.path, item.origin) if folder else item.path, replace(item, path=f"{role}/{item.path}"))
    laid = list(inputs.values())
    if request.export is not None:
        laid.append(Input("", MadeBy(_export_id(request)), request.export.where))
    assert request.handler is not None
    return Action(
        str(request.id),
        PACK,
        Inline(f"{_PACKAGE}.mar.pack"),
        tuple(laid),
        {
            "handler": _entry_point(request.handler),
            "version": request.id.version,
            "runtime": request.runtime,
            "config": None if isinstance(request.config, Input) else request.config,
            **_asked(request),
        },
        where=request.where,
    )


def _entry_point(handler: Handler) -> str:
    """The handler as written in the archive's manifest; the archiver accepts a function in this form only."""
    if handler.file is None:
        return handler.name
    name = posixpath.basename(handler.file.path)
    if name.endswith(".so"):
        name = name.removesuffix(".so")  # TorchServe adds the platform's suffix
    return f"{name.removesuffix('.py')}:{handler.function}" if handler.function else name


def _asked(request: Request) -> dict[str, Any]:
    """Optional parameters of writing the archive. Another zlib may deflate to different bytes."""
    epoch = {} if request.epoch is None else {EPOCH: request.epoch}
    return {**epoch, DEFLATE: zlib.ZLIB_RUNTIME_VERSION} if request.deflate else epoch


def _export(request: Request, export: Export) -> Action:
    return Action(
        _export_id(request),
        "pytorch.export",
        Worker(f"{_PACKAGE}.worker"),
        export.inputs,
        {"function": export.function, "args": dict(export.args), "method": export.options.of(METHOD)},
        request.toolchain,
        cwd=export.cwd,
        where=export.where,
    )


def _export_id(request: Request) -> str:
    return f"{request.id}:export"


def _repack(request: Request) -> Action:
    inputs = tuple(replace(item, path=f"mar/{item.path}") for source in request.sources for item in source.inputs)
    return Action(
        str(request.id), "pytorch.repack", Inline(f"{_PACKAGE}.mar.repack"), inputs, _asked(request), where=request.where
    )


def _described(origin: SourceFile | MadeBy) -> str:
    if isinstance(origin, SourceFile):
        return origin.shown
    return f"{origin.path or 'everything'} of {origin.action}"


FRAMEWORK: Framework = TorchServe()
