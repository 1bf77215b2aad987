"""The actions of PyTorch versions, and the requests that are refused."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import pytest
from model_archiver.model_packaging_utils import model_handlers

from gdcbuild.core.graph import Action, Image, Inline, Input, MadeBy, SourceFile, Worker
from gdcbuild.core.ids import VersionId
from gdcbuild.core.keys import Export, Values
from gdcbuild.core.ports import Framework
from gdcbuild.core.request import Lowered, Source, VersionRequest
from gdcbuild.errors import Location
from gdcbuild.frameworks.torchserve.keys import HANDLER as HANDLER_KEY
from gdcbuild.frameworks.torchserve.keys import Handler
from gdcbuild.frameworks.torchserve.rules import TorchServe
from tests.unit.frameworks.requests import having

FRAMEWORK: Framework = TorchServe()


def at(line: int) -> Location:
    return Location("gdcbuild.yaml", line, 3)


def file(path: str, line: int = 9, to: str | None = None) -> Input:
    return Input(to or path.rpartition("/")[2], SourceFile(path), at(line))


def source(key: str, path: str = "weights/v1.pt", line: int = 5) -> Source:
    return Source(key, (file(path),), at(line))


EXPORT = Export("digits.net:trained", (file("digits/net.py", to="digits/net.py"),), {"units": 8}, Values(), "", at(6))
HANDLER = Handler("digits", at(2), file("handlers/digits.py"))
BASE = having(
    VersionRequest(
        VersionId("digits", "2"), Image("pytorch-cpu.2-4", "pytorch", "2.4"), "interpreter", at(4), (source("weights"),)
    ),
    handler=Handler("base_handler", at(7)),
)


def lowered(request: VersionRequest) -> tuple[Action, ...]:
    result = FRAMEWORK.lower(request)
    assert isinstance(result, Lowered), result
    return result.actions


def laid(action: Action) -> dict[str, SourceFile | MadeBy]:
    return {item.path: item.origin for item in action.inputs}


def test_default_handlers_are_the_archivers() -> None:
    native = {"BaseHandler", "TorchScriptHandler"}  # which the archiver knows for the runtime LSP only
    assert set(HANDLER_KEY.ready) == set(model_handlers) | native


@pytest.mark.parametrize("version", ["1", "1.10", "2024-05-01_rc.1", "0"])
def test_any_version_will_do(version: str) -> None:
    assert FRAMEWORK.version_problem(version) is None


def test_files_are_in_folders_by_role() -> None:
    handler = Handler(
        "digits",
        at(2),
        file("handlers/digits.py"),
        "predict",
        (file("labels/a/b.txt", to="labels/a/b.txt"),),
        file("h/req.txt"),
    )
    request = having(
        BASE,
        model_file=file("digits/net.py"),
        handler=handler,
        files=(Input("vocab/", MadeBy("step:vocab", "out/"), at(8)),),
        config=file("conf/serve.yaml"),
    )
    (action,) = lowered(request)
    assert (action.id, action.kind, action.run) == (
        "digits@2",
        "pytorch.pack",
        Inline("gdcbuild.frameworks.torchserve.mar.pack"),
    )
    assert laid(action) == {
        "weights/v1.pt": SourceFile("weights/v1.pt"),
        "model_file/net.py": SourceFile("digits/net.py"),
        "handler/digits.py": SourceFile("handlers/digits.py"),
        "requirements/req.txt": SourceFile("h/req.txt"),
        "config/serve.yaml": SourceFile("conf/serve.yaml"),
        "extra/labels/a/b.txt": SourceFile("labels/a/b.txt"),
        "extra/vocab/": MadeBy("step:vocab", "out/"),
    }
    assert action.params == {"handler": "digits:predict", "version": "2", "runtime": "python", "config": None}
    assert action.toolchain is None


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (Handler("image_classifier", at(1)), "image_classifier"),
        (HANDLER, "digits.py"),
        (replace(HANDLER, function="predict"), "digits:predict"),
        (Handler("native", at(2), file("build/libdigits.so"), "Digits"), "libdigits:Digits"),
        (Handler("native", at(2), file("build/libdigits.so")), "libdigits"),
        (Handler("TorchScriptHandler", at(1)), "TorchScriptHandler"),
    ],
)
def test_the_handler_is_written_as_the_archiver_writes_it(handler: Handler, expected: str) -> None:
    native = handler.name in ("native", "TorchScriptHandler")
    (action,) = lowered(having(BASE, handler=handler, runtime="LSP" if native else "python3"))
    assert (action.params["handler"], action.params["runtime"]) == (expected, "LSP" if native else "python3")


def test_time_and_zlib_are_parameters_only_when_asked_for() -> None:
    for sources in (BASE.sources, (source("mar", "old/digits.mar"),)):
        request = having(BASE, sources=sources, **{} if sources == BASE.sources else {"handler": None})
        (plain,), (asked,) = lowered(request), lowered(having(request, compression="deflate", epoch=5))
        assert asked.params == {**plain.params, "SOURCE_DATE_EPOCH": 5, "deflate": zlib.ZLIB_RUNTIME_VERSION}


def test_an_export_comes_first_and_is_packed_whole() -> None:
    export, pack = lowered(
        having(BASE, sources=(), export=replace(EXPORT, options=Values(method="script"), cwd="models"), toolchain="t.txt")
    )
    assert (export.id, export.kind) == ("digits@2:export", "pytorch.export")
    assert export.run == Worker("gdcbuild.frameworks.torchserve.worker")
    assert (export.inputs, export.cwd, export.toolchain) == (EXPORT.inputs, "models", "t.txt")
    assert export.params == {"function": "digits.net:trained", "args": {"units": 8}, "method": "script"}
    assert laid(pack) == {"": MadeBy("digits@2:export", "")}
    assert pack.needs == ("digits@2:export",)


@pytest.mark.parametrize("handler", [HANDLER, Handler("vllm_handler", at(7))])
def test_a_handler_that_finds_its_own_model_needs_no_weights(handler: Handler) -> None:
    (action,) = lowered(having(BASE, sources=(), handler=handler, files=(file("llama/model.safetensors"),)))
    assert "extra/model.safetensors" in laid(action)
    assert not any(path.startswith("weights/") for path in laid(action))


def test_an_existing_archive_is_repacked() -> None:
    (action,) = lowered(having(BASE, sources=(source("mar", "old/digits.mar"),), handler=None))
    assert (action.id, action.kind, action.run) == (
        "digits@2",
        "pytorch.repack",
        Inline("gdcbuild.frameworks.torchserve.mar.repack"),
    )
    assert laid(action) == {"mar/digits.mar": SourceFile("old/digits.mar")}


def test_a_file_that_a_glob_names_again_is_taken_once() -> None:
    (action,) = lowered(having(BASE, handler=HANDLER, files=(file("handlers/digits.py"), file("handlers/common.py"))))
    assert set(laid(action)) == {"weights/v1.pt", "handler/digits.py", "extra/common.py"}


def test_files_with_the_same_bytes_are_taken_once() -> None:
    request = having(BASE, model_file=file("a/net.py"), files=(file("b/net.py"), file("c/words.txt")), same=lambda *_: True)
    (action,) = lowered(having(request, handler=replace(HANDLER, files=(file("words.txt"),))))
    assert laid(action) == {
        "weights/v1.pt": SourceFile("weights/v1.pt"),
        "model_file/net.py": SourceFile("a/net.py"),
        "handler/digits.py": SourceFile("handlers/digits.py"),
        "extra/words.txt": SourceFile("words.txt"),
    }


GIVEN = {
    "model_file": at(21),
    "handler": at(22),
    "files": at(23),
    "config": at(24),
    "runtime": at(25),
    "requirements": at(26),
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sources": ()}, [("gdcbuild.yaml:4:3", "has no source")]),
        ({"sources": (), "handler": None}, [("gdcbuild.yaml:4:3", "no source"), ("gdcbuild.yaml:4:3", "no handler")]),
        ({"handler": None}, [("gdcbuild.yaml:4:3", "has no handler")]),
        ({"export": EXPORT}, [("gdcbuild.yaml:6:3", "has 2 sources: weights, export")]),
        (
            {"sources": (), "export": EXPORT, "model_file": file("net.py"), "given": GIVEN},
            [("gdcbuild.yaml:21:3", "`model_file` only works with `weights`")],
        ),
        (
            {
                "sources": (source("mar"),),
                "model_file": file("n.py"),
                "files": (file("a"),),
                "config": {"a": 1},
                "requirements": file("r.txt"),
                "given": GIVEN,
            },
            [(str(place), f"`{key}` has no effect") for key, place in GIVEN.items()],
        ),
        (
            {"handler": HANDLER, "files": (file("other/digits.py", 31),)},
            [("gdcbuild.yaml:31:3", "'digits.py' in the archive: handlers/digits.py (gdcbuild.yaml:9:3) and other/digits.py")],
        ),
        (
            {"config": {"batchSize": 1}, "files": (file("conf/model-config.yaml", 31),), "given": GIVEN},
            [("gdcbuild.yaml:31:3", "the mapping given as `config` (gdcbuild.yaml:24:3) and conf/model-config.yaml")],
        ),
        (
            {"handler": replace(HANDLER, requirements=file("r.txt")), "requirements": file("s.txt"), "given": GIVEN},
            [("gdcbuild.yaml:26:3", "the version and its handler 'digits' both have `requirements`")],
        ),
        ({"runtime": "LSP"}, [("gdcbuild.yaml:4:3", "the runtime LSP cannot use the handler base_handler")]),
        ({"runtime": "LSP", "handler": HANDLER, "given": {"runtime": at(41)}}, [("gdcbuild.yaml:41:3", "handler digits.py")]),
        ({"handler": Handler("BaseHandler", at(7))}, [("gdcbuild.yaml:4:3", "python cannot use the handler BaseHandler")]),
        (
            {"handler": replace(HANDLER, file=file("libdigits.so")), "given": {"handler": at(42)}},
            [("gdcbuild.yaml:42:3", "python cannot use the handler libdigits.so")],
        ),
        ({"files": (file("x", 31, to="MAR-INF/MANIFEST.json"),)}, [("gdcbuild.yaml:31:3", "the archive's manifest and x")]),
        ({"files": (Input("v1.pt", MadeBy("step:q", "v1.pt"), at(31)),)}, [("gdcbuild.yaml:31:3", "and v1.pt of step:q")]),
    ],
)
def test_refused_with_the_line(changes: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    problems = FRAMEWORK.lower(having(BASE, **changes))
    assert isinstance(problems, list)
    assert len(problems) == len(expected)
    for where, text in expected:
        assert any(str(p.where) == where and text in p.message for p in problems), problems
    assert all(p.hint for p in problems)
