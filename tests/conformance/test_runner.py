"""What every runner does. Each program is written twice: for a shell, and as a function for the runner in memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest

from gdcbuild.core.digest import Blob, BytesBlob, Digest
from gdcbuild.core.graph import Action, Command
from gdcbuild.core.ports import Run, Runner
from gdcbuild.errors import ActionFailed, BlobDamaged, Interrupted, Location, Problem
from gdcbuild.runners.memory import MemoryRunner, Work
from gdcbuild.runners.process import LocalRunner
from gdcbuild.store.memory import MemoryRecords
from gdcbuild.store.workspace import DiskWorkspace

WHERE = Location("gdcbuild.yaml", 3, 5)


def _join(run: Run, inputs: Mapping[str, bytes]) -> Mapping[str, bytes]:
    return {"joined": inputs["a"] + inputs["folder/b"], "deep/er/copy": inputs["a"]}


def _tell(run: Run, inputs: Mapping[str, bytes]) -> Mapping[str, bytes]:
    lines = [*sorted(inputs), f"{run.env.get('SEEN', '')},{run.env.get('UNSEEN', '')}"]
    return {"told": "".join(f"{line}\n" for line in lines).encode()}


def _fail(run: Run, inputs: Mapping[str, bytes]) -> Mapping[str, bytes]:
    raise ActionFailed(Problem("it failed", "", run.action.where))


def _nothing(run: Run, inputs: Mapping[str, bytes]) -> Mapping[str, bytes]:
    return {}


PROGRAMS: Mapping[str, tuple[str, Work]] = {
    "join": ('mkdir -p "$0/deep/er"; cat a folder/b > "$0/joined"; cp a "$0/deep/er/copy"', _join),
    "tell": ('{ find . -type f | cut -c3- | LC_ALL=C sort; echo "$SEEN,$UNSEEN"; } > "$0/told"', _tell),
    "fail": ('echo half > "$0/made"; exit 3', _fail),
    "nothing": ("true", _nothing),
    "never ends": ("exec sleep 600", _nothing),
}


def a_run(program: str, inputs: Mapping[str, Blob] | None = None, env: Mapping[str, str] | None = None, key: str = "1") -> Run:
    command = Command(("sh", "-ec", PROGRAMS[program][0], "${out}"))
    return Run(Action(f"step:{program}", program, command, where=WHERE), key * 64, inputs or {}, None, env or {})


@dataclass
class Lab:
    """A runner, and how to see what it has left behind."""

    runner: Runner
    left: Callable[[], list[Path]]

    def run(self, run: Run) -> dict[str, bytes]:
        with self.runner.run(run, threading.Event()) as outputs:
            return {path: file.read_bytes() for path, file in outputs.items()}


def in_process(folder: Path) -> Lab:
    machine = DiskWorkspace(Path("/"), MemoryRecords())
    runner = LocalRunner(folder / "work", folder / "logs", lambda _: None, machine, os.environ)
    return Lab(runner, lambda: list((folder / "work").glob("*")))


def in_memory(_folder: Path) -> Lab:
    return Lab(MemoryRunner({name: work for name, (_, work) in PROGRAMS.items()}), list)


@pytest.fixture(params=[in_process, in_memory])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    made: Lab = request.param(tmp_path)
    yield made
    assert made.left() == []


@dataclass(frozen=True)
class LyingBlob:
    digest: Digest
    crc = None

    def open(self) -> BinaryIO:
        return BytesIO(b"other")


AB: Mapping[str, Blob] = {"a": BytesBlob(b"first,"), "folder/b": BytesBlob(b"second")}


def test_outputs_are_made_from_the_inputs(lab: Lab) -> None:
    expected = {"deep/er/copy": b"first,", "joined": b"first,second"}
    assert lab.run(a_run("join", AB)) == expected
    assert lab.run(a_run("join", AB)) == expected


def test_outputs_come_sorted(lab: Lab) -> None:
    assert list(lab.run(a_run("join", AB))) == ["deep/er/copy", "joined"]


def test_outputs_are_files_that_can_be_moved(lab: Lab, tmp_path: Path) -> None:
    with lab.runner.run(a_run("join", AB), threading.Event()) as outputs:
        kept = outputs["joined"].rename(tmp_path / "kept")
        gone = outputs["deep/er/copy"]
    assert kept.read_bytes() == b"first,second"
    assert not gone.exists()


def test_only_what_is_declared_is_there(lab: Lab) -> None:
    found = lab.run(a_run("tell", AB, {"SEEN": "seen"}))
    assert found == {"told": b"a\nfolder/b\nseen,\n"}


def test_our_own_variables_are_not_visible(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNSEEN", "secret")
    assert lab.run(a_run("tell")) == {"told": b",\n"}


def test_no_outputs_are_not_an_error_here(lab: Lab) -> None:
    assert lab.run(a_run("nothing")) == {}


def test_a_failure_is_reported_with_its_line(lab: Lab) -> None:
    with pytest.raises(ActionFailed) as caught, lab.runner.run(a_run("fail"), threading.Event()):
        pass
    assert [p.where for p in caught.value.problems] == [WHERE]
    assert lab.run(a_run("nothing")) == {}


def test_an_input_of_other_bytes_is_refused(lab: Lab) -> None:
    lying = LyingBlob(Digest.of(b"first"))
    with pytest.raises(BlobDamaged), lab.runner.run(a_run("join", {**AB, "a": lying}), threading.Event()):
        pass


def test_an_interrupt_ends_it(lab: Lab) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Interrupted), lab.runner.run(a_run("never ends"), cancel):
        pass


def test_an_error_of_the_caller_is_passed_on(lab: Lab) -> None:
    with pytest.raises(ZeroDivisionError), lab.runner.run(a_run("join", AB), threading.Event()):
        _ = 1 / 0


def test_several_at_a_time_do_not_interfere(lab: Lab) -> None:
    def work(number: int) -> dict[str, bytes]:
        inputs = {**AB, "a": BytesBlob(b"%d," % number)}
        return lab.run(replace(a_run("join", inputs), key=f"{number:064}"))

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, range(8)))
    assert [f["joined"] for f in found] == [b"%d,second" % n for n in range(8)]
