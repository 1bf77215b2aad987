"""The content of torch.save files: a state dict, or what people save instead."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdcbuild.core.graph import Image
from gdcbuild.errors import Caution
from gdcbuild.frameworks.torchserve.check.states import not_a_state
from tests.unit.frameworks.test_torchserve_contract import BASE, NET, configured, eager, found, script, zipped

TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"


def key(name: str) -> bytes:
    return b"X" + len(name).to_bytes(4, "little") + name.encode() + b"q\1"


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"}q\0(" + key("epoch") + b"K\3", "a mapping whose 'epoch' is a number, not a tensor"),
        (b"}q\0(" + key("state_dict") + b"ccollections\nOrderedDict\nq\2)R", "a mapping whose 'state_dict' is a mapping"),
        (b"}q\0(" + key("model") + b"}q\2", "a mapping whose 'model' is a mapping"),
        (b"}q\0(" + key("model") + b"cmodels.yolo\nModel\nq\2)\x81", "a mapping whose 'model' is made by models.yolo.Model"),
        (b"ccollections\nOrderedDict\nq\0)Rq\1(" + key("arch") + key("x"), "a mapping whose 'arch' is a string"),
        (b"]q\0", "a list"),
        (b")q\0", "a tuple"),
        (TENSOR + b"q\0(", "one tensor"),
        (b"cnet\nNet\nq\0)\x81", "a whole net.Net"),
        (b"cnet\nNet\nq\0)\x81q\1}q\2(", "a whole net.Net"),
        (b"caddict\nDict\nq\0)\x81q\1(" + key("weight"), ""),
        (b"}q\0(" + key("w") + b"cquanto\nQTensor\nq\2(", ""),
        (b"}q\0(" + key("a") + b"ccollections\nCounter\nq\2}", "a mapping whose 'a' is made by collections.Counter"),
        (b"}q\0(" + key("weight") + TENSOR, ""),
        (b"}q\0(" + key("_extra_state") + b"K\3", ""),
        (b"}q\0(" + key("a._packed_params") + b"K\3", ""),
        (b"}q\0(" + key("dtype") + b"ctorch\nqint8\nq\2", ""),
        (b"}q\0(" + key("w") + b"ctorch.nn.parameter\nUninitializedParameter\nq\2)R", ""),
        (b"}q\0.", ""),
        (b"}q\0(K\1K\2", ""),
        (b"ccollections\nOrderedDict\nq\0", ""),
        (b"cnet\nNet\nq\0K\1", ""),
        (b"", ""),
        (b"\xff", ""),
    ],
)
def test_what_is_saved(start: bytes, said: str) -> None:
    found = not_a_state(b"\x80\2" + start)
    assert found.startswith(said) if said else found == ""


class Made:
    """An object that pickle writes as it writes tensors: as a call of a global."""

    def __reduce__(self) -> tuple[Any, ...]:
        return frozenset, ((),)


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("value", [[1], (), {"epoch": 1}, {"model": {}}, {"lr": 0.1}, {"flag": True}])
def test_python_writes_it_in_other_ways_too(value: Any, protocol: int) -> None:
    assert not_a_state(pickle.dumps(value, protocol))


@pytest.mark.parametrize(
    "value", [OrderedDict(arch="x"), {"arch": "x"}, {"weight": Made()}, OrderedDict(weight=Made()), Made()]
)
def test_newer_pickles_name_globals_by_texts(value: Any) -> None:
    assert not_a_state(pickle.dumps(value, 4)) == not_a_state(pickle.dumps(value, 5)) == ""


@given(st.binary(max_size=64))
def test_there_is_an_answer_for_whatever_is_there(data: bytes) -> None:
    assert isinstance(not_a_state(b"\x80\2" + data), str)


CHECKPOINT = zipped(**{"w/data.pkl": b"\x80\2}q\0(" + key("epoch") + b"K\3" + b"u.", "w/version": "3"})


def test_a_training_checkpoint_is_not_a_state_dict() -> None:
    (problem,) = eager(weights=CHECKPOINT)
    assert "w.pt contains a mapping whose 'epoch' is a number, not a tensor" in problem.message
    assert "TorchServe: Error(s) in loading state_dict" in problem.message
    assert "torch.save(model.state_dict(), ...)" in problem.hint


@pytest.mark.parametrize(
    "net",
    [
        NET + "    def load_state_dict(self, state, strict=True): ...\n",
        "from elsewhere import Base\nclass Net(Base): ...\n",
        "from nets import *\n",
        NET + "def load(self, state): ...\nNet.load_state_dict = load\n",
    ],
)
def test_a_model_may_load_what_it_likes(net: str) -> None:
    assert eager(net, weights=CHECKPOINT) == []


def test_a_model_may_take_torchscript_for_its_state() -> None:
    assert eager(NET + "    def load_state_dict(self, state): ...\n", weights=script()) == []


def test_a_handler_may_load_what_it_likes() -> None:
    assert eager(handler=BASE + "    def initialize(self, context): ...\n", weights=CHECKPOINT) == []


def test_a_newer_pytorch_refuses_arrays_in_weights() -> None:
    array = b"\x80\2}q\0(" + key("w") + TENSOR + b"0" + b"cnumpy\nndarray\nu."
    members: dict[str, str | bytes] = {"w.pt": zipped(**{"w/data.pkl": array, "w/version": "3"}), "net.py": NET}
    model: dict[str, Any] = {"serializedFile": "w.pt", "modelFile": "net.py", "handler": "base_handler"}
    assert [p for p in found(members, **model) if not isinstance(p, Caution)] == []
    (problem,) = found(members, image=Image("new", "pytorch", "2.6"), **model)
    assert "imports numpy.ndarray" in problem.message


def test_older_images_do_not_load_compiled_libraries() -> None:
    config = "pt2: {export: {aot_compile: true}}\n"
    model: dict[str, Any] = {"serializedFile": "w.so", "handler": "base_handler", "configFile": "c.yaml"}
    assert configured(config, weights="w.so") == []
    (problem,) = found({"w.so": b"?", "c.yaml": config}, image=Image("old", "pytorch", "2.1"), **model)
    assert "w.so is a compiled library, which PyTorch 2.1 in old does not load" in problem.message
