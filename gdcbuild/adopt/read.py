"""Reads one file of any of the kinds: a shell script, a Makefile, a list of models."""

from __future__ import annotations

import posixpath
import re

from gdcbuild.adopt import lists, makefile
from gdcbuild.adopt.commands import begins, matters
from gdcbuild.adopt.found import Found, unknown
from gdcbuild.adopt.recipes import recipes
from gdcbuild.adopt.shell import Shell
from gdcbuild.errors import Location, Problem

MAKE_TRACE = "put in what it comes to; or import what make would run: make -n TARGET | gdcbuild import -"


def read(found: Found, text: str, name: str, path: str, folder: str) -> None:
    """Add what a text says to what was found.

    `name` is the file's for messages; `path` is absolute, "" for standard input, whose kind its text tells. `folder`
    (absolute) is where its commands are taken to run.
    """
    try:
        _read(found, text, name, path, folder)
    except RecursionError:
        found.problems.append(Problem("it is nested too deeply to be read", where=Location(name)))


def _read(found: Found, text: str, name: str, path: str, folder: str) -> None:
    base = posixpath.basename(path)
    found.files.add(path)
    if base.endswith(".json") or (not path and text.lstrip()[:1] in ("[", "{")):
        lists.read(found, text, name, path or posixpath.join(folder, name), folder)
    elif base.endswith(".py") and (what := matters(text)):
        line = text.count("\n", 0, begins(text)) + 1
        found.refuse(Location(name, line, 1), f"{what} in Python is not understood", "run it plainly, in a shell script")
    elif (
        base.lower() in ("makefile", "gnumakefile")
        or base.endswith((".mk", ".make"))
        or (not path and makefile.looks_like(text))
    ):
        made = makefile.Makefile(found, folder)
        made.read(text, name)
        is_bash = "bash" in made.variables.get("SHELL", "")
        given = {name: unknown(f"$({name})") for name in made.variables}  # where make exports them
        shell = Shell(found, folder, "", given, MAKE_TRACE, is_bash)
        for recipe in recipes(made, folder):
            shell.restart(recipe.doubt)
            shell.read(recipe.text, recipe.where.file, recipe.where.line)
    else:
        given = {"0": path} if path else {}
        has_braces = re.match(r"#!.*\b(?:da)?sh\b", text) is None
        Shell(found, folder, path, given, has_braces=has_braces).read(text, name)
