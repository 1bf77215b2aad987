"""What every workspace does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from gdcbuild.core.digest import Digest
from gdcbuild.core.ports import Workspace
from gdcbuild.errors import ManifestError
from gdcbuild.files.content import read_verified
from gdcbuild.store.memory import MemoryRecords, MemoryWorkspace
from gdcbuild.store.workspace import DiskWorkspace


@dataclass
class Place:
    """A workspace, and how a user writes to it."""

    workspace: Workspace
    write: Callable[[str, bytes], None]


def on_disk(root: Path) -> Place:
    def write(path: str, data: bytes) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)

    return Place(DiskWorkspace(root, MemoryRecords()), write)


def in_memory(_root: Path) -> Place:
    workspace = MemoryWorkspace()
    return Place(workspace, workspace.files.__setitem__)


@pytest.fixture(params=[on_disk, in_memory])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    found: Place = request.param(tmp_path)
    return found


@pytest.mark.parametrize("data", [b"", b"x", bytes(3 << 20)], ids=["empty", "one byte", "3 MB"])
def test_a_file_has_the_digest_of_its_bytes(place: Place, data: bytes) -> None:
    place.write("folder/ä b.txt", data)
    assert place.workspace.digest("folder/ä b.txt") == Digest.of(data)
    blob = place.workspace.blob("folder/ä b.txt")
    assert blob.digest == Digest.of(data)
    assert read_verified(blob) == read_verified(blob) == data


def test_a_change_is_seen(place: Place) -> None:
    for data in (b"first", b"second", b"", b"first"):
        place.write("file", data)
        assert place.workspace.digest("file") == Digest.of(data)
        assert read_verified(place.workspace.blob("file")) == data


def test_content_counts_and_not_the_name(place: Place) -> None:
    place.write("a", b"same")
    place.write("b", b"same")
    assert place.workspace.digest("a") == place.workspace.digest("b")


def test_a_missing_file_is_a_mistake_in_the_manifest(place: Place) -> None:
    with pytest.raises(ManifestError, match="nowhere"):
        place.workspace.digest("nowhere")
    with pytest.raises(ManifestError, match="nowhere"):
        place.workspace.blob("nowhere")


def test_slow_files_are_reported_once(place: Place) -> None:
    for name, size in (("small", 10), ("large", 3 << 20), ("larger", 4 << 20)):
        place.write(name, bytes(size))
    named = ["small", "large", "larger", "there is none"]
    slow = list(place.workspace.slow(named))
    assert slow in (["larger", "large"], []), "it may have everything at hand"
    for path in slow:
        place.workspace.digest(path)
    assert list(place.workspace.slow(named)) == []
    place.write("large", b"x" * (3 << 20))
    assert list(place.workspace.slow(named)) == (["large"] if slow else [])


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 9\n"
DVC = b"outs:\n- md5: 22a1\n  path: data\n"


def test_a_stand_in_is_reported_until_the_file_is_there(place: Place) -> None:
    for name, data in (("w.pt", POINTER % 0), ("deep/w.pt", b""), ("plain", POINTER[:10]), ("__init__.py", b"")):
        place.write(name, data)
    told = {name: place.workspace.standin(name) for name in ("w.pt", "deep/w.pt", "plain", "__init__.py")}
    assert {name: problem.message for name, problem in told.items() if problem} == {
        "w.pt": "'w.pt' is a Git LFS pointer, not the file itself",
        "deep/w.pt": "'deep/w.pt' is empty; models, weights and tokenizers never are",
    }
    place.workspace.digest("w.pt")
    assert place.workspace.standin("w.pt") == told["w.pt"]
    for data in (b"weights", bytes(3 << 20)):
        place.write("w.pt", data)
        assert place.workspace.digest("w.pt") == Digest.of(data)
        assert place.workspace.standin("w.pt") is None


def test_a_dvc_file_beside_its_data_is_reported_if_it_is_named(place: Place) -> None:
    place.write("deep/data.dvc", DVC)
    assert place.workspace.standin("deep/data.dvc", named=False)
    place.write("deep/data", b"x")
    assert place.workspace.standin("deep/data.dvc", named=False) is None
    assert place.workspace.standin("deep/data.dvc", named=True)
