"""The TensorFlow framework: turn a version of a model into the action that makes its SavedModel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gdcbuild.core.digest import Blob
from gdcbuild.core.graph import Action, Files, Image, Input, Policy, Worker
from gdcbuild.core.keys import ChoiceKey, ExportKey, FileKey, FolderKey, Key
from gdcbuild.core.ports import Framework
from gdcbuild.core.request import Lowered, Source, VersionRequest
from gdcbuild.errors import Problem
from gdcbuild.files import secrets, standins
from gdcbuild.frameworks.tensorflow import contract

ADAPTER_VERSION = 1
"""Raise it when the worker would write different bytes from the same inputs."""

SAVED_MODEL = FolderKey("saved_model", "a SavedModel directory, taken as it is.")
KERAS = FileKey("keras", "a .keras or .h5 file, converted.")
EXPORT = ExportKey("export", "a function that makes the model.")
SOURCES = (SAVED_MODEL, KERAS, EXPORT)

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
MAX_VERSION = 2**63 - 1

_WORKER = Worker("gdcbuild.frameworks.tensorflow.worker")


class TensorFlow:
    """The TensorFlow framework: a version is a SavedModel."""

    kind = "tensorflow"
    title = "TensorFlow"
    entry = contract.ENTRY
    sources: Sequence[Key[Any]] = SOURCES
    keys: Sequence[Key[Any]] = ()
    policy: Sequence[ChoiceKey] = ()
    check_version = contract.CHECK_VERSION + secrets.VERSION + standins.VERSION

    def version_problem(self, version: str) -> str | None:
        """TensorFlow Serving serves folders whose names are numbers, and silently ignores others."""
        if not (version.isascii() and version.isdigit()):
            return f'TensorFlow Serving silently ignores version {version!r}: write a positive whole number, such as "1"'
        number = int(version[:20])  # enough to tell that it is too large
        if number == 0 or number > MAX_VERSION:
            return f'TensorFlow Serving needs a version from 1 to {MAX_VERSION}, not {version!r}: write a number such as "1"'
        if version != str(number):
            return f'TensorFlow Serving reads version {version!r} as {number}: write "{number}"'
        return None

    def lower(self, request: VersionRequest) -> Lowered | list[Problem]:
        """One action with the version's id."""
        problems = list(_problems(request))
        return problems or Lowered((_action(request),))

    def mistake(self, action: Action, item: Input, start: Callable[[int], bytes]) -> Problem | None:  # noqa: ARG002
        """None: the inputs of these actions are parsed only when they run."""
        return None

    def check(self, artifact: Mapping[str, Blob], image: Image, policy: Policy) -> list[Problem]:
        """Every reason why TensorFlow Serving would refuse the artifact, and anything that must not be published."""
        return [*contract.check(artifact, image), *secrets.problems(artifact, policy.named)]


def _action(request: VersionRequest) -> Action:
    """The action for a request without problems."""
    name = str(request.id)
    export = request.export
    if export is not None:
        return Action(
            id=name,
            kind="tensorflow.export",
            run=_WORKER,
            inputs=export.inputs,
            params={"way": "function", "function": export.function, "args": export.args},
            toolchain=request.toolchain,
            cwd=export.cwd,
            version=ADAPTER_VERSION,
            where=request.where,
        )
    (source,) = request.sources
    if source.key == KERAS.name:
        return Action(
            id=name,
            kind="tensorflow.keras",
            run=_WORKER,
            inputs=source.inputs,
            params={"way": "keras", "file": source.inputs[0].path},
            toolchain=request.toolchain,
            version=ADAPTER_VERSION,
            where=request.where,
        )
    return Action(id=name, kind="tensorflow.saved_model", run=Files(), inputs=source.inputs, where=request.where)


def _problems(request: VersionRequest) -> Iterator[Problem]:
    export = request.export
    places = {source.key: source.where for source in request.sources}
    if export is not None:
        places["export"] = export.where
    if not places:
        known = ", ".join(key.name for key in SOURCES)
        yield Problem(f"{request.id} has no source", f"give exactly one of {known}", request.where)
    for key, where in list(places.items())[1:]:
        yield Problem(
            f"{request.id} has more than one source: {' and '.join(places)}", f"keep one of them, or remove `{key}` here", where
        )
    for source in request.sources:
        if source.key == KERAS.name and not _is_keras_file(source):
            yield Problem(
                f"{request.id}: `keras` must be one file ending in {' or '.join(KERAS_SUFFIXES[:2])}",
                "a folder saved by Keras 2 is a SavedModel: give it as `saved_model`",
                source.where,
            )
    if export is not None and "export_dir" in export.args:
        yield Problem(
            f"{request.id}: `args` sets export_dir, which gdcbuild sets itself",
            "remove it; gdcbuild passes the folder to write into",
            export.where,
        )


def _is_keras_file(source: Source) -> bool:
    return len(source.inputs) == 1 and source.inputs[0].path.endswith(KERAS_SUFFIXES)


FRAMEWORK: Framework = TensorFlow()
