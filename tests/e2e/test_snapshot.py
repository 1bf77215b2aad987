"""Whatever has changed since the last run, a plan from a snapshot equals one without."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
import zipfile
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gdcbuild.app.project import Project
from gdcbuild.core.events import Event, Warned
from gdcbuild.errors import GdcbuildError
from gdcbuild.memory import held, remembered
from gdcbuild.report import jsonl
from tests.e2e.workspace import HANDLER, Workspace

ROOT = """
schema: 1
include: [models/*/gdcbuild.yaml]
environments:
  local: {bucket: bucket}
  other: {bucket: "${env.GDCBUILD_TEST_BUCKET}"}
default_environment: local
vars: {labels: labels.txt}
handlers:
  shared: {file: shared/handler.py}
steps:
  quantize: {run: [cp, weights.pt, "${out}/q.pt"], inputs: [{from: shared/weights.pt, to: weights.pt}], outputs: [q.pt]}
"""
MODEL = """
schema: 1
models:
  NAME:
    framework: pytorch-cpu.2-4
    handler: shared
    files: ["files/*.txt", "${vars.labels}"]
    versions:
      "1": {weights: weights.pt}
      "2": {weights: WEIGHTS}
"""
SOURCES = ["weights.pt", "{step: quantize, path: q.pt}", '{model: a, version: "1", path: model.mar}']


def model(name: str, weights: str = SOURCES[0]) -> dict[str, str]:
    folder = f"models/{name}"
    return {
        f"{folder}/gdcbuild.yaml": MODEL.replace("NAME", name).replace("WEIGHTS", weights),
        f"{folder}/weights.pt": f"weights of {name}",
        f"{folder}/labels.txt": name,
        f"{folder}/files/one.txt": name,
    }


FILES = {"gdcbuild.yaml": ROOT, "shared/handler.py": HANDLER, "shared/weights.pt": "shared"}
for index, each in enumerate("abc"):
    FILES |= model(each, SOURCES[index])


def planned(root: Path, cache: Path, *selected: str) -> str:
    """The plan, or the errors, as a document."""
    try:
        return json.dumps(jsonl.plan(Project(root, None, cache, os.environ, lambda _: None).plan(select=selected)))
    except GdcbuildError as error:
        return str(error)


def fresh(root: Path, cache: Path, *selected: str) -> str:
    """The same without a snapshot."""
    kept = cache / "snapshots"
    kept.rename(cache / "aside")
    try:
        return planned(root, cache, *selected)
    finally:
        shutil.rmtree(kept, ignore_errors=True)
        (cache / "aside").rename(kept)


@pytest.fixture
def built(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A published workspace with a snapshot, however recent its files are."""
    for module in (held, remembered):
        monkeypatch.setattr(module, "RACY_NS", 0)
    workspace.write(FILES)
    workspace.ok("apply")
    time.sleep(0.02)
    assert json.loads(planned(workspace.root, workspace.cache))["summary"] == {"none": 6}
    return workspace


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The manifests that are read from now on."""
    from gdcbuild.manifest import load, yaml

    found: list[str] = []

    def parse(data: bytes, file: str, free: Set[str]) -> Any:
        found.append(Path(file).parent.name)
        return yaml.parse(data, file, free)

    monkeypatch.setattr(load, "parse", parse)
    return found


def test_nothing_is_read_when_nothing_has_changed(built: Workspace, reads: list[str]) -> None:
    planned(built.root, built.cache)
    assert reads == []


def test_only_what_changed_is_read(built: Workspace, reads: list[str]) -> None:
    built.write({"models/b/weights.pt": "other"})
    time.sleep(0.02)
    assert json.loads(planned(built.root, built.cache))["summary"] == {"none": 5, "unknown": 1}
    assert sorted(reads) == sorted([built.root.name, "b"])
    reads.clear()
    planned(built.root, built.cache, "c")
    assert reads == [], "what is not selected does not matter"


def test_changes_in_dependencies_are_found(built: Workspace, reads: list[str]) -> None:
    built.write({"models/a/weights.pt": "other"})
    time.sleep(0.02)
    changes = json.loads(planned(built.root, built.cache, "c"))["changes"]
    assert [(c["version"], c["change"]) for c in changes] == [("1", "none"), ("2", "unknown")]
    assert sorted(reads) == sorted([built.root.name, "a", "c"])


Edit = Callable[[Path, random.Random], None]


def _any_file(root: Path, chance: random.Random) -> Path:
    return chance.choice(sorted(p for p in root.rglob("*") if p.is_file() and "bucket" not in p.parts))


def rewrite(root: Path, chance: random.Random) -> None:
    file = _any_file(root, chance)
    if file.suffix != ".yaml":
        file.write_text(str(chance.random()))


def rewrite_in_place_with_old_times(root: Path, chance: random.Random) -> None:
    file = _any_file(root, chance)
    if file.suffix != ".yaml":
        before = file.stat()
        file.write_bytes(bytes(reversed(file.read_bytes())))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def touch(root: Path, chance: random.Random) -> None:
    _any_file(root, chance).touch()


def add_file(root: Path, chance: random.Random) -> None:
    Workspace(root, root).write({f"models/{chance.choice('abc')}/files/{chance.random()}.txt": "new"})


def remove_file(root: Path, chance: random.Random) -> None:
    _any_file(root, chance).unlink()


def rename_file(root: Path, chance: random.Random) -> None:
    file = _any_file(root, chance)
    file.rename(file.with_name(f"renamed-{file.name}"))


def add_model(root: Path, chance: random.Random) -> None:
    Workspace(root, root).write(model(chance.choice("defg"), chance.choice(SOURCES)))


def same_id_twice(root: Path, chance: random.Random) -> None:
    Workspace(root, root).write({"models/twin/gdcbuild.yaml": MODEL.replace("NAME", "a").replace("WEIGHTS", "weights.pt")})


def same_id_in_a_model_that_is_wrong(root: Path, chance: random.Random) -> None:
    wrong = MODEL.replace("NAME", "a").replace("handler: shared", "handler: [shared]")
    Workspace(root, root).write({"models/twin/gdcbuild.yaml": wrong})


def remove_model(root: Path, chance: random.Random) -> None:
    shutil.rmtree(root / "models" / chance.choice("abcdefg"), ignore_errors=True)


def other_source(root: Path, chance: random.Random) -> None:
    name = chance.choice("abc")
    manifest = root / "models" / name / "gdcbuild.yaml"
    if manifest.exists():
        manifest.write_text(MODEL.replace("NAME", name).replace("WEIGHTS", chance.choice(SOURCES)))


def broken_manifest(root: Path, chance: random.Random) -> None:
    Workspace(root, root).write({f"models/{chance.choice('abc')}/gdcbuild.yaml": "schema: 2\n"})


def other_root(root: Path, chance: random.Random) -> None:
    (root / "gdcbuild.yaml").write_text(ROOT.replace("labels.txt", chance.choice(["labels.txt", "files/one.txt"])))


def link(root: Path, chance: random.Random) -> None:
    file, other = _any_file(root, chance), _any_file(root, chance)
    if file != other and file.suffix != ".yaml":
        file.unlink()
        file.symlink_to(os.path.relpath(other, file.parent))


def link_outside(root: Path, chance: random.Random) -> None:
    file = _any_file(root, chance)
    if file.suffix != ".yaml":
        file.unlink()
        file.symlink_to("/etc/hostname")


EDITS: list[Edit] = [
    rewrite,
    rewrite_in_place_with_old_times,
    touch,
    add_file,
    remove_file,
    rename_file,
    add_model,
    same_id_twice,
    same_id_in_a_model_that_is_wrong,
    remove_model,
    other_source,
    broken_manifest,
    other_root,
    link,
    link_outside,
]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(EDITS), st.integers(0, 99), st.sampled_from(["", "a", "b@*", "c"])), min_size=1, max_size=6
    )
)
@example([(same_id_twice, 0, "b@*"), (rewrite, 0, "a")])
@example([(same_id_in_a_model_that_is_wrong, 0, "b@*"), (rewrite, 0, "a")])
def test_a_plan_is_what_it_would_be_without_a_snapshot(built: Workspace, edits: list[tuple[Edit, int, str]]) -> None:
    root = built.root.parent / "copy"
    cache = built.root.parent / "copied-cache"
    for source, target in ((built.root, root), (built.cache, cache)):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, symlinks=True)
    time.sleep(0.02)
    planned(root, cache)
    for edit, seed, selected in edits:
        edit(root, random.Random(seed))
        time.sleep(0.02)
        selection = [selected] if selected else []
        first, other = planned(root, cache, *selection), fresh(root, cache, *selection)
        assert first == other, edit.__name__
        assert first == planned(root, cache, *selection), "and once more"


def test_a_variable_of_an_environment(built: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for bucket in ("bucket", "second", "bucket"):
        built.variables["GDCBUILD_TEST_BUCKET"] = bucket
        for _ in range(2):
            found = built.ok("plan", "--env", "other", "--json").json
            assert found["summary"] == ({"none": 6} if bucket == "bucket" else {"create": 6})
    del built.variables["GDCBUILD_TEST_BUCKET"]
    result = built.run("plan", "--env", "other")
    assert (result.code, "GDCBUILD_TEST_BUCKET is not set" in result.err) == (65, True)


def test_missing_results(built: Workspace) -> None:
    shutil.rmtree(built.cache / "records")
    found = json.loads(planned(built.root, built.cache))
    assert [c["build"] for c in found["changes"]] == ["build"] * 6
    assert found["summary"] == {"none": 4, "unknown": 2}, "the bucket tells of what is only packed"


def test_steps_of_the_same_name_in_manifests_of_one_folder(workspace: Workspace) -> None:
    """Even if only one of them is read."""
    part = (
        "schema: 1\nmodels: {NAME: {framework: pytorch-cpu.2-4, handler: h, "
        "versions: {'1': {weights: {step: s, path: w.pt}}}}}\n"
        "steps: {s: {run: [sh, -c, 'cat in > ${out}/w.pt; echo NAME >> ${out}/w.pt'], "
        "inputs: [{from: NAME.txt, to: in}], outputs: [w.pt]}}\n"
    )
    root = "schema: 1\nenvironments: {local: {bucket: bucket}}\ninclude: ['m/*.yaml']\nhandlers: {h: {file: h.py}}\n"
    workspace.write({"gdcbuild.yaml": root, "h.py": HANDLER})
    workspace.write({f"m/{name}.yaml": part.replace("NAME", name) for name in "ab"})
    for content in ("one", "two"):
        workspace.write({"m/a.txt": content, "m/b.txt": content if content == "one" else "one"})
        workspace.age()
        workspace.ok("apply")
        workspace.ok("plan")
        for name, first in (("a", content), ("b", "one")):
            with zipfile.ZipFile(workspace.root / f"bucket/{name}/1/model.mar") as archive:
                assert archive.read("w.pt").decode() == f"{first}{name}\n"


@pytest.mark.parametrize("folder", ["", "models/a/"])
@pytest.mark.parametrize("gone", ["unused.py", "in/1.txt"])
def test_unused_entries_are_checked_too(built: Workspace, folder: str, gone: str, reads: list[str]) -> None:
    handler, step = "  unused: {file: unused.py}\n", "  unused: {run: [x], inputs: [in/], outputs: [o]}\n"
    manifest = (built.root / folder / "gdcbuild.yaml").read_text()
    if folder:
        manifest += f"handlers:\n{handler}steps:\n{step}"
    else:
        manifest = manifest.replace("steps:\n", f"{handler}steps:\n{step}")
    built.write({f"{folder}gdcbuild.yaml": manifest})
    built.write({f"{folder}unused.py": HANDLER, f"{folder}in/1.txt": "1"})
    time.sleep(0.02)
    for _ in range(2):
        assert json.loads(planned(built.root, built.cache))["summary"] == {"none": 6}
        reads.clear()
    planned(built.root, built.cache)
    assert reads == []
    (built.root / folder / gone).unlink()
    first = planned(built.root, built.cache)
    assert first == fresh(built.root, built.cache)
    assert ("the folder 'in/' is empty" if "/" in gone else "there is no file 'unused.py'") in first


def test_entries_that_are_no_longer_used_are_checked_too(built: Workspace, reads: list[str]) -> None:
    """The change is in another manifest, which no longer uses the entry."""
    for name in "abc":
        built.write({f"models/{name}/gdcbuild.yaml": MODEL.replace("NAME", name).replace("WEIGHTS", SOURCES[0])})
    time.sleep(0.02)
    planned(built.root, built.cache)
    assert len(reads) == 4, "only what was edited, and the root"
    (built.root / "shared/weights.pt").unlink()
    first = planned(built.root, built.cache)
    assert first == fresh(built.root, built.cache)
    assert "shared/weights.pt" in first


def test_damage_is_a_miss(built: Workspace) -> None:
    """Every truncation of a small snapshot, and random edits: the same plan, nothing raised."""
    (file,) = (built.cache / "snapshots").iterdir()
    whole = file.read_bytes()
    before = planned(built.root, built.cache)
    chance = random.Random(0)
    lengths = [*range(0, 400, 7), *(chance.randrange(len(whole)) for _ in range(60))]
    damaged = [whole[:length] for length in lengths]
    for _ in range(150):
        edited = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            edited[chance.randrange(len(edited))] ^= 1 << chance.randrange(8)
        damaged.append(bytes(edited))
    warned: list[Event] = []
    for data in (b"", b"\n", b"[]", os.urandom(500), *damaged):
        file.write_bytes(data)
        warned.clear()
        project = Project(built.root, None, built.cache, os.environ, warned.append)
        assert json.dumps(jsonl.plan(project.plan())) == before
        assert [e for e in warned if isinstance(e, Warned) and str(file) in e.problem.message] or data == whole


def test_damaged_listings_are_a_miss(built: Workspace) -> None:
    built.age()
    built.ok("plan")
    (file,) = (built.cache / "listings").iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    result = built.ok("plan")
    assert f"{file} is damaged and was ignored" in result.err
    assert "6 up to date" in result.out


@pytest.mark.parametrize("part", ["snapshots", "listings"])
def test_a_folder_that_others_can_write_to_is_not_trusted(built: Workspace, part: str) -> None:
    """A forged snapshot says that nothing changed; only its folder is writable for others."""
    built.age()
    for _ in range(2):
        built.ok("plan")
    (file,) = (built.cache / part).iterdir()
    built.cache.chmod(0o755)
    for path, mode in ((file.parent, 0o777), (file.parent, 0o700), (file, 0o666)):
        path.chmod(mode)
        data = file.read_bytes()
        file.write_bytes(data[:-3])
        result = built.run("plan")
        assert ("is damaged" in result.err) == (mode == 0o700), "damage is told of what is read"
        assert ("other users can write to" in result.err) == (mode == 0o777 and part == "snapshots"), (
            "all is read, and that refused"
        )
        file.write_bytes(data)
    file.parent.chmod(0o777)
    shutil.rmtree(built.root / "bucket")
    assert f"other users can write to {file.parent}" in built.run("apply").err
