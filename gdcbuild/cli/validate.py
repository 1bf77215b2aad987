"""gdcbuild validate."""

from __future__ import annotations

import sys

from gdcbuild.cli import options


def validate(
    directory: options.Directory = options.HERE, file: options.File = None, cache_dir: options.CacheDir = None
) -> None:
    """Check the manifest and every file it names. Builds nothing, looks at no bucket."""
    graph = options.project(directory, file, cache_dir).graph()[0]
    models = len({v.model for v in graph.versions})
    sys.stderr.write(f"Valid: {models} models, {len(graph.versions)} versions, {len(graph.actions)} actions." + "\n")
