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
    """Show what is published of every version, from which commit, and whether it matches the manifest."""
    from gdcbuild.report import closing, jsonl, show, text

    with closing(options.quiet()) as reporter:
        found = options.project(directory, file, cache_dir, reporter).status(env, options.selection(versions, exclude))
    made_from = found.provenance
    show(jsonl.dumps(jsonl.status(found.plan, made_from)) if as_json else text.status(found.plan, made_from))
