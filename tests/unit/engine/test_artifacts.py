"""Inputs laid out in an action's folder, from the workspace and from what other actions made."""

from __future__ import annotations

import pytest

from gdcbuild.building.artifacts import Artifact, inputs_of, named
from gdcbuild.core.digest import Digest, Tree
from gdcbuild.core.graph import Action, Files, Graph, Image, Input, MadeBy, SourceFile, Version
from gdcbuild.core.ids import VersionId
from gdcbuild.errors import ActionFailed, BlobDamaged, Location, StoreError
from gdcbuild.files.content import read_verified
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
def test_where_outputs_are_placed(place: str, path: str, expected: dict[str, Digest]) -> None:
    assert dict(laid(Input(place, MadeBy("up", path))).tree) == expected


def test_files_of_the_workspace_are_not_in_the_cache() -> None:
    found = laid(Input("a/b", SourceFile("other")), Input("", MadeBy("mixed")))
    assert dict(found.tree) == {"a/b": X, "kept": X, "given": Y}
    assert found.sources == {"a/b": "other", "given": "source/given"}
    assert not found.held(MemoryCAS())
    assert laid(Input("a", SourceFile("other"))).held(MemoryCAS())
    with pytest.raises(StoreError):
        found.blobs(MemoryCAS(), WORKSPACE)


def test_a_file_that_changes_after_it_was_judged_is_detected() -> None:
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
        ([Input("", MadeBy("up", "nope"))], "up did not make 'nope'"),
        ([Input("", MadeBy("up", "mod"))], "up did not make 'mod'"),
        ([Input("f", SourceFile("other")), Input("f", SourceFile("source/given"))], "two inputs are at 'f'"),
        ([Input("", MadeBy("up")), Input("model", SourceFile("source/given"))], "two inputs are at 'model'"),
        ([Input("a", SourceFile("other")), Input("a/b", SourceFile("other"))], "'a' is both an input and a folder of inputs"),
        ([Input("", MadeBy("up")), Input("model/x/y", SourceFile("other"))], "'model' is both an input and a folder"),
    ],
)
def test_inputs_that_cannot_be_placed_are_reported_with_their_line(inputs: list[Input], message: str) -> None:
    with pytest.raises(ActionFailed) as caught:
        laid(*inputs)
    (problem,) = caught.value.problems
    assert message in problem.message
    assert problem.hint
    assert problem.where == WHERE


def test_the_same_file_twice_at_one_path_is_one_file() -> None:
    assert dict(laid(Input("f", SourceFile("other")), Input("f", SourceFile("other"))).tree) == {"f": X}


def test_files_that_the_manifest_names_for_a_version() -> None:
    """Its own files and single outputs of others; not what came with a folder, nor what only a step reads."""
    workspace = MemoryWorkspace({name: name.encode() for name in ("named", "swept", "of the step", "of the export")})
    made = {"step:s": Artifact(Tree({"one": X, "folder/two": Y})), "m@1:export": Artifact(Tree({"three": Digest.of(b"z")}))}
    actions = {
        "step:s": Action("step:s", "step", Files(), (Input("a", SourceFile("of the step"), named=True),)),
        "m@1:export": Action("m@1:export", "k", Files(), (Input("a", SourceFile("of the export"), named=True),)),
        "m@1": Action(
            "m@1",
            "k",
            Files(),
            (
                Input("a", SourceFile("named"), named=True),
                Input("b", SourceFile("swept")),
                Input("c", MadeBy("step:s", "one")),
                Input("d/", MadeBy("step:s", "folder/")),
                Input("", MadeBy("m@1:export")),
            ),
        ),
    }
    version = Version(VersionId("m", "1"), "m@1", Image("i", "k", "1"))
    expected = {Digest.of(b"named").hash, Digest.of(b"of the export").hash, X.hash}
    assert named(Graph(actions, {version.id: version}, {}), version, made, workspace) == expected
