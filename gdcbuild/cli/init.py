"""gdcbuild init."""

from __future__ import annotations

from pathlib import Path

import typer

from gdcbuild.cli import options
from gdcbuild.errors import Problem, UsageError

TEMPLATE = Path(__file__).parent / "template.yaml"


def init(directory: options.Directory = options.HERE) -> None:
    """Write a gdcbuild.yaml to start from, with comments that explain it."""
    path = directory / "gdcbuild.yaml"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(TEMPLATE.read_text(encoding="utf-8"))
    except FileExistsError as error:
        raise UsageError(Problem(f"{path} already exists", "remove it first, or choose another folder with -C")) from error
    except OSError as error:
        raise UsageError(Problem(f"{path} cannot be written: {error.strerror}", "choose another folder with -C")) from error
    typer.echo(f"Wrote {path}. Next: add a model, then gdcbuild validate, gdcbuild plan, gdcbuild apply.", err=True)
