"""What every framework does: refuses in full, with a way out; lowers equal requests equally; imports nothing heavy."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from gdcbuild.core.digest import Blob, BytesBlob, Tree
from gdcbuild.core.graph import Action, Command, Image, Inline, Input, MadeBy, Policy, SourceFile, Worker
from gdcbuild.core.ids import VersionId
from gdcbuild.core.key import key_of
from gdcbuild.core.keys import ChoiceKey, Entry, EntryKey, Export, ExportKey, FilesKey, FolderKey, Key, Values
from gdcbuild.core.ports import Framework
from gdcbuild.core.request import Lowered, Source, VersionRequest
from gdcbuild.errors import Location, ManifestError
from gdcbuild.frameworks import FOLDERS, FRAMEWORKS, load
from gdcbuild.frameworks.images import known
from gdcbuild.frameworks.torchserve.keys import Handler
from gdcbuild.manifest.keys import keys_of
from gdcbuild.manifest.load import load as load_manifest
from gdcbuild.manifest.lower import lower
from tests.unit.frameworks.requests import having

ALL = load((*FOLDERS, "tests.onnx"))
IMAGES = [*known().values(), Image("onnx", "onnx", "1.17")]


def at(line: int) -> Location:
    return Location("gdcbuild.yaml", line, 3)


def file(path: str) -> Input:
    return Input(path.rpartition("/")[2], SourceFile(path), at(9))


def source(key: str, *paths: str) -> Source:
    return Source(key, tuple(file(path) for path in paths), at(5))


EXPORT = Export("net:build", (file("net.py"),), {"units": 8, "deep": {"a": [1]}}, Values(), "", at(6))
EMPTY = VersionRequest(VersionId("digits", "2"), Image("image", "", "2.4"), "toolchain", at(4))
MADE = replace(file("x"), origin=MadeBy("step:train", "x"))


@dataclass(frozen=True)
class Sample:
    """A framework with requests it takes."""

    framework: Framework
    good: dict[str, VersionRequest]


def tensorflow() -> Sample:
    base = replace(EMPTY, image=Image("tf2-cpu.2-18", "tensorflow", "2.18"))
    good = {
        "saved_model": replace(base, sources=(source("saved_model", "m/saved_model.pb", "m/variables"),)),
        "keras": replace(base, sources=(source("keras", "m.keras"),)),
        "export": replace(base, export=EXPORT),
    }
    return Sample(FRAMEWORKS["tensorflow"], good)


def pytorch() -> Sample:
    base = having(EMPTY, image=Image("pytorch-cpu.2-4", "pytorch", "2.4"), handler=Handler("base_handler", at(7)))
    own = Handler("own", at(7), file("handler.py"), "handle", (file("help.py"),), file("requirements.txt"))
    good = {
        "torchscript": having(base, sources=(source("weights", "m.pt"),)),
        "eager": having(base, sources=(source("weights", "m.pt"),), model_file=file("net.py"), files=(file("x.json"),)),
        "handler": having(base, sources=(source("weights", "m.pt"),), handler=own, config={"minWorkers": 1, "maxWorkers": 1}),
        "export": having(base, export=replace(EXPORT, options=Values(method="script")), config=file("config.yaml")),
        "mar": having(base, sources=(source("mar", "old.mar"),), handler=None),
    }
    return Sample(FRAMEWORKS["pytorch"], good)


def onnx() -> Sample:
    base = having(EMPTY, image=Image("onnx", "onnx", "1.17"), sources=(source("onnx", "m.onnx"),))
    return Sample(ALL["onnx"], {"file": base, "external data": having(base, files=(file("m.bin"),))})


SAMPLES = {sample.framework.kind: sample for sample in (tensorflow(), pytorch(), onnx())}


def everything(framework: Framework, request: VersionRequest) -> VersionRequest:
    """The request with every key of its framework: none takes that."""
    files = {
        key.name: () if isinstance(key, FolderKey) else (file(f"{key.name}.file"),)
        for key in framework.sources
        if not isinstance(key, ExportKey)
    }
    return replace(
        request,
        sources=tuple(Source(key, inputs, at(5)) for key, inputs in files.items()),
        export=replace(EXPORT, args={"export_dir": "x"}) if len(files) < len(framework.sources) else None,
        values=Values({key.name: _value(framework, key) for key in framework.keys}),
        given={key.name: at(20 + n) for n, key in enumerate((*framework.sources, *framework.keys))},
    )


def _value(framework: Framework, key: Key[Any]) -> object:
    if isinstance(key, FilesKey):
        return (file(f"a/{framework.entry}"), file(f"b/{framework.entry}"))
    if isinstance(key, EntryKey):
        return Entry(key.ready[0], at(7), Values())
    return key.choices[0] if isinstance(key, ChoiceKey) else file(key.name)


@pytest.fixture(params=sorted(ALL))
def sample(request: pytest.FixtureRequest) -> Sample:
    return SAMPLES[request.param]


@pytest.fixture
def framework(sample: Sample) -> Framework:
    return sample.framework


def lowered(framework: Framework, request: VersionRequest) -> Lowered:
    found = framework.lower(request)
    assert isinstance(found, Lowered), found
    return found


def actions(sample: Sample) -> Iterator[Action]:
    for request in sample.good.values():
        yield from lowered(sample.framework, request).actions


def test_every_image_has_its_framework() -> None:
    assert {image.kind for image in known().values()} == set(FRAMEWORKS)
    assert all(framework.kind == kind and framework.entry for kind, framework in FRAMEWORKS.items())


def test_the_final_action_is_the_versions(sample: Sample) -> None:
    for request in sample.good.values():
        found = lowered(sample.framework, request)
        assert found.final.id == str(request.id)
        ids = [action.id for action in found.actions]
        assert len(set(ids)) == len(ids)
        assert all(id == str(request.id) or id.startswith(f"{request.id}:") for id in ids)


def test_actions_need_only_what_comes_before_them(sample: Sample) -> None:
    for request in sample.good.values():
        before: set[str] = set()
        for action in lowered(sample.framework, request).actions:
            assert set(action.needs) <= before
            before.add(action.id)


def test_actions_of_other_steps_are_edges(sample: Sample) -> None:
    for request in sample.good.values():
        if request.sources:
            made = replace(
                request, sources=tuple(replace(s, inputs=(replace(MADE, path=s.inputs[0].path),)) for s in request.sources)
            )
            assert {n for action in lowered(sample.framework, made).actions for n in action.needs} == {"step:train"}


def test_our_code_and_user_code_are_distinguished(sample: Sample) -> None:
    for action in actions(sample):
        assert not isinstance(action.run, Command)
        if isinstance(action.run, Worker):
            assert action.toolchain == "toolchain"
        if isinstance(action.run, Inline):
            assert action.toolchain is None
        assert action.where is not None
        assert action.version >= 1


def test_lowering_is_a_function_of_the_request(sample: Sample) -> None:
    for request in sample.good.values():
        before = copy.deepcopy(request)
        first, second = (lowered(sample.framework, r) for r in (request, copy.deepcopy(request)))
        assert first == second
        assert request == before
        keys = [[key_of(a, Tree(), "t", {}).hash for a in found.actions] for found in (first, second)]
        assert keys[0] == keys[1]


def test_lines_in_the_manifest_change_no_key(sample: Sample) -> None:
    for request in sample.good.values():
        moved = replace(request, where=at(99))
        for here, there in zip(
            lowered(sample.framework, request).actions, lowered(sample.framework, moved).actions, strict=True
        ):
            assert here == there
            assert key_of(here, Tree(), "t", {}) == key_of(there, Tree(), "t", {})


@pytest.mark.parametrize("what", ["nothing", "everything"])
def test_every_refusal_says_where_and_what_to_do(sample: Sample, what: str) -> None:
    for request in sample.good.values():
        bare = replace(request, sources=(), export=None, values=Values(), given={})
        problems = sample.framework.lower(bare if what == "nothing" else everything(sample.framework, request))
        assert isinstance(problems, list)
        assert problems
        assert [p for p in problems if p.where is None or not p.hint] == []
        assert len(set(problems)) == len(problems)


def test_keys_of_one_name_have_one_shape() -> None:
    """Whatever framework they are of: a manifest is read before it is known what serves."""
    shapes: dict[str, set[object]] = {}
    for framework in ALL.values():
        for key in (*framework.sources, *framework.keys):
            shapes.setdefault(key.name, set()).add((type(key), tuple(key.choices) if isinstance(key, ChoiceKey) else ()))
        assert all(key.default in key.choices for key in framework.policy)
    assert {name: len(found) for name, found in shapes.items() if len(found) > 1} == {}


FOREIGN = [
    (kind, name)
    for kind in sorted(ALL)
    for name in sorted({key.name for framework in ALL.values() for key in (*framework.sources, *framework.keys)})
    if name not in {key.name for key in (*ALL[kind].sources, *ALL[kind].keys)}
]


@pytest.mark.parametrize(("kind", "name"), FOREIGN)
def test_a_key_of_another_framework_is_refused_as_such(kind: str, name: str, tmp_path: Path) -> None:
    keys = keys_of(*ALL.values())
    key = next(key for framework in ALL.values() for key in (*framework.sources, *framework.keys) if key.name == name)
    given = {FilesKey: "[x]", ChoiceKey: key.choices[0] if isinstance(key, ChoiceKey) else "", ExportKey: "{function: 'a:b'}"}
    image = next(image.name for image in IMAGES if image.kind == kind)
    text = f"schema: 1\nmodels: {{m: {{framework: {image}, versions: {{'1':\n {{{name}: {given.get(type(key), 'x')}}}}}}}}}\n"
    (tmp_path / "gdcbuild.yaml").write_text(text)
    with pytest.raises(ManifestError) as caught:
        lower(load_manifest(tmp_path / "gdcbuild.yaml", {}, ALL), {each.name: each for each in IMAGES})
    said = [p for p in caught.value.problems if f"`{name}` is for {keys.titles(name)}, and {image} serves" in p.message]
    assert [(p.where and p.where.line, bool(p.hint)) for p in said] == [(3, True)]
    is_source = any(key in framework.sources for framework in ALL.values())
    assert any("no source" in p.message for p in caught.value.problems) != is_source


@pytest.mark.parametrize("what", ["empty", "other", "garbage", "empty entry", "below a folder"])
def test_an_artifact_that_no_server_would_load_is_refused(framework: Framework, what: str) -> None:
    artifacts: dict[str, dict[str, Blob]] = {
        "empty": {},
        "other": {"readme.txt": BytesBlob(b"x")},
        "garbage": {framework.entry: BytesBlob(bytes(range(255, 0, -1)))},
        "empty entry": {framework.entry: BytesBlob(b"")},
        "below a folder": {f"folder/{framework.entry}": BytesBlob(b"")},
    }
    for image in IMAGES:
        if image.kind == framework.kind:
            problems = framework.check(artifacts[what], image, Policy())
            assert problems
            assert [p for p in problems if not p.hint] == []


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"PK\x05\x06" + bytes(18), b"\x0a\xff\xff\xff\xff\x0f", b"\x80\x02c__builtin__\nexec\n"]
)
def test_hostile_bytes_give_problems_and_nothing_else(framework: Framework, data: bytes) -> None:
    image = next(i for i in IMAGES if i.kind == framework.kind)
    assert framework.check({framework.entry: BytesBlob(data)}, image, Policy())


@pytest.mark.parametrize("version", ["1", "42"])
def test_plain_numbers_are_versions(framework: Framework, version: str) -> None:
    assert framework.version_problem(version) is None


@pytest.mark.parametrize("version", ["", "0", "01", "-1", "1.10", "v1", "٣", "9" * 400, "1\n"])
def test_a_version_is_taken_or_refused_with_what_to_write(framework: Framework, version: str) -> None:
    problem = framework.version_problem(version)
    assert problem is None or "write" in problem


WATCHED = """
import sys
from importlib.abc import MetaPathFinder

class Watch(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("tensorflow", "torch", "keras", "numpy", "ts"):
            print(name)
        return None

sys.meta_path.insert(0, Watch())
from gdcbuild.core.digest import BytesBlob
from gdcbuild.core.graph import Policy
from gdcbuild.frameworks import FRAMEWORKS
from gdcbuild.frameworks.images import known
for image in known().values():
    framework = FRAMEWORKS[image.kind]
    framework.version_problem("1")
    framework.check({}, image, Policy())
    framework.check({framework.entry: BytesBlob(b"x")}, image, Policy())
"""


def test_neither_planning_nor_checking_imports_a_framework() -> None:
    done = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_a_syntax_error_in_a_file_has_a_line(sample: Sample) -> None:
    """In any input of any action, whatever bytes it has. None also means that it is not looked at."""
    actions = [each for request in sample.good.values() for each in lowered(sample.framework, request).actions]
    for action in actions:
        for item, data in product(action.inputs, (b"", b"def handle(data:\n", b"a: [\n", b"\0\xff")):
            found = sample.framework.mistake(action, item, BytesIO(data).read)
            assert found is None or (found.hint and found.where is not None)
