"""The manifest's keys for PyTorch, and a version's request with their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gdcbuild.core.graph import Input
from gdcbuild.core.keys import ChoiceKey, CodeKey, ConfigKey, Entry, EntryKey, ExportKey, FileKey, FilesKey, Section
from gdcbuild.core.request import VersionRequest
from gdcbuild.errors import Location
from gdcbuild.frameworks.torchserve.check.handlers import DEFAULT_HANDLERS

NATIVE_HANDLERS = ("BaseHandler", "TorchScriptHandler")
"""Handlers built into TorchServe's C++ backend."""

_FILE = CodeKey("file", "file.py, or file.py:function.")
_MORE = FilesKey("files", "More files it needs in the archive.")
_PACKAGES = FileKey("requirements", "A requirements.txt for the archive.")
HANDLERS = Section(
    "handlers",
    "TorchServe handlers by name.",
    "A TorchServe handler that several models may share.",
    (_FILE, _MORE, _PACKAGES),
)

HANDLER = EntryKey(
    "handler", "a name from `handlers`, or a TorchServe default handler.", HANDLERS, (*DEFAULT_HANDLERS, *NATIVE_HANDLERS)
)
CONFIG = ConfigKey("config", "model-config.yaml, or its content.")
FILES = FilesKey("files", "more files in the archive.")
MODEL_FILE = FileKey("model_file", "the source file with the one nn.Module.")
REQUIREMENTS = FileKey("requirements", "a requirements.txt for the archive, unless the handler brings one.")
RUNTIME = ChoiceKey(
    "runtime", 'what runs the handler; the default is python, and "LSP" is a compiled library.', ("python", "python3", "LSP")
)
COMPRESSION = ChoiceKey("compression", "how the archive's members are packed; the default is store.", ("store", "deflate"))
METHOD = ChoiceKey("method", "save as TorchScript, or as a torch.export program.", ("script", "trace", "export"))

IN_ARCHIVE = (HANDLER, MODEL_FILE, CONFIG, FILES, REQUIREMENTS, RUNTIME)
"""Keys for what an existing archive already has."""

WEIGHTS = FileKey("weights", "a state dict (with model_file) or a TorchScript file.")
MAR = FileKey("mar", "an existing archive, checked and repacked.", [key.name for key in IN_ARCHIVE])
EXPORT = ExportKey("export", "a function that makes the model.", (METHOD,))


@dataclass(frozen=True, slots=True)
class Handler:
    """A default handler by `name`, or the file `file`, with an entry `function` or none.

    The paths of the inputs in `files` are those in the archive.
    """

    name: str
    where: Location
    file: Input | None = None
    function: str | None = None
    files: tuple[Input, ...] = ()
    requirements: Input | None = None

    @classmethod
    def of(cls, entry: Entry) -> Handler:
        values, code = entry.values, entry.values.of(_FILE)
        if code is None:
            return cls(entry.name, entry.where)
        return cls(entry.name, code.where, code.file, code.function, values.of(_MORE) or (), values.of(_PACKAGES))


@dataclass(frozen=True, slots=True)
class Request(VersionRequest):
    """A version's request, with the values of TorchServe's keys."""

    model_file: Input | None = None
    handler: Handler | None = None
    files: tuple[Input, ...] = ()
    config: Input | Mapping[str, Any] | None = None
    requirements: Input | None = None
    """The archive's requirements; the handler may have its own instead."""
    runtime: str = "python"
    deflate: bool = False

    @classmethod
    def of(cls, request: VersionRequest) -> Request:
        of, handler = request.values.of, request.values.of(HANDLER)
        return cls(
            **{field.name: getattr(request, field.name) for field in fields(VersionRequest)},
            model_file=of(MODEL_FILE),
            handler=Handler.of(handler) if handler else None,
            files=of(FILES) or (),
            config=of(CONFIG),
            requirements=of(REQUIREMENTS),
            runtime=of(RUNTIME) or "python",
            deflate=of(COMPRESSION) == "deflate",
        )
