"""gdcbuild explain."""

from __future__ import annotations

from gdcbuild.cli import options


def explain(
    version: options.Version,
    directory: options.Directory = options.HERE,
    file: options.File = None,
    cache_dir: options.CacheDir = None,
    as_json: options.Json = False,
) -> None:
    """Say why a version would be built. Names all that changed since its last result, also in the actions it needs."""
    from gdcbuild.engine.explain import explain as explained
    from gdcbuild.report import closing, jsonl, show, text

    with closing(options.quiet()) as reporter:
        project = options.project(directory, file, cache_dir, reporter)
        wanted = project.select(options.selection([version], None))
        project.source.check(wanted)
        graph, judged, rebuilder = project.source.work(wanted)
        found = {str(v): explained(graph, judged, v, rebuilder) for v in wanted}
    show(jsonl.dumps(jsonl.explanations(found)) if as_json else text.explanations(found))
