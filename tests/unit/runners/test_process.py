"""Actions as processes: what they see, what they may leave, and that nothing of them stays behind."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from gdcbuild.core.digest import BytesBlob, Digest
from gdcbuild.core.graph import Action, Command, Inline, Worker
from gdcbuild.core.ports import Run
from gdcbuild.errors import ActionFailed, Interrupted, Location, Problem
from gdcbuild.runners.process import LocalRunner
from gdcbuild.store.memory import MemoryRecords
from gdcbuild.store.workspace import DiskWorkspace

WHERE = Location("gdcbuild.yaml", 3, 5)
KEY = "k" * 64


@pytest.fixture
def runner(tmp_path: Path) -> LocalRunner:
    machine = DiskWorkspace(Path("/"), MemoryRecords())
    return LocalRunner(tmp_path / "work", tmp_path / "logs", lambda _: None, machine, os.environ)


def shell(script: str, key: str = KEY, env: Mapping[str, str] | None = None, cwd: str = "") -> Run:
    action = Action("step:s", "step", Command(("sh", "-ec", script, "${out}")), cwd=cwd, where=WHERE)
    return Run(action, key, {"in": BytesBlob(b"input"), "d/in": BytesBlob(b"")}, None, env or {})


def outputs(runner: LocalRunner, run: Run) -> dict[str, bytes]:
    with runner.run(run, threading.Event()) as made:
        return {path: file.read_bytes() for path, file in made.items()}


def refused(runner: LocalRunner, run: Run) -> Problem:
    with pytest.raises(ActionFailed) as caught:
        outputs(runner, run)
    (problem,) = caught.value.problems
    assert problem.where == WHERE
    return problem


def test_a_path_it_writes_down_is_the_same_every_time(runner: LocalRunner) -> None:
    first = outputs(runner, shell('pwd > "$0/pwd"; echo "$TMPDIR $HOME" > "$0/tmp"'))
    assert outputs(runner, shell('pwd > "$0/pwd"; echo "$TMPDIR $HOME" > "$0/tmp"')) == first
    assert KEY in first["pwd"].decode()
    assert first["tmp"].decode().count(KEY) == 2


def test_it_starts_in_its_folder(runner: LocalRunner) -> None:
    assert outputs(runner, shell('cat ../in > "$0/got"', cwd="d")) == {"got": b"input"}


def test_it_sees_no_variable_of_ours(runner: LocalRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-ours")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    seen = outputs(runner, shell('env > "$0/env"', env={"ALLOWED": "yes", "TZ": "Europe/Vienna"}))["env"].decode()
    variables = dict(line.split("=", 1) for line in seen.splitlines())
    assert "secret-of-ours" not in seen
    assert "PYTHONPATH" not in variables
    assert (variables["ALLOWED"], variables["TZ"], variables["LC_ALL"]) == ("yes", "Europe/Vienna", "C.UTF-8")


def test_leftovers_of_a_killed_run_are_not_in_the_next(runner: LocalRunner, tmp_path: Path) -> None:
    for left in ("in/stale", "out/stale"):
        (tmp_path / "work" / KEY / left).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "work" / KEY / left).write_text("")
    assert outputs(runner, shell('find . -type f | sort > "$0/found"')) == {"found": b"./d/in\n./in\n"}


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ('ln -s /etc/passwd "$0/link"', "its output 'link' is not a regular file"),
        ('mkdir "$0/d"; ln -s /etc "$0/d/link"', "its output 'd/link' is not a regular file"),
        ('mkfifo "$0/pipe"', "its output 'pipe' is not a regular file"),
        ('touch "$0/$(printf "a\\nb")"', r"the name of its output 'a\nb' has a control character"),
        ('touch "$0/$(printf "\\377")"', r"the name of its output '\udcff' has a control character"),
        ('rmdir "$0"; ln -s "$HOME" "$0"', "the command moved or replaced its output folder"),
        ('rmdir "$0"; touch "$0"', "the command moved or replaced its output folder"),
        ('rmdir "$0"', "the command moved or replaced its output folder"),
        (
            'w="${0%/out}"; mkdir "$HOME/out"; mv "$w" "$w-"; ln -s "$w-/home" "$w"',
            "the command moved or replaced its output folder",
        ),
        ("exit 3", ": 'sh' ended with exit code 3"),
        ("kill -9 $$", "'sh' was ended by SIGKILL"),
        ("kill -40 $$", "'sh' was ended by signal 40"),
    ],
)
def test_outputs_that_cannot_be_kept_are_refused(runner: LocalRunner, script: str, message: str) -> None:
    problem = refused(runner, shell(script))
    assert message in problem.message
    assert problem.hint


def test_the_end_of_the_output_is_shown_and_all_of_it_kept(runner: LocalRunner, tmp_path: Path) -> None:
    problem = refused(runner, shell("seq 1000; ls missing $PWD/in >&2"))
    lines = problem.detail.splitlines()
    assert "999" in lines
    assert "1" not in lines
    assert str(tmp_path / "work") not in problem.detail
    assert runner.log(KEY).read_text().startswith("1\n2\n")
    assert str(runner.log(KEY)) in problem.hint


def test_however_much_it_printed(runner: LocalRunner) -> None:
    """A terabyte, of which the disk holds next to nothing."""
    problem = refused(runner, shell("truncate -s 1T /dev/stdout; seq 9 >> /dev/stdout; exit 3"))
    assert problem.detail.splitlines()[-8:] == [*"23456789"]


def test_an_output_that_is_another_name_of_a_file_is_copied(runner: LocalRunner, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "mine").chmod(0o644)
    with runner.run(shell(f'ln {tmp_path}/mine "$0/a"; ln "$0/a" "$0/b"'), threading.Event()) as made:
        assert [made[name].read_text() for name in ("a", "b")] == ["mine", "mine"]
        assert [made[name].stat().st_nlink for name in ("a", "b")] == [1, 1]
    assert (tmp_path / "mine").stat().st_nlink == 1


def test_a_command_that_is_not_there(runner: LocalRunner) -> None:
    run = Run(Action("step:s", "step", Command(("no-such-command",)), where=WHERE), KEY, {}, None, {})
    assert "'no-such-command' cannot be started: No such file" in refused(runner, run).message


def test_python_is_the_toolchains(runner: LocalRunner) -> None:
    command = Command(
        ("python", "-c", "import pathlib, sys; pathlib.Path(sys.argv[1], 'x').write_text(sys.executable)", "${out}")
    )
    run = Run(Action("step:s", "step", command, where=WHERE), KEY, {}, Path(sys.executable), {})
    assert outputs(runner, run) == {"x": sys.executable.encode()}


def test_a_worker_that_is_not_installed(runner: LocalRunner) -> None:
    run = Run(Action("m@1", "x", Worker("gdcbuild.runners.nothing"), where=WHERE), KEY, {}, Path(sys.executable), {})
    assert "gdcbuild.runners.nothing is not installed" in refused(runner, run).message


ENDING = """
import os
def run(params, out, child):
    (out / "half").write_text("a half")
    {}
    (out / "half").write_text("a whole")
"""


@pytest.mark.parametrize("end", ["os._exit(0)", "import ctypes; ctypes.CDLL(None).exit(0)", "raise SystemExit"])
def test_an_export_that_exits_early_fails(
    runner: LocalRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)

    def run(name: str, line: str) -> Run:
        (tmp_path / f"{name}.py").write_text(ENDING.format(line))
        return Run(Action("m@1", "x", Worker(name), where=WHERE), KEY, {}, Path(sys.executable), {})

    assert outputs(runner, run("ends_well_for_a_test", "pass")) == {"half": b"a whole"}
    problem = refused(runner, run("ends_early_for_a_test", end))
    assert problem.message == "m@1: the export ended its process with exit code 0 before it finished"
    assert str(runner.log(KEY)) in problem.hint


def test_our_own_code_gets_inputs_and_folder(runner: LocalRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "def run(params, inputs, out):\n    (out / params['name']).write_bytes(inputs['in'].open().read())\n"
    (tmp_path / "own_code_for_a_test.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    action = Action("m@1", "x", Inline("own_code_for_a_test"), params={"name": "copy"}, where=WHERE)
    assert outputs(runner, Run(action, KEY, {"in": BytesBlob(b"data")}, None, {})) == {"copy": b"data"}


def test_digests_computed_by_our_own_code_are_passed_on(
    runner: LocalRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "def run(params, inputs, out):\n    (out / 'a').write_bytes(b'a')\n    return {'a': inputs['in'].digest}\n"
    (tmp_path / "hashing_code_for_a_test.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    action = Action("m@1", "x", Inline("hashing_code_for_a_test"), where=WHERE)
    with runner.run(Run(action, KEY, {"in": BytesBlob(b"a")}, None, {}), threading.Event()) as made:
        assert made.digests == {"a": Digest.of(b"a")}
    with runner.run(shell('echo > "$0/b"'), threading.Event()) as made:
        assert made.digests == {}


def test_no_process_of_it_keeps_running(runner: LocalRunner, tmp_path: Path) -> None:
    """A child it leaves in the background holds a pipe open: the pipe ends when all who hold it have."""
    os.mkfifo(tmp_path / "pipe")
    read = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        script = f'(touch "$0/up"; exec sleep 600) > {tmp_path}/pipe & while ! [ -e "$0/up" ]; do :; done'
        assert set(outputs(runner, shell(script))) == {"up"}
        poll = select.poll()
        poll.register(read, 0)
        assert poll.poll(10_000) == [(read, select.POLLHUP)]
    finally:
        os.close(read)


def test_a_command_that_ignores_an_interrupt_is_killed(runner: LocalRunner) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Interrupted), runner.run(shell("trap '' TERM; while :; do sleep 600 & wait; done"), cancel):
        pass


def test_our_own_code_stops_reading_when_told(runner: LocalRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "endless_code_for_a_test.py").write_text(
        "def run(params, inputs, out):\n"
        "    while True:\n"
        "        with inputs['in'].open() as stream:\n"
        "            while stream.read(1):\n"
        "                pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cancel = threading.Event()
    threading.Timer(0.2, cancel.set).start()
    run = Run(Action("m@1", "x", Inline("endless_code_for_a_test"), where=WHERE), KEY, {"in": BytesBlob(b"x" * 9)}, None, {})
    with pytest.raises(Interrupted), runner.run(run, cancel):
        pass
    assert not (tmp_path / "work" / KEY).exists()


def test_the_place_is_in_every_path_of_the_folder(runner: LocalRunner, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to("work")
    linked = LocalRunner(tmp_path / "link", tmp_path / "logs", lambda _: None, DiskWorkspace(Path("/"), MemoryRecords()), {})
    for one in (runner, linked):
        with one.run(shell('{ pwd; pwd -P; echo "$0"; echo "$HOME"; echo "$TMPDIR"; } > $0/paths'), threading.Event()) as made:
            paths = made["paths"].read_text().splitlines()
            assert len(paths) == 5
            assert all(made.place in path for path in paths), (made.place, paths)
