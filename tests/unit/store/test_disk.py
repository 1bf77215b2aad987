"""The store on disk: what its files are like, in which order they are made durable, and what damage does."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gdcbuild.core.digest import Digest
from gdcbuild.errors import BlobDamaged, BlobMissing
from gdcbuild.files.content import copy_verified, place, read_verified
from gdcbuild.store.disk import DiskCAS, HeldBlob

ONE = Digest.of(b"one")


@pytest.fixture
def cas(tmp_path: Path) -> DiskCAS:
    return DiskCAS(tmp_path / "cas")


def put(cas: DiskCAS, folder: Path, data: bytes) -> Digest:
    (folder / "new").write_bytes(data)
    return cas.put(folder / "new")


def rewrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_blob_is_a_read_only_file_named_by_its_digest(cas: DiskCAS, tmp_path: Path) -> None:
    path = cas.path(put(cas, tmp_path, b"one"))
    assert path.relative_to(tmp_path / "cas").parts == (ONE.hash[:2], ONE.hash)
    assert path.read_bytes() == b"one"
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_all_blobs_can_be_listed(cas: DiskCAS, tmp_path: Path) -> None:
    assert list(cas.all()) == []
    held = {put(cas, tmp_path, data) for data in (b"one", b"two", b"three")}
    assert {blob.digest for blob in cas.all()} == held
    assert {Digest.of(read_verified(blob)) for blob in cas.all()} == held


def test_content_is_on_disk_before_its_name_and_the_name_before_put_returns(
    cas: DiskCAS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = os.fsync, []

    def fsync(handle: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(handle).st_mode), cas.path(ONE).exists()))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    put(cas, tmp_path, b"one")
    assert seen == [(False, False), (True, False), (True, True)], "its bytes, the folder made for it, its name"
    seen.clear()
    put(cas, tmp_path, b"one")
    assert seen == [(False, True), (True, True)]


def test_a_given_digest_is_not_computed_again(cas: DiskCAS, tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"one")
    assert cas.put(tmp_path / "new", ONE) == ONE
    assert cas.path(ONE).read_bytes() == b"one"


def test_folders_are_private_to_their_owner(cas: DiskCAS, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = cas.path(put(cas, tmp_path, b"one"))
    finally:
        os.umask(before)
    assert [stat.S_IMODE(p.stat().st_mode) for p in (path.parent, path.parent.parent)] == [0o700, 0o700]


def test_a_blob_collected_before_it_is_opened_is_missing(cas: DiskCAS, tmp_path: Path) -> None:
    blob = cas.get(put(cas, tmp_path, b"one"))
    cas.discard(ONE)
    with pytest.raises(BlobMissing):
        read_verified(blob)


def test_a_discarded_blob_can_be_put_again(cas: DiskCAS, tmp_path: Path) -> None:
    two = put(cas, tmp_path, b"two")
    put(cas, tmp_path, b"one")
    cas.discard(ONE)
    cas.discard(ONE)
    assert cas.missing([ONE, two]) == {ONE}
    assert put(cas, tmp_path, b"one") == ONE
    assert read_verified(cas.get(ONE)) == b"one"


def test_a_damaged_blob_is_fixed_by_building_it_again(cas: DiskCAS, tmp_path: Path) -> None:
    rewrite(cas.path(put(cas, tmp_path, b"one")), b"two")
    put(cas, tmp_path, b"one")
    assert read_verified(cas.get(ONE)) == b"one"


def test_everything_that_is_not_a_blob_is_found(cas: DiskCAS, tmp_path: Path) -> None:
    good = cas.path(put(cas, tmp_path, b"one"))
    flipped, short, folder, link = (cas.path(put(cas, tmp_path, data)) for data in (b"2", b"three", b"4", b"5"))
    rewrite(flipped, b"3")
    rewrite(short, b"thre")
    for path in (folder, link):
        path.unlink()
    folder.mkdir()
    link.symlink_to(good)
    stray, astray = tmp_path / "cas" / "stray", tmp_path / "cas" / good.parent.name / "name"
    stray.write_bytes(b"")
    astray.write_bytes(b"")
    assert set(cas.discard_damaged()) == {str(p) for p in (flipped, short, folder, link, stray, astray)}
    assert [blob.digest for blob in cas.all()] == [ONE]
    assert cas.discard_damaged() == []


def test_a_truncated_blob_is_missing_and_is_replaced(cas: DiskCAS, tmp_path: Path) -> None:
    path = cas.path(put(cas, tmp_path, b"one"))
    rewrite(path, b"on")
    assert cas.missing([ONE]) == {ONE}
    put(cas, tmp_path, b"one")
    assert read_verified(cas.get(ONE)) == b"one"


def test_a_blob_with_other_bytes_is_detected_on_reading(cas: DiskCAS, tmp_path: Path) -> None:
    rewrite(cas.path(put(cas, tmp_path, b"one")), b"two")
    with pytest.raises(BlobDamaged):
        read_verified(cas.get(ONE))
    cas.discard(ONE)
    put(cas, tmp_path, b"one")
    assert read_verified(cas.get(ONE)) == b"one"


@pytest.mark.parametrize("use", ["put", "put again", "get"])
def test_a_use_is_noted(cas: DiskCAS, tmp_path: Path, use: str) -> None:
    (tmp_path / "old").write_bytes(b"one")
    os.utime(tmp_path / "old", (0, 0))
    cas.put(tmp_path / "old")
    if use != "put":
        os.utime(cas.path(ONE), (0, 0))
        cas.get(ONE) if use == "get" else put(cas, tmp_path, b"one")
    assert cas.path(ONE).stat().st_mtime > 10**9


UNREADABLE = Path("/proc/self/mem")  # its first page is nobody's: the system answers with EIO, as for a bad sector


def test_what_the_disk_cannot_read_is_damaged(tmp_path: Path) -> None:
    blob = HeldBlob(ONE, UNREADABLE)
    with (tmp_path / "new").open("x+b") as file:
        for read in (lambda: copy_verified(blob, len), lambda: place(blob, file), lambda: blob.open().read(9)):
            with pytest.raises(BlobDamaged, match="/proc/self/mem cannot be read: Input/output error"):
                read()


def test_what_the_disk_cannot_read_is_discarded(cas: DiskCAS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = put(cas, tmp_path, b"one"), put(cas, tmp_path, b"two")
    real = HeldBlob.open
    monkeypatch.setattr(HeldBlob, "open", lambda blob: real(HeldBlob(ONE, UNREADABLE) if blob.digest == ONE else blob))
    assert cas.discard_damaged() == [str(cas.path(bad))]
    assert cas.missing([bad, good]) == {bad}
