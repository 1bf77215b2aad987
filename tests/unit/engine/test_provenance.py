"""What a version was made from: recorded in its seal, so that a machine with an empty cache sees that nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from gdcbuild.core.digest import Blob, BytesBlob, Digest, Tree
from gdcbuild.core.graph import Action, Graph, Image, Inline, Policy, Toolchain
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Kind
from gdcbuild.core.seal import Provenance, Seal
from gdcbuild.errors import Problem
from gdcbuild.publishing.bucket import newest_seals, read_seal
from gdcbuild.runners.memory import MemoryRunner
from tests.unit.engine.world import Toy, World, action, graph, join

M = VersionId("m", "1")


@pytest.fixture
def world() -> World:
    found = World()
    found.files.files.update({"a": b"1", "b": b"2", "unused": b"3"})
    found.runner = MemoryRunner({"join": join, "pack": join})
    return found


def pack(name: str, *inputs: str, **more: object) -> Action:
    """An action of our own code: its key alone decides its bytes."""
    return replace(action(name, *inputs, kind="pack", **more), run=Inline("join"))


def packed(*more: Action) -> Graph:
    actions = {a.id: a for a in (pack("m", "a", "b"), *more)}
    return graph(list(actions.values()), ["m"])


def stepped() -> Graph:
    return graph([action("up", "a"), pack("m", "@up", "b")], ["m"])


def elsewhere(world: World) -> World:
    """A machine that has the files and the bucket, and has never built anything."""
    fresh = World(files=world.files, remote=world.remote, variables=world.variables)
    fresh.runner = MemoryRunner({"join": join, "pack": join})
    return fresh


def kind(world: World, found: Graph) -> Kind:
    (change,) = world.plan(found).changes
    return change.kind


def seal_of(world: World) -> Seal:
    found = read_seal(world.remote, newest_seals(world.remote)[M])
    assert found is not None
    return found


def provenance(world: World) -> Provenance:
    found = seal_of(world).provenance
    assert found is not None
    return found


def test_with_an_empty_cache_an_unchanged_version_is_up_to_date(world: World) -> None:
    world.apply(packed())
    fresh = elsewhere(world)
    (change,) = fresh.plan(packed()).changes
    assert (change.kind, change.why) == (Kind.NONE, "up to date: published from the same inputs")
    fresh.apply(packed())
    assert fresh.ran == []
    assert kind(world, packed()) is Kind.NONE


def a_file(world: World) -> Graph:
    world.files.files["a"] = b"changed"
    return packed()


def a_parameter(_: World) -> Graph:
    return packed(pack("m", "a", "b", params={"units": 64}))


def the_adapter(_: World) -> Graph:
    return packed(pack("m", "a", "b", version=2))


def places(_: World) -> Graph:
    return packed(pack("m", "b", "a"))


@pytest.mark.parametrize("change", [a_file, a_parameter, the_adapter, places])
def test_with_an_empty_cache_every_change_is_found(world: World, change: Callable[[World], Graph]) -> None:
    world.apply(packed())
    assert kind(elsewhere(world), change(world)) is Kind.UNKNOWN


def test_files_of_no_version_do_not_count(world: World) -> None:
    world.apply(packed())
    world.files.files["unused"] = b"changed"
    assert kind(elsewhere(world), packed(pack("spare", "unused"))) is Kind.NONE


def with_a_step() -> Graph:
    return stepped()


def by_a_command() -> Graph:
    return graph([action("m", "a", "b")], ["m"])


def with_a_variable() -> Graph:
    return packed(pack("m", "a", "b", env=("SEED",)))


def in_a_toolchain() -> Graph:
    return graph([pack("m", "a", "b", toolchain="t")], ["m"], {"t": Toolchain("t")})


@pytest.mark.parametrize("found", [with_a_step(), by_a_command(), with_a_variable(), in_a_toolchain()])
def test_versions_that_are_not_pure_are_built_first(world: World, found: Graph) -> None:
    """Nor is its key recorded: from a key that contains a variable, a short value could be guessed."""
    world.apply(found)
    assert provenance(world).key == ""
    assert kind(elsewhere(world), found) is Kind.UNKNOWN


def test_the_seal_lists_every_source_file(world: World) -> None:
    world.apply(stepped())
    assert provenance(world).sources == Tree({name: Digest.of(world.files.files[name]) for name in ("a", "b")})


def test_too_many_source_files_are_not_listed(world: World) -> None:
    names = [f"data/{n:04}" for n in range(1001)]
    world.files.files.update(dict.fromkeys(names, b"x"))
    world.apply(packed(pack("m", *names)))
    assert provenance(world).sources is None
    assert kind(elsewhere(world), packed(pack("m", *names))) is Kind.NONE
    world.apply(packed(pack("m", *names[1:])))
    assert provenance(world).sources == Tree(dict.fromkeys(names[1:], Digest.of(b"x")))


def test_a_drifted_version_is_not_up_to_date(world: World) -> None:
    world.apply(packed())
    (key,) = world.served()
    world.remote.delete(key)
    assert kind(elsewhere(world), packed()) is Kind.DRIFT


def test_a_file_that_changed_during_the_build_and_was_restored(world: World) -> None:
    """The seal records what was built, not the files before or after."""
    before = dict(world.files.files)

    class Toy2(Toy):
        def check(self, artifact: Mapping[str, Blob], image: Image, policy: Policy) -> list[Problem]:
            world.files.files.update(before)
            return []

    found = packed()
    world.toy = Toy2()
    world.confirm = lambda _: world.files.files.update(a=b"edited")
    world.apply(found)
    assert world.served() == {"m/1/out": b"(edited 2)"}
    assert world.files.files == before
    assert kind(elsewhere(world), found) is Kind.UNKNOWN
    sources = provenance(world).sources
    assert sources is not None
    assert sources["a"] == Digest.of(b"edited")


def rewritten(world: World, change: Callable[[dict[str, Any]], object]) -> None:
    """Replace the seal by another record."""
    sealed = newest_seals(world.remote)[M]
    record = json.loads(seal_of(world).blob().data)
    change(record)
    world.remote.delete(sealed.key)
    world.remote.create(sealed.key, BytesBlob(json.dumps(record).encode()))


ODD: dict[str, Callable[[dict[str, Any]], object]] = {
    "older": lambda r: r.pop("provenance"),
    "null": lambda r: r.update(provenance=None),
    "number": lambda r: r.update(provenance=7),
    "no sources": lambda r: r["provenance"].pop("sources"),
    "odd sources": lambda r: r["provenance"].update(sources=[{"path": 1}]),
    "odd key": lambda r: r["provenance"].update(key=["x"]),
    "empty key": lambda r: r["provenance"].update(key=""),
}


@pytest.mark.parametrize("case", ODD)
def test_an_unreadable_provenance_does_not_invalidate_the_seal(world: World, case: str) -> None:
    world.apply(packed())
    rewritten(world, ODD[case])
    assert kind(elsewhere(world), packed()) is Kind.UNKNOWN
    assert kind(world, packed()) is Kind.NONE


def commit(text: object) -> Callable[[dict[str, Any]], object]:
    return lambda record: record["provenance"].update(commit=text)


def test_an_invalid_commit_is_not_shown(world: World) -> None:
    world.apply(packed())
    for odd in ("x" * 5_000_000, "\x1b[2J", "abc", ["x"], None):
        rewritten(world, commit(odd))
        assert provenance(world).commit == ""
    rewritten(world, commit("0a" * 20 + "-dirty"))
    assert provenance(world).commit == "0a" * 20 + "-dirty"


def test_the_same_bytes_from_other_inputs_keep_their_seal(world: World) -> None:
    world.runner = MemoryRunner({"pack": lambda run, inputs: {"out": b"always"}})
    world.apply(packed())
    was = provenance(world)
    world.files.files["a"] = b"changed"
    world.apply(packed())
    assert provenance(world) == was


@pytest.mark.slow
def test_a_long_chain_needs_no_recursion(world: World) -> None:
    links = [action("0", "a"), *(action(str(n), f"@{n - 1}") for n in range(1, 2000)), action("m", "@1999")]
    world.apply(graph(links, ["m"]))
    assert provenance(world).sources == Tree({"a": Digest.of(b"1")})
