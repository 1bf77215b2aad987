"""Check intact and damaged variables of a SavedModel. tests/frameworks compares with TensorFlow itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdcbuild.core.digest import BytesBlob
from gdcbuild.errors import Caution, Problem
from gdcbuild.frameworks.tensorflow import bundle as reader
from gdcbuild.frameworks.tensorflow import contract, sstable, wire
from gdcbuild.frameworks.tensorflow.wire import Malformed
from tests.unit.frameworks.bundles import (
    FLOAT,
    INDEX,
    POINTER,
    SHARD,
    Tensor,
    block,
    bundle,
    entry,
    field,
    floats,
    footer,
    handle,
    header,
    sealed,
    strings,
    table,
    variants,
    varint,
)
from tests.unit.frameworks.test_tensorflow_contract import IMAGE, graph, model

Files = Mapping[str, bytes]

TENSORS = {
    "a": floats(1, 2, 3),
    "empty": floats(),
    "nowhere": strings(),
    "table/keys": strings(b"", b"one", b"long" * 40),
    "variant": variants(b"", b"message" * 20),
    "z": floats(4),
}
WHOLE = bundle(TENSORS)


def check(files: Files, *restores: str) -> list[Problem]:
    given = {"saved_model.pb": model(graph(restores=restores)), **files}
    return contract.check({name: BytesBlob(data) for name, data in given.items()}, IMAGE)


def one(name: str, made: bytes, data: bytes = bytes(64)) -> dict[str, bytes]:
    return {INDEX: table(block([(b"", header()), (name.encode(), made)])), SHARD: data}


def sliced() -> dict[str, bytes]:
    """A tensor in two slices: its own entry has none of its bytes, and theirs have names that are not text."""
    whole = field(1, FLOAT) + field(2, field(2, field(1, 4))) + field(7, field(1, field(2, 2))) + field(7, field(1, b""))
    half = floats(1, 2)
    rows = [(b"", header()), (b"\x00\xff1", entry(half, 0, 0)), (b"\x00\xff2", entry(half, 0, 8)), (b"w", whole)]
    return {INDEX: table(block(rows)), SHARD: half.data * 2}


@pytest.mark.parametrize(
    "files",
    [
        WHOLE,
        bundle(TENSORS, shards=3),
        bundle({"s": strings(b"one", b"two", order=">")}, order=">"),
        bundle({"many": strings(*[b"x" * (n % 300) for n in range(1000)])}),
        bundle({}),
        {**WHOLE, SHARD: WHOLE[SHARD] + b"more"},
        {**bundle({}, shards=2), "variables/variables.data-00000-of-00002": b""},
        one("later", entry(Tensor(bytes(3), (5,), kind=29), 0, 10)),
        one("scalar", entry(Tensor(bytes(4), ()), 0, 0)),
        {**WHOLE, "variables/notes.txt": b""},
    ],
)
def test_whole_variables(files: Files) -> None:
    assert check(files) == []


def test_a_tensor_in_slices() -> None:
    assert check(sliced(), "w") == []
    assert "checksums of 1 of its 2 tensors differ" in check({**sliced(), SHARD: bytes(8) + sliced()[SHARD][8:]})[0].message


def test_stray_data_files_are_reported_and_published() -> None:
    (problem,) = check({**WHOLE, "variables/variables.data-00001-of-00002": b"x"})
    assert isinstance(problem, Caution)
    assert problem.message.startswith("variables/variables.data-00001-of-00002 would be published but never read")


def test_data_files_of_another_count_are_not_those_that_are_missing() -> None:
    files = {**bundle(TENSORS, shards=2), SHARD: b"x"}
    del files["variables/variables.data-00001-of-00002"]
    missing, stray = check(files)
    assert missing.message.startswith("variables/variables.data-00001-of-00002 is missing. ")
    assert isinstance(stray, Caution)


HALF = len(WHOLE[SHARD]) // 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({SHARD: b""}, f'{SHARD} has 0 bytes, but {INDEX} needs {len(WHOLE[SHARD])}. The server would say: "Read less bytes'),
        ({SHARD: WHOLE[SHARD][:HALF]}, f"{SHARD} has {HALF} bytes"),
        ({SHARD: bytes(len(WHOLE[SHARD]))}, "the checksums of 5 of its 6 tensors differ (a, nowhere, table/keys, variant, z)"),
        ({SHARD: WHOLE[SHARD][::-1]}, 'The server would say: "Checksum does not match"'),
        ({INDEX: bundle({**TENSORS, "a": floats(3, 2, 1)})[INDEX]}, "the checksums of 1 of its 6 tensors differ (a)"),
        ({INDEX: bundle({"a": floats(*range(999))})[INDEX]}, f"{SHARD} has {len(WHOLE[SHARD])} bytes, but {INDEX} needs 3,996"),
        ({INDEX: b""}, f'{INDEX} is damaged. The server would say: "file is too short to be an sstable"'),
        ({INDEX: WHOLE[INDEX][: len(WHOLE[INDEX]) // 2]}, "not an sstable (bad magic number)"),
        ({INDEX: bytes(500)}, "not an sstable (bad magic number)"),
        ({INDEX: b"x" + WHOLE[INDEX]}, "block checksum mismatch"),
        ({INDEX: footer(0, 10)}, "block checksum mismatch"),
        ({INDEX: footer(0, 44)}, "truncated block read"),
        ({INDEX: footer(1 << 62, 1)}, "truncated block read"),
        ({INDEX: footer((1 << 64) - 1, 1)}, "truncated block read"),
        ({INDEX: footer(0, 1 << 40)}, f"bad block handle: a block of {1 << 40} bytes"),
        ({INDEX: (b"\xff" * 40) + footer(0, 0)[40:]}, "bad block handle"),
        ({INDEX: table()}, "failed to seek to header entry"),
        ({INDEX: table(block([(b"a", entry(floats(1), 0, 0))]))}, "failed to seek to header entry"),
        ({INDEX: table(block([], kind=1))}, "bad block type: compressed"),
        ({INDEX: table(sealed(b""))}, "bad block contents"),
        ({INDEX: table(sealed(b"\xff\xff\xff\x7f"))}, "bad block contents"),
        ({INDEX: table(sealed(b"\x05\x00\x00" + bytes(4)))}, "wrong lengths at byte 0 of the block"),
        ({INDEX: table(sealed(b"\x00\x7f\x00" + bytes(4)))}, "wrong lengths at byte 0 of the block"),
        ({INDEX: table(sealed(b"\x00" + varint(1 << 40) + varint(1 << 40) + bytes(4)))}, "wrong lengths at byte 0"),
        ({INDEX: table(sealed(b"\xff\xff" + bytes(4)))}, "bad entry in block: truncated"),
        ({INDEX: table(block([(b"", header()), (b"b", b""), (b"a", b"")]))}, "its keys are not in order at b'a'"),
        ({INDEX: table(block([(b"", header()), (b"", b"")]))}, "its keys are not in order at b''"),
        ({INDEX: table(block([(b"", header()), (b"w", b"")]), ends=[b"v"])}, "its keys are not in order at b'w'"),
        (one("w", b"\xff"), "truncated at byte 1"),
        (one("w", b"\x0b"), "has the unknown type 3"),
        (one("w", entry(floats(1), 0, 0, size=5)), "Invalid size in bundle entry: key w; stored size 5; expected size 4"),
        (one("w", entry(Tensor(b"", (1 << 40, 1 << 40)), 0, 0)), f"stored size 0; expected size {4 << 80}"),
        (one("w", entry(Tensor(b"", (1 << 63,)), 0, 0)), "Invalid tensor shape: w"),
        (one("w", entry(Tensor(b"", (1,) * 255), 0, 0)), "Invalid tensor shape: w"),
        (one("w", entry(floats(1), 7, 0)), "variables/variables.data-00007-of-00001 is missing"),
        (one("w", entry(floats(1), 0, (1 << 64) - 1)), "has 64 bytes"),
        (one("w", entry(Tensor(bytes(8), (1 << 62,), kind=7), 0, 0)), "the checksums of 1 of its 1 tensors differ (w)"),
        (one("w", entry(Tensor(bytes(8), (1 << 62,), kind=21), 0, 0)), "the checksums of 1 of its 1 tensors differ (w)"),
        (one("w", entry(Tensor(bytes(20), (1,), kind=7), 0, 0), b"\xff" * 20), "the checksums of 1 of its 1 tensors"),
        (one("w", entry(Tensor(bytes(20), (1,), kind=21), 0, 0), b"\xff" * 8 + b"\x7f" * 12), "the checksums of 1 of its 1"),
    ],
)
def test_damage_is_refused_with_the_file_and_what_the_server_says(damage: Files, message: str) -> None:
    (problem,) = check({**WHOLE, **damage})
    assert not isinstance(problem, Caution)
    assert message in problem.message
    assert "all files" in problem.hint or "from one export" in problem.hint


def test_tensors_that_share_bytes_are_refused_before_any_is_read_twice() -> None:
    rows = [(b"", header()), *((b"%03d" % n, entry(Tensor(bytes(64), (16,)), 0, n % 60)) for n in range(999))]
    (problem,) = check({INDEX: table(block(rows)), SHARD: bytes(200)})
    assert f"{INDEX} is damaged: " in problem.message
    assert "overlaps another tensor" in problem.message


def test_a_block_is_not_read_twice() -> None:
    rows = block([(b"", header())])
    listed = block([(b"%d" % n, handle(0, len(rows) - 5)) for n in range(9)])
    (problem,) = check({INDEX: rows + listed + footer(len(rows), len(listed) - 5), SHARD: b""})
    assert "the block at byte 0 overlaps the one before" in problem.message


def test_more_names_than_a_model_has_end_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sstable, "MAX_NAMES", 1 << 20)
    name = b"n" * 60_000
    (problem,) = check({INDEX: table(block([(b"", header()), *((name + b"%d" % n, b"") for n in range(10, 99))])), SHARD: b""})
    assert problem.message == f"{INDEX} is damaged: its names take more than 1 MiB"


def test_more_fields_than_a_model_has_end_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_FIELDS", 1000)
    rows = [(b"", header()), *((b"%03d" % n, field(1, 29) * 10) for n in range(200))]
    with pytest.raises(wire.TooLarge):
        reader.read(io.BytesIO(table(block(rows))))


@pytest.mark.parametrize("files", [[INDEX], [SHARD], [INDEX, SHARD]])
def test_pointers_of_git_lfs_are_named(files: list[str]) -> None:
    problems = check({**WHOLE, **dict.fromkeys(files, POINTER)})
    assert [p.message for p in problems] == [f"'{file}' is a Git LFS pointer, not the file itself" for file in files]
    assert all("git lfs pull" in p.hint for p in problems)


def flipped(data: bytes) -> list[bytes]:
    """The data with one bit flipped, for each bit."""
    number = int.from_bytes(data)
    return [(number ^ 1 << bit).to_bytes(len(data)) for bit in range(8 * len(data))]


@pytest.mark.parametrize("name", TENSORS)
def test_a_flipped_bit_in_a_tensor_is_found(name: str) -> None:
    files = bundle({name: TENSORS[name]})
    for data in flipped(files[SHARD]):
        assert "Checksum does not match" in check({**files, SHARD: data})[0].message


def harmless(index: bytes) -> bool:
    """Whether damage to the index changes nothing that is read from it."""
    return reader.read(io.BytesIO(index)) == reader.read(io.BytesIO(WHOLE[INDEX]))


def test_a_flipped_bit_in_the_index_is_found_or_harmless() -> None:
    unseen = [index for index in flipped(WHOLE[INDEX]) if not check({**WHOLE, INDEX: index})]
    assert all(map(harmless, unseen))
    assert len(unseen) < 8 * sstable._FOOTER  # the padding before the magic number


@pytest.mark.parametrize("cut", [lambda data, n: data[:n], lambda data, n: data[n + 1 :]])
def test_a_truncated_index_is_found(cut: Callable[[bytes, int], bytes]) -> None:
    for length in range(len(WHOLE[INDEX])):
        assert check({**WHOLE, INDEX: cut(WHOLE[INDEX], length)})


@given(st.lists(st.tuples(st.binary(max_size=4), st.binary(max_size=40)), max_size=8), st.binary(max_size=40))
def test_any_rows_are_read_or_refused(rows: list[tuple[bytes, bytes]], data: bytes) -> None:
    index = table(block([(b"", header()), *sorted(rows)]))
    assert all(p.message for p in check({INDEX: index, SHARD: data}))


@given(st.binary(max_size=60))
def test_any_blocks_are_read_or_refused(content: bytes) -> None:
    try:
        reader.read(io.BytesIO(table(sealed(content))))
    except Malformed as error:
        assert str(error)
