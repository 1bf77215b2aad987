"""A version of a TensorFlow model becomes one action, or a list of problems."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gdcbuild.core.digest import BytesBlob
from gdcbuild.core.graph import Action, Files, Image, Input, MadeBy, Policy, SourceFile, Worker
from gdcbuild.core.ids import VersionId
from gdcbuild.core.keys import Export, Values
from gdcbuild.core.ports import Framework
from gdcbuild.core.request import Lowered, Source, VersionRequest
from gdcbuild.errors import Location, Problem
from gdcbuild.frameworks.tensorflow.rules import TensorFlow

TENSORFLOW: Framework = TensorFlow()
PLACE = Location("gdcbuild.yaml", 7, 9)
REQUEST = VersionRequest(
    VersionId("digits", "2"), Image("tf2-cpu.2-18", "tensorflow", "2.18"), "tf", Location("gdcbuild.yaml", 5, 7)
)
EXPORT = Export(
    "digits.net:build", (Input("digits/net.py", SourceFile("m/digits/net.py")),), {"units": 64}, Values(), "m", PLACE
)
WORKER = Worker("gdcbuild.frameworks.tensorflow.worker")


def source(key: str, *paths: str) -> Source:
    return Source(key, tuple(Input(path, SourceFile(f"m/{path}")) for path in paths), PLACE)


def lowered(**parts: Any) -> Action:
    done = TENSORFLOW.lower(replace(REQUEST, **parts))
    assert isinstance(done, Lowered), done
    assert done.actions == (done.final,)
    return done.final


def refused(**parts: Any) -> list[Problem]:
    problems = TENSORFLOW.lower(replace(REQUEST, **parts))
    assert isinstance(problems, list), problems
    assert all(problem.where and problem.hint for problem in problems)
    return problems


def test_a_saved_model_is_taken_as_it_is() -> None:
    given_files = source("saved_model", "saved_model.pb", "variables/variables.index")
    assert lowered(sources=(given_files,)) == Action("digits@2", "tensorflow.saved_model", Files(), given_files.inputs)


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.hdf5"])
def test_a_keras_file_is_converted_in_the_toolchain(name: str) -> None:
    params = {"way": "keras", "file": name}
    inputs = (Input(name, MadeBy("train", "out/m")),)
    action = lowered(sources=(Source("keras", inputs, PLACE),))
    assert action == Action("digits@2", "tensorflow.keras", WORKER, inputs, params, "tf")


def test_an_export_calls_the_function_in_the_toolchain() -> None:
    params = {"way": "function", "function": "digits.net:build", "args": {"units": 64}}
    action = lowered(export=EXPORT)
    assert action == Action("digits@2", "tensorflow.export", WORKER, EXPORT.inputs, params, "tf", cwd="m")


def test_no_source() -> None:
    (problem,) = refused()
    assert problem.message == "digits@2 has no source"
    assert problem.hint == "give exactly one of saved_model, keras, export"
    assert problem.where == REQUEST.where


def test_more_than_one_source() -> None:
    (problem,) = refused(sources=(source("saved_model", "saved_model.pb"),), export=EXPORT)
    assert problem.message == "digits@2 has more than one source: saved_model and export"


@pytest.mark.parametrize("paths", [(), ("m.pt",), ("a.keras", "b.keras"), ("saved_model.pb",)])
def test_a_keras_source_is_one_keras_file(paths: tuple[str, ...]) -> None:
    (problem,) = refused(sources=(source("keras", *paths),))
    assert "must be one file ending in .keras or .h5" in problem.message


def test_the_folder_to_write_into_is_gdcbuilds_to_give() -> None:
    (problem,) = refused(export=replace(EXPORT, args={"export_dir": "out"}))
    assert "`args` sets export_dir" in problem.message
    assert problem.where == PLACE


def test_all_problems_are_reported_at_once() -> None:
    problems = refused(sources=(source("keras", "m.pt"),), export=replace(EXPORT, args={"export_dir": "out"}))
    assert len(problems) == 3


@pytest.mark.parametrize("version", ["1", "10", "20261123", str(2**63 - 1)])
def test_versions_that_are_served(version: str) -> None:
    assert TENSORFLOW.version_problem(version) is None


@pytest.mark.parametrize(
    ("version", "write"),
    [
        ("v1", 'such as "1"'),
        ("1.0", 'such as "1"'),
        ("-1", 'such as "1"'),
        ("+1", 'such as "1"'),
        ("", 'such as "1"'),
        (" 1", 'such as "1"'),
        ("²", 'such as "1"'),
        ("١", 'such as "1"'),
        ("0", 'such as "1"'),
        (str(2**63), 'such as "1"'),
        ("9" * 10_000, 'such as "1"'),
        ("007", 'write "7"'),
    ],
)
def test_versions_that_would_be_ignored(version: str, write: str) -> None:
    assert write in (TENSORFLOW.version_problem(version) or "")


def test_placeholder_files_are_not_a_saved_model() -> None:
    """Nothing else is reported then, because it would only follow from that."""
    pointer = BytesBlob(b"version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 9\n" % 0)
    files = {
        "saved_model.pb": BytesBlob(b""),
        "assets/words.txt": pointer,
        "variables/variables.data-00000-of-00001": pointer,
        "assets.extra/plain.txt": BytesBlob(b""),
        "large": BytesBlob(pointer.data * 1000),
    }
    assert [p.message for p in TENSORFLOW.check(files, REQUEST.image, Policy())] == [
        "'saved_model.pb' is empty; models, weights and tokenizers never are",
        "'assets/words.txt' is a Git LFS pointer, not the file itself",
        "'variables/variables.data-00000-of-00001' is a Git LFS pointer, not the file itself",
    ]
