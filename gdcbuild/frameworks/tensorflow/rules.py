"""TensorFlow for the rest of gdcbuild: a version of a model becomes the action that makes its SavedModel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from gdcbuild.core.digest import Blob
from gdcbuild.core.graph import Action, Files, Image, Input, Policy, Worker
from gdcbuild.core.request import Lowered, Source, VersionRequest
from gdcbuild.errors import Problem
from gdcbuild.files import secrets, standins
from gdcbuild.frameworks.tensorflow import contract

ADAPTER_VERSION = 1
"""Raise it when the worker would now write other bytes from the same inputs."""

SOURCES = ("saved_model", "keras", "export")
FOREIGN = ("weights", "model_file", "mar", "handler", "config", "files", "requirements", "runtime", "compression")
"""Keys that mean something to PyTorch only."""

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
MAX_VERSION = 2**63 - 1

_WORKER = Worker("gdcbuild.frameworks.tensorflow.worker")


class TensorFlow:
    """The TensorFlow adapter."""

    kind = "tensorflow"
    entry = contract.ENTRY
    default_handlers: Sequence[str] = ()
    check_version = contract.CHECK_VERSION + secrets.VERSION + standins.VERSION

    def version_problem(self, version: str) -> str | None:
        """TensorFlow Serving takes a folder for a version if its name is a number, and passes over others in silence."""
        if not (version.isascii() and version.isdigit()):
            return f'TensorFlow Serving passes over version {version!r} in silence: write a positive whole number, such as "1"'
        number = int(version[:20])  # enough to tell that it is too large
        if number == 0 or number > MAX_VERSION:
            return f'TensorFlow Serving wants a version from 1 to {MAX_VERSION}, not {version!r}: write "1", or the like'
        if version != str(number):
            return f'TensorFlow Serving takes version {version!r} for {number}: write "{number}"'
        return None

    def lower(self, request: VersionRequest) -> Lowered | list[Problem]:
        """One action, whose id is the version's."""
        problems = list(_problems(request))
        return problems or Lowered((_action(request),))

    def mistake(self, action: Action, item: Input, start: Callable[[int], bytes]) -> Problem | None:  # noqa: ARG002
        """None: what its actions read is parsed by whoever runs it."""
        return None

    def check(self, artifact: Mapping[str, Blob], image: Image, policy: Policy) -> list[Problem]:
        """Everything for which TensorFlow Serving would refuse the artifact, and what must not be published."""
        return [*contract.check(artifact, image), *secrets.problems(artifact, policy.named)]


def _own(request: VersionRequest) -> list[Source]:
    return [source for source in request.sources if source.key in SOURCES]


def _action(request: VersionRequest) -> Action:
    """The action of a request without problems."""
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
    (source,) = _own(request)
    if source.key == "keras":
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
    foreign = [key for key in FOREIGN if key in request.given]
    for key in foreign:
        yield Problem(
            f"{request.id}: `{key}` is for PyTorch, and {request.image.name} serves TensorFlow",
            f"remove it; the source of a TensorFlow model is one of {', '.join(SOURCES)}",
            request.given[key],
        )
    export = request.export
    places = {source.key: source.where for source in _own(request)}
    if export is not None:
        places["export"] = export.where
    if not places and not {"weights", "mar"} & set(foreign):
        yield Problem(f"{request.id} has no source", f"give exactly one of {', '.join(SOURCES)}", request.where)
    for key, where in list(places.items())[1:]:
        yield Problem(
            f"{request.id} has more than one source: {' and '.join(places)}", f"remove all but one, here `{key}`", where
        )
    for source in _own(request):
        if source.key == "keras" and not _is_keras_file(source):
            yield Problem(
                f"{request.id}: `keras` must be one file, {' or '.join(KERAS_SUFFIXES[:2])}",
                "a folder that Keras 2 saved is a SavedModel: give it as `saved_model`",
                source.where,
            )
    if export is not None and export.method is not None:
        yield Problem(f"{request.id}: `method: {export.method}` is for PyTorch", "remove it", export.where)
    if export is not None and "export_dir" in export.args:
        yield Problem(
            f"{request.id}: `args` gives export_dir, which is for gdcbuild to give",
            "remove it; the function gets the folder to write into",
            export.where,
        )


def _is_keras_file(source: Source) -> bool:
    return len(source.inputs) == 1 and source.inputs[0].path.endswith(KERAS_SUFFIXES)
