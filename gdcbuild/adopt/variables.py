"""What a script knows at a moment: its variables and arguments, and its folder."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from gdcbuild.adopt.archiver import join
from gdcbuild.adopt.found import unknown

LONGEST = 1 << 16
"""Characters of a variable, and words of an array, that are kept track of."""

_COUNTED = re.compile(r"([A-Za-z_]\w*)\s*(?:\+\+|--|[-+*/%&|^]?=(?!=))|(?:\+\+|--)\s*([A-Za-z_]\w*)")
_ARGUMENTS = "123456789@*#"
Saved = tuple[str, str, list[str], dict[str, str], dict[str, list[str]]]


class Variables:
    """Variables and the folder (absolute). `script` is the file that is read, "" for standard input, `main` the one that runs.

    `doubt` says why it is not known that the command at hand runs: then what it sets is not known. `has_braces` is whether the
    shell knows {a,b}. `made` are files that will be there when the script runs. `options` are those that
    change what globs come to.
    """

    def __init__(
        self, folder: str, script: str, given: Mapping[str, str], has_braces: bool = True, made: Collection[str] = ()
    ) -> None:
        self.folder = self._previous = folder
        self.script = self._main = script
        self.doubt = ""
        self.has_braces = has_braces
        self._made = made
        self.options = set[str]()
        self._hidden: list[dict[str, tuple[str | None, list[str] | None]]] = []
        self._pushed: list[str] = []
        self._variables = dict(given)
        self._arrays: dict[str, list[str]] = {}

    def saved(self) -> Saved:
        """All that a subshell may change without a word."""
        return self.folder, self._previous, [*self._pushed], dict(self._variables), dict(self._arrays)

    def restore(self, saved: Saved) -> None:
        """Leave a subshell."""
        self.folder, self._previous, self._pushed, self._variables, self._arrays = saved

    def go(self, fields: Sequence[str]) -> None:
        """A cd, pushd or popd."""
        to = [f for f in fields[1:] if f not in ("--", "-P", "-L")]
        here = self.folder
        if fields[0] != "cd" and any(re.match(r"[+-]\d", f) for f in to):
            self.lost(" ".join(fields))
            return
        if fields[0] == "popd":
            self.folder = self._pushed.pop() if self._pushed else "/" + unknown("popd")
        else:
            self.folder = self._previous if to == ["-"] else join(here, to[0] if to else unknown("~"))
        if fields[0] == "pushd":
            self._pushed.append(here)
        self._previous = here

    def lost(self, why: str) -> None:
        """From here on the folder is not known."""
        self.folder = self._previous = "/" + unknown(why)
        self._pushed = []

    def call(self, arguments: list[str] | None) -> None:
        """Enter a function; None are arguments that are not known."""
        self._hidden.append({})
        for name in _ARGUMENTS:
            self.hide(name)
        doubt, self.doubt = self.doubt, ""  # if it runs, it runs with these
        self.arguments(arguments)
        self.doubt = doubt

    def end_call(self) -> None:
        """Leave it; what was local in it is what it was before."""
        for name, held in self._hidden.pop().items():
            self.put(name, *held)

    def hide(self, name: str) -> None:
        """Make a variable local. Where that is in doubt, it is not known afterwards which one was set."""
        held = (unknown(f"${name}"), None) if self.doubt and name not in _ARGUMENTS else self._held(name)
        self._hidden[-1].setdefault(name, held)

    def _held(self, name: str) -> tuple[str | None, list[str] | None]:
        return self._variables.get(name), self._arrays.get(name)

    def put(self, name: str, text: str | None, array: list[str] | None) -> None:
        """Give a variable what it held, with no regard to any doubt."""
        self._variables.pop(name, None)
        self._arrays.pop(name, None)
        if text is not None:
            self._variables[name] = text
        if array is not None:
            self._arrays[name] = array

    def set(self, name: str, text: str) -> None:
        """Give a variable a value."""
        self._arrays.pop(name, None)
        if self.doubt or len(text) > LONGEST:
            text = unknown(f"${name}, which {self.doubt} sets," if self.doubt else f"${name}")
        self._variables[name] = text

    def lose(self, name: str) -> None:
        """From here on a variable is not known, and is not that of the environment either."""
        self.set(name, unknown(f"${name}, which the script sets,"))

    def unset(self, name: str) -> None:
        """Take a variable away."""
        if self.doubt or "[" in name:
            self.lose(name.partition("[")[0])
        else:
            self.put(name, None, None)

    def arguments(self, given: list[str] | None) -> None:
        """Have other arguments, as `set` makes them. None are such that are not known."""
        for name in _ARGUMENTS:
            self.put(name, unknown(f"${name}") if given is None or self.doubt else None, None)
        if given is not None and not self.doubt:
            self._arrays["@"] = given

    def shift(self, fields: Sequence[str]) -> None:
        """Drop the first arguments."""
        given, count = self._arrays.get("@"), "".join(fields[1:]) or "1"
        if given is not None or self._hidden:
            is_known = given is not None and count.isdecimal() and int(count) <= len(given)
            self.arguments(given[int(count) :] if given is not None and is_known else None)

    def count(self, text: str) -> None:
        """After ((text)) it is not known what it sets."""
        for names in _COUNTED.findall(text):
            self.lose("".join(names))

    def environment(self) -> Mapping[str, str]:
        """The variables, as programs may see them."""
        return self._variables
