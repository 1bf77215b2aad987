"""Flags that several commands share, as data that Typer and `reading` both go by, and opening a project from them."""

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
    """A flag by its `names`, or an argument when it has none, and the `variable` that stands in for it.

    `kind` is the type of its value, a list for one that may be given several times; `more` is for Typer alone.
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
    """The annotation of a flag for Typer, which is imported only by whoever asks."""
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
    """The workspace in a folder, read and validated."""
    from gdcbuild.app.cache import cache_folder
    from gdcbuild.app.project import Project

    emit = (reporter or quiet()).emit
    return Project(directory, file, cache_folder(cache_dir, os.environ), os.environ, emit)


def selection(versions: list[str] | None, exclude: list[str] | None) -> Selection:
    """The selection that the arguments and --exclude make."""
    from gdcbuild.app.selection import Selection

    return Selection(tuple(versions or ()), tuple(exclude or ()))


def running(jobs: int, keep_going: bool) -> Options:
    """How a command that works is to run."""
    from gdcbuild.app.calls import Options

    return Options(jobs, keep_going)


@contextmanager
def collecting() -> Iterator[None]:
    """Collects garbage inside the context: clients of S3 leave cycles, some 30 KiB a version. Who only looks does not."""
    gc.freeze()
    gc.enable()
    yield


def reporter(as_json: bool) -> Reporter:
    """Events for machines, a live display on a terminal that can redraw, or plain lines."""
    if as_json:
        from gdcbuild.report.jsonl import JsonReporter

        return JsonReporter()
    if _can_redraw():
        from gdcbuild.report.terminal import TerminalReporter

        return TerminalReporter()
    from gdcbuild.report.lines import LineReporter

    return LineReporter()


def quiet() -> Reporter:
    """For commands that only look."""
    from gdcbuild.report import QuietReporter

    return QuietReporter(_can_redraw())


def _can_redraw() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") not in (None, "dumb") and not os.environ.get("CI")


def cache(cache_dir: Path | None, reporter: Reporter | None = None) -> Cache:
    """The local cache by itself."""
    from gdcbuild.app.cache import Cache, cache_folder

    return Cache(cache_folder(cache_dir, os.environ), (reporter or quiet()).emit)
