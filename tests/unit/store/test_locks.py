"""Locks between processes: held by one that is alive, and by nobody once it has been killed."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gdcbuild.store.locks import FileLocks

HOLD = """
import sys
from pathlib import Path
from gdcbuild.store.locks import FileLocks
with FileLocks(Path(sys.argv[1])).hold("name"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with (tmp_path / "name").open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.kill()
        process.wait()
        with FileLocks(tmp_path).hold("name"):
            pass


@pytest.mark.parametrize("what", ["link", "dangling link", "folder", "fifo", "text"])
def test_something_else_instead_of_a_lock_file_is_removed(tmp_path: Path, what: str) -> None:
    path, elsewhere = tmp_path / "locks" / "name", tmp_path / "elsewhere"
    path.parent.mkdir()
    if what == "folder":
        (path / "below").mkdir(parents=True)
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "text":
        path.write_text("garbage")
    else:
        path.symlink_to(elsewhere)
        if what == "link":
            elsewhere.write_text("not ours")
    with FileLocks(path.parent).hold("name"), FileLocks(path.parent).held("name") as also:
        assert not also
    assert not elsewhere.exists() or elsewhere.read_text() == "not ours"


def test_nothing_is_left_of_a_lock(tmp_path: Path) -> None:
    with FileLocks(tmp_path).hold("name"):
        assert (tmp_path / "name").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_locked_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("not ours")
    with pytest.raises(OSError, match="locks"), FileLocks(tmp_path / "locks").hold("name"):
        pass


COUNT = """
import sys
from pathlib import Path
from gdcbuild.store.locks import FileLocks
folder = Path(sys.argv[1])
for _ in range(300):
    with FileLocks(folder / "locks").hold("name"):
        count = int((folder / "count").read_text())
        (folder / "count").write_text(str(count + 1))
"""


@pytest.mark.slow
def test_one_at_a_time_although_the_file_is_removed_and_created(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)]) for _ in range(4)]
    assert [p.wait(60) for p in processes] == [0, 0, 0, 0]
    assert (tmp_path / "count").read_text() == "1200"
