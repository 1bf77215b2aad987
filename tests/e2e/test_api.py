"""The public Python API: what the documents show runs, in any thread, prints nothing and leaves the process as it was."""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import gdcbuild
from gdcbuild.core.standing import Absent, Published
from tests.docs.markdown import ROOT, blocks
from tests.e2e.test_incremental import FILES
from tests.e2e.workspace import ONE_VERSION, Workspace

PAGE = ROOT / "docs/reference/python-api.md"
MANIFEST = ONE_VERSION.replace("  m:\n", "  digits:\n")
SMALL: dict[str, str | bytes] = {
    "gdcbuild.yaml": MANIFEST,
    "h.py": "def handle(data, context):\n    return data\n",
    "w.pt": b"weights",
}


def project(workspace: Workspace, on_event: Callable[[Any], None] = lambda _: None) -> gdcbuild.Project:
    return gdcbuild.load(workspace.root, cache=workspace.cache, on_event=on_event)


def in_a_thread(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_what_the_page_shows_runs(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.write(SMALL)
    monkeypatch.chdir(workspace.root)
    monkeypatch.setenv("GDCBUILD_CACHE_DIR", str(workspace.cache))
    script, task = (block.text for block in blocks(PAGE, "python"))
    exec(compile(script, str(PAGE), "exec"), {})
    said = capsys.readouterr().out
    assert "digits@1 create not published yet; not built yet\n" in said
    assert "digits@1 created sha256:" in said
    exec(compile(task, str(PAGE), "exec"), {})
    assert capsys.readouterr().out == "['digits@1 unchanged']\n"


def test_results_are_typed_and_nothing_is_printed(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    workspace.write(FILES)
    events: list[Any] = []
    found = project(workspace, events.append)
    assert {c.kind for c in gdcbuild.plan(found).changes} == {"create"}
    assert {v.outcome for v in gdcbuild.build(found, ["a"]).versions} == {"built"}
    report = gdcbuild.apply(found, select=gdcbuild.Selection(["a", "b"], ["b@2"]))
    assert [(str(v.id), v.change, v.outcome, v.problems) for v in report.versions] == [
        ("a@1", "create", "created", ()),
        ("a@2", "create", "created", ()),
        ("b@1", "create", "created", ()),
    ]
    assert all(v.digest is not None for v in report.versions)
    assert report.published == report.versions
    assert [type(s) for s in gdcbuild.verify(found, deep=True).standings.values()] == [Published] * 3 + [Absent]
    status = gdcbuild.status(found)
    assert status.plan.summary == {"create": 1, "none": 3}
    assert status.provenance.keys() == {v.id for v in report.versions}
    assert gdcbuild.apply(found).objects > 0
    assert (gdcbuild.apply(found).objects, gdcbuild.apply(found).actions) == (0, 0)
    (workspace.root / "bucket/a/1/model.mar").unlink()
    assert gdcbuild.verify(found).damaged == {report.versions[0].id: ("model.mar: is missing",)}
    assert {type(e).__name__ for e in events} >= {"Planned", "JobStarted", "JobFinished", "Summed"}
    assert capfd.readouterr() == ("", "")


def test_a_project_sees_what_was_changed_between_two_calls(workspace: Workspace) -> None:
    workspace.write(SMALL)
    found = project(workspace)
    gdcbuild.apply(found)
    workspace.write({"w.pt": b"other weights"})
    assert [c.kind for c in gdcbuild.plan(found).changes] == ["unknown"]
    assert [v.outcome for v in gdcbuild.apply(found).versions] == ["replaced"]
    workspace.write({"gdcbuild.yaml": MANIFEST.replace('"1"', '"2"')})
    assert {str(c.id): c.kind for c in gdcbuild.plan(found).changes} == {"digits@1": "orphan", "digits@2": "create"}


def test_off_the_main_thread_and_the_process_is_as_it_was(workspace: Workspace) -> None:
    workspace.write(SMALL)

    def settings() -> tuple[Any, ...]:
        handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)]
        return (*handlers, gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), sys.unraisablehook, threading.excepthook)

    before = settings()
    report = in_a_thread(lambda: gdcbuild.apply(project(workspace)))
    assert [v.outcome for v in report.versions] == ["created"]
    assert settings() == before


def test_every_mistake_is_an_error_with_its_problems(workspace: Workspace) -> None:
    with pytest.raises(gdcbuild.Error, match=r"there is no gdcbuild\.yaml"):
        project(workspace)
    workspace.write({**SMALL, "gdcbuild.yaml": MANIFEST.replace("w.pt", "v.pt").replace("h.py", "g.py")})
    with pytest.raises(gdcbuild.Error) as caught:
        gdcbuild.plan(project(workspace))
    assert (len(caught.value.problems), caught.value.exit_code) == (2, 65)
    assert all(p.where is not None and p.where.line for p in caught.value.problems)
    workspace.write(SMALL)
    found = project(workspace)
    with pytest.raises(gdcbuild.Error, match="'nothing' matches no version"):
        gdcbuild.plan(found, select=["nothing"])
    with pytest.raises(gdcbuild.Error, match="unknown environment 'prod'"):
        gdcbuild.plan(found, "prod")
    (workspace.root / "bucket").write_bytes(b"a file")
    with pytest.raises(gdcbuild.Error) as refused:
        gdcbuild.apply(found)
    assert refused.value.problems


def test_what_was_done_before_a_failure_is_in_the_error(workspace: Workspace) -> None:
    versions = '      "1": {weights: w.pt}\n      "2": {weights: {step: s, path: w.pt}}\n'
    step = 'steps:\n  s: {run: [sh, -c, "echo it went wrong; exit 3"], outputs: [w.pt]}\n'
    workspace.write({**SMALL, "gdcbuild.yaml": MANIFEST.replace('      "1": {weights: w.pt}\n', versions) + step})
    with pytest.raises(gdcbuild.Error, match="step:s") as caught:
        gdcbuild.apply(project(workspace), options=gdcbuild.Options(jobs=1, keep_going=True))
    report = caught.value.report
    assert [(str(v.id), v.outcome) for v in report.versions] == [("digits@1", "created"), ("digits@2", "skipped")]


def test_a_protected_environment_wants_an_answer(workspace: Workspace) -> None:
    workspace.write({**SMALL, "gdcbuild.yaml": MANIFEST.replace("{bucket: bucket}", "{bucket: bucket, protect: true}")})
    found = project(workspace)
    with pytest.raises(gdcbuild.Error, match="local is protected") as caught:
        gdcbuild.apply(found)
    assert (caught.value.exit_code, workspace.served()) == (3, {})
    asked: list[Any] = []
    gdcbuild.apply(
        found, options=gdcbuild.Options(confirm=lambda plan, environment: asked.append((plan.summary, environment.name)))
    )
    assert asked == [({"create": 1}, "local")]
    assert workspace.served()


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys, gdcbuild; print(sorted(m for m in sys.modules if m.startswith('gdcbuild')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.replace("'", '"')) == ["gdcbuild"]
    assert {"load", "plan", "build", "apply", "verify", "status", "Error"} <= set(dir(gdcbuild))
    assert (Path(gdcbuild.__file__).parent / "py.typed").exists()
    with pytest.raises(AttributeError, match="has no attribute 'aply'"):
        gdcbuild.aply  # noqa: B018


def test_no_part_has_the_name_of_a_verb() -> None:
    """A submodule becomes an attribute of the package once it is imported, and would hide the function."""
    parts = {path.stem for path in (ROOT / "gdcbuild").iterdir() if not path.name.startswith("__")}
    assert not parts & {name for names in gdcbuild._PLACES.values() for name in names}
