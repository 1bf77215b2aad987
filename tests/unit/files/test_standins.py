"""Placeholder files recognised by their bytes, and files that are not placeholders."""

from __future__ import annotations

from typing import Any

import pytest

from gdcbuild.files.standins import MAX_BYTES, StandIn, among, recognise

OID = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
LFS = f"version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 12345\n"
EXTENDED = LFS.replace("oid", f"ext-0-crypt sha256:{OID[::-1]}\noid")
DVC = "outs:\n- md5: 22a1a2931c8370d3aeedd7183606fd7f\n  size: 14445097\n  hash: md5\n  path: data.xml\n"
IMPORTED = f"md5: a6\nfrozen: true\ndeps:\n- path: there/data.xml\n  repo:\n    url: ../x\n{DVC}"
REMOTE = "outs:\n- etag: d41d8\n  size: 3\n  path: 'my data'\n"
KEY = f"SHA256E-s12345--{OID}.pt"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (LFS, StandIn("lfs", OID)),
        (LFS.replace("\n", "\r\n"), StandIn("lfs", OID)),
        (EXTENDED, StandIn("lfs", OID)),
        (LFS.replace("git-lfs.github.com/spec/v1", "hawser.github.com/spec/v1"), StandIn("lfs", OID)),
        (LFS[:60], StandIn("lfs")),
        (f"/annex/objects/{KEY}\n", StandIn("annex", OID)),
        (f"../.git/annex/objects/Jx/G2/{KEY}/{KEY}", StandIn("annex", OID)),
        ("/annex/objects/MD5E-s5--0cc175b9c0f1b6a831c399e269772661.pt\n", StandIn("annex")),
        (DVC, StandIn("dvc", path="deep/data.xml")),
        (IMPORTED, StandIn("dvc", path="deep/data.xml")),
        (REMOTE, StandIn("dvc", path="deep/my data")),
    ],
)
def test_placeholder_files(data: str, expected: StandIn) -> None:
    assert recognise("deep/file.dvc", data.encode()) == expected


@pytest.mark.parametrize(
    "data",
    [
        f"# How a pointer looks\n{LFS}",
        "version https://example.com/spec/v1\n",
        "stages:\n  train:\n    outs:\n    - model.pt:\n        hash: md5\n",
        "schema: '2.0'\nstages:\n  train:\n    outs:\n    - path: model.pt\n      md5: 22a1\n",
        "outs:\n- path: plain\n",
        "see /annex/objects/ for them\n",
        LFS + "x" * MAX_BYTES,
    ],
)
def test_files_with_content_of_their_own(data: str) -> None:
    assert recognise("deep/file.dvc", data.encode()) is None


@pytest.mark.parametrize(
    "name",
    [
        "w.pt",
        "old.mar",
        "a/NET.ONNX",
        "h.so",
        "m.keras",
        "m.h5",
        "tokenizer.model",
        "tokenizer.json",
        "bert-vocab.txt",
        "sm/saved_model.pb",
    ],
)
def test_files_that_are_never_empty(name: str) -> None:
    assert recognise(name, b"") == StandIn("empty")
    assert recognise(name, b"\n") is None


@pytest.mark.parametrize(
    "name", ["__init__.py", ".gitkeep", "labels.txt", "settings.yaml", "py.typed", "fingerprint.pb", "weights"]
)
def test_files_that_may_be_empty(name: str) -> None:
    assert recognise(name, b"") is None


def test_placeholders_among_published_files() -> None:
    files = {
        "w.pt": LFS.encode(),
        "data.dvc": b"outs:\n- md5: 22a1\n  path: data\n",
        "data": b"x",
        "lost.dvc": b"outs:\n- md5: 22a1\n  path: lost\n",
        "weights": b"",
        "__init__.py": b"",
        "large": bytes(MAX_BYTES + 1),
    }
    read = []

    def start(path: str) -> bytes:
        read.append(path)
        return files[path]

    found = among({path: len(data) for path, data in files.items()}, start, ["weights", "not there"])
    assert {path: each.kind for path, each in found.items()} == {"w.pt": "lfs", "lost.dvc": "dvc", "weights": "empty"}
    assert "large" not in read


@pytest.mark.parametrize(
    ("standin", "arguments", "hint"),
    [
        (StandIn("lfs"), ("a b/w.pt",), "fetch it: git lfs pull --include 'a b/w.pt'"),
        (StandIn("lfs"), ("w.pt", "sub"), "fetch it: git -C sub lfs pull --include w.pt"),
        (StandIn("annex"), ("w.pt",), "fetch it: git annex get w.pt"),
        (StandIn("dvc", path="w.pt"), ("w.pt.dvc",), "fetch it: dvc pull w.pt.dvc; then write 'w.pt' instead"),
        (StandIn("lfs"), (), "fetch the files before the model is saved or packed: git lfs pull"),
        (StandIn("annex"), (), "fetch the files before the model is saved or packed: git annex get"),
        (StandIn("dvc"), (), "fetch the files before the model is saved or packed: dvc pull"),
    ],
)
def test_the_hint_has_the_command_to_run(standin: StandIn, arguments: tuple[Any, ...], hint: str) -> None:
    assert standin.problem("shown", *arguments).hint == hint
