"""Lists of models in JSON: `mar_config.json` of pytorch/serve's tools, and `properties.json` of KServe's archiver image."""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Any

from gdcbuild.adopt.archiver import NotUnderstood, from_options, join
from gdcbuild.adopt.findings import Findings
from gdcbuild.errors import Location

_STORE = "/home/model-server/model-store/"
"""Where KServe's image has the folder with properties.json."""

_GENERATED = "model_store_gen"
"""Where pytorch/serve's tool puts what it downloads or makes."""

_SETTINGS = ("min-workers", "max-workers", "batch-size", "max-batch-delay", "response-timeout")
_KSERVE = {"model-file": "model_file", "serialized-file": "serialized_file", "requirements": "requirements_file"}
_OPTIONS = ("model_name", "version", "model_file", "serialized_file", "handler", "extra_files", "runtime", "archive_format")
_SERVE = {*_OPTIONS, "requirements_file", "export_path"}
_WEIGHTS = {"serialized_file_local", "serialized_file_remote", "gen_scripted_file_path"}


def read(found: Findings, text: str, file: str, path: str, folder: str) -> None:
    """Read a list of models from a file at `path`; `folder` is where its tool would run."""
    for entry, where in _entries(found, text, file):
        name, base = str(entry.get("model-name") or entry.get("model_name") or ""), ""
        if not name:
            found.refuse(where, "a model has neither model_name nor model-name", "lists of models have one of them")
            continue
        if "model-name" in entry:
            given, known = _kserve(entry, name, posixpath.dirname(path)), {"model-name", "version", "handler", "extra-files"}
            known |= {*_KSERVE, *_SETTINGS}
        else:
            given, known = _serve(found, entry, name, where), _SERVE | _WEIGHTS
            base = _base(given, [folder, posixpath.dirname(path), posixpath.dirname(posixpath.dirname(path))])
        settings = {_camel(key): entry[key] for key in _SETTINGS if key in known and entry.get(key) is not None}
        if settings:
            message = f"{name}: {', '.join(settings)} are settings of the server, not of the archive"
            found.note(where, message, f"to have them in the archive: config: {json.dumps(settings)}")
        for key in sorted(entry.keys() - known):
            found.note(where, f"{key!r} is not known, and left out", "")
        if missing := [option for option in ("handler", "version") if not given.get(option)]:
            found.refuse(where, f"{name} has no {' and no '.join(missing)}", "torch-model-archiver needs one")
            continue
        try:
            found.packings.append(from_options(given, base, where))
        except NotUnderstood as error:
            found.refuse(where, str(error), "")


def _entries(found: Findings, text: str, file: str) -> Iterator[tuple[dict[str, Any], Location]]:
    """The models of a list, or the one there is, each where it begins."""
    decoder, ignored = json.JSONDecoder(), re.compile(r"[\s,]*")
    at = len(text) - len(text.lstrip())
    at += text.startswith("[", at)
    try:
        while (at := ignored.match(text, at).end()) < len(text) and text[at] != "]":  # type: ignore[union-attr]
            where = Location(file, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))
            entry, at = decoder.raw_decode(text, at)
            if isinstance(entry, dict):
                yield entry, where
            else:
                found.refuse(where, "a model must be a mapping, {...}", "")
    except (ValueError, RecursionError) as error:
        line, column = (error.lineno, error.colno) if isinstance(error, json.JSONDecodeError) else (1, 1)
        found.refuse(Location(file, line, column), f"not valid JSON: {error}", "")


def _kserve(entry: Mapping[str, Any], name: str, folder: str) -> dict[str, Any]:
    """Files are in a folder named after the model, beside the list."""

    def place(path: str) -> str:
        is_whole = path.startswith(_STORE)
        return join(folder if is_whole else join(folder, name), path.removeprefix(_STORE))

    handler, extra = str(entry.get("handler") or ""), str(entry.get("extra-files") or "").split(",")
    return {
        **{option: place(str(entry[key])) for key, option in _KSERVE.items() if entry.get(key)},
        "model_name": name,
        "version": str(entry.get("version") or ""),
        "handler": place(handler) if ".py" in handler else handler,
        "extra_files": ",".join(place(part.strip()) for part in extra if part.strip()),
    }


def _camel(key: str) -> str:
    return re.sub(r"-(\w)", lambda match: match[1].upper(), key)


def _serve(found: Findings, entry: Mapping[str, Any], name: str, where: Location) -> dict[str, Any]:
    """Files are below the folder in which the tool runs; what it downloads or makes, in a folder of its own."""
    remote, maker = str(entry.get("serialized_file_remote") or ""), entry.get("gen_scripted_file_path")
    local = f"{_GENERATED}/{posixpath.basename(remote)}" if remote else str(entry.get("serialized_file_local") or "")
    if local.startswith(f"{_GENERATED}/"):
        how = f"made by {maker}" if maker else f"downloaded: {remote}" if remote else "made by the tool"
        message = f"{name}: {local} is {how}, and is not a file of the workspace"
        found.note(where, message, "have it there before each run of gdcbuild, or make it in a step")
    return {"serialized_file": local, **{key: str(entry[key]) for key in _SERVE if entry.get(key)}}


def _base(given: Mapping[str, Any], folders: list[str]) -> str:
    """The folder below which most of the named files are; the first when none is better."""
    names = [given[key] for key in ("serialized_file", "model_file", "handler") if given.get(key)]
    return max(folders, key=lambda folder: sum(os.path.isfile(posixpath.join(folder, name)) for name in names))
