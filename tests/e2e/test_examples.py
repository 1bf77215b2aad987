"""The examples as a newcomer has them: published once, and then only what changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.test_s3 import KEYS, Bucket
from tests.e2e.workspace import Workspace
from tests.servers import AwkwardS3, awkward
from tests.toolchains import ROOT, examples

pytestmark = pytest.mark.toolchain

LEGACY = "examples/tensorflow-2.14"
MAX_COMMITTED = 1 << 20


def clone(tmp_path: Path, cache: Path, bucket: Path, folder: str = "") -> Workspace:
    """A fresh clone beside which the bucket is what an earlier run published."""
    workspace = examples(tmp_path / "clone", cache, folder)
    shutil.copytree(bucket, workspace.root / "bucket")
    return workspace


def versions(bucket: Path) -> list[str]:
    found = [p.relative_to(bucket) for p in bucket.glob("*/*") if not p.parent.name.startswith(".")]
    return sorted(f"{p.parent}@{p.name}" for p in found)


def test_nothing_that_is_committed_is_large() -> None:
    sizes = {p: p.stat().st_size for p in (ROOT / "examples").rglob("*") if p.is_file() and "bucket" not in p.parts}
    assert sizes
    assert max(sizes.values()) <= MAX_COMMITTED


@pytest.mark.parametrize("folder", ["", LEGACY], ids=["2.18 and PyTorch", "2.14"])
def test_fresh_clone_with_a_cache_does_nothing(
    tmp_path: Path, shared_cache: Path, folder: str, request: pytest.FixtureRequest
) -> None:
    bucket: Path = request.getfixturevalue("published_214" if folder else "published")
    workspace = clone(tmp_path, shared_cache, bucket, folder)
    before = workspace.snapshot("bucket")
    result = workspace.ok("apply")
    assert "Nothing to do: no action ran, no object was written." in result.err
    assert workspace.snapshot("bucket") == before


@pytest.mark.parametrize("folder", ["", LEGACY], ids=["2.18 and PyTorch", "2.14"])
def test_same_bytes_from_an_empty_cache(
    tmp_path: Path, shared_cache: Path, folder: str, request: pytest.FixtureRequest
) -> None:
    """Toolchains aside, which take minutes to install: they are found under another path, though."""
    bucket: Path = request.getfixturevalue("published_214" if folder else "published")
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    (cache / "toolchains").symlink_to(shared_cache / "toolchains")
    workspace = clone(tmp_path, cache, bucket, folder)
    before = workspace.snapshot("bucket")
    result = workspace.ok("apply", "--json")
    assert result.jobs(what="publish", outcome="unchanged") == versions(bucket)
    assert (result.events[-1]["objects"], result.events[-1]["published"]) == (0, 0)
    assert result.events[-1]["actions"] >= len(versions(bucket))
    assert workspace.snapshot("bucket") == before


def test_shared_handler_republishes_exactly_what_packs_it(tmp_path: Path, shared_cache: Path, published: Path) -> None:
    workspace = clone(tmp_path, shared_cache, published)
    before = workspace.served()
    handler = workspace.root / "examples/pytorch/handlers/instances.py"
    handler.write_text(handler.read_text() + "\n# edited by a test\n")
    result = workspace.ok("apply", "--json")
    packs_it = ["digits-archive@1", "digits-eager@1", "digits-eager@2"]
    packs_it += ["digits-program@1", "digits-torchscript@1", "digits-torchscript@2"]
    assert result.jobs(what="publish", outcome="replaced") == packs_it
    after = workspace.served()
    assert sorted(p for p in after if after[p] != before[p]) == [f"{v.replace('@', '/')}/model.mar" for v in packs_it]


def test_to_a_server(tmp_path: Path, shared_cache: Path, published: Path, s3_server: str) -> None:
    bucket = Bucket(s3_server, "examples")
    workspace = examples(tmp_path / "clone", shared_cache)
    workspace.variables = {**KEYS, "GDC_S3_ENDPOINT": s3_server, "GDC_BUCKET": bucket.name}
    asked = workspace.run("apply", "--env", "prod")
    assert (asked.code, "--yes" in asked.err) == (3, True), asked.err
    workspace.ok("apply", "--env", "prod", "--yes")
    served = {k: bucket.read(k) for k in bucket.listing() if not k.startswith(".gdcbuild/")}
    assert served == {
        p: c for p, (c, _) in Workspace(published, shared_cache).snapshot().items() if not p.startswith(".gdcbuild/")
    }
    before = bucket.listing()
    assert "Nothing to do" in workspace.ok("apply", "--env", "prod").err
    assert bucket.listing() == before


def test_entry_object_of_a_saved_model_comes_last_and_its_seal_after_it(
    tmp_path: Path, shared_cache: Path, published: Path
) -> None:
    with awkward(AwkwardS3()) as store:
        workspace = examples(tmp_path / "clone", shared_cache)
        workspace.variables = {**KEYS, "GDC_S3_ENDPOINT": store.endpoint, "GDC_BUCKET": "models"}
        workspace.ok("apply", "digits-keras@1", "--env", "prod", "--yes")
        keys = list(store.objects)
        assert [".gdcbuild/v1/claims/" in keys[0], ".gdcbuild/v1/seals/" in keys[-1]] == [True, True]
        assert keys[-2].endswith("digits-keras/1/saved_model.pb")
        assert len(keys) == 2 + len([p for p in (published / "digits-keras/1").rglob("*") if p.is_file()])
