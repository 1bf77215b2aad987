"""What a collection keeps because another process uses it meanwhile."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from gdcbuild.app.cache import Cache

OLD = time.time() - 40 * 86_400


def made(cache: Cache, name: str) -> Path:
    """A finished toolchain that was not used for long."""
    mark = cache.folder / "toolchains" / name / "toolchain.json"
    mark.parent.mkdir()
    mark.write_text("{}")
    os.utime(mark, (OLD, OLD))
    return mark


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", lambda _: None)


def test_a_toolchain_that_is_used_while_another_one_is_removed(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    marks, real = [made(cache, name) for name in ("one", "two", "three")], shutil.rmtree

    def slow(folder: Path, ignore_errors: bool = False) -> None:
        for mark in marks:
            if mark.exists():
                os.utime(mark)
        real(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", slow)
    assert cache.collect(30 * 86_400.0, None).toolchains == 1
    assert [mark.exists() for mark in marks].count(True) == 2


def test_a_toolchain_that_is_about_to_be_used(cache: Cache) -> None:
    held, free = made(cache, "held"), made(cache, "free")
    with cache.locks.hold("toolchain-held"):
        assert cache.collect(30 * 86_400.0, None).toolchains == 1
    assert (held.exists(), free.parent.exists()) == (True, False)
