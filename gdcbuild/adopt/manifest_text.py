"""A manifest as text, as people write it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from gdcbuild.adopt.manifest import Composed

_PLAIN = re.compile(r"[A-Za-z_./]([A-Za-z0-9_./-]|:(?=\w))*")
_WORDS = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n", ".", "..", ".inf", ".nan"})
_SHARED = ("handler", "model_file", "runtime", "config", "requirements", "files")
IMAGES = {"pt": "pytorch-cpu.2-4", "tf": "tf2-cpu.2-18"}


def text(made: Composed, origins: Iterable[str]) -> str:
    """The manifest, as people write it."""
    lines = [f"# From {', '.join(origins)}, by gdcbuild import.", "schema: 1", "", "environments:"]
    environments = made.environments or {"local": {"bucket": "bucket"}}
    lines += [f"  {_scalar(name)}: {_flow(keys)}" for name, keys in environments.items()]
    if len(environments) > 1:
        lines.append(f"default_environment: {_scalar(next(iter(environments)))}")
    lines += ["", "# The containers that serve: the scripts do not say which."] if made.frameworks else []
    lines += ["frameworks:", *(f"  {k}: {{image: {IMAGES[k]}}}" for k in sorted(made.frameworks))] if made.frameworks else []
    if made.handlers:
        lines += ["", "handlers:", *(f"  {_scalar(name)}: {_flow(keys)}" for name, keys in made.handlers.items())]
    lines += ["", "models:" if made.models else "models: {}"]
    for model, versions in made.models.items():
        lines += _model(model, versions)
    return "\n".join(lines) + "\n"


def _model(model: str, versions: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A model, with what all its versions share above them."""
    shared: dict[str, Any] = {"framework": next(iter(versions.values()))["framework"]}
    for key in _SHARED:
        first, *others = [keys.get(key) for keys in versions.values()]
        if first is not None and all(other == first for other in others):
            shared[key] = first
    lines = [f"  {_scalar(model)}:", *(f"    {key}: {_value(value)}" for key, value in shared.items()), "    versions:"]
    for version, keys in versions.items():
        lines.append(f"      {json.dumps(version)}: {_flow({k: v for k, v in keys.items() if k not in shared})}")
    return lines


def _flow(keys: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {_value(value)}" for key, value in keys.items()) + "}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return _flow(value)
    return "[" + ", ".join(map(_value, value)) + "]" if isinstance(value, list) else _scalar(str(value))


def _scalar(text: str) -> str:
    """Plain where every YAML reader takes it for text, else quoted."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else json.dumps(text, ensure_ascii=False)
