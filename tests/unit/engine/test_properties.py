"""What holds for every graph: shown on random ones, with ports in memory."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdcbuild.building.explain import explain
from gdcbuild.building.judge import judge
from gdcbuild.core.events import JobFinished
from gdcbuild.core.graph import Action, Graph, MadeBy
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Kind
from gdcbuild.core.verdict import Hit, Unknown
from tests.unit.engine.world import World, action, graph

FILES = ["a", "b", "c", "d"]


@dataclass(frozen=True)
class Drawn:
    """A random graph: each action needs files and earlier actions; some are published."""

    actions: tuple[Action, ...]
    published: tuple[str, ...]

    def graph(self, order: Sequence[Action] | None = None) -> Graph:
        return graph(order or self.actions, self.published)


@st.composite
def graphs(draw: st.DrawFn) -> Drawn:
    actions: list[Action] = []
    for n in range(draw(st.integers(1, 7))):
        earlier = [f"@{a.id}" for a in actions]
        inputs = draw(st.lists(st.sampled_from(FILES + earlier), min_size=1, max_size=4))
        actions.append(action(f"n{n}", *inputs, kind=draw(st.sampled_from(["join", "first"])), params={"n": n}))
    published = draw(st.lists(st.sampled_from([a.id for a in actions]), min_size=1, unique=True))
    return Drawn(tuple(actions), tuple(published))


contents = st.dictionaries(st.sampled_from(FILES), st.binary(min_size=1, max_size=3).filter(lambda b: b"bad" not in b))
full = st.fixed_dictionaries({name: st.sampled_from([b"x", b"xy", b"z"]) for name in FILES})
edits = st.lists(st.dictionaries(st.sampled_from(FILES), st.sampled_from([b"x", b"xy", b"z"])), max_size=4)


@pytest.mark.slow
@given(graphs(), full, edits)
def test_incremental_equals_clean(drawn: Drawn, files: dict[str, bytes], changes: list[dict[str, bytes]]) -> None:
    world = World()
    world.files.files.update(files)
    world.apply(drawn.graph())
    for change in changes:
        world.files.files.update(change)
        world.apply(drawn.graph())
        clean = World()
        clean.files.files.update(world.files.files)
        clean.apply(drawn.graph())
        assert world.served() == clean.served()


@given(graphs(), full, edits)
def test_a_second_apply_does_nothing(drawn: Drawn, files: dict[str, bytes], changes: list[dict[str, bytes]]) -> None:
    world = World()
    world.files.files.update(files)
    for change in [{}, *changes]:
        world.files.files.update(change)
        world.apply(drawn.graph())
        before = world.objects()
        again = world.apply(drawn.graph())
        assert world.ran == []
        assert world.objects() == before
        assert {(v.change, v.outcome) for v in again.versions} == {(Kind.NONE, "unchanged")}


@pytest.mark.slow
@given(graphs(), full, edits)
def test_the_plan_predicts_the_apply(drawn: Drawn, files: dict[str, bytes], changes: list[dict[str, bytes]]) -> None:
    world = World()
    world.files.files.update(files)
    for change in [{}, *changes]:
        world.files.files.update(change)
        planned = world.plan(drawn.graph())
        assert planned == world.plan(drawn.graph()), "planning changes nothing"
        before = world.served()
        world.apply(drawn.graph())
        after = world.served()
        outcomes = {e.job: e.outcome for e in world.recorder.events if isinstance(e, JobFinished) and e.what == "publish"}
        for row in planned.changes:
            key = f"{row.id.model}/1/out"
            outcome = outcomes.get(str(row.id))
            match row.kind:
                case Kind.NONE:
                    assert outcome is None
                    assert after[key] == before[key]
                case Kind.CREATE:
                    assert outcome == "created"
                case Kind.REPLACE:
                    assert outcome == "replaced"
                    assert after[key] != before[key]
                case Kind.UNKNOWN:
                    assert outcome == ("unchanged" if after[key] == before[key] else "replaced")
                case _:
                    raise AssertionError(row)
            if row.digest is not None:
                assert planned.changes and row.build != "build"


@given(graphs(), full, st.randoms(use_true_random=False))
def test_the_order_of_declaration_never_matters(drawn: Drawn, files: dict[str, bytes], chance: random.Random) -> None:
    shuffled = list(drawn.actions)
    chance.shuffle(shuffled)
    one, other = World(), World()
    for world in (one, other):
        world.files.files.update(files)
    assert drawn.graph().order == drawn.graph(shuffled).order
    one.apply(drawn.graph())
    other.apply(drawn.graph(shuffled))
    assert one.objects() == other.objects()
    assert one.runner.ran == other.runner.ran


@given(graphs(), full, edits)
def test_only_actions_reached_by_a_change_run(drawn: Drawn, files: dict[str, bytes], changes: list[dict[str, bytes]]) -> None:
    world = World()
    world.files.files.update(files)
    found = drawn.graph()
    world.apply(found)
    for change in changes:
        changed = {name for name, data in change.items() if world.files.files[name] != data}
        world.files.files.update(change)
        world.apply(found)
        reached: set[str] = set()
        for name in found.order:
            sources = {i.origin.path for i in found.actions[name].inputs if hasattr(i.origin, "action") is False}
            if sources & changed or reached & set(found.actions[name].needs):
                reached.add(name)
        assert set(world.ran) <= reached


def outputs(actions: Sequence[Action], files: dict[str, bytes]) -> tuple[dict[str, bytes], dict[str, tuple[bytes, ...]]]:
    """What each action makes, and what it reads: worked out here, without the engine."""
    made: dict[str, bytes] = {}
    read: dict[str, tuple[bytes, ...]] = {}
    for one in actions:
        data = [made[i.origin.action] if isinstance(i.origin, MadeBy) else files[i.origin.path] for i in one.inputs]
        read[one.id] = tuple(data)
        made[one.id] = b"".join(d[:1] for d in data) if one.kind == "first" else b"(" + b" ".join(data) + b")"
    return made, read


@given(graphs(), full, edits)
def test_exactly_the_actions_with_new_input_bytes_are_run(
    drawn: Drawn, files: dict[str, bytes], changes: list[dict[str, bytes]]
) -> None:
    """Early cut-off: what an unchanged artifact goes into is not run, however much changed above it."""
    world = World()
    world.files.files.update(files)
    found = drawn.graph()
    wanted = found.closure(drawn.published)
    seen: set[tuple[str, tuple[bytes, ...]]] = set()
    for change in [{}, *changes]:
        world.files.files.update(change)
        made, read = outputs(drawn.actions, world.files.files)
        new = {(name, read[name]) for name in wanted} - seen
        world.apply(found)
        assert world.ran == sorted(name for name, _ in new)
        assert world.served() == {f"{name}/1/out": made[name] for name in drawn.published}
        seen |= new


@given(graphs(), full, edits)
def test_actions_below_one_that_must_be_built_are_unknown(
    drawn: Drawn, files: dict[str, bytes], changes: list[dict[str, bytes]]
) -> None:
    world = World()
    world.files.files.update(files)
    found = drawn.graph()
    for change in [{}, *changes]:
        world.files.files.update(change)
        planned = world.plan(found)
        verdicts = judge(found, found.versions, world.rebuilder(found)).verdicts
        for name, verdict in verdicts.items():
            open_needs = [need for need in found.actions[name].needs if not isinstance(verdicts[need], Hit)]
            assert isinstance(verdict, Unknown) == bool(open_needs)
            if isinstance(verdict, Unknown):
                assert verdict.until == open_needs[0]
        for row in planned.changes:
            certain = isinstance(verdicts[row.id.model], Hit)
            assert certain == (row.digest is not None)
            assert (row.kind is Kind.UNKNOWN) == (not certain and row.published is not None)
        world.apply(found)


def test_a_chain_of_ten_thousand_needs_no_recursion() -> None:
    actions = [action(f"n{n:05}", f"@n{n - 1:05}" if n else "a", kind="first") for n in range(10_000)]
    world = World()
    world.files.files["a"] = b"x"
    last = VersionId(actions[-1].id, "1")
    for found in (graph(actions, [last.model]), graph(actions[::-1], [last.model])):
        assert found.order == tuple(a.id for a in actions)
        assert len(found.closure([last.model])) == 10_000
        chain = explain(found, judge(found, [last], world.rebuilder(found)), last, world.rebuilder(found))
        assert [step.action for step in chain[:2]] == [last.model, "n09998"]
        assert sum(isinstance(step.verdict, Unknown) for step in chain) == 9_999


@given(graphs(), full)
@settings(max_examples=30)
def test_losing_blobs_loses_nothing(drawn: Drawn, files: dict[str, bytes]) -> None:
    world = World()
    world.files.files.update(files)
    world.apply(drawn.graph())
    served = world.served()
    fresh = World(files=world.files, records=world.records)
    fresh.apply(drawn.graph())
    assert fresh.served() == served
