"""Errors that TorchServe's loader would report for an archive, found without loading anything."""

from __future__ import annotations

import gzip
import io
import json
import random
import zipfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdcbuild.core.digest import BytesBlob, Digest
from gdcbuild.core.graph import Image, Policy
from gdcbuild.errors import Caution, Problem
from gdcbuild.frameworks.images import known
from gdcbuild.frameworks.torchserve.check.contract import check
from gdcbuild.frameworks.torchserve.mar.writer import MANIFEST
from tests.unit.frameworks.test_torchserve_pickles import tarred

IMAGE = Image("pytorch-cpu.2-4", "pytorch", "2.4")


def zipped(method: int = zipfile.ZIP_STORED, /, **members: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return buffer.getvalue()


EMPTY = b"\x80\x02}q\x00."
"""A pickle of an empty dict."""


def script(version: str = "4") -> bytes:
    return zipped(**{"model/code/net.py": b"", "model/constants.pkl": EMPTY, "model/version": f"{version}\n"})


STATE = zipped(**{"model/data.pkl": EMPTY, "model/version": "3\n"})
NET = "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self, units=8):\n        super().__init__()\n"
BASE = "from ts.torch_handler.base_handler import BaseHandler\n\nclass Handler(BaseHandler):\n"
FUNCTION = "def handle(data, context):\n    return data\n"
OWN = "class Own:\n    def initialize(self, context): ...\n    def handle(self, data, context): ...\n"


def found(
    members: dict[str, str | bytes],
    *,
    runtime: Any = "python",
    image: Image = IMAGE,
    policy: Policy = Policy(),
    beside: str = "more.bin",
    **model: Any,
) -> list[Problem]:
    """Check an archive of these members, and of one named `beside` that might be weights."""
    members = {**({beside: b"?"} if beside else {}), **members}
    described = {"modelName": "model", "modelVersion": "1", **model}
    manifest = {"runtime": runtime, "model": {k: v for k, v in described.items() if v is not None}}
    archive = zipped(**{**members, MANIFEST: json.dumps(manifest)})
    return check({"model.mar": BytesBlob(archive)}, image, policy)


def eager(net: str = NET, handler: str | None = None, weights: bytes = STATE, name: str = "net.py") -> list[Problem]:
    members: dict[str, str | bytes] = {"w.pt": weights, name: net}
    if handler is not None:
        members["h.py"] = handler
    entry = "base_handler" if handler is None else "h.py"
    return found(members, serializedFile="w.pt", modelFile=name, handler=entry)


def handled(handler: str, entry: str = "h.py") -> list[Problem]:
    return found({"w.pt": script(), "h.py": handler}, serializedFile="w.pt", handler=entry)


@pytest.mark.parametrize(
    "problems",
    [
        eager(),
        eager(handler=BASE + "    def preprocess(self, data): ...\n"),
        eager(NET.replace("units=8", "*, units=8")),
        eager("from net_parts import Net\nclass Model(Net): ...\n"),
        eager("class Net:\n    def load_state_dict(self, state): ...\n    to = eval = lambda self, *more: self\n"),
        eager("try:\n    from torch import nn\nexcept ImportError:\n    nn = None\nelse:\n    class Net(nn.Module): ...\n"),
        handled(FUNCTION),
        handled(OWN),
        handled("from elsewhere import handle\nclass A: ...\nclass B: ...\n"),
        handled("from elsewhere import *\n"),
        handled("def __getattr__(name): ...\n"),
        handled("handle = lambda data, context: data\n"),
        handled("class A: ...\nclass B: ...\ndef predict(data, context): ...\n", "h.py:predict"),
        handled("class A: ...\nclass B: ...\ndef predict(data, context): ...\n", "h:predict"),
        handled("from x import Base\nclass H(Base): ...\n"),
        handled("import ts.torch_handler.image_classifier as ic\nclass H(ic.ImageClassifier): ...\n"),
        found({"w.pt": script()}, serializedFile="w.pt", handler="image_classifier"),
        found({"w.onnx": b"?"}, serializedFile="w.onnx", handler="base_handler"),
        found({"c.yaml": "asyncCommunication: true\n"}, handler="vllm_handler", configFile="c.yaml"),
        found({"h.py": OWN}, handler="h.py"),
        found({"h.py": OWN}, handler="h.py", serializedFile=""),
        found({"w.pt": script("10")}, serializedFile="w.pt", handler="base_handler"),
        found({"w.pt": script("11")}, serializedFile="w.pt", handler="base_handler", image=Image("new", "pytorch", "2.14")),
    ],
)
def test_what_torchserve_loads_is_accepted(problems: list[Problem]) -> None:
    assert problems == []


TWO = NET + "class Block(nn.Module): ...\n"


@pytest.mark.parametrize(
    ("problems", "said"),
    [
        (found({}, handler=None), "there is no handler"),
        (found({}, handler=["h.py"]), "there is no handler"),
        (found({}, handler="image_classifer"), "No module named 'ts.torch_handler.image_classifer'"),
        (found({}, handler="h.py"), "'h.py' is neither in the archive nor a default handler of TorchServe"),
        (found({"x.y.py": FUNCTION}, handler="x.y.py"), "No module named 'x.y'"),
        (found({"h.py": FUNCTION}, handler="h.py", modelName="digits"), "would serve it as 'digits'"),
        (found({"h.py": FUNCTION}, handler="h.py", modelName=None), "would serve it as None"),
        (found({"h.py": FUNCTION}, handler="h.py", runtime="julia"), "Runtime is not defined or invalid."),
        (found({"h.py": FUNCTION}, handler="h.py", runtime=None), "Runtime is not defined or invalid."),
        (found({"h.py": FUNCTION}, handler="h.py", configFile="c.yaml"), "configFile is 'c.yaml', which is not in the archive"),
        (found({"h.py": FUNCTION}, handler="h.py", serializedFile="w.pt"), "serializedFile is 'w.pt', which is not"),
        (found({"h.py": FUNCTION}, handler="h.py", modelFile=["net.py"]), "modelFile is ['net.py'], which is not"),
        (handled("def handle(data, context)\n"), "h.py, line 1: expected ':'"),
        (handled("return 1\n"), "h.py, line 1: 'return' outside function"),
        (handled("\0"), "h.py"),
        (handled("from . import common\n" + FUNCTION), "attempted relative import with no known parent package"),
        (handled(FUNCTION, "h.py:predict"), "has no function 'predict'"),
        (handled("x = 1\n"), "defines no class; TorchServe: Expected only one class"),
        (handled("class A: ...\nclass B: ...\n"), "defines 2 classes (A, B); TorchServe: Expected only one class"),
        (handled(OWN + "Alias = Own\n"), "defines 2 classes (Own, Alias)"),
        (handled("class H:\n    def initialize(self, context): ...\n"), "Expect handle method in class H"),
        (handled("class H(object):\n    def handle(self, data, context): ...\n"), "'H' object has no attribute 'initialize'"),
        (eager(TWO), "net.py defines 2 classes (Net, Block); TorchServe: Expected only one class as model definition"),
        (eager("x = 1\n"), "net.py defines no class"),
        (eager(TWO, BASE + "    pass\n"), "Expected only one class as model definition"),
        (eager(TWO, BASE + "    def initialize(self, context):\n        super().initialize(context)\n"), "as model definition"),
        (eager(TWO, BASE + "    def initialize(self, c):\n        BaseHandler.initialize(self, c)\n"), "as model definition"),
        (eager(NET.replace("units=8", "units, *, bias")), "calls Net() without arguments, but it requires units, bias"),
        (eager("class Net:\n    def forward(self, x): ...\n"), "Net of the model_file net.py is not an nn.Module"),
        (eager(name="net.v2.py"), "No module named 'net'"),
        (eager("class"), "net.py, line 1"),
        (eager("from .parts import x\n" + NET), "net.py uses a relative import"),
        (eager(weights=script()), "w.pt is TorchScript, but with a model_file TorchServe needs a state dict"),
        (found({}, handler="base_handler"), "it has neither serializedFile nor modelFile"),
        (found({"net.py": NET}, handler="base_handler", modelFile="net.py", serializedFile=""), "serializedFile is empty"),
        (found({"w.pt": STATE}, serializedFile="w.pt", handler="base_handler"), "failed locating file constants.pkl"),
        (found({"w.pt": b"\x80\x02}."}, serializedFile="w.pt", handler="base_handler"), "failed reading zip archive"),
        (found({"w.pth": STATE}, serializedFile="w.pth", handler="base_handler"), "No model weights could be loaded"),
        (found({"w.pt": script("11")}, serializedFile="w.pt", handler="base_handler"), "file format 11, but PyTorch 2.4"),
    ],
)
def test_what_torchserve_refuses_is_reported_in_its_words(problems: list[Problem], said: str) -> None:
    (problem,) = problems
    assert said in problem.message
    assert problem.hint


@pytest.mark.parametrize(
    "handler",
    [
        FUNCTION,
        OWN,
        BASE + "    def initialize(self, context): ...\n",
        BASE + "    def initialize(self, context):\n        self.parts.initialize()\n",
        BASE + "    def initialize(self, context):\n        if self.parts:\n            super().initialize(context)\n",
        BASE
        + "    def initialize(self, context):\n        try:\n            super().initialize(context)\n        finally: ...\n",
        BASE + "    def _load_pickled_model(self, *names): ...\n",
    ],
)
def test_a_handler_that_loads_the_model_its_own_way_may_have_any_model_file(handler: str) -> None:
    assert eager(TWO, handler) == []
    assert eager(NET, handler, script()) == []
    assert eager(NET, handler, b"anything") == []


def test_a_typo_in_a_default_handlers_name_is_guessed() -> None:
    (problem,) = found({}, handler="image_classifer")
    assert problem.hint == "did you mean image_classifier?"


def test_every_problem_is_reported() -> None:
    problems = found(
        {"w.pth": b"", "net.py": TWO}, serializedFile="w.pth", modelFile="net.py", handler="base_handler", modelName="x"
    )
    assert len(problems) == 3


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "there is no model.mar at the root"),
        (["digits.mar", "sub/model.mar"], "found: digits.mar, sub/model.mar"),
    ],
)
def test_the_archive_must_be_named_model_mar(names: list[str], said: str) -> None:
    (problem,) = check({name: BytesBlob(b"") for name in names}, IMAGE)
    assert said in problem.message


def test_no_other_file_is_allowed_next_to_the_archive() -> None:
    archive = zipped(
        **{
            MANIFEST: json.dumps(
                {"runtime": "python", "model": {"modelName": "model", "modelVersion": "1", "handler": "h.py"}}
            ),
            "h.py": FUNCTION,
            "w.bin": b"?",
        }
    )
    (problem,) = check({"model.mar": BytesBlob(archive), "config.json": BytesBlob(b"")}, IMAGE)
    assert "config.json" in problem.message


def test_a_broken_archive_is_a_problem_not_an_exception() -> None:
    (problem,) = check({"model.mar": BytesBlob(b"PK\x03\x04")}, IMAGE)
    assert "model.mar cannot be read" in problem.message


def test_a_deep_source_is_a_problem_not_an_exception() -> None:
    (problem,) = handled("x = " + "(" * 100_000 + ")" * 100_000)
    assert "could not import it" in problem.message
    (problem,) = handled("x = " + "-" * 100_000 + "1")
    assert "could not import it" in problem.message


LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02}.\x80\x02]."
WHOLE = zipped(**{"model/data.pkl": b"\x80\x02cnet\nNet\nq\x00)\x81.", "model/version": "3\n"})
PROGRAM = zipped(**{"prog/archive_format": "pt2", "prog/models/model.json": "{}", "prog/.data/version": "3\n"})
PROGRAM_2_4 = zipped(**{"version": "7", "serialized_exported_program.json": "{}", "serialized_state_dict.pt": STATE})


def test_state_dicts_of_all_times_are_accepted() -> None:
    assert eager(weights=LEGACY) == []
    assert eager(weights=zipped(**{"w/data.pkl": b"\x80\x02ccollections\nOrderedDict\n)R.", "w/version": "3"})) == []


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (b"", "'w.pt' is empty; models, weights and tokenizers never are"),
        (b"hello world", "w.pt is not a torch.save file"),
        (STATE[:-30], "PytorchStreamReader failed reading zip archive"),
        (zipped(a="b"), "w.pt is a zip file without data.pkl"),
        (b"\x80\x02}.", "Invalid magic number; corrupt file?"),
        (b"\x02\0\0\0\0\0\0\0{}", "w.pt is a safetensors file"),
        (PROGRAM, "w.pt is a torch.export program"),
        (PROGRAM_2_4, "w.pt is a torch.export program"),
    ],
)
def test_weights_that_are_not_a_state_dict(weights: bytes, said: str) -> None:
    problem, *cautions = eager(weights=weights)
    assert said in problem.message
    assert problem.hint
    assert all(isinstance(c, Caution) for c in cautions)


def test_a_whole_model_is_not_a_state_dict() -> None:
    problem, caution = eager(weights=WHOLE)
    assert "w.pt contains a whole net.Net; TorchServe: Expected state_dict to be dict-like" in problem.message
    assert isinstance(caution, Caution)


@pytest.mark.parametrize(("name", "data"), [("w.pt2", PROGRAM), ("w.pt", PROGRAM), ("w.pt2", PROGRAM_2_4)])
def test_programs_of_torch_export_need_a_handler_that_loads_them(name: str, data: bytes) -> None:
    (problem,) = found({name: data}, serializedFile=name, handler="base_handler")
    assert "a torch.export program, which no default handler of TorchServe loads" in problem.message
    assert found({name: data, "h.py": OWN}, serializedFile=name, handler="h.py") == []


def configured(text: str, name: str = "base_handler", weights: str = "w.pt", **files: str | bytes) -> list[Problem]:
    return found({weights: script(), "c.yaml": text, **files}, serializedFile=weights, handler=name, configFile="c.yaml")


def test_aot_compiled_libraries_need_a_setting() -> None:
    assert configured("pt2: {export: {aot_compile: true}}\n", weights="w.so") == []
    (problem,) = configured("batchSize: 2\n", weights="w.so")
    assert "w.so is loaded only if the configuration says so" in problem.message

    (problem,) = configured("pt2: {export: {aot_compile: 'true'}}\n", weights="w.so")
    assert "w.so is loaded only if the configuration says so" in problem.message


def test_a_model_that_is_not_compiled_needs_no_backend() -> None:
    assert configured("pt2: {compile: {enable: false, backend: cudagraphs}}\n") == []


def test_a_large_configuration_is_not_checked() -> None:
    (problem,) = configured("# a comment\n" * 100_000)
    assert isinstance(problem, Caution)


def test_keys_of_torchrun_may_be_anything() -> None:
    problems = configured("parallelType: pp\ntorchrun: {b: 1, 1: 2, a: 3}\n")
    assert [p.message.partition(": ")[2] for p in problems] == [
        "the key torchrun.1 is not a string; TorchServe exits on it",
        "TorchServe: unsupported parameter b",
        "TorchServe: unsupported parameter a",
    ]


def test_numbers_that_python_refuses_to_print_are_reported() -> None:
    messages = [p.message for p in configured(f"batchSize: 0x{'f' * 5000}\n? 0x{'f' * 5000}\n: 1\n")]
    assert messages == [
        "c.yaml: batchSize is a huge number; TorchServe would ignore it",
        "c.yaml: the key a huge number is not a string; TorchServe exits on it",
    ]


@pytest.mark.parametrize("limit", ["archive.MAX_UNPACKED", "archive.MAX_NESTED_MEMBERS"])
def test_weights_too_large_to_check_are_accepted(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """Such as those of a deflated archive."""
    monkeypatch.setattr(f"gdcbuild.frameworks.torchserve.mar.{limit}", 1)
    model = {"modelName": "model", "modelVersion": "1", "handler": "base_handler", "serializedFile": "w.pt"}
    for files, more in (({"w.pt": script()}, {}), ({"w.pt": STATE, "net.py": NET}, {"modelFile": "net.py"})):
        manifest = json.dumps({"runtime": "python", "model": {**model, **more}})
        packed = zipped(zipfile.ZIP_DEFLATED, **files, **{MANIFEST: manifest})
        assert [p for p in check({"model.mar": BytesBlob(packed)}, IMAGE, Policy()) if not isinstance(p, Caution)] == []


@pytest.mark.parametrize(
    ("handler", "expected"),
    [("h.py", []), ("base_handler", ["MAR-INF/MANIFEST.json: serializedFile is empty; TorchServe: join() argument must be"])],
)
def test_missing_weights_may_be_null(handler: str, expected: list[str]) -> None:
    model = {"modelName": "model", "modelVersion": "1", "handler": handler, "serializedFile": None}
    files = {"h.py": OWN, "beside.bin": "?", MANIFEST: json.dumps({"runtime": "python", "model": model})}
    problems = check({"model.mar": BytesBlob(zipped(**files))}, IMAGE, Policy())
    assert [p.message[: len(e)] for p, e in zip(problems, expected, strict=True)] == expected


def test_the_configuration_is_checked() -> None:
    assert configured("batchSize: 8\n") == []
    problems = configured("batchSize: '8'\nmaxbatchdelay: 5\n")
    assert [p.message.partition(";")[0] for p in problems] == [
        "c.yaml: batchSize is '8'",
        "c.yaml: TorchServe does not know maxbatchdelay, and leaves it to the handler",
    ]
    (problem,) = configured("- a\n")
    assert "c.yaml: the configuration is not a mapping" in problem.message


@pytest.mark.parametrize(("name", "section"), [("trt_llm_handler", "handler"), ("dali_image_classifier", "dali")])
def test_handlers_that_need_a_section_of_the_configuration(name: str, section: str) -> None:
    waits = "asyncCommunication: true\n" if name == "trt_llm_handler" else "batchSize: 1\n"
    (problem,) = configured(waits, name)
    assert f"requires the section `{section}`" in problem.message
    assert configured(f"{waits}{section}: {{engine_dir: x}}\n", name) == []
    (problem,) = configured("- a\n", name)
    assert "c.yaml: the configuration is not a mapping" in problem.message


def test_requirements_come_with_a_caution() -> None:
    (caution,) = found({"h.py": OWN, "r.txt": "x==1\n"}, handler="h.py", requirementsFile="r.txt")
    assert isinstance(caution, Caution)
    assert "install_py_dep_per_model=true" in caution.message


EVIL = zipped(**{"w/data.pkl": b"\x80\x02cos\nsystem\nU\x01x\x85R.", "w/version": "3"})


def test_a_newer_pytorch_loads_weights_only() -> None:
    members: dict[str, str | bytes] = {"w.pt": EVIL, "net.py": NET}
    model: dict[str, Any] = {"serializedFile": "w.pt", "modelFile": "net.py", "handler": "base_handler"}
    assert [type(p) for p in found(members, **model)] == [Caution]
    problem, _ = found(members, image=Image("new", "pytorch", "2.6"), **model)
    assert "w/data.pkl in w.pt imports os.system" in problem.message
    assert "Weights only load failed" in problem.message


@pytest.mark.parametrize(("policy", "kinds"), [("allow", []), ("warn", [Caution]), ("deny", [Problem])])
def test_pickles_that_import_more_follow_the_policy(policy: Any, kinds: list[type]) -> None:
    model = {"modelName": "model", "modelVersion": "1", "handler": "h.py", "serializedFile": "w.pt"}
    archive = zipped(**{"w.pt": EVIL, "h.py": OWN, MANIFEST: json.dumps({"runtime": "python", "model": model})})
    problems = check({"model.mar": BytesBlob(archive)}, IMAGE, Policy({"pickle": policy}))
    assert [type(p) for p in problems] == kinds
    for problem in problems:
        assert "w/data.pkl in w.pt: unpickling it imports os.system" in problem.message


@pytest.mark.parametrize(
    ("release", "format", "read"),
    [
        *(
            ("1.10", 6, True),
            ("1.10", 7, False),
            ("1.11", 9, True),
            ("1.11", 10, False),
            ("1.12", 10, True),
            ("1.12", 11, False),
        ),
        *(("2.1", 10, True), ("2.1", 11, False), ("2.4", 10, True), ("2.4", 11, False), ("2.13.0", 11, False)),
        *(("2.14", 11, True), ("1.9", 11, True)),  # of these nothing is known
    ],
)
def test_torchscript_is_not_newer_than_the_images_pytorch_reads(release: str, format: int, read: bool) -> None:
    image = Image("site", "pytorch", release)
    problems = found({"w.pt": script(str(format))}, serializedFile="w.pt", handler="base_handler", image=image)
    assert bool(problems) != read
    for problem in problems:
        assert f"Attempted to read a PyTorch file with version {format}" in problem.message


def test_the_torchscript_format_of_every_known_image_is_known() -> None:
    for image in known().values():
        if image.kind == "pytorch":
            assert found({"w.pt": script("11")}, serializedFile="w.pt", handler="base_handler", image=image)


def test_a_compiled_handler_needs_the_cpp_backend() -> None:
    (caution,) = found({"h.so": b"?"}, handler="h", runtime="LSP")
    assert isinstance(caution, Caution)
    assert "TorchServe: model_worker_socket not found" in caution.message


SECRETS = {
    "notes.txt": (b"-----BEGIN PRIVATE KEY-----\nMIIE\n", "a private key"),
    "deep/.env": (b"A=1", "environment variables"),
    "id_rsa": (bytes(1 << 17), "a private key"),
    "x.json": (b'{"type": "service_account", "private_key": "x"}', "a service account key"),
}


@pytest.mark.parametrize("name", SECRETS)
def test_members_that_look_like_secrets_are_refused_unless_named(name: str) -> None:
    data, what = SECRETS[name]
    (problem,) = found({"h.py": OWN, name: data}, handler="h.py")
    assert not isinstance(problem, Caution)
    assert f"'{name}' looks like a secret: {what}" in problem.message
    assert "list that file on its own" in problem.hint
    (caution,) = found({"h.py": OWN, name: data}, policy=Policy(named=frozenset({Digest.of(data).hash})), handler="h.py")
    assert isinstance(caution, Caution)
    assert caution.message == problem.message


def test_code_and_weights_do_not_look_like_secrets() -> None:
    code = "if line == '-----BEGIN PRIVATE KEY-----':\n    session(\n        aws_secret_access_key=os.environ['X'],\n    )\n"
    weights = random.Random(1).randbytes(1 << 16)
    large = SECRETS["notes.txt"][0] + bytes(1 << 16)
    assert found({"h.py": OWN, "helper.py": code, "w.bin": weights, "large.txt": large}, handler="h.py") == []


@pytest.mark.parametrize("version", ["1", 1.0, None])
def test_torchserve_takes_any_version_that_can_be_text(version: Any) -> None:
    """Gson reads a number as a string, and a missing version becomes 1.0."""
    assert found({"h.py": OWN}, handler="h.py", modelVersion=version) == []
    (problem,) = found({"h.py": OWN}, handler="h.py", modelVersion=["1"])
    assert "Expected a string as modelVersion" in problem.message


NPZ = zipped(**{"a.npy": b"\x93NUMPY\1\0\x1e\0{'descr': '|O', 'shape': (1,)}\n" + EMPTY})
MEMBERS: dict[str, bytes] = {
    "w.pt": STATE,
    "net.py": NET.encode(),
    "h.py": (BASE + "    pass\n").encode(),
    "c.yaml": b"batchSize: 8\npt2: eager\n",
    "a.npz": NPZ,
    "b.pkl": EMPTY,
    "s.pt": script(),
    "l.pth": LEGACY,
    "p.pt2": PROGRAM,
    "t.tar": tarred(("a.pkl", EMPTY), ("b.pt", STATE)),
    "t.tgz": gzip.compress(tarred(("a.pkl", EMPTY), ("b.pt", STATE)), 0),
}


@pytest.mark.slow
@given(seed=st.integers(0, 1 << 32))
def test_any_archive_gets_an_answer(seed: int) -> None:
    """Randomly damaged members give a list of problems with hints, and never an exception."""
    rng, members = random.Random(seed), {name: bytearray(data) for name, data in MEMBERS.items()}
    for data in rng.sample(list(members.values()), 4):
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data) + 1)
            data[at : at + rng.randint(0, 9)] = rng.choice([b"", b"\xff" * 4, bytes(4), b"PK\3\4", rng.randbytes(3), b"[" * 50])
    model: dict[str, Any] = {
        "serializedFile": "w.pt",
        "modelFile": rng.choice(["net.py", None]),
        "handler": "h.py",
        "configFile": "c.yaml",
    }
    problems = found({name: bytes(data) for name, data in members.items()}, **model)
    assert all(p.message.isprintable() and p.hint for p in problems)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 9\n" % 0
NO_FILE = "is a Git LFS pointer, not the file itself"


@pytest.mark.parametrize(
    ("members", "model", "said"),
    [
        ({"own": POINTER}, {"serializedFile": "own"}, f"'own' {NO_FILE}"),
        ({"own": b""}, {"serializedFile": "own"}, "'own' is empty; models, weights and tokenizers never are"),
        ({"deep/tokenizer.model": b""}, {}, "'deep/tokenizer.model' is empty; models, weights and tokenizers never are"),
        ({"extra.txt": POINTER}, {}, f"'extra.txt' {NO_FILE}"),
        ({"w.dvc": b"outs:\n- md5: 22a1\n  path: w\n"}, {}, "'w.dvc' is a DVC file, not the data it describes"),
        ({"w.pt": b"/annex/objects/SHA1-s1--0\n"}, {}, "'w.pt' is a git-annex pointer, not the file itself"),
        ({"net.onnx": b""}, {"serializedFile": "net.onnx", "handler": "base_handler"}, "'net.onnx' is empty"),
        ({"w.pt": POINTER, "net.py": NET}, {"serializedFile": "w.pt", "modelFile": "net.py"}, f"'w.pt' {NO_FILE}"),
        ({"h": POINTER}, {"runtime": "LSP", "handler": "h"}, f"'h' {NO_FILE}"),
    ],
)
def test_members_that_are_placeholders(members: dict[str, str | bytes], model: dict[str, Any], said: str) -> None:
    """Any tool may have made the archive, and any handler may use it; each is reported once."""
    problems = found({"h.py": OWN, **members}, **{"handler": "h.py", **model})
    (problem,) = (p for p in problems if not isinstance(p, Caution))
    assert problem.message.startswith(said)


def test_members_may_be_empty_or_have_a_dvc_file_next_to_them() -> None:
    members: dict[str, str | bytes] = {"h.py": OWN, "__init__.py": "", "a/.gitkeep": "", "labels.txt": "", "w": b"x"}
    members["w.dvc"] = b"outs:\n- md5: 22a1\n  path: w\n"
    assert found(members, handler="h.py") == []
