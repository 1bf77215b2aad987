"""Errors of the system, told with the file they are about and the mend."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gdcbuild.errors import named, of_system


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, "free space"),
        (errno.EIO, "the disk or its connection"),
        (errno.EROFS, "GDCBUILD_CACHE_DIR"),
        (errno.EMFILE, "ulimit -n"),
    ],
)
def test_what_to_do_is_told(number: int, expected: str) -> None:
    problem = of_system(OSError(number, os.strerror(number), "some/file"), hint="nothing was kept")
    assert problem.message == f"some/file: {os.strerror(number)}"
    assert expected in problem.hint


def test_what_is_known_otherwise_is_told_where_the_error_says_nothing() -> None:
    assert of_system(OSError(errno.EACCES, "no", "f"), hint="nothing was kept").hint == "nothing was kept"
    assert of_system(OSError(errno.EACCES, "no", "f"), "cannot read it").message == "cannot read it: no (f)"
    assert "chown" in of_system(OSError(errno.EACCES, "no", "f")).hint
    assert of_system(OSError("no number")).message == "the system: no number"


def test_the_file_is_put_in_where_it_is_missing() -> None:
    assert named(OSError(errno.ENOSPC, "full"), Path("a/file")).filename == "a/file"
    assert named(OSError(errno.ENOSPC, "full", "other"), Path("a/file")).filename == "other"
