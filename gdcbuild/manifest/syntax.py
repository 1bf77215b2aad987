"""Hints for invalid YAML: the parser reports what it expected, not what to write."""

from __future__ import annotations

import yaml

from gdcbuild.errors import Location, Problem

_HINTS = (
    (
        "mapping values are not allowed",
        "quote the value if it contains a colon; otherwise align the line with the keys around it",
    ),
    ("could not find expected ':'", "write KEY: VALUE, with a space after the colon"),
    ("while scanning a quoted scalar", "close the quotation marks"),
    ("while parsing a quoted scalar", "write \\\\ for a backslash, or use single quotes"),
    ("while scanning an alias", 'quote values that start with *, such as "*.txt"'),
    ("while scanning an anchor", "quote values that start with &"),
    ("tag", "quote values that start with !"),
    ("tab character", "indent with spaces, not tabs"),
    ("while parsing a flow", "close the bracket, or quote the value before it if it contains brackets or commas"),
    ("block mapping", "align the keys of a mapping, and quote values that start with a quotation mark or a bracket"),
    ("block collection", "align the items of a list, each after a -"),
    ("document start", "remove the line above: a manifest is a single document without directives"),
)


def problem(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    """The problem for a parser error, at the place of the mistake rather than where the parser noticed it."""
    mark = error.problem_mark or error.context_mark
    said = " ".join(part for part in (error.problem, error.context) if part)
    if error.context_mark and "end of stream" in said:
        mark = error.context_mark
    if mark is None:
        return Problem(f"not valid YAML: {said}", "correct the syntax", Location(file))
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    where = Location(file, mark.line + 1, mark.column + 1)
    return Problem(f"not valid YAML: {said}", _hint(said, line, line[mark.column : mark.column + 1]), where)


def _hint(said: str, line: str, character: str) -> str:
    if character == "\t":
        return "indent with spaces, not tabs"
    if "cannot start any token" in said:
        return f"quote the value: {character} has a special meaning here"
    if "flow mapping" in said and "${" in line:
        return 'quote it: "${vars.NAME}"; inside {}, a brace ends the mapping'
    return next((hint for words, hint in _HINTS if words in said), "correct the syntax here, or quote the value")
