"""gdcbuild is killed, or told to stop, while it works: all that it started ends, and the next run makes the right thing."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.e2e.workspace import HANDLER, ONE_STEP, Workspace

MANIFEST = (
    (ONE_STEP % "").replace('-c, ""', 'step.sh, "${out}/w.pt"').replace("    outputs", "    inputs: [step.sh]\n    outputs")
)

STEP = """\
stray() {
    trap '' TERM HUP INT
    echo $$ >> PIDS
    while :; do echo "$2" >> "$1"; sleep 0.02; done
}
if [ -e ARMED ]; then
    (stray "$1" "of the child") &
    setsid sh -c "$(sed '/^if/,$d' step.sh); stray \\"$1\\" 'of another session'" &
    (setsid sh -c "$(sed '/^if/,$d' step.sh); stray \\"$1\\" 'of a daemon'" < /dev/null > /dev/null 2>&1 &)
    WAIT
fi
for n in 1 2 3 4 5; do echo "line $n" >> "$1"; sleep 0.02; done
"""
"""While the file ARMED exists, three processes that heed no signal write into the output: a child, one that has left the
session, and a daemon. The action key does not know of that file, so a run without it has the same key."""

EXPECTED = "".join(f"line {n}\n" for n in range(1, 6))
PATIENCE = 5.0


@pytest.fixture
def armed(workspace: Workspace) -> Iterator[Workspace]:
    """A workspace whose step goes on and on, with helpers that hold fast."""
    write_step(workspace, "sleep 600")
    (workspace.root / "ARMED").touch()
    yield workspace
    for pid in strays(workspace):  # of a test that failed
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def write_step(workspace: Workspace, wait: str) -> None:
    text = STEP.replace("ARMED", str(workspace.root / "ARMED")).replace("PIDS", str(workspace.root / "pids"))
    workspace.write({"gdcbuild.yaml": MANIFEST, "h.py": HANDLER, "step.sh": text.replace("WAIT", wait)})


@contextmanager
def started(workspace: Workspace, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """gdcbuild in the background, leader of a process group as in a shell."""
    process = subprocess.Popen(
        # whoever started the tests may have had interrupts ignored
        ["env", "--default-signal=INT,HUP,TERM", sys.executable, "-m", "gdcbuild", *arguments],
        cwd=workspace.root,
        env=workspace.environment(),
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(condition: Callable[[], bool], patience: float = 30.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that in time"
        time.sleep(0.02)


def strays(workspace: Workspace) -> list[int]:
    """Processes that run in, or were told of, the cache of the workspace; gdcbuild itself is none of them."""
    mark = f"{workspace.cache}/".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes() or mark in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def running(workspace: Workspace) -> bool:
    """Whether the step's three helpers are up and writing."""
    pids = workspace.root / "pids"
    (out,) = list((workspace.cache / "work").glob("*/out/w.pt")) or [workspace.root / "nowhere"]
    return pids.exists() and len(pids.read_text().split()) == 3 and out.exists() and len(set(out.read_text().split("\n"))) == 4


def made(workspace: Workspace) -> list[str]:
    """What the step's results are, by the blobs there are."""
    return [
        p.read_text()
        for p in (workspace.cache / "cas").rglob("*")
        if p.is_file() and p.read_bytes()[:4] in (b"line", b"of a", b"of t")
    ]


def guard_of(process: subprocess.Popen[str]) -> int:
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True)
    (guard,) = children.stdout.split()
    return int(guard)


def kill_it(process: subprocess.Popen[str]) -> None:
    process.kill()


def kill_its_group(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)


def kill_it_and_its_guard(process: subprocess.Popen[str]) -> None:
    guard = guard_of(process)
    process.kill()
    os.kill(guard, signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_it, kill_its_group, kill_it_and_its_guard])
def test_killed_in_a_step_and_run_again_at_once(
    armed: Workspace, tmp_path: Path, kill: Callable[[subprocess.Popen[str]], None]
) -> None:
    with started(armed, "apply") as process:
        until(lambda: running(armed))
        kill(process)
        process.wait()
        (armed.root / "ARMED").unlink()
        armed.ok("apply")
    assert made(armed) == [EXPECTED]
    until(lambda: not strays(armed), PATIENCE)
    clean = Workspace(tmp_path / "clean", tmp_path / "clean-cache")
    write_step(clean, "sleep 600")
    clean.write({"step.sh": (armed.root / "step.sh").read_bytes()})
    clean.ok("apply")
    assert armed.served() == clean.served()
    assert list((armed.cache / "work").iterdir()) == []


def test_killed_in_a_step_and_not_run_again(armed: Workspace) -> None:
    with started(armed, "apply") as process:
        until(lambda: running(armed))
        process.kill()
        process.wait()
        until(lambda: not strays(armed), PATIENCE)
    assert not (armed.root / "bucket").exists()


@pytest.mark.parametrize("to_group", [False, True], ids=["to it alone", "to its group"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_told_to_stop(armed: Workspace, number: int, code: int, to_group: bool) -> None:
    with started(armed, "apply") as process:
        until(lambda: running(armed))
        (os.killpg if to_group else os.kill)(process.pid, number)
        _, err = process.communicate(timeout=PATIENCE)
        assert strays(armed) == []
    assert (process.returncode, "Traceback" in err) == (code, False), err
    assert "interrupted; no partial results were kept" in err
    assert not (armed.root / "bucket").exists()
    assert list((armed.cache / "work").iterdir()) == []
    (armed.root / "ARMED").unlink()
    armed.ok("build")
    assert made(armed) == [EXPECTED]


def test_what_a_command_leaves_running_ends_before_its_outputs_are_read(workspace: Workspace) -> None:
    write_step(workspace, 'while [ "$(wc -l < PIDS)" -lt 3 ]; do :; done'.replace("PIDS", str(workspace.root / "pids")))
    (workspace.root / "ARMED").touch()
    workspace.ok("apply")
    assert strays(workspace) == []
    (whole,) = made(workspace)
    assert set(EXPECTED.split("\n")) < set(whole.split("\n")), "written by helpers too, and whole all the same"
    workspace.ok("cache", "verify")


def test_told_to_stop_while_it_waits_for_another(armed: Workspace) -> None:
    with started(armed, "build") as first:
        until(lambda: running(armed))
        with started(armed, "build") as second:
            assert second.stderr is not None
            assert select.select([second.stderr], [], [], PATIENCE)[0]
            assert second.stderr.readline() == "waiting    for another gdcbuild, which is building step:s\n"
            second.send_signal(signal.SIGTERM)
            second.communicate(timeout=PATIENCE)
            assert second.returncode == 143
        assert first.poll() is None
        assert running(armed)


def test_killed_while_it_installs(workspace: Workspace) -> None:
    """pip waits for an index that never answers."""
    manifest = MANIFEST.replace("  s:\n", "  s:\n    framework: f\n")
    framework = "frameworks:\n  f: {image: pytorch-cpu.2-4, toolchain: {requirements: some.txt}}\n"
    step = 'echo made > "$1"\n'
    workspace.write({"gdcbuild.yaml": manifest + framework, "h.py": HANDLER, "step.sh": step, "some.txt": "nothing==1\n"})
    with socket.create_server(("127.0.0.1", 0)) as index:
        workspace.variables["PIP_INDEX_URL"] = f"http://127.0.0.1:{index.getsockname()[1]}/"
        with started(workspace, "build") as process:
            connection, _ = index.accept()
            with connection:
                process.kill()
                process.wait()
                until(lambda: not strays(workspace), PATIENCE)
        with started(workspace, "build") as process:
            connection, _ = index.accept()
            with connection:
                process.terminate()
                process.communicate(timeout=PATIENCE)
                assert process.returncode == 143
                assert strays(workspace) == []
    assert list((workspace.cache / "toolchains").iterdir()) == [], "nothing half-made is left"
