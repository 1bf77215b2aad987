"""Check that TorchServe would load an archive, from its bytes alone: imports, runs and unpickles nothing.

The rules are those of TorchServe's `model_loader.py` (handler and entry point) and `base_handler.py` (how the default handlers
and those derived from them load a model). Messages quote TorchServe's own errors.
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
from gdcbuild.frameworks.torchserve.check.classes import Class, uninstantiable
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
"""Keys of the archive's manifest that name files, and those of them that may be empty."""

LABELS = "index_to_name.json"
"""The names of classes, which the base handler reads if the file exists."""

RUNTIMES = ("python", "python3", "LSP")
NATIVE = "LSP"
"""The runtime whose handler is a compiled library, which is not checked."""


def check(artifact: Mapping[str, Blob], image: Image, policy: Policy = Policy()) -> list[Problem]:
    """Every reason why the image's TorchServe would refuse the artifact, with the fix; a Caution for anything else to know."""
    if ENTRY not in artifact:
        found = ", ".join(sorted(artifact)[:5]) or "nothing"
        message = f"there is no {ENTRY} at the root, the only file {image.name} looks for; found: {found}"
        return [Problem(message, f"name the archive {ENTRY}, and do not put it in a folder")]
    problems = []
    others = sorted(set(artifact) - {ENTRY})
    if others:
        hint = "add what the handler needs to the archive, under `files`"
        problems.append(Problem(f"no server would read {', '.join(others[:5])}: only {ENTRY} is loaded", hint))
    try:
        with open_archive(artifact[ENTRY]) as archive:
            absent = _absent(archive)
            problems += [found.problem(name) for name, found in absent.items()]
            problems += _archive(archive, image, absent)
            problems += _pickles(archive, policy)
            problems += _secrets(archive, policy.named)
    except UnreadableArchive as error:
        problems.append(Problem(f"{ENTRY} cannot be read: {error}", "make the archive again with torch-model-archiver"))
    return problems


def _archive(archive: Archive, image: Image, absent: Collection[str]) -> Iterator[Problem]:
    """Problems of the archive, except for the content of members that are absent."""
    manifest = archive.manifest()
    model = manifest["model"]
    runtime = manifest.get("runtime", RUNTIMES[0])
    if image.deprecated:
        yield Caution(f"{image.name} is deprecated: a newer GDC release may remove it", "move the model to a newer image")
    if runtime not in RUNTIMES:
        yield Problem(f"{MANIFEST}: runtime is {runtime!r}; TorchServe: Runtime is not defined or invalid.", 'write "python"')
    if model.get("modelName") != MODEL_NAME:
        yield Problem(
            f"{MANIFEST}: TorchServe would serve it as {model.get('modelName')!r}, but {image.name} expects {MODEL_NAME!r}",
            f"run torch-model-archiver with --model-name {MODEL_NAME}",
        )
    if isinstance(model.get("modelVersion"), list | dict):  # it reads numbers as strings, and none as 1.0
        yield Problem(f"{MANIFEST}: TorchServe: Expected a string as modelVersion", "run torch-model-archiver with --version")
    for key in FILES:
        if key in model and model[key] not in archive.names and (model[key] or key not in OPTIONAL):
            yield Problem(
                f"{MANIFEST}: {key} is {model[key]!r}, which is not in the archive", "add the file, or remove the key"
            )
    if runtime == NATIVE:
        yield Caution(
            f"the runtime {NATIVE} needs TorchServe's C++ backend, which its packages do not include; {image.name} may not have"
            " it. Without it, TorchServe: model_worker_socket not found",
            "use a Python handler, unless you know that the image was built with the C++ backend",
        )
        return
    requirements = model.get("requirementsFile")
    if requirements:
        yield Caution(
            f"TorchServe installs {requirements} only with install_py_dep_per_model=true, which is not the default;"
            f" {image.name} may not set it",
            "add modules the image may not have to the archive, under `files`",
        )
    entry = yield from handlers.look(archive, model.get("handler"))
    yield from shadows.look(archive, (handlers.file_of(str(model.get("handler"))), model.get("modelFile")))
    settings = yield from _config(archive, model, entry)
    if entry.base:
        yield from _model(archive, model, settings, image, absent)
    if entry.text and "sourceVocab" not in model and VOCABULARY not in archive.names:
        yield Problem(
            f"there is no {VOCABULARY}; TorchServe: Missing the source_vocab file",
            f"add {VOCABULARY}, written by torch.save, to `files`",
        )
    held = bool(model.get("serializedFile")) or any(name.endswith(weights.ENDINGS) for name in archive.names)
    if not held and (model.get("modelFile") or not entry.base):
        yield Caution(
            f"the archive has no weights, and {image.name} may have no network to download them",
            "set `weights`, or add the files the handler loads to `files`",
        )


def _config(archive: Archive, model: Mapping[str, Any], entry: HandlerFacts) -> Generator[Problem, None, Mapping[str, Any]]:
    """Problems of the configuration; returns the configuration."""
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
        message = f"{handler} requires the section `{entry.section}` in the configuration"
        yield Problem(message, f"add {entry.section}: to config")
    waits = settings.get("asyncCommunication") is True
    if entry.awaited is True and not waits:
        message = f"handle() of {handler} is async, but nothing awaits it; TorchServe: Invalid model predict output"
        yield Problem(message, "add asyncCommunication: true to config")
    elif entry.awaited is False and waits:
        message = f"handle() of {handler} is not async, but would be awaited; TorchServe: Invoking custom service failed"
        yield Problem(message, "remove asyncCommunication: true from config")
    return settings


def _pickles(archive: Archive, policy: Policy) -> Iterator[Problem]:
    """Pickles that import more than weights need, reported as the policy says."""
    choice = policy.options.get(PICKLE.name, PICKLE.default)
    if choice == "allow":
        return
    kind = Problem if choice == "deny" else Caution
    for found in scan(archive, archive.manifest()["model"].get("serializedFile")):
        if found.why:
            message = f"{found.place} cannot be searched for pickles: {found.why}"
            hint = "add the files in it directly instead"
        else:
            some = ", ".join(found.names[:3]) + (f" and {len(found.names) - 3} more" if len(found.names) > 3 else "")
            message = f"{found.place}: unpickling it imports {some}, which weights do not need"
            hint = SAVE_STATE
        hint += "; or, if you trust it, set policy: {pickle: allow}"
        yield kind(message, hint, detail="\n".join(found.names[3:]))


def _absent(archive: Archive) -> Mapping[str, StandIn]:
    """Members that are placeholders for missing data. Weights are never empty, whatever their name."""
    sizes = {name: archive.size(name) for name in archive.names}
    weights = str(archive.manifest()["model"].get("serializedFile"))
    return standins.among(sizes, lambda name: archive.start(name, standins.MAX_BYTES), [weights])


def _secrets(archive: Archive, named: frozenset[str]) -> Iterator[Problem]:
    """Members that look like secrets. A file that the manifest names individually is recognised by its digest."""
    for name in archive.names:
        what = secrets.looks_like(name, archive.size(name), partial(archive.start, name, secrets.MAX_BYTES))
        if what:
            yield secrets.problem(name, what, archive.member(name).digest.hash in named)


def _model(
    archive: Archive, model: Mapping[str, Any], settings: Mapping[str, Any], image: Image, absent: Collection[str]
) -> Iterator[Problem]:
    """Problems of the model file and weights, for a handler that loads them as the base handler does."""
    name, file = model.get("serializedFile"), model.get("modelFile") or None
    network = (yield from _eager(archive, str(file))) if file in archive.names else None
    if "serializedFile" in model and not name:
        said = "join() argument must be str, bytes, or os.PathLike object, not 'NoneType'" if name is None else "Is a directory"
        yield Problem(
            f"{MANIFEST}: serializedFile is empty; TorchServe: {said}",
            "remove the key, or give it the name of the weights file",
        )
    elif name is None and file is None:
        hint = "add weights, or a custom handler"
        if handlers.file_of(str(model["handler"])) in archive.names:
            hint = "add weights; or, if the handler loads a model itself, do not call super().initialize() in its initialize()"
        yield Problem(f"{MANIFEST}: it has neither serializedFile nor modelFile", hint)
    if name in archive.names and name not in absent:
        yield from (
            weights.alone(archive, name, settings, image) if file is None else weights.eager(archive, name, image, network)
        )
    if LABELS in archive.names and archive.size(LABELS) <= MAX_TEXT:
        why = _labels(archive.text(LABELS))
        if why:
            yield Problem(
                f"{LABELS} {why}", 'write a string, or a list ending in one, for each class: {"0": "cat", "1": "dog"}'
            )


def _labels(data: bytes) -> str:
    """Why the base handler cannot read the names of classes; "" when it can."""
    try:
        names = json.loads(data.decode())  # a server accepts neither a byte order mark nor UTF-16
    except (ValueError, RecursionError) as error:
        return f"is not JSON: {' '.join(str(error).split())}"
    if not isinstance(names, dict):
        return 'is not a mapping; TorchServe: index->name JSON mapping should be in "class": "label" format.'
    if isinstance(names.get("object_type_names"), list):
        return ""
    for key, value in names.items():
        last = value[-1] if isinstance(value, list) and value else value
        if not isinstance(last, str):
            return f"has no string for {key!r:.60}; TorchServe: labels in index->name mapping must be either str or List[str]"
    return ""


def _eager(archive: Archive, file: str) -> Generator[Problem, None, Class | None]:
    """Problems of a model file; returns its class."""
    name = file.partition(".")[0]
    if file != f"{name}.py" or "/" in file:
        yield Problem(
            f"the model_file is named {file}; TorchServe: No module named {name!r}",
            "name it NAME.py, without other dots, and do not put it in a folder",
        )
        return None
    module = yield from module_of(archive, file)
    if module is None:
        return None
    if module.miscounted:
        yield Problem(
            f"the model_file {file} defines {listed(module.classes)}; TorchServe: Expected only one class as model definition",
            "keep one nn.Module in it, and move other classes to separate files, listed under `files`"
            if module.classes
            else "define the nn.Module in it",
        )
        return None
    network = module.only
    if network is None:
        return None
    yield from uninstantiable(network, f"the model_file {file}", "give them defaults")
    lacking = [name for name in ("load_state_dict", "to", "eval") if not network.has(name)]
    if network.complete and lacking:
        yield Problem(
            f"{network.name} of the model_file {file} is not an nn.Module; TorchServe: {network.name!r} object has no attribute"
            f" {lacking[0]!r}",
            "derive it from torch.nn.Module",
        )
    return network
