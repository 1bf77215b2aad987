"""Flags that several commands share, and opening a project from them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gdcbuild.app.cache import Cache
    from gdcbuild.app.project import Project, Selection
    from gdcbuild.core.events import Event
    from gdcbuild.core.ports import Reporter

Versions = Annotated[list[str] | None, typer.Argument(metavar="[MODEL[@VERSION]]...", help="Versions; globs are fine.")]
Exclude = Annotated[
    list[str] | None, typer.Option("--exclude", envvar="GDCBUILD_EXCLUDE", metavar="MODEL[@VERSION]", help="Leave these out.")
]
Directory = Annotated[Path, typer.Option("-C", "--directory", envvar="GDCBUILD_DIRECTORY", help="Work in this folder.")]
File = Annotated[
    str | None, typer.Option("-f", "--file", envvar="GDCBUILD_FILE", help="The root manifest, instead of gdcbuild.yaml.")
]
Env = Annotated[str | None, typer.Option("--env", envvar="GDCBUILD_ENV", metavar="NAME", help="The environment.")]
Jobs = Annotated[int, typer.Option("-j", "--jobs", envvar="GDCBUILD_JOBS", min=1, help="Jobs at a time.", show_default="cores")]
KeepGoing = Annotated[
    bool, typer.Option("-k", "--keep-going", envvar="GDCBUILD_KEEP_GOING", help="Do all that does not need what failed.")
]
CacheDir = Annotated[
    Path | None,
    typer.Option("--cache-dir", envvar="GDCBUILD_CACHE_DIR", show_default="~/.cache/gdcbuild", help="The cache folder."),
]
Json = Annotated[bool, typer.Option("--json", envvar="GDCBUILD_JSON", help="For machines, on stdout.")]

HERE = Path()
CORES = len(os.sched_getaffinity(0))


class _Ignored:
    """What happens while a plan is made is not worth a line, but for warnings."""

    def emit(self, event: Event) -> None:
        from gdcbuild.core.events import Warned
        from gdcbuild.report import text

        if isinstance(event, Warned):
            sys.stderr.write(text.problem(event.problem, "warning") + "\n")


def project(directory: Path, file: str | None, cache_dir: Path | None, reporter: Reporter | None = None) -> Project:
    """The workspace in a folder, read and validated."""
    from gdcbuild.app.cache import cache_folder
    from gdcbuild.app.project import Project

    emit = (reporter or _Ignored()).emit
    return Project(directory, file, cache_folder(cache_dir, os.environ), os.environ, emit)


def selection(versions: list[str] | None, exclude: list[str] | None) -> Selection:
    """The selection that the arguments and --exclude make."""
    from gdcbuild.app.project import Selection

    return Selection(tuple(versions or ()), tuple(exclude or ()))


def reporter(as_json: bool) -> Reporter:
    """Events for machines, a live display on a terminal that can redraw, or plain lines."""
    if as_json:
        from gdcbuild.report.jsonl import JsonReporter

        return JsonReporter()
    if sys.stderr.isatty() and os.environ.get("TERM") not in (None, "dumb") and not os.environ.get("CI"):
        from gdcbuild.report.terminal import TerminalReporter

        return TerminalReporter()
    from gdcbuild.report.lines import LineReporter

    return LineReporter()


def cache(cache_dir: Path | None) -> Cache:
    """The local cache by itself."""
    from gdcbuild.app.cache import Cache, cache_folder

    return Cache(cache_folder(cache_dir, os.environ), _Ignored().emit)
