"""Would TorchServe load this archive? Judged from its bytes alone: nothing is imported, run or unpickled.

What TorchServe does is its `model_loader.py` (which handler, which entry point) and `base_handler.py` (how the default
handlers, and those derived from them, load a model); the messages quote what they would say.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Generator, Iterator, Mapping
from functools import partial
from typing import Any

from gdcbuild.core.digest import Blob
from gdcbuild.core.graph import Image, Policy
from gdcbuild.core.keys import ChoiceKey
from gdcbuild.errors import Caution, Problem
from gdcbuild.files import secrets, standins
from gdcbuild.files.standins import StandIn
from gdcbuild.frameworks.torchserve.check import config, handlers, shadows, weights
from gdcbuild.frameworks.torchserve.check.classes import Class
from gdcbuild.frameworks.torchserve.check.handlers import VOCABULARY, HandlerFacts, listed, module_of
from gdcbuild.frameworks.torchserve.check.weights import SAVE_STATE
from gdcbuild.frameworks.torchserve.mar.archive import MAX_TEXT, Archive, open_archive
from gdcbuild.frameworks.torchserve.mar.layout import UnreadableArchive
from gdcbuild.frameworks.torchserve.mar.writer import ENTRY, MANIFEST, MODEL_NAME
from gdcbuild.frameworks.torchserve.pickles.search import scan

PICKLE = ChoiceKey(
    "pickle", "weights whose unpickling would import more than weights are made of.", ("allow", "warn", "deny"), "warn"
)

FILES = ("serializedFile", "modelFile", "requirementsFile", "configFile")
OPTIONAL = ("serializedFile", "modelFile", "requirementsFile")
"""Keys of the manifest that name files, and those of them that may be empty."""

LABELS = "index_to_name.json"
"""The names of classes, which the base handler reads where they are."""

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
            absent = _absent(archive)
            problems += [found.problem(name) for name, found in absent.items()]
            problems += _archive(archive, image, absent)
            problems += _pickles(archive, policy)
            problems += _secrets(archive, policy.named)
    except UnreadableArchive as error:
        problems.append(Problem(f"{ENTRY} cannot be read: {error}", "make the archive again"))
    return problems


def _archive(archive: Archive, image: Image, absent: Collection[str]) -> Iterator[Problem]:
    """What is wrong with the archive, but for the content of members that are absent."""
    manifest = archive.manifest()
    model = manifest["model"]
    runtime = manifest.get("runtime", RUNTIMES[0])
    if image.deprecated:
        yield Caution(f"{image.name} is deprecated: a newer GDC may no longer have it", "move the model to a newer image")
    if runtime not in RUNTIMES:
        yield Problem(f"{MANIFEST}: runtime is {runtime!r}; TorchServe: Runtime is not defined or invalid.", 'write "python"')
    if model.get("modelName") != MODEL_NAME:
        yield Problem(
            f"{MANIFEST}: TorchServe would serve it as {model.get('modelName')!r}, and {image.name} asks for {MODEL_NAME!r}",
            f"make the archive with --model-name {MODEL_NAME}",
        )
    if isinstance(model.get("modelVersion"), list | dict):  # numbers it takes as text, and none as 1.0
        yield Problem(f"{MANIFEST}: TorchServe: Expected a string as modelVersion", "make the archive with --version")
    for key in FILES:
        if key in model and model[key] not in archive.names and (model[key] or key not in OPTIONAL):
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
    if requirements:
        yield Caution(
            f"{requirements} is installed only by a TorchServe started with install_py_dep_per_model=true, which is not the"
            f" default; whether {image.name} is, is not known",
            "put modules that it may lack into the archive: `files`",
        )
    entry = yield from handlers.look(archive, model.get("handler"))
    yield from shadows.look(archive, (handlers.file_of(str(model.get("handler"))), model.get("modelFile")))
    settings = yield from _config(archive, model, entry)
    if entry.base:
        yield from _model(archive, model, settings, image, absent)
    if entry.text and "sourceVocab" not in model and VOCABULARY not in archive.names:
        yield Problem(
            f"there is no {VOCABULARY}; TorchServe: Missing the source_vocab file",
            f"add {VOCABULARY} to `files`, as torch.save made it",
        )
    held = bool(model.get("serializedFile")) or any(name.endswith(weights.ENDINGS) for name in archive.names)
    if not held and (model.get("modelFile") or not entry.base):
        yield Caution(
            f"there are no weights in the archive, and where {image.name} runs there may be no network to get them from",
            "give `weights`, or add what the handler loads to `files`",
        )


def _config(archive: Archive, model: Mapping[str, Any], entry: HandlerFacts) -> Generator[Problem, None, Mapping[str, Any]]:
    """What is wrong with the configuration; returns it."""
    file = model.get("configFile")
    settings: Mapping[str, Any] = {}
    if file in archive.names:
        found = config.read(archive.start(str(file), config.MAX_TEXT + 1), str(file))
        if isinstance(found, Problem):
            yield found._replace(message=f"{found.where}: {found.message}", where=None)
            return settings
        settings = found
        yield from config.check(settings, str(file), entry.base)
    handler = model.get("handler")
    if entry.section and not isinstance(settings.get(entry.section), dict):
        message = f"{handler} requires a section `{entry.section}` in the configuration"
        yield Problem(message, "add it to config")
    waits = settings.get("asyncCommunication") is True
    if entry.awaited is True and not waits:
        message = f"handle() of {handler} is async, and nothing awaits it; TorchServe: Invalid model predict output"
        yield Problem(message, "add asyncCommunication: true to config")
    elif entry.awaited is False and waits:
        message = f"handle() of {handler} is not async, and would be awaited; TorchServe: Invoking custom service failed"
        yield Problem(message, "remove asyncCommunication: true from config")
    return settings


def _pickles(archive: Archive, policy: Policy) -> Iterator[Problem]:
    """Weights that would run code when they are loaded, as far as the policy wants to know."""
    choice = policy.options.get(PICKLE.name, PICKLE.default)
    if choice == "allow":
        return
    kind = Problem if choice == "deny" else Caution
    for found in scan(archive, archive.manifest()["model"].get("serializedFile")):
        if found.why:
            message = f"{found.place} cannot be searched for pickles: {found.why}"
            hint = "give the files that are in it instead"
        else:
            some = ", ".join(found.names[:3]) + (f" and {len(found.names) - 3} more" if len(found.names) > 3 else "")
            message = f"{found.place}: unpickling it reaches for {some}, which weights are not made of"
            hint = SAVE_STATE
        hint += "; or, if you trust it, set policy: {pickle: allow}"
        yield kind(message, hint, detail="\n".join(found.names[3:]))


def _absent(archive: Archive) -> Mapping[str, StandIn]:
    """Members that only stand for what the model needs. Weights are never empty, whatever they are called."""
    sizes = {name: archive.size(name) for name in archive.names}
    weights = str(archive.manifest()["model"].get("serializedFile"))
    return standins.among(sizes, lambda name: archive.start(name, standins.MAX_BYTES), [weights])


def _secrets(archive: Archive, named: frozenset[str]) -> Iterator[Problem]:
    """Members that look like secrets. A file that was named by itself is known again by its content."""
    for name in archive.names:
        what = secrets.looks_like(name, archive.size(name), partial(archive.start, name, secrets.MAX_BYTES))
        if what:
            yield secrets.problem(name, what, archive.member(name).digest.hash in named)


def _model(
    archive: Archive, model: Mapping[str, Any], settings: Mapping[str, Any], image: Image, absent: Collection[str]
) -> Iterator[Problem]:
    """What is wrong with model file and weights, for a handler that loads them as the base handler does."""
    name, file = model.get("serializedFile"), model.get("modelFile") or None
    network = (yield from _eager(archive, str(file))) if file in archive.names else None
    if "serializedFile" in model and not name:
        said = "join() argument must be str, bytes, or os.PathLike object, not 'NoneType'" if name is None else "Is a directory"
        yield Problem(f"{MANIFEST}: serializedFile is empty; TorchServe: {said}", "remove the key, or name the weights")
    elif name is None and file is None:
        hint = "add weights, or a handler of your own"
        if handlers.file_of(str(model["handler"])) in archive.names:
            hint = (
                "add weights; or, if the handler loads a model itself, let its initialize() not call that of the base handler"
            )
        yield Problem(f"{MANIFEST}: there is neither serializedFile nor modelFile", hint)
    if name in archive.names and name not in absent:
        yield from (
            weights.alone(archive, name, settings, image) if file is None else weights.eager(archive, name, image, network)
        )
    if LABELS in archive.names and archive.size(LABELS) <= MAX_TEXT:
        why = _labels(archive.text(LABELS))
        if why:
            yield Problem(
                f"{LABELS} {why}", 'write a text, or a list that ends in one, for each class: {"0": "cat", "1": "dog"}'
            )


def _labels(data: bytes) -> str:
    """Why the base handler could not read the names of classes; "" when it can."""
    try:
        names = json.loads(data.decode())  # a server takes neither a mark of the byte order nor UTF-16
    except (ValueError, RecursionError) as error:
        return f"is not JSON: {' '.join(str(error).split())}"
    if not isinstance(names, dict):
        return 'is no mapping; TorchServe: index->name JSON mapping should be in "class": "label" format.'
    if isinstance(names.get("object_type_names"), list):
        return ""
    for key, value in names.items():
        last = value[-1] if isinstance(value, list) and value else value
        if not isinstance(last, str):
            return f"has no text for {key!r:.60}; TorchServe: labels in index->name mapping must be either str or List[str]"
    return ""


def _eager(archive: Archive, file: str) -> Generator[Problem, None, Class | None]:
    """What is wrong with a model file; returns its class."""
    name = file.partition(".")[0]
    if file != f"{name}.py" or "/" in file:
        yield Problem(
            f"the model_file is called {file}; TorchServe: No module named {name!r}",
            "call it NAME.py, without other points, and lay it into no folder",
        )
        return None
    module = yield from module_of(archive, file)
    if module is None:
        return None
    if module.miscounted:
        yield Problem(
            f"the model_file {file} defines {listed(module.classes)}; TorchServe: Expected only one class as model definition",
            "leave the one nn.Module in it and put the others into files of their own, declared under `files`",
        )
        return None
    network = module.only
    if network is None:
        return None
    if network.abstract:
        yield Problem(
            f"the model_file {file}: TorchServe: Can't instantiate abstract class {network.name}, which leaves open:"
            f" {', '.join(network.abstract)}",
            "define what they do, or remove @abstractmethod",
        )
    if network.required:
        missing = ", ".join(network.required)
        yield Problem(
            f"the model_file {file}: TorchServe calls {network.name}() without arguments, and it requires {missing}",
            "give them defaults",
        )
    lacking = [name for name in ("load_state_dict", "to", "eval") if not network.has(name)]
    if network.complete and lacking:
        yield Problem(
            f"{network.name} of the model_file {file} is not an nn.Module; TorchServe: {network.name!r} object has no attribute"
            f" {lacking[0]!r}",
            "derive it from torch.nn.Module",
        )
    return network
