"""What an endpoint is, and that no password is shown of what is none."""

from __future__ import annotations

import pytest

from gdcbuild.core.endpoint import is_endpoint, shown


@pytest.mark.parametrize("text", ["http://h?x=1", "https://h/#f", "http://h?", "http://h:pw", "ftp://h", "http://", "h"])
def test_invalid_endpoints(text: str) -> None:
    assert not is_endpoint(text)


@pytest.mark.parametrize("text", ["http://h", "https://h:9000", "https://h/path"])
def test_an_endpoint_without_a_password_is_shown_unchanged(text: str) -> None:
    assert is_endpoint(text)
    assert shown(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "http://user:secret@h",
        "http://user:secret/@h",
        "http://h:secret",
        "http://user:se@cret@h/x",
        "http://user:secret?@h",
        "http://user:secret#@h",
        "http://user:9secret",
        "http://user:secret/path",
        "user:secret@h",
        "user:9/secret@h",
        "h:secret",
        "http:user:secret@h",
        "http:/user:secret@h",
        "https:h:secret",
        "//user:secret@h",
    ],
)
def test_no_password_is_shown(text: str) -> None:
    assert "secret" not in shown(text)
    assert "cret@" not in shown(text)


@pytest.mark.parametrize("text", ["h:9000", "h:9000/x", "s3:bucket", "C:\\buckets", "gs:/bucket"])
def test_what_has_no_password_is_shown_unchanged(text: str) -> None:
    assert shown(text) == text
