"""Mistakes in the manifest, through the real command line: location, message and hint; nothing is written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from gdcbuild.errors import ManifestError
from gdcbuild.frameworks import FRAMEWORKS, images
from gdcbuild.manifest.load import load
from gdcbuild.manifest.lower import lower
from tests.e2e.workspace import HANDLER, Workspace

HEAD = """\
schema: 1
environments:
  local: {bucket: bucket}
frameworks:
  tf: {image: tf2-cpu.2-18}
  pt: {image: pytorch-cpu.2-4}
"""
MODEL = HEAD + "models:\n  m:\n    framework: tf\n    versions:\n"


def _fifo(root: Path) -> None:
    os.mkfifo(root / "pipe.keras")


def _leaving_link(root: Path) -> None:
    (root.parent / "secret.keras").write_bytes(b"x")
    (root / "link.keras").symlink_to(root.parent / "secret.keras")


CASES: dict[str, tuple[str, list[str]]] = {
    "newer schema": (HEAD.replace("1", "2", 1), ["gdcbuild.yaml:1:1: error: schema 2 needs a newer gdcbuild"]),
    "a file as handler": (
        HEAD + "models: {m: {framework: pt, handler: fraud/handler.py, versions: {'1': {weights: w.pt}}}}\n",
        ["gdcbuild.yaml:7:29: error: ", "handlers: {fraud: {file: fraud/handler.py}}, and write handler: fraud"],
    ),
    "an id that ends in _": (HEAD + "models: {a_: {}}\n", ["gdcbuild.yaml:7:10: error: 'a_'", "end with a letter or a digit"]),
    "query in an endpoint": (
        HEAD.replace("bucket: bucket", "bucket: s3://b, endpoint: 'http://user:secret/@h?x=1'"),
        ["gdcbuild.yaml:3:27: error: 'http://***@h?x=1' is not an endpoint"],
    ),
    "unknown key": (HEAD + "model: {}\n", ["gdcbuild.yaml:7:1: error: unknown key 'model'", "did you mean 'models'?"]),
    "unknown key in an environment": (
        HEAD.replace("{bucket: bucket}", "{bucket: bucket, imutable: true}"),
        ["gdcbuild.yaml:3:27: error: unknown key 'imutable'", "did you mean 'immutable'?"],
    ),
    "missing file": (
        MODEL + '      "1": {keras: modle.keras}\n',
        ["gdcbuild.yaml:11:20: error: there is no file 'modle.keras'", "did you mean 'model.keras'?"],
    ),
    "glob that matches nothing": (
        MODEL + '      "1": {export: {function: "a:b", files: [src/*.py]}}\n',
        ["gdcbuild.yaml:11:47: error: 'src/*.py' matches no file"],
    ),
    "unquoted version": (
        MODEL + "      1.10: {keras: model.keras}\n",
        ["gdcbuild.yaml:11:7: error: 1.10 is not quoted, and YAML reads it as the number 1.1", 'write "1.10":'],
    ),
    "duplicate key": (
        MODEL + '      "1": {keras: model.keras}\n      "1": {keras: model.keras}\n',
        ["gdcbuild.yaml:12:7: error: duplicate key '1'; the first is at gdcbuild.yaml:11:7"],
    ),
    "alias and anchor": (
        MODEL + '      "1": &one {keras: model.keras}\n      "2": *one\n',
        ["gdcbuild.yaml:11:12: error: anchor &one is not allowed", "gdcbuild.yaml:12:12: error: alias *one is not allowed"],
    ),
    "tag": (
        MODEL + '      "1": {keras: !!str model.keras}\n',
        ["gdcbuild.yaml:11:20: error: tag tag:yaml.org,2002:str is not allowed"],
    ),
    "merge key": (HEAD + "<<: {models: {}}\n", ["gdcbuild.yaml:7:1: error: merge keys (<<) are not allowed"]),
    "truth value of YAML 1.1": (
        HEAD.replace("{bucket: bucket}", "{bucket: bucket, immutable: yes}"),
        ["gdcbuild.yaml:3:38: error: yes is not quoted", "true or false"],
    ),
    "unknown framework": (
        (MODEL + '      "1": {keras: model.keras}\n').replace("framework: tf", "framework: tff"),
        ["gdcbuild.yaml:9:16: error: unknown framework 'tff'", "did you mean 'tf'?"],
    ),
    "unknown image": (
        HEAD.replace("tf2-cpu.2-18", "tf2-cpu.2-99"),
        ["gdcbuild.yaml:5:8: error: unknown image 'tf2-cpu.2-99'", "add its kind and version"],
    ),
    "unknown handler": (
        HEAD + 'models:\n  m:\n    framework: pt\n    handler: base_handlr\n    versions:\n      "1": {weights: model.keras}\n',
        ["gdcbuild.yaml:10:5: error: unknown handler 'base_handlr'", "did you mean 'base_handler'?"],
    ),
    "two sources": (
        MODEL + '      "1": {keras: model.keras, saved_model: sm/}\n',
        ["gdcbuild.yaml:11:13: error: m@1 has more than one source: saved_model and keras", "keep one of them"],
    ),
    "no source": (MODEL + '      "1": {}\n', ["gdcbuild.yaml:11:7: error:", "saved_model"]),
    "cycle": (
        MODEL
        + '      "1": {saved_model: {model: m, version: "2"}}\n'
        + '      "2": {saved_model: {model: m, version: "3"}}\n'
        + '      "3": {saved_model: {model: m, version: "1"}}\n',
        ["a cycle: m@1 needs m@2 needs m@3 needs m@1", "m@2 (gdcbuild.yaml:12:7) needs"],
    ),
    "path that points outside": (
        MODEL + '      "1": {keras: ../model.keras}\n',
        ["gdcbuild.yaml:11:20: error: '../model.keras' points outside the workspace"],
    ),
    "absolute path": (
        MODEL + '      "1": {keras: /etc/passwd}\n',
        ["gdcbuild.yaml:11:20: error: '/etc/passwd' is an absolute path"],
    ),
    "symlink that points outside": (
        MODEL + '      "1": {keras: link.keras}\n',
        ["gdcbuild.yaml:11:20: error: 'link.keras' is a symlink that points outside the workspace"],
    ),
    "neither file nor folder": (
        MODEL + '      "1": {keras: pipe.keras}\n',
        ["gdcbuild.yaml:11:20: error: 'pipe.keras' is neither a file nor a folder"],
    ),
    "version TensorFlow Serving skips": (
        MODEL + '      "v1": {keras: model.keras}\n      "07": {keras: model.keras}\n',
        ["gdcbuild.yaml:11:7: error: TensorFlow Serving", "gdcbuild.yaml:12:7: error: TensorFlow Serving", 'write "7"'],
    ),
    "unknown reference": (
        MODEL + '      "1": {saved_model: {step: nope, path: x/}}\n      "2": {saved_model: {model: m, version: "9"}}\n',
        ["gdcbuild.yaml:11:26: error: unknown step 'nope'", "gdcbuild.yaml:12:26: error: model 'm' has no version '9'"],
    ),
    "unpinned toolchain": (
        HEAD.replace("{image: tf2-cpu.2-18}", "{image: tf2-cpu.2-18, toolchain: {requirements: requirements.txt}}"),
        ["requirements.txt:1:1: error: 'numpy>=1' is not pinned to an exact version", "NAME==VERSION"],
    ),
    "unset variable": (
        MODEL + '      "1": {keras: "${env.NOT_SET_ANYWHERE}"}\n',
        ["gdcbuild.yaml:11:20: error: the environment variable NOT_SET_ANYWHERE is not set"],
    ),
    "values of the wrong kind": (
        HEAD + "models: []\nvars: {a: [1]}\nsteps: {s: {run: [], outputs: [x], env: yes-please}}\n",
        [
            "gdcbuild.yaml:7:1: error: models: expected a mapping",
            "gdcbuild.yaml:8:8: error: a: expected a string, a number, or true or false",
            "gdcbuild.yaml:9:13: error: run: is empty; expected at least one item",
            "gdcbuild.yaml:9:36: error: env: expected a list",
        ],
    ),
    "version that is not a valid name": (
        MODEL + "      a/b: {keras: model.keras}\n",
        ["gdcbuild.yaml:11:7: error: 'a/b' is not a valid name"],
    ),
    "bucket whose variable is empty": (
        HEAD.replace("{bucket: bucket}", '{bucket: "${env.EMPTY}"}'),
        ["gdcbuild.yaml:3:11: error: the bucket is empty", "if it comes from a variable, correct that"],
    ),
    "bucket that is the workspace": (
        HEAD.replace("{bucket: bucket}", "{bucket: bucket/..}"),
        [
            "gdcbuild.yaml:3:11: error: the bucket 'bucket/..' is the workspace itself, or contains it",
            "choose a separate folder",
        ],
    ),
    "bucket that contains the workspace": (
        HEAD.replace("{bucket: bucket}", "{bucket: ../}"),
        ["gdcbuild.yaml:3:11: error: the bucket '../' is the workspace itself, or contains it"],
    ),
    "bucket that a link leads to the workspace": (
        HEAD.replace("{bucket: bucket}", "{bucket: here}"),
        ["gdcbuild.yaml:3:11: error: the bucket 'here' is the workspace itself, or contains it"],
    ),
    "command that is empty": (
        HEAD + 'steps:\n  s:\n    run: ["${env.EMPTY}"]\n    outputs: [x]\n',
        ["gdcbuild.yaml:9:5: error: the command is empty", "run: [COMMAND"],
    ),
    "unknown pool": (
        HEAD + "pools: {gpu: 1}\nsteps:\n  s:\n    run: [sh]\n    outputs: [x]\n    pool: gpus\n",
        ["gdcbuild.yaml:12:5: error: unknown pool 'gpus'", "did you mean 'gpu'?"],
    ),
    "pool without room": (
        HEAD + "pools: {gpu: 0}\nsteps:\n  s:\n    run: [sh]\n    outputs: [x]\n    pool: gpu\n",
        ["gdcbuild.yaml:7:9: error: gpu: expected at least 1", "write 1 or more"],
    ),
    "NUL in a variable": (
        HEAD + 'vars: {x: "a\\0b"}\nsteps:\n  s:\n    run: [sh, "${vars.x}"]\n    outputs: [x]\n',
        ["gdcbuild.yaml:7:11: error: NUL characters are not allowed", "remove it"],
    ),
    "NUL in a bucket": (
        HEAD.replace("{bucket: bucket}", '{bucket: "a\\0b"}'),
        ["gdcbuild.yaml:3:19: error: NUL characters are not allowed"],
    ),
    "bucket that is invalid": (
        HEAD.replace("{bucket: bucket}", '{bucket: "gs://x"}'),
        ["gdcbuild.yaml:3:11: error: 'gs://x' is not a bucket", "write s3://NAME"],
    ),
    "bucket with a backslash": (
        HEAD.replace("{bucket: bucket}", "{bucket: 'C:\\models'}"),
        ["gdcbuild.yaml:3:11: error: 'C:\\\\models' is not a bucket", "a folder path with /"],
    ),
    "bucket that no client takes": (
        HEAD.replace("{bucket: bucket}", "{bucket: 's3://my bucket'}"),
        ["gdcbuild.yaml:3:11: error: 's3://my bucket' is not a bucket"],
    ),
    "bucket whose name S3 does not take": (
        HEAD.replace("{bucket: bucket}", "{bucket: s3://Foo_Bar}"),
        ["gdcbuild.yaml:3:11: error: 's3://Foo_Bar' is not a bucket", "lowercase letters, digits"],
    ),
    "bucket with a prefix that goes up": (
        HEAD.replace("{bucket: bucket}", "{bucket: s3://abc/../x}"),
        ["gdcbuild.yaml:3:11: error: 's3://abc/../x' is not a bucket", "without . and .."],
    ),
    "bucket at home": (
        HEAD.replace("{bucket: bucket}", "{bucket: ~/models}"),
        ["gdcbuild.yaml:3:11: error: '~/models' is not a bucket", 'write "${env.HOME}/models"'],
    ),
    "bucket with one slash": (
        HEAD.replace("{bucket: bucket}", "{bucket: 's3:/models'}"),
        ["gdcbuild.yaml:3:11: error: 's3:/models' is not a bucket", "write s3://models"],
    ),
    "bucket by a variable that is invalid": (
        HEAD.replace("{bucket: bucket}", '{bucket: "${env.TYPO}"}'),
        ["gdcbuild.yaml:3:11: error: 's3:/models' is not a bucket", "write s3://models"],
    ),
    "default environment that is unknown": (
        HEAD.replace("environments:", "default_environment: lokal\nenvironments:"),
        ["gdcbuild.yaml:2:1: error: unknown environment 'lokal'", "did you mean 'local'?"],
    ),
    "CA file that is not there": (
        HEAD.replace("environments:", "environments:\n  prod: {bucket: s3://abc, ca_file: no.pem}"),
        ["gdcbuild.yaml:3:28: error: there is no file 'no.pem'"],
    ),
    "variable that is nearly out": (
        HEAD + 'steps:\n  s:\n    run: [sh, "${oot}/x"]\n    outputs: [x]\n',
        ["gdcbuild.yaml:9:15: error: unknown variable ${oot}", "did you mean ${out}?"],
    ),
    "variable without vars": (
        HEAD + 'vars: {units: 1}\nsteps:\n  s:\n    run: [sh, "${units}/x"]\n    outputs: [x]\n',
        ["gdcbuild.yaml:10:15: error: unknown variable ${units}", "did you mean ${vars.units}?"],
    ),
    "region that is invalid": (
        HEAD.replace("{bucket: bucket}", "{bucket: bucket, region: us east}"),
        ["gdcbuild.yaml:3:27: error: 'us east' is not a region", "such as us-east-1"],
    ),
    "CA file whose name is empty": (
        HEAD.replace("{bucket: bucket}", "{bucket: bucket, ca_file: ''}"),
        ["gdcbuild.yaml:3:27: error: the ca_file is empty", "name a PEM file"],
    ),
    "letters in another Unicode form": (
        MODEL + '      "1": {keras: "u\\u0308.keras"}\n',
        ["gdcbuild.yaml:11:20: error: there is no file", 'or write "\\xfc.keras"'],
    ),
    "Windows path": (
        MODEL + "      \"1\": {keras: 'sm\\k.keras'}\n",
        ["gdcbuild.yaml:11:20: error: 'sm\\\\k.keras' has a backslash", "write 'sm/k.keras'"],
    ),
    "glob where one file is expected": (
        MODEL + '      "1": {keras: "*.keras"}\n',
        ["gdcbuild.yaml:11:20: error: there is no file '*.keras'", "globs are allowed only in lists"],
    ),
    "file used as a folder": (
        MODEL + '      "1": {keras: model.keras/x.keras}\n',
        ["gdcbuild.yaml:11:20: error: there is no file 'model.keras/x.keras'", "'model.keras' is not a folder"],
    ),
    "release without quotes": (
        HEAD.replace("{image: tf2-cpu.2-18}", "{image: x, kind: tensorflow, version: 2.10}"),
        ["gdcbuild.yaml:5:36: error: 2.10 is a number; expected a string", 'write "2.10"'],
    ),
    "colon forgotten": (
        HEAD.replace("  tf: {", "  tf {"),
        ["gdcbuild.yaml:5:3: error: 'tf {image' is not a valid name", "write a colon: tf: {"],
    ),
    "framework in defaults": (
        HEAD + "defaults: {pytorch: {framework: pt}}\n",
        ["gdcbuild.yaml:7:22: error: `framework` has no effect in defaults"],
    ),
    "not YAML": ("schema: 1\nmodels: {a: [}\n", ["gdcbuild.yaml:2:14: error: not valid YAML"]),
    "empty": ("", ["gdcbuild.yaml:1:1: error: the manifest is empty", "start with `schema: 1`"]),
    "not UTF-8": ("schema: 1\n# \udcff\n", ["gdcbuild.yaml:2:1: error: not UTF-8"]),
}


@pytest.fixture
def prepared(workspace: Workspace) -> Workspace:
    workspace.write({"ü.keras": b"k"})
    workspace.write({"model.keras": b"k", "sm/saved_model.pb": b"p", "requirements.txt": "numpy>=1\n"})
    _fifo(workspace.root)
    _leaving_link(workspace.root)
    (workspace.root / "here").symlink_to(workspace.root)
    workspace.variables.update(EMPTY="", TYPO="s3:/models")
    return workspace


@pytest.mark.parametrize("name", CASES)
def test_each_mistake_is_reported_with_its_place(prepared: Workspace, name: str) -> None:
    manifest, expected = CASES[name]
    prepared.write({"gdcbuild.yaml": manifest.encode("utf-8", "surrogateescape")})
    result = prepared.run("apply")
    assert result.code == 65, result.err
    assert "Traceback" not in result.err
    assert result.out == ""
    for text in expected:
        assert text in result.err
    assert not (prepared.root / "bucket").exists()


@pytest.mark.parametrize("name", ["default environment that is unknown", "CA file that is not there", "bucket at home"])
def test_validate_checks_environments_that_are_not_chosen(prepared: Workspace, name: str) -> None:
    manifest, expected = CASES[name]
    prepared.write({"gdcbuild.yaml": manifest})
    result = prepared.run("validate")
    assert (result.code, expected[0] in result.err) == (65, True), result.err


def test_versions_that_are_invalid_names_even_in_quotes(prepared: Workspace) -> None:
    """One error each, which says what can be written."""
    versions = ("-1", "+1", "~", ".inf", "12:30:45")
    prepared.write({"gdcbuild.yaml": MODEL + "".join(f"      {version}: {{keras: model.keras}}\n" for version in versions)})
    result = prepared.run("validate")
    assert (result.code, result.err.count(" error: ")) == (65, len(versions)), result.err
    for version in versions:
        assert f" error: {version} is not quoted, and YAML reads it as" in result.err
    assert 'write another name in quotes, such as "12-30-45": letters, digits' in result.err


def test_all_mistakes_in_one_run(prepared: Workspace) -> None:
    manifest = MODEL + '      10: {keras: model.keras}\n      "2": {keras: nope.keras}\n      "3": {kers: model.keras}\n'
    manifest += '  n:\n    framework: tff\n    versions: {"1": {keras: model.keras}}\n'
    prepared.write({"gdcbuild.yaml": manifest, "two.yaml": "schema: 1\nmodles: {}\n"})
    prepared.write({"gdcbuild.yaml": manifest + "include: [two.yaml]\n"})
    result = prepared.run("validate")
    places = [line.split(": error:")[0] for line in result.err.splitlines() if ": error:" in line]
    assert places == ["gdcbuild.yaml:11:7", "gdcbuild.yaml:12:20", "gdcbuild.yaml:13:13", "gdcbuild.yaml:15:16", "two.yaml:2:1"]
    assert result.code == 65


HANDLED = HEAD + "models:\n  m:\n    framework: pt\n    handler: base_handler\n    versions:\n"


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("{weights: w.pt, files: [{from: lab/, to: ./}]}", "{from: labels/, to: dirlink/}"),
        ("{weights: w.pt, files: ['lab/**']}", "{from: labels/, to: dirlink/}"),
        ("{export: {function: 'a:b', files: [lab/]}}", "{from: labels/, to: lab/dirlink/}"),
        ("{weights: {step: s, path: w.pt}}", "{from: labels/, to: lab/dirlink/}"),
        ("{framework: tf, saved_model: lab/}", "or put the folder itself there"),
    ],
)
def test_a_symlink_to_a_folder_is_refused(workspace: Workspace, source: str, hint: str) -> None:
    steps = "steps:\n  s: {run: [sh, -c, x], inputs: [lab/], outputs: [w.pt]}\n" if "step:" in source else ""
    source = f"{source[:-1]}, handler: base_handler}}" if "framework" not in source else source
    manifest = HANDLED.replace("    handler: base_handler\n", "") + f'      "1": {source}\n' + steps
    workspace.write({"gdcbuild.yaml": manifest, "w.pt": b"w", "lab/a.txt": "a", "labels/b.txt": "b"})
    (workspace.root / "lab/dirlink").symlink_to("../labels")
    result = workspace.run("validate")
    assert result.code == 65, result.err
    assert "'lab/dirlink' is a symlink to the folder 'labels': such links are not followed" in result.err
    assert hint in result.err


def test_settings_that_torchserve_ignores_are_reported_at_their_keys(workspace: Workspace) -> None:
    config = '    config:\n      batchSize: "8"\n      parallelType: pp\n      maxWorkers: -1\n      maxBatchDely: 3\n'
    manifest = HANDLED.replace("    versions:", config + "    versions:") + '      "1": {weights: w.pt}\n'
    workspace.write({"gdcbuild.yaml": manifest, "w.pt": b"w"})
    result = workspace.run("validate")
    assert result.code == 65
    for text in (
        "gdcbuild.yaml:12:7: error: config: batchSize is '8'",
        "gdcbuild.yaml:13:7: error: config: parallelType is pp",
        "gdcbuild.yaml:14:7: error: config: maxWorkers is -1",
    ):
        assert text in result.err
    assert "maxBatchDely" not in result.err, "a handler may read it"


def test_a_misspelt_setting_gives_a_warning_when_built(workspace: Workspace) -> None:
    config = "    config: {BatchSize: 4, minWorkers: 0, maxWorkers: 1}\n"
    manifest = HANDLED.replace("base_handler", "h").replace("    versions:", config + "    versions:")
    manifest += "      '1': {weights: w.pt}\nhandlers: {h: {file: h.py}}\n"
    workspace.write({"gdcbuild.yaml": manifest, "w.pt": b"w", "h.py": HANDLER})
    result = workspace.ok("build")
    for text in (
        "gdcbuild.yaml:13:7: warning: m@1: model-config.yaml: TorchServe does not know BatchSize, and leaves it to the handler",
        "did you mean batchSize?",
        "model-config.yaml: minWorkers is 0; TorchServe uses 1 instead",
    ):
        assert text in result.err


def test_files_that_replace_modules_of_the_server_are_reported_where_they_are_named(workspace: Workspace) -> None:
    manifest = HANDLED.replace("base_handler", "h") + "      '1': {weights: w.pt, files: [lib/*.py, labels.txt]}\n"
    files = {"lib/types.py": "", "lib/ours.py": "", "labels.txt": "", "random.py": HANDLER}
    workspace.write({"gdcbuild.yaml": manifest + "handlers: {h: {file: random.py}}\n", "w.pt": b"w", **files})
    result = workspace.run("validate")
    assert result.code == 65
    for text in (
        "gdcbuild.yaml:12:36: error: types.py would replace the module `types` that TorchServe's worker imports",
        "move it to a folder and import it from there: {from: .../types.py, to: lib/}",
        "gdcbuild.yaml:13:22: error: random.py would replace the module `random`",
    ):
        assert text in result.err


def test_a_notebook_is_not_a_handler(workspace: Workspace) -> None:
    manifest = HANDLED.replace("base_handler", "h") + "      '1': {weights: w.pt}\nhandlers: {h: {file: h.ipynb}}\n"
    workspace.write({"gdcbuild.yaml": manifest, "w.pt": b"w", "h.ipynb": "{}"})
    result = workspace.run("validate")
    assert result.code == 65
    assert "the handler h.ipynb is not a Python file" in result.err
    assert "jupyter nbconvert --to script h.ipynb" in result.err


NOT_PARSED = (
    HANDLED.replace("base_handler", "h")
    + """\
      "1": {weights: w.pt, model_file: lib/net.py, config: c.yaml}
  other:
    framework: pytorch-cpu.2-4
    handler: h
    versions:
      "1": {weights: w.pt}
handlers:
  h: {file: h.py}
"""
)
BROKEN = {"h.py": "def handle(data:\n", "lib/net.py": "x = 1\nreturn x\n", "c.yaml": "minWorkers: 1\nbatchSize: [\n"}


@pytest.mark.parametrize("command", ["validate", "plan", "build", "apply"])
def test_files_that_do_not_parse_are_reported_before_anything_is_built(workspace: Workspace, command: str) -> None:
    workspace.write({"gdcbuild.yaml": NOT_PARSED, "w.pt": b"w", **BROKEN})
    result = workspace.run(command)
    assert result.code == 65, result.err
    for text in (
        "h.py:1:11: error: '(' was never closed",
        "lib/net.py:2:1: error: 'return' outside function",
        "c.yaml:3:1: error: invalid YAML",
        f"newer Python than 3.{sys.version_info.minor}",
    ):
        assert text in result.err
    assert result.err.count("error: ") == len(BROKEN), "each file once, however many use it"
    assert workspace.served() == {}


def test_files_that_do_not_parse_stop_only_what_needs_them(workspace: Workspace) -> None:
    workspace.write({"gdcbuild.yaml": NOT_PARSED, "w.pt": b"w", **BROKEN, "h.py": HANDLER})
    workspace.ok("apply", "other")
    workspace.ok("plan", "other")
    assert workspace.run("plan").code == 65
    workspace.ok("status")
    workspace.write({"lib/net.py": "class Net: ...\n", "c.yaml": "batchSize: 1\n"})
    workspace.ok("plan")


def test_every_mistake_in_a_version_is_reported(workspace: Workspace) -> None:
    manifest = HANDLED.replace("base_handler", "h") + (
        "      '1':\n        weights: no1\n        model_file: no2\n        config: no3\n"
        "        files: [no4, ../x, '*.md', /abs, lab/, {from: no5, to: x}, {step: t, path: x}]\n"
        "      '2': {export: {files: [no6], data: [no7]}, compression: zip, files: [no8]}\n"
        "      '3': {weights: w.pt, weigths: w.pt, files: [no9]}\n"
        "handlers: {h: {file: no10, files: [no11, no12], requirements: no13}}\n"
        "steps: {s: {run: [''], inputs: [no14, no15], outputs: [../a], framework: f, pool: p, env: [A=B]}}\n"
    )
    workspace.write({"gdcbuild.yaml": manifest, "w.pt": b"w", "lab/a": ""})
    result = workspace.run("validate")
    assert result.code == 65
    for number in range(1, 16):
        assert f"there is no file 'no{number}'" in result.err
    for said in (
        *(
            "'../x' points outside",
            "'*.md' matches no",
            "'/abs' is an absolute",
            "'lab/' is a folder",
            "unknown step 't'",
            "'zip' is not",
        ),
        *(
            "unknown key 'weigths'",
            "command is empty",
            "'../a' points outside",
            "unknown framework 'f'",
            "unknown pool 'p'",
            "'A=B' is not a valid variable name",
        ),
    ):
        assert result.err.count(said) == 1, said
    assert result.err.count(": error: ") == 15 + 12, "and nothing that follows from another one"


def test_a_mistake_in_the_framework_hides_no_other(workspace: Workspace) -> None:
    manifest = HANDLED.replace("framework: pt", "framework: ptt") + '      "1": {weights: no1}\n'
    workspace.write({"gdcbuild.yaml": manifest + "  n: {frameork: pt, versions: {'1': {weights: no2}}}\n"})
    result = workspace.run("validate")
    assert [line for line in result.err.splitlines() if ": error: " in line] == [
        "gdcbuild.yaml:9:16: error: unknown framework 'ptt'",
        "gdcbuild.yaml:12:22: error: there is no file 'no1'",
        "gdcbuild.yaml:13:7: error: unknown key 'frameork'",
        "gdcbuild.yaml:13:47: error: there is no file 'no2'",
    ]


@pytest.mark.parametrize(
    "value",
    [
        '"${env.NOT_SET}"',
        '"${env.NOT_SET}/x"',
        '"${vars.nope}"',
        '"${nope}"',
        "yes",
        "*x",
        "!!str a",
        '"a\\0b"',
        '"${vars.bad}"',
    ],
)
@pytest.mark.parametrize(
    "manifest",
    [
        HANDLED + '      "1": {weights: %s}\n',
        HANDLED + '      "1": {weights: w.pt, files: [w.pt, %s]}\n',
        HANDLED + '      "1": {weights: w.pt, compression: %s}\n',
        HANDLED + '      "1": {weights: {step: s, path: %s}}\nsteps: {s: {run: [a], outputs: [b]}}\n',
        HANDLED + '      "1": {weights: {step: s, path: b}}\nsteps: {s: {run: [a], outputs: [%s]}}\n',
        HANDLED + '      "1": {export: {function: %s}}\n',
        HANDLED.replace("base_handler", "%s") + '      "1": {weights: w.pt}\n',
        HANDLED.replace("framework: pt", "framework: %s") + '      "1": {weights: w.pt}\n',
        HANDLED.replace("pytorch-cpu.2-4", "%s") + '      "1": {weights: w.pt}\n',
        HANDLED.replace("base_handler", "h") + '      "1": {weights: w.pt}\nhandlers: {h: {file: %s}}\n',
        HEAD + "steps: {s: {run: [%s], outputs: [b]}}\n",
        HEAD + "steps: {s: {run: [a], outputs: [b], pool: %s}}\n",
        HEAD + "defaults: {pytorch: {handler: %s}}\nmodels: {m: {framework: pt, versions: {'1': {weights: w.pt}}}}\n",
    ],
)
def test_one_problem_for_one_mistake(tmp_path: Path, manifest: str, value: str) -> None:
    """A refused value is not reported again, nor what is missing without it."""
    bad = "vars: {bad: [1]}\n" if "bad" in value else ""
    (tmp_path / "gdcbuild.yaml").write_text(manifest % value + bad)
    (tmp_path / "w.pt").write_text("w")
    with pytest.raises(ManifestError) as caught:
        lower(load(tmp_path / "gdcbuild.yaml", {}, FRAMEWORKS), images.known())
    (problem,) = caught.value.problems
    assert problem.hint and problem.where and problem.where.line


def test_an_unused_handler_is_checked_too(workspace: Workspace) -> None:
    handlers = "handlers: {a: {file: no.py, files: [nor]}, b: {file: ':f'}, c: {file: 'h.py:'}}\n"
    workspace.write({"gdcbuild.yaml": HEAD + handlers, "h.py": ""})
    result = workspace.run("validate")
    assert (result.code, result.err.count("error: ")) == (65, 4), result.err
    for said in (
        "no file 'no.py'",
        "no file 'nor'",
        "':f' is not FILE or FILE:FUNCTION",
        "'h.py:' is not FILE or FILE:FUNCTION",
    ):
        assert said in result.err


def test_a_variable_that_is_not_utf_8(workspace: Workspace) -> None:
    workspace.variables["ODD"] = "a\udcff"
    run = 'steps: {s: {run: [sh, -c, "%s"], outputs: [x], env: [ODD]}}\n'
    manifest = HANDLED + '      "1": {weights: {step: s, path: x}}\n'
    workspace.write({"gdcbuild.yaml": manifest + run % "${env.ODD}"})
    result = workspace.run("validate")
    assert (result.code, "gdcbuild.yaml:13:27: error: the environment variable ODD is not UTF-8" in result.err) == (65, True)
    workspace.write({"gdcbuild.yaml": manifest + run % "echo $ODD > ${out}/x"})
    workspace.ok("build", "--exclude", "m")
    workspace.ok("explain", "m@1")


@pytest.mark.parametrize("output", ["/abs", "../a", "./"])
def test_a_bad_output_is_reported_at_its_step(workspace: Workspace, output: str) -> None:
    manifest = HANDLED + '      "1": {weights: {step: s, path: w.pt}}\n'
    workspace.write({"gdcbuild.yaml": manifest + f"steps: {{s: {{run: [a], outputs: [{output}]}}}}\n"})
    result = workspace.run("validate")
    assert (result.code, result.err.count("error: "), "gdcbuild.yaml:13:33: " in result.err) == (65, 1, True), result.err


def test_a_variable_of_the_chosen_environment_is_reported_once(workspace: Workspace) -> None:
    workspace.write({"gdcbuild.yaml": HEAD.replace("bucket: bucket", 'bucket: "${env.NOT_SET}", region: "${env.NOR_THIS}"')})
    result = workspace.run("plan")
    assert (result.code, result.err.count("error: ")) == (65, 2), result.err


@pytest.mark.parametrize(
    ("given", "said", "hint"),
    [
        ("lab/", "'lab/' is a folder; expected a file", "write {from: lab/, to: ./} for all its files, or to: lab/"),
        ("lab", "'lab' is a folder; expected a file", "write {from: lab/, to: ./} for all its files, or to: lab/"),
        ("./", "'./' is a folder; expected a file", "name the files in it"),
        ("'l*'", "the glob matches the folder 'lab', whose files would be left out", "write {from: lab/, to: ./}"),
        ("'lab/*'", "the glob matches the folder 'lab/deep', whose files", "narrow the glob; write {from: lab/deep/, to: ./}"),
        ("{from: a.txt, to: 'x\\y'}", "'x\\\\y' has a backslash", "write 'x/y'"),
    ],
)
def test_folders_in_an_archive(workspace: Workspace, given: str, said: str, hint: str) -> None:
    workspace.write({"gdcbuild.yaml": HANDLED + f'      "1": {{weights: w.pt, files: [{given}]}}\n'})
    workspace.write({"w.pt": b"w", "a.txt": "", "lab/a.txt": "a", "lab/deep/b.txt": "b"})
    result = workspace.run("validate")
    assert (result.code, result.err.count("error: ")) == (65, 1), result.err
    assert said in result.err
    assert hint in result.err


def test_hints_for_folders_are_valid(workspace: Workspace) -> None:
    given = "{from: lab/, to: ./}, {from: lab/, to: lab/}, 'lab/**', {from: w.pt, to: ./}"
    workspace.write({"gdcbuild.yaml": HANDLED + f'      "1": {{weights: w.pt, files: [{given}]}}\n'})
    workspace.write({"w.pt": b"w", "lab/a.txt": "a", "lab/deep/b.txt": "b"})
    workspace.ok("validate")


def test_a_password_in_an_endpoint_is_not_shown(workspace: Workspace) -> None:
    workspace.write({"gdcbuild.yaml": HEAD.replace("bucket: bucket", 'bucket: b, endpoint: "https://me:secret@host:99999"')})
    result = workspace.run("plan")
    assert (result.code, "secret" in result.err) == (65, False)
    assert "'https://***@host:99999' is not an endpoint" in result.err


def test_nested_settings_are_reported_at_their_keys(workspace: Workspace) -> None:
    config = "    config:\n      parallelType: tp\n      torchrun:\n        nnodes: 1\n        node-rank: x\n"
    workspace.write(
        {"gdcbuild.yaml": HANDLED.replace("    versions:", config + "    versions:") + '      "1": {weights: w.pt}\n'}
    )
    workspace.write({"w.pt": b"w"})
    assert "gdcbuild.yaml:15:9: error: config: torchrun.node-rank is 'x'" in workspace.run("validate").err


def test_a_number_in_quotes_and_a_version_given_twice(workspace: Workspace) -> None:
    manifest = MODEL + '      "1": {keras: m.keras}\n      1: {keras: m.keras}\n'
    workspace.write({"gdcbuild.yaml": manifest.replace("schema: 1", 'schema: "1"'), "m.keras": b"k"})
    result = workspace.run("validate")
    assert result.code == 65
    assert "write it without quotes: 1" in result.err
    assert "?" not in result.err


def test_a_root_manifest_that_is_not_a_file(workspace: Workspace) -> None:
    (workspace.root / "loop").symlink_to("loop")
    (workspace.root / "folder").mkdir()
    os.mkfifo(workspace.root / "pipe")
    for name, said in {"loop": "broken symlink", "folder": "is a folder", "pipe": "is not a regular file"}.items():
        result = workspace.run("validate", "-f", name)
        assert (result.code, said in result.err) == (64, True), result.err


def test_every_mistake_in_what_a_step_declares(workspace: Workspace) -> None:
    step = "steps:\n  s: {run: [sh], outputs: [x, x/y, ./, ../a, ../b, d/, d/e], env: [A-B, OK, 1X]}\n"
    workspace.write({"gdcbuild.yaml": HEAD + step})
    result = workspace.run("validate")
    assert result.code == 65
    assert result.err.count("gdcbuild.yaml:8:") == 6, result.err
    for text in (
        "'x' and 'x/y' are a file and a folder",
        "'./' is the output folder itself",
        "'../a'",
        "'../b'",
        "'A-B' is not a valid variable name",
        "'1X' is not a valid variable name",
    ):
        assert text in result.err


@pytest.mark.parametrize(
    "given",
    ['bucket: "s3://"', 'bucket: b, endpoint: "127.0.0.1:5998"', 'bucket: b, endpoint: "http://x y"', "bucket: ftp://x"],
)
def test_invalid_buckets_and_endpoints(workspace: Workspace, given: str) -> None:
    workspace.write({"gdcbuild.yaml": HEAD.replace("bucket: bucket", given)})
    result = workspace.run("validate")
    assert (result.code, "gdcbuild.yaml:3:" in result.err, " is not a" in result.err) == (65, True, True), result.err


def test_two_models_with_one_id(workspace: Workspace) -> None:
    part = 'schema: 1\nmodels:\n  m:\n    framework: tf2-cpu.2-18\n    versions: {"1": {keras: m.keras}}\n'
    workspace.write({"gdcbuild.yaml": HEAD + "include: [a/g.yaml, b/g.yaml]\n", "a/g.yaml": part, "b/g.yaml": part})
    workspace.write({"a/m.keras": b"k", "b/m.keras": b"k"})
    result = workspace.run("validate")
    assert result.code == 65
    assert "b/g.yaml:3:3: error: two models have the id 'm'; the other is at a/g.yaml:3:3" in result.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["plan", "--nope"], "No such option"),
        (["nope"], "No such command"),
        (["plan", "unknown-model"], "'unknown-model' matches no version"),
        (["plan", "--env", "prod"], "unknown environment 'prod'"),
        (["plan", "-j"], "No such option"),
        (["apply", "-j", "0"], "greater than or equal to 1"),
        (["plan", "-C", "nowhere"], "there is no folder nowhere"),
        (["clean"], "error: No such command 'clean'.\n    gdcbuild cache gc"),
        (["destroy"], "Retire a version"),
        (["apply", "-auto-approve"], "--yes skips the question"),
        (["plan", "-out", "x"], "plans are not saved"),
        (["init", "-upgrade"], "init writes a first manifest"),
        (["plan", "-f", "nope.yaml"], "there is no file nope.yaml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_exits_64(workspace: Workspace, arguments: list[str], expected: str) -> None:
    workspace.write({"gdcbuild.yaml": MODEL + '      "1": {saved_model: sm/}\n', "sm/saved_model.pb": b"p"})
    result = workspace.run(*arguments)
    assert (result.code, expected in result.err) == (64, True), result.err


def test_no_manifest(workspace: Workspace) -> None:
    result = workspace.run("plan")
    assert result.code == 64
    assert "gdcbuild init" in result.err


def test_found_in_a_folder_above(workspace: Workspace) -> None:
    workspace.write({"gdcbuild.yaml": MODEL + '      "1": {keras: no.keras}\n', "deep/er/x": b""})
    result = workspace.run("validate", cwd="deep/er")
    assert "../../gdcbuild.yaml:11:20: error:" in result.err


def test_a_bucket_in_a_folder_that_is_packed_is_refused(workspace: Workspace) -> None:
    manifest = (
        "schema: 1\nenvironments: {local: {bucket: lab}}\nmodels:\n  a:\n    framework: pytorch-cpu.2-4\n"
        "    handler: base_handler\n    files: [{from: lab/, to: ./}]\n    versions: {'1': {weights: w.pt}}\n"
    )
    workspace.write({"gdcbuild.yaml": manifest, "w.pt": "w", "lab/.gdcbuild/v1/claims/x": "", "lab/f": ""})
    result = workspace.run("validate")
    assert (result.code, "gdcbuild.yaml:7:" in result.err, "'lab' contains a bucket" in result.err) == (65, True, True), (
        result.err
    )


def test_validating_needs_no_cache(workspace: Workspace) -> None:
    workspace.write({"gdcbuild.yaml": "schema: 1\nmodels: {}\n"})
    workspace.cache.parent.mkdir(parents=True, exist_ok=True)
    workspace.cache.write_text("no folder, and none can be made")
    assert workspace.ok("validate").err == "Valid: 0 models, 0 versions, 0 actions.\n"


@pytest.mark.parametrize(
    ("bucket", "message"), [("f", "the bucket 'f' is a file, not a folder"), ("f/deep", "the bucket 'f/deep' is below ")]
)
def test_a_file_where_the_buckets_folder_should_be(workspace: Workspace, bucket: str, message: str) -> None:
    """Also when a variable names it, which is looked at only when the environment is chosen."""
    workspace.write({"f": "x"})
    workspace.variables["BUCKET"] = bucket
    for written in (bucket, '"${env.BUCKET}"'):
        workspace.write({"gdcbuild.yaml": HEAD.replace("bucket: bucket", f"bucket: {written}")})
        for command in ("plan", "verify", "apply"):
            refused = workspace.run(command)
            assert (refused.code, f"gdcbuild.yaml:3:11: error: {message}" in refused.err) == (65, True), refused.err


def test_the_hint_names_the_only_handler(workspace: Workspace) -> None:
    manifest = HEAD + "handlers: {h: {file: h.py}}\nmodels: {m: {framework: pt, versions: {'1': {weights: w.pt}}}}\n"
    workspace.write({"w.pt": "w", "h.py": HANDLER, "gdcbuild.yaml": manifest})
    assert "add handler: h, or one of TorchServe's" in workspace.run("validate").err


def test_an_absolute_path_may_be_below_a_root(workspace: Workspace) -> None:
    workspace.write({"gdcbuild.yaml": MODEL + '      "1": {keras: /data/m.keras}\n'})
    assert "write it relative to this file; or declare its folder (roots: " in workspace.run("validate").err
