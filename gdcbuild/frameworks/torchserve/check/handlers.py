"""Check that TorchServe would find an archive's handler and could call it. Imports nothing.

The rules are those of TorchServe's `model_loader.py`: it uses the function with the given name, or else the one class of the
file, which it creates without arguments. It calls `initialize(context)` once, and `handle(data, context)` for every batch.
"""

from __future__ import annotations

import ast
import difflib
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gdcbuild.errors import Location, Problem
from gdcbuild.frameworks.torchserve.check.classes import Class, accepts, uninstantiable
from gdcbuild.frameworks.torchserve.check.python_source import Module, NotPython, compiled, parse
from gdcbuild.frameworks.torchserve.check.statements import AsyncFunction, Function
from gdcbuild.frameworks.torchserve.mar.archive import Archive
from gdcbuild.frameworks.torchserve.mar.writer import MANIFEST

DEFAULT_HANDLERS = (
    "base_handler",
    "dali_image_classifier",
    "image_classifier",
    "image_segmenter",
    "object_detector",
    "text_classifier",
    "trt_llm_handler",
    "vllm_handler",
)
"""Handlers that are part of TorchServe and that torch-model-archiver knows by name."""

LOADS_ITSELF = frozenset({"trt_llm_handler", "vllm_handler"})
"""Default handlers that load the model in their own way, and are async."""

SECTIONS = {"dali_image_classifier": "dali", "trt_llm_handler": "handler"}
"""Default handler → the section of the configuration without which it fails."""

MAX_SOURCE = 256 << 10
"""Largest source in bytes that is parsed, which takes a thousand times as much memory."""

CORRECT = (
    "correct the file; or, if it needs a newer Python than"
    f" {sys.version_info.major}.{sys.version_info.minor}, run gdcbuild with the image's Python"
)
"""The hint for a file that does not compile; it is checked with the Python that runs gdcbuild."""

VOCABULARY = "source_vocab.pt"
"""The file that the text handlers need in addition to the model."""

_PACKAGE = "ts.torch_handler."
_OTHERS = tuple(f"{_PACKAGE}{name}" for name in ("densenet_handler.", "distributed.", "trt_llm_handler.", "vllm_handler."))
"""Modules of TorchServe whose handlers do not load a model as the base handler does."""

_LOADERS = ("_load_pickled_model", "_load_torchscript_model", "_load_torch_export_aot_compile", "_use_torch_export_aot_compile")
"""Methods with which the base handler loads a model, besides `initialize`."""

_MORE = ("dali_handler", "densenet_handler", "text_handler", "vision_handler")
"""More modules of TorchServe that work as a handler, though the archiver does not know them."""

_OF_TEXT = (f"{_PACKAGE}text_classifier.", f"{_PACKAGE}text_handler.")


@dataclass(frozen=True, slots=True)
class HandlerFacts:
    """What is known about a handler.

    `base`: it loads the model as the base handler does. `text`: it also reads VOCABULARY. `awaited`: its result must be
    awaited, None when unknown. `section`: the section of the configuration it needs.
    """

    base: bool = False
    text: bool = False
    awaited: bool | None = None
    section: str = ""


_UNKNOWN = HandlerFacts()


def look(archive: Archive, handler: Any) -> Generator[Problem, None, HandlerFacts]:
    """Problems of the handler in the manifest; returns what is known about it."""
    if not isinstance(handler, str) or not handler:
        yield Problem(f"{MANIFEST}: there is no handler", "add one: a default handler of TorchServe, or a file in the archive")
        return _UNKNOWN
    file, function = file_of(handler), handler.partition(":")[2]
    name = file.removesuffix(".py")
    if file in archive.names:
        return (yield from _entry(archive, file, function))
    if _unseen(archive, name) or name in _MORE or name.startswith("ts."):
        return _UNKNOWN
    if name in DEFAULT_HANDLERS:
        return HandlerFacts(name not in LOADS_ITSELF, name == "text_classifier", name in LOADS_ITSELF, SECTIONS.get(name, ""))
    close = difflib.get_close_matches(name, DEFAULT_HANDLERS, 1)
    yield Problem(
        f"the handler {handler!r} is neither in the archive nor a default handler of TorchServe;"
        f" TorchServe: No module named 'ts.torch_handler.{name}'",
        f"rename it to {file}"
        if name in archive.names
        else f"did you mean {close[0]}?"
        if close
        else f"add {file}, or use one of: {', '.join(DEFAULT_HANDLERS)}",
    )
    return _UNKNOWN


def file_of(handler: str) -> str:
    """The file from which TorchServe loads a handler, if it is in the archive."""
    return f"{handler.partition(':')[0].rpartition('/')[2].removesuffix('.py')}.py"


def _unseen(archive: Archive, name: str) -> bool:
    """Whether this name imports something that is not checked here: a package, a module in one, or compiled code."""
    path = name.replace(".", "/")
    compiled = any(each.startswith(f"{path}.") and each.endswith((".so", ".pyc")) for each in archive.names)
    return compiled or f"{path}/__init__.py" in archive.names or (path != name and f"{path}.py" in archive.names)


def module_of(archive: Archive, file: str) -> Generator[Problem, None, Module | None]:
    """Parse a Python file at the root of the archive; None when it cannot be checked.

    Reports a file that a server could not import.
    """
    if archive.size(file) > MAX_SOURCE or _unseen(archive, file.removesuffix(".py")):
        return None
    if "." in file.removesuffix(".py"):
        yield Problem(f"{file} cannot be imported; TorchServe: No module named {file.removesuffix('.py')!r}", "rename it")
        return None
    try:
        module = parse(archive.text(file), file)
    except NotPython as error:
        line = f", line {error.line}" if error.line else ""
        yield Problem(f"{file}{line}: {error}; TorchServe could not import it", CORRECT)
        return None
    if module.relative:
        yield Problem(
            f"{file} uses a relative import; TorchServe: attempted relative import with no known parent package",
            "write import NAME: files in the archive are top-level modules",
        )
        return None
    return module


def mistake(start: Callable[[int], bytes], name: str) -> Problem | None:
    """The syntax error in a Python file, with its line and column."""
    source = start(MAX_SOURCE + 1)
    if len(source) > MAX_SOURCE:
        return None
    try:
        compiled(source, name)
    except NotPython as error:
        return Problem(f"{error}; TorchServe could not import it", CORRECT, Location(name, error.line, error.column))
    return None


def listed(names: Mapping[str, object]) -> str:
    """The number and names of classes, for a message."""
    return f"{len(names)} classes ({', '.join(names)})" if names else "no class"


def _entry(archive: Archive, file: str, function: str) -> Generator[Problem, None, HandlerFacts]:
    module = yield from module_of(archive, file)
    if module is None:
        return _UNKNOWN
    wanted = function or "handle"
    if wanted in module.names:
        return (yield from _function(module, file, wanted))
    if module.vague and (function or module.only is None):
        return _UNKNOWN
    if wanted != "handle":
        yield Problem(
            f"the handler {file} has no function {function!r}; TorchServe would look for a class instead",
            f"define {function}(data, context) in it, or correct the name",
        )
        return _UNKNOWN
    if module.miscounted:
        yield Problem(
            f"the handler {file} defines {listed(module.classes)}; TorchServe: Expected only one class in custom service code"
            " or a function entry point",
            "keep one class in it, and move the others to separate files, listed under `files`; or define"
            " handle(data, context), or name another function: FILE.py:FUNCTION"
            if module.classes
            else "define one class with initialize(context) and handle(data, context), or a function handle(data, context)",
        )
    elif module.only is not None:
        yield from _class(module.only, file)
        return _known(module.only)
    return _UNKNOWN


def _function(module: Module, file: str, name: str) -> Generator[Problem, None, HandlerFacts]:
    found = module.names[name]
    if name in module.classes and name not in module.unsure:
        yield Problem(
            f"{name} in the handler {file} is a class, but TorchServe would call it as a function: {name}(data, context)",
            f"write {file} alone: TorchServe finds its one class itself"
            if name != "handle"
            else f"rename the class, and write {file} alone: TorchServe finds its one class itself",
        )
    elif module.is_data(name):
        what = "a module" if isinstance(found, ast.Import) else f"`{ast.unparse(found):.60}`" if found else "nothing"
        yield Problem(
            f"{name} in the handler {file} is {what}, but TorchServe would call it as a function: {name}(data, context)",
            f"rename it, so that TorchServe uses the class; or define {name}(data, context)",
        )
    elif isinstance(found, Function):
        if not accepts(found, 2):
            yield Problem(
                f"{name} in the handler {file} cannot be called as TorchServe does: {name}(data, context)",
                "give it these two parameters",
            )
        return HandlerFacts(awaited=_awaited(found))
    return _UNKNOWN


def _class(handler: Class, file: str) -> Iterator[Problem]:
    """Why TorchServe could not instantiate the class or call its methods."""
    advice = "give them defaults, and set their values in initialize(context)"
    yield from uninstantiable(handler, f"the handler {file}", advice)
    for method, arguments, complaint in (
        ("handle", ("data", "context"), f"Expect handle method in class {handler.name}"),
        ("initialize", ("context",), f"{handler.name!r} object has no attribute 'initialize'"),
    ):
        definition = handler.methods.get(method)
        call = f"{method}({', '.join(arguments)})"
        own = handler.complete or all(base.startswith(_PACKAGE) for base in handler.bases)
        if handler.complete and not handler.has(method):
            yield Problem(
                f"class {handler.name} in the handler {file} has no {method}; TorchServe: {complaint}",
                "define it, or derive the class from ts.torch_handler.base_handler.BaseHandler",
            )
        elif own and method in handler.data:
            yield Problem(
                f"class {handler.name} in the handler {file} sets `{method}` to `{ast.unparse(handler.data[method]):.60}`,"
                f" which is not a function; TorchServe would call {call}",
                f"write def {method}(self, {', '.join(arguments)})",
            )
        elif definition is not None and not accepts(definition, len(arguments) + 1):
            yield Problem(
                f"class {handler.name} in the handler {file}: {method} cannot be called as TorchServe does: {call}",
                f"write def {method}(self, {', '.join(arguments)})",
            )


def _known(handler: Class) -> HandlerFacts:
    parent = handler.bases[0] if handler.bases else ""  # other bases come after it
    derived = parent.startswith(_PACKAGE) and not parent.startswith(_OTHERS)
    replaced = handler.defines("initialize") and not handler.extends("initialize")
    base = derived and not replaced and not any(map(handler.defines, _LOADERS))
    text = base and parent.startswith(_OF_TEXT) and not handler.defines("get_source_vocab_path")
    if "handle" in handler.methods:
        return HandlerFacts(base, text, _awaited(handler.methods["handle"]))
    return HandlerFacts(base, text, False if derived and not handler.defines("handle") else None)


def _awaited(function: Function) -> bool | None:
    """Whether a function's result must be awaited; None when unknown: one that is not async may return a coroutine."""
    return True if isinstance(function, AsyncFunction) and not function.decorator_list else None
