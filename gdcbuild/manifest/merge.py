"""Defaults: how the keys of `defaults`, a model and a version become one.

Maps merge, scalars and lists replace, `key+` appends. Sources replace each other: a version that gives one drops those
it would inherit. An archive that exists has its own handler and files, so with `mar` those are not inherited either.
"""

from __future__ import annotations

from dataclasses import replace

from gdcbuild.manifest.yaml import Node

SOURCES = ("saved_model", "keras", "weights", "mar", "export")
_IN_ARCHIVE = ("handler", "model_file", "config", "files", "runtime")
_MERGED = {"export", "args", "config"}


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
        _into(result, level)
    return result


def _into(result: Node, level: Node) -> None:
    value = result.value
    assert isinstance(value, dict)
    for key, node in sorted(level.items(), key=lambda item: item[0].endswith("+")):
        name = key.removesuffix("+")
        before = value.get(name)
        if key.endswith("+") and isinstance(node.value, list):
            inherited = before.value if before is not None and isinstance(before.value, list) else []
            value[name] = replace(node, value=[*inherited, *node.value])
        elif name in _MERGED and before is not None and isinstance(before.value, dict) and isinstance(node.value, dict):
            merged = replace(node, value=dict(before.value), keys=dict(before.keys))
            _into(merged, node)
            value[name] = merged
        else:
            value[name] = _own(node) if name in _MERGED else node
        result.keys[name] = level.key(key)


def _own(node: Node) -> Node:
    """A copy without `key+` keys, which append to what the same mapping gives, or to nothing."""
    if not isinstance(node.value, dict):
        return node
    fresh = replace(node, value={}, keys={})
    _into(fresh, node)
    return fresh
