"""What every content-addressed store does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gdcbuild.core.digest import Digest
from gdcbuild.core.ports import CAS
from gdcbuild.errors import StoreError
from gdcbuild.files.content import read_verified
from gdcbuild.store.disk import DiskCAS
from gdcbuild.store.memory import MemoryCAS

ABSENT = Digest.of(b"nobody has this")


@pytest.fixture(params=["disk", "memory"])
def cas(request: pytest.FixtureRequest, tmp_path: Path) -> CAS:
    return DiskCAS(tmp_path / "cas") if request.param == "disk" else MemoryCAS()


def put(cas: CAS, folder: Path, data: bytes, name: str = "file") -> Digest:
    file = folder / name
    file.write_bytes(data)
    return cas.put(file)


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 9000], ids=["empty", "one byte", "2 MB"])
def test_what_is_put_is_there(cas: CAS, tmp_path: Path, data: bytes) -> None:
    digest = put(cas, tmp_path, data)
    assert digest == Digest.of(data)
    assert cas.get(digest).digest == digest
    assert read_verified(cas.get(digest)) == data
    assert read_verified(cas.get(digest)) == data


def test_a_given_digest_is_used(cas: CAS, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    digest = Digest.of(b"x")
    assert cas.put(tmp_path / "file", digest) == digest
    assert read_verified(cas.get(digest)) == b"x"
    assert not (tmp_path / "file").exists()


def test_bytes_read_for_the_digest_are_passed_to_seen(cas: CAS, tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    seen: list[bytes] = []
    (tmp_path / "file").write_bytes(data)
    assert cas.put(tmp_path / "file", seen=seen.append) == Digest.of(data)
    assert b"".join(seen) == data


def test_each_keeps_its_own_bytes(cas: CAS, tmp_path: Path) -> None:
    held = {put(cas, tmp_path, data): data for data in (b"x", b"y", b"z")}
    assert {digest: read_verified(cas.get(digest)) for digest in held} == held


def test_nothing_else_is_there(cas: CAS, tmp_path: Path) -> None:
    digest = put(cas, tmp_path, b"x")
    assert cas.missing([digest, ABSENT]) == {ABSENT}
    assert cas.missing([]) == set()
    with pytest.raises(StoreError):
        cas.get(ABSENT)


def test_a_digest_of_another_size_is_not_there(cas: CAS, tmp_path: Path) -> None:
    digest = put(cas, tmp_path, b"x")
    other = Digest(digest.hash, 2)
    assert cas.missing([other]) == {other}
    with pytest.raises(StoreError):
        cas.get(other)


def test_put_moves_the_file(cas: CAS, tmp_path: Path) -> None:
    first = put(cas, tmp_path, b"x")
    assert put(cas, tmp_path, b"x") == first
    assert not (tmp_path / "file").exists()
    (tmp_path / "file").write_bytes(b"y")
    assert read_verified(cas.get(first)) == b"x"


def test_many_at_a_time(cas: CAS, tmp_path: Path) -> None:
    def work(number: int) -> Digest:
        return put(cas, tmp_path, b"%d" % (number % 5), f"file{number}")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(40))) == [Digest.of(b"%d" % (n % 5)) for n in range(40)]
    assert cas.missing(Digest.of(b"%d" % n) for n in range(6)) == {Digest.of(b"5")}
