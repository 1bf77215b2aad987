"""Would TorchServe load this archive? Judged from its bytes alone: nothing is imported, run or unpickled.

What TorchServe does is its `model_loader.py` (which handler, which entry point) and `base_handler.py` (how the default
handlers, and those derived from them, load a model); the messages quote what they would say.
"""

from __future__ import annotations

import difflib
from collections.abc import Generator, Iterator, Mapping
from functools import partial
from typing import Any

from gdcbuild.core import secrets
from gdcbuild.core.digest import Blob
from gdcbuild.core.graph import Image, Policy
from gdcbuild.errors import Caution, Problem
from gdcbuild.frameworks.torchserve import config, weights
from gdcbuild.frameworks.torchserve.archive import Archive, open_archive
from gdcbuild.frameworks.torchserve.layout import Unreadable
from gdcbuild.frameworks.torchserve.scan import scan
from gdcbuild.frameworks.torchserve.source import Module, NotPython, parse
from gdcbuild.frameworks.torchserve.weights import SAVE_STATE
from gdcbuild.frameworks.torchserve.writer import ENTRY, MANIFEST, MODEL_NAME

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

ENGINE = "trt_llm_handler"
LOADS_ITSELF = frozenset({ENGINE, "vllm_handler"})
"""Of these, the ones that do not load a model as the others do."""

RUNTIMES = ("python", "python3", "LSP")
NATIVE = "LSP"
"""The runtime whose handler is a compiled library: not for us to judge."""


def check(artifact: Mapping[str, Blob], image: Image, policy: Policy = Policy()) -> list[Problem]:
    """Everything for which the image's TorchServe would refuse the artifact, and how to mend it; what to know is a Caution."""
    if ENTRY not in artifact:
        found = ", ".join(sorted(artifact)[:5]) or "nothing"
        message = f"there is no {ENTRY} at the root, and {image.name} looks for nothing else; there is {found}"
        return [Problem(message, f"name the archive {ENTRY}, and lay it into no folder")]
    problems = []
    others = sorted(set(artifact) - {ENTRY})
    if others:
        hint = "put what the handler needs into the archive: `files`"
        problems.append(Problem(f"beside {ENTRY} there is {', '.join(others[:5])}, which no server would see", hint))
    try:
        with open_archive(artifact[ENTRY]) as archive:
            problems += _archive(archive, image)
            problems += _pickles(archive, policy)
            problems += _secrets(archive, policy.named)
    except Unreadable as error:
        problems.append(Problem(f"{ENTRY} cannot be read: {error}", "make the archive again"))
    return problems


def _archive(archive: Archive, image: Image) -> Iterator[Problem]:
    manifest = archive.manifest()
    model = manifest["model"]
    runtime = manifest.get("runtime")
    if image.deprecated:
        yield Caution(f"{image.name} is deprecated: a newer GDC may no longer have it", "move the model to a newer image")
    if runtime not in RUNTIMES:
        yield Problem(f"{MANIFEST}: runtime is {runtime!r}; TorchServe: Runtime is not defined or invalid.", 'write "python"')
    if model.get("modelName") != MODEL_NAME:
        yield Problem(
            f"{MANIFEST}: TorchServe would serve it as {model.get('modelName')!r}, and {image.name} asks for {MODEL_NAME!r}",
            f"make the archive with --model-name {MODEL_NAME}",
        )
    if not isinstance(model.get("modelVersion"), str):
        yield Problem(f"{MANIFEST}: TorchServe: Model version is not defined.", "make the archive with --version")
    for key in ("serializedFile", "modelFile", "requirementsFile", "configFile"):
        if key in model and model[key] not in archive.names:
            yield Problem(
                f"{MANIFEST}: {key} is {model[key]!r}, which is not in the archive", "add the file, or remove the key"
            )
    if runtime == NATIVE:
        yield Caution(
            f"the runtime {NATIVE} wants TorchServe's C++ backend, which its packages do not have; whether {image.name} has it"
            " is not known. Without it, TorchServe: model_worker_socket not found",
            "give a handler in Python, unless you know that the image was built with the C++ backend",
        )
        return
    requirements = model.get("requirementsFile")
    if requirements is not None:
        yield Caution(
            f"{requirements} is installed only by a TorchServe started with install_py_dep_per_model=true, which is not the"
            f" default; whether {image.name} is, is not known",
            "put modules that it may lack into the archive: `files`",
        )
    loads_like_base = yield from _handler(archive, model.get("handler"))
    settings = yield from _config(archive, model, loads_like_base)
    if loads_like_base:
        yield from _model(archive, model, settings, image)


def _config(archive: Archive, model: Mapping[str, Any], base: bool) -> Generator[Problem, None, Mapping[str, Any]]:
    """What is wrong with the configuration; returns it."""
    file = model.get("configFile")
    settings: Mapping[str, Any] = {}
    if file in archive.names:
        found = config.read(archive.text(str(file)), str(file))
        if isinstance(found, Problem):
            yield found
        else:
            settings = found
            yield from config.check(settings, str(file), base)
    name = str(model.get("handler")).rpartition("/")[2].removesuffix(".py")
    if name == ENGINE and f"{name}.py" not in archive.names and not isinstance(settings.get("handler"), dict):
        yield Problem(
            f"{name} is told by the configuration what to load, and there is no section `handler`", "add one to config"
        )
    return settings


def _pickles(archive: Archive, policy: Policy) -> Iterator[Problem]:
    """Weights that would run code when they are loaded, as far as the policy wants to know."""
    if policy.pickle == "allow":
        return
    kind = Problem if policy.pickle == "deny" else Caution
    for found in scan(archive, archive.manifest()["model"].get("serializedFile")):
        if found.why:
            message = f"{found.place} cannot be looked into for pickles: {found.why}"
        else:
            some = ", ".join(found.names[:3]) + (f" and {len(found.names) - 3} more" if len(found.names) > 3 else "")
            message = f"{found.place}: unpickling it reaches for {some}, which weights are not made of"
        yield kind(
            message, f"{SAVE_STATE}; or, if you trust it, set policy: {{pickle: allow}}", detail="\n".join(found.names[3:])
        )


def _secrets(archive: Archive, named: frozenset[str]) -> Iterator[Problem]:
    """Members that look like secrets. A file that was named by itself is known again by its content."""
    for name in archive.names:
        what = secrets.looks_like(name, archive.size(name), partial(archive.start, name, secrets.MAX_BYTES))
        if what:
            yield secrets.problem(name, what, archive.member(name).digest.hash in named)


def _handler(archive: Archive, handler: Any) -> Generator[Problem, None, bool]:
    """What is wrong with the handler; returns whether it loads the model as TorchServe's base handler does."""
    if not isinstance(handler, str) or not handler:
        yield Problem(f"{MANIFEST}: there is no handler", "name one: a default one of TorchServe, or a file of the archive")
        return False
    path, _, function = handler.partition(":")
    name = path.rpartition("/")[2].removesuffix(".py")
    file = f"{name}.py"
    if file in archive.names:
        return (yield from _entry(archive, file, function))
    if name in DEFAULT_HANDLERS:
        return name not in LOADS_ITSELF
    close = difflib.get_close_matches(name, DEFAULT_HANDLERS, 1)
    yield Problem(
        f"the handler {handler!r} is neither in the archive nor one of TorchServe's;"
        f" TorchServe: No module named 'ts.torch_handler.{name}'",
        f"did you mean {close[0]}?" if close else f"add {file}, or use one of: {', '.join(DEFAULT_HANDLERS)}",
    )
    return False


def _entry(archive: Archive, file: str, function: str) -> Generator[Problem, None, bool]:
    module = yield from _module(archive, file)
    if module is None:
        return False
    if function:
        if function not in module.names and not module.vague:
            yield Problem(
                f"the handler {file} has no function {function!r}; TorchServe would use its class instead, if there is one",
                f"define {function}(data, context) in it, or correct the name",
            )
        return False
    if "handle" in module.names or (module.vague and len(module.classes) != 1):
        return False
    if len(module.classes) != 1:
        yield Problem(
            f"the handler {file} defines {_listed(module.classes)}; TorchServe: Expected only one class in custom service code"
            " or a function entry point",
            "leave one class in it, or define handle(data, context), or name the function: FILE.py:FUNCTION",
        )
        return False
    (handler,) = module.classes.values()
    for method, complaint in (
        ("handle", f"Expect handle method in class {handler.name}"),
        ("initialize", f"{handler.name!r} object has no attribute 'initialize'"),
    ):
        if handler.complete and method not in handler.methods:
            yield Problem(
                f"class {handler.name} of the handler {file} has no {method}; TorchServe: {complaint}",
                "define it, or derive the class from ts.torch_handler.base_handler.BaseHandler",
            )
    derived = any(base.startswith("ts.torch_handler.") for base in handler.bases)
    replaced = "initialize" in handler.methods and not handler.calls("initialize", "initialize")
    return derived and not replaced and not handler.methods.keys() & {"_load_pickled_model", "_load_torchscript_model"}


def _model(archive: Archive, model: Mapping[str, Any], settings: Mapping[str, Any], image: Image) -> Iterator[Problem]:
    """What is wrong with model file and weights, for a handler that loads them as the base handler does."""
    name, file = model.get("serializedFile"), model.get("modelFile")
    if file in archive.names:
        yield from _eager(archive, str(file))
    if name is None and file is None:
        yield Problem(f"{MANIFEST}: there is neither serializedFile nor modelFile", "add weights, or a handler of your own")
    if name in archive.names:
        yield from weights.alone(archive, name, settings, image) if file is None else weights.eager(archive, name, image)


def _eager(archive: Archive, file: str) -> Iterator[Problem]:
    name = file.partition(".")[0]
    if file != f"{name}.py":
        yield Problem(
            f"the model_file is called {file}; TorchServe: No module named {name!r}", "call it NAME.py, without other points"
        )
        return
    module = yield from _module(archive, file)
    if module is None:
        return
    if len(module.classes) != 1:
        if not module.vague or module.classes:
            yield Problem(
                f"the model_file {file} defines {_listed(module.classes)};"
                " TorchServe: Expected only one class as model definition",
                "leave the one nn.Module in it and put the others into files of their own, declared under `files`",
            )
        return
    (network,) = module.classes.values()
    if network.required:
        missing = ", ".join(network.required)
        yield Problem(
            f"the model_file {file}: TorchServe makes {network.name}() without arguments, and it wants {missing}",
            "give them defaults",
        )


def _module(archive: Archive, file: str) -> Generator[Problem, None, Module | None]:
    """The module that a Python file of the archive is; None, after saying so, when a server could not import it."""
    if "." in file.removesuffix(".py"):
        yield Problem(f"{file} cannot be imported; TorchServe: No module named {file.removesuffix('.py')!r}", "rename it")
        return None
    try:
        module = parse(archive.text(file), file)
    except NotPython as error:
        yield Problem(f"{error}; TorchServe could not import it", "correct the file")
        return None
    if module.relative:
        yield Problem(
            f"{file} imports relative to a package; TorchServe: attempted relative import with no known parent package",
            "write import NAME: a file of the archive is a module at the top",
        )
        return None
    return module


def _listed(names: Mapping[str, object]) -> str:
    return f"{len(names)} classes ({', '.join(names)})" if names else "no class"
