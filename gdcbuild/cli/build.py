"""gdcbuild build."""

from __future__ import annotations

from gdcbuild.cli import options


def build(
    versions: options.Versions = None,
    exclude: options.Exclude = None,
    directory: options.Directory = options.HERE,
    file: options.File = None,
    cache_dir: options.CacheDir = None,
    jobs: options.Jobs = options.CORES,
    keep_going: options.KeepGoing = False,
    as_json: options.Json = False,
) -> None:
    """Build what changed and check it against its image. Publishes nothing."""
    from gdcbuild.report import closing

    with closing(options.reporter(as_json)) as reporter, options.collecting():
        project = options.project(directory, file, cache_dir, reporter)
        project.build(options.selection(versions, exclude), options.running(jobs, keep_going))
