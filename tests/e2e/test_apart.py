"""A bucket that is a folder, and what versions are made of: what is published must never take the place of a source."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.workspace import HANDLER, Workspace

MANIFEST = """\
schema: 1
environments:
  local: {bucket: BUCKET}
  other: {bucket: "${env.OTHER}"}
default_environment: local
include: [more/*.yaml]
models:
  det:
    framework: pytorch-cpu.2-4
    handler: h
    versions:
      "1": {weights: models/det/1/weights.pt}
handlers:
  h: {file: h.py}
"""


@pytest.fixture
def sources(workspace: Workspace) -> Workspace:
    files = {"models/det/1/weights.pt": "w", "h.py": HANDLER, "more/none.yaml": "schema: 1\n"}
    workspace.write({"gdcbuild.yaml": MANIFEST.replace("BUCKET", "published"), **files})
    workspace.variables["OTHER"] = "elsewhere"
    return workspace


def refused(workspace: Workspace, *commands: str, line: str = "3:11", bucket: str = "models") -> None:
    """Each command refuses the bucket at its line, and no source is touched."""
    before = workspace.snapshot()
    for command in commands:
        result = workspace.run(*command.split())
        assert result.code == 65, (command, result.out, result.err)
        assert f"gdcbuild.yaml:{line}: error: the bucket '{bucket}' contains inputs of versions" in result.err
        assert "choose a separate folder, such as bucket: published" in result.err
    assert workspace.snapshot() == before


@pytest.mark.parametrize("bucket", ["models", "models/det", "./models/", "models/../models/det/1"])
def test_sources_in_a_bucket_are_refused(sources: Workspace, bucket: str) -> None:
    sources.write({"gdcbuild.yaml": MANIFEST.replace("BUCKET", bucket)})
    refused(sources, "validate", "plan", "apply --yes", "apply --env other", bucket=bucket)


def test_links_are_followed(sources: Workspace) -> None:
    (sources.root / "link").symlink_to("models")
    sources.write({"gdcbuild.yaml": MANIFEST.replace("BUCKET", "link")})
    refused(sources, "validate", "apply", bucket="link")
    (sources.root / "store").mkdir()
    (sources.root / "w.pt").symlink_to("store/w.pt")
    sources.write({"gdcbuild.yaml": MANIFEST.replace("BUCKET", "store").replace("models/det/1/weights.pt", "w.pt")})
    sources.write({"store/w.pt": "w"})
    refused(sources, "validate", "apply", bucket="store")


@pytest.mark.parametrize(
    "given",
    [
        "models: {tf: {framework: tf2-cpu.2-18, versions: {'1': {saved_model: ../b/tf/1/}}}}",
        "models: {tf: {framework: tf2-cpu.2-18, versions: {'1': {export: {function: 'a:b', files: ['../b/**/*.pb']}}}}}",
        "steps: {s: {run: [cp], inputs: [../b/tf/1/saved_model.pb], outputs: [o]}}",
        "steps: {s: {run: [cp], inputs: [{from: ../b/tf/, to: x/}], outputs: [o]}}",
        "handlers: {unused: {file: ../b/tf/1/h.py}}",
        "frameworks: {f: {image: tf2-cpu.2-18, toolchain: {requirements: ../b/tf/1/requirements.txt}}}",
    ],
)
def test_every_kind_of_source_is_looked_at(sources: Workspace, given: str) -> None:
    sources.write({"b/tf/1/saved_model.pb": "p", "b/tf/1/h.py": HANDLER, "b/tf/1/requirements.txt": "numpy==1.26.4\n"})
    sources.write({"gdcbuild.yaml": MANIFEST.replace("BUCKET", "b"), "more/more.yaml": f"schema: 1\n{given}\n"})
    refused(sources, "validate", bucket="b")


def test_a_bucket_by_a_variable_is_looked_at_when_it_is_used(sources: Workspace) -> None:
    sources.age()
    for _ in range(2):  # the second time there is a snapshot
        sources.ok("plan")
        sources.ok("plan", "--env", "other")
    sources.variables["OTHER"] = "models"
    sources.ok("validate")
    sources.ok("plan")
    refused(sources, "plan --env other", "apply --env other", line="4:11")
    shutil.rmtree(sources.cache)
    refused(sources, "apply --env other", line="4:11")


def test_what_is_read_anew_is_looked_at(sources: Workspace) -> None:
    """With a snapshot of an environment by a variable, and another one used while the inputs change."""
    (sources.root / "elsewhere").mkdir()
    sources.write({"elsewhere/x.pt": "x", "more/m.yaml": _model("more.pt"), "more/more.pt": "m"})
    sources.age()
    sources.ok("plan", "--env", "other")
    sources.write({"more/m.yaml": _model("../elsewhere/x.pt")})
    refused(sources, "plan --env other", line="4:11", bucket="elsewhere")
    sources.age()
    for _ in range(2):
        sources.ok("plan")
    refused(sources, "plan --env other", line="4:11", bucket="elsewhere")


def _model(weights: str) -> str:
    versions = f"{{'1': {{weights: {weights}}}}}"
    return f"schema: 1\nmodels: {{m: {{framework: pytorch-cpu.2-4, handler: base_handler, versions: {versions}}}}}\n"


def test_a_link_that_leads_elsewhere_now(sources: Workspace) -> None:
    link = sources.root / "published"
    (sources.root / "first").mkdir()
    link.symlink_to("first")
    sources.age()
    for _ in range(2):
        sources.ok("plan")
    link.unlink()
    link.symlink_to("models")
    refused(sources, "plan", "apply", bucket="published")


def test_a_bucket_in_a_folder_that_is_packed_is_refused_before_it_is_there(sources: Workspace) -> None:
    packed = MANIFEST.replace("BUCKET", "lab/bucket").replace("handler: h\n", "handler: h\n    files: [{from: lab/, to: ./}]\n")
    sources.write({"gdcbuild.yaml": packed, "lab/f": ""})
    result = sources.run("validate")
    assert (result.code, "gdcbuild.yaml:11:" in result.err, "'lab' contains a bucket" in result.err) == (65, True, True), (
        result.err
    )


def test_beside_the_sources_is_fine(sources: Workspace) -> None:
    sources.write({"gdcbuild.yaml": MANIFEST.replace("BUCKET", "mod"), "mod/readme.md": "not named"})
    sources.ok("apply")
    assert Path(sources.root / "mod/det/1/model.mar").exists()
