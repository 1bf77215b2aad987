"""Would TorchServe find the handler of an archive, and could it call it? `contract` asks; nothing is imported.

What it does is its `model_loader.py`: a function by the name that is asked for, or else the one class of the file, made
without arguments. `initialize(context)` is called once, `handle(data, context)` for every batch.
"""

from __future__ import annotations

import ast
import difflib
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gdcbuild.errors import Location, Problem
from gdcbuild.frameworks.torchserve.check.classes import Class, accepts
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
"""Handlers that TorchServe brings with it and the archiver knows by name."""

LOADS_ITSELF = frozenset({"trt_llm_handler", "vllm_handler"})
"""Of these, the ones that do not load a model as the others do, and are awaited."""

SECTIONS = {"dali_image_classifier": "dali", "trt_llm_handler": "handler"}
"""Of these, the ones that fail without a certain section in the configuration."""

MAX_SOURCE = 256 << 10
"""Bytes of the largest source that is parsed, which takes a thousand times as many."""

CORRECT = (
    "correct the file; or, if it is written for a newer Python than"
    f" {sys.version_info.major}.{sys.version_info.minor}, run gdcbuild with that of the image"
)
"""What to do about a file that does not compile: it is judged by the Python that runs gdcbuild."""

VOCABULARY = "source_vocab.pt"
"""What the handlers for text want beside the model."""

_PACKAGE = "ts.torch_handler."
_OTHERS = tuple(f"{_PACKAGE}{name}" for name in ("densenet_handler.", "distributed.", "trt_llm_handler.", "vllm_handler."))
"""What TorchServe brings with it that does not load a model as its base handler does."""

_LOADERS = ("_load_pickled_model", "_load_torchscript_model", "_load_torch_export_aot_compile", "_use_torch_export_aot_compile")
"""How the base handler loads a model, besides `initialize`."""

_MORE = ("dali_handler", "densenet_handler", "text_handler", "vision_handler")
"""Modules of TorchServe that can be named as a handler too, though the archiver does not know them."""

_OF_TEXT = (f"{_PACKAGE}text_classifier.", f"{_PACKAGE}text_handler.")


@dataclass(frozen=True, slots=True)
class HandlerFacts:
    """What is known of a handler: whether it loads the model as the base handler does, whether it reads VOCABULARY then,
    whether what it returns is to be awaited (None when that cannot be told), and the section of the configuration it wants.
    """

    base: bool = False
    text: bool = False
    awaited: bool | None = None
    section: str = ""


_UNKNOWN = HandlerFacts()


def look(archive: Archive, handler: Any) -> Generator[Problem, None, HandlerFacts]:
    """What is wrong with the handler that the manifest names; returns what is known of it."""
    if not isinstance(handler, str) or not handler:
        yield Problem(f"{MANIFEST}: there is no handler", "name one: a default one of TorchServe, or a file of the archive")
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
        f"the handler {handler!r} is neither in the archive nor one of TorchServe's;"
        f" TorchServe: No module named 'ts.torch_handler.{name}'",
        f"rename it to {file}"
        if name in archive.names
        else f"did you mean {close[0]}?"
        if close
        else f"add {file}, or use one of: {', '.join(DEFAULT_HANDLERS)}",
    )
    return _UNKNOWN


def file_of(handler: str) -> str:
    """The file that TorchServe takes a handler from, when the archive has it."""
    return f"{handler.partition(':')[0].rpartition('/')[2].removesuffix('.py')}.py"


def _unseen(archive: Archive, name: str) -> bool:
    """Whether Python imports by this name what is not judged here: a package, what is in one, or what is compiled."""
    path = name.replace(".", "/")
    compiled = any(each.startswith(f"{path}.") and each.endswith((".so", ".pyc")) for each in archive.names)
    return compiled or f"{path}/__init__.py" in archive.names or (path != name and f"{path}.py" in archive.names)


def module_of(archive: Archive, file: str) -> Generator[Problem, None, Module | None]:
    """The module that a Python file at the root of the archive is; None when it cannot be judged.

    That is told when it is because a server could not import it.
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
            f"{file} imports relative to a package; TorchServe: attempted relative import with no known parent package",
            "write import NAME: a file of the archive is a module at the top",
        )
        return None
    return module


def mistake(start: Callable[[int], bytes], name: str) -> Problem | None:
    """Why a Python file does not compile, at its place in it."""
    source = start(MAX_SOURCE + 1)
    if len(source) > MAX_SOURCE:
        return None
    try:
        compiled(source, name)
    except NotPython as error:
        return Problem(f"{error}; TorchServe could not import it", CORRECT, Location(name, error.line, error.column))
    return None


def listed(names: Mapping[str, object]) -> str:
    """Classes for people, with their number."""
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
            f"the handler {file} has no function {function!r}; TorchServe would use its class instead, if there is one",
            f"define {function}(data, context) in it, or correct the name",
        )
        return _UNKNOWN
    if module.miscounted:
        yield Problem(
            f"the handler {file} defines {listed(module.classes)}; TorchServe: Expected only one class in custom service code"
            " or a function entry point",
            "leave one class in it, and move the others into files of their own, declared under `files`; or define"
            " handle(data, context), or name the function: FILE.py:FUNCTION",
        )
    elif module.only is not None:
        yield from _class(module.only, file)
        return _known(module.only)
    return _UNKNOWN


def _function(module: Module, file: str, name: str) -> Generator[Problem, None, HandlerFacts]:
    found = module.names[name]
    if name in module.classes and name not in module.unsure:
        yield Problem(
            f"{name} of the handler {file} is a class, and TorchServe would call it as a function: {name}(data, context)",
            f"name {file} alone: TorchServe finds its one class by itself",
        )
    elif module.is_data(name):
        what = "a module" if isinstance(found, ast.Import) else f"`{ast.unparse(found):.60}`" if found else "nothing"
        yield Problem(
            f"{name} of the handler {file} is {what}, and TorchServe would call it as a function: {name}(data, context)",
            f"give it another name, so that TorchServe uses the class; or define {name}(data, context)",
        )
    elif isinstance(found, Function):
        if not accepts(found, 2):
            yield Problem(
                f"{name} of the handler {file} cannot be called as TorchServe does: {name}(data, context)",
                "give it these two arguments",
            )
        return HandlerFacts(awaited=_awaited(found))
    return _UNKNOWN


def _class(handler: Class, file: str) -> Iterator[Problem]:
    """What TorchServe could not do with the class: make it, and call its methods."""
    if handler.abstract:
        yield Problem(
            f"the handler {file}: TorchServe: Can't instantiate abstract class {handler.name}, which leaves open:"
            f" {', '.join(handler.abstract)}",
            "define what they do, or remove @abstractmethod",
        )
    if handler.required:
        missing = ", ".join(handler.required)
        yield Problem(
            f"the handler {file}: TorchServe calls {handler.name}() without arguments, and it requires {missing}",
            "give them defaults, and read what they stand for in initialize(context)",
        )
    for method, arguments, complaint in (
        ("handle", ("data", "context"), f"Expect handle method in class {handler.name}"),
        ("initialize", ("context",), f"{handler.name!r} object has no attribute 'initialize'"),
    ):
        definition = handler.methods.get(method)
        if handler.complete and not handler.has(method):
            yield Problem(
                f"class {handler.name} of the handler {file} has no {method}; TorchServe: {complaint}",
                "define it, or derive the class from ts.torch_handler.base_handler.BaseHandler",
            )
        elif definition is not None and not accepts(definition, len(arguments) + 1):
            call = f"{method}({', '.join(arguments)})"
            yield Problem(
                f"class {handler.name} of the handler {file}: {method} cannot be called as TorchServe does: {call}",
                f"write def {method}(self, {', '.join(arguments)})",
            )


def _known(handler: Class) -> HandlerFacts:
    parent = handler.bases[0] if handler.bases else ""  # another one would only be asked after it
    derived = parent.startswith(_PACKAGE) and not parent.startswith(_OTHERS)
    replaced = handler.defines("initialize") and not handler.extends("initialize")
    base = derived and not replaced and not any(map(handler.defines, _LOADERS))
    text = base and parent.startswith(_OF_TEXT) and not handler.defines("get_source_vocab_path")
    if "handle" in handler.methods:
        return HandlerFacts(base, text, _awaited(handler.methods["handle"]))
    return HandlerFacts(base, text, False if derived and not handler.defines("handle") else None)


def _awaited(function: Function) -> bool | None:
    """Whether what a function returns is to be awaited. One that is not async may return what another one gave it."""
    return True if isinstance(function, AsyncFunction) and not function.decorator_list else None
