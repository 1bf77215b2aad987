"""gdcbuild cache."""

from __future__ import annotations

from typing import Annotated

import typer

from gdcbuild.cli import options
from gdcbuild.errors import DamageFound, Problem, UsageError

_AGES = {"d": 86_400, "h": 3_600}
_SIZES = {"G": 10**9, "M": 10**6}

app = typer.Typer(help="Show, check and clean the local cache.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def stats(cache_dir: options.CacheDir = None, as_json: options.Json = False) -> None:
    """Show where the cache is and what it holds."""
    from gdcbuild.report import jsonl, show, text

    cache = options.cache(cache_dir)
    blobs = [blob.digest.size for blob in cache.cas.all()]
    results = len(cache.records.keys("result"))
    toolchains = len(list((cache.folder / "toolchains").glob("*/toolchain.json")))
    if as_json:
        counts = {"blobs": len(blobs), "bytes": sum(blobs), "results": results, "toolchains": toolchains}
        show(jsonl.dumps({"schema": jsonl.SCHEMA, "folder": str(cache.folder), **counts}))
        return
    rows = [
        ("folder", str(cache.folder)),
        ("blobs", f"{len(blobs)}, {sum(blobs) / 1e6:.1f} MB"),
        ("results", str(results)),
        ("toolchains", str(toolchains)),
    ]
    show(text.table(rows))


@app.command()
def gc(
    cache_dir: options.CacheDir = None,
    max_age: Annotated[
        str | None,
        typer.Option(
            "--max-age", envvar="GDCBUILD_MAX_AGE", metavar="30d", help="Remove what has not been used for this long."
        ),
    ] = None,
    max_size: Annotated[
        str | None, typer.Option("--max-size", envvar="GDCBUILD_MAX_SIZE", metavar="20G", help="Keep at most this much.")
    ] = None,
) -> None:
    """Remove what nothing needs and what is old. Keeps everything used within the last day."""
    from gdcbuild.report import text

    age = _measure(max_age, _AGES, "30d, 12h") if max_age else None
    size = _measure(max_size, _SIZES, "20G, 500M") if max_size else None
    done = options.cache(cache_dir).collect(age, size)
    removed = f"{text.amount(done.blobs, 'blob')} ({done.bytes / 1e6:.1f} MB), {text.amount(done.toolchains, 'toolchain')}"
    typer.echo(
        f"Removed {removed}; {done.left / 1e6:.1f} MB of blobs are left. Anything used within the last day is kept.", err=True
    )


def _measure(given: str, units: dict[str, int], example: str) -> int:
    """A whole number with a unit."""
    number, unit = given[:-1], given[-1:]
    if not number.isdecimal() or unit not in units:
        raise UsageError(Problem(f"invalid size or age {given!r}", f"write a whole number and a unit, such as {example}"))
    return int(number) * units[unit]


@app.command()
def verify(cache_dir: options.CacheDir = None) -> None:
    """Read the whole cache and remove what is damaged. Exits 4 if anything was."""
    from gdcbuild.report import closing, text

    with closing(options.quiet()) as reporter:
        cache = options.cache(cache_dir, reporter)
        damaged = cache.discard_damaged()
    if damaged:
        raise DamageFound(
            *(Problem(f"{what} was damaged", "it has been removed; the next build makes it again") for what in damaged)
        )
    typer.echo(f"OK: {text.amount(sum(1 for _ in cache.cas.all()), 'file')}, none damaged.", err=True)
