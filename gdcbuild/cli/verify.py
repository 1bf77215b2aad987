"""gdcbuild verify."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gdcbuild.cli import options
from gdcbuild.engine.bucket import BEGUN
from gdcbuild.errors import DamageFound, Problem

if TYPE_CHECKING:
    from gdcbuild.core.ids import VersionId


def verify(
    versions: options.Versions = None,
    exclude: options.Exclude = None,
    env: options.Env = None,
    directory: options.Directory = options.HERE,
    file: options.File = None,
    cache_dir: options.CacheDir = None,
    deep: options.Deep = False,
    as_json: options.Json = False,
) -> None:
    """Compare the bucket with what was published. Exits 4 when it differs."""
    from gdcbuild.report import closing, jsonl, show, text

    with closing(options.quiet()) as reporter:
        project = options.project(directory, file, cache_dir, reporter)
        found = project.verify(env, options.selection(versions, exclude), deep)
    if as_json:
        show(jsonl.dumps(jsonl.findings(found)))
    damage = [
        Problem(
            f"{version} is not what was published",
            _mend(lines, project.has(version), version, f" --env {env}" if env else ""),
            detail="\n".join(lines),
        )
        for version, lines in found.items()
        if lines
    ]
    if damage:
        raise DamageFound(*damage)
    sys.stderr.write(f"Whole: {text.amount(len(found), 'version')}{', every byte read' if deep else ''}.\n")


def _mend(lines: tuple[str, ...], known: bool, version: VersionId, chosen: str) -> str:
    if lines[0] == BEGUN:
        return f"finish it: gdcbuild apply {version}{chosen}"
    if known:
        return f"find out who changed it; then put it right: gdcbuild apply --repair {version}{chosen}"
    seals = f".gdcbuild/v1/seals/{version.model}/{version.version}/"
    return f"it is not in the manifest: find out who changed it; where it is being taken out, remove its seal, too: {seals}"
