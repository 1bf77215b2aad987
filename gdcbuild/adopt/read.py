"""Reads one file: a shell script, or a list of models in JSON. Anything else is named."""

from __future__ import annotations

import posixpath
import re

from gdcbuild.adopt import model_lists
from gdcbuild.adopt.findings import Findings
from gdcbuild.adopt.known_commands import line_of, matters
from gdcbuild.adopt.script import Script
from gdcbuild.errors import Location, Problem

_RECIPE = re.compile(r"^[\w./%$(){}-][^\n=]*:(?!=)[^\n=]*\n(?:[^\S\n]*\n)*\t\S", re.MULTILINE)
"""A rule with a recipe below it, which tells a Makefile from a script."""


def read(found: Findings, text: str, name: str, path: str, folder: str) -> None:
    """Add what a text says to what was found.

    `name` is the file's for messages; `path` is absolute, "" for standard input, whose kind its text tells. `folder`
    (absolute) is where its commands are taken to run.
    """
    base = posixpath.basename(path).lower()
    is_make = base in ("makefile", "gnumakefile") or base.endswith((".mk", ".make"))
    place = Location(name, line_of(text) + 1, 1)
    found.files.add(path)
    try:
        if base.endswith(".json") or (not path and text.lstrip()[:1] in ("[", "{")):
            model_lists.read(found, text, name, path or posixpath.join(folder, name), folder)
        elif is_make or (not path and _RECIPE.search(text)):
            hint = "import what make runs: make -n TARGET | gdcbuild import -"
            found.refuse(place, f"not followed: {matters(text) or 'what it makes'} in a Makefile", hint)
        elif base.endswith(".py") and (what := matters(text)):
            found.refuse(place, f"not followed: {what} in Python", "run it plainly, in a shell script")
        else:
            Script(found, folder, path).read(text, Location(name, 1, 1))
    except RecursionError:
        found.problems.append(Problem("it is nested too deeply to be read", where=Location(name)))
