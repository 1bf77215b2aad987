"""Packing writes the same bytes every time, and refuses name clashes. test_archiver_parity compares with the archiver."""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gdcbuild.core.digest import Blob, BytesBlob, Digest
from gdcbuild.errors import ActionFailed, BlobDamaged
from gdcbuild.files.content import FileBlob
from gdcbuild.frameworks.torchserve import worker
from gdcbuild.frameworks.torchserve.mar import pack, repack
from gdcbuild.frameworks.torchserve.mar.writer import MANIFEST

FILES = {
    "v1.pt": b"weights" * 1000,
    "a_first.pth": b"other weights",
    "net.py": b"class Net: pass\n",
    "digits.py": b"def handle(data, context): return data\ndef predict(data, context): return data\n",
    "labels.json": b"{}",
    "folder/deep/words.txt": b"a\nb\n",
    "folder/top.txt": b"",
    "requirements.txt": b"numpy==1.26.4\n",
    "model-config.yaml": b"minWorkers: 1\n",
}

LAID = {
    "weights/v1.pt": "v1.pt",
    "model_file/net.py": "net.py",
    "handler/digits.py": "digits.py",
    "extra/labels.json": "labels.json",
    "extra/deep/words.txt": "folder/deep/words.txt",
    "extra/top.txt": "folder/top.txt",
    "requirements/requirements.txt": "requirements.txt",
    "config/model-config.yaml": "model-config.yaml",
}
EVERYTHING = {path: FILES[name] for path, name in LAID.items()}


PARAMS: dict[str, Any] = {"handler": "digits.py", "version": "1", "runtime": "python", "config": None}


def packed(inputs: Mapping[str, bytes], out: Path, **params: Any) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    blobs = {path: BytesBlob(data) for path, data in inputs.items()}
    digests = pack.run({**PARAMS, **params}, blobs, out)
    assert [p.name for p in out.iterdir()] == ["model.mar"]
    assert digests == {"model.mar": Digest.of((out / "model.mar").read_bytes())}
    return out / "model.mar"


def content(archive: Path) -> dict[str, Any]:
    with zipfile.ZipFile(archive) as found:
        members: dict[str, Any] = {name: found.read(name) for name in found.namelist()}
    assert len(members) == len(found.infolist())
    members[MANIFEST] = json.loads(members[MANIFEST])
    del members[MANIFEST]["createdOn"]
    return members


def test_the_bytes_are_fixed(tmp_path: Path) -> None:
    """A change here changes every published version of every user: raise the pack action's version then."""
    one = packed(EVERYTHING, tmp_path / "one", version="3")
    other = packed(dict(reversed(EVERYTHING.items())), tmp_path / "elsewhere/other", version="3")
    assert one.read_bytes() == other.read_bytes()
    assert hashlib.sha256(one.read_bytes()).hexdigest() == "56ba5daa0e7707a0add4b465069ee2cd86b960f1f9ce25c8eea8348a0af90852"


def test_weights_first_the_rest_sorted_all_stored(tmp_path: Path) -> None:
    archive = packed(EVERYTHING, tmp_path)
    with zipfile.ZipFile(archive) as found:
        infos = found.infolist()
    names = [i.filename for i in infos]
    assert names == ["v1.pt", *sorted(set(names) - {"v1.pt", MANIFEST}), MANIFEST]
    assert {i.compress_type for i in infos} == {zipfile.ZIP_STORED}
    assert {(i.date_time, i.external_attr, i.create_system, i.flag_bits, i.extra) for i in infos} == {
        ((1980, 1, 1, 0, 0, 0), 0o100644 << 16, 3, 0, b"")
    }


def test_weights_stay_where_they_are_when_all_else_changes(tmp_path: Path) -> None:
    one = packed(EVERYTHING, tmp_path / "one").read_bytes()
    changed = {path: data if path.startswith("weights/") else data + b"# more\n" * 99 for path, data in EVERYTHING.items()}
    other = packed({**changed, "extra/a_first": b"new"}, tmp_path / "other", version="4", handler="digits:predict").read_bytes()
    end = one.index(FILES["v1.pt"]) + len(FILES["v1.pt"])
    assert one[:end] == other[:end]
    assert one[end:] != other[end:]
    assert end == 30 + len("v1.pt") + len(FILES["v1.pt"])


@pytest.mark.parametrize(
    ("epoch", "created", "told"),
    [
        (1_700_000_001, "14/11/2023 22:13:21", (2023, 11, 14, 22, 13, 20)),
        (0, "01/01/1980 00:00:00", (1980, 1, 1, 0, 0, 0)),
        (10**11, "31/12/2107 23:59:58", (2107, 12, 31, 23, 59, 58)),
    ],
)
def test_the_given_moment_is_used(epoch: int, created: str, told: tuple[int, ...], tmp_path: Path) -> None:
    archive = packed(EVERYTHING, tmp_path, SOURCE_DATE_EPOCH=epoch)
    with zipfile.ZipFile(archive) as found:
        assert json.loads(found.read(MANIFEST))["createdOn"] == created
        assert {i.date_time for i in found.infolist()} == {told}


class Endless:
    """A blob of zeros that is stored nowhere, and remembers the largest piece requested."""

    def __init__(self, size: int) -> None:
        self.left, self.largest, self.opened = size, 0, 0
        self.crc = None
        hasher = hashlib.sha256()
        for _ in range(size >> 20):
            hasher.update(bytes(1 << 20))
        self.digest = Digest(hasher.hexdigest(), size)

    def open(self) -> Any:
        self.opened += 1
        self.left = self.digest.size
        return self

    def __enter__(self) -> Endless:
        return self

    def __exit__(self, *_: object) -> None: ...

    def read(self, size: int) -> bytes:
        self.largest = max(self.largest, size)
        size = min(size, self.left)
        self.left -= size
        return bytes(size)


def test_large_members_are_streamed(tmp_path: Path) -> None:
    blob = Endless(64 << 20)
    pack.run({**PARAMS, "handler": "base_handler"}, {"weights/w.pt": blob}, tmp_path)
    assert blob.left == 0
    assert blob.largest <= 1 << 20
    assert blob.opened == 2  # for its checksum, which comes first, and to be copied and hashed


def test_a_blob_that_is_not_its_digest_is_not_packed(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"other")
    blobs: dict[str, Blob] = {"weights/w.pt": FileBlob(Digest.of(b"these"), tmp_path / "w.pt")}
    (tmp_path / "out").mkdir()
    with pytest.raises(BlobDamaged, match=r"w\.pt"):
        pack.run({**PARAMS, "handler": "base_handler"}, blobs, tmp_path / "out")


@pytest.mark.parametrize(
    ("inputs", "params", "words"),
    [
        ({"handler/digits.py": b"1", "extra/digits.py": b"2"}, {}, ["'digits.py'", "extra/digits.py", "handler/digits.py"]),
        ({"extra/model-config.yaml": b"1"}, {"config": {}}, ["config/model-config.yaml", "extra/model-config.yaml"]),
        ({"weights/a.pt": b"1", "weights/b.pt": b"2"}, {}, ["role 'weights'", "a.pt", "b.pt"]),
        ({"extra/MAR-INF/MANIFEST.json": b""}, {}, ["the manifest", "extra/MAR-INF/MANIFEST.json"]),
        ({"extra/MAR-INF": b""}, {}, ["'MAR-INF' is both a file and the folder"]),
        ({"extra/a": b"", "extra/a/b": b""}, {}, ["'a' is both a file and the folder of 'a/b'"]),
        ({"extra/../a": b""}, {}, ["contains .."]),
    ],
)
def test_clashes_are_refused(inputs: dict[str, bytes], params: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    with pytest.raises(ActionFailed) as failure:
        packed(inputs, tmp_path, **params)
    (problem,) = failure.value.problems
    assert all(word in problem.message for word in words), problem
    assert problem.hint
    assert not list(tmp_path.iterdir())


def test_one_file_may_have_two_roles(tmp_path: Path) -> None:
    archive = packed({"model_file/net.py": b"class Net: ...", "extra/net.py": b"class Net: ..."}, tmp_path)
    assert sorted(content(archive)) == [MANIFEST, "net.py"]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"minWorkers": 1, "maxBatchDelay": 100, "deviceType": "cpu", "useVenv": False, "handler": None},
        {"handler": {"scale": 1e-05, "big": 1e16, "one": 1.0, "minus": -2.5e-07, "int": 10**30}},
        {"numbers": [math.inf, -math.inf, 0.1, -0.0]},
        {
            "text": [
                "1e-05",
                "yes",
                "12:30",
                "null",
                "# no comment",
                "a: b",
                '"q" \\ 1e-9',
                "\t\n\x00\x7f\x85\u2028\ufeff",
                "é 😀",
            ]
        },
        {"pt2": {"compile": {"enable": True, "backend": "inductor"}}, "yes": "no", "1": {}, "empty": []},
    ],
)
def test_a_mapping_comes_back_from_yaml_as_it_was(config: dict[str, Any], tmp_path: Path) -> None:
    archive = packed({}, tmp_path, config=config)
    text = content(archive)["model-config.yaml"]
    assert yaml.safe_load(text) == config
    assert content(archive)[MANIFEST]["model"]["configFile"] == "model-config.yaml"
    assert text == content(packed({}, tmp_path / "again", config=dict(reversed(config.items()))))["model-config.yaml"]


def archived(file: Path, members: Mapping[str, bytes], manifest: Any, method: int = zipfile.ZIP_DEFLATED) -> FileBlob:
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr(MANIFEST, json.dumps(manifest))
    return FileBlob(Digest.of(file.read_bytes()), file)


OLD: dict[str, Any] = {
    "createdOn": "24/12/2023 18:00:00",
    "runtime": "python3",
    "model": {
        "modelName": "digits",
        "serializedFile": "v1.pt",
        "handler": "digits.py",
        "modelVersion": "7",
        "extensions": {"a": 1},
    },
    "archiverVersion": "0.9.0",
}


def test_repacking_keeps_all_but_name_and_time(tmp_path: Path) -> None:
    members = {"digits.py": b"pass", "sub/": b"", "sub/x.bin": bytes(5000), "v1.pt": b"weights"}
    blob = archived(tmp_path / "old.mar", members, OLD)
    (tmp_path / "out").mkdir()
    repack.run({}, {"mar/old.mar": blob}, tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out/model.mar") as archive:
        assert archive.namelist() == ["v1.pt", "digits.py", "sub/x.bin", MANIFEST]
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
        manifest = json.loads(archive.read(MANIFEST))
        assert archive.read("sub/x.bin") == bytes(5000)
    assert manifest == {**OLD, "createdOn": "01/01/1980 00:00:00", "model": {**OLD["model"], "modelName": "model"}}


def test_repacking_what_was_packed_changes_nothing(tmp_path: Path) -> None:
    first = packed(EVERYTHING, tmp_path / "first")
    (tmp_path / "second").mkdir()
    repack.run({}, {"mar/model.mar": FileBlob(Digest.of(first.read_bytes()), first)}, tmp_path / "second")
    assert (tmp_path / "second/model.mar").read_bytes() == first.read_bytes()


def test_an_archive_that_changed_is_not_repacked(tmp_path: Path) -> None:
    blob = archived(tmp_path / "old.mar", {"v1.pt": b"1"}, OLD)
    (tmp_path / "old.mar").write_bytes(b"PK")
    with pytest.raises(BlobDamaged):
        repack.run({}, {"mar/old.mar": blob}, tmp_path)


@pytest.mark.slow
def test_a_manifest_too_deep_to_be_written_is_refused(tmp_path: Path) -> None:
    """The limit depends on the stack: some depth can be read, but not written."""
    for depth in range(850, 1010, 1):
        text = b'{"model": {"deep": ' + b"[" * depth + b"]" * depth + b"}}"
        archive = tmp_path / "old.mar"
        with zipfile.ZipFile(archive, "w") as target:
            target.writestr(MANIFEST, text)
        try:
            repack.run({}, {"mar/old.mar": BytesBlob(archive.read_bytes())}, tmp_path)
        except ActionFailed as error:
            assert "maximum recursion depth exceeded" in error.problems[0].message
            break
    else:
        pytest.fail("it was written")


def test_an_empty_zip_file_has_no_paths_in_it(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    zipfile.ZipFile(file, "w").close()
    before = file.read_bytes()
    worker.make_canonical(file)
    assert file.read_bytes() == before
