"""Remove folders that user code has written to."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path


def remove(folder: Path) -> None:
    """Remove a folder, or a link in its place, including read-only content. What cannot be removed stays."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.is_symlink() or not folder.is_dir():
        with suppress(OSError):
            folder.unlink()
        return
    with suppress(OSError):
        folder.chmod(0o700)
        for path, names, _ in os.walk(folder):  # walks into each of these only after they are made accessible
            for name in names:
                if not os.path.islink(inner := f"{path}/{name}"):  # noqa: PTH114 - faster, and there may be many
                    os.chmod(inner, 0o700)  # noqa: PTH101
    shutil.rmtree(folder, ignore_errors=True)
