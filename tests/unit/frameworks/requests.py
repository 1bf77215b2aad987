"""Requests of versions, with values as the manifest gives them."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from gdcbuild.core.keys import Code, Entry, Values
from gdcbuild.core.request import VersionRequest
from gdcbuild.frameworks.torchserve.keys import Handler

_FIELDS = {field.name for field in fields(VersionRequest)}


def having(request: VersionRequest, **changes: Any) -> VersionRequest:
    """The request with other fields, or other values of the framework's keys; None removes one."""
    values = {**request.values, **{key: value for key, value in changes.items() if key not in _FIELDS}}
    given = {key: _entry(value) if isinstance(value, Handler) else value for key, value in values.items() if value is not None}
    return replace(request, values=Values(given), **{key: value for key, value in changes.items() if key in _FIELDS})


def _entry(handler: Handler) -> Entry:
    values: dict[str, Any] = {"files": handler.files, "requirements": handler.requirements}
    if handler.file is not None:
        values["file"] = Code(handler.file, handler.function, handler.where)
    return Entry(handler.name, handler.where, Values({key: value for key, value in values.items() if value}))
