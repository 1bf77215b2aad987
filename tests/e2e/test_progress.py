"""What a run shows: a live display on a terminal, a line for each finished thing elsewhere."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.e2e.test_incremental import FILES, MANIFEST
from tests.e2e.test_s3 import Bucket, on_server
from tests.e2e.workspace import HANDLER, ONE_STEP, ONE_VERSION, Workspace


def on_terminal(workspace: Workspace, *arguments: str, typed: bytes = b"", **variables: str) -> tuple[int, str]:
    """Exit code and all that a terminal would have been sent. What is `typed` answers a question."""
    ours, theirs = pty.openpty()
    environment = {**workspace.environment(), "TERM": "xterm", "COLUMNS": "120", "CI": "", **variables}
    process = subprocess.Popen(
        [sys.executable, "-m", "gdcbuild", *arguments],
        cwd=workspace.root,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=_own_terminal,  # noqa: PLW1509 - this process has one thread
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        seen += data
        if typed and seen.endswith(b"[y/N]: "):
            os.write(ours, typed)
    os.close(ours)
    return process.wait(), seen.decode(errors="replace")


def _own_terminal() -> None:
    """Ctrl-C reaches the process that controls the terminal."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (b"y\n", 0, "Done: "),
        (b"n\n", 3, "\r\nerror: not applied: the answer was no"),
        (b"\x04", 3, "\r\nerror: not applied: the answer was no"),
        (b"\x03", 130, "\r\nerror: interrupted"),
    ],
)
def test_a_protected_environment_asks_for_confirmation(workspace: Workspace, typed: bytes, code: int, said: str) -> None:
    workspace.write({**FILES, "gdcbuild.yaml": MANIFEST.replace("{bucket: bucket}", "{bucket: bucket, protect: true}")})
    found, seen = on_terminal(workspace, "apply", typed=typed)
    assert (found, said in seen, "Traceback" in seen) == (code, True, False), seen
    assert (workspace.root / "bucket").exists() == (code == 0)


def test_terminal_shows_running_and_waiting_jobs(workspace: Workspace) -> None:
    slow = MANIFEST.replace("cat seed.txt >", "sleep 1; cat seed.txt >")
    workspace.write({**FILES, "gdcbuild.yaml": slow})
    code, seen = on_terminal(workspace, "apply", "-j", "1")
    assert code == 0, seen
    assert "building step:weights" in seen
    assert "1 running" in seen
    assert " waiting" in seen
    assert "created    a@1" in seen
    assert "Done: " in seen


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"CI": "true"}], ids=str)
def test_plain_lines_on_request(workspace: Workspace, variables: dict[str, str]) -> None:
    workspace.write(FILES)
    code, seen = on_terminal(workspace, "apply", typed=b"", **variables)
    assert (code, "\x1b" in seen, "built      a@1" in seen) == (0, False, True), seen


def test_no_color(workspace: Workspace) -> None:
    workspace.write(FILES)
    code, seen = on_terminal(workspace, "apply", NO_COLOR="1")
    assert code == 0
    assert "\x1b[3" not in seen


def test_one_line_for_each_finished_action(workspace: Workspace) -> None:
    workspace.write(FILES)
    lines = workspace.ok("apply", "-j", "1").err.splitlines()
    done = sorted(line.split()[1] for line in lines if line.split()[0] in ("built", "created"))
    assert done == ["a@1", "a@1", "a@2", "a@2", "b@1", "b@1", "b@2", "b@2", "step:weights"]
    assert not any("\r" in line or "\x1b" in line for line in lines)


def test_progress_of_a_large_file(workspace: Workspace) -> None:
    workspace.write({"w.pt": b"", "h.py": HANDLER, "gdcbuild.yaml": ONE_VERSION})
    os.truncate(workspace.root / "w.pt", 3 << 28)  # so large that no machine is done with it before the display has moved
    code, seen = on_terminal(workspace, "plan", "--json")
    assert code == 0, seen
    assert moves(seen, "hashing w.pt")
    assert seen.rindex("hashing") < seen.index('"schema"'), "the display is put away before the document"
    code, seen = on_terminal(workspace, "plan", TERM="dumb")
    assert (code, "hashing" in seen, "\x1b" in seen) == (0, False, False), seen
    code, seen = on_terminal(workspace, "apply")
    assert code == 0, seen
    assert moves(seen, "building m@1 from weights/w.pt")
    assert moves(seen, "publishing m@1")
    code, seen = on_terminal(workspace, "verify", "--deep")
    assert (code, "hashing m/1/model.mar" in seen) == (0, True), seen
    code, seen = on_terminal(workspace, "cache", "verify")
    assert (code, seen.count("hashing ") > 1, seen.endswith("OK: 1 file, none damaged.\r\n")) == (0, True, True), seen
    os.truncate(workspace.root / "w.pt", (3 << 28) + 1)
    events = workspace.ok("build", "--json").events
    found = [(e["job"], e["path"]) for e in events if e["event"] == "reading"]
    assert set(found) == {("", "w.pt"), ("m@1", "weights/w.pt")}
    assert len(found) < 100, "at most ten a second"


def moves(seen: str, what: str) -> bool:
    """Whether the display has shown several amounts of bytes beside what it says."""
    return len({part[:80].split(" of ")[0].split()[-1] for part in seen.split(what)[1:] if " of " in part[:80]}) > 1


def test_progress_of_a_long_upload(tmp_path: Path, s3_server: str) -> None:
    Bucket(s3_server, "long-upload")
    workspace = on_server(tmp_path, s3_server, "long-upload")
    workspace.write({"w1.pt": os.urandom(1 << 20) * 64})
    code, seen = on_terminal(workspace, "apply", "a@1", "--env", "s3")
    assert code == 0, seen
    assert "publishing a@1" in seen
    sent = {part.split()[-1] for part in seen.split(" of 67.1 MB")[:-1]}
    assert len(sent) > 1, "the display moves"
    events = workspace.ok("apply", "a@2", "--env", "s3", "--json").events
    assert [e["sent"] for e in events if e["event"] == "progress"][-1] == events[-3]["total"]


def test_a_closed_terminal_does_not_end_the_run(workspace: Workspace) -> None:
    workspace.write(
        {"h.py": HANDLER, "gdcbuild.yaml": ONE_STEP % "while [ ! -e $GO ]; do sleep 0.05; done; echo > ${out}/w.pt"}
    )
    text = (workspace.root / "gdcbuild.yaml").read_text()
    workspace.write({"gdcbuild.yaml": text.replace("    outputs:", "    env: [GO]\n    outputs:")})
    go = workspace.root.parent / "go"
    ours, theirs = pty.openpty()
    environment = {**workspace.environment(), "TERM": "xterm", "CI": "", "GO": str(go)}
    command = [sys.executable, "-m", "gdcbuild", "apply"]
    process = subprocess.Popen(command, cwd=workspace.root, env=environment, stderr=theirs, start_new_session=True)
    os.close(theirs)
    while b"building step:s" not in os.read(ours, 65536):
        pass
    os.close(ours)
    go.touch()
    assert process.wait() == 0
    assert (workspace.root / "bucket/m/1/model.mar").exists()
