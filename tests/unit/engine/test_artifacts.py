"""Inputs laid out in an action's folder, from the workspace and from what other actions made."""

from __future__ import annotations

import pytest

from gdcbuild.core.digest import Digest, Tree, read_verified
from gdcbuild.core.graph import Action, Files, Input, MadeBy, SourceFile
from gdcbuild.engine.artifacts import Artifact, inputs_of
from gdcbuild.errors import ActionFailed, BlobDamaged, Location, StoreError
from gdcbuild.store.memory import MemoryCAS, MemoryWorkspace

WHERE = Location("gdcbuild.yaml", 4, 2)
X, Y = Digest.of(b"x"), Digest.of(b"y")
MADE = {
    "up": Artifact(Tree({"model": X, "variables/index": X, "variables/deep/data": Y})),
    "mixed": Artifact(Tree({"kept": X, "given": Y}), {"given": "source/given"}),
}
WORKSPACE = MemoryWorkspace({"source/given": b"y", "other": b"x"})


def laid(*inputs: Input) -> Artifact:
    return inputs_of(Action("one", "k", Files(), inputs, where=WHERE), MADE, WORKSPACE)


@pytest.mark.parametrize(
    ("place", "path", "expected"),
    [
        ("", "model", {"model": X}),
        ("m", "model", {"m": X}),
        ("m/", "model", {"m/model": X}),
        ("m/n", "model", {"m/n": X}),
        ("", "", {"model": X, "variables/index": X, "variables/deep/data": Y}),
        ("m/", "", {"m/model": X, "m/variables/index": X, "m/variables/deep/data": Y}),
        ("", "variables/", {"index": X, "deep/data": Y}),
        ("v/", "variables/", {"v/index": X, "v/deep/data": Y}),
        ("v/", "variables", {"v/index": X, "v/deep/data": Y}),
        ("data", "variables/deep/data", {"data": Y}),
    ],
)
def test_where_what_was_made_lies(place: str, path: str, expected: dict[str, Digest]) -> None:
    assert dict(laid(Input(place, MadeBy("up", path))).tree) == expected


def test_files_of_the_workspace_are_not_in_the_cache() -> None:
    found = laid(Input("a/b", SourceFile("other")), Input("", MadeBy("mixed")))
    assert dict(found.tree) == {"a/b": X, "kept": X, "given": Y}
    assert found.sources == {"a/b": "other", "given": "source/given"}
    assert not found.held(MemoryCAS())
    assert laid(Input("a", SourceFile("other"))).held(MemoryCAS())
    with pytest.raises(StoreError):
        found.blobs(MemoryCAS(), WORKSPACE)


def test_a_file_that_changes_after_it_was_judged_is_found_out() -> None:
    workspace = MemoryWorkspace({"f": b"x"})
    found = inputs_of(Action("one", "k", Files(), (Input("f", SourceFile("f")),)), {}, workspace)
    assert read_verified(found.blobs(MemoryCAS(), workspace)["f"]) == b"x"
    workspace.files["f"] = b"y"
    with pytest.raises(BlobDamaged):
        read_verified(found.blobs(MemoryCAS(), workspace)["f"])
    assert found.blobs(MemoryCAS(), workspace)["f"].crc is None, "that of other bytes"


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([Input("", MadeBy("up", "nope"))], "up made no 'nope'"),
        ([Input("", MadeBy("up", "mod"))], "up made no 'mod'"),
        ([Input("f", SourceFile("other")), Input("f", SourceFile("source/given"))], "two inputs lie at 'f'"),
        ([Input("", MadeBy("up")), Input("model", SourceFile("source/given"))], "two inputs lie at 'model'"),
        ([Input("a", SourceFile("other")), Input("a/b", SourceFile("other"))], "'a' is an input, and a folder of inputs too"),
        ([Input("", MadeBy("up")), Input("model/x/y", SourceFile("other"))], "'model' is an input, and a folder"),
    ],
)
def test_what_cannot_be_laid_is_said_at_its_place(inputs: list[Input], message: str) -> None:
    with pytest.raises(ActionFailed) as caught:
        laid(*inputs)
    (problem,) = caught.value.problems
    assert message in problem.message
    assert problem.hint
    assert problem.where == WHERE


def test_one_file_twice_at_one_place_is_once() -> None:
    assert dict(laid(Input("f", SourceFile("other")), Input("f", SourceFile("other"))).tree) == {"f": X}
