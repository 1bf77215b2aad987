"""On a file system whose files can share blocks, as XFS on the servers that this runs on, large files are not copied."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.workspace import HANDLER, ONE_STEP, Workspace

MIB = 1 << 20
SIZE = 48 * MIB
MANIFEST = (ONE_STEP % "head -c 4096 large.bin > ${out}/w.pt && sync && stat -f -c '%f %S' . > ${out}/free").replace(
    "outputs: [w.pt]", "inputs: [large.bin]\n    outputs: [w.pt, free]"
)

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mkfs.xfs") is None, reason="to mount a file system takes root, and mkfs.xfs to make it"
)


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    image, folder = tmp_path / "image", tmp_path / "mount"
    with image.open("wb") as file:
        file.truncate(400 * MIB)
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", image], check=True)
    folder.mkdir()
    mounted = subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(mounted.stderr)
    yield folder
    subprocess.run(["umount", folder], check=True)


def free(folder: Path) -> int:
    os.sync()
    found = os.statvfs(folder)
    return found.f_bfree * found.f_frsize


def test_an_actions_inputs_share_the_blocks_of_the_workspace(mount: Path) -> None:
    workspace = Workspace(mount / "workspace", mount / "cache")
    workspace.write({"gdcbuild.yaml": MANIFEST, "h.py": HANDLER, "large.bin": os.urandom(SIZE)})
    before = free(mount)
    workspace.ok("build")
    (seen,) = [p for p in (workspace.cache / "cas").rglob("*") if p.is_file() and p.stat().st_size < 40]
    blocks, size = map(int, seen.read_text().split())
    assert before - blocks * size < SIZE / 2


def test_a_bucket_in_a_folder_shares_the_blocks_of_the_cache(mount: Path) -> None:
    workspace = Workspace(mount / "workspace", mount / "cache")
    manifest = MANIFEST.replace("{step: s, path: w.pt}", "large.bin").split("steps:")[0]
    workspace.write({"gdcbuild.yaml": manifest, "h.py": HANDLER, "large.bin": os.urandom(SIZE)})
    before = free(mount)
    workspace.ok("apply")
    taken = before - free(mount)
    assert SIZE < taken < SIZE * 1.5, "the archive is there once"
    assert (workspace.root / "bucket" / "m" / "1" / "model.mar").stat().st_size > SIZE
