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
from gdcbuild.adopt.shell_commands import Atom, atoms

LONGEST = 1 << 16
"""Characters of a variable that are kept track of."""

_VARIABLE = re.compile(
    r"\$(?:(?P<name>\w+|[@*#?$!-])|\{(?P<braced>\w+|[@*#?$!-])(?:(?<=BASH_SOURCE)\[0\])?"
    r"(?::?\?.*|(?P<how>:?[-=])(?P<default>[^'\\]*))?\})",
    re.DOTALL,
)
_BRACES = re.compile(r"\{[^{}\s]*(?:,|\.\.)[^{}\s]*\}")
_NOT_READ = re.compile(r"\*\*|\[\^|\[\[:")
"""Globs that Python reads differently, or that an option of the shell decides."""

_SELF = r"\$(?:\{(?:0|BASH_SOURCE(?:\[0\])?(?::-\$0)?)\}|0|BASH_SOURCE)"
_REAL = rf'\$\(\s*(?:readlink\s+-f|realpath)\s+(?:--\s+)?"?{_SELF}"?\s*\)'
_DIRNAME = rf'dirname\s+(?:--\s+)?"?(?:{_SELF}|{_REAL})"?'
_QUIETLY = r"(?:\s*[12&]?>\s*/dev/null)?(?:\s*2>&1)?"
_OWN_FOLDER = re.compile(
    rf'\s*(?:{_DIRNAME}|cd\s+(?:(?:--|-P)\s+)*"?\$\(\s*{_DIRNAME}\s*\)(?P<rest>[/\w.-]*)"?{_QUIETLY}\s*(?:&&|;)\s*pwd(?:\s+-P)?)\s*'
)
"""The ways in which scripts ask for the folder they are in."""

Saved = dict[str, str]


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

    def changed(self, since: Saved) -> list[str]:
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
        return name, text if len(text) < LONGEST else unknown(f"${name}")

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
                found = {*glob.glob(pattern, root_dir=self.folder), *self._matched(pattern)}
                yield from sorted(found) or [text]
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
        field: list[tuple[str, bool]] = []
        for number, atom in enumerate(pieces):
            text = self._text(atom)
            quoted = atom.is_quoted or bool(UNKNOWN.search(text))
            if not number and raw.startswith("~"):
                field.append((unknown("~"), True))
                text = text[1:]
            elif atom.is_expansion and not quoted:
                *ended, text = re.split(r"[ \t\n]+", text) if "IFS" not in self.held else [unknown(text)]
                for piece in ended:
                    yield from _field([*field, *([(piece, False)] if piece else [])])
                    field = []
            if text or quoted:
                field.append((text, quoted))
        yield from _field(field)

    def _matched(self, pattern: str) -> Iterator[str]:
        """What a glob matches among archives that are packed, and the folders they are in."""
        wanted = pattern.rstrip("/").split("/")
        fixed = next(number for number, part in enumerate(wanted) if glob.has_magic(part))
        before = "".join(f"{part}/" for part in wanted[:fixed])
        root = posixpath.join(join(self.folder, before or "."), "")
        for path in self._made:
            parts = path.removeprefix(root).split("/") if path.startswith(root) else []
            pairs = list(zip(parts, wanted[fixed:], strict=False))
            fits = len(parts) >= len(wanted) - fixed + pattern.endswith("/") and not any(p.startswith(".") for p, _ in pairs)
            if fits and all(fnmatchcase(part, one) for part, one in pairs):
                yield before + "/".join(part for part, _ in pairs) + "/" * pattern.endswith("/")

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
        if match["how"] and (held is None or (not held and ":" in match["how"])):
            held = "".join(self._text(inner) for inner in atoms('"' + match["default"].replace('"', "") + '"'))
            if "=" in match["how"]:
                self.held[name] = held
        return unknown(f"${name}") if held is None else held

    def _written(self, command: str) -> str:
        """What a command in $(...) writes."""
        script = self.held.get("0", "")
        if re.fullmatch(r"\s*pwd(\s+-P)?\s*", command):
            return self.folder
        if script and (match := _OWN_FOLDER.fullmatch(command)):
            own = posixpath.dirname(self.held["BASH_SOURCE"] if "BASH_SOURCE" in command else script)
            return join(own, (match["rest"] or "").lstrip("/") or ".")
        return unknown(f"$({command})")


def _field(pieces: list[tuple[str, bool]]) -> Iterator[tuple[str, str]]:
    """A field of pieces, each a text and whether it is quoted; none of no pieces."""
    if pieces:
        is_glob = any(glob.has_magic(text) for text, quoted in pieces if not quoted)
        pattern = "".join(glob.escape(text) if quoted else text for text, quoted in pieces)
        yield "".join(text for text, _ in pieces), pattern if is_glob else ""
