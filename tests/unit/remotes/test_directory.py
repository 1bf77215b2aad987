"""What is particular to a bucket that is a folder."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest

from gdcbuild.core.digest import BytesBlob, Digest
from gdcbuild.errors import Interrupted, ManifestError, Problem, RemoteError
from gdcbuild.remotes import open_remote
from gdcbuild.remotes.directory import DirectoryRemote


@dataclass(frozen=True)
class Breaking:
    """A blob whose file cannot be read."""

    digest = Digest.of(b"x")
    crc = None

    def open(self) -> BinaryIO:
        raise OSError(5, "Input/output error")


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() or p.is_symlink())


@pytest.mark.parametrize("key", ["", "/etc/x", "../x", "a/../../x", "a//b", "a/", "./a", "a/.", "a\0b", ".gdcbuild/tmp/x"])
def test_keys_that_are_not_paths_below_the_folder(key: str, tmp_path: Path) -> None:
    remote = DirectoryRemote(tmp_path / "bucket")
    for act in (lambda: remote.create(key, BytesBlob(b"x")), lambda: remote.delete(key), lambda: remote.open(key)):
        with pytest.raises(RemoteError, match="cannot be a file below"):
            act()
    assert files(tmp_path) == []


def test_links_that_lead_outside_are_refused(tmp_path: Path) -> None:
    outside, bucket = tmp_path / "outside", tmp_path / "bucket"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    bucket.mkdir()
    (bucket / "m").symlink_to(outside)
    remote = DirectoryRemote(bucket)
    for act in (
        lambda: remote.create("m/1/f", BytesBlob(b"x")),
        lambda: remote.delete("m/secret"),
        lambda: remote.open("m/secret"),
    ):
        with pytest.raises(RemoteError, match="no link that leads out"):
            act()
    assert list(remote.list("")) == list(remote.list("../outside/")) == []
    assert files(outside) == ["secret"]


def test_nothing_is_left_of_a_failed_create(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match="Input/output error"):
        DirectoryRemote(tmp_path).create("m/1/f", Breaking())
    assert files(tmp_path) == []


def test_an_error_of_the_caller_ends_a_running_copy(tmp_path: Path) -> None:
    read, told = [], []

    class Watched(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            read.append(size)
            return super().read(size)

    class Large(BytesBlob):
        def open(self) -> BinaryIO:
            return Watched(self.data)

    def stop(size: int) -> None:
        told.append(size)
        raise Interrupted(Problem("interrupted"))

    with pytest.raises(Interrupted):
        DirectoryRemote(tmp_path).create("m/1/f", Large(bytes(5 << 20)), stop)
    assert (read, told) == ([1 << 20], [1 << 20])
    assert files(tmp_path) == []


def test_progress_is_taken_back_if_another_writer_was_first(tmp_path: Path) -> None:
    class Raced(BytesBlob):
        """While it is read, another run writes the same key."""

        def open(self) -> BinaryIO:
            DirectoryRemote(tmp_path).create("key", BytesBlob(b"other"))
            return super().open()

    told: list[int] = []
    assert DirectoryRemote(tmp_path).create("key", Raced(b"x"), told.append).outcome == "other"
    assert (told, (tmp_path / "key").read_bytes()) == ([1, -1], b"other")


def test_leftovers_of_a_killed_create_are_not_objects(tmp_path: Path) -> None:
    (tmp_path / ".gdcbuild/tmp").mkdir(parents=True)
    (tmp_path / ".gdcbuild/tmp/half").write_text("half")
    assert list(DirectoryRemote(tmp_path).list("")) == list(DirectoryRemote(tmp_path).list(".gdcbuild/tmp/")) == []


def test_an_empty_folder_is_removed_with_its_last_file(tmp_path: Path) -> None:
    remote = DirectoryRemote(tmp_path / "bucket")
    remote.create("m/1/v/f", BytesBlob(b"x"))
    remote.create("m/2/f", BytesBlob(b"x"))
    remote.delete("m/1/v/f")
    assert not (tmp_path / "bucket/m/1").exists()
    remote.delete("m/2/f")
    assert not (tmp_path / "bucket/m").exists()
    assert (tmp_path / "bucket").is_dir()


@pytest.mark.parametrize("url", ["loop", "loop/below"])
def test_a_link_that_leads_to_itself(url: str, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    remote = open_remote(url, tmp_path)
    with pytest.raises(RemoteError, match="symbolic links"):
        list(remote.list(""))
    with pytest.raises(RemoteError, match="symbolic links"):
        remote.create("k", BytesBlob(b"x"))


def test_a_listing_makes_no_folder(tmp_path: Path) -> None:
    assert list(open_remote("bucket", tmp_path).list("")) == []
    assert not (tmp_path / "bucket").exists()


def test_objects_have_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        DirectoryRemote(tmp_path).create("f", BytesBlob(b"x"))
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(("first", "second"), [("a", "a/b"), ("a/b", "a")])
def test_a_file_and_a_folder_with_one_name(first: str, second: str, tmp_path: Path) -> None:
    remote = DirectoryRemote(tmp_path)
    remote.create(first, BytesBlob(b"x"))
    with pytest.raises(RemoteError, match=r"cannot (write|read)|not a file"):
        remote.create(second, BytesBlob(b"x"))
    assert [o.key for o in remote.list("")] == [first]
    with pytest.raises(KeyError):
        remote.open("a/b/c")


@pytest.mark.parametrize("url", ["gs://bucket", "s3://", "http://host/bucket", "s3:///prefix"])
def test_urls_that_are_not_buckets(url: str, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="is not a bucket"):
        open_remote(url, tmp_path)


def test_leftovers_of_a_killed_run_are_removed_unless_locked(tmp_path: Path) -> None:
    temporary = tmp_path / ".gdcbuild" / "tmp"
    temporary.mkdir(parents=True)
    for name in ("left", "held", "young"):
        (temporary / name).write_text("half")
        if name != "young":
            os.utime(temporary / name, (0, 0))
    with (temporary / "held").open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        DirectoryRemote(tmp_path).create("key", BytesBlob(b"x"))
    assert sorted(p.name for p in temporary.iterdir()) == ["held", "young"]
    assert (tmp_path / "key").read_bytes() == b"x"


def test_a_file_being_written_is_locked(tmp_path: Path) -> None:
    class Old(BytesBlob):
        """While it is read, another run begins, to which our file looks old."""

        def open(self) -> BinaryIO:
            for path in (tmp_path / ".gdcbuild" / "tmp").iterdir():
                os.utime(path, (0, 0))
            DirectoryRemote(tmp_path).create("other", BytesBlob(b"y"))
            return super().open()

    assert DirectoryRemote(tmp_path).create("key", Old(b"x")).outcome == "created"
    assert (tmp_path / "key").read_bytes() == b"x"
    assert files(tmp_path) == ["key", "other"]
