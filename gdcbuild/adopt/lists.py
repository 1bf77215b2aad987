"""Lists of models in JSON: `mar_config.json` of pytorch/serve's tools, and `properties.json` of KServe's archiver image."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from gdcbuild.adopt.archiver import NotUnderstood, from_options, join
from gdcbuild.adopt.files import is_file
from gdcbuild.adopt.found import Found
from gdcbuild.errors import Location

_STORE = "/home/model-server/model-store/"
"""Where KServe's image has the folder in which properties.json lies."""

_SETTINGS = {
    "min-workers": "minWorkers",
    "max-workers": "maxWorkers",
    "batch-size": "batchSize",
    "max-batch-delay": "maxBatchDelay",
    "response-timeout": "responseTimeout",
}
_KSERVE = ("model-name", "version", "model-file", "serialized-file", "extra-files", "handler", "requirements")
_SERVE = (
    *("model_name", "version", "model_file", "serialized_file", "serialized_file_local", "handler", "extra_files", "runtime"),
    *("archive_format", "requirements_file", "export_path"),
)


def read(found: Found, text: str, file: str, path: str, folder: str) -> None:
    """Read a list of models from a file at `path`; `folder` is where its tool would run."""
    for entry, where in _entries(found, text, file):
        if "model-name" in entry:
            given = _kserve(found, entry, where, posixpath.dirname(path))
            base = ""
        elif "model_name" in entry:
            given = _serve(found, entry, where)
            base = _base(given, [folder, posixpath.dirname(path), posixpath.dirname(posixpath.dirname(path))])
        else:
            found.refuse(where, "a model has neither model_name nor model-name", "that is what lists of models have")
            continue
        if not given:
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


def _entries(found: Found, text: str, file: str) -> Iterator[tuple[dict[str, Any], Location]]:
    """The models of a list, or the one there is, each where it begins."""
    decoder = json.JSONDecoder()
    at = len(text) - len(text.lstrip())
    many = text.startswith("[", at)
    at += many
    line, counted = 1, 0
    try:
        while at < len(text):
            while at < len(text) and text[at] in " \t\r\n,":
                at += 1
            if at == len(text) or text[at] == "]":
                return
            line, counted = line + text.count("\n", counted, at), at
            where = Location(file, line, at - text.rfind("\n", 0, at))
            entry, at = decoder.raw_decode(text, at)
            if not isinstance(entry, dict):
                found.refuse(where, "a model is wanted, as {...}", "")
            else:
                yield entry, where
    except (ValueError, RecursionError) as error:
        line, column = (error.lineno, error.colno) if isinstance(error, json.JSONDecodeError) else (1, 1)
        found.refuse(Location(file, line, column), f"this is no JSON: {error}", "")


def _kserve(found: Found, entry: Mapping[str, Any], where: Location, folder: str) -> dict[str, Any]:
    """Files lie in a folder named after the model, beside the list."""
    name = str(entry["model-name"])
    given: dict[str, Any] = {"model_name": name, "version": str(entry.get("version") or "")}
    own = join(folder, name)

    def place(path: str) -> str:
        return join(folder, path.removeprefix(_STORE)) if path.startswith(_STORE) else join(own, path)

    for key, option in (
        ("model-file", "model_file"),
        ("serialized-file", "serialized_file"),
        ("requirements", "requirements_file"),
    ):
        if entry.get(key):
            given[option] = place(str(entry[key]))
    handler = str(entry.get("handler") or "")
    given["handler"] = place(handler) if ".py" in handler else handler
    given["extra_files"] = ",".join(
        place(part.strip()) for part in str(entry.get("extra-files") or "").split(",") if part.strip()
    )
    settings = {option: entry[key] for key, option in _SETTINGS.items() if entry.get(key) is not None}
    if settings:
        message = f"{name}: {', '.join(k for k in _SETTINGS if k in entry)} are the server's settings, and not in the archive"
        found.note(where, message, f"to have them in the archive: config: {json.dumps(settings)}")
    _unknown_keys(found, entry, {*_KSERVE, *_SETTINGS}, where)
    return given


def _serve(found: Found, entry: Mapping[str, Any], where: Location) -> dict[str, Any]:
    """Files lie below the folder in which the tool runs."""
    remote = entry.get("serialized_file_remote")
    if remote or entry.get("gen_scripted_file_path"):
        made = (
            f"is made by {entry['gen_scripted_file_path']}"
            if entry.get("gen_scripted_file_path")
            else f"is downloaded: {remote}"
        )
        found.refuse(
            where,
            f"{entry['model_name']} is left out: its file {made}",
            "have the file in the workspace, and name it under serialized_file_local; or make it in a step",
        )
        return {}
    _unknown_keys(found, entry, {*_SERVE, "serialized_file_remote", "gen_scripted_file_path"}, where)
    given = {key: str(entry[key]) for key in _SERVE if entry.get(key)}
    local = given.pop("serialized_file_local", "")
    return {**given, "serialized_file": given.get("serialized_file") or local}


def _base(given: Mapping[str, Any], folders: list[str]) -> str:
    """The folder below which most of the named files are; the first when none is better."""
    names = [given[key] for key in ("serialized_file", "model_file", "handler") if given.get(key)]
    return max(folders, key=lambda folder: sum(is_file(posixpath.join(folder, name)) for name in names))


def _unknown_keys(found: Found, entry: Mapping[str, Any], known: set[str], where: Location) -> None:
    for key in sorted(entry.keys() - known):
        found.note(where, f"{key!r} is not known, and left out", "")
