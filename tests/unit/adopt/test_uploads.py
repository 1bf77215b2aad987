"""What goes into the bucket is what the script puts there, and under the same ids; where it is not, that is said."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gdcbuild.adopt.findings import Findings
from gdcbuild.adopt.manifest import Composed, Composer
from gdcbuild.adopt.read import read

PACK = "torch-model-archiver --handler h.py --model-name model -v 1 --export-path"
ARCHIVER = """\
#!/bin/sh
while [ "$1" != --export-path ]; do shift; done
mkdir -p "$2"; echo "$PWD" > "$2/model.mar"
"""
AWS = """\
#!/bin/sh
# aws s3 cp [--recursive] FROM TO, and mv; the bucket is a folder.
shift 2
[ "$1" = --recursive ] && shift
to=$BUCKETS/${2#s3://}
if [ -d "$1" ]; then mkdir -p "$to"; cp -r "$1/." "$to"; exit; fi
case "$to" in */) mkdir -p "$to" ;; *) mkdir -p "$(dirname "$to")" ;; esac
cp "$1" "$to"
"""

SAME = {
    "a folder into one that is made": f"mkdir deploy\n{PACK} build/m/1\ncp -r build/m deploy\naws s3 cp --recursive deploy s3://b/p",
    "the same without a folder": f"{PACK} build/m/1\ncp -r build/m deploy\naws s3 cp --recursive deploy s3://b/p/x",
    "one that is moved": f"mkdir -p o/m/1\n{PACK} o/new\nmv o/new/model.mar o/m/1/\naws s3 cp --recursive o s3://b/p",
    "a folder that is moved": f"{PACK} o/a/1\nmv o/a o/b\naws s3 cp --recursive o s3://b/p",
    "folders of a glob": f"{PACK} o/a/1\n{PACK} o/b/1\nmkdir d; cp -r o/* d\naws s3 cp --recursive d s3://b/p",
    "a folder of old and new": f"{PACK} build/m/1\naws s3 cp --recursive build s3://b/p",
}


def made(text: str, folder: Path) -> tuple[Findings, Composed]:
    read(found := Findings(), text, "x.sh", str(folder / "x.sh"), str(folder))
    return found, Composer(found, str(folder), []).compose()


@pytest.mark.parametrize("case", SAME)
def test_what_is_uploaded_is_what_the_script_uploads(case: str, tmp_path: Path) -> None:
    folder, programs, buckets = (tmp_path / name for name in ("work", "programs", "buckets"))
    for path in (folder, programs, buckets):
        path.mkdir()
    for name, text in (("torch-model-archiver", ARCHIVER), ("aws", AWS)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    if "old" in case:
        (folder / "build/old/3").mkdir(parents=True)
        (folder / "build/old/3/model.mar").touch()
    (folder / "x.sh").write_text(SAME[case])
    found, _ = made(SAME[case], folder)
    environment = {"PATH": f"{programs}:{os.defpath}", "BUCKETS": str(buckets)}
    subprocess.run(["bash", "x.sh"], cwd=folder, env=environment, check=True)
    targets = [*(target for packing in found.packings for target in packing.targets), *(target for _, target in found.uploaded)]
    ours = {f"{target.bucket['bucket']}/{target.model}/{target.version}/model.mar" for target in targets}
    assert found.problems == []
    assert ours == {f"s3://{path.relative_to(buckets).as_posix()}" for path in buckets.rglob("*.mar")}


TOLD = {
    "a model that stays here": (
        f"{PACK} a/1\n{PACK} b/1\naws s3 cp a/1/model.mar s3://k/p/a/1/",
        ["2: b@1 is not uploaded to s3://k/p"],
    ),
    "models that go to different buckets": (
        f"{PACK} a/1\n{PACK} b/1\naws s3 cp a/1/model.mar s3://k/a/1/\naws s3 cp b/1/model.mar s3://l/b/1/",
        ["2: b@1 is not uploaded to s3://k", "1: a@1 is not uploaded to s3://l"],
    ),
    "models that go to two": (f"{PACK} o/a/1\naws s3 sync o s3://k\naws s3 sync o s3://l", []),
    "an archive under another name": (
        f"{PACK} a/1\naws s3 cp a/1/model.mar s3://k/p/a/1",
        ["2: s3://k/p/a/1 is not the name of an archive"],
    ),
    "a folder that a program takes": (
        f"{PACK} a/1\nrsync -a a/ d/\nln -s a e\nls a",
        [
            "2: not imported: 'rsync -a a/ d/' names a/ after the archive is packed",
            "3: not imported: 'ln -s a e' names a after the archive is packed",
        ],
    ),
    "old archives beside new ones": (
        f"{PACK} build/m/1\naws s3 sync build s3://k",
        ["2: build/old/3/model.mar is in the folder that is uploaded, and nothing here packs it"],
    ),
    "a loop that only uploads": (
        "for d in build/*; do aws s3 sync $d s3://k/p/${d#build/}; done",
        ["1: not followed: an upload in a loop"],
    ),
    "letters of gcloud": (
        f"{PACK} a/1\n{PACK} c/1 --extra-files x\ngcloud -q storage cp -q a/1/model.mar c/1/model.mar s3://k/p/a/1/",
        ["2: a@1 is packed twice, differently: here and at x.sh:1:1"],
    ),
    "globs that other rules read": (
        "for d in build/[^x]*; do aws s3 sync $d s3://k/p/; done; for d in build/**/*; do aws s3 sync $d s3://k/p/; done",
        ["1: not followed: an upload in a loop"] * 2,
    ),
}


@pytest.mark.parametrize("case", TOLD)
def test_what_differs_is_told(case: str, tmp_path: Path) -> None:
    (tmp_path / "build/old/3").mkdir(parents=True)
    (tmp_path / "build/old/3/model.mar").touch()
    text, expected = TOLD[case]
    found, _ = made(text, tmp_path)
    assert [f"{p.where.line}: {p.message}" for p in [*found.problems, *found.notes] if p.where] == expected


def test_the_folder_of_the_workspace_names_no_model(tmp_path: Path) -> None:
    _, named = made(f"{PACK.replace('name model', 'name digits')} 1", tmp_path)
    assert list(named.models) == ["digits"]
    found, _ = made(f"{PACK} 1", tmp_path)
    assert [problem.message.partition(":")[0] for problem in found.problems] == ["no model id"]
