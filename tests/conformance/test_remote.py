"""What every bucket does, whatever it is made of."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

import pytest

from gdcbuild.core.digest import BytesBlob, Digest
from gdcbuild.core.ports import Remote
from gdcbuild.errors import BlobDamaged

BIG = random.Random(1).randbytes(40 << 20)
ODD_KEYS = ["a b", "a+b", "a%20b", "ä/ö", "名/模", "q?x=1&y", "#", "a'\"b", "~", "x" * 200]


@dataclass(frozen=True)
class LyingBlob:
    """A blob whose bytes are not those of its digest."""

    digest: Digest
    data: bytes
    crc = None

    def open(self) -> BinaryIO:
        return BytesIO(self.data)


def put(remote: Remote, key: str, data: bytes = b"x") -> str:
    return remote.create(key, BytesBlob(data)).outcome


def read(remote: Remote, key: str) -> bytes:
    with remote.open(key) as stream:
        return stream.read()


def keys(remote: Remote, prefix: str = "", after: str = "") -> list[str]:
    return [found.key for found in remote.list(prefix, after)]


def test_an_empty_bucket_has_nothing(remote: Remote) -> None:
    assert keys(remote) == []
    assert keys(remote, "m/1/") == []
    remote.delete("m/1/f")
    with pytest.raises(KeyError):
        remote.open("m/1/f")


@pytest.mark.slow
@pytest.mark.parametrize("data", [b"", b"x", b"hello" * 1000, BIG[: 16 << 20], BIG], ids=["empty", "1", "5k", "16M", "40M"])
def test_what_is_created_can_be_read(remote: Remote, data: bytes) -> None:
    told: list[int] = []
    assert remote.create("m/1/f", BytesBlob(data), told.append).outcome == "created"
    assert read(remote, "m/1/f") == data
    assert sum(told) == len(data)
    (found,) = remote.list("m/1/")
    assert (found.key, found.size) == ("m/1/f", len(data))


@pytest.mark.parametrize("size", [0, 5, 20 << 20])
def test_create_never_changes_what_exists(remote: Remote, size: int) -> None:
    first, second = BIG[:size], bytes(size) + b"!"
    assert put(remote, "k", first) == "created"
    assert put(remote, "k", first) == "same"
    assert put(remote, "k", second) == "other"
    assert put(remote, "k", second[:-1]) == ("other" if size else "same")
    assert read(remote, "k") == first
    remote.delete("k")
    assert put(remote, "k", second) == "created"


def test_the_etag_of_create_is_that_of_the_listing(remote: Remote) -> None:
    for key, data in {"small": b"x", "big": BIG[: 20 << 20]}.items():
        created = remote.create(key, BytesBlob(data))
        again = remote.create(key, BytesBlob(data))
        (found,) = remote.list(key)
        assert created.etag == again.etag == found.etag


@pytest.mark.parametrize("size", [5, 20 << 20])
def test_an_overwritten_object_is_another_object(remote: Remote, size: int) -> None:
    old = remote.create("k", BytesBlob(BIG[:size])).etag
    with remote.open("k", old) as stream:
        assert stream.read() == BIG[:size]
    remote.delete("k")
    new = remote.create("k", BytesBlob(bytes(size))).etag
    with remote.open("k", new) as stream:
        assert stream.read() == bytes(size)
    if old:
        with pytest.raises(KeyError):
            remote.open("k", old)


@pytest.mark.parametrize("size", [3, 20 << 20])
def test_bytes_that_do_not_match_the_digest_are_refused(remote: Remote, size: int) -> None:
    with pytest.raises(BlobDamaged):
        remote.create("m/1/f", LyingBlob(Digest.of(BIG[:size]), bytes(size)))
    with pytest.raises(BlobDamaged):
        remote.create("m/1/f", LyingBlob(Digest.of(BIG[:size]), BIG[: size - 1]))
    assert keys(remote) == []


def test_a_listing_is_sorted_as_utf8_and_starts_after_a_key(remote: Remote) -> None:
    names = ["a-b/x", "a.b", "a/b/c", "a/b-c", "a0", "B", "a/é", "a/z", "é/1", "\U0001f600/1", "\uffee/1", "b/2"]
    for name in names:
        put(remote, name)
    ordered = sorted(names, key=str.encode)
    assert keys(remote) == ordered
    assert keys(remote, "a/") == [n for n in ordered if n.startswith("a/")]
    assert keys(remote, "a/b") == ["a/b-c", "a/b/c"]
    for name in [*names, "a/", "a/b/", "a", "zzz"]:
        assert keys(remote, "", name) == [n for n in ordered if n > name]
        assert keys(remote, "a/", name) == [n for n in ordered if n > name and n.startswith("a/")]


@pytest.mark.slow
def test_a_listing_has_all_pages(remote: Remote) -> None:
    names = [f"m/{n:04}" for n in range(1005)]
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda n: put(remote, n), names)) == {"created"}
    assert keys(remote, "m/") == names


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys(remote: Remote, key: str) -> None:
    assert put(remote, key, b"odd") == "created"
    assert keys(remote) == [key]
    assert read(remote, key) == b"odd"
    remote.delete(key)
    assert keys(remote) == []


def test_delete_leaves_its_neighbours(remote: Remote) -> None:
    for key in ("m/1/f", "m/1/g", "m/1/v/x", "m/10/f"):
        put(remote, key)
    remote.delete("m/1/f")
    remote.delete("m/1/v/x")
    assert keys(remote) == ["m/1/g", "m/10/f"]
    assert put(remote, "m/1/v", b"a file where a folder was") == "created"


def test_delete_keeps_an_object_with_another_etag(remote: Remote) -> None:
    old = remote.create("k", BytesBlob(b"old")).etag
    remote.delete("k", old)
    assert keys(remote) == []
    new = remote.create("k", BytesBlob(b"new")).etag
    remote.delete("k", old)
    assert keys(remote) == (["k"] if old else [])
    remote.delete("k", new)
    assert keys(remote) == []
    remote.delete("k", new)


def test_one_of_many_wins(remote: Remote) -> None:
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda n: put(remote, "k", b"%d" % (n % 4)), range(8)))
    winner = read(remote, "k")
    assert outcomes.count("created") == 1
    assert [o != "other" for o in outcomes] == [b"%d" % (n % 4) == winner for n in range(8)]
