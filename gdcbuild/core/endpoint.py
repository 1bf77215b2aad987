"""What an S3 endpoint is: the one rule for manifests and for the client."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

FORM = "https://HOST or https://HOST:PORT"

_START = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//|(?:https?|s3|gs):/?|[A-Za-z]:(?=\\)|")
"""The scheme and its slashes, also if some are missing; or a drive."""


def is_endpoint(text: str) -> bool:
    """Whether the text is a URL that requests can be sent to."""
    if any(c.isspace() for c in text):
        return False
    try:
        parts = urlsplit(text)
        plain = not (parts.query or parts.fragment or "?" in text or "#" in text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and plain
    except ValueError:
        return False


def shown(text: str) -> str:
    """A URL for people, without any password in it, however malformed it is."""
    found = _START.match(text)
    start = found[0] if found else ""
    _, at, host = text[len(start) :].rpartition("@")
    return start + ("***@" if at else "") + re.sub(r"^([^/:]*):(?!\d*(?:[/?#]|$))[^/?#]*", r"\1:***", host)
