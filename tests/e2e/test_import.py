"""Importing: the manifest makes the archives that the script makes, and what has no place in one is named."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gdcbuild.frameworks.torchserve.mar.writer import MANIFEST
from tests.docs.markdown import ROOT, blocks
from tests.e2e.test_adopt import EXPORT
from tests.e2e.workspace import Workspace

HANDLER = "def handle(data, context):\n    return data\n\n\ndef predict(data, context):\n    return data\n"
NET = "import torch\n\n\nclass Net(torch.nn.Module):\n    pass\n"


def weights(words: str) -> bytes:
    """A state dict without tensors, as torch.save lays it out."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, data in (("data.pkl", pickle.dumps({}, 2)), ("version", b"3\n"), ("words", words.encode())):
            archive.writestr(zipfile.ZipInfo(f"weights/{name}"), data)
    return held.getvalue()


FILES: dict[str, str | bytes] = {
    "weights/v1.pt": weights("one"),
    "weights/v2.pt": weights("two"),
    "net.py": NET,
    "handlers/digits.py": HANDLER,
    "handlers/common.py": "x = 1\n",
    "handlers/requirements.txt": "six==1.17.0\n",
    "labels/words.txt": "a\n",
    "labels/deep/more.txt": "b\n",
    "mixed/words.txt": "c\n",
    "mixed/.hidden/no.txt": "d\n",
    "mixed/deep/.hidden/no.txt": "e\n",
    "mixed/deep/yes.txt": "f\n",
    "mixed/.dotfile": "g\n",
    "config/model-config.yaml": "minWorkers: 1\nmaxWorkers: 1\n",
    "lib/libdigits.so": b"\x7fELF",
    "lib/env.sh": "HANDLER=handlers/digits.py\n",
}

UPLOAD = "aws s3 cp --recursive build s3://fq-bucket/models/\n"
SCRIPTS: dict[str, str] = {
    "every long option": """\
        mkdir -p build/digits/1
        torch-model-archiver --model-name model --version 1 --serialized-file weights/v1.pt --model-file net.py \\
          --handler handlers/digits.py --extra-files labels/words.txt,handlers/common.py \\
          --requirements-file handlers/requirements.txt --config-file config/model-config.yaml \\
          --runtime python --archive-format zip-store --export-path build/digits/1 --force
    """,
    "short, shortened and joined by =": """\
        mkdir -p build/digits/1.10
        torch-model-archiver -f --model-n=model -v=1.10 --ser weights/v1.pt --model-f=net.py --ha handlers/digits.py \\
          -rhandlers/requirements.txt -c config/model-config.yaml --exp build/digits/1.10 --extra=labels/words.txt
    """,
    "a function": """\
        mkdir -p build/digits/1
        torch-model-archiver --model-name model -v 1 --serialized-file weights/v1.pt \\
          --handler handlers/digits:predict --export-path build/digits/1
    """,
    "no weights": """\
        mkdir -p build/digits/1
        torch-model-archiver --model-name model -v 1 --handler handlers/digits.py --extra-files labels \\
          --export-path build/digits/1
    """,
    "a default handler": """\
        mkdir -p build/digits/1
        torch-model-archiver --model-name model -v 1 --serialized-file weights/v1.pt --model-file net.py \\
          --handler image_classifier --export-path build/digits/1
    """,
    "a default handler with requirements and without weights": """\
        mkdir -p build/digits/1
        torch-model-archiver --model-name model -v 1 --model-file net.py --handler image_classifier --extra-files net.py \\
          -r handlers/requirements.txt --export-path build/digits/1
    """,
    "folders and globs": """\
        mkdir -p build/a/1 build/a/2 build/a/3
        pack() { echo "never called"; }
        torch-model-archiver --model-name model -v 1 --serialized-file weights/v1.pt --handler handlers/digits.py \\
          --extra-files "labels, handlers/c*.py" --export-path build/a/1
        torch-model-archiver --model-name model -v 2 --serialized-file weights/v1.pt --handler handlers/digits.py \\
          --extra-files mixed/,handlers/*.py --export-path build/a/2
        torch-model-archiver --model-name model -v 3 --serialized-file weights/v1.pt --handler handlers/digits.py \\
          --extra-files 'mixed/*,labels/no*such' --export-path build/a/3
    """.replace("labels, handlers", "labels,handlers"),
    "copies": """\
        HANDLER=handlers/digits.py
        mkdir -p made/digits/1 build
        pushd labels > /dev/null && popd > /dev/null
        if ! torch-model-archiver --model-name model --handler "$HANDLER" -v 1 --serialized-file weights/v1.pt \\
          --export-path made/digits/1; then exit 1; fi
        cp -r made/. build
    """,
    "variables and folders": """\
        set -euo pipefail
        HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
        cd "$HERE"
        OUT=${OUT:-build}; export MODEL="digits"
        COMMON="--model-name model --handler handlers/digits.py"
        COMMON+=" --force"
        (cd weights && ls) >/dev/null 2>&1
        mkdir -p "$OUT/$MODEL/"{1,2}
        torch-model-archiver $COMMON -v 1 --serialized-file weights/v1.pt --export-path "${OUT}/$MODEL/1"
        cd weights
        cat <<EOF > /dev/null
        torch-model-archiver --model-name no -v 9 --handler base_handler
        EOF
        PYTHONWARNINGS=ignore torch-model-archiver --model-name 'model' -v "2" --serialized-file v2.pt \\
          --handler ../handlers/digits.py --extra-files "$PWD/../labels" --export-path ../$OUT/$MODEL/2 && echo "done: $?"
        cd "$HERE" || exit 1
    """,
    "one archive after another in the same place": """\
        torch-model-archiver -f --model-name model -v 1 --serialized-file weights/v1.pt --handler handlers/digits.py
        aws s3 cp model.mar s3://fq-bucket/models/digits/1/
        torch-model-archiver -f --model-name model -v 2 --serialized-file weights/v2.pt --handler handlers/digits.py
        mkdir -p out; mv model.mar out/
        aws s3 cp --only-show-errors out/model.mar s3://fq-bucket/models/digits/2/model.mar
    """,
    "loops": """\
        set -euo pipefail
        for MODEL in digits letters; do
          for version in 1 2; do
            mkdir -p "build/$MODEL/$version"
            torch-model-archiver --model-name model -v "$version" --serialized-file "weights/v$version.pt" \\
              --handler handlers/digits.py --extra-files labels/words.txt --export-path "build/$MODEL/$version"
          done
        done
        for MODEL in digits letters; do cp -r build/$MODEL .; done
        for MODEL in digits letters; do aws s3 cp --recursive $MODEL s3://fq-bucket/models/$MODEL; done
    """,
    "two models": """\
        mkdir -p build/a/1 build/b/1 build/b/2
        torch-model-archiver --model-name model -v 1 --serialized-file weights/v1.pt --handler handlers/digits.py \\
          --export-path build/a/1
        torch-model-archiver --model-name model -v 1 --serialized-file weights/v1.pt --handler handlers/digits.py \\
          -r handlers/requirements.txt --export-path build/b/1
        python3 -m model_archiver.model_packaging --model-name model -v 2 --serialized-file weights/v2.pt \\
          --handler handlers/digits.py --export-path build/b/2
    """,
}
MAKEFILE = """\
MODEL ?= digits
OUT := build/$(MODEL)
ARCHIVER = torch-model-archiver --model-name model \\
  --handler handlers/digits.py
all: $(OUT)/1/model.mar two

$(OUT)/1/model.mar: weights/v1.pt handlers/digits.py
\t@mkdir -p $(@D)
\t$(ARCHIVER) -v 1 --serialized-file $< \\
\t  --export-path $(OUT)/1

.PHONY: two all
two:
\tmkdir -p $(OUT)/2
\tcd weights && torch-model-archiver --model-name model --version 2 --serialized-file v2.pt \\
\t  --handler ../handlers/digits.py --export-path "../$(OUT)/2" --extra-files "../labels/words.txt"
"""
AWS = """\
#!/bin/sh
# Stands for `aws s3 cp`: the bucket is a folder.
for last; do :; done
while [ "$1" != s3 ]; do shift; done
shift 2
while [ "$#" -gt 1 ]; do source=$1; shift; done
target=$(echo "$last" | sed "s|^s3://fq-bucket/models|$THEIRS|")
if [ -d "$source" ]; then mkdir -p "$target"; cp -r "$source/." "$target"; exit; fi
case "$target" in */) mkdir -p "$target" ;; *) mkdir -p "$(dirname "$target")" ;; esac
cp "$source" "$target"
"""


@pytest.fixture
def ready(workspace: Workspace) -> Workspace:
    workspace.write(FILES)
    return workspace


def run_script(workspace: Workspace, tmp_path: Path, *command: str) -> Path:
    """Run a script with the real archiver, and `aws` as a copy to a folder; returns that folder."""
    programs, staging, theirs = (tmp_path / name for name in ("programs", "staging", "theirs"))
    for folder in (programs, staging, theirs):
        folder.mkdir()
    for name, text in (
        ("aws", AWS),
        ("torch-model-archiver", f'#!/bin/sh\nexec "{sys.executable}" -m model_archiver.model_packaging "$@"\n'),
        ("python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    env = {"PATH": f"{programs}:{os.defpath}", "TMPDIR": str(staging), "THEIRS": str(theirs)}
    subprocess.run(command, cwd=workspace.root, env=env, check=True, timeout=300)
    return theirs


def content(archive: Path) -> dict[str, Any]:
    with zipfile.ZipFile(archive) as found:
        members: dict[str, Any] = {name: found.read(name) for name in found.namelist()}
    members[MANIFEST] = json.loads(members[MANIFEST])
    del members[MANIFEST]["createdOn"]
    members[MANIFEST]["model"]["modelName"] = "model"  # a server of GDC knows no other
    return members


def assert_same(workspace: Workspace, theirs: Path) -> None:
    """Build what the manifest says, and compare it with a bucket that the script filled."""
    manifest = workspace.root / "gdcbuild.yaml"
    lines = manifest.read_text().replace("environments:\n", "environments:\n  ours: {bucket: ours}\n")
    manifest.write_text(lines)
    workspace.ok("validate")
    workspace.ok("apply", "--env", "ours")
    expected = {p.relative_to(theirs).as_posix(): content(p) for p in sorted(theirs.rglob("*.mar"))}
    assert expected, "the script wrote nothing"
    ours = workspace.root / "ours"
    found = {p: content(ours / p) for p in workspace.served("ours")}
    assert found.keys() == expected.keys()
    for path, members in expected.items():
        assert found[path] == members, path


def dedent(script: str) -> str:
    return "".join(line.removeprefix("        ") for line in script.splitlines(keepends=True)).rstrip(" ")


@pytest.mark.parametrize("case", SCRIPTS)
def test_a_script_and_its_manifest_make_the_same(case: str, ready: Workspace, tmp_path: Path) -> None:
    script = "#!/bin/bash\n" + dedent(SCRIPTS[case])
    script += "" if "aws " in script else UPLOAD
    ready.write({"build.sh": script})
    result = ready.ok("import", "build.sh")
    assert "warning" not in result.err
    theirs = run_script(ready, tmp_path, "bash", "build.sh")
    assert_same(ready, theirs)
    assert 'fq-bucket-models: {bucket: "s3://fq-bucket/models"}' in (ready.root / "gdcbuild.yaml").read_text()


def import_text(workspace: Workspace, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Import standard input."""
    command = [sys.executable, "-m", "gdcbuild", "import", "-", *options]
    return subprocess.run(
        command, cwd=workspace.root, input=text, env=workspace.environment(), text=True, capture_output=True, check=False
    )


def test_a_makefile_is_imported_by_what_make_would_run(ready: Workspace, tmp_path: Path) -> None:
    ready.write({"Makefile": MAKEFILE})
    result = ready.run("import", "Makefile")
    assert (result.code, "Makefile:3:1: error: not followed: torch-model-archiver in a Makefile" in result.err) == (1, True)
    assert "make -n TARGET | gdcbuild import -" in result.err
    dry = subprocess.run(["make", "-n"], cwd=ready.root, text=True, capture_output=True, check=True).stdout
    done = import_text(ready, dry)
    assert done.returncode == 0, done.stderr
    run_script(ready, tmp_path, "make", "-s")
    assert_same(ready, ready.root / "build")


def test_the_trace_of_a_script_with_loops(ready: Workspace, tmp_path: Path) -> None:
    script = """\
        set -eu
        pack() { cd weights; torch-model-archiver -f --model-name model -v "$1" --serialized-file "v$1.pt" --handler "$2" \\
            --export-path "$OUT/$1"; cd ..; }
        OUT=$PWD/build/digits
        for v in $(seq "$(ls weights/v*.pt | wc -l)"); do
            if [ ! -d "$OUT/$v" ]; then mkdir -p "$OUT/$v"; fi
            pack "$v" ../handlers/digits.py
        done
    """
    ready.write({"build.sh": dedent(script) + UPLOAD})
    assert "bash -x SCRIPT" in ready.run("import", "build.sh").err
    theirs = run_script(ready, tmp_path, "bash", "-c", "bash -x build.sh 2>&1 | grep '^+' > trace.txt")
    ready.ok("import", "trace.txt")
    assert_same(ready, theirs)


def test_what_make_would_run(ready: Workspace, tmp_path: Path) -> None:
    """Its own order and conditions; on standard input, as with any trace."""
    pack = "torch-model-archiver --model-name model -v $* --serialized-file $< --handler handlers/digits.py --export-path $(@D)"
    up = "aws s3 cp $< s3://fq-bucket/models/digits/1/model.mar"
    makefile = f"all: up\nifeq ($(MAKE),none)\nup: never\nendif\nup: build/1/model.mar\n\t{up}\n"
    makefile += f"build/%/model.mar: weights/v%.pt\n\tmkdir -p $(@D)\n\t{pack}\n"
    ready.write({"Makefile": makefile})
    dry = subprocess.run(["make", "-n"], cwd=ready.root, text=True, capture_output=True, check=True).stdout
    done = import_text(ready, dry)
    assert done.returncode == 0, done.stderr
    assert_same(ready, run_script(ready, tmp_path, "make", "-s"))


@pytest.mark.parametrize(
    "options", ["--runtime python3 --handler handlers/digits.py", "--runtime LSP --handler lib/libdigits:Digits"]
)
def test_runtimes(options: str, ready: Workspace, tmp_path: Path) -> None:
    script = f"mkdir -p build/m/1\ntorch-model-archiver --model-name model -v 1 --serialized-file weights/v1.pt {options}"
    ready.write({"build.sh": f"{script} --export-path build/m/1\n"})
    ready.ok("import", "build.sh")
    run_script(ready, tmp_path, "sh", "build.sh")
    assert_same(ready, ready.root / "build")


MAR_CONFIG = [
    {
        "model_name": "digits",
        "version": "1.0",
        "model_file": "net.py",
        "serialized_file_local": "weights/v1.pt",
        "handler": "handlers/digits.py",
        "extra_files": "labels/words.txt,handlers/common.py",
        "requirements_file": "handlers/requirements.txt",
    },
    {"model_name": "letters", "version": "2", "serialized_file_local": "weights/v2.pt", "handler": "handlers/digits:predict"},
]


def test_a_mar_config_and_its_manifest_make_the_same(ready: Workspace, tmp_path: Path) -> None:
    remote = {"model_name": "vgg", "version": "1", "serialized_file_remote": "v1.pt", "handler": "handlers/digits.py"}
    made = {
        "model_name": "dog",
        "version": "1",
        "serialized_file_local": "model_store_gen/v2.pt",
        "handler": "handlers/digits.py",
    }
    ready.write({"model_store_gen/v1.pt": weights("one"), "model_store_gen/v2.pt": weights("two")})
    ready.write({"ts/mar_config.json": json.dumps([*MAR_CONFIG, remote, made], indent=2)})
    result = ready.ok("import", "ts/mar_config.json")
    assert "ts/mar_config.json:17:3: warning: vgg: model_store_gen/v1.pt is downloaded: v1.pt" in result.err
    assert "ts/mar_config.json:23:3: warning: dog: model_store_gen/v2.pt is made by the tool" in result.err
    assert "warning: digits@1.0: torch-model-archiver packs digits.mar, and gdcbuild packs model.mar" in result.err
    commands = []
    for entry in (*MAR_CONFIG, {**made, "model_name": "vgg", "serialized_file_local": "model_store_gen/v1.pt"}, made):
        folder = f"build/{entry['model_name']}/{entry['version']}"
        options = {k.replace("_", "-").removesuffix("-local"): v for k, v in entry.items()}
        commands.append(f"mkdir -p {folder}; torch-model-archiver --export-path {folder} --archive-format zip-store")
        commands[-1] += "".join(f" --{k} {v}" for k, v in options.items())
    ready.write({"run.sh": "\n".join(commands)})
    run_script(ready, tmp_path, "sh", "run.sh")
    for archive in (ready.root / "build").rglob("*.mar"):
        archive.rename(archive.with_name("model.mar"))
    assert_same(ready, ready.root / "build")


def test_a_properties_json_and_its_manifest_make_the_same(ready: Workspace, tmp_path: Path) -> None:
    """Files lie in a folder named after the model; what the image's script runs is what its documentation shows."""
    entry = {
        "model-name": "digits",
        "version": "1.0",
        "model-file": "net.py",
        "serialized-file": "v1.pt",
        "extra-files": "words.txt,more.txt",
        "handler": "own.py",
        "requirements": "requirements.txt",
        "min-workers": 1,
        "max-workers": 3,
        "batch-size": 4,
        "max-batch-delay": 100,
        "response-timeout": 120,
    }
    files = {"net.py": NET, "v1.pt": FILES["weights/v1.pt"], "words.txt": "a", "more.txt": "b", "own.py": HANDLER}
    ready.write({f"model-store/digits/{name}": data for name, data in {**files, "requirements.txt": "six==1.17.0\n"}.items()})
    plain = {
        "model-name": "plain",
        "version": "2",
        "model-file": "",
        "serialized-file": "v1.pt",
        "extra-files": "",
        "handler": "own.py",
    }
    ready.write({"model-store/plain/v1.pt": weights("plain"), "model-store/plain/own.py": HANDLER})
    ready.write({"model-store/properties.json": json.dumps([entry, plain])})
    result = ready.ok("import", "model-store/properties.json")
    assert '"minWorkers": 1, "maxWorkers": 3, "batchSize": 4, "maxBatchDelay": 100, "responseTimeout": 120' in result.err
    store = "model-store/digits"
    ready.write(
        {
            "run.sh": f"""\
mkdir -p build/digits/1.0 build/plain/2
torch-model-archiver --model-name digits --version 1.0 --model-file {store}/net.py --serialized-file {store}/v1.pt \\
  --export-path build/digits/1.0 --extra-files {store}/words.txt,{store}/more.txt --handler {store}/own.py \\
  -r {store}/requirements.txt --force
torch-model-archiver --model-name plain --version 2 --serialized-file model-store/plain/v1.pt --export-path build/plain/2 \\
  --handler model-store/plain/own.py -r "" --force
mv build/digits/1.0/digits.mar build/digits/1.0/model.mar
mv build/plain/2/plain.mar build/plain/2/model.mar
"""
        }
    )
    run_script(ready, tmp_path, "sh", "run.sh")
    assert_same(ready, ready.root / "build")


def test_adopting_a_bucket_that_a_script_filled(ready: Workspace, tmp_path: Path) -> None:
    """SavedModels as they are match byte for byte; archives hold times, so those of the archiver do not."""
    ready.write({f"exports/keras/1/{path}": data for path, data in EXPORT.items()})
    script = dedent(SCRIPTS["a function"]) + UPLOAD + "aws s3 cp --recursive exports s3://fq-bucket/models\n"
    ready.write({"build.sh": script})
    ready.ok("import", "build.sh")
    theirs = run_script(ready, tmp_path, "sh", "build.sh")
    theirs.rename(ready.root / "live")
    manifest = ready.root / "gdcbuild.yaml"
    manifest.write_text(
        manifest.read_text().replace("environments:\n", "environments:\n  live: {bucket: live, immutable: true}\n")
    )
    before = ready.snapshot("live")
    ready.ok("build")
    rows = {r["model"]: r["change"] for r in ready.ok("plan", "--env", "live", "--json").json["changes"]}
    assert rows == {"keras": "none", "digits": "conflict"}
    assert "Nothing to do" in ready.ok("apply", "keras", "--env", "live").err
    assert ready.snapshot("live") == before


PLAIN = "torch-model-archiver --model-name model -v 1 --serialized-file weights/v1.pt --handler handlers/digits.py"
NAMED: dict[str, tuple[str, list[str]]] = {
    "a loop": (
        f"for v in $X; do\n  {PLAIN} --export-path $v\ndone",
        ["x.sh:2:3: error: not followed: torch-model-archiver in a loop"],
    ),
    "rounds for one id": (
        f"for v in 1 2; do\n  {PLAIN.replace('v1', 'v$v')} --export-path m\ndone",
        ["x.sh:2:3: error: m@1 is packed twice, differently: here and at x.sh:2:3"],
    ),
    "an if": (f"if true; then {PLAIN}; fi", ["x.sh:1:15: error: not followed: torch-model-archiver in an if"]),
    "a case": (f"case $1 in\n a) {PLAIN} ;;\nesac", ["x.sh:2:5: error: not followed: torch-model-archiver in a case"]),
    "a function": (f"pack() {{\n{PLAIN}\n}}", ["x.sh:2:1: error: not followed: torch-model-archiver in the function pack()"]),
    "an or": (f"test -f x || {PLAIN}", ["x.sh:1:14: error: not followed: torch-model-archiver in a || branch"]),
    "a command's output": (
        f"NOW=$(date +%s)\n{PLAIN.replace('-v 1', '-v $NOW')}",
        ["x.sh:2:1: error: --version is $(date +%s), and $(date +%s) is known only when it runs"],
    ),
    "a variable of the environment": (
        PLAIN.replace("weights/", "${DATA}/"),
        ["x.sh:1:1: error: --serialized-file is ${DATA}/v1.pt".replace("${DATA}", "$DATA"), "$DATA is known only when it runs"],
    ),
    "an argument": (PLAIN.replace("handlers/digits.py", '"$1"'), ["--handler is $1"]),
    "a variable that an if sets": (f"if a; then V=2; fi\n{PLAIN.replace('-v 1', '-v $V')}", ["an if sets"]),
    "a wrapper": (f"docker run image {PLAIN}", ["x.sh:1:1: error: not followed: torch-model-archiver is run by docker"]),
    "another shell": (f'bash -c "{PLAIN}"', ["x.sh:1:1: error: not followed: torch-model-archiver is run by bash"]),
    "no handler": (
        PLAIN.partition(" --handler")[0],
        ["torch-model-archiver would say: the following arguments are required: --handler"],
    ),
    "an option that is none": (f"{PLAIN} --colour red", ["torch-model-archiver would say: unrecognized arguments: --colour"]),
    "two meanings": (f"{PLAIN} --model x", ["ambiguous option: --model could match --model-name, --model-file"]),
    "outside": (f"{PLAIN} --extra-files ../up.txt --export-path m", ["up.txt is outside of"]),
    "no id": (PLAIN, ["no model id: the archive is called model"]),
    "no weights": (
        "torch-model-archiver --model-name model -v 1 --handler base_handler --export-path m",
        ["m@1 is left out: it has no --serialized-file, which base_handler loads"],
    ),
    "two for one id": (
        f"{PLAIN} --export-path m/1\n{PLAIN.replace('v1.pt', 'v2.pt')} --export-path n/../m/1",
        ["x.sh:2:1: error: m@1 is packed twice, differently: here and at x.sh:1:1"],
    ),
    "an id that is none": (f"{PLAIN} --export-path 'm!'", ["'m!' is not a valid model id"]),
    "two places": (
        f"{PLAIN}\naws s3 cp model.mar s3://b/m/1/\naws s3 cp model.mar s3://b/n/1/",
        ["x.sh:1:1: error: one archive is uploaded as m@1 and n@1"],
    ),
    "too few folders": (
        f"{PLAIN}\naws s3 cp model.mar s3://b/m/",
        ["x.sh:2:1: error: no model and version are known from the upload to s3://b/m/model.mar", "s3://BUCKET/MODEL/"],
    ),
    "a here-document that a shell runs": (
        f"cat <<X | bash\n{PLAIN}\nX",
        ["x.sh:1:11: error: what runs here is not known: bash"],
    ),
    "a script that another runs": ("bash lib/pack.sh", ["x.sh:1:1: error: lib/pack.sh is run, and cannot be read"]),
    "a place in a variable": (
        f'{PLAIN} --export-path m\naws s3 cp m/model.mar "$DEST"',
        ["x.sh:2:1: error: no model and version are known from the upload to $DEST"],
    ),
    "a file put into a packed folder": (
        f"{PLAIN.replace('name model', 'name m')} --archive-format no-archive\nmv labels m/",
        ["x.sh:2:1: error: not imported: 'mv labels m/' names m/labels after the archive is packed"],
    ),
    "a file that is changed after it is packed": (
        f"{PLAIN} --export-path m\nsed -i s/a/b/ handlers/digits.py",
        [
            "x.sh:2:1: error: not imported: 'sed -i s/a/b/ handlers/digits.py'",
            " names handlers/digits.py after m@1 is packed from it",
        ],
    ),
    "a notebook as a handler": (
        f"{PLAIN} --export-path m".replace("digits.py", "digits.ipynb"),
        ["x.sh:1:1: error: the handler handlers/digits.ipynb is not a Python file"],
    ),
    "half a trace": (
        f"{PLAIN} --export-path m/1\n+ {PLAIN} --extra-files 'a",
        ["x.sh:2:", "error: the text ends within a quote"],
    ),
    "an upload of who knows what": ("aws s3 cp --recursive out s3://b/m/", ["x.sh:1:1: error: nothing is known of"]),
    "nothing": ("echo hello", ["no torch-model-archiver command"]),
}


@pytest.mark.parametrize("case", NAMED)
def test_what_has_no_place_in_a_manifest_is_named(case: str, ready: Workspace) -> None:
    script, expected = NAMED[case]
    ready.write({"x.sh": script + "\n"})
    result = ready.run("import", "x.sh")
    assert (result.code, "Traceback" in result.err) == (1, False), result.err
    assert [line for line in expected if line not in result.err] == [], result.err


def test_what_is_understood_is_written_beside_what_is_not(ready: Workspace) -> None:
    ready.write({"x.sh": f"{PLAIN} --export-path m/1\nwhile true; do {PLAIN}; done\n"})
    result = ready.run("import", "x.sh", "-o", "made/../team.yaml")
    assert (result.code, "x.sh:2:16: error" in result.err) == (1, True), result.err
    ready.ok("validate", "-f", "team.yaml")
    assert [c["model"] for c in ready.ok("plan", "-f", "team.yaml", "--json").json["changes"]] == ["m"]


NOTED = {
    "another version": (
        f"{PLAIN.replace('-v 1', '-v 1.0')}\naws s3 cp model.mar s3://b/m/3/",
        "m@3: torch-model-archiver writes version 1.0 into the archive, and gdcbuild writes 3",
    ),
    "another name": (
        f"{PLAIN.replace('name model', 'name digits')} --export-path out",
        "digits@1: torch-model-archiver packs digits.mar, and gdcbuild packs model.mar",
    ),
    "another format": (
        f"{PLAIN} --archive-format tgz --export-path m",
        "m@1: torch-model-archiver packs a tgz archive, and gdcbuild packs model.mar",
    ),
    "a handler without .py": (
        f"{PLAIN.replace('digits.py', 'digits')} --export-path m",
        "the handler 'handlers/digits' is digits.py in the archive's manifest",
    ),
    "a file from a bucket": (
        f"aws s3 cp s3://b/v1.pt weights/\n{PLAIN} --export-path m",
        "x.sh:1:1: warning: not imported: 'aws s3 cp s3://b/v1.pt weights/' names weights/v1.pt, which is packed in m@1",
    ),
    "a folder from a bucket": (
        f"gsutil -m cp -r gs://b/w weights\n{PLAIN} --export-path m",
        "x.sh:1:1: warning: not imported: 'gsutil -m cp -r gs://b/w weights' names weights, which is packed in m@1",
    ),
    "a file of another name": (
        f"if [ ! -f weights/v1.pt ]; then cp weights/v2.pt weights/v1.pt; fi\n{PLAIN} --export-path m",
        "x.sh:1:33: warning: not imported: 'cp weights/v2.pt weights/v1.pt' names weights/v1.pt, which is packed in m@1",
    ),
    "a file that the script makes": (
        f"echo a > labels/words.txt\n{PLAIN} --extra-files labels/words.txt --export-path m",
        "x.sh:1:1: warning: not imported: 'echo a > labels/words.txt' names labels/words.txt, which is packed in m@1",
    ),
    "a command that may make one": (
        f"make weights\n{PLAIN} --export-path m",
        "x.sh:1:1: warning: not imported: 'make weights'",
    ),
    "filters": (
        f"{PLAIN} --export-path o/m/1\naws s3 sync o s3://b --exclude '*.log'",
        "--exclude *.log is not followed",
    ),
    "a profile": (f"{PLAIN}\naws s3 cp model.mar s3://b/m/1/ --profile team", "--profile team is not followed"),
}


@pytest.mark.parametrize("case", NOTED)
def test_what_is_not_quite_the_same_is_noted(case: str, ready: Workspace) -> None:
    script, expected = NOTED[case]
    ready.write({"x.sh": script + "\n"})
    result = ready.ok("import", "x.sh")
    assert "x.sh:" in result.err
    assert expected in result.err


def test_the_bucket_of_an_upload(ready: Workspace) -> None:
    upload = 'aws --endpoint-url "$S3_URL" --ca-bundle certs/ca.pem s3 sync out "s3://${BUCKET}/team" --region eu'
    ready.write({"x.sh": f": ${{BUCKET:?}}\n{PLAIN} --export-path out/m/1\n{upload}\n", "certs/ca.pem": ""})
    ready.ok("import", "x.sh")
    assert (
        '  bucket-team: {bucket: "s3://${env.BUCKET}/team", endpoint: "${env.S3_URL}", region: eu, ca_file: certs/ca.pem}\n'
        in (ready.root / "gdcbuild.yaml").read_text()
    )


def test_the_example_of_the_guide(ready: Workspace) -> None:
    guide = ROOT / "docs" / "how-to" / "from-a-script.md"
    (script,) = (b for b in blocks(guide, "sh") if "torch-model-archiver" in b.text)
    manifest = next(b for b in blocks(guide, "yaml") if b.line > script.line)
    ready.write({"build.sh": script.text, "handler.py": HANDLER})
    assert ready.ok("import", "build.sh", "-o", "-").out.partition("\n")[2] == manifest.text
    assert "warning" not in ready.ok("import", "build.sh").err


def test_where_it_is_written(ready: Workspace) -> None:
    ready.write({"x.sh": f"{PLAIN} --export-path m/1\n"})
    shown = ready.ok("import", "x.sh", "-o", "-")
    assert shown.out.startswith("# From x.sh, by gdcbuild import.\nschema: 1\n")
    assert not (ready.root / "gdcbuild.yaml").exists()
    ready.ok("import", "x.sh")
    assert (ready.root / "gdcbuild.yaml").read_text() == shown.out
    again = ready.run("import", "x.sh")
    assert (again.code, "gdcbuild.yaml already exists" in again.err) == (64, True)
    assert ready.run("import", "no-such.sh", "-o", "other.yaml").code == 64


def test_a_file_that_is_not_there_is_named_in_the_manifest(ready: Workspace) -> None:
    ready.write({"x.sh": f"{PLAIN.replace('v1.pt', 'v9.pt')} --export-path m/1\n"})
    result = ready.run("import", "x.sh")
    assert (result.code, "gdcbuild.yaml:" in result.err, "there is no file 'weights/v9.pt'" in result.err) == (65, True, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[1]", "a model must be a mapping"), ('[{"x": 1}]', "neither"), ("[{", "not valid JSON"), ("[]", "no list")],
)
def test_lists_that_are_none(text: str, expected: str, ready: Workspace) -> None:
    ready.write({"x.json": text})
    result = ready.run("import", "x.json")
    assert (result.code, expected in result.err, "Traceback" in result.err) == (1, True, False), result.err


UNREADABLE: dict[str, tuple[bytes, int, str]] = {
    "weights": (weights("one"), 65, "error: x.sh is not text: not a script or a JSON list\n"),
    "no end": (b"x" * (1 << 24) + b"x", 65, "error: x.sh is larger than 16 MiB: not a script"),
    "a long line": (b"echo " + b"x" * (1 << 20), 1, "no torch-model-archiver command"),
    "empty": (b"", 1, "no torch-model-archiver command"),
    "not UTF-8": (f"# caf\xe9\n{PLAIN} --export-path caf\xe9/1\n".encode("latin-1"), 1, "which no file in UTF-8 can name"),
    "a path that no system takes": (
        f"{PLAIN} --extra-files {'a' * 9000}\ncp model.mar {'b' * 9000}\n".encode(),
        1,
        "is not a valid model id",
    ),
    "a deep glob": (f"{PLAIN} --export-path m --extra-files '{'*/' * 5000}x'\n".encode(), 1, "nested too deeply"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_script_is_told_in_one_line(case: str, ready: Workspace) -> None:
    data, code, expected = UNREADABLE[case]
    ready.write({"x.sh": data})
    result = ready.run("import", "x.sh", "-o", "-")
    assert (result.code, expected in result.err, "Traceback" in result.err) == (code, True, False), result.err[-2000:]


def test_a_folder_and_a_pipe(ready: Workspace) -> None:
    assert (ready.run("import", "weights").code, ready.run("import", "/dev/zero").code) == (64, 65)
    os.mkfifo(ready.root / "pipe")
    writer = subprocess.Popen(["sh", "-c", f'echo "{PLAIN} --export-path m" > pipe'], cwd=ready.root)
    assert "m:\n" in ready.ok("import", "pipe", "-o", "-").out
    assert writer.wait(timeout=60) == 0


@pytest.mark.parametrize(
    "entry",
    [
        '{"model_name": "", "version": "1"}',
        '{"model_name": "m", "version": "1", "handler": "h\\u0000"}',
        '{"model_name": "m\\ud800", "version": "1", "handler": "h"}',
        '{"model_name": "m", "version": ' + "9" * 5000 + "}",
    ],
)
def test_lists_that_no_tool_could_read(entry: str, ready: Workspace) -> None:
    ready.write({"x.json": f"[{entry}]"})
    result = ready.run("import", "x.json")
    assert (result.code, "x.json:1" in result.err, "Traceback" in result.err) == (1, True, False), result.err


def test_messages_stand_in_the_order_of_their_lines(ready: Workspace) -> None:
    lines = [f"{PLAIN.replace('-v 1', f'-v {n}')} --colour" for n in range(1, 13)]
    ready.write({"x.sh": "\n".join(lines)})
    told = [int(line.split(":")[1]) for line in ready.run("import", "x.sh").err.splitlines() if line.startswith("x.sh:")]
    assert told == list(range(1, 13))


def test_nothing_that_is_read_is_run(ready: Workspace) -> None:
    ready.write({"x.sh": f'touch ran; X=$(touch ran); `touch ran`\n{PLAIN} --extra-files "$(touch ran)" --export-path m/1\n'})
    assert ready.run("import", "x.sh").code == 1
    assert not (ready.root / "ran").exists()
