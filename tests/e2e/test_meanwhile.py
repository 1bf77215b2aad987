"""What changes while gdcbuild runs: what is planned is what is published, and nothing is remembered of what was not seen."""

from __future__ import annotations

import os
import shutil
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gdcbuild.app.calls import Options
from gdcbuild.app.project import Project
from gdcbuild.building.rebuilder import Rebuilder
from gdcbuild.core.events import Warned
from gdcbuild.core.plan import Kind, Plan
from gdcbuild.errors import ActionFailed, Problem, Refused
from gdcbuild.frameworks.tensorflow.rules import TensorFlow
from tests.e2e.test_incremental import FILES, MANIFEST
from tests.e2e.test_snapshot import built, fresh, model, planned
from tests.e2e.workspace import Workspace
from tests.unit.frameworks.test_tensorflow_contract import model as saved_model

__all__ = ["built"]


SAVED_MODEL = """\
schema: 1
environments: {local: {bucket: bucket}}
models:
  m: {framework: tf2-cpu.2-14, versions: {"1": {saved_model: sm/}}}
"""


def project(workspace: Workspace) -> Project:
    return Project(workspace.root, None, workspace.cache, os.environ, lambda _: None)


def apply(workspace: Workspace, meanwhile: Callable[[], object]) -> None:
    """Plan, have something happen while the question of a protected environment stands, and go on."""

    def confirm(*_: object) -> None:
        meanwhile()

    project(workspace).apply(options=Options(2, confirm=confirm))


def test_a_manifest_that_is_saved_while_a_plan_is_made(built: Workspace) -> None:
    built.write({**model("d", "weights.pt"), "models/d/gdcbuild.yaml": "schema: 1\n"})
    running = while_running(built)
    built.write(model("d", "weights.pt"))
    running.plan()
    found = planned(built.root, built.cache)
    assert found == fresh(built.root, built.cache)
    assert '"model": "d"' in found


def test_a_model_that_is_removed_while_a_plan_is_made(built: Workspace) -> None:
    built.write(model("d", "weights.pt"))
    running = while_running(built)
    built.write({"models/d/gdcbuild.yaml": "schema: 1\n"})
    with pytest.raises(Refused, match="d@1 was removed from the manifest"):
        running.plan()
    assert planned(built.root, built.cache) == fresh(built.root, built.cache)


def while_running(workspace: Workspace) -> Project:
    """A run started in a workspace with a snapshot, and a change since."""
    planned(workspace.root, workspace.cache)
    workspace.write({"models/a/weights.pt": "other"})
    time.sleep(0.02)
    running = project(workspace)
    running.open()
    time.sleep(0.02)
    return running


def test_what_was_planned_is_published(workspace: Workspace) -> None:
    workspace.write(FILES)
    workspace.ok("build")
    apply(workspace, lambda: workspace.write({"wb.pt": "other weights"}))
    with zipfile.ZipFile(workspace.root / "bucket/b/1/model.mar") as archive:
        assert archive.read("wb.pt") == FILES["wb.pt"]
    assert workspace.ok("apply", "--json").jobs(outcome="replaced") == ["b@1", "b@2"]


def test_a_plan_from_memory_that_is_outdated_is_made_again(built: Workspace) -> None:
    """Also where only the result of it is gone from the cache: made again it may have other bytes."""
    shutil.rmtree(built.root / "bucket")
    planned(built.root, built.cache)
    asked: list[dict[str, Kind]] = []

    def confirm(plan: Plan, _: object) -> None:
        asked.append({str(c.id): c.kind for c in plan.changes})
        if len(asked) == 1:
            built.write({"models/c/weights.pt": "other"})

    warned: list[str] = []
    running = Project(
        built.root, None, built.cache, os.environ, lambda e: warned.append(e.problem.message) if isinstance(e, Warned) else None
    )
    running.apply(select=["c@1", "b@1"], options=Options(2, confirm=confirm))
    assert asked == [{"b@1": Kind.CREATE, "c@1": Kind.CREATE}] * 2
    assert warned == ["c@1 changed after it was planned"]
    with zipfile.ZipFile(built.root / "bucket/c/1/model.mar") as archive:
        assert archive.read("weights.pt") == b"other"


def test_a_version_removed_from_the_manifest_is_not_published(workspace: Workspace) -> None:
    workspace.write(FILES)
    workspace.ok("build")
    workspace.age()
    for _ in range(2):  # the second time from a snapshot, so that the manifest is read only now
        workspace.ok("plan")
    without = MANIFEST.replace('"1": {weights: wb.pt', '"3": {weights: wb.pt')
    with pytest.raises(Refused, match="b@1 was removed from the manifest"):
        apply(workspace, lambda: workspace.write({"gdcbuild.yaml": without}))
    assert not (workspace.root / "bucket").exists()


def test_no_action_is_judged_twice(built: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where the plan is made from memory, nor where more has to be read for what is published than for the plan."""
    judged: Counter[str] = Counter()
    judge = Rebuilder.judge
    monkeypatch.setattr(Rebuilder, "judge", lambda self, a, made: (judged.update([a.id]), judge(self, a, made))[1])
    built.write({"models/b/weights.pt": "other"})
    shutil.rmtree(built.root / "bucket/c/1")
    shutil.rmtree(built.root / "bucket/.gdcbuild/v1/seals/c/1")
    time.sleep(0.02)
    apply(built, lambda: None)
    assert {"b@1", "c@1"} <= judged.keys()
    assert set(judged.values()) == {1}, judged
    judged.clear()
    fresh(built.root, built.cache)
    assert len(judged) == 7
    assert set(judged.values()) == {1}, judged


def test_a_check_is_cached_for_the_files_it_read(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "token = ghp_aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
    notes = "sm/assets.extra/notes.txt"
    workspace.write({"gdcbuild.yaml": SAVED_MODEL, "sm/saved_model.pb": saved_model(), notes: secret})
    refused = workspace.run("apply")
    assert notes.removeprefix("sm/") in refused.err
    assert refused.code == 1

    def check(*_: object) -> list[Problem]:
        workspace.write({notes: "harmless"})
        return []

    monkeypatch.setattr(TensorFlow, "check", check)
    with pytest.raises(ActionFailed, match="changed while"):
        apply(workspace, lambda: None)
    monkeypatch.undo()
    workspace.write({notes: secret})
    again = workspace.run("apply")
    assert (again.code, again.err) == (refused.code, refused.err)
    assert not (workspace.root / "bucket/m").exists()


def test_damage_is_fixed_even_if_other_versions_fail(workspace: Workspace) -> None:
    workspace.write(FILES)
    workspace.ok("apply")
    before = workspace.served()
    (workspace.root / "bucket/a/1/model.mar").write_bytes(b"drift")
    archive = before["b/1/model.mar"]
    for path in (workspace.cache / "cas").glob("*/*"):
        if path.read_bytes() == archive:
            damage(path)
    shutil.rmtree(workspace.root / "bucket/b")
    shutil.rmtree(workspace.root / "bucket/.gdcbuild/v1/seals/b")
    shutil.rmtree(workspace.root / "bucket/.gdcbuild/v1/claims/b")
    result = workspace.run("apply", "--keep-going")
    assert result.code == 3
    assert "a@1 differs from what was published" in result.err
    assert "the cache is damaged" in result.err
    assert {k: v for k, v in workspace.served().items() if k[0] == "b"} == {k: v for k, v in before.items() if k[0] == "b"}


def damage(path: Path) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
