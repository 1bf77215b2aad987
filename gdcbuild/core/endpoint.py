"""What an S3 endpoint is: the one rule for manifests and for the client."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

FORM = "https://HOST or https://HOST:PORT"


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
    without_user = re.sub(r"//.*@", "//", text, flags=re.DOTALL)
    return re.sub(r"(//[^/:]*):(?!\d*(?:[/?#]|$))[^/?#]*", r"\1:***", without_user)
