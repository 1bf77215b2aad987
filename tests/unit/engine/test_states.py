"""Every state that a version can have in the bucket: the plan says what apply does, and apply does what the plan says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import product

import pytest

from gdcbuild.core.digest import BytesBlob, Digest, Tree
from gdcbuild.core.events import JobFinished
from gdcbuild.core.graph import Graph
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Kind
from gdcbuild.core.ports import Run
from gdcbuild.core.seal import Seal, SealedFile
from gdcbuild.errors import Refused
from gdcbuild.publishing.bucket import claim_key, newest_seals
from gdcbuild.remotes.memory import MemoryRemote
from gdcbuild.runners.memory import MemoryRunner
from tests.unit.engine.world import World, action, graph

M = VersionId("m", "1")
ONE: Graph = graph([action("m", "a", kind="two", outputs=("out", "data"))], ["m"])

OURS = {"data": b"weights", "out": b"entry"}
THEIRS = {"data": b"WEIGHTS", "more": b"theirs", "out": b"ENTRY"}

SEALS = {"none": None, "ours": OURS, "theirs": THEIRS, "ours, damaged": OURS, "theirs, damaged": THEIRS}
OBJECTS = {
    "none": {},
    "ours": OURS,
    "theirs": THEIRS,
    "ours in part": {"data": OURS["data"]},
    "ours without the rest": {"out": OURS["out"]},
    "ours and a stray one": {**OURS, "stray": b"x"},
    "ours with other content": {**OURS, "data": b"wEIGHTS"},
    "ours with another size": {**OURS, "data": b"more weights"},
    "a stray one": {"stray": b"x"},
}
CLAIMS = {"none": None, "ours": OURS, "theirs": THEIRS, "unreadable": {}}
STATES = list(product(SEALS, OBJECTS, CLAIMS, (False, True), (False, True), (False, True)))


def tree(files: dict[str, bytes]) -> Tree:
    return Tree((path, Digest.of(data)) for path, data in files.items())


def two(run: Run, inputs: Mapping[str, bytes]) -> Mapping[str, bytes]:
    return OURS


def bucket(seal: str, objects: str, claim: str) -> MemoryRemote:
    """A bucket in that state. The claim is newer than the seal, which has its own claim."""
    remote = MemoryRemote()
    for path, data in OBJECTS[objects].items():
        remote.create(f"m/1/{path}", BytesBlob(data))
    etags = {o.key.removeprefix("m/1/"): o.etag for o in remote.list("m/1/")}
    sealed, generation = SEALS[seal], 0
    if sealed is not None:
        generation = 1
        record = Seal(
            {path: SealedFile(digest, _etag(path, etags, sealed, objects)) for path, digest in tree(sealed).items()}, "test"
        )
        put_claim(remote, generation, sealed)
        key = f".gdcbuild/v1/seals/m/1/00000001-{tree(sealed).digest.hash}.json"
        remote.create(key, BytesBlob(b"{}") if "damaged" in seal else record.blob())
    claimed = CLAIMS[claim]
    if claimed is not None:
        put_claim(remote, generation + 1, claimed)
    return remote


def _etag(path: str, etags: dict[str, str], sealed: dict[str, bytes], objects: str) -> str:
    """The etag when it was sealed: the current one, if the content is what was sealed."""
    return etags.get(path, "") if OBJECTS[objects].get(path) == sealed[path] else "as it was sealed"


def put_claim(remote: MemoryRemote, generation: int, files: dict[str, bytes]) -> None:
    text = json.dumps({"schema": 1, "digest": str(tree(files).digest)}) if files else "not JSON"
    remote.create(claim_key(M, generation), BytesBlob(text.encode()))


def world_of(remote: MemoryRemote, immutable: bool, built: bool) -> World:
    world = World(remote=remote, immutable=immutable, runner=MemoryRunner({"two": two}))
    world.files.files["a"] = b"input"
    if built:
        world.rebuild(ONE)
    return world


def effect(world: World, repair: bool) -> tuple[str, set[str]]:
    """What apply does: the outcome it reports, or the refusal, and the objects that it removes or writes again."""
    before = world.objects()
    try:
        world.apply(ONE, repair=repair)
    except Refused:
        assert world.objects() == before, "refused before anything is written"
        return "refused", set()
    after = world.objects()
    outcomes = [e.outcome for e in world.recorder.events if isinstance(e, JobFinished) and e.what == "publish"]
    outcome = outcomes[0] if outcomes else "unchanged"
    assert (outcome == "unchanged") == (after == before)
    if outcome != "unchanged":
        assert world.served() == {f"m/1/{path}": data for path, data in OURS.items()}
        assert newest_seals(world.remote)[M].digest == tree(OURS).digest.hash
    return outcome, {key for key in before if after.get(key) != before[key]}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdcbuild.publishing.writer.GRACE", 0.0)


EXPECTED = {
    Kind.NONE: "unchanged",
    Kind.CREATE: "created",
    Kind.REPLACE: "replaced",
    Kind.REPAIR: "repaired",
    Kind.CONFLICT: "refused",
    Kind.DRIFT: "refused",
}


@pytest.mark.parametrize("seal", SEALS)
@pytest.mark.parametrize("objects", OBJECTS)
def test_the_plan_is_what_apply_does(seal: str, objects: str) -> None:
    for state in (s for s in STATES if s[:2] == (seal, objects)):
        _, _, claim, immutable, repair, built = state
        world = world_of(bucket(seal, objects, claim), immutable, built)
        (planned,) = world.plan(ONE, repair).changes
        known = world
        if planned.kind is Kind.UNKNOWN:
            assert not built, state
            known = world_of(bucket(seal, objects, claim), immutable, built=True)
            (planned,) = known.plan(ONE, repair).changes
        outcome, lost = effect(world, repair)
        assert outcome == EXPECTED[planned.kind], (state, planned)
        assert planned.kind is not Kind.CREATE or not lost, (state, planned, lost)
        assert lost >= {f"m/1/{path}" for path in planned.removed}, (state, planned, lost)
        if outcome not in ("refused", "unchanged"):
            assert [c.kind for c in world.plan(ONE, repair).changes] == [Kind.NONE], (state, "a second time it does nothing")
