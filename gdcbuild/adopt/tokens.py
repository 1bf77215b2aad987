"""What shell text consists of: words and their parts, operators, and what is fed to commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gdcbuild.errors import Location


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a word. A variable has its name as text, a command what is in $(...).

    `default` is for a variable that is not set, or is empty too if `how` has a colon; with "=" in `how` it is assigned.
    """

    kind: Literal["text", "variable", "command", "unknown"]
    text: str
    quoted: bool
    default: tuple[Part, ...] | None = None
    how: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """Parts that stand without a space between them."""

    parts: tuple[Part, ...]
    where: Location

    @property
    def literal(self) -> str:
        """The word if it is unquoted text and nothing else, as keywords are; else ""."""
        return "".join(p.text for p in self.parts) if all(p.kind == "text" and not p.quoted for p in self.parts) else ""


@dataclass(frozen=True, slots=True)
class Operator:
    """What separates commands."""

    text: str
    where: Location


@dataclass(frozen=True, slots=True)
class Fed:
    """What a here-document, or <<<, gives to a command to read; it stands before the operator that ends the line.

    Of a <(...) it is the commands that make it.
    """

    text: str
    where: Location
    is_commands: bool = False
