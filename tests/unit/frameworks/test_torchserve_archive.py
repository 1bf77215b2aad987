"""Hostile and damaged archives are refused with a reason, never unpacked, and never cause a traceback."""

from __future__ import annotations

import gzip
import json
import os
import random
import resource
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gdcbuild.core.digest import BytesBlob, Digest
from gdcbuild.errors import ActionFailed, Problem
from gdcbuild.files.content import FileBlob
from gdcbuild.frameworks.torchserve.mar import archive as reading
from gdcbuild.frameworks.torchserve.mar import repack
from gdcbuild.frameworks.torchserve.mar.archive import open_archive
from gdcbuild.frameworks.torchserve.mar.layout import UnreadableArchive
from gdcbuild.frameworks.torchserve.mar.writer import MANIFEST
from tests.unit.frameworks.zips import DESCRIPTOR, ENCRYPTED, FULL, GOOD, UTF8, Entry, deflated, local_header, made, mar

E = Entry
X = b"x" * 100
CRC = zlib.crc32(X)


def kind(mode: int) -> int:
    return mode << 16


def wide(*numbers: int) -> bytes:
    """An extra field of zip64."""
    return struct.pack(f"<HH{len(numbers)}Q", 1, 8 * len(numbers), *numbers)


def second_name(name: bytes) -> bytes:
    return struct.pack("<HHBI", 0x7075, 5 + len(name), 1, 0) + name


def hidden(entry: Entry) -> bytes:
    """A member that only a reader from the start sees."""
    return made(entry)[: made(entry).index(b"PK\1\2")]


def quoted() -> bytes:
    """A member in a member: the data of the first are the header and the data of the second."""
    inner = {"name": b"b", "flags": 0, "method": 0, "crc": CRC, "packed": 100, "size": 100, "extra": b""}
    return mar(E("a", local_header(inner) + X), E("b", X, absent=True, central={"offset": FIRST + 31}))


def short(count: int) -> Entry:
    """A member whose packed data is declared longer than it is."""
    packed = deflated(X)
    numbers = {"packed": len(packed) + count}
    return E("a", X, method=8, packed=packed, local=numbers, central=numbers)


FIRST = len(b"w.pt") + 30 + len(b"weights")
"""Where the second member of `mar` begins."""


def many_ends() -> bytes:
    return mar(comment=made(E("other", b"1"), end={"start": 0}))


NAMES = {
    "absolute": (mar(E("/etc/passwd")), "'/etc/passwd' is not a relative path"),
    "upwards": (mar(E("../../x")), "contains .."),
    "upwards inside": (mar(E("a/../../x")), "contains .."),
    "upwards and back": (mar(E("a/../b")), "contains .."),
    "upwards folder": (mar(E("../")), "contains .."),
    "two points": (mar(E("..")), "contains .."),
    "upwards from here": (mar(E("./../x")), "contains .."),
    "one point": (mar(E(".")), "contains // or ./"),
    "one point last": (mar(E("a/.")), "contains // or ./"),
    "from here to the root": (mar(E("/./x")), "is not a relative path"),
    "empty": (mar(E("")), "a member has no name"),
    "only a slash": (mar(E("/")), "is not a relative path"),
    "backslash": (mar(E("a\\..\\x")), "is not a relative path"),
    "share": (mar(E("//host/x")), "is not a relative path"),
    "NUL": (mar(E("a\0b")), "NUL"),
    "NUL that hides a way up": (mar(E("a\0/../../x")), "NUL"),
    "line feed": (mar(E("a\nb")), "control character"),
    "escape": (mar(E("a\x1b[2Jb")), "control character"),
    "DEL": (mar(E("a\x7fb")), "control character"),
    "long": (mar(E("a/" * 600 + "b")), "longer than 1024"),
    "longest that a header can tell": (mar(E("a/" * 32_000 + "b")), "longer than 1024"),
    "long part": (mar(E("a" * 256)), "a part longer than 255"),
    "not UTF-8": (mar(E(b"a\xffb", flags=UTF8)), "damaged"),
    "not said to be UTF-8": (mar(E("ä".encode())), "is not marked as UTF-8"),
    "twice": (mar(E("a", b"1"), E("a", b"2")), "'a' appears twice"),
    "twice, once from here": (mar(E("a", b"1"), E("./a", b"2")), "'a' appears twice"),
    "file and folder from here": (mar(E("a"), E(".//a/b")), "'a' is both a file and the folder of 'a/b'"),
    "two manifests, one from here": (mar(E(f"./{MANIFEST}", GOOD.encode())), "appears twice"),
    "weights twice": (mar(E("w.pt", b"other")), "'w.pt' appears twice"),
    "two manifests": (mar(E(MANIFEST, GOOD.encode())), "appears twice"),
    "file and folder": (mar(E("a"), E("a-b"), E("a/b")), "'a' is both a file and the folder of 'a/b'"),
    "file and empty folder": (mar(E("a"), E("a/")), "'a' is both a file and the folder"),
    "second name": (mar(E("a", extra=second_name(b"../x"))), "a second name: '../x'"),
    "name in the one header": (mar(E("a", X, local={"name": b"../a"})), "different name in its own header: '../a'"),
    "case of the name": (mar(E("a", X, local={"name": b"A"})), "different name in its own header: 'A'"),
}

KINDS = {
    "link": (mar(E("a", b"/etc/passwd", attributes=kind(stat.S_IFLNK | 0o777))), "link or a device"),
    "link to a folder": (mar(E("a/", attributes=kind(stat.S_IFLNK | 0o777))), "link or a device"),
    "character device": (mar(E("a", attributes=kind(stat.S_IFCHR | 0o600))), "link or a device"),
    "block device": (mar(E("a", attributes=kind(stat.S_IFBLK | 0o600))), "link or a device"),
    "pipe": (mar(E("a", attributes=kind(stat.S_IFIFO | 0o600))), "link or a device"),
    "socket": (mar(E("a", attributes=kind(stat.S_IFSOCK | 0o600))), "link or a device"),
    "folder that is a file": (mar(E("a/", attributes=kind(stat.S_IFREG | 0o644))), "link or a device"),
    "folder with bytes": (mar(E("a/", b"12")), "has content"),
    "encrypted": (mar(E("a", X, flags=ENCRYPTED)), "encrypted"),
    "bzip2": (mar(E("a", X, method=12)), "method 12"),
    "lzma": (mar(E("a", X, method=14)), "method 14"),
    "zstandard": (mar(E("a", X, method=93)), "method 93"),
    "made up": (mar(E("a", X, method=0xFFFF)), "method 65535"),
    "other method in the one header": (mar(E("a", X, local={"method": 8})), "another compression method"),
    "encrypted in the one header": (mar(E("a", X, local={"flags": 1})), "different flags"),
    "descriptor in the one header": (mar(E("a", X, local={"flags": 8})), "different flags"),
}

SIZES = {
    "bomb": (mar(*(E(name, method=8, central={"size": FULL - 1}, local={"size": FULL - 1}) for name in "ab")), "unpacks to"),
    "bomb of zip64": (mar(E("a", method=8, local={"size": FULL, "extra": wide(1 << 50, 2)},
        central={"size": FULL, "extra": wide(1 << 50)})), "unpacks to"),
    "bomb of many": (mar(*(E(f"{n}", method=8, central={"size": 1 << 26}, local={"size": 1 << 26}) for n in range(99))),
        "unpacks to"),
    "many": (mar(*(E(f"{n}") for n in range(10_000))), "10002 members"),
    "larger than it says": (mar(E("a", X, method=8, local={"size": 10}, central={"size": 10})), "a is damaged"),
    "smaller than it says": (mar(E("a", X, method=8, local={"size": 200}, central={"size": 200})), "not the declared 200"),
    "stored, unpacked larger": (mar(E("a", X, local={"size": 200}, central={"size": 200})), "is stored, but has two sizes"),
    "stored, packed larger": (mar(E("a", X, local={"packed": 200}, central={"packed": 200})), "is stored, but has two sizes"),
    "torn": (mar(E("a", X, method=8, packed=deflated(X)[:3])), "a is damaged"),
    "not deflated": (mar(E("a", X, method=8, packed=b"\xff" * 9)), "a is damaged"),
    "more after the deflated": (mar(E("a", X, method=8, packed=deflated(X) + b"more")), "is not the declared one"),
    "a member after the deflated": (mar(E("a", X, method=8, packed=deflated(X) + hidden(E("evil", X)))), "is not the declared"),
    "checksum": (mar(E("a", X, local={"crc": 1}, central={"crc": 1})), "a is damaged"),
    "checksum in the one header": (mar(E("a", X, local={"crc": 1})), "different size or checksum in its own header"),
    "size in the one header": (mar(E("a", X, local={"size": 99})), "different size or checksum in its own header"),
    "packed size in the one header": (mar(E("a", X, local={"packed": 99})), "different size or checksum in its own header"),
    "size of zip64 missing": (mar(E("a", X, central={"size": FULL})), "lacks its zip64 size"),
    "size of zip64 missing before": (mar(E("a", X, local={"size": FULL})), "lacks its zip64 size"),
    "size of zip64 twice": (mar(E("a", X, central={"size": FULL, "extra": wide(100) * 2})), "two sizes or two names"),
    "size of zip64 is another": (mar(E("a", X, local={"size": FULL, "extra": wide(101)})), "different size or checksum in"),
    "extra too long": (mar(E("a", X, central={"extra": b"\1\0\xff\0"})), "an extra field that is too long"),
    "descriptor lies": (mar(E("a", X, method=8, flags=DESCRIPTOR, local={"crc": 0, "packed": 0, "size": 0},
        behind=b"PK\7\x08" + bytes(12))), "different size or checksum after its data"),
    "descriptor missing": (mar(E("a", X, method=8, flags=DESCRIPTOR, local={"crc": 0, "packed": 0, "size": 0})),
        "different size or checksum after its data"),
}  # fmt: skip

PLACES = {
    "nested": (quoted(), "overlaps"),
    "the data of another": (mar(E("a", X), E("b", X, absent=True, central={"offset": FIRST})), "overlaps 'a'"),
    "overlap by a byte": (mar(short(1)), "overlaps 'a'"),
    "at the start of another": (mar(E("a", X, central={"offset": 0})), "overlaps 'w.pt'"),
    "far away": (mar(E("a", X, central={"offset": 10**9})), "starts in or after the directory"),
    "farther than there are bytes": (mar(E("a", X, central={"offset": FULL, "extra": wide(1 << 62)})), "after the directory"),
    "in the directory": (mar(E("a", X, central={"offset": len(mar(E("a", X))) - 100})), "starts in or after the directory"),
    "into the directory": (made(short(1)), "extends into the directory"),
    "no header": (mar(E("a", X)).replace(b"PK\3\4", b"PK\3\0"), "there is no header where 'w.pt'"),
    "hidden between": (mar(E("a", X, behind=hidden(E("evil.py", X)))), "bytes between 'a' and 'MAR-INF/MANIFEST.json'"),
    "hidden before the directory": (mar(gap=hidden(E("evil.py", X))), "and the directory belong to no member"),
    "before the start": (mar(prefix=b"#!/bin/sh\n"), "10 bytes between the start and 'w.pt' belong to no member"),
    "another archive before the start": (mar(prefix=made(E("evil.py", X))), "bytes between the start and 'w.pt'"),
    "after the end": (mar(suffix=b"tail"), "4 bytes follow its end"),
    "after the end and zeros": (mar(suffix=bytes(9) + b"tail"), "13 bytes follow its end"),
    "zeros in the place of a comment": (mar(comment=bytes(9), end={"comment_size": 10}), "truncated in the comment"),
    "zeros after two ends": (many_ends() + bytes(9), "two end records"),
    "another archive after the end": (mar() + mar(), "its directory has moved"),
    "two ends": (many_ends(), "two end records"),
    "an end in the comment": (mar(comment=b"hello PK\5\6"), "two end records"),
    "comment cut off": (mar(comment=b"hello", end={"comment_size": 9}), "truncated in the comment"),
}  # fmt: skip

ENDS = {
    "one entry more": (mar(end={"count": 3, "here": 3}), "fewer than the declared 3 entries"),
    "one entry less": (mar(end={"count": 1, "here": 1}), "more than the declared 1 entries"),
    "counts differ": (mar(end={"here": 1}), "part of a multi-part archive"),
    "second disk": (mar(end={"disk": 1}), "part of a multi-part archive"),
    "member on another disk": (mar(E("a", central={"disk": 1})), "part of a multi-part archive"),
    "directory elsewhere": (mar(end={"start": 5}), "its directory has moved"),
    "directory longer": (mar(end={"length": 10_000}), "its directory has moved"),
    "directory of 4 GiB": (mar(end={"length": FULL, "start": FULL}), "its directory has moved"),
    "zip64 elsewhere": (mar(zip64={"at": 0}), "zip64 end record is not where"),
    "zip64 at the end of the world": (mar(zip64={"at": 1 << 63}), "zip64 end record is not where"),
    "zip64 longer": (mar(zip64={"rest": 1 << 40}), "zip64 end record is not where"),
    "zip64 with another count": (mar(zip64={"count": 1 << 40, "here": 1 << 40}), "members, more than the limit"),
    "zip64 with another directory": (mar(zip64={"length": 1 << 40}), "its directory has moved"),
    "zip64 contradicts": (mar(zip64=True, end={"count": 1, "here": 1}), "contradict each other"),
    "extra of the last entry": (made(E("a", central={"extra_size": 9})), "the last entry of its directory is truncated"),
    "not a zip": (b"hello", "not a zip file"),
    "nothing": (b"", "not a zip file"),
    "an end alone": (mar()[-22:], "its directory has moved"),
    "empty archive": (made(), "no MAR-INF/MANIFEST.json"),
    "cut off at the end": (mar()[:-1], "not a zip file"),
    "cut off in the middle": (mar()[:60], "not a zip file"),
    "start cut off": (mar()[10:], "its directory has moved"),
    "tar": (b"w.pt".ljust(257, b"\0") + b"ustar".ljust(255, b"\0"), "not a zip file"),
}

MANIFESTS = {
    "none": (mar(manifest=None), "no MAR-INF/MANIFEST.json"),
    "a list": (mar(manifest="[]"), "has no `model`"),
    "a model that is text": (mar(manifest='{"model": "x"}'), "has no `model`"),
    "not JSON": (mar(manifest="{"), "not JSON"),
    "deep": (mar(manifest="[" * 200_000), "not JSON"),
    "empty": (mar(manifest=""), "not JSON"),
    "not UTF-8": (mar(manifest=b"\xff\xff"), "not JSON"),
    "a key twice": (mar(manifest='{"model": {}, "model": {"handler": "x"}}'), "a key appears twice"),
    "large": (mar(manifest=" " * (1 << 20) + GOOD), "larger than 1 MiB"),
    "deflated bomb": (made(E(MANIFEST, method=8, data=bytes(8 << 20))), "larger than 1 MiB"),
}

HOSTILE = {
    f"{group}: {name}": case
    for group, cases in (
        *(("name", NAMES), ("kind", KINDS), ("size", SIZES)),
        *(("place", PLACES), ("end", ENDS), ("manifest", MANIFESTS)),
    )
    for name, case in cases.items()
}


def test_a_gzip_archive_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(ActionFailed) as failure:
        repack.run({}, {"mar/old.tar.gz": BytesBlob(gzip.compress(b"tar"))}, tmp_path)
    assert failure.value.problems == (
        Problem(
            "old.tar.gz is a gzip file, and the containers need a zip file",
            "run torch-model-archiver without --archive-format tgz",
        ),
    )


@pytest.mark.parametrize("case", HOSTILE)
def test_refused(case: str, tmp_path: Path) -> None:
    data, words = HOSTILE[case]
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(ActionFailed) as failure:
        repack.run({}, {"mar/old.mar": BytesBlob(data)}, out)
    (problem,) = failure.value.problems
    assert problem.message.startswith("old.mar cannot be repacked: ")
    assert words in problem.message
    assert problem.message.isprintable()
    assert list(tmp_path.iterdir()) == [out]


def test_there_are_many_cases() -> None:
    assert len(HOSTILE) >= 60


SOUND: dict[str, bytes] = {
    "plain": mar(E("a/b", X)),
    "deflated": mar(E("a/b", X, method=8)),
    "folders": mar(E("a/", attributes=kind(stat.S_IFDIR | 0o755)), E("a/b", X)),
    "names from here": mar(E("./"), E("./a/"), E("./a//./b", X)),
    "zeros after the end": mar(E("a/b", X), suffix=bytes(1000)),
    "zeros after the comment": mar(E("a/b", X), comment=b"hello", zip64=True, suffix=bytes(10)),
    "modes": mar(E("a/b", X, attributes=kind(stat.S_IFREG | 0o755))),
    "extra fields": mar(E("a/b", X, extra=struct.pack("<HHBI", 0x5455, 5, 1, 0) + b"\0\0")),
    "second name that is the first": mar(E("a/b", X, extra=second_name(b"a/b"))),
    "comments": mar(E("a/b", X, central={"comment": b"hello"}), comment=b"hello"),
    "zip64 at the end": mar(E("a/b", X), zip64=True),
    "zip64 sizes": mar(E("a/b", X, local={"size": FULL, "packed": FULL, "extra": wide(100, 100)},
        central={"size": FULL, "packed": FULL, "extra": wide(100, 100)})),
    "zip64 in the one header": mar(E("a/b", X, local={"size": FULL, "packed": FULL, "extra": wide(100, 100)})),
    **{f"descriptor of {len(tail)} bytes": mar(E("a/b", X, method=8, flags=DESCRIPTOR, behind=tail,
        local={"crc": 0, "packed": 0, "size": 0}))
       for tail in (magic + struct.pack(form, CRC, len(deflated(X)), 100)
            for magic in (b"PK\7\x08", b"") for form in ("<III", "<IQQ"))},
    "stored, with a descriptor": mar(E("a/b", X, flags=DESCRIPTOR, behind=struct.pack("<III", CRC, 100, 100))),
}  # fmt: skip


@pytest.mark.parametrize("case", SOUND)
def test_valid_archives_are_packed_the_same(case: str, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    repack.run({}, {"mar/old.mar": BytesBlob(SOUND[case])}, tmp_path / "one")
    repack.run({}, {"mar/old.mar": BytesBlob(SOUND["plain"])}, tmp_path / "two")
    assert (tmp_path / "one/model.mar").read_bytes() == (tmp_path / "two/model.mar").read_bytes()


def test_directories_may_be_in_any_order(tmp_path: Path) -> None:
    data = mar(E("a", X))
    start, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    entries = data[start:end].split(b"PK\1\2")[1:]
    turned = data[:start] + b"".join(b"PK\1\2" + e for e in entries[::-1]) + data[end:]
    with open_archive(BytesBlob(turned)) as found:
        assert found.names == [MANIFEST, "a", "w.pt"]
        assert found.member("a").digest == Digest.of(X)


def test_a_colon_is_like_any_other_character(tmp_path: Path) -> None:
    repack.run({}, {"mar/old.mar": BytesBlob(mar(E("a:b.txt", X), E("C:/x", X)))}, tmp_path)
    with zipfile.ZipFile(tmp_path / "model.mar") as written:
        assert written.namelist() == ["w.pt", "C:/x", "a:b.txt", MANIFEST]


def test_zeros_get_as_small_as_they_get(tmp_path: Path) -> None:
    file = tmp_path / "old.mar"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
        with target.open("w.pt", "w") as weights:
            for _ in range(400):
                weights.write(bytes(1 << 20))
        target.writestr(MANIFEST, GOOD)
    with open_archive(FileBlob(Digest("", file.stat().st_size), file)) as found:
        assert found.member("w.pt").digest.size == 400 << 20


def test_folders_are_not_members() -> None:
    with open_archive(BytesBlob(mar(E("a/"), E("a/b", b"1")))) as found:
        assert found.names == ["w.pt", "a/b", MANIFEST]
        assert found.member("a/b").digest == Digest.of(b"1")


@pytest.mark.parametrize("method", [0, 8])
def test_a_zip_in_the_zip(method: int) -> None:
    inner = mar(E("a", bytes(100_000), method=8))
    with open_archive(BytesBlob(mar(E("inner.pt", inner, method=method)))) as found:
        with found.nested("inner.pt") as nested:
            assert nested is not None
            assert nested.names == ["w.pt", "a", MANIFEST]
            assert nested.text("a") == bytes(100_000)
        with found.nested("w.pt") as nested:
            assert nested is None
        assert found.text("w.pt") == b"weights"


def test_a_zip_in_the_zip_is_not_trusted_either(monkeypatch: pytest.MonkeyPatch) -> None:
    data = mar(E("a.pt", mar(E("../x"))), E("b.pt", mar(), method=8))
    with open_archive(BytesBlob(data)) as found:
        with pytest.raises(UnreadableArchive, match="contains"), found.nested("a.pt"):
            pass
        monkeypatch.setattr(reading, "NESTED_FREE_SIZE", 9)
        monkeypatch.setattr(reading, "MAX_RATIO", 0)
        with pytest.raises(UnreadableArchive, match="unpacks to"), found.nested("b.pt"):
            pass
        monkeypatch.setattr(reading, "MAX_UNPACKED", 9)
        with pytest.raises(UnreadableArchive, match="compressed archive of more"), found.nested("b.pt"):
            pass


def test_text_is_not_read_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_TEXT", 6)
    with open_archive(BytesBlob(mar())) as found, pytest.raises(UnreadableArchive, match=r"w\.pt is larger than"):
        found.text("w.pt")


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32), case=st.sampled_from(sorted(SOUND)))
def test_any_damage_is_reported_or_harmless(seed: int, case: str, tmp_path: Path) -> None:
    """Change, remove or insert random bytes in a valid archive: it is repacked completely, or refused."""
    rng, changed = random.Random(seed), bytearray(SOUND[case])
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed))
        match rng.randrange(5):
            case 0 | 1:
                changed[at] = rng.choice([0, 1, 0x7F, 0xFF, rng.randrange(256)])
            case 2:
                changed[at : at + 4] = rng.choice([b"\xff" * 4, bytes(4), b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6"])
            case 3:
                del changed[at : at + rng.randint(1, 40)]
            case _:
                changed[at:at] = rng.randbytes(rng.randint(1, 40))
        if not changed:
            return
    out = tmp_path / f"{seed}-{case}"
    out.mkdir(exist_ok=True)
    try:
        repack.run({}, {"mar/old.mar": BytesBlob(bytes(changed))}, out)
    except ActionFailed as error:
        assert error.problems[0].message.startswith("old.mar cannot be repacked: ")
        assert "error" not in type(error.__cause__).__name__.lower()
    else:
        with open_archive(FileBlob(Digest("", (out / "model.mar").stat().st_size), out / "model.mar")) as found:
            assert isinstance(found.manifest()["model"], dict)


LIMIT = 256 << 20

GREEDY: dict[str, Callable[[], bytes]] = {
    "claims 4 GiB": lambda: mar(E("a", method=8, local={"size": FULL - 1}, central={"size": FULL - 1})),
    "claims an exabyte": lambda: mar(
        E("a", method=8, local={"size": FULL, "extra": wide(1 << 60, 2)}, central={"size": FULL, "extra": wide(1 << 60)})
    ),
    "zeros of 256 MiB, deflated": lambda: mar(E("a", bytes(256 << 20), method=8)),
    "a directory of 36 MiB": lambda: mar(*(E(f"{n:0>60000}") for n in range(600))),
    "200,000 members": lambda: made(*(E(f"{n}") for n in range(200_000)), zip64=True),
    "200,000 members, said to be 10": lambda: made(*(E(f"{n}") for n in range(200_000)), zip64={"count": 10, "here": 10}),
    "a deep manifest": lambda: mar(manifest="[" * (1 << 20)),
    "a wide manifest": lambda: mar(manifest="[" + "[]," * 349_000 + "[]]"),
    "a large name": lambda: mar(E("a" * 60_000)),
}

CHILD = """
import sys
from pathlib import Path
from gdcbuild.files.content import FileBlob, hash_stream
from gdcbuild.errors import ActionFailed
from gdcbuild.frameworks.torchserve.mar import repack
file = Path(sys.argv[1])
with file.open("rb") as stream:
    blob = FileBlob(hash_stream(stream), file)
try:
    repack.run({}, {"mar/old.mar": blob}, Path(sys.argv[2]))
    said = "repacked"
except ActionFailed as error:
    said = error.problems[0].message
# getrusage would count what the parent had when it forked
(peak,) = [int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
print(peak * 1024, said[:200])
"""


@pytest.mark.slow
@pytest.mark.parametrize("case", GREEDY)
def test_memory_stays_bounded(case: str, tmp_path: Path) -> None:
    file, out = tmp_path / "old.mar", tmp_path / "out"
    file.write_bytes(GREEDY[case]())
    out.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CHILD, file, out],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)),
    )
    peak, said = done.stdout.split(" ", 1)
    assert int(peak) < LIMIT
    assert said.startswith("repacked" if case.startswith("zeros") else "old.mar cannot be repacked: ")
    assert sorted(p.name for p in tmp_path.rglob("*")) == sorted(
        ["old.mar", "out", *(["model.mar"] if case.startswith("zeros") else [])]
    )


def test_json_of_the_manifest_is_kept(tmp_path: Path) -> None:
    manifest: dict[str, Any] = {
        "runtime": "python",
        "model": {"modelName": "x", "handler": "h", "extra": [1, None]},
        "more": {"a": 1.5},
    }
    repack.run({}, {"mar/old.mar": BytesBlob(mar(manifest=json.dumps(manifest)))}, tmp_path)
    file = tmp_path / "model.mar"
    with open_archive(FileBlob(Digest("", file.stat().st_size), file)) as found:
        kept = found.manifest()
    assert kept.pop("createdOn") == "01/01/1980 00:00:00"
    assert kept == {**manifest, "model": {**manifest["model"], "modelName": "model"}}
