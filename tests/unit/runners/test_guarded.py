"""Folders that belong to one run, and what becomes of the processes in them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdcbuild.errors import ActionFailed, Interrupted
from gdcbuild.runners import guarded
from gdcbuild.runners.guarded import Place, claimed, put_away

HOLD = """
import fcntl, os, sys, time
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print(flush=True)
time.sleep(600)
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with claimed(tmp_path / "work" / "key", threading.Event()) as found:
        yield found


def run(place: Place, script: str, cancel: threading.Event | None = None) -> int:
    with (place.path / "log").open("wb") as log:
        return place.run(
            ["sh", "-c", script], log, cancel or threading.Event(), env={"PATH": os.environ["PATH"]}, cwd=place.path
        )


@pytest.mark.parametrize(("script", "code"), [("true", 0), ("exit 3", 3), ("kill -9 $$", -9), ("kill -40 $$", -40)])
def test_how_it_ended(place: Place, script: str, code: int) -> None:
    assert run(place, script) == code


def test_the_command_is_as_if_started_by_a_shell(place: Place) -> None:
    """No descriptor of ours, no signal ignored, a new session."""
    script = "ls /proc/self/fd > fds; grep SigIgn /proc/self/status > ignored; ps -o sid= -p $$ > session; echo $$ > pid"
    assert run(place, script) == 0
    assert (place.path / "fds").read_text().split() == ["0", "1", "2", "3"], "the fourth is that of the folder that ls reads"
    assert (place.path / "ignored").read_text().split()[1].strip("0") == ""
    assert (place.path / "session").read_text().strip() == (place.path / "pid").read_text().strip()


def test_a_killed_guard_takes_the_command_along(place: Place) -> None:
    script = "echo $$ > new; mv new pid; kill -9 $PPID; exec sleep 600"
    with pytest.raises(ActionFailed, match="guards the command was killed"):
        run(place, script)
    pid = (place.path / "pid").read_text().strip()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_guard_that_is_told_to_end_ends_the_command(place: Place) -> None:
    assert run(place, "kill -TERM $PPID; exec sleep 600") == -signal.SIGTERM


def test_a_command_that_handles_an_interrupt_may_clean_up(place: Place) -> None:
    cancel = threading.Event()
    threading.Timer(0.5, cancel.set).start()
    with pytest.raises(Interrupted):
        run(place, "trap 'echo > cleaned; exit 1' TERM; while :; do sleep 0.05; done", cancel)
    assert (place.path / "cleaned").exists()


def test_the_folder_is_empty_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "key"
    (path / "left").mkdir(parents=True)
    with claimed(path, threading.Event()) as place:
        assert list(place.path.iterdir()) == []
        (path / "made").touch()
    assert (path / "made").exists()
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "key"
    for name in ("key.1", "key.2", "other.1"):
        (tmp_path / name / "deep").mkdir(parents=True)
    with claimed(path, threading.Event()):
        put_away(path)
    assert [p.name for p in tmp_path.iterdir()] == ["other.1"]


def test_one_at_a_time(tmp_path: Path) -> None:
    inside, most = 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        with claimed(tmp_path / "key", threading.Event()) as place:
            with guard:
                inside += 1
                most = max(most, inside)
            assert list(place.path.iterdir()) == []
            (place.path / "mine").touch()
            time.sleep(0.02)
            with guard:
                inside -= 1
            put_away(place.path)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (most, inside) == (1, 0)


def test_a_process_that_keeps_the_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "WAIT_SECONDS", 0.2)
    path = tmp_path / "key"
    path.mkdir()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        with (
            pytest.raises(ActionFailed, match=f"still in use by another run: process {holder.pid} "),
            claimed(path, threading.Event()),
        ):
            pass
        cancel = threading.Event()
        cancel.set()
        with pytest.raises(Interrupted), claimed(path, cancel):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with claimed(path, threading.Event()):
        pass
