"""gdcbuild plan."""

from __future__ import annotations

import sys

from gdcbuild.cli import options

CHANGES = 2


def plan(
    versions: options.Versions = None,
    exclude: options.Exclude = None,
    env: options.Env = None,
    directory: options.Directory = options.HERE,
    file: options.File = None,
    cache_dir: options.CacheDir = None,
    as_json: options.Json = False,
    detailed_exitcode: options.DetailedExitcode = False,
) -> int:
    """Show what apply would do, and why. Builds and writes nothing."""
    found = options.project(directory, file, cache_dir).plan(env, options.selection(versions, exclude))
    if as_json:
        from gdcbuild.report import jsonl

        sys.stdout.write(jsonl.dumps(jsonl.plan(found)) + "\n")
    else:
        from gdcbuild.report import text

        sys.stdout.write(text.plan(found) + "\n")
    if detailed_exitcode and found.pending:
        return CHANGES
    return 0
