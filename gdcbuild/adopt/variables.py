"""What a script knows at a moment, its variables and its folder, and what words expand to by that."""

from __future__ import annotations

import glob
import posixpath
import re
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase

from gdcbuild.adopt.archiver import join
from gdcbuild.adopt.findings import UNKNOWN, unknown
from gdcbuild.adopt.known_commands import ASSIGNMENT
from gdcbuild.adopt.shell_commands import Atom, Parser, atoms
from gdcbuild.errors import Location

_LONGEST = 1 << 16
"""Characters of a variable that are kept track of."""

_VARIABLE = re.compile(
    r"\$(?:(?P<name>\w+|[@*#?$!-])|\{(?P<braced>\w+)(?:(?<=BASH_SOURCE)\[0\])?(?::?\?.*|(?P<how>:?-)(?P<default>[^'\\]*))?\})",
    re.DOTALL,
)
_BRACES = re.compile(r"\{[^{}\s]*(?:,|\.\.)[^{}\s]*\}")
_NOT_READ = re.compile(r"\*\*|\[\^|\[\[:")
"""Globs that Python reads differently, or that an option of the shell decides."""


class Variables:
    """Variables by name; the folder (absolute) is PWD, and `script` the file that is read, "" for standard input.

    `made` are the archives that will be there when the script runs. `has_globs` is False once it changes how globs are read.
    """

    def __init__(self, folder: str, script: str, made: Collection[str]) -> None:
        self.held = {"PWD": folder, "OLDPWD": folder, **({"0": script, "BASH_SOURCE": script} if script else {})}
        self.has_globs = True
        self._made = made

    @property
    def folder(self) -> str:
        return self.held["PWD"]

    def changed(self, since: dict[str, str]) -> list[str]:
        """The variables that have changed since."""
        return [name for name in {**self.held, **since} if self.held.get(name) != since.get(name)]

    def lose(self, name: str, why: str) -> None:
        """From here on a variable is not known, and does not come from the environment."""
        is_folder = name in ("PWD", "OLDPWD", "DIRSTACK")
        self.held[name] = "/" + unknown(f"cd in {why}") if is_folder else unknown(f"${name}, which {why} sets,")

    def assigned(self, raw: str) -> tuple[str, str]:
        """The name and the value in a word that is an assignment; "" for both in another."""
        match = ASSIGNMENT.match(raw)
        if match is None:
            return "", ""
        name, value = match[1], raw[match.end() :]
        text = "".join(self._text(atom) for atom in atoms(value))
        if value.startswith(("~", "(")):  # a home folder; an array
            text = unknown("~") + text[1:] if value[0] == "~" else unknown(f"${name}")
        text = self.held.get(name, unknown(f"${name}")) + text if match[2] == "+=" else text
        return name, text if len(text) < _LONGEST else unknown(f"${name}")

    def go(self, fields: Sequence[str]) -> None:
        """A cd, pushd or popd."""
        to = [f for f in fields[1:] if f not in ("--", "-P", "-L")] or [unknown("~")]
        here, previous = self.folder, self.held["OLDPWD"]
        if fields[0] != "cd" and re.match(r"[+-]\d", to[0]):
            self.held["PWD"] = "/" + unknown(" ".join(fields))
        elif fields[0] == "popd":
            pushed, _, self.held["DIRSTACK"] = self.held.get("DIRSTACK", "").partition("\n")
            self.held["PWD"] = pushed or "/" + unknown("popd")
        else:
            self.held["PWD"] = previous if to == ["-"] else join(here, to[0])
        if fields[0] == "pushd":
            self.held["DIRSTACK"] = f"{here}\n{self.held.get('DIRSTACK', '')}"
        self.held["OLDPWD"] = here

    def fields(self, raw: str) -> Iterator[str]:
        """A word as the shell would pass it on: variables expanded, split where it is not quoted, globs matched."""
        for text, pattern in self.split(raw):
            if pattern and (_NOT_READ.search(text) or not self.has_globs):
                yield unknown(text)
            elif pattern:
                yield from sorted({*glob.glob(pattern, root_dir=self.folder), *self._matched(pattern)}) or [text]
            else:
                yield text

    def split(self, raw: str) -> Iterator[tuple[str, str]]:
        """The fields of a word, each a text and the glob that it is ("" for none)."""
        pieces = list(atoms(raw))
        plain = "".join("?" if atom.is_quoted or atom.is_expansion else atom.text for atom in pieces)
        if raw.startswith(("((", "[[ ")) or _BRACES.search(plain):
            text = "".join(atom.text for atom in pieces)
            yield (raw, "") if raw[0] in "([" else (_BRACES.sub(lambda match: unknown(match[0]), text), "")
            return
        field: list[tuple[str, bool]] = [(unknown("~"), True)] if raw.startswith("~") else []
        for number, atom in enumerate(pieces):
            text = self._text(atom)[bool(field and not number) :]
            quoted = atom.is_quoted or bool(UNKNOWN.search(text))
            if atom.is_expansion and not quoted:
                *ended, text = re.split(r"[ \t\n]+", text) if "IFS" not in self.held else [unknown(text)]
                for piece in ended:
                    yield from _field([*field, *([(piece, False)] if piece else [])])
                    field = []
            if text or quoted:
                field.append((text, quoted))
        yield from _field(field)

    def _matched(self, pattern: str) -> Iterator[str]:
        """What a glob matches among archives that are packed, and the folders they are in."""
        wanted = join(self.folder, pattern.rstrip("/")).split("/")
        for path in self._made:
            parts = path.split("/")
            own = parts[: len(wanted)]
            hides = any(part.startswith(".") for part, one in zip(own, wanted, strict=False) if glob.has_magic(one))
            fits = len(parts) >= len(wanted) + pattern.endswith("/") and not hides
            if fits and all(map(fnmatchcase, own, wanted)):
                yield posixpath.relpath("/".join(own), self.folder)

    def _text(self, atom: Atom) -> str:
        """What a piece of a word expands to."""
        text = atom.text
        if not atom.is_expansion:
            return text
        if text[:2] in ("$(", "<(") or text[0] == "`":
            return self._written(text[2:-1] if text[0] != "`" else text[1:-1]) if text[:3] != "$((" else unknown(text)
        match = _VARIABLE.fullmatch(text)
        if match is None:
            return unknown(text)
        name = match["name"] or match["braced"]
        held = self.held.get(name)
        if match["how"] and (held is None or (not held and match["how"] == ":-")):
            held = "".join(self._text(inner) for inner in atoms('"' + match["default"].replace('"', "") + '"'))
        return unknown(f"${name}") if held is None else held

    def _written(self, command: str) -> str:
        """What a command in $(...) writes, if it asks for a folder, as scripts do for their own."""
        commands = [c for c in Parser(command, Location(""), is_inner=True).commands() if c.words]
        is_plain = (
            0 < len(commands) < 3 and all(c.after in ("&&", ";", "\n") for c in commands) and not commands[-1].redirections
        )
        given = [[f for raw in c.words for f in self.fields(raw)] for c in commands] if is_plain else []
        match [[field for field in fields if field not in ("--", "-P", "-f")] for fields in given]:
            case [["pwd"]]:
                return self.folder
            case [["dirname", path]] if not UNKNOWN.search(path):
                return posixpath.dirname(path.rstrip("/") or "/") or "."
            case [["realpath" | "readlink", path]] if path == self.held.get("0"):
                return path
            case [["cd", path], ["pwd"]]:
                return join(self.folder, path)
        return unknown(f"$({command})")


def _field(pieces: list[tuple[str, bool]]) -> Iterator[tuple[str, str]]:
    """A field of pieces, each a text and whether it is quoted; none of no pieces."""
    if pieces:
        is_glob = any(glob.has_magic(text) for text, quoted in pieces if not quoted)
        pattern = "".join(glob.escape(text) if quoted else text for text, quoted in pieces)
        yield "".join(text for text, _ in pieces), pattern if is_glob else ""
