"""The JSON Schema of a manifest, generated from the models, for editors and other tools."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gdcbuild.core.ports import Framework
from gdcbuild.manifest.keys import keys_of

_ABOUT = ("title", "description", "default")
_VARIABLE = {"pattern": r"\$\{", "type": "string"}


def json_schema(frameworks: Mapping[str, Framework]) -> str:
    """The schema as text, the same for the same frameworks."""
    schema: dict[str, Any] = _written(keys_of(*frameworks.values()).manifest.model_json_schema(by_alias=True))
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "gdcbuild.schema.json"}
    return json.dumps({**head, **schema, "title": "gdcbuild manifest, schema 1"}, indent=2) + "\n"


def _written(schema: Any) -> Any:
    """Add what pydantic leaves out: unknown names are refused, and a variable may replace any restricted value."""
    if isinstance(schema, list):
        return [_written(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: value if key == "not" else _written(value) for key, value in schema.items()}
    if "patternProperties" in found:
        found["additionalProperties"] = False
    if "const" not in found and ("enum" in found or "pattern" in found or found.get("type") in ("boolean", "integer")):
        about = {key: found.pop(key) for key in _ABOUT if key in found}
        return {"anyOf": [found, _VARIABLE], **about}
    return found
