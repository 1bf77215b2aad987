"""A sample of what `python -m tests.faults` tries in whole."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.faults import calls, full


@pytest.mark.parametrize("part", ["calls", "full", "damage", "sharing"])
def test_sample(part: str) -> None:
    reason = {"calls": calls.why_not, "full": full.why_not}.get(part, str)()
    if reason:
        pytest.skip(reason)
    # by itself, because it forks
    command = [sys.executable, "-m", "tests.faults", "--sample", part]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout
