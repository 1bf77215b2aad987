"""Records on disk: nothing is ever unpickled, and damage is a miss with a warning."""

from __future__ import annotations

import os
import pickle
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gdcbuild.errors import Problem, StoreError
from gdcbuild.store.records import DiskRecords
from tests.records import close


class Canary:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def warnings() -> list[Problem]:
    return []


@pytest.fixture
def records(tmp_path: Path, warnings: list[Problem]) -> DiskRecords:
    found = DiskRecords(tmp_path / "records", warnings.append)
    found.put("result", "k", {"a": [1, "x", None]})
    found.put("result", "other", 5)
    return found


def plant(tmp_path: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(tmp_path / "records" / "cache.db") as database:
        database.execute(statement, values)


def test_a_pickled_value_is_never_unpickled(tmp_path: Path, records: DiskRecords, warnings: list[Problem]) -> None:
    canary = tmp_path / "canary"
    plant(tmp_path, "UPDATE Cache SET mode = 4, value = ? WHERE key = 'result:k'", pickle.dumps(Canary(canary)))
    assert records.get("result", "k") is None
    assert warnings
    assert not canary.exists()


def test_a_pickled_key_is_never_unpickled(tmp_path: Path, records: DiskRecords) -> None:
    canary = tmp_path / "canary"
    plant(tmp_path, "UPDATE Cache SET raw = 0, key = ? WHERE key = 'result:other'", pickle.dumps(Canary(canary)))
    records.keys("result")
    assert records.get("result", "k") is not None
    assert not canary.exists()


@pytest.mark.parametrize("text", ["{", "not json", "\udcff", ""])
def test_a_damaged_record_is_a_miss(tmp_path: Path, records: DiskRecords, warnings: list[Problem], text: str) -> None:
    plant(tmp_path, "UPDATE Cache SET value = ? WHERE key = 'result:k'", text.encode("utf-8", "surrogateescape"))
    assert records.get("result", "k") is None
    assert warnings
    assert records.get("result", "other") == 5


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"SQLite format 3\x00" + b"\xff" * 4096], ids=["empty", "garbage", "header"]
)
def test_a_damaged_database_is_created_again(
    tmp_path: Path, records: DiskRecords, warnings: list[Problem], content: bytes
) -> None:
    close(records)
    for path in (tmp_path / "records").iterdir():
        path.unlink()
    (tmp_path / "records" / "cache.db").write_bytes(content)
    found = DiskRecords(tmp_path / "records", warnings.append)
    assert found.get("result", "k") is None
    found.put("result", "k", 1)
    assert found.get("result", "k") == 1
    assert not content or warnings


def test_every_flipped_bit_is_detected(tmp_path: Path, records: DiskRecords) -> None:
    with sqlite3.connect(tmp_path / "records" / "cache.db") as database:
        (text,) = database.execute("SELECT value FROM Cache WHERE key = 'result:k'").fetchone()
    for place in range(len(text)):
        for bit in range(7):
            flipped = text[:place] + chr(ord(text[place]) ^ 1 << bit) + text[place + 1 :]
            plant(tmp_path, "UPDATE Cache SET value = ? WHERE key = 'result:k'", flipped)
            assert records.get("result", "k") is None


def test_a_record_under_another_name_is_not_used(tmp_path: Path, records: DiskRecords) -> None:
    plant(tmp_path, "DELETE FROM Cache WHERE key = 'result:k'")
    plant(tmp_path, "UPDATE Cache SET key = 'result:k' WHERE key = 'result:other'")
    assert records.get("result", "k") is None


@pytest.mark.parametrize("cut", range(0, 34, 3))
def test_a_truncated_record_is_a_miss(tmp_path: Path, records: DiskRecords, cut: int) -> None:
    plant(tmp_path, "UPDATE Cache SET value = substr(value, 1, ?) WHERE key = 'result:k'", cut)
    assert records.get("result", "k") is None


def test_planted_rows_are_not_records(tmp_path: Path, records: DiskRecords) -> None:
    canary = tmp_path / "canary"
    plant(tmp_path, "UPDATE Cache SET raw = 0, key = ? WHERE key = 'result:other'", pickle.dumps(Canary(canary)))
    assert records.keys("result") == ["k"]
    assert not canary.exists()


def test_unknown_settings_are_damage(tmp_path: Path, records: DiskRecords, warnings: list[Problem]) -> None:
    close(records)
    plant(tmp_path, "INSERT INTO Settings VALUES ('disk_unheard_of', 'x')")
    assert DiskRecords(tmp_path / "records", warnings.append).get("result", "k") is None
    assert warnings


def test_a_locked_database_is_not_damage(tmp_path: Path, records: DiskRecords, warnings: list[Problem]) -> None:
    close(records)
    records._cache._timeout = 0.05
    with sqlite3.connect(tmp_path / "records" / "cache.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        records.put("result", "k", "lost")
        other.execute("ROLLBACK")
    assert ["locked" in w.message for w in warnings] == [True]
    assert records.get("result", "k") == {"a": [1, "x", None]}


def test_a_file_in_the_way_is_left_there(tmp_path: Path, warnings: list[Problem]) -> None:
    (tmp_path / "records").write_text("not ours")
    with pytest.raises(StoreError, match="cannot be opened"):
        DiskRecords(tmp_path / "records", warnings.append)
    assert (tmp_path / "records").read_text() == "not ours"


def test_values_that_are_not_json_are_refused(records: DiskRecords) -> None:
    with pytest.raises(TypeError):
        records.put("result", "k", object())


def test_many_records_are_kept(tmp_path: Path, records: DiskRecords) -> None:
    for n in range(2000):
        records.put("stat", str(n), ["x" * 100, n])
    close(records)
    again = DiskRecords(tmp_path / "records", lambda _: None)
    assert len(again.keys("stat")) == 2000


def test_a_record_of_another_schema_is_silently_absent(
    tmp_path: Path, records: DiskRecords, warnings: list[Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gdcbuild.store.records._SCHEMA", 2)
    assert records.get("result", "k") is None
    records.put("result", "k", "newer")
    assert (records.get("result", "k"), warnings) == ("newer", [])


def test_a_flipped_schema_is_damage(tmp_path: Path, records: DiskRecords, warnings: list[Problem]) -> None:
    plant(tmp_path, "UPDATE Cache SET value = '3' || substr(value, 2) WHERE key = 'result:k'")
    assert records.get("result", "k") is None
    assert warnings


def damage(tmp_path: Path) -> None:
    """Overwrite all pages but the first, which identifies the database."""
    path = tmp_path / "records" / "cache.db"
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096))


USES: dict[str, Callable[[DiskRecords], object]] = {
    "get": lambda records: records.get("result", "k"),
    "put": lambda records: records.put("result", "k", 1),
    "keys": lambda records: records.keys("result"),
    "check": lambda records: records.discard_damaged(),
}


@pytest.mark.parametrize("use", list(USES))
def test_damage_found_later_recreates_the_database(
    tmp_path: Path, records: DiskRecords, warnings: list[Problem], use: str
) -> None:
    for n in range(500):
        records.put("stat", str(n), "x" * 500)
    close(records)  # all is in the database now, and is read again
    damage(tmp_path)
    USES[use](records)
    assert ["created again" in w.message for w in warnings] == [True]
    assert records.keys("stat") == []
    records.put("result", "k", "after")
    assert records.get("result", "k") == "after"
    assert DiskRecords(tmp_path / "records", warnings.append).get("result", "k") == "after"


def test_a_database_recreated_by_one_process_is_used_by_another(
    tmp_path: Path, records: DiskRecords, warnings: list[Problem]
) -> None:
    others: list[Problem] = []
    other = DiskRecords(tmp_path / "records", others.append)
    for n in range(500):
        records.put("stat", str(n), "x" * 500)
    close(records)
    close(other)
    damage(tmp_path)
    assert records.get("result", "k") is None
    records.put("result", "k", "after")
    assert other.get("stat", "7") is None
    assert other.get("result", "k") == "after", "it is not created twice"
    assert len(warnings) == 1


@pytest.mark.parametrize("name", ["cache.db", "cache.db-wal", "cache.db-shm"])
@pytest.mark.parametrize("what", ["folder", "dangling link"])
def test_what_has_the_name_of_a_database_is_removed(
    tmp_path: Path, records: DiskRecords, warnings: list[Problem], name: str, what: str
) -> None:
    close(records)
    path = tmp_path / "records" / name
    path.unlink(missing_ok=True)
    path.mkdir() if what == "folder" else path.symlink_to(tmp_path / "nowhere" / "at all")
    found = DiskRecords(tmp_path / "records", warnings.append)
    found.put("result", "k", 1)
    assert found.get("result", "k") == 1
    assert warnings


def test_a_file_that_a_damaged_row_names_is_neither_read_nor_removed(
    tmp_path: Path, records: DiskRecords, warnings: list[Problem]
) -> None:
    (tmp_path / "mine").write_text("mine")
    plant(tmp_path, "UPDATE Cache SET filename = '../mine', mode = 3, value = NULL WHERE key = 'result:k'")
    assert records.get("result", "k") is None
    assert warnings
    records.put("result", "k", 1)
    assert records.get("result", "k") == 1
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_check_removes_what_is_damaged_and_nothing_else(tmp_path: Path, records: DiskRecords) -> None:
    plant(tmp_path, "UPDATE Cache SET value = substr(value, 1, 30) WHERE key = 'result:k'")
    assert records.discard_damaged() == ["the record result:k"]
    assert records.discard_damaged() == []
    assert records.keys("result") == ["other"]


def test_a_full_disk_is_not_damage(tmp_path: Path, records: DiskRecords, warnings: list[Problem]) -> None:
    records._cache._sql("PRAGMA max_page_count = 12")
    for n in range(100):
        records.put("stat", str(n), "x" * 1000)
    assert ["full" in w.message for w in warnings] == [True], "it is reported, and only once"
    assert records.get("result", "k") == {"a": [1, "x", None]}


KILLED = """
import os, signal, sys
from pathlib import Path
from gdcbuild.store.records import DiskRecords
records = DiskRecords(Path(sys.argv[1]), print)
for n in range(100):
    records.put("result", str(n), "x" * 100)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """The log of a process that was killed with 100 records in it."""
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "records")], check=False)
    return tmp_path / "records" / "cache.db-wal"


def count(tmp_path: Path, warnings: list[Problem]) -> int:
    return len(DiskRecords(tmp_path / "records", warnings.append).keys("result"))


def test_what_a_killed_process_wrote_is_there(tmp_path: Path, killed: Path, warnings: list[Problem]) -> None:
    assert killed.stat().st_size > 100_000
    assert (count(tmp_path, warnings), warnings) == (100, [])


@pytest.mark.parametrize("frames", [0, 1, 50, 101])
def test_a_truncated_log_is_reported(tmp_path: Path, killed: Path, warnings: list[Problem], frames: int) -> None:
    os.truncate(killed, 32 + frames * (4096 + 24))
    assert count(tmp_path, warnings) < 100
    assert ["latest entries" in w.message for w in warnings] == [True]


@pytest.mark.parametrize("part", [0, 0.3, 0.9])
def test_a_flipped_bit_of_a_log_is_reported(tmp_path: Path, killed: Path, warnings: list[Problem], part: float) -> None:
    data = bytearray(killed.read_bytes())
    data[int(part * len(data))] ^= 4
    killed.write_bytes(data)
    found = DiskRecords(tmp_path / "records", warnings.append)
    assert len(found.keys("result")) < 100
    assert len(warnings) == 1
    assert found.discard_damaged() == [str(tmp_path / "records")]
    assert found.discard_damaged() == []


def test_a_log_without_its_database_is_reported(tmp_path: Path, killed: Path, warnings: list[Problem]) -> None:
    (tmp_path / "records" / "cache.db").unlink()
    assert (count(tmp_path, warnings), len(warnings)) == (0, 1)


@pytest.mark.parametrize("left", [0, 1, 2, 15, 16, 100, 511, 512, 4096])
def test_a_truncated_database_is_reported(tmp_path: Path, records: DiskRecords, warnings: list[Problem], left: int) -> None:
    close(records)
    os.truncate(tmp_path / "records" / "cache.db", left)
    assert (count(tmp_path, warnings), len(warnings)) == (0, 1)


def test_the_log_of_a_running_process_is_not_touched(tmp_path: Path, records: DiskRecords, warnings: list[Problem]) -> None:
    index = tmp_path / "records" / "cache.db-shm"
    before = index.stat()
    other = DiskRecords(tmp_path / "records", warnings.append)
    assert other.get("result", "other") == 5
    close(other)
    assert (index.stat().st_ino, warnings) == (before.st_ino, [])
    records.put("result", "k", 2)
    assert records.get("result", "k") == 2


def test_a_record_that_a_damaged_index_hides_is_reported(tmp_path: Path, records: DiskRecords) -> None:
    close(records)
    database = tmp_path / "records" / "cache.db"
    whole, name = database.read_bytes(), b"result:other"
    hidden = 0
    for found in re.finditer(name, whole):  # in its row, and in an index
        database.write_bytes(whole[: found.start()] + b"z" + whole[found.start() + 1 :])
        told: list[Problem] = []
        again = DiskRecords(tmp_path / "records", told.append)
        if again.get("result", "other") is None:
            hidden += 1
            assert any("created again" in problem.message for problem in told)
        close(again)
    assert hidden


def test_a_database_is_checked_once(records: DiskRecords, warnings: list[Problem], monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Path] = []

    def check(path: Path) -> str:
        checked.append(path)
        return "ok"

    monkeypatch.setattr("gdcbuild.store.records._integrity", check)
    assert [records.get("result", k) for k in ("none", "k", "nor this")] == [None, {"a": [1, "x", None]}, None]
    assert len(checked) == 1
    assert not warnings
