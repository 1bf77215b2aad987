"""Digests and trees: names for content."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdcbuild.core.digest import BytesBlob, Digest, Tree
from gdcbuild.errors import BlobDamaged
from gdcbuild.files.content import (
    FileBlob,
    Search,
    beside,
    copy_verified,
    hash_stream,
    place,
    read_verified,
)

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

digests = st.builds(Digest.of, st.binary(max_size=8))
names = st.text("ab/", min_size=1, max_size=5).map(lambda s: s.strip("/") or "a")
trees = st.dictionaries(names, digests).map(Tree)


def test_of_nothing() -> None:
    assert Digest.of(b"") == Digest(EMPTY, 0)
    assert str(Digest.of(b"")) == f"sha256:{EMPTY}"


@given(st.binary(max_size=3 << 20))
def test_streaming_is_the_same(data: bytes) -> None:
    copied = bytearray()
    assert hash_stream(io.BytesIO(data), copied.extend) == Digest.of(data)
    assert copied == data


def test_a_file_that_changed(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    blob = FileBlob(Digest.of(b"one"), path)
    assert read_verified(blob) == b"one"
    path.write_bytes(b"two")
    with pytest.raises(BlobDamaged, match=str(path)):
        copy_verified(blob, lambda _: None)


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(OSError, match="Input/output error: '/proc/self/mem'"):  # its first page is nobody's
        copy_verified(FileBlob(Digest.of(b"one"), Path("/proc/self/mem")), len)


def test_unreadable_shared_blocks_are_damage_of_the_blob(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []

    class Torn(BytesBlob):
        def open(self) -> BinaryIO:
            if opened:
                raise BlobDamaged("a bad sector")
            opened.append(self)
            return super().open()

    monkeypatch.setattr("gdcbuild.files.content._cloned", lambda *_: True)
    with Path("/proc/self/mem").open("rb") as file, pytest.raises(BlobDamaged, match="a bad sector"):
        place(Torn(b"one"), file)


@given(trees)
def test_a_tree_survives_json(tree: Tree) -> None:
    assert Tree.from_json([(str(p), str(h), int(s)) for p, h, s in tree.to_json()]) == tree


@given(trees, trees)
def test_equal_digests_are_equal_trees(one: Tree, other: Tree) -> None:
    assert (one.digest == other.digest) == (one == other)


def test_a_path_cannot_imitate_another_file() -> None:
    one, nothing = Digest.of(b"1"), Digest.of(b"")
    two_files = Tree({"a": one, "b": nothing})
    one_file = Tree({f"a\n{nothing.hash} 0 b": one})
    assert two_files.digest != one_file.digest
    assert Tree({"a\\nb": one}).digest != Tree({"a\nb": one}).digest


@given(st.dictionaries(names, digests))
def test_the_order_of_files_does_not_matter(files: dict[str, Digest]) -> None:
    assert Tree(files).digest == Tree(dict(reversed(files.items()))).digest


def test_under() -> None:
    a, b, c = (Digest.of(x) for x in (b"a", b"b", b"c"))
    tree = Tree({"d/x": a, "d/e/y": b, "dx": c})
    assert tree.under("") == tree.under(".") == tree
    assert dict(tree.under("d")) == dict(tree.under("d/")) == {"x": a, "e/y": b}
    assert dict(tree.under("d/e/y")) == {"y": b}
    assert not tree.under("nope")
    assert tree.digest.size == 3


def test_a_blob_in_memory() -> None:
    assert read_verified(BytesBlob(b"x")) == b"x"


def test_parallel_consumers_get_all_of_a_stream_in_order() -> None:
    data = bytes(range(256)) * 4096 * 7 + b"the rest"
    one, two = bytearray(), bytearray()
    assert b"".join(beside(io.BytesIO(data), one.extend, two.extend)) == data
    assert (bytes(one), bytes(two)) == (data, data)


def test_an_error_of_a_consumer_ends_the_reading() -> None:
    def work(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        list(beside(io.BytesIO(bytes(64 << 20)), work))


def test_a_blob_is_placed_in_a_file_and_checked(tmp_path: Path) -> None:
    """Where blocks can be shared see tests/e2e/test_reflinks.py."""
    (tmp_path / "source").write_bytes(b"one")
    seen = bytearray()
    with (tmp_path / "right").open("x+b") as file:
        place(FileBlob(Digest.of(b"one"), tmp_path / "source"), file, seen.extend)
    assert (tmp_path / "right").read_bytes() == seen == b"one"
    with (tmp_path / "wrong").open("x+b") as file, pytest.raises(BlobDamaged):
        place(FileBlob(Digest.of(b"two"), tmp_path / "source"), file)
    with (tmp_path / "memory").open("x+b") as file:
        place(BytesBlob(b"one"), file)
    assert (tmp_path / "memory").read_bytes() == b"one"


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 100])
def test_a_search_finds_matches_across_pieces(size: int) -> None:
    def found(text: bytes) -> bool:
        search = Search(b"/made/")
        for start in range(0, len(text), size):
            search.look(text[start : start + size])
        return search.found

    assert all(found(b"x" * n + b"/made/" + b"y" * 7) for n in range(9))
    assert not any(found(b"x" * n + b"/madx/mad/" + b"y" * n) for n in range(9))


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("wanted", [b"a", b"bcd", b"efghij"])
def test_a_search_may_be_for_several(size: int, wanted: bytes) -> None:
    search, text = Search(b"a", b"bcd", b"efghij"), b"xyzbc" + wanted + b"xyz"
    for start in range(0, len(text), size):
        search.look(text[start : start + size])
    assert search.found
