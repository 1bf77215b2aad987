"""Carrying a plan out: every kind of change, early cut-off, checks before publishing, failures and what they skip."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from gdcbuild.core.digest import Blob, BytesBlob, Digest
from gdcbuild.core.events import JobFailed, JobFinished, JobNotStarted, JobSkipped, JobStarted, Summed, Warned
from gdcbuild.core.graph import Graph, Toolchain
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Build, Kind, Terms
from gdcbuild.core.ports import Flag, Run, Stored
from gdcbuild.core.result import ActionResult
from gdcbuild.core.run import Report
from gdcbuild.core.seal import NO_CHECKOUT, Checkout
from gdcbuild.core.standing import Absent
from gdcbuild.core.verdict import Hit
from gdcbuild.engine.jobs import Jobs, Target, _raise
from gdcbuild.errors import (
    ActionFailed,
    BlobDamaged,
    BlobMissing,
    ContractViolated,
    GdcbuildError,
    Interrupted,
    Problem,
    Refused,
    RemoteError,
    Several,
)
from gdcbuild.runners.memory import MemoryRunner
from tests.unit.engine.world import Given, World, action, graph

M = VersionId("m", "1")
NOTHING_DONE = Report("toy", (), 0, 0, 0.0)


@pytest.fixture
def world() -> World:
    found = World()
    found.files.files.update(a=b"1", b=b"2")
    return found


def one() -> Graph:
    return graph([action("m", "a")], ["m"])


def kinds(world: World, found: Graph) -> list[tuple[Kind, Build | None]]:
    return [(c.kind, c.build) for c in world.plan(found).changes]


def test_create_none_unknown(world: World) -> None:
    assert kinds(world, one()) == [(Kind.CREATE, Build.BUILD)]
    world.apply(one())
    assert kinds(world, one()) == [(Kind.NONE, Build.CACHED)]
    world.files.files["a"] = b"changed"
    assert kinds(world, one()) == [(Kind.UNKNOWN, Build.BUILD)]


def test_replace_and_conflict(world: World) -> None:
    world.apply(one())
    world.files.files["a"] = b"changed"
    world.apply(one())
    world.files.files["a"] = b"1"
    assert kinds(world, one()) == [(Kind.REPLACE, Build.CACHED)], "known from before"
    world.immutable = True
    assert kinds(world, one()) == [(Kind.CONFLICT, Build.CACHED)]
    before = world.objects()
    with pytest.raises(Refused, match="m@1"):
        world.apply(one())
    assert world.objects() == before


def test_unknown_becomes_a_refusal_after_the_build(world: World) -> None:
    world.apply(one())
    world.immutable = True
    world.files.files["a"] = b"changed"
    before = world.objects()
    with pytest.raises(Refused, match="m@1"):
        world.apply(one())
    assert world.ran == ["m"]
    assert world.objects() == before


IMMUTABLE = graph([action("m", "a"), action("n", "b"), action("up", "c"), action("o", "@up")], ["m", "n", "o"])


def test_nothing_is_published_if_a_build_finds_a_conflict(world: World) -> None:
    """In every order of the jobs: the other versions are new, known or not, and would be published at once."""
    world.files.files["c"] = b"3"
    world.apply(graph([action("m", "a"), action("n", "b")], ["m", "n"]))
    world.immutable = True
    world.files.files.update(a=b"changed", b=b"changed")
    before = world.objects()
    for workers in (1, 4):
        with pytest.raises(Refused) as caught:
            world.apply(IMMUTABLE, workers)
        assert [p.message.split(" ")[0] for p in caught.value.problems] == ["m@1", "n@1"], "all of them, in one run"
        assert world.objects() == before
        assert [v.outcome for v in caught.value.report.versions] == ["refused", "refused", "skipped"]
        told = world.recorder.events
        not_started = {e.job for e in told if isinstance(e, JobNotStarted)} - {"up", "o"}  # which may have been built
        assert not_started == {"publish o@1"}
        assert sorted((e.job, e.what) for e in told if isinstance(e, JobFailed)) == [("m@1", "publish"), ("n@1", "publish")]
        world.records._records = {k: v for k, v in world.records._records.items() if k[0] != "result"}
    with pytest.raises(Refused, match="m@1"):
        world.apply(IMMUTABLE, keep_going=True)
    assert sorted(world.served()) == ["m/1/out", "n/1/out", "o/1/out"], "with -k, all that may be published is"


def test_everything_is_published_if_the_built_bytes_are_the_same(world: World) -> None:
    world.runner = MemoryRunner({"join": lambda run, inputs: {"out": b"always"}})
    world.immutable = True
    world.apply(one())
    world.files.files["a"] = b"changed"
    found = graph([action("m", "a"), action("n", "b")], ["m", "n"])
    assert [(str(v.id), v.outcome) for v in world.apply(found).versions] == [("m@1", "unchanged"), ("n@1", "created")]
    checks = [e.job for e in world.recorder.events if isinstance(e, JobFinished) and e.what == "check"]
    assert sorted(checks) == ["m@1", "n@1"], "each is checked once"


def test_an_unservable_artifact_stops_everything_in_an_immutable_environment(world: World) -> None:
    world.apply(one())
    world.immutable = True
    world.files.files["a"] = b"bad"
    before = world.objects()
    with pytest.raises(ContractViolated):
        world.apply(graph([action("m", "a"), action("n", "b")], ["m", "n"]))
    assert world.objects() == before


def test_a_clean_environment_publishes_only_committed_files(world: World) -> None:
    world.clean = True
    for checkout in (NO_CHECKOUT, Checkout("c" * 40, {"b": Digest.of(b"2")}), Checkout("c" * 40, {"a": Digest.of(b"0")})):
        world.checkout = checkout
        with pytest.raises(Refused, match="toy requires committed files") as caught:
            world.apply(one())
        assert (caught.value.problems[0].detail, world.objects(), world.ran) == ("a", {}, [])
    world.checkout = Checkout("c" * 40, {"a": Digest.of(b"1")})
    world.apply(one())
    world.checkout = NO_CHECKOUT
    assert world.apply(one()).objects == 0, "where there is nothing to do there is nothing to refuse"


def test_drift_is_not_changed_and_other_versions_are_published(world: World) -> None:
    found = graph([action("m", "a"), action("n", "b")], ["m", "n"])
    world.apply(found)
    world.remote.delete("m/1/out")
    world.remote.create("m/1/out", BytesBlob(b"somebody's"))
    world.files.files["b"] = b"changed"
    assert [k for k, _ in kinds(world, found)] == [Kind.DRIFT, Kind.UNKNOWN]
    with pytest.raises(Refused, match="m@1 differs from what was published"):
        world.apply(found)
    assert world.served() == {"m/1/out": b"somebody's", "n/1/out": b"(changed)"}


def test_orphan(world: World) -> None:
    world.apply(graph([action("m", "a"), action("n", "b")], ["m", "n"]))
    changes = world.plan(one()).changes
    assert [(c.id, c.kind, c.build, c.digest) for c in changes[1:]] == [(VersionId("n", "1"), Kind.ORPHAN, None, None)]
    world.apply(one())
    assert sorted(world.served()) == ["m/1/out", "n/1/out"]


def test_early_cut_off(world: World) -> None:
    found = graph([action("short", "a", kind="first"), action("m", "@short")], ["m"])
    world.apply(found)
    world.files.files["a"] = b"1 and more"
    world.apply(found)
    assert world.ran == ["short"]
    last = world.recorder.events[-1]
    assert isinstance(last, Summed)
    assert last == Summed(1, 0, 0, 0, last.seconds)


def test_an_action_that_nothing_needs_is_not_run(world: World) -> None:
    world.apply(graph([action("m", "a"), action("spare", "b")], ["m"]))
    assert world.ran == ["m"]


def test_a_known_result_needs_nothing_above_it(world: World) -> None:
    found = graph([action("up", "a"), action("m", "@up")], ["m"])
    world.apply(found)
    for digest in list(world.cas._blobs):
        if world.cas._blobs[digest] == b"(1)":
            world.cas.discard(digest)
    fresh = World(files=world.files, cas=world.cas, records=world.records)
    fresh.apply(found)
    assert fresh.ran == []


def test_the_check_comes_before_publishing(world: World) -> None:
    world.files.files["a"] = b"bad"
    with pytest.raises(ContractViolated, match="m@1: it is bad"):
        world.apply(one())
    assert world.objects() == {}
    assert [(e.job, e.what) for e in world.recorder.events if isinstance(e, JobFailed)] == [("m@1", "check")]


def test_the_check_is_reported_before_the_publish(world: World) -> None:
    world.apply(one())
    told = [(type(e).__name__, e.what) for e in world.recorder.events if isinstance(e, JobStarted | JobFinished)]
    assert told[2:] == [
        ("JobStarted", "check"),
        ("JobFinished", "check"),
        ("JobStarted", "publish"),
        ("JobFinished", "publish"),
    ]


def test_failure_and_what_it_skips(world: World) -> None:
    found = graph([action("bad", "a", kind="unheard of"), action("m", "@bad"), action("n", "b")], ["m", "n"])
    with pytest.raises(ActionFailed):
        world.apply(found, keep_going=True)
    events = world.recorder.events
    assert [e.job for e in events if isinstance(e, JobFailed)] == ["bad"]
    assert sorted(e.job for e in events if isinstance(e, JobSkipped)) == ["m", "publish m@1"]
    assert list(world.served()) == ["n/1/out"]


def test_after_a_failure_independent_jobs_are_reported_as_not_started(world: World) -> None:
    found = graph([action("bad", "a", kind="unheard of"), action("m", "@bad"), action("n", "b")], ["m", "n"])
    with pytest.raises(ActionFailed):
        world.apply(found)
    skipped = {e.job: e.because for e in world.recorder.events if isinstance(e, JobSkipped)}
    assert skipped == {"m": "bad", "publish m@1": "bad"}
    assert sorted(e.job for e in world.recorder.events if isinstance(e, JobNotStarted)) == ["n", "publish n@1"]


def test_an_upload_stops_when_cancelled(world: World) -> None:
    work = Given(one(), world.rebuilder(one())).work([M])
    target = Target(world.remote, Terms("toy"), {M: Absent()})
    jobs = Jobs(work, world.plan(one()), target, world.recorder.emit)
    jobs._build("m", Flag())
    cancel = Flag()
    cancel.set()
    with pytest.raises(Interrupted):
        jobs._finish(target, work.graph.versions[M], cancel)
    assert not [key for key in world.objects() if "seals" in key]
    world.apply(one())
    assert list(world.served()) == ["m/1/out"]


def test_the_slowest_action_of_the_last_run_starts_first(world: World) -> None:
    found = graph([action(name, "a", params={"n": name}) for name in "mnop"], ["m", "n", "o", "p"])
    world.apply(found)
    assert world.runner.ran == ["m", "n", "o", "p"]
    for name in "mnop":
        verdict = world.rebuilder(found).judge(found.actions[name], {})[0]
        assert isinstance(verdict, Hit)
        world.records.put("result", verdict.key.hash, ActionResult(verdict.tree, 9.0 if name == "o" else 0.5).to_json())
    world.files.files["a"] = b"changed"
    world.apply(found)
    assert world.runner.ran == ["o", "m", "n", "p"]


def test_missing_toolchains_are_installed_first(world: World) -> None:
    world.toolchains.digests.update(t="1", u="1")
    world.files.files.update({"t.txt": b"", "u.txt": b""})
    chains = {name: Toolchain(name, f"{name}.txt") for name in ("t", "u")}
    found = graph([action("up", "a", toolchain="t"), action("m", "@up", toolchain="u")], ["m"], chains)
    assert kinds(world, found) == [(Kind.CREATE, Build.BUILD)]
    world.apply(found)
    assert sorted(world.toolchains.installed) == ["t", "u"]
    assert world.served() == {"m/1/out": b"((1))"}


def test_a_toolchain_that_cannot_be_installed(world: World) -> None:
    world.files.files["t.txt"] = b""
    found = graph([action("m", "a", toolchain="t")], ["m"], {"t": Toolchain("t", "t.txt")})
    with pytest.raises(ActionFailed, match="cannot be installed"):
        world.apply(found)
    assert (world.ran, world.objects()) == ([], {})


def build(world: World, found: Graph) -> list[str]:
    """Build without publishing; what ran."""
    world.rebuild(found)
    return world.ran


def test_building_publishes_nothing(world: World) -> None:
    assert build(world, one()) == ["m"]
    assert build(world, one()) == []
    assert world.objects() == {}
    world.apply(one())
    assert world.ran == []
    assert list(world.served()) == ["m/1/out"]


def test_building_checks_what_it_built(world: World) -> None:
    world.files.files["a"] = b"bad"
    for _ in range(2):
        with pytest.raises(ContractViolated, match="m@1: it is bad"):
            build(world, one())


@pytest.mark.parametrize("checked", [True, False])
def test_building_restores_what_the_cache_has_lost(world: World, checked: bool) -> None:
    build(world, one())
    world.cas._blobs.clear()
    if not checked:
        world.records._records = {k: v for k, v in world.records._records.items() if k[0] != "checked"}
    assert build(world, one()) == ["m"]
    assert build(world, one()) == []


def test_errors_of_several_kinds_are_raised_together(world: World) -> None:
    world.files.files["a"] = b"bad"
    found = graph([action("m", "a"), action("n", "b", kind="unheard of")], ["m", "n"])
    with pytest.raises(GdcbuildError) as caught:
        world.apply(found, keep_going=True)
    assert sorted(p.message for p in caught.value.problems) == [
        "m@1: it is bad",
        "nothing is registered for the kind 'unheard of'",
    ]
    assert caught.value.exit_code == 1


def test_errors_of_one_kind_are_merged_and_others_stay_separate() -> None:
    """So that a new run fixes what it can, whatever else failed."""
    gone, damaged = BlobMissing(Problem("gone")), BlobDamaged(Problem("damaged"))
    cases: list[tuple[list[GdcbuildError], type[GdcbuildError]]] = [
        ([gone, gone], BlobMissing),
        ([gone, damaged], Several),
        ([damaged], BlobDamaged),
    ]
    for failed, kind in cases:
        with pytest.raises(GdcbuildError) as caught:
            _raise(failed, NOTHING_DONE)
        assert type(caught.value) is kind
    with pytest.raises(Several) as several:
        _raise([gone, damaged], NOTHING_DONE)
    assert several.value.errors == (gone, damaged)
    assert [p.message for p in several.value.problems] == ["damaged", "gone"]


@pytest.mark.parametrize("error", [RemoteError("no"), BlobDamaged("no"), OSError(5, "no"), MemoryError(), KeyboardInterrupt()])
def test_an_unfinished_replacement_warns_that_nothing_is_served(
    world: World, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    world.apply(one())
    world.files.files["a"] = b"changed"
    inner = world.remote.create

    def create(key: str, blob: Blob, progress: Callable[[int], None] | None = None) -> Stored:
        if key == "m/1/out":
            raise error
        return inner(key, blob, progress)

    monkeypatch.setattr(world.remote, "create", create)
    with pytest.raises((GdcbuildError, MemoryError, KeyboardInterrupt)) as caught:
        world.apply(one())
    told = [e.problem for e in world.recorder.events if isinstance(e, Warned)]
    assert [p.message for p in told] == ["no server can load m@1 until it is published again"]
    assert told[0].hint == "publish it: gdcbuild apply m@1 --env toy"
    assert "no partial results" not in str(caught.value)
    if isinstance(caught.value, GdcbuildError) and not isinstance(caught.value, Interrupted):
        assert isinstance(world.recorder.events[-1], Summed)
        assert world.recorder.events[-1].objects == 1, "the claim"


def test_a_version_published_by_others_during_the_build_is_not_replaced(world: World) -> None:
    def intrude(run: Run, inputs: Mapping[str, bytes]) -> Mapping[str, bytes]:
        world.remote.create("m/1/notes", BytesBlob(b"theirs"))
        return {"out": b"ours"}

    world.runner = MemoryRunner({"join": intrude})
    with pytest.raises(Refused, match="m@1 was changed in the bucket after the plan was made, not by gdcbuild"):
        world.apply(one())
    assert world.objects() == {"m/1/notes": b"theirs"}


def test_an_entry_object_that_could_not_be_deleted_is_still_served(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.apply(one())
    world.files.files["a"] = b"changed"

    def delete(key: str, etag: str = "") -> None:
        raise RemoteError("access denied: the credentials do not allow this")

    monkeypatch.setattr(world.remote, "delete", delete)
    with pytest.raises(RemoteError):
        world.apply(one())
    assert not [e for e in world.recorder.events if isinstance(e, Warned)]


def test_equal_versions_share_one_result(world: World) -> None:
    world.apply(graph([action("m", "a"), action("n", "a")], ["m", "n"]))
    assert len(world.ran) == 1
    assert world.served() == {"m/1/out": b"(1)", "n/1/out": b"(1)"}


def test_a_chain_of_two_thousand(world: World) -> None:
    chain = [action("n0", "a", kind="first")] + [action(f"n{n}", f"@n{n - 1}", kind="first") for n in range(1, 2000)]
    found = graph(chain, ["n1999"])
    world.apply(found)
    assert len(world.ran) == 1, "all have equal inputs"
    assert world.served() == {"n1999/1/out": b"1"}
