"""Whether the texts of an environment can be a bucket and an endpoint, before anything is asked of them."""

from __future__ import annotations

from collections.abc import Iterator

from gdcbuild.core.endpoint import FORM, is_endpoint
from gdcbuild.errors import Problem
from gdcbuild.manifest.yaml import Node


def problems(environment: Node) -> Iterator[Problem]:
    """Of one environment. What holds a variable is left out: it is put in when the environment is chosen."""
    for key, check in (("bucket", _bucket), ("endpoint", _endpoint)):
        node = environment.get(key)
        if node is not None and isinstance(node.value, str) and "${" not in node.value:
            hint = check(node.value)
            if hint:
                blank = not node.value.strip()
                message = (
                    f"the {key} is empty"
                    if blank
                    else f"{node.value!r} is not {'a bucket' if key == 'bucket' else 'an endpoint'}"
                )
                yield Problem(message, hint, environment.key(key))


def _bucket(text: str) -> str:
    """What to write instead, "" when it is fine."""
    scheme, separator, rest = text.partition("://")
    fine = not separator or (scheme == "s3" and rest.partition("/")[0])
    return "" if text.strip() and fine else "write s3://NAME, s3://NAME/PREFIX, or a folder; or set its variable"


def _endpoint(text: str) -> str:
    return "" if is_endpoint(text) else f"write {FORM}"
