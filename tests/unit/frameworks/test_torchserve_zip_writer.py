"""The zip writer: stored, the very bytes of Python's zipfile; deflated, what every reader unpacks; large, in the long form."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdcbuild.core.digest import BytesBlob, Digest
from gdcbuild.errors import BlobDamaged
from gdcbuild.frameworks.torchserve.mar import zip_writer
from gdcbuild.frameworks.torchserve.mar.zip_writer import FIRST, LAST, ZipWriter

NAMES = st.text(st.characters(exclude_characters="\0\\/", exclude_categories=["Cs"]), min_size=1, max_size=20)


def written(members: Mapping[str, bytes], moment: int = FIRST, deflate: bool = False) -> bytes:
    file = io.BytesIO()
    archive = ZipWriter(file, moment, deflate)
    for name, data in members.items():
        archive.add(name, BytesBlob(data))
    digest = archive.finish()
    assert digest == Digest.of(file.getvalue())
    return file.getvalue()


def by_zipfile(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, data)
    return file.getvalue()


@given(st.dictionaries(NAMES, st.binary(max_size=200), max_size=5))
def test_stored_the_bytes_are_zipfiles(members: dict[str, bytes]) -> None:
    assert written(members) == by_zipfile(members)


@pytest.mark.parametrize("limit", [0, 10, 120, 500])
def test_large_the_bytes_are_zipfiles(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limits of the short form, so that sizes, offsets and the total exceed them in turn."""
    members = {"a": bytes(5), "b": bytes(300), "sub/ü": b"12", "c": bytes(11)}
    for module in (zipfile, zip_writer):
        monkeypatch.setattr(module, "ZIP64_LIMIT", limit)
    assert written(members) == by_zipfile(members)
    monkeypatch.undo()
    with zipfile.ZipFile(io.BytesIO(written(members))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == members


def test_many_members_the_bytes_are_zipfiles(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (zipfile, zip_writer):
        monkeypatch.setattr(module, "ZIP_FILECOUNT_LIMIT", 20)
    members = {f"{number}": b"" for number in range(21)}
    assert written(members) == by_zipfile(members)


@given(st.dictionaries(NAMES, st.binary(max_size=200), max_size=5))
def test_deflated_all_comes_back(members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(io.BytesIO(written(members, deflate=True))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == members
        assert all(i.compress_type == zipfile.ZIP_DEFLATED for i in archive.infolist())


def test_deflated_it_is_smaller_and_the_same_every_time() -> None:
    members = {"weights.pt": bytes(3 << 20), "b": b"text" * 1000}
    assert len(written(members, deflate=True)) < 10_000
    assert written(members, deflate=True) == written(members, deflate=True)


@pytest.mark.parametrize("deflate", [False, True], ids=["stored", "deflated"])
@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_info_zip_reads_it(deflate: bool, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(written({"w.pt": bytes(3 << 20), "sub/b": b"text"}, deflate=deflate))
    done = subprocess.run(["unzip", "-t", tmp_path / "a.zip"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("moment", "told"),
    [
        (FIRST, (1980, 1, 1, 0, 0, 0)),
        (LAST, (2107, 12, 31, 23, 59, 58)),
        (1_700_000_001, (2023, 11, 14, 22, 13, 20)),
    ],
)
def test_the_moment_is_written_in_utc(moment: int, told: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    with zipfile.ZipFile(io.BytesIO(written({"a": b""}, moment))) as archive:
        assert archive.infolist()[0].date_time == told


class Restless:
    """A blob with other bytes when it is read again."""

    digest = Digest.of(b"right")

    def __init__(self, crc: int | None, *contents: bytes) -> None:
        self.crc = crc
        self.contents = list(contents)

    def open(self) -> Any:
        return io.BytesIO(self.contents.pop(0))


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize(
    "blob",
    [
        lambda: Restless(None, b"right", b"wrong"),
        lambda: Restless(None, b"wrong", b"wrong"),
        lambda: Restless(None, b"right", b"right and more"),
        lambda: Restless(zlib.crc32(b"right"), b"wrong"),
        lambda: Restless(zlib.crc32(b"right"), b"righ"),
    ],
    ids=["other bytes", "never right", "more bytes", "known and other", "known and cut"],
)
def test_bytes_that_are_not_those_of_the_digest_are_found(
    blob: Callable[[], Restless], deflate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip_writer, "SMALL", 0)  # a small member is read once
    with pytest.raises(BlobDamaged):
        ZipWriter(io.BytesIO(), FIRST, deflate).add("a.pt", blob())


def test_a_known_checksum_spares_a_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_writer, "SMALL", 0)
    file = io.BytesIO()
    archive = ZipWriter(file, FIRST, False)
    archive.add("a.pt", Restless(zlib.crc32(b"right"), b"right"))
    archive.finish()
    assert file.getvalue() == by_zipfile({"a.pt": b"right"})
