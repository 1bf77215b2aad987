"""Whatever else a script does to what is packed is reported with its line; what changes nothing is not mentioned."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdcbuild.adopt.findings import Findings
from gdcbuild.adopt.manifest import Composer
from gdcbuild.adopt.read import read

PACK = (
    "torch-model-archiver --model-name m -v 1 --serialized-file w.pt --handler h.py --extra-files lab,labels.txt,extras.zip"
    " --export-path out"
)
OPEN = f"{PACK} --archive-format no-archive"


def imported(text: str, folder: Path) -> tuple[list[str], list[str]]:
    """Problems and notes, as LINE: MESSAGE."""
    read(found := Findings(), text, "x.sh", str(folder / "x.sh"), str(folder))
    Composer(found, str(folder), ["base_handler"]).compose()
    problems, notes = ([f"{p.where.line}: {p.message}" for p in told if p.where] for told in (found.problems, found.notes))
    return problems, [note for note in notes if "packs" not in note]


CHANGES = {
    "a redirection": ("python labels.py > labels.txt", "labels.txt"),
    "one without a command": ("> labels.txt", "labels.txt"),
    "one behind an echo": ("echo cat >> labels.txt", "labels.txt"),
    "one of a loop": ("for l in a b; do echo $l; done > labels.txt", "labels.txt"),
    "tee": ("sort all.txt | tee labels.txt", "labels.txt"),
    "a here-document": ("cat > labels.txt <<X\ncat\nX", "labels.txt"),
    "sed": ("sed -i s/a/b/ h.py", "h.py"),
    "zip": ("zip -r extras.zip lab", "extras.zip"),
    "tar that packs": ("tar czf extras.zip lab", "extras.zip"),
    "a link": ("ln -sf /data/w.pt w.pt", "w.pt"),
    "an option's value": ("python train.py --out w.pt", "w.pt"),
    "a joined one": ("python train.py --out=w.pt", "w.pt"),
    "dd": ("dd if=x of=w.pt", "w.pt"),
    "rm": ("rm -f w.pt", "w.pt"),
    "a copy": ("cp best/w.pt .", "w.pt"),
    "a copy to a name": ("cp best.pt ./w.pt", "w.pt"),
    "a move": ("mv best.pt w.pt", "w.pt"),
    "a folder that holds one": ("python labels.py lab", "lab"),
    "a file in a folder": ("touch lab/more.txt", "lab/more.txt"),
    "a download": ("wget https://h/w.pt", "w.pt"),
    "a download by a name": ("curl -L https://h/x -o w.pt", "w.pt"),
    "one from a bucket": ("aws s3 cp s3://b/w.pt .", "w.pt"),
    "one in an if": ("if [ ! -f w.pt ]; then cp best.pt w.pt; fi", "w.pt"),
    "one in a function": ("get() { cp best.pt w.pt; }", "w.pt"),
    "one in $(...)": ("X=$(python train.py w.pt)", "w.pt"),
    "in another folder": ("cd lab; touch ../w.pt; cd ..", "w.pt"),
}
MAY = [
    "make weights",
    "dvc pull",
    "tar xzf x.tgz",
    "gunzip w.pt.gz",
    "python train.py",
    "git lfs pull",
    "unzip w.zip",
    "$RUN x",
]


@pytest.mark.parametrize("case", CHANGES)
def test_a_command_that_names_a_packed_file_is_reported(case: str, tmp_path: Path) -> None:
    line, path = CHANGES[case]
    problems, (note,) = imported(f"\n{line}\n{PACK}\n", tmp_path)
    assert problems == []
    assert note.startswith("2: not imported: '")
    assert note.endswith(f"' names {path}, which is packed in m@1")


@pytest.mark.parametrize("case", CHANGES)
def test_after_packing_it_is_an_error(case: str, tmp_path: Path) -> None:
    line, path = CHANGES[case]
    (problem,), notes = imported(f"{PACK}\n{line}\n", tmp_path)
    assert notes == []
    assert problem.startswith("2: not imported: '")
    assert problem.endswith(f"' names {path} after m@1 is packed from it")


@pytest.mark.parametrize("line", MAY)
def test_a_command_that_may_make_a_packed_file_is_reported(line: str, tmp_path: Path) -> None:
    assert imported(f"{line}\n{PACK}\n", tmp_path) == ([], [f"1: not imported: '{line}'"])
    assert imported(f"{PACK}\n{line}\n", tmp_path) == ([], [])


@pytest.mark.parametrize(
    "line",
    [
        "mv tokenizer out/m/",
        "cp -r tokenizer out/m",
        "sed -i s/a/b/ out/m/h.py",
        "rm out/m/h.py",
        "echo x > out/m/x",
        "cp x out/m/.",
    ],
)
def test_what_is_put_into_a_packed_folder_is_an_error(line: str, tmp_path: Path) -> None:
    (problem,), _ = imported(f"{OPEN}\n{line}\n", tmp_path)
    assert problem.startswith(f"2: not imported: '{line}' names out/m")
    assert problem.endswith("after the archive is packed")


def test_a_packed_folder_is_followed_where_it_goes(tmp_path: Path) -> None:
    (problem,), _ = imported(f"{OPEN}\nmkdir store\nmv out/m store\nmv model store/m\n", tmp_path)
    assert problem == "4: not imported: 'mv model store/m' names store/m/model after the archive is packed"


def test_what_is_put_into_an_uploaded_folder_is_an_error(tmp_path: Path) -> None:
    pack = PACK.replace("out", "out/m/1")
    (problem,), _ = imported(f"rm -rf out\ncp notes.txt out/m/1/\n{pack}\naws s3 sync out s3://b\ntouch out/m/1/x\n", tmp_path)
    assert problem.startswith("2: not imported: 'cp notes.txt out/m/1/' puts out/m/1/notes.txt into a folder that is uploaded")


QUIET = {
    "a README": (
        ":\npip install torchserve torch-model-archiver\nmkdir model_store\nwget https://h/kitten.jpg\n",
        "mv out/m.mar model_store/\ntorchserve --start --model-store model_store --models m=m.mar\n"
        "curl http://127.0.0.1:8080/predictions/m -T kitten.jpg\ndocker run -v $(pwd)/model_store:/store image\n",
    ),
    "a script": (
        '#!/bin/bash\nset -euo pipefail\ncd "$(dirname "$0")"\nsource venv/bin/activate\nexport A=1\nrm -rf out; mkdir -p out\n'
        'if ! command -v aws >/dev/null 2>&1; then exit 1; fi\nlog() { echo "$@"; }\nlog start\nls -l > log.txt\n',
        "sha256sum out/m.mar\nls out\nlog done\nrm -rf out\n",
    ),
    "prose and YAML": ("minWorkers: 1\nhandler:\n  - x\n{\n}\n", "minWorkers: 1\n"),
}


@pytest.mark.parametrize("case", QUIET)
def test_what_changes_nothing_is_not_mentioned(case: str, tmp_path: Path) -> None:
    before, after = QUIET[case]
    problems, notes = imported(f"{before}{PACK}\n{after}", tmp_path)
    assert (problems, notes) == ([], [])


@pytest.mark.parametrize("prompt", ["$ ", "!", "    $ ", "  !"])
def test_prompts_are_not_part_of_commands(prompt: str, tmp_path: Path) -> None:
    continued = PACK.replace(" --export", " \\\n   --export")
    text = f"{prompt}mkdir out\n{prompt}{continued}\n{prompt}python train.py\n{prompt}{PACK} -f\n"
    problems, notes = imported(text, tmp_path)
    assert (problems, notes) == ([], ["4: not imported: 'python train.py'"])


def test_a_notebook_as_a_handler_is_refused(tmp_path: Path) -> None:
    problems, _ = imported(PACK.replace("h.py", "h.ipynb"), tmp_path)
    assert problems == ["1: the handler h.ipynb is not a Python file"]
