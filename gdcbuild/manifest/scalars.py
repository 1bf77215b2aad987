"""Unquoted scalars: which ones all YAML parsers read alike, and what to write instead of the others."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from math import isinf

import yaml

Scalar = str | int | float | bool | None

_INT = re.compile(r"-?(0|[1-9][0-9]{0,18})\Z")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+([eE][-+][0-9]+)?\Z")
"""Numbers that every parser accepts: YAML 1.1 does not know 1e5, nor integers over 64 bits."""

_NUMBER = re.compile(r"[-+]?(\.[0-9][0-9_]*|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?\Z")
"""Numbers that at least some parsers accept."""

_AMBIGUOUS = re.compile(
    r"(yes|no|on|off|True|TRUE|False|FALSE|Yes|No|On|Off|YES|NO|ON|OFF|Null|NULL"
    r"|[-+]?0[xob][0-9a-fA-F_]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|=|<<"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]*)?"
    r"([ \t]*(Z|[-+][0-9]{1,2}(:[0-9]{2})?))?)\Z"
)
_LETTERS = frozenset("yYnN")
"""Booleans in the YAML 1.1 specification, but not in PyYAML. Common as keys, so refused only as values."""

_WRITTEN_OUT = 10
"""Smaller exponents are written out: 0.0001 is easier to read than 1.0e-4."""

_KINDS = {bool: "the boolean", int: "the number", float: "the number", date: "the date"}
DISAGREE = "is not quoted, and YAML parsers disagree on its value"


def is_ambiguous(text: str) -> bool:
    """Whether YAML parsers disagree on a value."""
    return is_ambiguous_key(text) or text in _LETTERS


def is_ambiguous_key(text: str) -> bool:
    """Whether YAML parsers disagree on a key."""
    return bool(_AMBIGUOUS.match(text) or (_NUMBER.match(text) and not _INT.match(text) and not _is_float(text)))


def _is_float(text: str) -> bool:
    """Whether all parsers read the same number: a very large one is infinite in some, and not valid in JSON."""
    return bool(_FLOAT.match(text)) and not isinf(float(text))


def plain_number(text: str) -> str:
    """A form of the number that all parsers accept, such as 0.0001 for 1e-4; "" if it is not a number, or too large."""
    text = text.replace("_", "")
    found = _NUMBER.match(text)
    if not found or not found[3] or len(found[3]) > _WRITTEN_OUT:
        return ""
    number, exponent = text[: found.start(3)].removeprefix("+"), int(found[3][1:])
    if abs(exponent) < _WRITTEN_OUT:
        plain = f"{Decimal(text):f}"
        plain += "" if "." in plain else ".0"
    else:
        plain = f"{number}{'' if '.' in number else '.0'}e{exponent:+}"
    return plain if _is_float(plain) else ""


def resolve(text: str) -> Scalar:
    """The value of an unquoted scalar."""
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INT.match(text):
        return int(text)
    return float(text) if _FLOAT.match(text) else text


def reads_as(text: str) -> str:
    """The message for an unquoted key that is not a string."""
    if text in ("=", "<<"):
        return DISAGREE
    try:
        value = yaml.safe_load(text)
    except ValueError:  # `0x_`, 2024-99-99: PyYAML recognises the type, then cannot parse it
        kind = "a date" if text[4:5] == "-" else "a number"
        return f"is not quoted, and YAML reads it as {kind}"
    if isinstance(value, str):
        return DISAGREE
    if value is None:
        return "is not quoted, and YAML reads it as null"
    kind = _KINDS.get(type(value), "the time")
    return f"is not quoted, and YAML reads it as {kind} {value}"
