"""Lists of models in JSON: `mar_config.json` of pytorch/serve's tools, and `properties.json` of KServe's archiver image."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from gdcbuild.adopt.archiver import NotUnderstood, from_options, join
from gdcbuild.adopt.findings import Findings
from gdcbuild.errors import Location

_STORE = "/home/model-server/model-store/"
"""Where KServe's image has the folder with properties.json."""

_GENERATED = "model_store_gen"
"""Where pytorch/serve's tool puts what it downloads or makes."""

_SETTINGS = {
    "min-workers": "minWorkers",
    "max-workers": "maxWorkers",
    "batch-size": "batchSize",
    "max-batch-delay": "maxBatchDelay",
    "response-timeout": "responseTimeout",
}
_KSERVE = {"model-file": "model_file", "serialized-file": "serialized_file", "requirements": "requirements_file"}
_OPTIONS = ("model_name", "version", "model_file", "serialized_file", "handler", "extra_files", "runtime", "archive_format")
_SERVE = (*_OPTIONS, "requirements_file", "export_path")


def read(found: Findings, text: str, file: str, path: str, folder: str) -> None:
    """Read a list of models from a file at `path`; `folder` is where its tool would run."""
    for entry, where in _entries(found, text, file):
        if "model-name" in entry:
            given, base = _kserve(found, entry, where, posixpath.dirname(path)), ""
        elif "model_name" in entry:
            given = _serve(found, entry, where)
            base = _base(given, [folder, posixpath.dirname(path), posixpath.dirname(posixpath.dirname(path))])
        else:
            found.refuse(where, "a model has neither model_name nor model-name", "lists of models have one of them")
            continue
        missing = [name for name in ("model_name", "handler", "version") if not given.get(name)]
        if missing:
            name = given.get("model_name") or "a model"
            found.refuse(where, f"{name} has no {' and no '.join(missing)}", "torch-model-archiver needs one")
            continue
        try:
            found.packings.append(from_options(given, base, where))
        except NotUnderstood as error:
            found.refuse(where, str(error), "")


def _entries(found: Findings, text: str, file: str) -> Iterator[tuple[dict[str, Any], Location]]:
    """The models of a list, or the one there is, each where it begins."""
    decoder, at = json.JSONDecoder(), len(text) - len(text.lstrip())
    at += text.startswith("[", at)
    try:
        while (at := at + len(text[at:]) - len(text[at:].lstrip(" \t\r\n,"))) < len(text) and text[at] != "]":
            where = Location(file, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))
            entry, at = decoder.raw_decode(text, at)
            if isinstance(entry, dict):
                yield entry, where
            else:
                found.refuse(where, "a model must be a mapping, {...}", "")
    except (ValueError, RecursionError) as error:
        line, column = (error.lineno, error.colno) if isinstance(error, json.JSONDecodeError) else (1, 1)
        found.refuse(Location(file, line, column), f"not valid JSON: {error}", "")


def _kserve(found: Findings, entry: Mapping[str, Any], where: Location, folder: str) -> dict[str, Any]:
    """Files are in a folder named after the model, beside the list."""
    name, handler = str(entry["model-name"]), str(entry.get("handler") or "")

    def place(path: str) -> str:
        is_whole = path.startswith(_STORE)
        return join(folder if is_whole else join(folder, name), path.removeprefix(_STORE))

    given = {option: place(str(entry[key])) for key, option in _KSERVE.items() if entry.get(key)}
    extra = (part.strip() for part in str(entry.get("extra-files") or "").split(","))
    settings = {option: entry[key] for key, option in _SETTINGS.items() if entry.get(key) is not None}
    if settings:
        message = (
            f"{name}: {', '.join(key for key in _SETTINGS if key in entry)} are settings of the server, not of the archive"
        )
        found.note(where, message, f"to have them in the archive: config: {json.dumps(settings)}")
    _unknown_keys(found, entry, {"model-name", "version", "handler", "extra-files", *_KSERVE, *_SETTINGS}, where)
    return {
        **given,
        "model_name": name,
        "version": str(entry.get("version") or ""),
        "handler": place(handler) if ".py" in handler else handler,
        "extra_files": ",".join(place(part) for part in extra if part),
    }


def _serve(found: Findings, entry: Mapping[str, Any], where: Location) -> dict[str, Any]:
    """Files are below the folder in which the tool runs; what it downloads or makes, in a folder of its own."""
    remote, maker = str(entry.get("serialized_file_remote") or ""), entry.get("gen_scripted_file_path")
    known = {*_SERVE, "serialized_file_local", "serialized_file_remote", "gen_scripted_file_path"}
    _unknown_keys(found, entry, known, where)
    given = {key: str(entry[key]) for key in _SERVE if entry.get(key)}
    local = str(entry.get("serialized_file_local") or "")
    if remote:
        local = f"{_GENERATED}/{posixpath.basename(remote)}"
    if remote or local.startswith(f"{_GENERATED}/"):
        how = f"made by {maker}" if maker else f"downloaded: {remote}" if remote else "made by the tool"
        message = f"{entry['model_name']}: {local} is {how}, and is not a file of the workspace"
        found.note(where, message, "have it there before each run of gdcbuild, or make it in a step")
    return {"serialized_file": local, **given}


def _base(given: Mapping[str, Any], folders: list[str]) -> str:
    """The folder below which most of the named files are; the first when none is better."""
    names = [given[key] for key in ("serialized_file", "model_file", "handler") if given.get(key)]
    return max(folders, key=lambda folder: sum(os.path.isfile(posixpath.join(folder, name)) for name in names))


def _unknown_keys(found: Findings, entry: Mapping[str, Any], known: set[str], where: Location) -> None:
    for key in sorted(entry.keys() - known):
        found.note(where, f"{key!r} is not known, and left out", "")
