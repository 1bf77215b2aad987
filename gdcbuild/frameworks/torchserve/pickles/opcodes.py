"""Find what unpickling a file would import and call, from its opcodes. Unpickles nothing.

A pickle is a program for a small machine with a stack and a memo, and can reach only the globals it names. This module runs
that machine with strings only, because names are built from strings. Where it is less strict than Python's machine, it finds
more names, never fewer; a name that cannot be determined is reported as COMPUTED or UNREAD.

Any text that starts with `c` could be a pickle of an old protocol. Such a file counts as a pickle when it is one to its end,
or would call something before it fails: an import alone only finds a module that the server has.
"""

from __future__ import annotations

import io
import pickletools
import re
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from gdcbuild.frameworks.torchserve.pickles.expected import COMPUTED, UNREAD

MAX_STEPS = 8_000_000
"""Most opcodes read from all pickles of one artifact: enough for 200,000 tensors, and takes seconds."""

MAX_STREAMED = 4 << 30
"""Most bytes unpacked from all streams of one artifact, which takes seconds. None of them are kept."""

NAME = 40
"""Cost of a global in opcodes, because its name is kept. Real pickles name each global once."""

MAX_TEXT = 256
"""Longest string in bytes that may be part of a global's name. Longer ones are skipped."""

MAX_MEMO = 200_000
"""Most strings kept from one pickle."""

MAGIC = re.compile(rb"\x80[\x02-\x05]")
"""The start of a pickle of protocol 2 or newer. Older protocols have no magic number."""


@dataclass(slots=True)
class Budget:
    """The work left for one artifact: opcodes to read, and bytes to unpack from streams."""

    steps: int = MAX_STEPS
    unpacked: int = MAX_STREAMED


@dataclass(slots=True)
class Read:
    """The result: globals as "MODULE NAME" (or UNREAD, COMPUTED), and whether the first pickle was read to its end."""

    names: set[str] = field(default_factory=set)
    whole: bool = False


def read(stream: BinaryIO, budget: Budget, surely: bool = False) -> Read:
    """Read the consecutive pickles at the start of the stream: the names in all of them, and whether the first is complete.

    With `surely`, the first is treated as a pickle, whatever it looks like.
    """
    reader: io.BufferedReader = io.BufferedReader(cast(io.RawIOBase, stream), 1 << 16)
    found = Read()
    try:
        machine = _run(reader, budget)
        found.whole = machine.whole
        while True:
            if surely or machine.counts:
                found.names |= machine.names
            if not machine.whole:
                return found
            machine, surely = _run(reader, budget), False
    finally:
        reader.detach()


_MARK = object()
_LINES = {"GLOBAL": 2, "INST": 2}
_TEXTS = frozenset({"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"})
_GLOBALS = frozenset({"GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"})
_CALLS = frozenset(
    {"REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST", "BUILD", "APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"}
)
"""Opcodes with which Python calls a global, or a method of an object it created."""

_SPECIAL = {
    *_TEXTS,
    *_GLOBALS,
    *("MARK", "POP", "DUP"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
}


def _taken(op: pickletools.OpcodeInfo) -> tuple[int, bool]:
    """How many values an opcode takes (below the mark, if it takes one), and whether it takes all down to the last mark."""
    before = list(op.stack_before)
    if pickletools.markobject in before:
        return before.index(pickletools.markobject), True
    return len(before), False


_PLAIN = {op.code.encode("latin-1"): (op, *_taken(op), len(op.stack_after)) for op in pickletools.opcodes}
"""Opcode → its description, how many values it takes, whether all down to the last mark, and how many it leaves."""


class _Stopped(ValueError):
    """The pickle ends here, or Python would raise an error."""


class _Machine:
    """The state of one pickle: its names, stack and memo. Values are strings, marks, or None for everything else.

    `whole`: it ended properly. `counts`: it is certainly a pickle, or would act like one.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.whole = self.counts = False
        self.stack: list[object] = []
        self.marks = 0
        self.memo: dict[int, str] = {}
        self.counted = 0
        self.numbered = False

    def take(self, count: int) -> list[object]:
        taken = self.stack[len(self.stack) - count :] if count else []
        if len(taken) < count or (self.marks and _MARK in taken):
            raise _Stopped
        del self.stack[len(self.stack) - count :]
        return taken

    def down_to_mark(self) -> None:
        if not self.marks:
            raise _Stopped
        while self.stack.pop() is not _MARK:
            pass
        self.marks -= 1

    def special(self, name: str, argument: bytes) -> None:
        """Run an opcode that does more than replace values on the stack."""
        match name:
            case "MARK":
                self.stack.append(_MARK)
                self.marks += 1
            case "POP":
                if not self.stack:
                    raise _Stopped
                self.marks -= self.stack.pop() is _MARK
            case "DUP":
                self.stack += self.take(1) * 2
            case "GLOBAL" | "INST":
                self.names.add(_name(argument))
                if name == "INST":
                    self.down_to_mark()
                self.stack.append(None)
            case "STACK_GLOBAL":
                module, attribute = self.take(2)
                known = isinstance(module, str) and isinstance(attribute, str)
                self.names.add(f"{module} {attribute}" if known else COMPUTED)
                self.stack.append(None)
            case "EXT1" | "EXT2" | "EXT4":
                self.names.add(f"copyreg extension {int.from_bytes(argument, 'little')}")
                self.stack.append(None)
            case "GET" | "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo.get(_number(argument, name == "GET")))
            case "MEMOIZE":
                self.counted += 1
                self.remember(self.counted - 1)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.numbered = True
                self.remember(_number(argument, name == "PUT"))
            case _:
                self.stack.append(_text(name, argument))

    def remember(self, place: int) -> None:
        (value,) = self.take(1)
        self.stack.append(value)
        if self.counted and self.numbered:  # mixing both kinds of memo opcodes is never written
            self.names.add(COMPUTED)
        if isinstance(value, str):
            self.memo[place] = value
        else:
            self.memo.pop(place, None)


def _run(reader: io.BufferedReader, budget: Budget) -> _Machine:
    """Run one pickle. Stops wherever Python would."""
    machine = _Machine()
    stack = machine.stack
    first = True
    try:
        while budget.steps > 0 and len(machine.memo) <= MAX_MEMO:
            found = _PLAIN.get(reader.read(1))
            if found is None:
                return machine
            op, taken, to_mark, left = found
            budget.steps -= NAME if op.name in _GLOBALS else 1
            argument = b"" if op.arg is None else _argument(reader, op)
            if op.name == "STOP":
                machine.whole = bool(stack)
                machine.counts |= machine.whole
                return machine
            if op.name in _SPECIAL:
                machine.special(op.name, argument)
            else:
                if to_mark:
                    machine.down_to_mark()
                machine.take(taken)
                stack += [None] * left
            machine.counts |= (first and op.name == "PROTO" and argument <= b"\5") or (
                op.name in _CALLS and bool(machine.names)
            )
            first = False
    except _Stopped:
        return machine
    machine.names.add(UNREAD)
    machine.counts = True
    return machine


def _name(argument: bytes) -> str:
    """The "MODULE NAME" of a global. Python refuses invalid UTF-8; for a shortened line that is unknown."""
    try:
        return argument.replace(b"\n", b" ").decode(errors="surrogateescape" if _CUT in argument else "strict")
    except UnicodeDecodeError:
        raise _Stopped from None


def _text(name: str, argument: bytes) -> str | None:
    """A string that was pushed; None when it is too long to matter, or has escapes."""
    if len(argument) >= MAX_TEXT or b"\\" in argument:
        return None
    text = argument.decode(errors="surrogateescape")
    return text.strip("'\"") if name == "STRING" else text


def _number(argument: bytes, decimal: bool) -> int:
    try:
        return int(argument) if decimal else int.from_bytes(argument, "little")
    except ValueError:
        raise _Stopped from None


_NUMBER = b" \t\v\f\r\0+-0123456789"
_BEGINNINGS = {"INT": _NUMBER, "LONG": _NUMBER, "FLOAT": _NUMBER + b".iInN", "STRING": b"\"'"}
"""Characters with which an argument that Python accepts may start."""

_CUT = b"..."
"""Marks a line shortened because it is longer than any name."""

_COUNTED = {
    pickletools.TAKEN_FROM_ARGUMENT1: (1, False),
    pickletools.TAKEN_FROM_ARGUMENT4: (4, True),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, False),
    pickletools.TAKEN_FROM_ARGUMENT8U: (8, False),
}
"""Kind of argument → bytes of the count before it, and whether the count is signed."""


def _argument(reader: io.BufferedReader, op: pickletools.OpcodeInfo) -> bytes:
    """An opcode's argument; at most MAX_TEXT bytes of one with a count."""
    assert op.arg is not None
    if op.arg.n >= 0:
        return _exactly(reader, op.arg.n)
    if op.arg.n == pickletools.UP_TO_NEWLINE:
        text = b"\n".join([_line(reader) for _ in range(_LINES.get(op.name, 1))])
        if text[:1] not in _BEGINNINGS.get(op.name, text[:1]):
            raise _Stopped
        return text
    width, signed = _COUNTED[op.arg.n]
    count = int.from_bytes(_exactly(reader, width), "little", signed=signed)
    if count < 0:
        raise _Stopped
    data = _exactly(reader, min(count, MAX_TEXT))
    rest = count - len(data)
    while rest:
        skipped = len(reader.read(min(rest, 1 << 20)))
        if not skipped:
            raise _Stopped
        rest -= skipped
    return data


def _exactly(reader: io.BufferedReader, count: int) -> bytes:
    data = reader.read(count)
    if len(data) != count:
        raise _Stopped
    return data


def _line(reader: io.BufferedReader) -> bytes:
    """A line without its last byte, which is dropped even where the file ends first, as in Python.

    A line longer than any name is shortened and marked, so that it matches no known name.
    """
    line = reader.readline(MAX_TEXT)
    if len(line) < MAX_TEXT or line.endswith(b"\n"):
        if not line:
            raise _Stopped
        return line[:-1]
    while (more := reader.readline(1 << 16)) and not more.endswith(b"\n"):
        pass
    return line + _CUT
