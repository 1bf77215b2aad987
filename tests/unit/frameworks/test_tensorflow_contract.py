"""The SavedModel reader and the contract, on files written here field by field."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdcbuild.core.digest import BytesBlob
from gdcbuild.core.graph import Image
from gdcbuild.errors import Problem
from gdcbuild.frameworks.tensorflow import contract, saved_model, wire
from gdcbuild.frameworks.tensorflow.saved_model import MetaGraph
from gdcbuild.frameworks.tensorflow.wire import Malformed
from tests.unit.frameworks.bundles import INDEX, SHARD, bundle, field, floats, records

IMAGE = Image("tf2-cpu.2-14", "tensorflow", "2.14")
PREDICT = "tensorflow/serving/predict"


def names(operation: str, *restored: str, key: int = 1) -> bytes:
    """The node with the names of the tensors that an operation restores: of a graph, or with key 3 of a function."""
    texts = field(8, b"".join(field(8, name) for name in restored))
    return field(key, field(1, f"{operation}/tensor_names") + field(2, "Const") + field(5, field(1, "value") + field(2, texts)))


def graph(
    tags: Iterable[str] = ("serve",),
    version: str = "2.14.1",
    signatures: Mapping[str, str] | None = None,
    saver: bool = True,
    assets: Iterable[str] = (),
    extra: bytes = b"",
    restores: Iterable[str] = ("w",),
    nodes: bytes = b"",
) -> bytes:
    signatures = {"__saved_model_init_op": "", "serving_default": PREDICT} if signatures is None else signatures
    info = field(2, b"\x0a\x00") + b"".join(field(4, tag) for tag in tags) + field(5, version)
    out = field(1, info) + field(2, nodes + names("save/RestoreV2", *restores) + field(4, field(1, 1850)))
    out += field(3, field(1, "save/Const:0") + field(3, "save/restore_all")) if saver else b""
    for name, method in signatures.items():
        out += field(5, field(1, name) + field(2, field(1, b"") + (field(3, method) if method else b"")))
    for name in assets:
        out += field(6, field(1, b"") + field(2, name))
    return field(2, out + extra)


def model(*graphs: bytes) -> bytes:
    return field(1, 1) + b"".join(graphs or [graph()])


def read(data: bytes) -> tuple[MetaGraph, ...]:
    return saved_model.read(io.BytesIO(data))


def test_reads_what_a_server_looks_at() -> None:
    data = model(graph(assets=["words.txt"]), graph(["serve", "gpu"], "2.18.0", {}, saver=False))
    assert read(data) == (
        MetaGraph(
            frozenset({"serve"}),
            "2.14.1",
            {"__saved_model_init_op": "", "serving_default": PREDICT},
            frozenset({"w"}),
            ("words.txt",),
        ),
        MetaGraph(frozenset({"serve", "gpu"}), "2.18.0", {}, frozenset(), ()),
    )


def test_an_empty_file_is_a_model_without_graphs() -> None:
    assert read(b"") == ()


@pytest.mark.parametrize("unknown", [field(99, 7), field(98, b"later"), b"\xf9\x06" + bytes(8), b"\xfd\x06" + bytes(4)])
def test_steps_over_fields_it_does_not_know(unknown: bytes) -> None:
    assert read(unknown + model(graph(extra=unknown))) == read(model())


class OnlySmallReads(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert 0 <= size <= 64
        return super().read(size)


def test_does_not_read_what_it_does_not_need() -> None:
    big = model(graph(nodes=field(1, field(1, "big") + field(5, bytes(1 << 20)))))
    assert saved_model.read(OnlySmallReads(big)) == read(model())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x12", "truncated at byte 1"),
        (b"\x12\x05ab", "the field at byte 0 is damaged or truncated"),
        (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "the field at byte 0 is damaged or truncated"),
        (b"\x08" + b"\xff" * 11, "the number at byte 1 is too long"),
        (b"\x0b\x0c", "the field at byte 0 has the unknown type 3"),
        (b"\x00\x00", "the field at byte 0 is damaged or truncated"),
        (b"\x09\x00", "the field at byte 0 is damaged or truncated"),
        (b"<!DOCTYPE html>", "the field at byte 0 has the unknown type 4"),
        (field(2, field(1, b"\x22")), "truncated at byte 5"),
        (model(graph(version="x" * 100_000)), "the name at byte 25 has 100000 bytes"),
    ],
)
def test_damage_is_reported_with_its_position(data: bytes, message: str) -> None:
    with pytest.raises(Malformed, match=message):
        read(data)


def test_more_fields_than_a_model_has_end_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FIELDS", 100)
    with pytest.raises(Malformed, match="more than 100 fields"):
        read(field(1, 1) * 101)


def survives(data: bytes) -> None:
    try:
        graphs = read(data)
    except Malformed as error:
        assert str(error)
    else:
        assert all(isinstance(g, MetaGraph) for g in graphs)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    survives(data)


@given(st.data())
def test_any_damage_to_a_model_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(model(graph(assets=["words.txt"], extra=field(4, b"collection"))))
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    survives(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


WHOLE = {"saved_model.pb": model(), **bundle({"w": floats(1, 2)})}


def check(files: Mapping[str, bytes], image: Image = IMAGE) -> list[Problem]:
    return contract.check({name: BytesBlob(data) for name, data in files.items()}, image)


def of(*graphs: bytes) -> dict[str, bytes]:
    return {**WHOLE, "saved_model.pb": model(*graphs)}


@pytest.mark.parametrize(
    "files",
    [
        WHOLE,
        {**WHOLE, "fingerprint.pb": b"", "assets.extra/tf_serving_warmup_requests": b"", "notes/saved_model.pb": b""},
        {"saved_model.pb": model(graph(saver=False))},
        of(graph(["serve", "gpu"]), graph()),
        of(graph(version="2.6.0")),
        of(graph(version="")),
        of(graph(signatures={"serving_default": "tensorflow/serving/classify"})),
        {**of(graph(assets=["words.txt"])), "assets/words.txt": b""},
        {**of(graph(assets=["vocab.txt"])), "assets/vocab.txt": b""},
        {"saved_model.pb": model(), **bundle({"w": floats(1, 2), "x": floats(3)}, shards=2)},
        {"saved_model.pb": model(graph(restores=[saved_model.OBJECT_GRAPH]))},
        {"saved_model.pb": model(graph(saver=False)), SHARD: b""},
    ],
)
def test_what_the_server_loads_is_accepted(files: Mapping[str, bytes]) -> None:
    assert check(files) == []


@pytest.mark.parametrize(
    ("files", "message", "hint"),
    [
        ({}, "there is no saved_model.pb", "the folder that contains saved_model.pb"),
        ({"1/saved_model.pb": b""}, "saved_model.pb is in 1/, not at the root", "give the folder 1/ itself"),
        ({"saved_model.cpb": b""}, "there is only saved_model.cpb", "save without `experimental_image_format`"),
        ({"saved_model.pbtxt": b""}, "there is only saved_model.pbtxt, the text format", "save(as_text=False)"),
        ({"saved_model.pb": b"\x12\x05"}, "saved_model.pb is not a valid SavedModel", "export the model again"),
        ({"saved_model.pb": b""}, "'saved_model.pb' is empty", "copy or fetch it again"),
        (of(graph(["train"]), graph(["serve", "gpu"])), "found: { gpu serve }, { train }", '["serve"]'),
        (of(graph(signatures={})), "no signature serving_default; found: none", 'return (module, {"serving_default": fn})'),
        (
            of(graph(signatures={"score": PREDICT, "__init": ""})),
            "found: score.",
            'return (module, {"serving_default": fn})',
        ),
        (of(graph(signatures={"serving_default": ""})), "is ''", "predict_signature_def"),
        (of(graph(version="2.18.1")), "exported by TensorFlow 2.18.1", "a toolchain with tensorflow 2.14"),
        (of(graph(version="3.0.0-dev1")), "exported by TensorFlow 3.0.0-dev1", "an image with 3.0 or newer"),
        ({"saved_model.pb": model()}, f"{INDEX}, {SHARD} are missing", "variables/"),
        ({"saved_model.pb": model(), SHARD: b""}, f"{INDEX} is missing", "variables/"),
        ({"saved_model.pb": model(), INDEX: WHOLE[INDEX]}, f"{SHARD} is missing", ".gitignore"),
        (of(graph(restores=["w", "b", "c"])), f"{INDEX} does not have b, c, which saved_model.pb restores", "one export"),
        (of(graph(assets=["words.txt"])), "assets/words.txt is missing", "assets/"),
    ],
)
def test_what_the_server_refuses_is_reported_with_the_fix(files: Mapping[str, bytes], message: str, hint: str) -> None:
    (problem,) = check(files)
    assert message in problem.message
    assert hint in problem.hint


def test_all_mistakes_are_reported_at_once() -> None:
    files = {"saved_model.pb": model(graph(version="2.18.0", signatures={}, assets=["words.txt"]))}
    said = [problem.message for problem in check(files)]
    assert len(said) == 4
    for part in ("signature", "2.18.0", "variables.index", "words.txt"):
        assert any(part in message for message in said)


def test_a_long_list_is_cut() -> None:
    tensors = {f"w{n}": floats(n) for n in range(10)}
    index = bundle(tensors, shards=10)[INDEX]
    (problem,) = check({"saved_model.pb": model(graph(restores=tensors)), INDEX: index})
    assert "variables.data-00004-of-00010 and 5 more are missing" in problem.message


def function(name: str, *nodes: bytes) -> bytes:
    return field(1, field(1, field(1, name)) + b"".join(nodes))


@pytest.mark.parametrize(
    ("library", "restored"),
    [
        (function("restore", names("RestoreV2", "a", "b", key=3), names("RestoreV2_1", "c", key=3)), {"a", "b", "c"}),
        (function("restore", names("Other", "a", key=3)), set()),
        (function("another", names("RestoreV2", "a", key=3)) + function("restore"), set()),
        (b"", set()),
    ],
)
def test_what_a_function_restores(library: bytes, restored: set[str]) -> None:
    call = field(1, field(1, "call") + field(5, field(1, "f") + field(2, field(10, field(1, "restore")))))
    data = field(2, field(2, call + field(2, library)) + field(3, field(3, "call")))
    assert read(data)[0].restores == restored


def test_another_saver_of_the_graph_does_not_count() -> None:
    nodes = names("save_1/RestoreV2", "another", "name") + names("save/RestoreV2_1", "x")
    assert read(model(graph(nodes=nodes)))[0].restores == {"w", "x"}


def test_a_graph_that_is_too_large_to_look_through_is_taken_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FIELDS", 100)
    (found,) = read(model(graph(nodes=field(1, field(1, "node")) * 100)))
    assert found.restores == frozenset()
    assert found.tags == {"serve"}


WARMUP = "assets.extra/tf_serving_warmup_requests"
REQUESTS = records(b"", b"a request", b"long" * 1_000_000)


@pytest.mark.parametrize("data", [b"", REQUESTS, REQUESTS + b"too short", records(*[b"request"] * 1000)])
def test_warmup_requests(data: bytes) -> None:
    assert check({**WHOLE, WARMUP: data}) == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no record at all", "corrupted record at 0"),
        (bytes(64), "corrupted record at 0"),
        (REQUESTS[:-1], "truncated record at 41"),
        (REQUESTS[: len(REQUESTS) // 2], "truncated record at 41"),
        (REQUESTS[:-1] + bytes([REQUESTS[-1] ^ 1]), "corrupted record at 53"),
        (REQUESTS[:-9] + b"!" + REQUESTS[-8:], "corrupted record at 53"),
        (records(*[b"request"] * 1001), "Number of warmup records exceeds the maximum (1000)"),
    ],
)
def test_warmup_requests_that_the_server_cannot_read(data: bytes, said: str) -> None:
    (problem,) = check({**WHOLE, WARMUP: data})
    assert f'{WARMUP} is invalid, and the server would not serve the model: "{said}"' in problem.message
    assert "tf.io.TFRecordWriter" in problem.hint
