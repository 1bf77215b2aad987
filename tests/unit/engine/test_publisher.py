"""Publishing, killed and raced at every step, against what a server would load at that moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import pytest

from gdcbuild.core.digest import Blob, BytesBlob, Tree
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Terms
from gdcbuild.core.ports import Remote, RemoteObject, Stored
from gdcbuild.core.standing import Absent, Published, Standing, Unmanaged
from gdcbuild.errors import BlobDamaged, GdcbuildError, Refused, RemoteError
from gdcbuild.publishing.bucket import newest_seals
from gdcbuild.publishing.observe import observe
from gdcbuild.publishing.publisher import Publication, publish
from gdcbuild.publishing.writer import Release, SoFar
from gdcbuild.remotes.memory import MemoryRemote
from tests.unit.engine.world import verify

ID = VersionId("digits", "1")
ENTRY = "saved_model.pb"

Build = Mapping[str, bytes]
A: Build = {ENTRY: b"graph of A", "variables/data": b"weights of A", "variables/index": b"index", "assets/words": b"only A"}
B: Build = {ENTRY: b"graph of B", "variables/data": b"weights of B", "variables/index": b"index", "labels": b"only B"}
SAME_ENTRY: Build = {**A, "variables/data": b"WEIGHTS of A"}
MAR_A: Build = {"model.mar": b"archive A"}
MAR_B: Build = {"model.mar": b"archive B"}


def blobs(build: Build) -> dict[str, Blob]:
    return {path: BytesBlob(data) for path, data in build.items()}


def digest(build: Build) -> str:
    return Tree((p, b.digest) for p, b in blobs(build).items()).digest.hash


def entry_of(build: Build) -> str:
    return next(iter(build))


def sealed_digest(remote: Remote) -> str | None:
    sealed = newest_seals(remote, [ID]).get(ID)
    return sealed.digest if sealed else None


def standing(remote: Remote) -> Standing:
    return observe(remote, [ID]).standings[ID]


def claimed_by(remote: Remote) -> str:
    found = standing(remote)
    assert isinstance(found, Published)
    return found.claimed


def drift(remote: Remote) -> tuple[str, ...]:
    found = standing(remote)
    assert isinstance(found, Published)
    return found.drift


def release(files: Mapping[str, Blob], entry: str = ENTRY, sources: Sequence[str] = ()) -> Release:
    return Release(ID, files, entry, "gdcbuild test", sources=sources)


def run(remote: Remote, build: Build, immutable: bool = False, repair: bool = False) -> Publication:
    terms = Terms("test", immutable, repair)
    return publish(remote, release(blobs(build), entry_of(build)), standing(remote), terms)


def served(remote: Remote) -> dict[str, bytes]:
    found = {}
    for item in remote.list("digits/1/"):
        with remote.open(item.key) as stream:
            found[item.key.removeprefix("digits/1/")] = stream.read()
    return found


def put(remote: Remote, files: Build) -> None:
    for path, data in files.items():
        remote.create(f"digits/1/{path}", BytesBlob(data))


def is_mixed(remote: Remote, entry: str) -> bool:
    """Whether a server that loads as soon as it sees the entry object would load what is not exactly one build."""
    files = served(remote)
    return entry in files and files not in (A, B, SAME_ENTRY, MAR_A, MAR_B)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check for another publisher before every write, without a grace period."""
    monkeypatch.setattr("gdcbuild.publishing.writer.CHECK_EVERY", 0.0)
    monkeypatch.setattr("gdcbuild.publishing.writer.GRACE", 0.0)
    monkeypatch.setattr("gdcbuild.core.parallel.JOBS", 1)


class Killed(Exception):
    """Stands for the end of the process."""


@dataclass
class Wrapped:
    """A remote that does `before` and `after` around each operation, by its name and key."""

    inner: Remote
    before: Callable[[str, str], None] = lambda operation, key: None
    after: Callable[[str, str], None] = lambda operation, key: None
    etags: bool = True
    writes: list[str] = field(default_factory=list)
    url: str = "wrapped:"
    lookups: int = 1

    def list(self, prefix: str, after: str = "") -> Iterator[RemoteObject]:
        self.before("list", prefix)
        found = list(self.inner.list(prefix, after))
        self.after("list", prefix)
        return iter(found if self.etags else [RemoteObject(o.key, o.size) for o in found])

    def create(self, key: str, blob: Blob, progress: Callable[[int], None] | None = None) -> Stored:
        self.before("create", key)
        stored = self.inner.create(key, blob, progress)
        if stored.outcome == "created":
            self.writes.append(key)
        self.after("create", key)
        return stored if self.etags else Stored(stored.outcome)

    def open(self, key: str, etag: str = "") -> BinaryIO:
        self.before("open", key)
        found = self.inner.open(key, etag)
        self.after("open", key)
        return found

    def delete(self, key: str, etag: str = "") -> None:
        self.before("delete", key)
        self.inner.delete(key, etag)
        self.after("delete", key)


# What was published before, what was copied there by hand, what is published, and what after it was killed.
SCENES: dict[str, tuple[tuple[Build, ...], Build, Build, Build]] = {
    "new": ((), {}, A, A),
    "new, then another": ((), {}, A, B),
    "replaced": ((A,), {}, B, B),
    "replaced, then back": ((A,), {}, B, A),
    "replaced twice": ((A, B), {}, A, A),
    "only the entry stays": ((A,), {}, SAME_ENTRY, SAME_ENTRY),
    "archive": ((), {}, MAR_A, MAR_A),
    "archive replaced": ((MAR_A,), {}, MAR_B, MAR_B),
    "half copied by hand": ((), {"variables/index": b"index", "labels": b"only B"}, A, A),
    "other copied by hand": ((), B, A, A),
}


@pytest.mark.parametrize("etags", [True, False], ids=["etags", "no-etags"])
@pytest.mark.parametrize("scene", SCENES)
def test_killed_at_every_step_and_run_again(scene: str, etags: bool) -> None:
    published, copied, first, second = SCENES[scene]
    for step in range(200):
        remote = Wrapped(MemoryRemote(), etags=etags)
        for build in published:
            run(remote, build)
        put(remote, copied)
        left = step

        def kill(operation: str, key: str) -> None:
            nonlocal left
            if operation in ("create", "delete"):
                if left == 0:
                    raise Killed
                left -= 1

        def check(operation: str, key: str, remote: Wrapped = remote, step: int = step) -> None:
            assert not is_mixed(remote.inner, entry_of(first)), f"after {operation} {key}, killed at {step}"

        remote.before, remote.after = kill, check
        try:
            run(remote, first)
            killed = False
        except Killed:
            killed = True
        remote.before = lambda operation, key: None
        run(remote, second if killed else first)
        assert served(remote) == (second if killed else first)
        assert sealed_digest(remote) == digest(second if killed else first)
        assert run(remote, second if killed else first) == Publication("unchanged", 0)
        if not killed:
            assert step >= 2, "a claim and a seal at least"
            return
    pytest.fail("it never ended")


def test_any_publisher_can_finish_after_others_were_killed() -> None:
    remote = Wrapped(MemoryRemote())
    for build in (A, B, SAME_ENTRY):
        remote.before = lambda operation, key: kill_at_entry(key)
        with pytest.raises(Killed):
            run(remote, build)
    remote.before = lambda operation, key: None
    assert run(remote, A).outcome == "replaced"
    assert served(remote) == A


def kill_at_entry(key: str) -> None:
    if key.endswith(ENTRY):
        raise Killed


def test_an_entry_object_that_another_publisher_wrote_first_is_read() -> None:
    remote = Wrapped(MemoryRemote(), etags=False)
    put(remote, {ENTRY: A[ENTRY]})
    foreign = {ENTRY: bytes(len(A[ENTRY]))}

    def intrude(operation: str, key: str) -> None:
        if operation == "create" and key.endswith(ENTRY):
            remote.before = lambda operation, key: None
            put(remote.inner, foreign)

    remote.before = intrude
    run(remote, A)
    assert served(remote) == A


def test_an_immutable_version_is_completed_by_the_same_bytes_only() -> None:
    for step in range(20):
        remote = Wrapped(MemoryRemote())

        def kill(operation: str, key: str, step: int = step, remote: Wrapped = remote) -> None:
            if operation == "create" and len(remote.writes) == step:
                raise Killed

        remote.before = kill
        try:
            run(remote, A, immutable=True)
            break
        except Killed:
            remote.before = lambda operation, key: None
        if step > 0:
            with pytest.raises(Refused, match=digest(A)):
                run(remote, B, immutable=True)
        assert run(remote, A, immutable=True).outcome == "created"
        assert served(remote) == A
    assert step == len(A) + 2


def test_an_up_to_date_version_is_not_changed() -> None:
    remote = Wrapped(MemoryRemote())
    assert run(remote, A) == Publication("created", len(A) + 2)
    assert remote.writes[0].startswith(".gdcbuild/v1/claims/digits/1/")
    assert remote.writes[-2] == f"digits/1/{ENTRY}"
    assert remote.writes[-1].startswith(".gdcbuild/v1/seals/digits/1/")
    remote.writes.clear()
    assert run(remote, A) == run(remote, A, immutable=True) == Publication("unchanged", 0)
    assert remote.writes == []


def test_a_replacement_sends_only_what_changed_and_reads_nothing_back() -> None:
    remote = Wrapped(MemoryRemote())
    run(remote, A)
    remote.writes.clear()
    opened: list[str] = []
    remote.before = lambda operation, key: opened.append(key) if operation == "open" else None
    assert run(remote, B) == Publication("replaced", 5)
    assert sorted(k for k in remote.writes if k.startswith("digits/")) == [
        "digits/1/labels",
        f"digits/1/{ENTRY}",
        "digits/1/variables/data",
    ]
    assert not [k for k in opened if k.startswith("digits/")]


def test_a_version_sealed_with_other_bytes_is_refused_when_immutable() -> None:
    remote = MemoryRemote()
    run(remote, A, immutable=True)
    with pytest.raises(Refused) as raised:
        run(remote, B, immutable=True)
    assert digest(A) in str(raised.value)
    assert digest(B) in str(raised.value)
    assert served(remote) == A


def test_a_plan_that_is_no_longer_true_is_refused() -> None:
    remote = MemoryRemote()
    run(remote, A)
    with pytest.raises(Refused, match="after the plan was made"):
        publish(remote, release(blobs(B)), Absent(), Terms("test"))
    assert publish(remote, release(blobs(A)), Absent(), Terms("test")).outcome == "unchanged"


DRIFT: dict[str, tuple[Build, tuple[str, ...], str]] = {
    "missing": ({}, ("labels",), "labels: is missing"),
    "extra": ({"stray": b"x"}, (), "stray: was not published"),
    "size": ({"labels": b"longer than before"}, ("labels",), "labels: has 18 bytes, but was published with 6"),
    "content": ({"labels": b"ONLY B"}, ("labels",), "labels: was overwritten"),
}


@pytest.mark.parametrize("case", DRIFT)
def test_drift_is_shown_and_never_repaired(case: str) -> None:
    added, removed, line = DRIFT[case]
    remote = MemoryRemote()
    run(remote, B)
    for path in removed:
        remote.delete(f"digits/1/{path}")
    put(remote, added)
    drifted = served(remote)
    assert line in drift(remote)[0]
    assert claimed_by(remote) == ""
    assert verify(remote)[ID] == drift(remote)
    for build in (B, A):  # whatever is to come: nobody's bytes are removed unseen
        with pytest.raises(Refused) as raised:
            run(remote, build)
        assert line in raised.value.problems[0].detail
        assert served(remote) == drifted
    assert run(remote, A, repair=True).outcome == "replaced"
    assert served(remote) == A


@pytest.mark.parametrize("immutable", [True, False])
@pytest.mark.parametrize("etags", [True, False], ids=["etags", "no-etags"])
@pytest.mark.parametrize("case", [*DRIFT, "unseen", "seal"])
def test_a_repair_killed_at_every_step_and_run_again(case: str, etags: bool, immutable: bool) -> None:
    added, removed, _ = DRIFT.get(case, ({}, (), ""))
    for step in range(200):
        remote = Wrapped(MemoryRemote(), etags=etags)
        run(remote, B, immutable)
        if case == "unseen":  # the store's own damage: same etag, other bytes
            remote.inner = Rotten("digits/1/labels", B["labels"][::-1], remote.inner)
        if case == "seal":
            key = newest_seals(remote)[ID].key
            remote.delete(key)
            remote.create(key, BytesBlob(b"{}"))
        for path in removed:
            remote.delete(f"digits/1/{path}")
        put(remote, added)
        remote.writes.clear()

        def kill(operation: str, key: str, remote: Wrapped = remote, step: int = step) -> None:
            if operation in ("create", "delete") and len(remote.writes) == step:
                raise Killed

        remote.before = kill
        try:
            done = run(remote, B, immutable, repair=True)
        except Killed:
            remote.before = lambda operation, key: None
            done = run(remote, B, immutable, repair=True)
        assert served(remote) == B
        assert sealed_digest(remote) == digest(B)
        assert not drift(remote)
        assert verify(remote, deep=True)[ID] == ()
        remote.writes.clear()
        assert run(remote, B, immutable, repair=True) == run(remote, B, immutable) == Publication("unchanged", 0)
        assert remote.writes == []
        if remote.before is kill:
            assert (done.outcome, step >= 2) == ("repaired", True), "a claim and a seal at least"
            return
    pytest.fail("it never ended")


class Rotten(MemoryRemote):
    """A bucket in which one object is read with other bytes, under the same etag and size, until it is removed."""

    def __init__(self, key: str, data: bytes, inner: Remote) -> None:
        super().__init__()
        self._rotten, self._data = key, data
        for found in list(inner.list("")):
            with inner.open(found.key) as stream:
                self.create(found.key, BytesBlob(stream.read()))

    def open(self, key: str, etag: str = "") -> BinaryIO:
        return BytesBlob(self._data).open() if key == self._rotten else super().open(key, etag)

    def delete(self, key: str, etag: str = "") -> None:
        if key == self._rotten:
            self._rotten = ""
        super().delete(key, etag)


def test_a_repair_restores_only_what_was_sealed() -> None:
    remote = MemoryRemote()
    run(remote, B, immutable=True)
    remote.delete("digits/1/labels")
    with pytest.raises(Refused):
        run(remote, A, immutable=True, repair=True)
    assert "labels" not in served(remote)


def test_an_unfinished_repair_is_completed_by_any_run() -> None:
    remote = Wrapped(MemoryRemote())
    run(remote, B, immutable=True)
    remote.delete("digits/1/labels")
    put(remote, {"stray": b"x"})
    remote.before = lambda operation, key: kill_at_entry(key)
    with pytest.raises(Killed):
        run(remote, B, immutable=True, repair=True)
    remote.before = lambda operation, key: None
    assert claimed_by(remote) == f"sha256:{digest(B)}"
    assert run(remote, B, immutable=True).outcome == "replaced"
    assert served(remote) == B


@pytest.mark.parametrize("immutable", [True, False])
def test_unmanaged_versions(immutable: bool) -> None:
    remote = Wrapped(MemoryRemote())
    put(remote, {**A, "labels": b"foreign"})
    assert isinstance(standing(remote), Unmanaged)
    if immutable:
        with pytest.raises(Refused, match="not published by gdcbuild, and the bytes differ"):
            run(remote, A, immutable=True)
    remote.delete("digits/1/labels")
    remote.writes.clear()
    assert run(remote, A, immutable) == Publication("unchanged", 0)
    assert remote.writes == []
    assert run(remote, A, immutable, repair=True) == Publication("repaired", 2)
    assert [key.split("/")[2] for key in remote.writes] == ["claims", "seals"]
    assert run(remote, A, immutable) == Publication("unchanged", 0)


@pytest.mark.parametrize("planned", [{}, {"notes": b"seen"}, {**B, "notes": b"seen"}])
def test_objects_changed_by_others_after_the_plan_are_not_replaced(planned: Build) -> None:
    remote = MemoryRemote()
    put(remote, planned)
    seen = standing(remote)
    put(remote, {**B, "more": b"unseen"})
    before = {item.key for item in remote.list("")}
    with pytest.raises(Refused, match="was changed in the bucket after the plan was made, not by gdcbuild") as raised:
        publish(remote, release(blobs(A)), seen, Terms("test"))
    assert "more" in raised.value.problems[0].detail
    assert {item.key for item in remote.list("")} == before, "refused before anything is written"


def test_nothing_else_in_the_bucket_is_touched() -> None:
    remote = MemoryRemote()
    others = ["digits/10/f", "digits/1", "digits/1-x/f", "other", ".gdcbuild/notes", ".gdcbuild/v1/seals/digits/1/readme"]
    for key in others:
        remote.create(key, BytesBlob(b"not ours"))
    markers = ["digits/1/", "digits/1/variables/"]
    for key in markers:
        remote.create(key, BytesBlob(b""))
    run(remote, A)
    run(remote, B)
    assert [found.key for found in remote.list("digits/1/") if found.key.endswith("/")] == markers
    for key in others:
        with remote.open(key) as stream:
            assert stream.read() == b"not ours"
    assert drift(remote) == ()


@dataclass(frozen=True)
class Changed:
    """A blob whose file was changed after it was judged."""

    digest = BytesBlob(b"before").digest
    crc = None

    def open(self) -> BinaryIO:
        return BytesBlob(b"after!").open()


def test_a_file_that_changed_since_it_was_judged_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdcbuild.core.parallel.JOBS", 4)
    remote = MemoryRemote()
    with pytest.raises(BlobDamaged):
        publish(remote, release({**blobs(A), "variables/data": Changed()}), Absent(), Terms("test"))
    assert ENTRY not in served(remote)
    assert sealed_digest(remote) is None


@pytest.mark.parametrize("immutable", [True, False])
def test_a_file_that_changed_before_anything_was_written_costs_nothing(immutable: bool) -> None:
    remote = Wrapped(MemoryRemote())
    if not immutable:
        run(remote, B)
    before = served(remote)
    remote.writes.clear()
    changed, so_far = release({**blobs(A), "assets/words": Changed()}, sources=["assets/words"]), SoFar()
    with pytest.raises(BlobDamaged):
        publish(remote, changed, standing(remote), Terms("test", immutable), so_far)
    assert (served(remote), remote.writes, so_far) == (before, [], SoFar())


def test_only_user_files_to_be_sent_are_read_before_the_claim() -> None:
    remote = MemoryRemote()
    kept = {**A, "assets/words": b"before"}
    run(remote, kept)
    again = {**blobs({**kept, "variables/data": b"new"}), "assets/words": Changed()}
    found = publish(remote, release(again, sources=list(again)), standing(remote), Terms("test"))
    assert found.outcome == "replaced"


@pytest.mark.parametrize("etags", [True, False], ids=["etags", "no-etags"])
@pytest.mark.parametrize("gone", ["before its seal", "unseen"])
def test_bytes_of_another_publisher_are_not_sealed_even_if_they_look_alike(etags: bool, gone: str) -> None:
    """Between our entry object and our last listing another one, with as many bytes, comes and ends before its seal."""
    remote = Wrapped(MemoryRemote(), etags=etags)
    other = Wrapped(remote.inner, etags=etags)
    ours, theirs = {"model.mar": b"AAAA"}, {"model.mar": b"BBBB"}

    def intrude(operation: str, key: str) -> None:
        if (operation, key) == ("create", "digits/1/model.mar"):
            remote.after = lambda operation, key: None
            if gone == "unseen":  # by no publisher's means
                remote.inner.delete(key)
                put(remote.inner, theirs)
                return
            other.before = lambda operation, key: kill_at_seal(key)
            with pytest.raises(Killed):
                run(other, theirs)

    remote.after = intrude
    if gone == "unseen":
        assert run(remote, ours).outcome == "created"
        assert served(remote) == ours
    else:
        with pytest.raises(Refused, match="another publisher replaced digits@1"):
            run(remote, ours)
        assert sealed_digest(remote) is None


def kill_at_seal(key: str) -> None:
    if "/seals/" in key and key.endswith(".json"):
        raise Killed


def test_a_store_that_reports_success_but_does_nothing() -> None:
    remote = Wrapped(MemoryRemote())
    remote.after = lambda operation, key: remote.inner.delete(key) if operation == "create" and "variables" in key else None
    with pytest.raises(RemoteError, match="keeps changing"):
        run(remote, A)
    assert sealed_digest(remote) is None


def test_a_seal_that_cannot_be_read_back_is_an_error() -> None:
    remote = Wrapped(MemoryRemote())
    remote.after = lambda operation, key: remote.inner.delete(key) if operation == "create" and "seals" in key else None
    with pytest.raises(RemoteError, match="seal of digits@1"):
        run(remote, A)


def test_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdcbuild.core.parallel.JOBS", 16)
    remote = MemoryRemote()
    large = {ENTRY: b"graph", **{f"variables/{n:03}": b"%d" % n for n in range(200)}}
    assert run(remote, large) == Publication("created", 203)
    assert served(remote) == dict(sorted(large.items()))


class Actor:
    """A publisher that goes one operation on the remote at a time."""

    def __init__(self, inner: Remote, build: Build, immutable: bool) -> None:
        self.ended = False
        self.next = ""
        self.result: Publication | GdcbuildError | None = None
        self._go, self._ready = threading.Semaphore(0), threading.Semaphore(0)
        self._work: Callable[[], Publication] = lambda: run(Wrapped(inner, before=self._wait), build, immutable)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.acquire()

    def _run(self) -> None:
        try:
            self.result = self._work()
        except GdcbuildError as error:
            self.result = error
        self.ended = True
        self._ready.release()

    def _wait(self, operation: str, key: str) -> None:
        self.next = f"{operation} {key}"
        self._ready.release()
        self._go.acquire()

    def step(self) -> None:
        self._go.release()
        self._ready.acquire()
        if self.ended:
            self._thread.join()


@dataclass
class Race:
    """Two publishers of one version. The first goes some steps, the second some; then each goes to its end, one by one."""

    remote: Remote
    builds: tuple[Build, Build]
    immutable: bool
    pauses: tuple[int, int]
    mixed: bool = False
    writing: bool = False
    """Whether one was held up after it had made sure that it may write, and before the store had its request."""

    def run(self) -> list[Publication | GdcbuildError | None]:
        actors = [Actor(self.remote, build, self.immutable) for build in self.builds]
        for number, steps in ((0, self.pauses[0]), (1, self.pauses[1]), (0, 1000), (1, 1000)):
            actor = actors[number]
            while steps and not actor.ended:
                actor.step()
                steps -= 1
                self.mixed |= is_mixed(self.remote, entry_of(self.builds[0]))
            self.writing |= not actor.ended and actor.next.startswith(("create digits", "delete digits"))
        return [actor.result for actor in actors]


PAUSES = [(k, j) for k in range(40) for j in range(0, 40, 3)]


def races(builds: tuple[Build, Build], immutable: bool, before: Build | None) -> Iterator[tuple[Race, list[object]]]:
    for pauses in PAUSES:
        remote = MemoryRemote()
        if before is not None:
            run(remote, before)
        race = Race(remote, builds, immutable, pauses)
        yield race, [r.outcome if isinstance(r, Publication) else type(r) for r in race.run()]


@pytest.mark.slow
def test_raced_in_an_immutable_environment() -> None:
    for race, results in races((A, B), True, None):
        winner = A if results[0] == "created" else B
        assert sorted(map(str, results)) == sorted(["created", str(Refused)])
        assert not race.mixed
        assert served(race.remote) == winner
        assert sealed_digest(race.remote) == digest(winner)


@pytest.mark.slow
@pytest.mark.parametrize("before", [None, B])
def test_raced_with_the_same_bytes(before: Build | None) -> None:
    for race, results in races((A, A), False, before):
        assert not race.mixed, race.pauses
        assert not {Refused, RemoteError} & set(results)
        assert served(race.remote) == A
        assert sealed_digest(race.remote) == digest(A)


@pytest.mark.slow
@pytest.mark.parametrize("before", [None, SAME_ENTRY])
def test_raced_with_other_bytes_in_a_mutable_environment(before: Build | None) -> None:
    held_up = 0
    for race, results in races((A, B), False, before):
        assert {"created", "replaced"} & set(results)
        newest = newest_seals(race.remote, [ID])[ID]
        sound = served(race.remote) == (A if newest.digest == digest(A) else B)
        assert sound == (not drift(race.remote))
        assert race.writing or (sound and not race.mixed), race.pauses
        held_up += race.writing
        run(race.remote, SAME_ENTRY, repair=not sound)
        assert served(race.remote) == SAME_ENTRY
    assert 0 < held_up < len(PAUSES) / 2
