"""What a version was made from: told in its seal, and enough for a machine with an empty cache to see that nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import pytest

from gdcbuild.core.digest import BytesBlob, Digest
from gdcbuild.core.graph import Action, Graph, Toolchain
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Kind
from gdcbuild.core.ports import Run
from gdcbuild.core.seal import Provenance, Seal
from gdcbuild.engine.apply import Applying, Target
from gdcbuild.engine.bucket import newest_seals, read_seal
from gdcbuild.engine.judge import desired, judge
from gdcbuild.engine.planner import plan
from gdcbuild.runners.memory import MemoryRunner
from tests.unit.engine.world import Toy, World, action, graph, join

M = VersionId("m", "1")
CHAINS = {"t": Toolchain("t", "t.txt")}


@pytest.fixture
def world() -> World:
    found = World()
    found.files.files.update({"a": b"1", "b": b"2", "unused": b"3", "t.txt": b"x==1"})
    found.toolchains.digests["t"] = "1"
    return found


def chain(*more: Action) -> Graph:
    """A version of two actions: the first in a toolchain, the second reads what the first makes."""
    actions = {a.id: a for a in (action("up", "a", toolchain="t", env=("SEED",)), action("m", "@up", "b"), *more)}
    return graph(list(actions.values()), ["m"], CHAINS)


def elsewhere(world: World) -> World:
    """A machine that has the files and the bucket, and has never built anything."""
    return World(files=world.files, remote=world.remote, variables=world.variables)


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


def test_an_empty_cache_sees_that_nothing_has_changed(world: World) -> None:
    world.apply(chain())
    fresh = elsewhere(world)
    assert kind(fresh, chain()) is Kind.NONE
    fresh.apply(chain())
    assert (fresh.ran, fresh.toolchains.installed) == ([], [])
    assert kind(world, chain()) is Kind.NONE


def test_what_changed_since_it_was_published_is_said(world: World) -> None:
    world.apply(chain())
    world.files.files.update(a=b"changed", b=b"too")
    (change,) = elsewhere(world).plan(chain()).changes
    assert (change.kind, change.why) == (Kind.UNKNOWN, "input a changed and 1 more")
    world.files.files.update(a=b"1", b=b"2")
    (change,) = elsewhere(world).plan(chain(action("m", "b", "@up"))).changes
    assert (change.kind, change.why) == (Kind.UNKNOWN, "known when up is built")


def a_file(world: World) -> Graph:
    world.files.files["a"] = b"changed"
    return chain()


def the_requirements(world: World) -> Graph:
    return graph(list(chain().actions.values()), ["m"], {"t": Toolchain("another", "t.txt")})


def a_variable(world: World) -> Graph:
    world.variables["SEED"] = "7"
    return chain()


def a_parameter(world: World) -> Graph:
    return chain(action("up", "a", toolchain="t", env=("SEED",), params={"units": 64}))


def the_adapter(world: World) -> Graph:
    return chain(action("m", "@up", "b", version=2))


def an_edge(world: World) -> Graph:
    return chain(action("m", "b", "@up"))


@pytest.mark.parametrize("change", [a_file, the_requirements, a_variable, a_parameter, the_adapter, an_edge])
def test_an_empty_cache_sees_every_change(world: World, change: Callable[[World], Graph]) -> None:
    world.apply(chain())
    changed = change(fresh := elsewhere(world))
    assert kind(fresh, changed) is Kind.UNKNOWN


def test_what_goes_into_nothing_is_no_change(world: World) -> None:
    world.apply(chain())
    world.files.files["unused"] = b"changed"
    assert kind(elsewhere(world), chain(action("spare", "unused"))) is Kind.NONE


def test_the_seal_names_every_file_that_went_in(world: World) -> None:
    world.apply(chain())
    assert dict(provenance(world).sources) == {name: Digest.of(world.files.files[name]) for name in ("a", "b", "t.txt")}


def test_what_drifted_is_not_the_same(world: World) -> None:
    world.apply(chain())
    (key,) = world.served()
    world.remote.delete(key)
    assert kind(elsewhere(world), chain()) is Kind.DRIFT


def test_a_file_that_was_other_while_it_was_built_and_is_again_what_it_was(world: World) -> None:
    """What was built is told, not what lies there before or after it."""
    before = dict(world.files.files)

    def last(run: Run, inputs: Mapping[str, bytes]) -> Mapping[str, bytes]:
        if run.action.id == "m":
            world.files.files.update(before)
        return join(run, inputs)

    world.runner = MemoryRunner({"join": last})
    found = chain()
    rebuilder = world.rebuilder(found)
    judged = judge(found, [M], rebuilder)
    planned = plan(desired(found, [M], judged), world.observe(found, judged), "toy", "memory:", False)
    world.files.files["a"] = b"edited"
    target = Target(world.remote, False, {M: None})
    Applying(found, judged, rebuilder, {"toy": Toy()}, target, world.recorder.emit).run(planned, 1, False)
    assert world.served() == {"m/1/out": b"((edited) 2)"}
    assert world.files.files == before
    assert kind(elsewhere(world), found) is Kind.UNKNOWN
    assert provenance(world).sources["a"] == Digest.of(b"edited")


def test_a_seal_of_an_older_gdcbuild_tells_nothing(world: World) -> None:
    world.apply(chain())
    sealed = newest_seals(world.remote)[M]
    record = json.loads(seal_of(world).blob().data)
    del record["provenance"]
    world.remote.delete(sealed.key)
    world.remote.create(sealed.key, BytesBlob(json.dumps(record).encode()))
    assert seal_of(world).provenance is None
    assert kind(elsewhere(world), chain()) is Kind.UNKNOWN
    assert kind(world, chain()) is Kind.NONE


def test_the_same_bytes_from_other_inputs_keep_their_seal(world: World) -> None:
    world.runner = MemoryRunner({"join": lambda run, inputs: {"out": b"always"}})
    world.apply(chain())
    was = provenance(world)
    world.files.files["a"] = b"changed"
    world.apply(chain())
    assert provenance(world) == was


def test_a_long_chain_is_no_recursion(world: World) -> None:
    links = [action("0", "a"), *(action(str(n), f"@{n - 1}") for n in range(1, 3000)), action("m", "@2999")]
    judged = judge(found := graph(links, ["m"]), found.versions, world.rebuilder(found))
    assert dict(judged.recipes["m"].files) == {"a": Digest.of(b"1")}
