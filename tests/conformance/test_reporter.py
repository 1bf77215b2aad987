"""What every reporter does: names everything that was done or failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import StringIO

import pytest

from gdcbuild.core.digest import Digest
from gdcbuild.core.events import (
    Event,
    JobFailed,
    JobFinished,
    JobNotStarted,
    JobSkipped,
    JobStarted,
    JobWaiting,
    Planned,
    Progress,
    Reading,
    Summed,
    Warned,
)
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Build, Change, Kind, Plan
from gdcbuild.core.ports import Reporter
from gdcbuild.errors import Location, Problem
from gdcbuild.report.jsonl import JsonReporter
from gdcbuild.report.lines import LineReporter
from gdcbuild.report.memory import Recorder
from gdcbuild.report.terminal import TerminalReporter

PLAN = Plan(
    "prod",
    "s3://bucket",
    (Change(VersionId("digits", "7"), Kind.CREATE, Build.BUILD, "not published yet", Digest.of(b"x")),),
)
PROBLEM = Problem("it [red]broke[/red] {0} %s", "fix it", Location("f.yaml", 1, 2), "line one\nline two")

TOLD: dict[str, tuple[Event, list[str]]] = {
    "plan": (Planned(PLAN, 3), ["prod", "s3://bucket", "digits", "7", "create", "not published yet"]),
    "installed": (JobFinished("tf.txt", "toolchain", "installed", 61.0, "/log"), ["tf.txt", "installed"]),
    "waiting": (JobWaiting("digits@7:export", "action"), ["digits@7:export", "waiting"]),
    "built": (JobFinished("digits@7:export", "action", "built", 1.25), ["digits@7:export", "built"]),
    "created": (JobFinished("digits@7", "publish", "created", 0.0), ["digits@7", "created"]),
    "replaced": (JobFinished("digits@8", "publish", "replaced", 0.0), ["digits@8", "replaced"]),
    "failed": (JobFailed("step:odd [name]", "action", (PROBLEM,), 0.1), ["step:odd [name]", "failed"]),
    "not started": (JobNotStarted("publish digits@9"), ["publish digits@9", "started"]),
    "skipped": (JobSkipped("publish digits@9", "step:train"), ["publish digits@9", "step:train", "skipped"]),
    "warned": (Warned(PROBLEM), ["it [red]broke[/red] {0} %s", "fix it"]),
    "summed": (Summed(1234, 5, 678, 9, 0.5), ["1234", "678", "9"]),
}
QUIET: dict[str, Event] = {
    "started": JobStarted("digits@7", "publish"),
    "progress": Progress("digits@7", 10, 100),
    "progress of nothing that runs": Progress("unheard", 10, 100),
    "reading": Reading("digits@7", "w.pt", 10, 100),
    "hashing": Reading("", "w.pt", 10, 100),
    "hashed": Reading("", "w.pt", 100, 100),
    "sound": JobFinished("digits@7", "check", "sound", 0.0),
    "cached": JobFinished("digits@7", "action", "cached", 0.0),
    "skipped action": JobSkipped("digits@9", "step:train"),
    "unchanged": JobFinished("digits@7", "publish", "unchanged", 0.0),
}


@dataclass
class Ear:
    """A reporter, and its output so far."""

    reporter: Reporter
    heard: Callable[[], str]


def text(stderr: Callable[[], str]) -> Ear:
    stream = StringIO()
    return Ear(LineReporter(stream), stream.getvalue)


def jsonl(stderr: Callable[[], str]) -> Ear:
    stream = StringIO()

    def heard() -> str:
        return "\n".join(str(json.loads(line)) for line in stream.getvalue().splitlines())

    return Ear(JsonReporter(stream), heard)


def terminal(stderr: Callable[[], str]) -> Ear:
    return Ear(TerminalReporter(), stderr)


def memory(stderr: Callable[[], str]) -> Ear:
    recorder = Recorder()
    return Ear(recorder, lambda: "\n".join(f"{type(e).__name__} {e}" for e in recorder.events).lower())


@pytest.fixture(params=[text, jsonl, terminal, memory])
def ear(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Ear:
    made: Ear = request.param(lambda: capsys.readouterr().err)
    return made


@pytest.mark.parametrize("name", TOLD)
def test_finished_jobs_are_reported(ear: Ear, name: str) -> None:
    event, words = TOLD[name]
    ear.reporter.emit(event)
    ear.reporter.close()
    heard = ear.heard().lower()
    assert [word for word in words if word.lower() not in heard] == []


@pytest.mark.parametrize("name", QUIET)
def test_events_without_output_do_no_harm(ear: Ear, name: str) -> None:
    ear.reporter.emit(Planned(PLAN, 3))
    ear.reporter.emit(QUIET[name])
    ear.reporter.emit(TOLD["created"][0])
    ear.reporter.close()
    assert "created" in ear.heard().lower()


def test_events_are_reported_in_order(ear: Ear) -> None:
    for event, _ in TOLD.values():
        ear.reporter.emit(event)
    ear.reporter.close()
    heard = ear.heard().lower()
    places = [heard.index(word) for word in ("not published yet", "tf.txt", "digits@7:export", "digits@8", "digits@9", "678")]
    assert places == sorted(places)


def test_nothing_happened_at_all(ear: Ear) -> None:
    ear.reporter.close()
    assert ear.heard().strip() == ""


def test_it_may_be_closed_twice(ear: Ear) -> None:
    ear.reporter.emit(Planned(PLAN, 1))
    ear.reporter.close()
    ear.reporter.close()


def test_events_from_many_threads_are_neither_lost_nor_torn(ear: Ear) -> None:
    names = [f"step:number-{n:03}" for n in range(200)]
    ear.reporter.emit(Planned(PLAN, len(names)))

    def work(name: str) -> None:
        ear.reporter.emit(JobStarted(name, "action"))
        ear.reporter.emit(JobFinished(name, "action", "built", 0.0))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, names))
    ear.reporter.close()
    built = [line for line in ear.heard().lower().splitlines() if "built" in line and "step:number" in line]
    assert sorted(name for line in built for name in names if name in line) == names
