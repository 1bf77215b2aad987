"""The list of commands."""

from __future__ import annotations

import typer

from gdcbuild.cli import apply, build, cache, explain, import_, init, plan, schema, status, validate, verify, version

app = typer.Typer(
    name="gdcbuild",
    help="Builds models from one manifest and publishes only the versions that changed.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(init.init)
app.command("import")(import_.import_)
app.command()(validate.validate)
app.command()(plan.plan)
app.command()(build.build)
app.command()(apply.apply)
app.command()(status.status)
app.command()(explain.explain)
app.command()(verify.verify)
app.add_typer(cache.app, name="cache")
app.command()(schema.schema)
app.command()(version.version)
