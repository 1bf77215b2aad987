"""Read-only commands: they write nothing, and import no framework, and boto3 only when needed."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.e2e.test_incremental import FILES
from tests.e2e.test_s3 import Bucket, on_server
from tests.e2e.workspace import Result, Workspace

LOOKING = [["validate"], ["plan"], ["plan", "--json"], ["status"], ["status", "--json"], ["explain", "a@2"], ["verify"]]


def modules(result: Result) -> set[str]:
    """Top-level modules a command imported, from the output of `python -X importtime`."""
    lines = [line for line in result.err.splitlines() if line.startswith("import time:")]
    assert lines, result.err
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize("built", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("command", LOOKING, ids=" ".join)
def test_writes_nothing_and_imports_no_framework(workspace: Workspace, tmp_path: Path, command: list[str], built: bool) -> None:
    workspace.write(FILES)
    if built:
        workspace.ok("apply")
        workspace.write({"handlers/helper.py": "x = 2\n"})
    for name in ("tensorflow", "torch", "keras"):
        (tmp_path / "planted" / name).mkdir(parents=True)
        (tmp_path / "planted" / name / "__init__.py").write_text("open(__file__ + '.imported', 'w')\n")
    workspace.variables |= {"PYTHONPATH": str(tmp_path / "planted"), "PYTHONPROFILEIMPORTTIME": "1"}
    before = workspace.snapshot()
    result = workspace.run(*command)
    assert result.code == 0, result.err
    assert workspace.snapshot() == before
    assert not list((tmp_path / "planted").rglob("*.imported"))
    imported = modules(result)
    assert "gdcbuild" in imported
    assert not imported & {"tensorflow", "torch", "keras", "boto3", "botocore", "model_archiver"}
    if not built:
        assert not list((workspace.cache / "cas").rglob("*"))


def test_boto3_is_imported_for_an_s3_environment_only(s3_server: str, tmp_path: Path) -> None:
    Bucket(s3_server, "looked-at")
    workspace = on_server(tmp_path, s3_server, "looked-at")
    workspace.variables["PYTHONPROFILEIMPORTTIME"] = "1"
    assert "boto3" in modules(workspace.run("plan", "--env", "s3"))
    assert "boto3" not in modules(workspace.run("plan", "--env", "local"))
    assert "boto3" not in modules(workspace.run("apply", "--env", "local"))


@pytest.mark.parametrize("command", [["version"], ["--version"], ["--help"]], ids=" ".join)
def test_start_up_is_light(workspace: Workspace, command: list[str]) -> None:
    workspace.variables["PYTHONPROFILEIMPORTTIME"] = "1"
    assert not modules(workspace.run(*command)) & {"yaml", "pydantic", "boto3", "diskcache", "sqlite3", "rich"}


def test_a_plan_without_changes_only_reads_a_snapshot_and_stats_files(workspace: Workspace) -> None:
    """Imports cost time: no YAML, no pydantic, no database, no graph, and only the comparison from the engine."""
    workspace.write(FILES)
    workspace.ok("apply")
    workspace.age()
    workspace.ok("plan")
    workspace.variables["PYTHONPROFILEIMPORTTIME"] = "1"
    result = workspace.ok("plan")
    lines = [line.rpartition("|")[2].strip() for line in result.err.splitlines() if line.startswith("import time:")]
    assert {line for line in lines if line.startswith("gdcbuild")} == PLANNING
    assert not modules(result) & {"yaml", "pydantic", "diskcache", "sqlite3", "rich", "concurrent", "boto3", "asyncio"}
    assert not modules(result) & {"fcntl", "zlib"}, "shared libraries that only writing needs"


PLANNING = {
    "gdcbuild",
    "gdcbuild.app",
    "gdcbuild.app.cache",
    "gdcbuild.app.parts",
    "gdcbuild.app.project",
    "gdcbuild.app.selection",
    "gdcbuild.cli",
    "gdcbuild.cli.options",
    "gdcbuild.cli.plain_args",
    "gdcbuild.core",
    "gdcbuild.core.decision",
    "gdcbuild.core.digest",
    "gdcbuild.core.ids",
    "gdcbuild.core.objects",
    "gdcbuild.core.parallel",
    "gdcbuild.core.plan",
    "gdcbuild.core.standing",
    "gdcbuild.engine",
    "gdcbuild.engine.planner",
    "gdcbuild.errors",
    "gdcbuild.files",
    "gdcbuild.files.bucket_url",
    "gdcbuild.files.memo",
    "gdcbuild.manifest",
    "gdcbuild.manifest.find",
    "gdcbuild.memory",
    "gdcbuild.memory.held",
    "gdcbuild.memory.remembered",
    "gdcbuild.memory.snapshot",
    "gdcbuild.publishing",
    "gdcbuild.publishing.bucket",
    "gdcbuild.publishing.observe",
    "gdcbuild.remotes",
    "gdcbuild.remotes.directory",
    "gdcbuild.remotes.listings",
    "gdcbuild.report",
    "gdcbuild.report.text",
    "gdcbuild.source",
    "gdcbuild.source.environment",
}


def test_plan_document(workspace: Workspace) -> None:
    workspace.write(FILES)
    document = workspace.ok("plan", "--json").json
    assert (document["schema"], document["environment"], document["summary"]) == (1, "local", {"create": 4})
    row = document["changes"][0]
    assert {k: row[k] for k in ("model", "version", "change", "build", "digest")} == {
        "model": "a",
        "version": "1",
        "change": "create",
        "build": "build",
        "digest": None,
    }
    workspace.ok("apply")
    row = workspace.ok("plan", "--json").json["changes"][0]
    assert (row["change"], row["build"], row["digest"][:7]) == ("none", "cached", "sha256:")


def test_init_writes_a_manifest_that_validates(workspace: Workspace) -> None:
    workspace.ok("init")
    workspace.ok("validate")
    manifest = (workspace.root / "gdcbuild.yaml").read_text()
    jsonschema.validate(yaml.safe_load(manifest), workspace.ok("schema").json)
    again = workspace.run("init")
    assert (again.code, "already exists" in again.err) == (64, True)
    assert (workspace.root / "gdcbuild.yaml").read_text() == manifest


def test_the_comments_of_init_are_valid(workspace: Workspace) -> None:
    """The commented examples are a valid manifest, too."""
    workspace.ok("init")
    lines = (workspace.root / "gdcbuild.yaml").read_text().splitlines()
    start = lines.index("models: {}")
    taught = lines[start + 1 : lines.index("", start)]
    models = [line.removeprefix("#") for line in taught]
    handlers = ["handlers:", "  digits:", "    file: handlers/digits.py"]
    workspace.write({"gdcbuild.yaml": "\n".join([*lines[:start], *handlers, "models:", *models]) + "\n"})
    workspace.write(
        {
            "exports/digits-1/saved_model.pb": b"?",
            "weights/digits.keras": b"?",
            "digits/net.py": "",
            "weights/v3.npz": b"?",
            "handlers/digits.py": "",
            "weights/v1.pt": b"?",
            "weights/v2.torchscript.pt": b"?",
            "digits/torch_net.py": "",
            "archives/model.mar": b"?",
        }
    )
    result = workspace.run("validate")
    assert (result.code, "2 models, 6 versions" in result.err) == (0, True), result.err
