"""Archives through the real command line: the same bytes however they are built, each with its own files and no others."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.workspace import HANDLER, Workspace

NET = "from torch import nn\n\nclass Net(nn.Module):\n    def forward(self, x): return x\n"
MANIFEST = """\
schema: 1
environments: {local: {bucket: bucket}}
handlers:
  own: {file: src/handler.py, files: [{from: labels/, to: labels/}, "src/*.py"], requirements: src/requirements.txt}
defaults:
  pytorch:
    handler: own
    config: {maxWorkers: 2, minWorkers: 1, handler: {scale: 1.0e-05, name: ümlaut}}
models:
  stored: {framework: pytorch-cpu.2-4, versions: {"1": {weights: w.bin, model_file: src/net.py}}}
  deflated: {framework: pytorch-cpu.2-4, compression: deflate, versions: {"1": {weights: w.bin}}}
  repacked: {framework: pytorch-cpu.2-4, versions: {"1": {mar: {model: deflated, version: "1", path: model.mar}}}}
"""
FILES: dict[str, str | bytes] = {
    "gdcbuild.yaml": MANIFEST,
    "src/handler.py": HANDLER,
    "src/net.py": NET,
    "src/requirements.txt": "numpy==1.26.4\n",
    **{f"labels/{name}/{name}.txt": name for name in ("b", "A", "ä", "10", "9", "_")},
    "w.bin": random.Random(0).randbytes(300_000),
}
TIMES = ["UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Kiritimati"]
LOCALES = ["C", "C.UTF-8", "POSIX", "tr_TR.UTF-8", "de_DE.ISO-8859-1"]  # what the system lacks is taken for C


@dataclass(frozen=True)
class Around:
    """Conditions of a build that must not change its result."""

    folder: str
    variables: Mapping[str, str] = field(default_factory=dict)
    umask: int = 0o022
    prefix: tuple[str, ...] = ()
    backwards: bool = False
    age: int = 0
    owner: int | None = None

    def built(self, tmp: Path) -> dict[str, str]:
        """Published path → SHA-256, from a fresh checkout with an empty cache."""
        base = tmp / self.folder
        workspace = Workspace(base / "checkout", base / "cache", self.variables)
        workspace.write(dict(reversed(FILES.items())) if self.backwards else FILES)
        for number, path in enumerate(sorted(workspace.root.rglob("*"))):
            os.utime(path, (self.age + 7 * number, self.age + 11 * number))
        if self.owner is not None:
            for path in (base, *base.rglob("*")):
                os.chown(path, self.owner, self.owner)
        done = subprocess.run(
            [*self.prefix, sys.executable, "-m", "gdcbuild", "apply"],
            cwd=workspace.root,
            env=workspace.environment(),
            umask=self.umask,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return {path: hashlib.sha256(data).hexdigest() for path, data in workspace.served().items()}


def arounds() -> list[Around]:
    """Twenty environments that differ in as much as possible, including the time."""
    chosen = random.Random(7)
    return [
        Around(
            folder="/".join(chosen.choices(["deep", "with space", "ü", "x" * 40], k=1 + number % 4)) + f"/{number}",
            variables={
                "TZ": TIMES[number % len(TIMES)],
                "LC_ALL": LOCALES[number % len(LOCALES)],
                "LANG": LOCALES[(number + 1) % len(LOCALES)],
                "PYTHONHASHSEED": str(chosen.randrange(2**32)),
                "HOME": f"/nonexistent/{number}",
                "USER": f"user{number}",
                "GDCBUILD_JOBS": str(1 + number % 5),
            },
            umask=[0o022, 0o077, 0o002, 0o027][number % 4],
            prefix=("taskset", "-c", "0") if number % 2 and shutil.which("taskset") else (),
            backwards=bool(number % 3),
            age=chosen.randrange(2**31),
        )
        for number in range(20)
    ]


def test_twenty_of_twenty_rebuilds_are_the_same(tmp_path: Path) -> None:
    reference = Around("reference").built(tmp_path)
    assert sorted(reference) == ["deflated/1/model.mar", "repacked/1/model.mar", "stored/1/model.mar"]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda around: around.built(tmp_path), arounds()))
    assert [number for number, found in enumerate(results) if found != reference] == []


def test_another_user_builds_the_same(tmp_path: Path) -> None:
    nobody = 65534
    prefix = ("setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups")
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv to become another user")
    if subprocess.run([*prefix, sys.executable, "-c", "import gdcbuild"], capture_output=True, check=False).returncode != 0:
        pytest.skip("another user cannot read this Python or this checkout")
    with tempfile.TemporaryDirectory() as folder:  # not pytest's, which is closed to others
        Path(folder).chmod(0o755)
        other = Around("other", prefix=prefix, owner=nobody).built(Path(folder))
    assert other == Around("own").built(tmp_path)


def test_source_date_epoch_is_every_time_in_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w", tmp_path / "cache", {"SOURCE_DATE_EPOCH": "1700000001", "TZ": "Asia/Kolkata"})
    workspace.write(FILES)
    workspace.ok("apply")
    for name in ("stored", "deflated", "repacked"):
        with zipfile.ZipFile(workspace.root / f"bucket/{name}/1/model.mar") as archive:
            assert {i.date_time for i in archive.infolist()} == {(2023, 11, 14, 22, 13, 20)}
            assert json.loads(archive.read("MAR-INF/MANIFEST.json"))["createdOn"] == "14/11/2023 22:13:21"
    assert "Nothing to do" in workspace.ok("apply").err
    workspace.variables["SOURCE_DATE_EPOCH"] = "1700000002"
    assert "parameter SOURCE_DATE_EPOCH changed" in workspace.ok("explain", "stored@1").out


@pytest.mark.parametrize("value", ["soon", "-1", "1.5", "1700000000 ", "٣"])
def test_an_invalid_source_date_epoch(tmp_path: Path, value: str) -> None:
    workspace = Workspace(tmp_path / "w", tmp_path / "cache", {"SOURCE_DATE_EPOCH": value})
    workspace.write(FILES)
    result = workspace.run("build")
    assert result.code == 65
    assert f"SOURCE_DATE_EPOCH is {value!r}, not a number of seconds since 1970" in result.err
    assert "correct the variable, or unset it" in result.err


BUILDS, VERSIONS = 10, 10


def test_a_hundred_models_called_model_at_once(tmp_path: Path) -> None:
    """Ten processes with ten versions each, one cache, one folder for temporary files."""
    shared = tmp_path / "tmp"
    shared.mkdir()
    versions = "".join(
        f'      "{v}": {{weights: {v}/w.bin, handler: h{v}, files: [{{from: {v}/labels/, to: labels/}}]}}\n'
        for v in range(VERSIONS)
    )
    handlers = "".join(f"  h{v}: {{file: {v}/handler.py}}\n" for v in range(VERSIONS))
    manifest = (
        "schema: 1\nenvironments: {local: {bucket: bucket}}\n"
        f"handlers:\n{handlers}models:\n  model:\n    framework: pytorch-cpu.2-4\n    versions:\n{versions}"
    )
    workspaces = [Workspace(tmp_path / str(n), tmp_path / "cache", {"TMPDIR": str(shared)}) for n in range(BUILDS)]
    for number, workspace in enumerate(workspaces):
        workspace.write({"gdcbuild.yaml": manifest})
        for v in range(VERSIONS):
            workspace.write({f"{v}/{name}": data for name, data in own_files(number, v).items()})
    with ThreadPoolExecutor(BUILDS) as pool:
        list(pool.map(lambda w: w.ok("apply", "-j", str(VERSIONS)), workspaces))
    for (number, workspace), v in itertools.product(enumerate(workspaces), range(VERSIONS)):
        with zipfile.ZipFile(workspace.root / f"bucket/model/{v}/model.mar") as archive:
            found = {name: archive.read(name) for name in archive.namelist()}
        manifest_of = json.loads(found.pop("MAR-INF/MANIFEST.json"))
        assert manifest_of["model"]["modelName"] == "model"
        assert manifest_of["model"]["modelVersion"] == str(v)
        assert found == own_files(number, v)
    assert list(shared.iterdir()) == []


def own_files(number: int, version: int) -> dict[str, bytes]:
    """Content that no other archive has."""
    mark = f"{number}.{version}"
    return {
        "w.bin": f"weights {mark} ".encode() * 20_000,
        "handler.py": f"# {mark}\n{HANDLER}".encode(),
        f"labels/{mark}.txt": mark.encode(),
        "labels/same.txt": mark.encode(),
    }


def edited(workspace: Workspace, changes: Mapping[str, str | bytes]) -> bytes:
    workspace.write(changes)
    workspace.ok("apply")
    return (workspace.root / "bucket/stored/1/model.mar").read_bytes()


def test_an_edited_handler_leaves_the_weights_where_they_were(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w", tmp_path / "cache")
    before = edited(workspace, FILES)
    after = edited(workspace, {"src/handler.py": HANDLER * 100, "src/a_first.py": "", "labels/0.txt": "more"})
    weights = FILES["w.bin"]
    assert isinstance(weights, bytes)
    end = before.index(weights) + len(weights)
    assert before[:end] == after[:end]
    assert len(after) != len(before)


ODD: dict[str, Callable[[Path], None]] = {
    "FIFO": os.mkfifo,
    "link to a file elsewhere": lambda path: path.symlink_to("/etc/hostname"),
    "link to a folder elsewhere": lambda path: path.symlink_to("/etc"),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("given", ["labels/odd", "{from: labels/, to: labels/}", '"labels/*"'])
def test_special_files_are_refused(tmp_path: Path, kind: str, given: str) -> None:
    workspace = Workspace(tmp_path / "w", tmp_path / "cache")
    workspace.write({**FILES, "gdcbuild.yaml": MANIFEST.replace("w.bin}", f"w.bin, files: [{given}]}}")})
    ODD[kind](workspace.root / "labels/odd")
    result = workspace.run("apply")
    assert result.code == 65, result.err
    assert "labels/odd" in result.err
    assert not (workspace.root / "bucket").exists()


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["src/handler.py", "labels/handler.py"], ["src/handler.py", "labels/handler.py"]),
        (["labels/net.py"], ["src/net.py", "labels/net.py"]),
        (["{from: labels/net.py, to: w.bin}"], ["w.bin", "labels/net.py"]),
    ],
)
def test_two_files_for_one_name_are_both_named(tmp_path: Path, files: Iterable[str], names: Iterable[str]) -> None:
    workspace = Workspace(tmp_path / "w", tmp_path / "cache")
    manifest = MANIFEST.replace("model_file: src/net.py}", f"model_file: src/net.py, files: [{', '.join(files)}]}}")
    workspace.write({**FILES, "gdcbuild.yaml": manifest, "labels/handler.py": "other", "labels/net.py": "other"})
    result = workspace.run("apply")
    assert result.code == 65, result.err
    assert all(name in result.err for name in ["two files for", *names]), result.err


def test_two_files_for_one_name_are_one_until_they_differ(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w", tmp_path / "cache")
    manifest = MANIFEST.replace("model_file: src/net.py}", "model_file: src/net.py, files: [labels/net.py]}")
    workspace.write({**FILES, "gdcbuild.yaml": manifest, "labels/net.py": FILES["src/net.py"]})
    workspace.age()
    workspace.ok("apply")
    workspace.write({"labels/net.py": "other"})
    result = workspace.run("plan")
    assert result.code == 65, result.err
    assert "two files for 'net.py' in the archive: src/net.py (gdcbuild.yaml:" in result.err


ARCHIVE = {"runtime": "python", "model": {"modelName": "old", "modelVersion": "1", "handler": "h.py", "serializedFile": None}}
REPACKED = """\
schema: 1
environments: {local: {bucket: bucket}}
models:
  m: {framework: pytorch-cpu.2-4, versions: {"1": {mar: old.mar}}}
"""


def test_archives_of_other_tools_are_repacked(tmp_path: Path) -> None:
    """Names from here on, zeros that fill up a block, no weights written as null, a colon in a name."""
    workspace = Workspace(tmp_path / "w", tmp_path / "cache")
    old = io.BytesIO()
    with zipfile.ZipFile(old, "w") as target:
        for name, data in {"./h.py": HANDLER, "./a:b.bin": "x", "./MAR-INF/MANIFEST.json": json.dumps(ARCHIVE)}.items():
            target.writestr(name, data)
    workspace.write({"gdcbuild.yaml": REPACKED, "old.mar": old.getvalue() + bytes(-len(old.getvalue()) % 512)})
    workspace.ok("apply")
    with zipfile.ZipFile(workspace.root / "bucket/m/1/model.mar") as made:
        assert made.namelist() == ["a:b.bin", "h.py", "MAR-INF/MANIFEST.json"]


def test_an_archive_that_was_cut_or_joined_is_called_damaged(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "w", tmp_path / "cache")
    old = io.BytesIO()
    with zipfile.ZipFile(old, "w") as target:
        target.writestr("MAR-INF/MANIFEST.json", json.dumps(ARCHIVE))
    workspace.write({"gdcbuild.yaml": REPACKED, "old.mar": old.getvalue()[9:]})
    result = workspace.run("apply")
    assert result.code == 1
    assert "old.mar cannot be repacked: the file is damaged: it is truncated, or something was added" in result.err
    assert "make the archive again" in result.err
