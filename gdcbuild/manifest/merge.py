"""Defaults: how the keys of `defaults`, a model and a version become one.

Maps merge, scalars and lists replace, `key+` appends. Sources replace each other: a version that gives one drops those
it would inherit. An archive that exists has its own handler and files, so with `mar` those are not inherited either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gdcbuild.manifest.model import is_reference
from gdcbuild.manifest.yaml import Node

SOURCES = ("saved_model", "keras", "weights", "mar", "export")
_APPENDED = ("files+", "data+")
_IN_ARCHIVE = ("handler", "model_file", "config", "files", "requirements", "runtime")
_MERGED: dict[str, Any] = {"export": {"args": {}}, "config": {}}
"""Mappings that merge, each with those in it that do."""


def merge(*levels: Node | None) -> Node:
    """One mapping from several, the most general first. The result stands where the last given level stands."""
    given = [level for level in levels if level is not None]
    result = replace(given[-1], value={}, keys={})
    for level in given:
        value = result.value
        assert isinstance(value, dict)
        if any(level.get(s) for s in SOURCES):
            for source in SOURCES:
                if not level.get(source):
                    value.pop(source, None)
        if level.get("mar"):
            for key in _IN_ARCHIVE:
                value.pop(key, None)
        _into(result, level, _MERGED)
    return result


def _into(result: Node, level: Node, merged: Mapping[str, Any]) -> None:
    value = result.value
    assert isinstance(value, dict)
    for key, node in sorted(level.items(), key=lambda item: item[0].endswith("+")):
        name = key
        added = [] if key in _APPENDED and node.value is None else node.value
        if key.endswith("+") and isinstance(added, list):
            name = key.removesuffix("+")
            before = value.get(name)
            inherited = before.value if before is not None and isinstance(before.value, list) else []
            value[name] = replace(node, value=[*inherited, *added])
        elif key in merged and isinstance(node.value, dict):
            under = value.get(key)
            value[key] = replace(node, value={}, keys={})
            if under is not None and not is_reference(under.value) and not is_reference(node.value):
                _into(value[key], under, merged[key])
            _into(value[key], node, merged[key])
        else:
            value[name] = node
        result.keys[name] = level.key(key)
