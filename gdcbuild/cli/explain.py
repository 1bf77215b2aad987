"""gdcbuild explain."""

from __future__ import annotations

from gdcbuild.cli import options


def explain(
    version: options.Version,
    env: options.Env = None,
    directory: options.Directory = options.HERE,
    file: options.File = None,
    cache_dir: options.CacheDir = None,
    as_json: options.Json = False,
) -> None:
    """Explain why a version would be built: what changed since its last build, also in the actions it needs."""
    from gdcbuild.report import closing, jsonl, show, text

    with closing(options.quiet()) as reporter:
        found = options.project(directory, file, cache_dir, reporter).explain([version], env)
    show(jsonl.dumps(jsonl.explanations(found)) if as_json else text.explanations(found))
