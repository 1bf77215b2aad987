"""Files hashed once: when the memo is used, and when it is not."""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path

import pytest

from gdcbuild.core.digest import Digest
from gdcbuild.errors import ManifestError
from gdcbuild.store import workspace as module
from gdcbuild.store.memory import MemoryRecords
from gdcbuild.store.workspace import DiskWorkspace


@pytest.fixture
def records() -> MemoryRecords:
    return MemoryRecords()


@pytest.fixture(autouse=True)
def all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH_A_MEMO", 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"first")
    return path


def memo(records: MemoryRecords, file: Path) -> list[object] | None:
    return records.get("stat", str(file))


def at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the files had been written long ago: the time of a change cannot be set back."""
    monkeypatch.setattr(module, "RACY_NS", -(10**12))


def test_an_unchanged_file_is_read_once(
    tmp_path: Path, file: Path, records: MemoryRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_rest(monkeypatch)
    digest = DiskWorkspace(tmp_path, records).digest("file")
    monkeypatch.setattr(module, "hash_and_crc", lambda *_: pytest.fail("read again"))
    again = DiskWorkspace(tmp_path, records).blob("file")
    assert (again.digest, again.crc) == (digest, zlib.crc32(b"first")) == (Digest.of(b"first"), again.crc)


def test_a_file_that_was_just_written_is_not_cached(tmp_path: Path, file: Path, records: MemoryRecords) -> None:
    os.utime(file, (2**33, 2**33))
    DiskWorkspace(tmp_path, records).digest("file")
    assert memo(records, file) is None


def test_other_content_of_the_same_size_and_time_is_detected(
    tmp_path: Path, file: Path, records: MemoryRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_rest(monkeypatch)
    os.utime(file, (10**9, 10**9))
    DiskWorkspace(tmp_path, records).digest("file")
    (tmp_path / "new").write_bytes(b"other")
    os.utime(tmp_path / "new", (10**9, 10**9))
    (tmp_path / "new").replace(file)
    assert DiskWorkspace(tmp_path, records).digest("file") == Digest.of(b"other")


@pytest.mark.parametrize("planted", [None, 5, [], ["a"] * 5, [0, 0, 0, 0, "x", 1], [0, 0, 0, 0, "x", 1, 2]])
def test_a_memo_that_does_not_match_is_not_used(
    tmp_path: Path, file: Path, records: MemoryRecords, monkeypatch: pytest.MonkeyPatch, planted: object
) -> None:
    at_rest(monkeypatch)
    records.put("stat", str(file), planted)
    assert DiskWorkspace(tmp_path, records).digest("file") == Digest.of(b"first")
    assert memo(records, file) not in (None, planted)


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path, file: Path, records: MemoryRecords) -> None:
    workspace = DiskWorkspace(tmp_path, records)
    workspace.digest("file")
    file.unlink()
    with pytest.raises(ManifestError, match="file cannot be read: No such file"):
        workspace.digest("file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ManifestError, match="Is a directory"):
        workspace.digest("folder")


def test_a_large_files_checksum_is_computed_with_its_digest(tmp_path: Path, records: MemoryRecords) -> None:
    data = bytes(range(256)) * 20_000
    (tmp_path / "large").write_bytes(data)
    blob = DiskWorkspace(tmp_path, records).blob("large")
    assert (blob.digest, blob.crc) == (Digest.of(data), zlib.crc32(data))


def test_a_small_file_is_read_rather_than_looked_up(
    tmp_path: Path, file: Path, records: MemoryRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_rest(monkeypatch)
    monkeypatch.setattr(module, "WORTH_A_MEMO", len(b"first") + 1)
    assert DiskWorkspace(tmp_path, records).digest("file") == Digest.of(b"first")
    assert memo(records, file) is None


def test_a_failing_disk_is_not_the_users_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_stream: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    (tmp_path / "file").write_text("x")
    monkeypatch.setattr("gdcbuild.store.workspace.hash_and_crc", fail)
    with pytest.raises(ManifestError, match=r"file cannot be read: Input/output error\n.*disk or its connection is failing"):
        DiskWorkspace(tmp_path, MemoryRecords()).digest("file")


@pytest.mark.parametrize(
    ("repository", "command"),
    [
        (".", "git lfs pull --include ws/vendor/w.pt"),
        ("ws", "git lfs pull --include vendor/w.pt"),
        ("ws/vendor", "git -C vendor lfs pull --include w.pt"),
    ],
)
def test_git_lfs_takes_paths_of_its_repository(tmp_path: Path, records: MemoryRecords, repository: str, command: str) -> None:
    (tmp_path / "ws/vendor").mkdir(parents=True)
    (tmp_path / repository / ".git").mkdir()
    (tmp_path / "ws/vendor/w.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    found = DiskWorkspace(tmp_path / "ws", records).standin("vendor/w.pt")
    assert found is not None
    assert found.hint == f"fetch it: {command}"


def test_a_large_file_is_not_checked_for_a_stand_in(tmp_path: Path, file: Path, records: MemoryRecords) -> None:
    os.truncate(file, 1 << 40)
    assert DiskWorkspace(tmp_path, records).standin("file") is None
