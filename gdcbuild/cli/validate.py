"""gdcbuild validate."""

from __future__ import annotations

import sys

from gdcbuild.cli import options


def validate(
    directory: options.Directory = options.HERE, file: options.File = None, cache_dir: options.CacheDir = None
) -> None:
    """Check the manifest and every file it names. Builds nothing and does not read the bucket."""
    graph = options.project(directory, file, cache_dir).validate()
    counts = {"model": len({v.model for v in graph.versions}), "version": len(graph.versions), "action": len(graph.actions)}
    sys.stderr.write(f"Valid: {', '.join(f'{n} {what}' + 's' * (n != 1) for what, n in counts.items())}.\n")
