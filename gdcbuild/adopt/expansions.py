"""Expansions that can be told without a run: braces, parts of values, what `basename`, `seq` and `pwd` write."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from gdcbuild.adopt.archiver import join

MOST = 10_000
"""Words of a range that are followed."""

_SELF = r"\$(?:\{(?:0|BASH_SOURCE(?:\[0\])?(?::-\$0)?)\}|0|BASH_SOURCE)"
_REAL = rf'\$\(\s*(?:readlink\s+-f|realpath)\s+(?:--\s+)?"?{_SELF}"?\s*\)'
_DIRNAME = rf'dirname\s+(?:--\s+)?"?(?:{_SELF}|{_REAL})"?'
_QUIETLY = r"(?:\s*[12&]?>\s*/dev/null)?(?:\s*2>&1)?"
_HERE = re.compile(
    rf'\s*(?:{_DIRNAME}|cd\s+(?:(?:--|-P)\s+)*"?\$\(\s*{_DIRNAME}\s*\)(?P<rest>[/\w.-]*)"?{_QUIETLY}\s*(?:&&|;)\s*pwd(?:\s+-P)?)\s*'
)
_PWD = re.compile(r"\s*pwd(\s+-P)?\s*")
CUT = re.compile(r"\$\{(?P<name>\w+)(?P<how>%%?|##?)(?P<pattern>[^{}()$`\"'\\\[\]]*)\}")
_BRACES = re.compile(r"\{(?:(?P<first>-?\d+)\.\.(?P<last>-?\d+)|(?P<list>[^{},\s]*(?:,[^{},\s]*)+))\}")


def folder(command: str, here: str, script: str, main: str) -> str | None:
    """The folder that a command prints; None for others. `script` is the file it stands in, `main` the one that runs."""
    if _PWD.fullmatch(command):
        return here
    if not script or not (found := _HERE.fullmatch(command)):
        return None
    own = posixpath.dirname(script if "BASH_SOURCE" in command else main)
    return join(own, (found["rest"] or "").lstrip("/") or ".")


def cut(value: str, how: str, pattern: str) -> str:
    """What ${NAME%PATTERN} and its like leave of a value."""
    places = range(len(value) + 1)
    is_end = how[0] == "%"
    for at in places if is_end == (len(how) == 2) else places[::-1]:
        if fnmatchcase(value[at:] if is_end else value[:at], pattern):
            return value[:at] if is_end else value[at:]
    return value


def braces(text: str) -> Iterator[str]:
    """The words that {1..3} and {a,b} make of one."""
    if match := _BRACES.search(text):
        for one in match["list"].split(",") if match["list"] is not None else _numbers(match["first"], match["last"]):
            for rest in braces(text[match.end() :]):
                yield text[: match.start()] + one + rest
    else:
        yield text


def _numbers(first: str, last: str) -> list[str]:
    """One more than is followed, if there are so many."""
    start, stop = int(first), int(last)
    width = max(len(first), len(last)) if re.search(r"^-?0\d", f"{first}\n{last}", re.MULTILINE) else 0
    by = 1 if start <= stop else -1
    return [f"{start + n * by:0{width}d}" for n in range(min(abs(stop - start), MOST) + 1)]


def written(fields: Sequence[str]) -> str | None:
    """What a command writes, if it is one of a few and that is known."""
    match fields:
        case ["basename", path, *suffix] if path.strip("/") and path[0] != "-" and len(suffix) < 2:
            name = posixpath.basename(path.rstrip("/"))
            return name.removesuffix("".join(suffix)) or name
        case ["dirname", path] if path and path[0] != "-" and "//" not in path:
            return posixpath.dirname(path.rstrip("/")) or ("/" if path[0] == "/" else ".")
        case ["seq", *ends] if 0 < len(ends) < 3 and all(re.fullmatch(r"0|-?[1-9]\d{0,8}", number) for number in ends):
            first, last = ["1", *ends][-2:]
            return "\n".join(_numbers(first, last)) if int(first) <= int(last) else ""
    return None
