"""Globs as in git and bash's globstar, as regular expressions."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import takewhile

GLOB = re.compile(r"[*?\[]")
"""Matches what makes a path a glob."""

_SET = re.compile(r"(?P<not>[!^]?+)(?P<set>\][^]]*|[^]]+)\]", re.DOTALL)
_RANGE = re.compile(r"(.)(?:-(.))?", re.DOTALL)


def fixed(text: str) -> str:
    """The folder before the first wildcard: everything the glob matches is below it."""
    return "/".join(takewhile(lambda part: not GLOB.search(part), text.split("/")))


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of a glob: `**` matches any number of folders, `*` and `?` stay within one."""
    parts = pattern.split("/")
    last = "[^/]+" if parts[-1] == "**" else _segment(parts.pop())
    return re.compile(_first([None if part == "**" else _segment(part) + "/" for part in parts], "(?:[^/]+/)*") + last + r"\Z")


def _first(parts: list[str | None], any_number: str) -> str:
    """A pattern for the parts in order, with `any_number` for None.

    A part between two wildcards is matched at its first occurrence only: no later one could match better. So there is no
    backtracking.
    """
    runs = "".join(part or "\0" for part in parts).split("\0")
    between = "".join(f"(?>{any_number}?{run})" for run in runs[1:-1] if run)
    return runs[0] + (between + any_number + runs[-1] if runs[1:] else "")


def _segment(part: str) -> str:
    out: list[str | None] = []
    i = 0
    while i < len(part):
        c = part[i]
        i += 1
        if c == "*":
            out.append(None)
        elif c == "?":
            out.append("[^/]")
        elif c == "[" and (found := _SET.match(part, i)):
            out.append(f"(?!/)[{'^' if found['not'] else ''}{_RANGE.sub(_escaped, found['set'])}]")
            i = found.end()
        else:
            out.append(re.escape(c))
    return _first(out, "[^/]*")


def _escaped(found: re.Match[str]) -> str:
    """One character or range of a set, escaped for `re`."""
    return f"{re.escape(found[1])}-{re.escape(found[2])}" if found[2] else re.escape(found[1])
