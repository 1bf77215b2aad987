"""gdcbuild plan."""

from __future__ import annotations

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
    from gdcbuild.report import closing, show

    with closing(options.quiet()) as reporter:
        found = options.project(directory, file, cache_dir, reporter).plan(env, options.selection(versions, exclude))
    if as_json:
        from gdcbuild.report import jsonl

        show(jsonl.dumps(jsonl.plan(found)))
    else:
        from gdcbuild.report import text

        show(text.plan(found))
    if detailed_exitcode and found.pending:
        return CHANGES
    return 0
