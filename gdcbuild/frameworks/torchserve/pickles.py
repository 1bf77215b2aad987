"""What unpickling a file would import and call, read from its opcodes. Nothing is unpickled.

A pickle is a program for a small machine with a stack and a memo; all it can reach are the globals it names. So the names are
the whole question. The machine is run here with nothing in it but texts: those a name may be put together from. Where it
reads less strictly than Python's, it would only find more; where a name cannot be told, that is said instead of a name.
"""

from __future__ import annotations

import io
import pickletools
import re
from dataclasses import dataclass, field
from typing import BinaryIO, cast

MAX_STEPS = 8_000_000
"""Opcodes that are read of all pickles of one artifact: enough for 200,000 tensors, and some seconds of work."""

MAX_STREAMED = 4 << 30
"""Bytes that are unpacked of all streams in one artifact: some seconds of work. None of them are held."""

NAME = 40
"""What a global costs, in opcodes, for its name is remembered. A pickle names each but once."""

MAX_TEXT = 256
"""Bytes of the longest text that may be part of a global's name. Longer ones are passed over unread."""

MAX_MEMO = 200_000
"""Texts that are remembered of one pickle."""

UNREAD = "more than can be read here"
COMPUTED = "a name that it puts together while it runs"

MAGIC = re.compile(rb"\x80[\x02-\x05]")
"""How a pickle of protocol 2 or newer begins. Older ones have no sign of their own."""

_NUMPY = r"numpy\.(?:core|_core)"
_DTYPE = r"(?:b?float|complex|q?u?int|bits)\d\w*|bool"
_ALLOWED = re.compile(
    r"collections (?:OrderedDict|Counter)|_codecs encode"
    r"|(?:builtins|__builtin__) (?:set|bytearray|complex)"
    r"|torch(?:\.cuda|\.sparse|\.cuda\.sparse)? (?:[A-Z]\w*)?(?:Storage|Tensor)"
    rf"|torch (?:Size|device|per_(?:tensor|channel)_\w+|{_DTYPE})"
    r"|torch\.storage (?:Typed|Untyped)Storage|torch\.nn\.parameter Parameter|torch\.serialization _get_layout"
    r"|torch\._utils _rebuild_\w+|torch\._tensor _rebuild_from_type_v2"
)
"""Globals, as "MODULE NAME", that tensors and plain containers are made with: those that PyTorch's `weights_only` takes."""

_HARMLESS = re.compile(
    r"collections (?:defaultdict|deque)|torch\.nn\.parameter (?:Buffer|Uninitialized(?:Parameter|Buffer))"
    r"|(?:builtins|__builtin__) (?:frozenset|slice|x?range|bool|int|float|str|bytes|list|tuple|dict)"
    rf"|numpy (?:ndarray|dtype|{_DTYPE}\d*_?)|numpy\.dtypes \w+DType"
    rf"|{_NUMPY}\.multiarray (?:_reconstruct|scalar)|{_NUMPY}\.numeric _frombuffer"
)
"""Those that arrays and other plain containers are made with. They make values, no more."""

_TORCHSCRIPT = re.compile(r"__torch__\S* \S+|torch\.jit\._pickle \w+")
"""What TorchScript files name beside these: types of their own. PyTorch reads them in C++ and imports nothing."""


@dataclass(slots=True)
class Budget:
    """What may still be done for one artifact: opcodes that are read, bytes that are unpacked from streams."""

    steps: int = MAX_STEPS
    unpacked: int = MAX_STREAMED


@dataclass(slots=True)
class Read:
    """What was found: globals as "MODULE NAME" (or UNREAD, COMPUTED), and whether the pickle was read to its end."""

    names: set[str] = field(default_factory=set)
    whole: bool = False


def unexpected(names: set[str], torchscript: bool, only_weights: bool = False) -> list[str]:
    """Those that are not among what weights are made of, as Python would write them, sorted."""
    expected = [_ALLOWED, *([] if only_weights else [_HARMLESS]), *([_TORCHSCRIPT] if torchscript else [])]
    odd = (n for n in names if not any(each.fullmatch(n) for each in expected))
    return sorted(n if n in (UNREAD, COMPUTED) else ascii(n.replace(" ", "."))[1:-1] for n in odd)


def read(stream: BinaryIO, budget: Budget) -> Read:
    """The pickles that lie one after another at the start of the stream: the names in all, and whether the first is whole."""
    reader: io.BufferedReader = io.BufferedReader(cast(io.RawIOBase, stream), 1 << 16)
    found = Read()
    try:
        found.whole = whole = _run(reader, found.names, budget)
        while whole and MAGIC.match(reader.read(2)):  # which is an opcode without effect here
            whole = _run(reader, found.names, budget)
    finally:
        reader.detach()
    return found


_MARK = object()
_LINES = {"GLOBAL": 2, "INST": 2}
_TEXTS = frozenset({"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"})
_GLOBALS = frozenset({"GLOBAL", "INST", "STACK_GLOBAL", "EXT1", "EXT2", "EXT4"})
_SPECIAL = {
    *_TEXTS,
    *_GLOBALS,
    *("STOP", "MARK", "POP", "DUP"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
}


def _taken(op: pickletools.OpcodeInfo) -> tuple[int, bool]:
    """How many values an opcode takes, below the last mark if it takes all down to that."""
    before = list(op.stack_before)
    if pickletools.markobject in before:
        return before.index(pickletools.markobject), True
    return len(before), False


_PLAIN = {op.code.encode("latin-1"): (op, *_taken(op), len(op.stack_after)) for op in pickletools.opcodes}
"""Opcode → what it is, how many values it takes, whether all down to the last mark, and how many it leaves."""


class _Stopped(ValueError):
    """The pickle ends here, or Python would refuse to go on."""


class _Machine:
    """The stack and the memo of one pickle. Values are texts, marks, or None for anything else."""

    def __init__(self, names: set[str]) -> None:
        self.names = names
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
        """Carry out an opcode that does more than take values and leave others."""
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
                self.names.add(argument.decode(errors="surrogateescape").replace("\n", " "))
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
        if self.counted and self.numbered:  # which place is next depends on all before: nobody writes that
            self.names.add(COMPUTED)
        if isinstance(value, str):
            self.memo[place] = value
        else:
            self.memo.pop(place, None)


def _run(reader: io.BufferedReader, names: set[str], budget: Budget) -> bool:
    """Follow one pickle; returns whether it ended well. What makes Python stop makes this stop too."""
    machine = _Machine(names)
    stack = machine.stack
    try:
        while budget.steps > 0 and len(machine.memo) <= MAX_MEMO:
            found = _PLAIN.get(reader.read(1))
            if found is None:
                return False
            op, taken, to_mark, left = found
            budget.steps -= NAME if op.name in _GLOBALS else 1
            argument = b"" if op.arg is None else _argument(reader, op)
            if op.name in _SPECIAL:
                if op.name == "STOP":
                    return bool(stack)
                machine.special(op.name, argument)
                continue
            if to_mark:
                machine.down_to_mark()
            machine.take(taken)
            stack += [None] * left
    except _Stopped:
        return False
    names.add(UNREAD)
    return False


def _text(name: str, argument: bytes) -> str | None:
    """A text that was pushed; None when it is too long to matter, or written with escapes."""
    if len(argument) >= MAX_TEXT or b"\\" in argument:
        return None
    text = argument.decode(errors="surrogateescape")
    return text.strip("'\"") if name == "STRING" else text


def _number(argument: bytes, decimal: bool) -> int:
    try:
        return int(argument) if decimal else int.from_bytes(argument, "little")
    except ValueError:
        raise _Stopped from None


_COUNTED = {
    pickletools.TAKEN_FROM_ARGUMENT1: (1, False),
    pickletools.TAKEN_FROM_ARGUMENT4: (4, True),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, False),
    pickletools.TAKEN_FROM_ARGUMENT8U: (8, False),
}
"""Kind of argument → bytes of the count before it, and whether that has a sign."""


def _argument(reader: io.BufferedReader, op: pickletools.OpcodeInfo) -> bytes:
    """An opcode's argument, of a counted one no more than MAX_TEXT bytes."""
    assert op.arg is not None
    if op.arg.n >= 0:
        return _exactly(reader, op.arg.n)
    if op.arg.n == pickletools.UP_TO_NEWLINE:
        return b"\n".join([_line(reader) for _ in range(_LINES.get(op.name, 1))])
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
    """A line without its last byte, which is taken for its end even where the file ends first: Python does so too.

    A line longer than any name is cut off, in a way that makes it no name that is known.
    """
    line = reader.readline(MAX_TEXT)
    if len(line) < MAX_TEXT or line.endswith(b"\n"):
        if not line:
            raise _Stopped
        return line[:-1]
    while (more := reader.readline(1 << 16)) and not more.endswith(b"\n"):
        pass
    return line + b"..."
