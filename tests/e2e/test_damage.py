"""A damaged blob is never taken for the user's mistake."""

from __future__ import annotations

import os
import shutil

from tests.e2e.test_incremental import FILES, MANIFEST
from tests.e2e.workspace import Workspace


def test_a_damaged_archive_that_is_not_checked_yet_is_made_anew(workspace: Workspace) -> None:
    workspace.write(FILES)
    workspace.ok("apply")
    before = workspace.served()
    for path in (workspace.cache / "cas").glob("*/*"):
        path.chmod(0o644)
        data = path.read_bytes().replace(b"MAR-INF/MANIFEST.json", b"MAR)INF/MANIFEST.json", 1)
        path.write_bytes(data)
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime))
    workspace.write({"gdcbuild.yaml": MANIFEST.replace("pytorch-cpu.2-4", "pytorch-cpu.2-1")})  # to be checked
    shutil.rmtree(workspace.root / "bucket")
    result = workspace.ok("apply")
    assert "the cache is damaged" in result.err
    assert workspace.served() == before
