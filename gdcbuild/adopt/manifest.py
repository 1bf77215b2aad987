"""From what was found to a manifest: ids, handlers, paths below the manifest, and a reason for all that is left out."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from gdcbuild.adopt.archiver import join
from gdcbuild.adopt.extra_files import entries
from gdcbuild.adopt.findings import UNKNOWN, Bucket, Findings, Packing, Target
from gdcbuild.adopt.other_commands import Source, report
from gdcbuild.errors import Location, Problem

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
        for number, packing in enumerate(self._found.packings):
            try:
                self._packing(packing, self._found.targets.get(number, []), self._found.copies.get(number, packing.archive))
            except _Refused as refused:
                self._found.problems.append(refused.problem._replace(where=refused.problem.where or packing.where))
        for key, kind, items in (("saved_model", "tf", self._found.folders), ("mar", "pt", self._found.archives)):
            for path, target in items:
                try:
                    source = self._path(path, target.where) + ("/" if key == "saved_model" else "")
                    self._version(target.model, target.version, kind, {key: source}, target.where)
                    self._sources.append(Source(f"{target.model}@{target.version}", (path,), target.commands))
                    self._bucket(target)
                except _Refused as refused:
                    self._found.problems.append(refused.problem)
        for name, sent in self._sent.items() if "" not in self._sent else ():
            for (model, version), where in self._origin.items():
                if (model, version) not in sent:
                    message = f"{model}@{version} is not uploaded to {self._made.environments[name]['bucket']}"
                    self._found.note(where, message, "gdcbuild publishes every version to the environment that is chosen")
        report(self._found, self._sources, self._root)
        for told in (self._found.problems, self._found.notes):  # each round of a loop reports the same
            told[:] = dict.fromkeys(told)
        return self._made

    def _packing(self, packing: Packing, targets: list[Target], archive: str) -> None:
        model, version = self._ids(packing, targets, archive)
        keys: dict[str, Any] = {"handler": self._handler(packing)}
        is_default = keys["handler"] in self._defaults and keys["handler"] not in LOADS_ITSELF
        if is_default and packing.serialized_file is None and packing.model_file is None:
            message = f"{model}@{version} is left out: it has no --serialized-file, which {keys['handler']} loads"
            raise _Refused(message, "give it `weights`")
        own = {"weights": packing.serialized_file, "model_file": packing.model_file, "config": packing.config_file}
        if not self._is_declared(packing):
            own["requirements"] = packing.requirements_file
        for key, path in own.items():
            if path is not None:
                keys[key] = self._path(path, packing.where)
        if packing.runtime != "python":
            keys["runtime"] = packing.runtime
        for path in packing.extra_files:
            self._path(path.rstrip("/"), packing.where)  # before it is looked into
        try:
            files = [self._entry(e, packing.where) for path in packing.extra_files for e in entries(path)]
        except RecursionError as error:
            raise _Refused("--extra-files is nested too deeply to be read", "name fewer folders in each path") from error
        if files:
            keys["files"] = files
        self._version(model, version, "pt", keys, packing.where)
        for target in targets:
            self._bucket(target)
        self._differs(packing, f"{model}@{version}", version)
        handler = self._made.handlers.get(keys["handler"], {"file": ""})["file"].partition(":")[0]
        paths = (*own.values(), packing.requirements_file, *packing.extra_files, handler and join(self._root, handler))
        self._sources.append(Source(f"{model}@{version}", tuple(filter(None, paths)), packing.commands))

    def _ids(self, packing: Packing, targets: list[Target], archive: str) -> tuple[str, str]:
        """Ids from the upload; else from folders MODEL/VERSION; else from the archive's name, or the folder that it is in."""
        ids = {(t.model, t.version) for t in targets}
        if len(ids) > 1:
            raise _Refused(
                f"one archive is uploaded as {' and '.join(f'{m}@{v}' for m, v in sorted(ids))}",
                "a version is built for one place: write a version for each by hand",
            )
        folder = posixpath.dirname(archive)
        names = "" if UNKNOWN.search(folder) or folder == self._root else folder
        above, last = posixpath.dirname(names), posixpath.basename(names)
        if ids:
            return ids.pop()
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
        name = packing.handler
        if not self._is_declared(packing):
            return name
        path, _, function = name.partition(":")
        suffix = ".so" if packing.runtime == "LSP" else ".py"
        has_suffix = path.endswith(suffix) or (suffix == ".py" and suffix in path)
        if suffix == ".py" and not has_suffix and (path.endswith(".ipynb") or os.path.isfile(join(packing.folder, path))):
            hint = "export it to one: jupyter nbconvert --to script" if path.endswith(".ipynb") else "name a Python file"
            raise _Refused(f"the handler {path} is not a Python file", hint)
        if suffix == ".py" and has_suffix and function:
            message = f"torch-model-archiver does not find the file {name!r}"
            self._found.note(packing.where, message, f"it is read as {path}, function {function}")
        if suffix == ".py" and not has_suffix and not function:
            message = f"the handler {name!r} is {posixpath.basename(path)}.py in the archive's manifest"
            self._found.note(packing.where, message, "TorchServe loads the same file")
        place = self._path(join(packing.folder, path if has_suffix else path + suffix), packing.where)
        declared = {"file": f"{place}:{function}" if function else place}
        if packing.requirements_file:
            declared["requirements"] = self._path(packing.requirements_file, packing.where)
        return self._declare(declared)

    def _declare(self, declared: dict[str, Any]) -> str:
        for name, known in self._made.handlers.items():
            if known == declared:
                return name
        file, _, function = declared["file"].partition(":")
        stem = re.sub(r"[^A-Za-z0-9_-]", "-", posixpath.basename(file).partition(".")[0]).strip("-") or "handler"
        parent = re.sub(r"[^A-Za-z0-9_-]", "-", posixpath.basename(posixpath.dirname(file))).strip("-")
        wanted = [stem, f"{stem}-{function}" if function else stem, f"{parent}-{stem}" if parent else stem]
        wanted += [f"{stem}-{number}" for number in range(2, len(self._made.handlers) + 3)]
        taken = self._made.handlers.keys() | set(self._defaults)
        name = next(name for name in wanted if name not in taken)
        self._made.handlers[name] = declared
        return name

    def _entry(self, entry: str | tuple[str, str], where: Location) -> str | dict[str, str]:
        if isinstance(entry, str):
            return self._path(entry, where)
        path, to = entry
        return {"from": self._path(path.rstrip("/"), where) + ("/" if path.endswith("/") else ""), "to": to}

    def _version(self, model: str, version: str, kind: str, keys: dict[str, Any], where: Location) -> None:
        for name, what in ((model, "model"), (version, "version")):
            if not ID.fullmatch(name):
                raise _Refused(f"{name!r} is not a valid {what} id", "letters, digits, '.', '_' and '-', at most 63", where)
        known = self._made.models.get(model, {}).get(version)
        found = {"framework": kind, **keys}
        if known is not None and known != found:
            other = self._origin[model, version]
            raise _Refused(f"{model}@{version} is packed twice, differently: here and at {other}", "give one another id", where)
        if known is None and any(v["framework"] != kind for v in self._made.models.get(model, {}).values()):
            raise _Refused(f"{model} has versions of TensorFlow and of PyTorch", "give one kind another model id", where)
        self._origin.setdefault((model, version), where)
        self._made.models.setdefault(model, {})[version] = found
        self._made.frameworks.add(kind)

    def _bucket(self, target: Target) -> None:
        """Note where a version goes."""
        name = self._environment(target.bucket, target.where) if target.bucket.url else ""
        self._sent.setdefault(name, set()).add((target.model, target.version))

    def _environment(self, bucket: Bucket, where: Location) -> str:
        """Declare an environment, named after its bucket. One bucket is one environment as long as nothing contradicts."""
        declared = {k: v for k, v in (("bucket", bucket.url), ("endpoint", bucket.endpoint), ("region", bucket.region)) if v}
        if bucket.ca_file:
            declared["ca_file"] = self._path(bucket.ca_file, where)
        for name, known in self._made.environments.items():
            if all(known.get(key, value) == value for key, value in declared.items()):
                known.update(declared)
                return name
        base = re.sub(r"[^A-Za-z0-9_-]+", "-", bucket.url.removeprefix("s3://").replace("${env.", "")).strip("-").lower()
        names = [base or "bucket", *(f"{base}-{n}" for n in range(2, len(self._made.environments) + 3))]
        name = next(n for n in names if n not in self._made.environments)
        self._made.environments[name] = declared
        return name

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
        if path.startswith(f"{self._root}/"):
            return path.removeprefix(f"{self._root}/")
        if path == self._root:
            raise _Refused("the whole workspace is packed", "name what of it is needed", where)
        raise _Refused(f"{path} is outside of {self._root}", "move it below the manifest's folder, and name it there", where)


class _Refused(Exception):
    def __init__(self, message: str, hint: str, where: Location | None = None) -> None:
        super().__init__(message)
        self.problem = Problem(message, hint, where)
