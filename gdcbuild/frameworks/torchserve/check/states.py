"""Decide from the start of a pickle written by `torch.save` whether it can be a state dict.

Reports only what is certain, which for a mapping is its first value. Anything unclear may be a state dict.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator

START = 4096
"""Bytes of the pickle that are read."""

_ASIDE = frozenset({"PROTO", "FRAME", "MARK", "BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"})
_VALUES = {
    **dict.fromkeys(("EMPTY_DICT", "DICT"), "a mapping"),
    **dict.fromkeys(("EMPTY_LIST", "LIST"), "a list"),
    **dict.fromkeys(("EMPTY_TUPLE", "TUPLE"), "a tuple"),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), "a number"),
    **dict.fromkeys(("NEWTRUE", "NEWFALSE"), "true or false"),
}
_TEXTS = ("BINUNICODE", "SHORT_BINUNICODE")
_ORDERED = "collections OrderedDict"

_TENSORS = ("torch ", "torch._", "torch.nn.parameter ", "numpy")
"""Prefixes of globals that create tensors, and other values a module may keep."""

_PLAIN = ("collections ", "builtins ", "__builtin__ ")

_Op = tuple[str, object]


def not_a_state(start: bytes) -> str:
    """What the pickle starting with `start` contains, "" when it may be a state dict."""
    ops = _ops(start)
    texts = {} if start[1:2] >= b"\4" else dict.fromkeys(_TEXTS, "a string")  # since protocol 4 it may start a global's name
    values = {**_VALUES, **texts}
    name, argument = next(ops, ("", None))
    if name == "GLOBAL":
        text = str(argument)
        if text.startswith("torch._utils _rebuild_"):
            return "one tensor"
        if text == _ORDERED:
            if next(ops, None) != ("EMPTY_TUPLE", None) or next(ops, None) != ("REDUCE", None):
                return ""
        elif not text.startswith("collections ") and _made(ops) and next(ops, ("", None))[0] not in _TEXTS:
            return f"a whole {text.replace(' ', '.')}"  # if keys follow, it is a custom mapping class
        else:
            return ""
    elif name != "EMPTY_DICT":
        return values.get(name, "")
    key, value = next(ops, ("", None)), next(ops, ("", None))
    if key[0] not in _TEXTS or "." in str(key[1]) or str(key[1]).startswith("_"):
        return ""  # extra state that a module keeps next to its tensors has such a name
    what = values.get(value[0], "")
    if value[0] == "GLOBAL" and not str(value[1]).startswith(_TENSORS):
        if value[1] == _ORDERED:
            what = "a mapping"
        elif str(value[1]).startswith(_PLAIN) or _made(ops):  # a custom tensor class is created by a call
            what = f"made by {str(value[1]).replace(' ', '.'):.60}"
    return f"a mapping whose {str(key[1])!r:.60} is {what}, not a tensor" if what else ""


def _made(ops: Iterator[_Op]) -> bool:
    """Whether an object of the class just named is created, without arguments."""
    return [name for name, _ in (next(ops, ("", None)), next(ops, ("", None)))] == ["EMPTY_TUPLE", "NEWOBJ"]


def _ops(start: bytes) -> Iterator[_Op]:
    """The opcodes with their arguments, except those that only arrange the stack, up to the end of the bytes."""
    try:
        for op, argument, _ in pickletools.genops(start):
            if op.name not in _ASIDE:
                yield op.name, argument
    except ValueError:
        return
