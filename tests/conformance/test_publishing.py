"""A version's life on every kind of bucket."""

from __future__ import annotations

import pytest

from gdcbuild.core.digest import Blob, BytesBlob
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Terms
from gdcbuild.core.ports import Remote
from gdcbuild.publishing.observe import observe
from gdcbuild.publishing.publisher import Publication, publish
from gdcbuild.publishing.writer import Release
from tests.unit.engine.world import verify

ID = VersionId("digits", "1")
ENTRY = "saved_model.pb"
FIRST = {ENTRY: b"graph 1", "variables/data": bytes(17 << 20), "variables/index": b"index", "gone": b"x"}
SECOND = {ENTRY: b"graph 2", "variables/data": bytes(17 << 20), "variables/index": b"other", "new": b"y"}


def run(remote: Remote, files: dict[str, bytes]) -> Publication:
    blobs: dict[str, Blob] = {path: BytesBlob(data) for path, data in files.items()}
    return publish(remote, Release(ID, blobs, ENTRY, "test"), observe(remote, [ID]).standings[ID], Terms("test"))


@pytest.mark.slow
def test_create_keep_replace_and_find_damage(remote: Remote) -> None:
    assert run(remote, FIRST) == Publication("created", 6)
    assert run(remote, FIRST) == Publication("unchanged", 0)
    assert run(remote, SECOND) == Publication("replaced", 5)  # the large file stays: claim, two changed, one new, seal
    assert run(remote, SECOND) == Publication("unchanged", 0)
    assert [found.key for found in remote.list("digits/")] == sorted(f"digits/1/{path}" for path in SECOND)
    assert verify(remote, deep=True) == {ID: ()}
    assert list(observe(remote, [ID], known=[]).orphans) == [ID]
    assert len(list(remote.list(".gdcbuild/v1/seals/"))) == 2

    remote.delete("digits/1/variables/index")
    remote.create("digits/1/variables/index", BytesBlob(b"OTHER"))
    assert verify(remote, deep=True) == {ID: ("variables/index: differs from what was published",)}
