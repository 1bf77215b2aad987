"""From what was found to a manifest: ids, handlers, paths below the manifest, and a reason for all that is left out."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from gdcbuild.adopt.archiver import entries, join
from gdcbuild.adopt.findings import UNKNOWN, Findings, Packing, Target
from gdcbuild.adopt.other_commands import Source, report
from gdcbuild.errors import Location

NATIVE = ("BaseHandler", "TorchScriptHandler")
LOADS_ITSELF = ("vllm_handler", "trt_llm_handler")
"""TorchServe's own handlers that need no weights. One with a file may find its model anywhere."""

ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@dataclass(slots=True)
class Composed:
    """The parts of a manifest, each ready to be written."""

    environments: dict[str, dict[str, Any]] = field(default_factory=dict)
    handlers: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    frameworks: set[str] = field(default_factory=set)


class Composer:
    """Makes a manifest for the folder `root`. `defaults` are the names of TorchServe's own handlers."""

    def __init__(self, found: Findings, root: str, defaults: Collection[str]) -> None:
        self._found = found
        self._root = root
        self._defaults = defaults
        self._made = Composed()
        self._origin: dict[tuple[str, str], Location] = {}
        self._sent: dict[str, set[tuple[str, str]]] = {}
        self._sources: list[Source] = []

    def compose(self) -> Composed:
        """All that can be said; what cannot is added to the problems and notes of what was found."""
        for packing in self._found.packings:
            try:
                self._packing(packing)
            except _Refused as refused:
                self._found.refuse(refused.where or packing.where, str(refused), refused.hint)
        for path, target in self._found.uploaded:
            try:
                kind, key, end = ("pt", "mar", "") if path.endswith(".mar") else ("tf", "saved_model", "/")
                keys = {key: self._path(path, target.where) + end}
                self._version(target.model, target.version, kind, keys, target.where)
                self._sources.append(Source(f"{target.model}@{target.version}", (path,), target.commands))
                self._environment(target)
            except _Refused as refused:
                self._found.refuse(refused.where or target.where, str(refused), refused.hint)
        for name, sent in self._sent.items() if "" not in self._sent else ():
            for (model, version), where in self._origin.items():
                if (model, version) not in sent:
                    message = f"{model}@{version} is not uploaded to {self._made.environments[name]['bucket']}"
                    self._found.note(where, message, "gdcbuild publishes every version to the environment that is chosen")
        report(self._found, self._sources, self._root)
        for told in (self._found.problems, self._found.notes):  # each round of a loop reports the same
            told[:] = dict.fromkeys(told)
        return self._made

    def _packing(self, packing: Packing) -> None:
        model, version = self._ids(packing)
        handler = self._handler(packing)
        is_default = handler in self._defaults and handler not in LOADS_ITSELF
        if is_default and packing.serialized_file is None and packing.model_file is None:
            message = f"{model}@{version} is left out: it has no --serialized-file, which {handler} loads"
            raise _Refused(message, "give it `weights`")
        own = {"weights": packing.serialized_file, "model_file": packing.model_file, "config": packing.config_file}
        own["requirements"] = None if self._is_declared(packing) else packing.requirements_file
        keys: dict[str, Any] = {"handler": handler}
        keys |= {key: self._path(path, packing.where) for key, path in own.items() if path is not None}
        if packing.runtime != "python":
            keys["runtime"] = packing.runtime
        for path in packing.extra_files:
            self._path(path, packing.where)  # before it is looked into
        try:
            found = [entry for path in packing.extra_files for entry in entries(path)]
        except RecursionError as error:
            raise _Refused("--extra-files is nested too deeply to be read", "name fewer folders in each path") from error
        if found:
            places = [(self._path(e if isinstance(e, str) else e[0], packing.where), e) for e in found]
            keys["files"] = [path if isinstance(e, str) else {"from": path, "to": e[1]} for path, e in places]
        self._version(model, version, "pt", keys, packing.where)
        for target in packing.targets:
            self._environment(target)
        self._differs(packing, f"{model}@{version}", version)
        file = self._made.handlers.get(handler, {"file": ""})["file"].partition(":")[0]
        paths = (*own.values(), packing.requirements_file, *packing.extra_files, file and join(self._root, file))
        self._sources.append(Source(f"{model}@{version}", tuple(filter(None, paths)), packing.commands))

    def _ids(self, packing: Packing) -> tuple[str, str]:
        """Ids from the upload; else from folders MODEL/VERSION; else from the archive's name, or the folder that it is in."""
        ids = sorted({(target.model, target.version) for target in packing.targets})
        if len(ids) > 1:
            message = f"one archive is uploaded as {' and '.join(f'{m}@{v}' for m, v in ids)}"
            raise _Refused(message, "a version is built for one place: write a version for each by hand")
        folder = posixpath.dirname(packing.archive)
        above, last = posixpath.split("" if UNKNOWN.search(folder) or folder == self._root else folder)
        if ids:
            return ids[0]
        if last == packing.version and above not in ("", "/", self._root):
            return posixpath.basename(above), packing.version
        if packing.model_name != "model":
            return packing.model_name, packing.version
        if last and last != packing.version:
            return last, packing.version
        raise _Refused(
            f"no model id: the archive is called {packing.model_name}, and does not go to a folder of its own",
            "add --export-path MODEL to a copy of the script, or the upload to s3://BUCKET/MODEL/VERSION/",
        )

    def _is_declared(self, packing: Packing) -> bool:
        """Whether a handler is a file, which `handlers` names."""
        return packing.handler not in (NATIVE if packing.runtime == "LSP" else self._defaults)

    def _handler(self, packing: Packing) -> str:
        """The name that the manifest has for a handler."""
        if not self._is_declared(packing):
            return packing.handler
        path, _, function = packing.handler.partition(":")
        is_python = packing.runtime != "LSP"
        suffix = ".py" if is_python else ".so"
        has_suffix = path.endswith(suffix) or (is_python and suffix in path)
        if is_python and not has_suffix and (path.endswith(".ipynb") or os.path.isfile(join(packing.folder, path))):
            hint = "export it to one: jupyter nbconvert --to script" if path.endswith(".ipynb") else "name a Python file"
            raise _Refused(f"the handler {path} is not a Python file", hint)
        if is_python and has_suffix and function:
            message = f"torch-model-archiver does not find the file {packing.handler!r}"
            self._found.note(packing.where, message, f"it is read as {path}, function {function}")
        if is_python and not has_suffix and not function:
            message = f"the handler {path!r} is {posixpath.basename(path)}.py in the archive's manifest"
            self._found.note(packing.where, message, "TorchServe loads the same file")
        file = self._path(join(packing.folder, path if has_suffix else path + suffix), packing.where)
        declared = {"file": f"{file}:{function}" if function else file}
        if packing.requirements_file:
            declared["requirements"] = self._path(packing.requirements_file, packing.where)
        parent, stem = _word(posixpath.basename(posixpath.dirname(file))), _word(posixpath.basename(file).partition(".")[0])
        stem = stem or "handler"
        wanted = (stem, function and f"{stem}-{function}", parent and f"{parent}-{stem}")
        return _declare(self._made.handlers, declared, wanted, self._defaults)

    def _version(self, model: str, version: str, kind: str, keys: dict[str, Any], where: Location) -> None:
        for name, what in ((model, "model"), (version, "version")):
            if not ID.fullmatch(name):
                raise _Refused(f"{name!r} is not a valid {what} id", "letters, digits, '.', '_' and '-', at most 63", where)
        versions = self._made.models.get(model, {})
        found = {"framework": kind, **keys}
        if versions.get(version, found) != found:
            other = self._origin[model, version]
            raise _Refused(f"{model}@{version} is packed twice, differently: here and at {other}", "give one another id", where)
        if any(known["framework"] != kind for known in versions.values()):
            raise _Refused(f"{model} has versions of TensorFlow and of PyTorch", "give one kind another model id", where)
        self._origin.setdefault((model, version), where)
        self._made.models.setdefault(model, {})[version] = found
        self._made.frameworks.add(kind)

    def _environment(self, target: Target) -> None:
        """Declare an environment, named after its bucket. One bucket is one environment as long as nothing contradicts."""
        declared, known, name = dict(target.bucket), self._made.environments, ""
        if "ca_file" in declared:
            declared["ca_file"] = self._path(declared["ca_file"], target.where)
        if declared["bucket"]:
            alike = (n for n, keys in known.items() if all(keys.get(key, value) == value for key, value in declared.items()))
            base = _word(declared["bucket"].removeprefix("s3://").replace("${env.", "")).lower() or "bucket"
            name = next(alike, "") or _declare(known, declared, (base,), ())
            known[name].update(declared)
        self._sent.setdefault(name, set()).add((target.model, target.version))

    def _differs(self, packing: Packing, id: str, version: str) -> None:
        """Report what is not the same in the archive that gdcbuild will write."""
        other = "" if packing.model_name == "model" else f"{packing.model_name}.mar"
        if packing.archive_format in ("tgz", "no-archive"):
            other = f"a {packing.archive_format} archive"
        if other:
            message = f"{id}: torch-model-archiver packs {other}, and gdcbuild packs model.mar"
            self._found.note(packing.where, message, "GDC's servers look for model.mar only")
        if packing.version != version:
            message = (
                f"{id}: torch-model-archiver writes version {packing.version} into the archive, and gdcbuild writes {version}"
            )
            self._found.note(packing.where, message, "both are the version id here, which the folder in the bucket decides")

    def _path(self, path: str, where: Location) -> str:
        """A path below the manifest."""
        if path.rstrip("/") == self._root:
            raise _Refused("the whole workspace is packed", "name what of it is needed", where)
        if path.startswith(f"{self._root}/"):
            return path.removeprefix(f"{self._root}/")
        raise _Refused(
            f"{path.rstrip('/')} is outside of {self._root}", "move it below the manifest's folder, and name it there", where
        )


def _declare(
    known: dict[str, dict[str, Any]], declared: dict[str, Any], wanted: Collection[str], taken: Collection[str]
) -> str:
    """The name under which something is declared: a known one, else the first of those wanted that is free."""
    if declared in known.values():
        return next(name for name, keys in known.items() if keys == declared)
    first = next(iter(wanted))
    names = (*wanted, *(f"{first}-{number}" for number in range(2, len(known) + 3)))
    name = next(name for name in names if name and name not in known and name not in taken)
    known[name] = declared
    return name


def _word(text: str) -> str:
    """A text as a name in a manifest."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")


class _Refused(Exception):
    def __init__(self, message: str, hint: str, where: Location | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        self.where = where
