"""Flags shared by several commands, as data for both Typer and `plain_args`, and opening a project from them."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from gdcbuild.app.cache import Cache
    from gdcbuild.app.calls import Options
    from gdcbuild.app.project import Project
    from gdcbuild.app.selection import Selection
    from gdcbuild.core.ports import Reporter

    Versions = list[str] | None
    Version = str
    Exclude = list[str] | None
    Directory = Path
    File = str | None
    Env = str | None
    Jobs = int
    KeepGoing = bool
    CacheDir = Path | None
    Json = bool
    Yes = bool
    Repair = bool
    Deep = bool
    DetailedExitcode = bool

HERE = Path()
CORES = len(os.sched_getaffinity(0))


class Flag(NamedTuple):
    """A flag with its `names`, or an argument if it has none; `variable` is the environment variable for it.

    `kind` is the type of its value, a list if it may be repeated; `more` is for Typer only.
    """

    kind: Any
    names: tuple[str, ...]
    variable: str
    help: str
    more: dict[str, Any] = {}  # noqa: RUF012 - never changed


FLAGS = {
    "Versions": Flag(list[str], (), "", "Only these versions; globs are allowed.", {"metavar": "MODEL[@VERSION]"}),
    "Version": Flag(str, (), "", "The version; MODEL or a glob selects several.", {"metavar": "MODEL@VERSION"}),
    "Exclude": Flag(
        list[str],
        ("--exclude",),
        "GDCBUILD_EXCLUDE",
        "Leave out these versions; may be repeated.",
        {"metavar": "MODEL[@VERSION]"},
    ),
    "Directory": Flag(
        Path, ("-C", "--directory"), "GDCBUILD_DIRECTORY", "Use the manifest in this folder or its nearest parent."
    ),
    "File": Flag(str, ("-f", "--file"), "GDCBUILD_FILE", "The root manifest, instead of gdcbuild.yaml."),
    "Env": Flag(str, ("--env",), "GDCBUILD_ENV", "The environment; the default is the manifest's.", {"metavar": "NAME"}),
    "Jobs": Flag(
        int, ("-j", "--jobs"), "GDCBUILD_JOBS", "Run at most this many jobs at a time.", {"min": 1, "show_default": "cores"}
    ),
    "KeepGoing": Flag(
        bool, ("-k", "--keep-going"), "GDCBUILD_KEEP_GOING", "After a failure, go on with what does not depend on it."
    ),
    "CacheDir": Flag(Path, ("--cache-dir",), "GDCBUILD_CACHE_DIR", "The cache folder.", {"show_default": "~/.cache/gdcbuild"}),
    "Json": Flag(bool, ("--json",), "GDCBUILD_JSON", "Print JSON: one document, or one event per line for build and apply."),
    "Yes": Flag(bool, ("--yes", "-y"), "GDCBUILD_YES", "Do not ask for confirmation in a protected environment."),
    "Repair": Flag(
        bool,
        ("--repair",),
        "GDCBUILD_REPAIR",
        "Restore what drifted, and seal unmanaged versions with the same bytes; requires explicit versions.",
    ),
    "Deep": Flag(bool, ("--deep",), "GDCBUILD_DEEP", "Read every byte instead of comparing listings."),
    "DetailedExitcode": Flag(
        bool, ("--detailed-exitcode",), "GDCBUILD_DETAILED_EXITCODE", "Exit 2 instead of 0 if changes are pending, for CI."
    ),
}
WITH_JSON = frozenset({"plan", "build", "apply", "status", "explain", "verify", "cache"})
"""Commands that have --json."""

_OPTIONAL = {"Versions", "Exclude", "File", "Env", "CacheDir"}


def __getattr__(name: str) -> Any:
    """The annotation of a flag for Typer, which is imported only when needed."""
    if name not in FLAGS:
        raise AttributeError(name)
    from typing import Annotated

    import typer

    flag = FLAGS[name]
    kind = flag.kind | None if name in _OPTIONAL else flag.kind
    if not flag.names:
        return Annotated[kind, typer.Argument(help=flag.help, **flag.more)]
    return Annotated[kind, typer.Option(*flag.names, envvar=flag.variable, help=flag.help, **flag.more)]


def project(directory: Path, file: str | None, cache_dir: Path | None, reporter: Reporter | None = None) -> Project:
    """The project in a folder."""
    from gdcbuild.app.cache import cache_folder
    from gdcbuild.app.project import Project

    emit = (reporter or quiet()).emit
    return Project(directory, file, cache_folder(cache_dir, os.environ), os.environ, emit)


def selection(versions: list[str] | None, exclude: list[str] | None) -> Selection:
    """The selection from the arguments and --exclude."""
    from gdcbuild.app.selection import Selection

    return Selection(tuple(versions or ()), tuple(exclude or ()))


def running(jobs: int, keep_going: bool) -> Options:
    """The options of a command that builds."""
    from gdcbuild.app.calls import Options

    return Options(jobs, keep_going)


@contextmanager
def collecting() -> Iterator[None]:
    """Collect garbage inside the context: S3 clients leave cycles of about 30 KiB per version. Read-only commands do not."""
    gc.freeze()
    gc.enable()
    yield


def reporter(as_json: bool) -> Reporter:
    """JSON events, a live display on a terminal that supports it, or plain lines."""
    if as_json:
        from gdcbuild.report.jsonl import JsonReporter

        return JsonReporter()
    if _can_redraw():
        from gdcbuild.report.terminal import TerminalReporter

        return TerminalReporter()
    from gdcbuild.report.lines import LineReporter

    return LineReporter()


def quiet() -> Reporter:
    """The reporter of read-only commands."""
    from gdcbuild.report import QuietReporter

    return QuietReporter(_can_redraw())


def _can_redraw() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") not in (None, "dumb") and not os.environ.get("CI")


def cache(cache_dir: Path | None, reporter: Reporter | None = None) -> Cache:
    """The local cache."""
    from gdcbuild.app.cache import Cache, cache_folder

    return Cache(cache_folder(cache_dir, os.environ), (reporter or quiet()).emit)
