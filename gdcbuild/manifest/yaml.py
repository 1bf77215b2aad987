"""Strict YAML with a location for every value.

Numbers and booleans are those of YAML 1.2. Values that parsers read differently (`no`, `1_000`, `12:30:45`) are refused, as
are duplicate keys, anchors, aliases, tags and merge keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import Any

import yaml

from gdcbuild.errors import Location, Problem
from gdcbuild.manifest import syntax
from gdcbuild.manifest.scalars import DISAGREE, Scalar, is_ambiguous, is_ambiguous_key, plain_number, reads_as, resolve

MAX_BYTES = 16 << 20
MAX_DEPTH = 64

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\Z")


@dataclass(slots=True)
class Node:
    """A value and its location. In a mapping, `keys` has the location of each key; `text` is a scalar as written.

    `refused` is true for a value that has already been reported, so that it is not reported twice.
    """

    value: dict[str, Node] | list[Node] | Scalar
    where: Location
    keys: dict[str, Location] = field(default_factory=dict)
    text: str = ""
    refused: bool = False

    def plain(self) -> Any:
        """The value without locations. The nesting is limited, so the recursion is, too."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    @property
    def is_literal(self) -> bool:
        """Whether it is a string without a variable."""
        return isinstance(self.value, str) and not self.refused and "${" not in self.value

    def get(self, key: str) -> Node | None:
        return self.value.get(key) if isinstance(self.value, dict) else None

    def items(self) -> Iterator[tuple[str, Node]]:
        return iter(self.value.items() if isinstance(self.value, dict) else ())

    def key(self, name: str) -> Location:
        """The location of a key; that of the mapping if it has no such key."""
        return self.keys.get(name, self.where)

    def at(self, path: tuple[str | int, ...]) -> tuple[Location, Node]:
        """The location nearest to a path, and the deepest node on the way. Steps that do not exist are skipped."""
        node, where = self, self.where
        for step in path:
            if isinstance(node.value, dict) and isinstance(step, str) and step in node.value:
                where, node = node.key(step), node.value[step]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                where = node.where
        return where, node


def parse(data: bytes, file: str, free: Set[str] = frozenset()) -> tuple[Node | None, list[Problem]]:
    """Parse the one document in `data`. Returns its node, None if nothing can be used, and every problem.

    Below the keys in `free`, a key may be any string.
    """
    if len(data) > MAX_BYTES:
        return None, [Problem(f"the manifest is larger than {MAX_BYTES >> 20} MiB", "split it and use include", Location(file))]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return None, [Problem("not UTF-8", "save the file as UTF-8", Location(file, line, 1))]
    composer = _Composer(file, free)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        composer.problems.append(syntax.problem(error, text, file))
        return None, composer.problems
    except yaml.reader.ReaderError as error:
        composer.problems.append(_unreadable(error, text, file))
        return None, composer.problems
    if composer.root is None and not composer.problems:
        composer.problems.append(Problem("the manifest is empty", "start with `schema: 1`", Location(file, 1, 1)))
    return composer.root, composer.problems


def _unreadable(error: yaml.reader.ReaderError, text: str, file: str) -> Problem:
    """Locate the character itself: the C parser counts bytes and gives a code point, the Python parser does neither."""
    number = error.character if isinstance(error.character, int) else ord(error.character)
    line = text.count("\n", 0, text.index(chr(number))) + 1
    return Problem(f"YAML does not allow the character U+{number:04X}", "remove it", Location(file, line, 1))


class _Composer:
    """Builds nodes from parser events, with its own stack to limit the depth and to collect every problem."""

    def __init__(self, file: str, free: Set[str]) -> None:
        self.file = file
        self.free = free
        self.problems: list[Problem] = []
        self.root: Node | None = None
        self.stack: list[Node] = []
        self.pending: list[tuple[str, Location] | None] = []
        self.path: list[str] = []
        self.skip = 0
        self.documents = 0

    def where(self, event: yaml.Event) -> Location:
        mark = event.start_mark
        assert mark is not None
        return Location(self.file, mark.line + 1, mark.column + 1)

    def problem(self, event: yaml.Event, message: str, hint: str) -> None:
        self.problems.append(Problem(message, hint, self.where(event)))

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents == 2:
                self.problem(event, "more than one document", "keep one document per file and use include")
        elif self.documents > 1:
            return
        elif isinstance(event, yaml.CollectionEndEvent):
            if self.skip:
                self.skip -= 1
            else:
                self.stack.pop()
                self.pending.pop()
                self.path.pop()
        elif isinstance(event, yaml.NodeEvent):
            self.node(event)

    def node(self, event: yaml.NodeEvent) -> None:
        opens = isinstance(event, yaml.CollectionStartEvent)
        if self.skip:
            self.skip += opens
            return
        if isinstance(event, yaml.AliasEvent):
            self.problem(event, f"alias *{event.anchor} is not allowed", "write the value out, or use `vars` and `defaults`")
        elif event.anchor is not None:
            self.problem(
                event, f"anchor &{event.anchor} is not allowed", "remove it, and use `vars` and `defaults` to share values"
            )
        if "\0" in getattr(event, "value", ""):
            self.problem(event, "NUL characters are not allowed", "remove it: paths and commands cannot contain one")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self.problem(event, f"tag {tag} is not allowed", "remove it; quote the value if it is a string")
        if self._expects_key():
            self.key(event)
            return
        if opens and len(self.stack) >= MAX_DEPTH:
            self.problem(event, f"nested deeper than {MAX_DEPTH} levels", "reduce the nesting")
            self.skip = 1
            self.pending[-1] = None
            return
        node = self.value(event)
        pending = self.pending[-1] if self.pending else None
        self._attach(node)
        if opens:
            self.stack.append(node)
            self.pending.append(None)
            self.path.append(pending[0] if pending else "")

    def _expects_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].value, dict) and self.pending[-1] is None

    def _attach(self, node: Node) -> None:
        if not self.stack:
            self.root = node
        elif isinstance(self.stack[-1].value, list):
            self.stack[-1].value.append(node)
        elif isinstance(self.stack[-1].value, dict):
            key = self.pending[-1]
            assert key is not None
            self.stack[-1].value[key[0]] = node
            self.stack[-1].keys[key[0]] = key[1]
            self.pending[-1] = None

    def key(self, event: yaml.NodeEvent) -> None:
        where = self.where(event)
        if not isinstance(event, yaml.ScalarEvent):
            self.problem(event, "a key must be a string", "write a plain word as the key")
            self.pending[-1] = (f"\0{where}", where)
            if isinstance(event, yaml.CollectionStartEvent):
                self.skip = 1
            return
        name = event.value
        if not event.style:
            if name == "<<":
                self.problem(event, "merge keys (<<) are not allowed", "use `defaults`, or write the keys out")
                name = f"\0{where}"
            elif not isinstance(resolve(name), str) or is_ambiguous_key(name):
                self.problem(event, f"{name} {reads_as(name)}", self._key_hint(name))
                if not _NAME.match(name) and not self._is_free():
                    name = f"\0{where}"  # not a valid name in quotes, either; reported above
        mapping = self.stack[-1]
        if name in mapping.keys:
            self.problem(event, f"duplicate key {name!r}; the first is at {mapping.keys[name]}", "keep one of them")
            name = f"\0{where}"
        self.pending[-1] = (name, where)

    def _is_free(self) -> bool:
        """Whether keys here may be any string."""
        return not self.free.isdisjoint(self.path)

    def _key_hint(self, name: str) -> str:
        """What to write instead of an unquoted key."""
        if _NAME.match(name) or self._is_free():
            return f'write "{name}":'
        near = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("._-")
        as_name = f'another name in quotes, such as "{near}":' if near else "a name in quotes:"
        return f"write {as_name} letters, digits, . _ and -; begin and end with a letter or a digit"

    def value(self, event: yaml.NodeEvent) -> Node:
        where = self.where(event)
        if isinstance(event, yaml.MappingStartEvent):
            return Node({}, where)
        if isinstance(event, yaml.SequenceStartEvent):
            return Node([], where)
        if not isinstance(event, yaml.ScalarEvent):
            return Node(None, where, refused=True)
        if event.style or event.tag is not None:
            return Node(event.value, where, text=event.value, refused=event.tag is not None or "\0" in event.value)
        if is_ambiguous(event.value):
            number = plain_number(event.value)
            other = f"{number} for the number" if number else "true or false for a boolean, 10 or 0.5 for a number"
            self.problem(event, f"{event.value} {DISAGREE}", f'write "{event.value}" for the string, {other}')
            return Node(event.value, where, text=event.value, refused=True)
        return Node(resolve(event.value), where, text=event.value)


def is_placeholder(key: str) -> bool:
    """True for the placeholder of a key that has already been reported. No valid key starts with a NUL."""
    return key.startswith("\0")
