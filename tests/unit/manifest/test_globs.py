"""Globs: what they match, without backtracking."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdcbuild.manifest.globs import compiled


@cache
def plainly(pattern: str, path: str) -> bool:
    """A simple, slow implementation of `*`, `?` and `**`."""
    if pattern == "**":
        return bool(path)
    if pattern.startswith("**/"):
        return plainly(pattern[3:], path) or ("/" in path and plainly(pattern, path.partition("/")[2]))
    if pattern.startswith("*"):
        return plainly(pattern[1:], path) or (path[:1] not in ("", "/") and plainly(pattern, path[1:]))
    if not pattern or not path:
        return pattern == path
    return (pattern[0] == path[0] or (pattern[0] == "?" and path[0] != "/")) and plainly(pattern[1:], path[1:])


segments = st.text(st.sampled_from("ab*?"), min_size=1, max_size=6).filter(lambda part: "**" not in part)


@pytest.mark.slow
@given(
    st.lists(segments | st.just("**"), min_size=1, max_size=5),
    st.lists(st.text(st.sampled_from("ab"), min_size=1, max_size=6), min_size=1, max_size=6),
)
@settings(max_examples=500)
def test_globs_match_like_a_plain_implementation(parts: list[str], names: list[str]) -> None:
    pattern, path = "/".join(parts), "/".join(names)
    assert bool(compiled(pattern).match(path)) == plainly(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [("*a" * 30, "a" * 200 + "b"), ("**/" * 40 + "x", "/".join("abcdefgh")), ("**/a/" * 12 + "x", "a/" * 60 + "b")],
)
def test_matching_does_not_backtrack(pattern: str, path: str) -> None:
    """Backtracking would take years."""
    assert not compiled(pattern).match(path)
