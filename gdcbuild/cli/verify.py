"""gdcbuild verify."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from gdcbuild.cli import options
from gdcbuild.core.standing import BEGUN, Absent, Published, Unfinished, Unmanaged, damage
from gdcbuild.errors import DamageFound, Problem

if TYPE_CHECKING:
    from gdcbuild.core.ids import VersionId
    from gdcbuild.core.standing import Standing


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
    """Compare the bucket with what was published. Exits 4 if anything differs."""
    from gdcbuild.report import closing, jsonl, show, text

    with closing(options.quiet()) as reporter:
        found = options.project(directory, file, cache_dir, reporter).verify(env, options.selection(versions, exclude), deep)
    if as_json:
        show(jsonl.dumps(jsonl.standings(found.standings)))
    chosen = f" --env {env}" if env else ""
    if damaged := found.damaged:
        raise DamageFound(*(_problem(id, found.standings[id], id not in found.unknown, chosen) for id in damaged))
    absent = [str(id) for id, standing in found.standings.items() if isinstance(standing, Absent)]
    if absent:
        more = f" and {len(absent) - text.FEW} more" if len(absent) > text.FEW else ""
        sys.stderr.write(f"Not published yet: {', '.join(map(text.plain, absent[: text.FEW]))}{more}.\n")
    count = len(found.standings) - len(absent)
    matched = "matches its seal" if count == 1 else "match their seals"
    sys.stderr.write(f"OK: {text.amount(count, 'version')} {matched}{', every byte read' if deep else ''}.\n")


def _problem(version: VersionId, standing: Standing, known: bool, chosen: str) -> Problem:
    message, detail = f"{version} differs from what was published", "\n".join(damage(standing))
    repair = f"gdcbuild apply --repair {version}{chosen}"
    match standing:
        case Unfinished():
            message, detail = f"{version} is not published: {BEGUN}", ""
            hint = f"finish it: gdcbuild apply {version}{chosen}"
        case Published(claimed=claimed) if claimed:
            hint = f"finish it: gdcbuild apply {version}{chosen}"
        case Unmanaged():
            message, detail = (
                f"{version} has files in the bucket that were not published by gdcbuild",
                "\n".join(standing.files),
            )
            if known:
                hint = f"run gdcbuild plan; if the bytes are the same, seal it: {repair}"
            else:
                hint = "add it to the manifest; or, if it should not be served, delete it, its entry object first"
        case _ if known:
            hint = f"find out who changed it; then restore it: {repair}"
        case _:
            seals = f".gdcbuild/v1/seals/{version.model}/{version.version}/"
            hint = f"it is not in the manifest: find out who changed it; to retire it, delete its seal, too: {seals}"
    return Problem(message, hint, detail=detail)
