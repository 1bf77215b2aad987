"""gdcbuild apply."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gdcbuild.cli import options
from gdcbuild.errors import Problem, Refused, UsageError

if TYPE_CHECKING:
    from gdcbuild.core.plan import Plan
    from gdcbuild.source.environment import Environment


def apply(
    versions: options.Versions = None,
    exclude: options.Exclude = None,
    env: options.Env = None,
    directory: options.Directory = options.HERE,
    file: options.File = None,
    cache_dir: options.CacheDir = None,
    jobs: options.Jobs = options.CORES,
    keep_going: options.KeepGoing = False,
    yes: options.Yes = False,
    repair: options.Repair = False,
    as_json: options.Json = False,
) -> None:
    """Build what changed and publish what differs. Running it again does nothing."""
    from gdcbuild.report import closing

    if repair and not versions:
        raise UsageError(Problem("--repair requires explicit versions", "gdcbuild apply --repair MODEL@VERSION"))

    def confirm(plan: Plan, environment: Environment) -> None:
        if environment.protect and plan.pending and not yes:
            _ask(plan)

    with closing(options.reporter(as_json)) as reporter, options.collecting():
        project = options.project(directory, file, cache_dir, reporter)
        running = options.running(jobs, keep_going)._replace(repair=repair, confirm=confirm)
        project.apply(env, options.selection(versions, exclude), running)


def _ask(plan: Plan) -> None:
    """Show the plan and ask for confirmation. Refuses without a terminal."""
    from gdcbuild.report import text

    if not sys.stdin.isatty():
        raise Refused(
            Problem(f"{plan.environment} is protected, and there is no terminal to ask for confirmation", "confirm with --yes")
        )
    sys.stderr.write(f"{text.plan(plan)}\nApply this to {plan.environment} ({plan.url})? [y/N]: ")
    sys.stderr.flush()
    answer = sys.stdin.buffer.readline()
    if not answer:  # Ctrl-D leaves the line open
        sys.stderr.write("\n")
    if answer.strip().lower() not in (b"y", b"yes"):
        raise Refused(Problem("not applied: the answer was no"))
