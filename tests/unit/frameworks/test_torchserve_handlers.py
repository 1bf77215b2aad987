"""Handlers and model files that TorchServe finds and can call, and those it cannot."""

from __future__ import annotations

import sys

import pytest

from gdcbuild.errors import Caution, Problem
from tests.unit.frameworks.test_torchserve_contract import (
    BASE,
    FUNCTION,
    NET,
    OWN,
    STATE,
    configured,
    eager,
    found,
    handled,
    script,
)

METHODS = OWN.partition("\n")[2]
DATA = "from dataclasses import KW_ONLY, dataclass, field\n@dataclass\nclass Own:\n"
ABSTRACT = "    @abc.abstractmethod\n    def more(self): ...\n"
SCRIPT = "if __name__ == '__main__':\n    from .parts import x\n    class Context: ...\n    class Other: ...\n"


@pytest.mark.parametrize(
    "handler",
    [
        OWN + SCRIPT,
        OWN + SCRIPT + "else:\n    import os\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .parts import x\n" + OWN,
        "try:\n    from .parts import x\nexcept ImportError:\n    from parts import x\n" + OWN,
        "if __package__:\n    from .parts import x\nelse:\n    from parts import x\n" + OWN,
        OWN + "Own.timeout = 5\nsettings = {}\nsettings['a'], other = 1, 2\n",
        OWN + "class Helper: ...\ndel Helper\n",
        OWN + "class Helper: ...\nHelper = None\n",
        "import os\nif os.name == 'nt':\n    class Own: ...\nelse:\n    class Other: ...\n",
        "from collections import namedtuple\nPoint = namedtuple('Point', 'x y')\n" + FUNCTION,
        "class Own:\n    def run(self, *args): ...\n    initialize = handle = run\n",
        "class Own:\n    def __init__(self):\n        self.handle = self.initialize = print\n",
        "class Own:\n    def __getattr__(self, name): ...\n",
        "class Own:\n    def __init__(self, size=3, **more): ...\n    def initialize(self, *args): ...\n"
        "    def handle(self, data, context=None, more=1): ...\n",
        "class Own:\n    def initialize(self, context): ...\n    @staticmethod\n    def handle(data, context): ...\n",
        "def handle(*args): ...\n",
        "@register\ndef handle(data): ...\n",
        "if x:\n    def handle(data): ...\nelse:\n    def handle(data, context): ...\n",
        "@singleton\nclass Settings: ...\n" + OWN,
        "class Timer: ...\ndef Timer(): ...\n" + OWN,
        "class Timer: ...\nfrom timing import Timer\n" + OWN,
        "for handle in [print]: ...\nclass Other: ...\n" + OWN,
        "with opened() as handle: ...\nclass Other: ...\n" + OWN,
        "globals()['handle'] = print\n",
        "exec(open('more').read())\n",
        "from contextlib import suppress\nwith suppress(ImportError):\n    from .parts import x\n" + OWN,
        "class Own(metaclass=Registered): ...\n",
        "@made_a_handler\nclass Own: ...\n",
        "@injected\nclass Own:\n    def __init__(self, size): ...\n",
        "class Own:\n    if X:\n        def handle(self, d, c): ...\n        def initialize(self, c): ...\n",
        "class Own:\n    from elsewhere import handle, run as initialize\n",
        "class Own: ...\nOwn.handle = Own.initialize = print\n",
        "class Own: ...\nfor name in ('handle', 'initialize'):\n    setattr(Own, name, print)\n",
        "class Own:\n    def initialize(self, c): ...\n    def handle(self, data): ...\n    handle = adapted(handle)\n",
        "def make():\n    global Own\n    class Own: ...\nmake()\n",
        "vars()['Own'] = made()\n",
        "locals()['Own'] = made()\n",
        "import sys\nsetattr(sys.modules[__name__], 'Own', made())\n",
        "from sys import modules as m\nm[__name__].Own = made()\n",
        "import importlib\nimportlib.import_module(__name__).Own = made()\n",
        "class Odd(Exception):\n    __module__ = 'errors'\n" + OWN,
        "class Odd(Exception):\n    __module__ = named()\n" + OWN,
        "class Odd(Exception): ...\nOdd.__module__ = 'errors'\n" + OWN,
        "from x import Base\nclass Own(Base):\n    @abstractmethod\n    def more(self): ...\n",
        "from abc import ABC, abstractmethod\nclass Own(ABC):\n    @abstractmethod\n    def more(self): ...\n    more = print\n"
        "    initialize = handle = print\n",
        DATA + "    a: int = 1\n    b: ClassVar[int]\n    c: int = field(init=False)\n    _: KW_ONLY\n" + METHODS,
        DATA + "    a: int\n    def __init__(self): ...\n" + METHODS,
        DATA.replace("@dataclass", "@dataclass(init=False)") + "    a: int\n" + METHODS,
        DATA.replace("Own:", "Own(Settings):") + "    a: int\n" + METHODS,
        "class Own:\n    def __new__(cls, *args): ...\n" + METHODS,
        "with opened() as handle: ...\n" + OWN,
        "with opened() as (a, handle): ...\n" + OWN,
        "for handle in (): ...\n" + OWN,
        "while (handle := None): ...\nhandle = made()\n" + OWN,
        "match made():\n    case {'a': handle}: ...\nclass A: ...\n" + OWN,
        "match made():\n    case [*handle]: ...\nclass A: ...\n" + OWN,
        "match made():\n    case {**handle}: ...\nclass A: ...\n" + OWN,
        "if (handle := made()):\n    ...\nclass A: ...\n" + OWN,
        "try: ...\nexcept OSError as handle: ...\n" + OWN,
        "handle = None\ndel handle\n" + OWN,
        "handle = None\nfrom elsewhere import handle\n",
        "handle = None\nif x:\n    handle = made()\n",
        "handle = None\nglobals()['handle'] = made()\n",
        "handle = None\ndef make():\n    global handle\n    handle = made()\nmake()\n",
        "open = made\nwith open() as handle: ...\n" + OWN,
        "def answer(data, context): ...\nhandle = answer\n",
        "for handle in (1, made()): ...\nclass A: ...\n" + OWN,
        "for x, handle in ((1, 2), (3, made())): ...\nclass A: ...\n" + OWN,
        "for (a, handle), b in [((1, 2), 3), (made(), 4)]: ...\nclass A: ...\n" + OWN,
        "for handle in (1, 2):\n    handle = made()\nclass A: ...\n" + OWN,
        "a, handle = 1, made()\n" + OWN,
        "a, handle = 1, *made()\n" + OWN,
        "made() or (handle := 3)\n" + OWN,
        "x = 1 if made() else (handle := 3)\n" + OWN,
        "x = made() < 1 < (handle := 3)\n" + OWN,
        "x = [(handle := 3) for _ in made()]\n" + OWN,
        "assert (handle := 3)\n" + OWN,
        "x = (handle := 3), (handle := made())\n" + OWN,
        OWN + "    def __call__(self, data, context): ...\nhandle = Own()\n",
        OWN + "    def __new__(cls): ...\nhandle = Own()\n",
        OWN + "    def __init__(self): self.__class__ = made()\nhandle = Own()\n",
        OWN + "handle = Own()\nOwn.__call__ = made()\n",
        OWN.replace("Own", "Own(Base)") + "handle = Own()\n",
        "class Own:\n    __call__ = made()\nhandle = Own()\n" + OWN,
        "class Own:\n    initialize = handle = None\nOwn.handle = Own.initialize = made()\n",
        "class Own:\n    initialize = handle = None\n    handle, initialize = made()\n",
        "class Own:\n    initialize = handle = None\n    def __getattribute__(self, name): ...\n",
        "class Own:\n    initialize = handle = None\nfor name in ('handle', 'initialize'):\n    setattr(Own, name, print)\n",
        "from x import Base\nclass Own(Base):\n    handle = None\n",
        "x = 1\n" + "#" * (1 << 20),
    ],
)
def test_code_that_does_not_run_on_import_does_not_count(handler: str) -> None:
    assert handled(handler) == []


@pytest.mark.filterwarnings("error")
def test_odd_code_causes_no_warning() -> None:
    """Python's own warnings about it would appear in the output."""
    assert handled(OWN + "odd = '\\d' is 'x'\n") == []


def test_code_of_a_newer_python_may_be_meant() -> None:
    (problem,) = handled("odd = (\n")
    assert "h.py, line 1" in problem.message
    assert f"newer Python than 3.{sys.version_info.minor}, run gdcbuild with the image's Python" in str(problem.hint)


def test_a_class_may_be_found_where_its_handle_is_named() -> None:
    assert handled(OWN, "h.py:handle") == []


def test_a_handler_may_be_a_package() -> None:
    assert found({"h/__init__.py": OWN}, handler="h") == []


@pytest.mark.parametrize(
    ("member", "handler"),
    [
        ("pkg/h.py", "pkg.h"),
        ("pkg/h.py", "pkg.h.py:handle"),
        ("h.cpython-311-x86_64-linux-gnu.so", "h"),
        ("h.pyc", "h.py"),
        ("other.py", "densenet_handler"),
        ("other.py", "ts.torch_handler.base_handler"),
    ],
)
def test_a_handler_may_be_all_that_python_imports(member: str, handler: str) -> None:
    assert found({member: OWN}, handler=handler) == []


def test_a_package_goes_before_a_file_of_its_name() -> None:
    assert found({"h/__init__.py": OWN, "h.py": "x = 1\n"}, handler="h.py") == []
    assert found({"vision_handler.py": OWN}, handler="vision_handler") == []
    (problem,) = found({"vision_handler.py": "x = 1\n"}, handler="vision_handler")
    assert "defines no class" in problem.message


@pytest.mark.parametrize(
    "net", ["@registered\nclass Block: ...\n" + NET, "class Block:\n    pass\nfrom blocks import Block\n" + NET]
)
def test_only_the_files_own_classes_count(net: str) -> None:
    assert eager(net) == []
    for decorator in ("dataclass", "dataclasses.dataclass()", "functools.total_ordering"):
        (problem,) = eager(f"from dataclasses import dataclass\n@{decorator}\nclass Block: ...\n" + NET)
        assert "2 classes (Block, Net)" in problem.message


TWO = NET + "class Block(nn.Module): ...\n"


@pytest.mark.parametrize(
    "handler",
    [
        BASE.replace("(Base", "(Mixin, Base") + "    ...\n",
        BASE.replace("class", "@wrapped\nclass") + "    ...\n",
        BASE + "    initialize = own\n",
        BASE + "    def initialize(self, c):\n        if quick:\n            return\n        super().initialize(c)\n",
        BASE + "    def initialize(self, c):\n        with suppress(Exception):\n            super().initialize(c)\n",
        BASE + "    _load_pickled_model = staticmethod(own)\n",
    ],
)
def test_a_handler_that_may_load_the_model_in_its_own_way_is_believed(handler: str) -> None:
    assert eager(TWO, handler) == []


@pytest.mark.parametrize(
    "handler",
    [
        BASE.replace("BaseHandler)", "BaseHandler, Mixin)") + "    ...\n",
        BASE
        + "    def initialize(self, c):\n        with torch.no_grad():\n            super().initialize(c)\n        return\n",
        BASE + "    def initialize(self, c):\n        BaseHandler.initialize(self, c)\n",
    ],
)
def test_a_handler_that_loads_it_as_the_base_handler_does_is_known(handler: str) -> None:
    (problem,) = eager(TWO, handler)
    assert "Expected only one class as model definition" in problem.message


def test_a_model_file_in_a_folder_is_not_found() -> None:
    members: dict[str, str | bytes] = {"w.pt": STATE, "nets/net.py": NET}
    (problem,) = found(members, serializedFile="w.pt", modelFile="nets/net.py", handler="base_handler")
    assert "No module named 'nets/net'" in problem.message


@pytest.mark.parametrize(
    ("handler", "entry", "said"),
    [
        ("from collections import namedtuple\nPoint = namedtuple('Point', 'x y')\n" + OWN, "h.py", "2 classes (Point, Own)"),
        ("import enum as e\nKind = e.Enum('Kind', 'A B')\n" + OWN, "h.py", "2 classes (Kind, Own)"),
        ("Made = type('Made', (), {})\n" + OWN, "h.py", "2 classes (Made, Own)"),
        ("if __name__ == '__main__':\n    def handle(data, context): ...\n", "h.py", "defines no class"),
        (OWN, "h.py:Own", "Own in the handler h.py is a class, but TorchServe would call it as a function"),
        ("def handle(data): ...\n", "h.py", "handle in the handler h.py cannot be called as TorchServe does"),
        ("def run(data, context, *, more): ...\n", "h.py:run", "run in the handler h.py cannot be called"),
        ("def handle(self, data, context): ...\n", "h.py", "handle in the handler h.py cannot be called"),
        (OWN.replace("class Own:", "class Own:\n    def __init__(self, size): ..."), "h.py", "Own() without arguments"),
        (OWN.replace("(self, context)", "(self)"), "h.py", "initialize cannot be called as TorchServe does"),
        (OWN.replace("(self, data, context)", "(self, data)"), "h.py", "handle cannot be called as TorchServe does"),
        (BASE + "    def handle(self, data): ...\n", "h.py", "handle cannot be called as TorchServe does"),
        ("def answer(data): ...\nhandle = answer\n", "h.py", "handle in the handler h.py cannot be called"),
        (
            "import os\nwith open(os.devnull) as handle: ...\n" + OWN,
            "h.py",
            "h.py is `open(os.devnull)`, but TorchServe would call",
        ),
        ("handle = None\n" + OWN, "h.py", "handle in the handler h.py is `None`"),
        ("handle: object = f'{__name__}'\n" + OWN, "h.py", "handle in the handler h.py is `f'"),
        ("for handle in ('a', 'b'): ...\n" + OWN, "h.py", "handle in the handler h.py is `'b'`"),
        ("for x, handle in [(made(), 1), (2, 3)]: ...\n" + OWN, "h.py", "handle in the handler h.py is `3`"),
        ("a, handle = 1, 2\n" + OWN, "h.py", "handle in the handler h.py is `2`"),
        ("[a, (b, handle)] = made(), (print, None)\n" + OWN, "h.py", "handle in the handler h.py is `None`"),
        ("if (handle := 3): ...\n" + OWN, "h.py", "handle in the handler h.py is `3`"),
        ("while (handle := 0) and made(): ...\n" + OWN, "h.py", "handle in the handler h.py is `0`"),
        ("x = (handle := 3) < 4\n" + OWN, "h.py", "handle in the handler h.py is `3`"),
        (OWN + "handle = Own()\n", "h.py", "handle in the handler h.py is `Own()`"),
        ("class Own:\n    __call__ = made()\n" + OWN + "handle = Own()\n", "h.py", "handle in the handler h.py is `Own()`"),
        (
            "class Own:\n    handle = None\n    def initialize(self, c): ...\n",
            "h.py",
            "sets `handle` to `None`, which is not a function",
        ),
        (
            "class Own:\n    handle: int = 3\n    def initialize(self, c): ...\n",
            "h.py",
            "sets `handle` to `3`, which is not a function",
        ),
        (
            BASE + "    initialize = ()\n",
            "h.py",
            "class Handler in the handler h.py sets `initialize` to `()`",
        ),
        ("(handle := [1])\n" + OWN, "h.py", "handle in the handler h.py is `[1]`"),
        ("settings = dict(a=1)\nhandle = settings\n" + OWN, "h.py", "handle in the handler h.py is `dict(a=1)`"),
        ("import json as handle\n" + OWN, "h.py", "handle in the handler h.py is a module"),
        ("import handle\n" + OWN, "h.py", "handle in the handler h.py is a module"),
        ("run = -1\n" + OWN, "h.py:run", "run in the handler h.py is `-1`"),
        ("import abc\nclass Own(abc.ABC):\n" + ABSTRACT + METHODS, "h.py", "abstract class Own; not implemented: more"),
        ("import abc\nclass Own(metaclass=abc.ABCMeta):\n" + ABSTRACT + METHODS, "h.py", "abstract class Own"),
        ("import abc\n" + BASE + ABSTRACT, "h.py", "abstract class Handler; not implemented: more"),
        ("import abc\nclass Own(abc.ABC):\n    def handle(self, data, context): ...\n", "h.py", "has no initialize"),
        (
            DATA + "    a: int\n    b: int = field(repr=False)\n" + METHODS,
            "h.py",
            "Own() without arguments, but it requires a, b",
        ),
        ("class Own:\n    def __new__(cls, size): ...\n" + METHODS, "h.py", "Own() without arguments, but it requires size"),
        ("class Odd:\n    __module__ = 'h'\n" + OWN, "h.py", "2 classes (Odd, Own)"),
        ("def run():\n    global Own\n    class Own: ...\n", "h.py", "defines no class"),
    ],
)
def test_what_torchserve_could_not_call(handler: str, entry: str, said: str) -> None:
    (problem,) = handled(handler, entry)
    assert said in problem.message
    assert problem.hint


@pytest.mark.parametrize(
    ("handler", "entry", "hint"),
    [
        (OWN, "h.py:Own", "write h.py alone"),
        (BASE.replace("Handler(", "handle(") + "    ...\n", "h.py", "rename the class, and write h.py alone"),
        (OWN + "class Other: ...\n", "h.py", "move the others to separate files"),
        ("x = 1\n", "h.py", "define one class with initialize(context) and handle(data, context), or a function handle"),
    ],
)
def test_the_hint_fits_what_the_file_defines(handler: str, entry: str, hint: str) -> None:
    (problem,) = handled(handler, entry)
    assert hint in str(problem.hint)


def test_the_hint_for_a_model_file_without_a_class_is_to_define_one() -> None:
    (problem,) = eager("x = 1\n")
    assert problem.hint == "define the nn.Module in it"


@pytest.mark.parametrize("module", ["distributed.base_pippy_handler", "distributed.base_deepspeed_handler", "vllm_handler"])
def test_not_all_that_torchserve_brings_loads_the_model_as_its_base_handler(module: str) -> None:
    handler = f"from ts.torch_handler.{module} import Base\nclass H(Base):\n    def initialize(self, context):\n"
    handler += "        super().initialize(context)\n"
    assert found({"h.py": handler}, handler="h.py") == []
    assert eager(NET + "class Block(nn.Module): ...\n", handler) == []


def test_an_async_handler_is_awaited_only_where_the_configuration_says_so() -> None:
    waits, own = "asyncCommunication: true\n", OWN.replace("def handle", "async def handle")
    for name, files in (("vllm_handler", {}), ("h.py", {"h.py": own}), ("h.py", {"h.py": f"async {FUNCTION}"})):
        assert configured(waits, name, **files) == []
        (problem,) = configured("batchSize: 1\n", name, **files)
        assert (
            f"handle() of {name} is async, but nothing awaits it; TorchServe: Invalid model predict output" in problem.message
        )
        assert problem.hint == "add asyncCommunication: true to config"
    for name, files in (("base_handler", {}), ("h.py", {"h.py": BASE + "    pass\n"})):
        (problem,) = configured(waits, name, **files)
        assert f"handle() of {name} is not async" in problem.message
    assert configured(waits, "h.py", **{"h.py": OWN}) == []  # it may return what is to be awaited


def test_text_handlers_need_a_vocabulary() -> None:
    classifier = "from ts.torch_handler.text_classifier import TextClassifier\nclass H(TextClassifier):\n"
    for name, files in (("text_classifier", {}), ("h.py", {"h.py": classifier + "    pass\n"})):
        (problem,) = configured("batchSize: 1\n", name, **files)
        assert "TorchServe: Missing the source_vocab file" in problem.message
        assert configured("batchSize: 1\n", name, "w.pt", **files, **{"source_vocab.pt": b"?"}) == []
    assert configured("batchSize: 1\n", "h.py", **{"h.py": classifier + "    def get_source_vocab_path(self, c): ...\n"}) == []


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("{'0': 'cat'}", "is not JSON"),
        ('["cat"]', "is not a mapping"),
        ('\ufeff{"0": "cat"}', "is not JSON: Unexpected UTF-8 BOM"),
        ('{"0": "cat"}'.encode("utf-16"), "is not JSON: 'utf-8' codec can't decode"),
        ('{"0": 1}', "has no string for '0'"),
        ('{"0": []}', "has no string for '0'"),
        ('{"0": ["n01", 2]}', "has no string for '0'"),
        ('{"0": "cat", "1": ["n02", "dog"]}', None),
        ('{"object_type_names": ["cat"]}', None),
        ("too long to be looked at" + " " * (1 << 20), None),
    ],
)
def test_class_names_are_checked(labels: str | bytes, said: str | None) -> None:
    problems = found({"w.pt": script(), "index_to_name.json": labels}, serializedFile="w.pt", handler="image_classifier")
    assert [said in p.message for p in problems if said] == ([True] if said else [])
    assert bool(problems) == bool(said)
    assert found({"w.pt": script(), "index_to_name.json": labels, "h.py": OWN}, serializedFile="w.pt", handler="h.py") == []


def cautions(problems: list[Problem]) -> list[str]:
    assert all(isinstance(p, Caution) for p in problems)
    return [p.message for p in problems]


def test_the_hint_for_a_custom_handler_does_not_say_to_add_one() -> None:
    (problem, *_) = found({"h.py": BASE + "    pass\n"}, handler="h.py")
    assert "neither serializedFile nor modelFile" in problem.message
    assert "add weights; or, if the handler loads a model itself" in problem.hint
    (problem, *_) = found({}, handler="base_handler")
    assert problem.hint == "add weights, or a custom handler"


def test_an_archive_without_weights_is_reported() -> None:
    (said,) = cautions(found({"h.py": OWN, "labels.json": "{}"}, handler="h.py", beside=""))
    assert "the archive has no weights" in said
    (said,) = cautions(found({"net.py": NET}, handler="base_handler", modelFile="net.py", beside=""))
    assert "the archive has no weights" in said
    for name in ("llama/model-1.safetensors", "pipeline.zip", "net.onnx"):
        assert cautions(found({"h.py": OWN, name: b"?"}, handler="h.py", beside="")) == []


def test_files_that_are_named_by_nothing_are_not_missing() -> None:
    assert found({"h.py": OWN}, handler="h.py", modelFile="", requirementsFile="") == []
    (problem,) = found({"h.py": OWN}, handler="h.py", configFile="")
    assert "configFile is '', which is not in the archive" in problem.message
