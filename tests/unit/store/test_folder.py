"""The cache folder: made private, and refused where other users can write."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gdcbuild.errors import Problem, StoreError
from gdcbuild.store.folder import PARTS, prepare


@pytest.fixture
def warnings() -> list[Problem]:
    return []


@pytest.fixture
def folder(tmp_path: Path, warnings: list[Problem]) -> Path:
    prepare(tmp_path / "cache", warnings.append)
    return tmp_path / "cache"


def test_the_cache_is_private_to_its_owner(tmp_path: Path, warnings: list[Problem]) -> None:
    before = os.umask(0)
    try:
        prepare(tmp_path / "cache", warnings.append)
    finally:
        os.umask(before)
    made = [tmp_path / "cache", *(tmp_path / "cache" / part for part in PARTS)]
    assert {stat.S_IMODE(p.stat().st_mode) for p in made} == {0o700}


@pytest.mark.parametrize("part", ["", *PARTS, "records/cache.db"])
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_cache_that_others_can_write_is_refused(folder: Path, warnings: list[Problem], part: str, mode: int) -> None:
    (folder / "records" / "cache.db").touch(0o600)
    (folder / part).chmod(mode)
    with pytest.raises(StoreError, match=r"(?s)other users can write to .*chmod [67]00" if part else "chmod 700"):
        prepare(folder, warnings.append)


def test_a_cache_that_others_can_read_is_accepted(folder: Path, warnings: list[Problem]) -> None:
    folder.chmod(0o755)
    prepare(folder, warnings.append)
    assert warnings == []


@pytest.mark.parametrize("mode", [0o700, 0o777])
def test_a_link_is_judged_by_its_target(folder: Path, tmp_path: Path, warnings: list[Problem], mode: int) -> None:
    (tmp_path / "link").symlink_to(folder)
    folder.chmod(mode)
    if mode == 0o700:
        prepare(tmp_path / "link", warnings.append)
        return
    with pytest.raises(StoreError, match="other users can write"):
        prepare(tmp_path / "link", warnings.append)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a link to another user")
def test_a_link_of_another_user_is_refused(folder: Path, tmp_path: Path, warnings: list[Problem]) -> None:
    (tmp_path / "link").symlink_to(folder)
    os.chown(tmp_path / "link", 12345, 12345, follow_symlinks=False)
    with pytest.raises(StoreError, match="other users can write"):
        prepare(tmp_path / "link", warnings.append)


@pytest.mark.parametrize("content", [b"", b"garbage", b"Signature: 8a477f597d28d172789f06886806bc55"])
def test_a_damaged_tag_is_written_again(folder: Path, warnings: list[Problem], content: bytes) -> None:
    whole = (folder / "CACHEDIR.TAG").read_bytes()
    (folder / "CACHEDIR.TAG").write_bytes(content)
    prepare(folder, warnings.append)
    assert (folder / "CACHEDIR.TAG").read_bytes() == whole
    assert len(warnings) == 1


@pytest.mark.parametrize("what", ["folder", "dangling link"])
def test_something_else_instead_of_the_tag(folder: Path, tmp_path: Path, warnings: list[Problem], what: str) -> None:
    tag = folder / "CACHEDIR.TAG"
    tag.unlink()
    tag.mkdir() if what == "folder" else tag.symlink_to(tmp_path / "elsewhere")
    prepare(folder, warnings.append)
    assert len(warnings) == (what == "folder")
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_in_the_way_is_reported(folder: Path, warnings: list[Problem]) -> None:
    (folder / "locks").rmdir()
    (folder / "locks").write_text("")
    with pytest.raises(StoreError, match="locks"):
        prepare(folder, warnings.append)


def test_a_folder_with_other_files_is_not_a_cache(tmp_path: Path, warnings: list[Problem]) -> None:
    (tmp_path / "gdcbuild.yaml").touch()
    with pytest.raises(StoreError, match="is not a gdcbuild cache"):
        prepare(tmp_path, warnings.append)
    assert [p.name for p in tmp_path.iterdir()] == ["gdcbuild.yaml"]


def test_a_cache_without_its_tag_is_accepted(folder: Path, warnings: list[Problem]) -> None:
    (folder / "CACHEDIR.TAG").unlink()
    for name in ("listings", "lost+found", ".CACHEDIR.TAG.7"):
        (folder / name).mkdir(exist_ok=True)
    prepare(folder, warnings.append)
    assert (folder / "CACHEDIR.TAG").exists()
    (folder / "anything").touch()
    prepare(folder, warnings.append)
