"""Judging and making one action: hits, misses and their reasons, and what is never recorded."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gdcbuild.building import judge as judging
from gdcbuild.building.artifacts import Artifact
from gdcbuild.core.digest import Digest
from gdcbuild.core.graph import Action, Input, MadeBy, Toolchain
from gdcbuild.core.ports import Flag, Outputs, Run
from gdcbuild.core.verdict import Hit, Miss, Unknown, Verdict
from gdcbuild.errors import ActionFailed, BlobDamaged
from gdcbuild.runners.memory import MemoryRunner
from gdcbuild.store.memory import MemoryWorkspace
from tests.unit.engine.world import World, action, graph, join


def judge(world: World, *actions: Action) -> Verdict:
    found = graph(actions, [actions[-1].id], {"t": Toolchain("t", "t.txt")})
    return world.rebuilder(found).judge(actions[-1], {})[0]


def make(world: World, one: Action) -> tuple[Artifact, str]:
    found = graph([one], [one.id], {"t": Toolchain("t", "t.txt")})
    return world.rebuilder(found).make(one, {}, Flag(), lambda: None)


@pytest.fixture
def world() -> World:
    found = World()
    found.files.files.update(a=b"1", b=b"2")
    return found


def test_a_digest_that_the_runner_knows_is_reused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Digest.of(b"(1)")

    class Hashing(MemoryRunner):
        @contextmanager
        def run(self, run: Run, cancel: Flag) -> Iterator[Outputs]:
            with super().run(run, cancel) as outputs:
                yield Outputs(outputs, {"out": known})

    given: list[Digest | None] = []
    put = world.cas.put

    def spied(file: Path, digest: Digest | None = None, seen: object = None) -> Digest:
        given.append(digest)
        return put(file, digest)

    monkeypatch.setattr(world.cas, "put", spied)
    world.runner = Hashing({"join": join})
    assert dict(make(world, action("one", "a"))[0].tree) == {"out": known}
    assert given == [known]


def test_miss_then_hit(world: World) -> None:
    one = action("one", "a")
    verdict = judge(world, one)
    assert isinstance(verdict, Miss)
    assert verdict.why == "not built yet"
    assert make(world, one)[1] == "built"
    assert isinstance(judge(world, one), Hit)
    assert make(world, one)[1] == "cached"
    assert world.runner.ran == ["one"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (action("one", "b"), "input b (as 0) changed"),
        (action("one", "a", "b"), "input b (as 1) added"),
        (action("one", "a", params={"p": 1}), "parameter p added"),
        (action("one", "a", version=2), "gdcbuild itself changed (adapter version 1, now 2)"),
        (action("one", "a", env=("V",)), "variable V added"),
        (action("one", "a", kind="first"), "kind changed"),
        (action("one", "a", cwd="sub"), "folder added"),
        (action("one", "b", params={"p": 1}), "parameter p added and 1 more"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_reason_for_a_rebuild(world: World, changed: Action, why: str) -> None:
    make(world, action("one", "a"))
    verdict = judge(world, changed)
    assert isinstance(verdict, Miss)
    assert verdict.why == why


def test_inputs_are_named_by_their_workspace_path(world: World) -> None:
    one, two = action("one", "a"), action("two", "a", "b", "@one")
    made = {"one": make(world, one)[0]}
    rebuilder = world.rebuilder(graph([one, two], ["two"]))
    rebuilder.make(two, made, Flag(), lambda: None)
    world.files.files.update(a=b"changed")
    rebuilder = world.rebuilder(graph([one, two], ["two"]))
    fewer = replace(two, inputs=two.inputs[:1])
    verdict = rebuilder.judge(fewer, {})[0]
    assert isinstance(verdict, Miss)
    assert [str(d) for d in rebuilder.explain(fewer, verdict.key) or ()] == [
        "input a (as 0) changed",
        "input b (as 1) removed",
        "input out of one (as 2) removed",
    ]


def test_a_moved_file_is_reported_under_its_new_name(world: World) -> None:
    make(world, action("one", "a"))
    world.files.files["b"] = world.files.files["a"]
    assert make(world, action("one", "b"))[1] == "cached"
    world.files.files["b"] = b"other"
    verdict = judge(world, action("one"))
    assert isinstance(verdict, Miss)
    assert verdict.why == "input b (as 0) removed"


def test_unknown_until_what_it_needs_is_built(world: World) -> None:
    verdict = judge(world, action("one", "a"), action("two", "@one"))
    assert isinstance(verdict, Unknown)
    assert verdict.until == "one"


def test_unknown_until_its_toolchain_is_installed(world: World) -> None:
    world.toolchains.digests["t"] = "1"
    one = action("one", "a", toolchain="t")
    verdict = judge(world, one)
    assert isinstance(verdict, Unknown)
    assert verdict.until == "t"
    make(world, one)
    assert world.toolchains.installed == ["t"]
    assert isinstance(judge(world, one), Hit)


def test_a_result_that_is_known_needs_no_toolchain(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.toolchains.digests["t"] = "1"
    one = action("one", "a", toolchain="t")
    make(world, one)
    seen: list[str] = []
    monkeypatch.setattr(world.toolchains, "ensure", lambda toolchain, _cancel: seen.append(toolchain.name))
    assert make(world, one)[1] == "cached"
    assert seen == []


def test_another_toolchain_is_another_key(world: World) -> None:
    world.toolchains.digests["t"] = "1"
    one = action("one", "a", toolchain="t")
    make(world, one)
    world.toolchains.digests["t"] = "2"
    verdict = judge(world, one)
    assert isinstance(verdict, Miss)
    assert verdict.why == "toolchain changed"


def test_the_changed_package_of_a_toolchain_is_reported(world: World) -> None:
    world.toolchains.digests["t"] = "numpy=1 scipy=1"
    one = action("one", "a", toolchain="t")
    make(world, one)
    world.toolchains.digests["t"] = "numpy=2 scipy=1"
    verdict = judge(world, one)
    assert isinstance(verdict, Miss)
    assert verdict.why == "toolchain numpy changed"


def test_only_declared_variables_count(world: World) -> None:
    one = action("one", "a", env=("V",))
    world.variables.update(V="1", W="1")
    make(world, one)
    world.variables["W"] = "2"
    assert isinstance(judge(world, one), Hit)
    world.variables["V"] = "2"
    assert isinstance(judge(world, one), Miss)
    del world.variables["V"]
    assert isinstance(judge(world, one), Miss)


def failing(world: World, made: Mapping[str, bytes] | None = None, edit: str = "") -> None:
    """Let the next run of a "join" make other outputs, or edit an input while it runs."""

    def work(run: Run, inputs: Mapping[str, bytes]) -> Mapping[str, bytes]:
        if edit:
            world.files.files[edit] = b"edited"
        return join(run, inputs) if made is None else made

    world.runner = MemoryRunner({"join": work})


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({}, "one did not make 'out'"),
        ({"other": b""}, "one made 'other', which it does not declare"),
        ({"out": b"", "more": b""}, "one made 'more', which it does not declare"),
    ],
)
def test_outputs_must_be_declared(world: World, made: Mapping[str, bytes], message: str) -> None:
    failing(world, made)
    with pytest.raises(ActionFailed, match=message):
        make(world, action("one", "a"))
    assert isinstance(judge(world, action("one", "a")), Miss)


def test_an_input_that_changes_while_it_runs(world: World) -> None:
    failing(world, edit="a")
    with pytest.raises(ActionFailed, match="a changed while one ran"):
        make(world, action("one", "a"))
    world.files.files["a"] = b"1"
    assert isinstance(judge(world, action("one", "a")), Miss), "nothing was recorded"


def test_two_at_a_time_run_it_once(world: World) -> None:
    one = action("one", "a")
    rebuilder = world.rebuilder(graph([one], ["one"]))
    both = threading.Barrier(2)

    def work(_: int) -> str:
        both.wait(10)
        return rebuilder.make(one, {}, Flag(), lambda: None)[1]

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(work, range(2)))
    assert sorted(outcomes) == ["built", "cached"]
    assert world.runner.ran == ["one"]


def test_a_lost_blob_is_built_again(world: World) -> None:
    artifact, _ = make(world, action("one", "a"))
    (digest,) = artifact.tree.values()
    world.cas.discard(digest)
    assert make(world, action("one", "a"))[1] == "built"


def test_a_damaged_blob_is_not_used(world: World) -> None:
    artifact, _ = make(world, action("one", "a"))
    (digest,) = artifact.tree.values()
    world.cas._blobs[digest] = b"(2)"
    two = action("two", "@one")
    with pytest.raises(BlobDamaged):
        world.rebuilder(graph([action("one", "a"), two], ["two"])).make(two, {"one": artifact}, Flag(), lambda: None)


def test_a_path_that_was_not_made(world: World) -> None:
    artifact, _ = make(world, action("one", "a"))
    two = Action("two", "join", action("x", "a").run, (Input("x", MadeBy("one", "nope")),))
    with pytest.raises(ActionFailed, match="one did not make 'nope'"):
        world.rebuilder(graph([two], ["two"])).judge(two, {"one": artifact})


@pytest.mark.parametrize("record", [None, 5, [], {}, {"schema": 99}, {"schema": 1, "tree": [["p"]], "seconds": 0}])
def test_a_damaged_record_is_a_miss(world: World, record: object) -> None:
    one = action("one", "a")
    make(world, one)
    verdict = judge(world, one)
    assert isinstance(verdict, Hit)
    world.records.put("result", verdict.key.hash, record)
    assert isinstance(judge(world, one), Miss)


def test_large_files_are_hashed_several_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    both, met = threading.Barrier(2), []

    class Large(MemoryWorkspace):
        def slow(self, paths: Iterable[str]) -> list[str]:
            return sorted(paths)

        def digest(self, path: str) -> Digest:
            if threading.current_thread() is not threading.main_thread():
                met.append(both.wait(30))
            return super().digest(path)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    world.files = Large(world.files.files)
    found = graph([action("one", "a", "b")], ["one"])
    assert isinstance(judging.judge(found, found.versions, world.rebuilder(found)).verdicts["one"], Miss)
    assert sorted(met) == [0, 1]


def test_a_program_is_an_ingredient(world: World) -> None:
    world.runner.installed["join"] = "sha256:1"
    one = action("one", "a")
    make(world, one)
    assert isinstance(judge(world, one), Hit)
    world.runner.installed["join"] = "sha256:2"
    verdict = judge(world, one)
    assert isinstance(verdict, Miss)
    assert verdict.why == "program join changed"


def test_a_result_is_discarded_if_its_program_changes_meanwhile(world: World) -> None:
    world.runner.installed["join"] = "sha256:1"

    def replaced(run: Run, inputs: Mapping[str, bytes]) -> Mapping[str, bytes]:
        world.runner.installed["join"] = "sha256:2"
        return join(run, inputs)

    runner, world.runner = world.runner, MemoryRunner({"join": replaced})
    world.runner.installed = runner.installed
    with pytest.raises(ActionFailed, match="program join changed while one ran"):
        make(world, action("one", "a"))
    assert isinstance(judge(world, action("one", "a")), Miss)


def test_outputs_with_the_path_of_their_folder_are_detected(world: World) -> None:
    class Placed(MemoryRunner):
        @contextmanager
        def run(self, run: Run, cancel: Flag) -> Iterator[Outputs]:
            with super().run(run, cancel) as outputs:
                yield Outputs(outputs, place="(1")

    world.runner = Placed({"join": join})
    assert make(world, action("one", "a"))[0].bound == ("out",)
    assert make(world, action("two", "b"))[0].bound == ()
    cached, outcome = make(world, action("one", "a"))
    assert (cached.bound, outcome) == (("out",), "cached")
    verdict = judge(world, action("one", "a"))
    assert isinstance(verdict, Hit)
    assert verdict.bound == ("out",)


@pytest.mark.parametrize("form", ["utf-8", "utf-16-le", "utf-16-be"])
def test_the_path_of_their_folder_is_found_in_several_encodings(world: World, form: str) -> None:
    class Placed(MemoryRunner):
        @contextmanager
        def run(self, run: Run, cancel: Flag) -> Iterator[Outputs]:
            with super().run(run, cancel) as outputs:
                yield Outputs(outputs, place="/made/é")

    def written(_run: Run, _inputs: Mapping[str, bytes]) -> Mapping[str, bytes]:
        return {"out": "made in /made/é/out".encode(form)}

    world.runner = Placed({"join": written})
    assert make(world, action("one", "a"))[0].bound == ("out",)
