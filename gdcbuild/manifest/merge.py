"""Merges the keys of `defaults`, a model and a version.

Mappings merge, scalars and lists replace, `key+` appends. Sources replace each other: a version that gives one does not
inherit another, nor the keys that the source replaces; an existing archive has its own handler and files.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

from gdcbuild.manifest.keys import Keys
from gdcbuild.manifest.model import is_reference
from gdcbuild.manifest.yaml import Node


def merge(keys: Keys, *levels: Node | None) -> Node:
    """Merge mappings, the most general first. The result has the location of the last one."""
    given = [level for level in levels if level is not None]
    result = replace(given[-1], value={}, keys={})
    for level in given:
        value = result.value
        assert isinstance(value, dict)
        if any(level.get(source) for source in keys.sources):
            for source in keys.sources:
                if not level.get(source):
                    value.pop(source, None)
        for name, replaced in keys.replaced.items():
            for key in replaced if level.get(name) else ():
                value.pop(key, None)
        _into(result, level, keys.merged, keys.appended)
    return result


def _into(result: Node, level: Node, merged: Mapping[str, Any], appended: Set[str]) -> None:
    value = result.value
    assert isinstance(value, dict)
    for key, node in sorted(level.items(), key=lambda item: item[0].endswith("+")):
        name = key
        added = [] if key in appended and node.value is None else node.value
        if key.endswith("+") and isinstance(added, list):
            name = key.removesuffix("+")
            before = value.get(name)
            inherited = before.value if before is not None and isinstance(before.value, list) else []
            value[name] = replace(node, value=[*inherited, *added])
        elif key in merged and isinstance(node.value, dict):
            under = value.get(key)
            value[key] = replace(node, value={}, keys={})
            if under is not None and not is_reference(under.value) and not is_reference(node.value):
                _into(value[key], under, merged[key], appended)
            _into(value[key], node, merged[key], appended)
        else:
            value[name] = node
        result.keys[name] = level.key(key)
