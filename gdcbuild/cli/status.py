"""gdcbuild status."""

from __future__ import annotations

from gdcbuild.cli import options


def status(
    versions: options.Versions = None,
    exclude: options.Exclude = None,
    env: options.Env = None,
    directory: options.Directory = options.HERE,
    file: options.File = None,
    cache_dir: options.CacheDir = None,
    as_json: options.Json = False,
) -> None:
    """Show what the bucket holds of every version. Tells whether it is what the manifest says; writes nothing."""
    from gdcbuild.report import closing, jsonl, show, text

    with closing(options.quiet()) as reporter:
        found = options.project(directory, file, cache_dir, reporter).plan(env, options.selection(versions, exclude))
    show(jsonl.dumps(jsonl.plan(found)) if as_json else text.status(found))
