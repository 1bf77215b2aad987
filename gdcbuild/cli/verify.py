"""gdcbuild verify."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gdcbuild.cli import options
from gdcbuild.engine.bucket import BEGUN, FOREIGN, UNSEALED
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
    """Compare the bucket with what was published, and with what should be. Exits 4 when it differs."""
    from gdcbuild.report import closing, jsonl, show, text

    with closing(options.quiet()) as reporter:
        project = options.project(directory, file, cache_dir, reporter)
        found = project.verify(env, options.selection(versions, exclude), deep)
    if as_json:
        show(jsonl.dumps(jsonl.findings(found)))
    chosen = f" --env {env}" if env else ""
    damage = [_problem(version, lines, project.has(version), chosen) for version, lines in found.items() if lines]
    if damage:
        raise DamageFound(*damage)
    sys.stderr.write(f"Whole: {text.amount(len(found), 'version')}{', every byte read' if deep else ''}.\n")


def _problem(version: VersionId, lines: tuple[str, ...], known: bool, chosen: str) -> Problem:
    mend = _mend(lines, known, version, chosen)
    if lines[-1] == UNSEALED and lines[0] == BEGUN:
        return Problem(f"{version} is not published: {BEGUN}", mend)
    if lines[0] in (UNSEALED, FOREIGN):
        return Problem(f"{version} {lines[0]}", mend)
    return Problem(f"{version} is not what was published", mend, detail="\n".join(lines))


def _mend(lines: tuple[str, ...], known: bool, version: VersionId, chosen: str) -> str:
    if lines[0] == BEGUN:
        return f"finish it: gdcbuild apply {version}{chosen}"
    if lines[0] == UNSEALED:
        return f"publish it: gdcbuild apply {version}{chosen}; if it was published before, it was lost, seal and all"
    if lines[0] == FOREIGN and known:
        return f"look at the plan; where it shows the same bytes, seal it: gdcbuild apply --repair {version}{chosen}"
    if lines[0] == FOREIGN:
        return "bring it into the manifest, or remove it where no server is to load it, its entry object first"
    if known:
        return f"find out who changed it; then put it right: gdcbuild apply --repair {version}{chosen}"
    seals = f".gdcbuild/v1/seals/{version.model}/{version.version}/"
    return f"it is not in the manifest: find out who changed it; where it is being taken out, remove its seal, too: {seals}"
