"""gdcbuild import."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gdcbuild.cli import options
from gdcbuild.errors import Location, ManifestError, NotImported, Problem, UsageError

if TYPE_CHECKING:
    from gdcbuild.adopt.findings import Findings

STDIO = "-"


def import_(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Scripts, traces or JSON lists; - for stdin.")],
    output: Annotated[
        str, typer.Option("-o", "--output", envvar="GDCBUILD_OUTPUT", help="The manifest to write; - for stdout.")
    ] = "gdcbuild.yaml",
    directory: options.Directory = options.HERE,
) -> None:
    """Write a manifest from torch-model-archiver commands. Reports what it cannot express, and why."""
    from gdcbuild.adopt.findings import Findings
    from gdcbuild.adopt.manifest import Composer
    from gdcbuild.adopt.manifest_text import text as manifest_text
    from gdcbuild.frameworks.torchserve.keys import HANDLER
    from gdcbuild.report import text

    here = Path(os.path.abspath(directory))  # noqa: PTH100 - keep the name of a symlinked folder, as in scripts
    target = here / output
    if output != STDIO and os.path.lexists(target):
        raise UsageError(Problem(f"{directory / output} already exists", "choose another file with -o, or remove it first"))
    found = Findings(files={os.path.normpath(here / file) for file in files if file != STDIO})
    for file in files:
        _read(found, file, here)
    root = here if output == STDIO else Path(os.path.normpath(target.parent))
    made = Composer(found, root.as_posix(), HANDLER.ready).compose()
    for note in sorted(found.notes, key=_place):
        typer.echo(text.problem(note, "warning"), err=True)
    if not made.models:
        nothing = Problem(f"no torch-model-archiver command and no list of models in {', '.join(files)}")
        raise NotImported(*(sorted(found.problems, key=_place) or [nothing]))
    written = manifest_text(made, [name if name != STDIO else "standard input" for name in files])
    if output == STDIO:
        typer.echo(written, nl=False)
    else:
        _write(target, written)
        versions = sum(map(len, made.models.values()))
        typer.echo(
            f"Wrote {directory / output}: {text.amount(len(made.models), 'model')}, {text.amount(versions, 'version')}. "
            "Next: gdcbuild plan.",
            err=True,
        )
    problems = sorted(found.problems, key=_place)
    try:
        if output != STDIO:
            options.project(target.parent, target.name, None).open().check(None)
    except ManifestError as error:
        if not problems:
            raise
        problems += error.problems
    if problems:
        raise NotImported(*problems)


def _place(problem: Problem) -> tuple[Location, str]:
    """The sort key of messages."""
    return problem.where or Location(""), problem.message


def _read(found: Findings, file: str, here: Path) -> None:
    from gdcbuild.adopt.findings import LARGEST
    from gdcbuild.adopt.read import read

    try:
        if file == STDIO:
            data = sys.stdin.buffer.read(LARGEST + 1)
        else:
            with (here / file).open("rb") as stream:
                data = stream.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(Problem(f"{file} cannot be read: {error.strerror}", "name scripts or JSON files")) from error
    name = "stdin" if file == STDIO else file
    if b"\0" in data or len(data) > LARGEST:
        what = "is not text" if b"\0" in data else f"is larger than {LARGEST >> 20} MiB"
        raise ManifestError(
            Problem(f"{name} {what}: not a script or a JSON list", "name the script that runs torch-model-archiver")
        )
    path = "" if file == STDIO else os.path.normpath(here / file)
    read(found, data.decode("utf-8-sig", "replace"), name, path, here.as_posix())


def _write(path: Path, content: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as stream:
            stream.write(content)
    except OSError as error:
        raise UsageError(Problem(f"{path} cannot be written: {error.strerror}", "choose another file with -o")) from error
