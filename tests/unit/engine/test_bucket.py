"""Reading seals and listings: what is found, and at what cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gdcbuild.core.digest import Blob, BytesBlob, Digest, Tree
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Terms
from gdcbuild.core.ports import Remote, RemoteObject
from gdcbuild.core.seal import Provenance, Seal, SealedFile
from gdcbuild.core.standing import Absent, Published, Standing, Unfinished, Unmanaged
from gdcbuild.errors import RemoteError
from gdcbuild.publishing.bucket import claim_key, content, contents, newest_seals, read_seal
from gdcbuild.publishing.observe import Look, Observation, compare, observe
from gdcbuild.publishing.publisher import publish
from gdcbuild.publishing.writer import Release
from gdcbuild.remotes.memory import MemoryRemote
from tests.unit.engine.world import verify

PAGE = 1000


class Counting(MemoryRemote):
    """Counts what a bucket that lists by pages would be asked."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = 0
        self.reads = 0

    def list(self, prefix: str, after: str = "") -> Iterator[RemoteObject]:
        self.pages += 1
        for number, found in enumerate(super().list(prefix, after)):
            if number and number % PAGE == 0:
                self.pages += 1
            yield found

    def open(self, key: str, etag: str = "") -> Any:
        self.reads += 1
        return super().open(key, etag)


class Memo:
    """Records in a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Any] = {}

    def get(self, table: str, key: str) -> Any | None:
        return self.rows.get((table, key))

    def put(self, table: str, key: str, value: Any) -> None:
        self.rows[table, key] = json.loads(json.dumps(value))


def unlike(found: Standing) -> tuple[str, ...]:
    assert isinstance(found, Unfinished | Unmanaged)
    return found.unlike


def put(remote: Remote, key: str, data: bytes = b"x") -> None:
    remote.create(key, BytesBlob(data))


def add(remote: Remote, id: VersionId, data: bytes = b"x") -> None:
    blobs: dict[str, Blob] = {"model.mar": BytesBlob(data)}
    publish(remote, Release(id, blobs, "model.mar", "test"), observe(remote, [id]).standings[id], Terms("test"))


def drifted(observed: Observation) -> dict[VersionId, tuple[str, ...]]:
    return {id: s.drift for id, s in observed.standings.items() if isinstance(s, Published) and s.drift}


def workspace(models: int) -> list[VersionId]:
    return [VersionId(f"model-{n:04}", "1") for n in range(models)]


def test_the_newest_of_many_generations_counts() -> None:
    remote, id = MemoryRemote(), VersionId("m", "1")
    for number in range(12):
        add(remote, id, b"%d" % number)
    add(remote, VersionId("m", "10"))
    sealed = newest_seals(remote)
    assert sealed[id].generation == 12
    assert sealed == newest_seals(remote, [id, VersionId("m", "10"), VersionId("m", "2")])
    assert sealed[id].key in [o.key for o in remote.list(".gdcbuild/v1/seals/m/1/")]


@pytest.mark.parametrize(
    "name",
    ["m/1/readme", "m/1/1-" + "0" * 64 + ".json", "m/00000001-" + "0" * 64 + ".json", "m/1/x/00000001-" + "0" * 64 + ".json"],
)
def test_other_objects_among_the_seals_are_ignored(name: str) -> None:
    remote = MemoryRemote()
    put(remote, f".gdcbuild/v1/seals/{name}")
    assert newest_seals(remote) == {}


def test_orphans_are_found_only_with_the_whole_manifest() -> None:
    remote = MemoryRemote()
    ids = workspace(3)
    for id in ids:
        add(remote, id)
    assert observe(remote, ids[:1]).orphans == {}
    assert observe(remote, ids[:1], known=ids[:2]).orphans.keys() == {ids[2]}
    assert list(observe(remote, ids[:1], known=ids[:2]).standings) == ids[:1]


@pytest.mark.parametrize("wanted", [1, 8, 9, 24])
def test_neighbours_with_names_that_sort_oddly(wanted: int) -> None:
    remote = MemoryRemote()
    ids = sorted(VersionId(f"m{s}", v) for s in ("", "-", ".", "0", "_", "é") for v in ("1", "1-2", "1.2", "10"))
    for id in ids:
        put(remote, f"{id.model}/{id.version}/model.mar", str(id).encode())
    for id in ids[:wanted]:
        found = contents(remote, ids[:wanted])
        assert list(found[id]) == ["model.mar"]
        assert found[id]["model.mar"].size == len(str(id).encode())


@pytest.mark.slow
def test_a_large_workspace_is_listed_by_pages_not_by_versions() -> None:
    remote, ids = Counting(), workspace(1000)
    for id in ids:
        add(remote, id)
    remote.pages = remote.reads = 0
    memo = Memo()
    assert drifted(observe(remote, ids, known=ids, look=Look(memo))) == {}
    assert remote.pages <= 8 + 1
    assert remote.reads == 1000
    assert drifted(observe(remote, ids, known=ids, look=Look(memo))) == {}
    assert remote.reads == 1000


def test_other_objects_in_the_bucket_cost_little() -> None:
    remote, ids = Counting(), [VersionId("a", "1"), VersionId("z", "1")]
    for id in ids:
        add(remote, id)
    for number in range(20 * PAGE):
        put(remote, f"m/{number}")
    remote.pages = 0
    assert all(contents(remote, ids).values())
    assert remote.pages <= 4


def test_a_memo_is_not_used_when_the_seal_has_changed() -> None:
    remote, id, memo = MemoryRemote(), VersionId("m", "1"), Memo()
    add(remote, id)
    (sealed,) = newest_seals(remote).values()
    assert read_seal(remote, sealed, memo) == read_seal(remote, sealed, memo)
    (row,) = memo.rows.values()
    row["files"][0]["size"] = 7
    assert read_seal(remote, sealed, memo) == read_seal(remote, sealed)


SEAL = Seal({"f": SealedFile(Digest.of(b"x"), "e")}, "test", Provenance("0" * 64, "c" * 40, Tree({"w.pt": Digest.of(b"w")})))
DAMAGED = {
    "empty": b"",
    "no JSON": b"{",
    "no record": b"[]",
    "null": b"null",
    "binary": b"\xff\xfe",
    "schema": SEAL.blob().data.replace(b'"schema": 1', b'"schema": 2'),
    "size": SEAL.blob().data.replace(b'"size": 1', b'"size": 2'),
    "path": SEAL.blob().data.replace(b'"path": "f"', b'"path": "g"'),
    "no etag": SEAL.blob().data.replace(b'"etag"', b'"other"'),
    "odd size": SEAL.blob().data.replace(b'"size": 1', b'"size": []'),
    "endless size": SEAL.blob().data.replace(b'"size": 1', b'"size": 1e999'),
    "path is a number": SEAL.blob().data.replace(b'"path": "f"', b'"path": 5'),
    "odd path": SEAL.blob().data.replace(b'"path": "f"', b'"path": "\\ud800"'),
    "mixed paths": SEAL.blob().data.replace(b'"files": [', b'"files": [{"path": 1, "size": 1, "sha256": "", "etag": ""},'),
    "deep": b"[" * 100_000,
}


def test_a_seal_is_read_as_written() -> None:
    assert Seal.from_bytes(SEAL.blob().data, SEAL.tree.digest.hash) == SEAL


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_seal_is_found(case: str) -> None:
    assert Seal.from_bytes(DAMAGED[case], SEAL.tree.digest.hash) is None
    remote, id = MemoryRemote(), VersionId("m", "1")
    put(remote, f".gdcbuild/v1/seals/m/1/00000001-{SEAL.tree.digest.hash}.json", DAMAGED[case])
    put(remote, "m/1/f")
    assert drifted(observe(remote, [id])) == {id: ("its seal is damaged, or was written by a newer gdcbuild",)}
    assert verify(remote, deep=True) == drifted(observe(remote, [id]))


def test_an_object_of_another_size_than_listed_is_an_error() -> None:
    remote, id = MemoryRemote(), VersionId("m", "1")
    put(remote, "m/1/f", b"one")
    listed = contents(remote, [id])[id]["f"]
    assert content(remote, listed) == Digest.of(b"one")
    remote.delete("m/1/f")
    assert content(remote, listed) is None
    put(remote, "m/1/f", b"two")
    assert content(remote, listed) is None
    with pytest.raises(RemoteError, match="memory:/m/1/f: expected 4 bytes, received 3"):
        content(remote, RemoteObject("m/1/f", 4))


def test_an_object_overwritten_between_listing_and_reading_is_not_cached() -> None:
    remote, id, memo = MemoryRemote(), VersionId("m", "1"), Memo()
    tree = Tree({"f": Digest.of(b"ours")})
    put(remote, "m/1/f", b"else")
    observed = observe(remote, [id])
    remote.delete("m/1/f")
    put(remote, "m/1/f", b"ours")
    assert unlike(compare(remote, observed, {id: tree}, memo).standings[id])
    remote.delete("m/1/f")
    put(remote, "m/1/f", b"else")
    assert unlike(compare(remote, observe(remote, [id]), {id: tree}, memo).standings[id])
    assert list(memo.rows.values()) == [Digest.of(b"else").hash]


def test_verify_finds_damage_that_listings_do_not_show() -> None:
    remote = MemoryRemote()
    ids = workspace(3)
    for id in ids:
        add(remote, id, str(id).encode())
    key = f"{ids[1].model}/1/model.mar"
    remote.delete(key)
    put(remote, key, b"MODEL-0001@1")
    assert drifted(observe(remote, ids)).keys() == {ids[1]}
    assert verify(remote, deep=True) == {
        ids[0]: (),
        ids[1]: ("model.mar: differs from what was published",),
        ids[2]: (),
    }
    never = VersionId("never", "1")
    assert verify(remote, [ids[0], never]) == {ids[0]: (), never: ()}, "what was never published is not damaged"
    assert observe(remote, [never]).standings == {never: Absent()}


def test_verify_finds_versions_without_a_seal() -> None:
    remote = MemoryRemote()
    names = ("sound", "lost", "begun", "foreign", "unknown", "absent")
    sound, lost, begun, foreign, unknown, absent = (VersionId(name, "1") for name in names)
    add(remote, sound)
    add(remote, lost)
    for key in (newest_seals(remote)[lost].key, "lost/1/model.mar"):  # its claim stays
        remote.delete(key)
    put(remote, claim_key(begun, 1), b"{}")
    for key in ("begun/1/more", "foreign/1/model.mar", "unknown/1/model.mar"):
        put(remote, key)
    for key in ("model.mar", "docs/model.mar", "docs/images/a.png", "team/sound/1/model.mar", ".gdcbuild/v1/model.mar"):
        put(remote, key)
    expected = {
        absent: (),
        begun: ("a publish was started but not finished", "it has no seal"),
        foreign: ("it has no seal: not published by gdcbuild",),
        lost: ("a publish was started but not finished", "it has no seal"),
        sound: (),
        unknown: ("it has no seal: not published by gdcbuild",),
    }
    known = [sound, lost, begun, foreign, absent]
    assert verify(remote, known=known, entries={"model.mar"}) == expected
    assert verify(remote, known, entries={"model.mar"}) == {id: lines for id, lines in expected.items() if id != unknown}
    for item in list(remote.list("")):
        remote.delete(item.key)
    assert verify(remote, known=known) == dict.fromkeys(sorted(known), ())


def test_a_rewrite_of_the_same_bytes_is_not_damage() -> None:
    remote, id = MemoryRemote(), VersionId("m", "1")
    put(remote, "m/1/f")
    seal = Seal({"f": SealedFile(Digest.of(b"x"), "another etag")}, "test")
    put(remote, f".gdcbuild/v1/seals/m/1/00000001-{seal.tree.digest.hash}.json", seal.blob().data)
    assert "overwritten" in verify(remote)[id][0]
    assert verify(remote, deep=True)[id] == ()
