"""The plan and its explanation: what a bucket in disorder comes to, and why a version is built."""

from __future__ import annotations

from typing import BinaryIO

import pytest

from gdcbuild.building.explain import explain
from gdcbuild.building.judge import judge
from gdcbuild.core.digest import BytesBlob
from gdcbuild.core.events import JobFinished
from gdcbuild.core.graph import Action, Files, Graph, Input, SourceFile
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Build, Change, Kind
from gdcbuild.core.verdict import Unknown
from gdcbuild.errors import Refused
from gdcbuild.publishing.bucket import claim_key, newest_seals
from gdcbuild.report import text
from tests.unit.engine.world import World, action, graph

M = VersionId("m", "1")
ONE = graph([action("m", "a")], ["m"])


@pytest.fixture
def world() -> World:
    found = World()
    found.files.files.update(a=b"1", b=b"2")
    return found


def row(world: World, found: Graph = ONE) -> Change:
    (change,) = world.plan(found).changes
    return change


def test_files_are_taken_as_they_are(world: World) -> None:
    found = graph([Action("m", "files", Files(), (Input("out", SourceFile("a")),))], ["m"])
    assert (row(world, found).kind, row(world, found).build, row(world, found).why) == (
        Kind.CREATE,
        Build.SOURCE,
        "not published yet",
    )
    world.apply(found)
    assert world.served() == {"m/1/out": b"1"}
    world.files.files["a"] = b"2"
    assert (row(world, found).kind, row(world, found).build) == (Kind.REPLACE, Build.SOURCE), "known without building"


def test_an_unfinished_publish(world: World) -> None:
    world.remote.create(claim_key(M, 1), BytesBlob(b'{"digest": "sha256:other"}'))
    world.remote.create("m/1/out", BytesBlob(b"half"))
    begun = "a publish was started but not finished"
    assert (row(world).kind, row(world).why) == (Kind.UNKNOWN, f"{begun}; not built yet")
    world.rebuild(ONE)
    assert (row(world).kind, row(world).why) == (Kind.REPLACE, f"{begun}; out: has 4 bytes, but 3 in the artifact")
    world.remote.delete("m/1/out")
    world.remote.create("m/1/notes", BytesBlob(b"by hand"))
    assert (row(world).kind, row(world).detail) == (Kind.REPLACE, ("notes: is not in the artifact",))
    world.remote.delete("m/1/notes")
    world.remote.create("m/1/out", BytesBlob(b"(2)"))
    assert (row(world).kind, row(world).detail) == (Kind.REPLACE, ("out: differs from the artifact",))
    world.remote.delete("m/1/out")
    world.remote.create("m/1/out", BytesBlob(b"(1)"))
    assert (row(world).kind, row(world).why) == (Kind.CREATE, begun), "nothing is removed"
    world.immutable = True
    assert (row(world).kind, row(world).why) == (Kind.CONFLICT, "an unfinished publish has sha256:other")
    before = world.objects()
    with pytest.raises(Refused):
        world.apply(ONE)
    assert world.objects() == before


def test_an_unfinished_publish_without_objects(world: World) -> None:
    world.remote.create(claim_key(M, 1), BytesBlob(b'{"digest": "sha256:other"}'))
    assert (row(world).kind, row(world).why) == (Kind.CREATE, "not published yet; not built yet")
    world.immutable = True
    assert (row(world).kind, row(world).why) == (Kind.UNKNOWN, "a publish was started but not finished; not built yet")
    with pytest.raises(Refused, match="m@1 cannot be published in toy: an unfinished publish has sha256:other"):
        world.apply(ONE)
    assert (row(world).kind, row(world).why) == (Kind.CONFLICT, "an unfinished publish has sha256:other")
    with pytest.raises(Refused, match="m@1 cannot be published in toy: an unfinished publish has sha256:other"):
        world.plan(ONE).refuse_conflicts()
    world.remote.delete(claim_key(M, 1))
    world.remote.create(claim_key(M, 1), BytesBlob(f'{{"digest": "{row(world).digest}"}}'.encode()))
    assert (row(world).kind, row(world).why) == (Kind.CREATE, "a publish was started but not finished")


@pytest.mark.parametrize("immutable", [False, True])
def test_unmanaged_with_the_same_bytes(world: World, immutable: bool) -> None:
    world.immutable = immutable
    world.remote.create("m/1/out", BytesBlob(b"(1)"))
    assert (row(world).kind, row(world).why) == (Kind.UNKNOWN, "not published by gdcbuild; not built yet")
    world.apply(ONE)
    assert list(world.objects()) == ["m/1/out"], "built, compared, and nothing written"
    assert (row(world).kind, row(world).why) == (Kind.NONE, "not published by gdcbuild, but the bytes are the same")
    world.apply(ONE)
    assert list(world.objects()) == ["m/1/out"]
    assert [(c.kind, c.why) for c in world.plan(ONE, repair=True).changes] == [
        (Kind.REPAIR, "not published by gdcbuild, but the bytes are the same; a seal is added")
    ]
    assert [(v.change, v.outcome) for v in world.apply(ONE, repair=True).versions] == [(Kind.REPAIR, "repaired")]
    assert newest_seals(world.remote).keys() == {M}
    assert row(world).why == "up to date"
    before = world.objects()
    world.apply(ONE, repair=True)
    assert world.objects() == before


@pytest.mark.parametrize("files", [{"out": b"(2)"}, {"out": b"longer"}, {"out": b"(1)", "more": b""}, {"more": b""}])
@pytest.mark.parametrize("built", [False, True])
def test_unmanaged_with_other_bytes(world: World, files: dict[str, bytes], built: bool) -> None:
    if built:
        world.rebuild(ONE)
    for path, data in files.items():
        world.remote.create(f"m/1/{path}", BytesBlob(data))
    before = world.objects()
    world.immutable = True
    if built:
        assert (row(world).kind, row(world).why) == (Kind.CONFLICT, "not published by gdcbuild, and the bytes differ")
        assert row(world).detail
    with pytest.raises(Refused, match="not published by gdcbuild, and the bytes differ"):
        world.apply(ONE)
    assert world.objects() == before, "refused before anything is written"
    world.immutable = False
    assert row(world).kind is Kind.REPLACE
    world.apply(ONE)
    assert world.served() == {"m/1/out": b"(1)"}
    last = world.recorder.events[-2]
    assert isinstance(last, JobFinished)
    assert last.outcome == "replaced"


@pytest.mark.parametrize("built", [False, True])
def test_a_repair_does_not_replace_unmanaged_versions_with_other_bytes(world: World, built: bool) -> None:
    if built:
        world.rebuild(ONE)
    world.remote.create("m/1/out", BytesBlob(b"(2)"))
    before = world.objects()
    with pytest.raises(
        Refused, match="not published by gdcbuild, and the bytes differ; --repair does not replace it"
    ) as raised:
        world.apply(ONE, repair=True)
    assert "apply without --repair" in raised.value.problems[0].hint
    assert world.objects() == before
    world.apply(ONE)
    assert world.served() == {"m/1/out": b"(1)"}


def test_the_plan_lists_unmanaged_files_to_be_deleted(world: World) -> None:
    world.rebuild(ONE)
    for name in ("out", "approval.pdf", *"123456"):
        world.remote.create(f"m/1/{name}", BytesBlob(b"theirs"))
    lines = text.plan(world.plan(ONE)).splitlines()
    assert lines[1] == "  ~ m@1  replace  cached  not published by gdcbuild, and the bytes differ"
    assert lines[2:8] == [*(f"      removes: {n}" for n in ("1", "2", "3", "4", "5")), "      and 2 more"]
    world.remote.create(claim_key(M, 1), BytesBlob(b"{}"))
    assert row(world).removed == ("1", "2", "3", "4", "5", "6", "approval.pdf")
    world.immutable = True
    assert row(world).removed == ()


def test_an_object_is_read_once_for_each_etag(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.rebuild(ONE)
    world.remote.create("m/1/out", BytesBlob(b"(1)"))
    reads: list[str] = []
    inner = world.remote.open

    def open_(key: str, etag: str = "") -> BinaryIO:
        reads.append(key)
        return inner(key, etag)

    monkeypatch.setattr(world.remote, "open", open_)
    assert [row(world).kind for _ in range(3)] == [Kind.NONE] * 3
    assert reads == ["m/1/out"]


def test_an_unfinished_publish_over_a_sealed_version(world: World) -> None:
    world.apply(ONE)
    world.remote.create(claim_key(M, 2), BytesBlob(b"{}"))
    world.remote.delete("m/1/out")
    assert (row(world).kind, row(world).why) == (Kind.REPLACE, "another publish was started but not finished")


def test_a_deleted_object_is_drift(world: World) -> None:
    world.apply(ONE)
    world.remote.delete("m/1/out")
    assert (row(world).kind, row(world).detail) == (Kind.DRIFT, ("out: is missing",))


def test_a_seal_that_cannot_be_read_is_drift(world: World) -> None:
    world.apply(ONE)
    key = newest_seals(world.remote)[M].key
    world.remote.delete(key)
    world.remote.create(key, BytesBlob(b"{}"))
    assert (row(world).kind, row(world).why) == (Kind.DRIFT, "its seal is damaged, or was written by a newer gdcbuild")


def test_rows_are_sorted_and_counted(world: World) -> None:
    world.apply(graph([action("n", "a"), action("z", "a")], ["n", "z"]))
    plan = world.plan(graph([action("z", "b"), action("m", "a")], ["z", "m"]))
    assert [(str(c.id), c.kind) for c in plan.changes] == [
        ("m@1", Kind.CREATE),
        ("n@1", Kind.ORPHAN),
        ("z@1", Kind.UNKNOWN),
    ]
    assert plan.summary == {"create": 1, "orphan": 1, "unknown": 1}
    assert plan.pending


def test_an_orphan_alone_is_not_pending(world: World) -> None:
    world.apply(graph([action("m", "a"), action("n", "a")], ["m", "n"]))
    assert not world.plan(ONE).pending


def test_all_conflicts_are_refused_together(world: World) -> None:
    found = graph([action("m", "a"), action("n", "b")], ["m", "n"])
    world.apply(found)
    world.files.files.update(a=b"3", b=b"4")
    world.apply(found)
    world.files.files.update(a=b"1", b=b"2")
    world.immutable = True
    with pytest.raises(Refused) as caught:
        world.plan(found).refuse_conflicts()
    assert [(p.message.split(" ")[0], bool(p.hint)) for p in caught.value.problems] == [("m@1", True), ("n@1", True)]


def test_explaining_names_what_changed_and_where_the_chain_ends(world: World) -> None:
    found = graph([action("up", "a"), action("side", "b"), action("m", "@up", "@side")], ["m"])
    rebuilder = world.rebuilder(found)
    assert [step.state for step in explain(found, judge(found, [M], rebuilder), M, rebuilder)] == [
        "unknown: known only after up is built",
        "to build: not built yet",
        "to build: not built yet",
    ]
    world.apply(found)
    assert {step.state for step in explain(found, judge(found, [M], rebuilder), M, rebuilder)} == {"up to date"}
    world.files.files["a"] = b"changed"
    steps = {step.action: step for step in explain(found, judge(found, [M], rebuilder), M, rebuilder)}
    assert next(iter(steps)) == "m"
    assert isinstance(steps["m"].verdict, Unknown)
    assert steps["side"].state == "up to date"
    assert steps["up"].state == "to build: input a (as 0) changed"
    (difference,) = steps["up"].differences or ()
    assert (difference.name, difference.origin, difference.before != difference.after) == ("input 0", "a", True)
