"""Globs as git and bash's globstar have them, as regular expressions."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import takewhile

GLOB = re.compile(r"[*?\[]")
"""What tells a glob from a path."""

_SET = re.compile(r"(?P<not>[!^]?+)(?P<set>\][^]]*|[^]]+)\]", re.DOTALL)
_RANGE = re.compile(r"(.)(?:-(.))?", re.DOTALL)


def fixed(text: str) -> str:
    """The folder that a glob names plainly: all that it matches lies below it."""
    return "/".join(takewhile(lambda part: not GLOB.search(part), text.split("/")))


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> re.Pattern[str]:
    """`**` stands for any number of folders, `*` and `?` stay within one, as in git and bash's globstar."""
    parts = pattern.split("/")
    text = "".join("(?:[^/]+/)*" if part == "**" else _segment(part) + "/" for part in parts)
    return re.compile((text + "[^/]+" if parts[-1] == "**" else text[:-1]) + r"\Z")


def _segment(part: str) -> str:
    out, i = "", 0
    while i < len(part):
        c = part[i]
        i += 1
        if c == "*":
            out += "[^/]*"
        elif c == "?":
            out += "[^/]"
        elif c == "[" and (found := _SET.match(part, i)):
            out += f"(?!/)[{'^' if found['not'] else ''}{_RANGE.sub(_escaped, found['set'])}]"
            i = found.end()
        else:
            out += re.escape(c)
    return out


def _escaped(found: re.Match[str]) -> str:
    """One character or range of a set, with nothing in it that means more to `re` than it does to a shell."""
    return f"{re.escape(found[1])}-{re.escape(found[2])}" if found[2] else re.escape(found[1])
