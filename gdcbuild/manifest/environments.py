"""Whether the texts of an environment can be what they are given as, before anything is asked of a bucket."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gdcbuild.core.endpoint import FORM, is_endpoint, shown
from gdcbuild.errors import Problem
from gdcbuild.manifest.yaml import Node

_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:.+")
"""What the S3 client takes for a bucket; what of it a store allows, the store says."""

_REGION = re.compile(r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)?")
"""An empty one is none."""


def problems(environment: Node) -> Iterator[Problem]:
    """Of one environment. What holds a variable is left out: it is put in when the environment is chosen."""
    for key, kind, fits, hint in (
        ("bucket", "a bucket", _is_bucket, "write s3://NAME, s3://NAME/PREFIX, or a folder, with /; or set its variable"),
        ("endpoint", "an endpoint", is_endpoint, f"write {FORM}"),
        ("region", "a region", _REGION.fullmatch, "write letters, digits and -, as us-east-1; or remove it"),
        ("ca_file", "a file", bool, "name a PEM file, or remove it"),
    ):
        node = environment.get(key)
        if node is None or not isinstance(node.value, str) or "${" in node.value:
            continue
        if not node.value.strip() and not fits(node.value):
            yield Problem(f"the {key} is empty", hint, environment.key(key))
        elif not fits(node.value):
            yield Problem(f"{shown(node.value)!r} is not {kind}", hint, environment.key(key))


def _is_bucket(text: str) -> bool:
    scheme, separator, rest = text.partition("://")
    if not separator:
        return "\\" not in text and text.isprintable()
    return scheme == "s3" and bool(_NAME.fullmatch(rest.partition("/")[0]))
