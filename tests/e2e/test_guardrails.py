"""Files that must not be published, through the command line: hostile archives, secrets, pickles, invalid weights."""

from __future__ import annotations

import bz2
import gzip
import json
import re
import zipfile
from pathlib import Path

import pytest

from gdcbuild.frameworks.torchserve.mar.writer import MANIFEST
from tests.e2e.test_s3 import KEYS
from tests.e2e.workspace import HANDLER, ONE_STEP, Workspace
from tests.unit.frameworks.test_tensorflow_contract import graph, model
from tests.unit.frameworks.test_torchserve_archive import HOSTILE
from tests.unit.frameworks.test_torchserve_pickles import tarred
from tests.unit.frameworks.zips import Entry, made

HEAD = "schema: 1\nenvironments:\n  local: {bucket: bucket}\n"
EAGER = """\
models:
  m:
    framework: pytorch-cpu.2-4
    handler: base_handler
    model_file: net.py
    versions:
      "1": {weights: w.pt}
"""
OWN = """\
handlers:
  h:
    file: handler.py
    files: [FILES]
models:
  m:
    framework: pytorch-cpu.2-4
    handler: h
    versions:
      "1": {weights: w.pt}
"""
ARCHIVE = """\
models:
  m:
    framework: pytorch-cpu.2-4
    versions: {"1": {mar: old.mar}}
"""
NET = "from torch import nn\n\n\nclass Net(nn.Module): ...\n"
STATE = made(Entry("w/data.pkl", b"\x80\2}q\0."), Entry("w/version", b"3\n"))
EVIL = made(Entry("w/data.pkl", b"\x80\2cos\nsystem\nU\1x\x85R."), Entry("w/version", b"3\n"))
KEY = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"

SAMPLE = [
    *("name: upwards", "name: absolute", "name: twice", "name: empty", "name: NUL", "name: name in the one header"),
    *("kind: link", "kind: encrypted", "kind: lzma", "size: bomb of zip64", "size: checksum", "size: torn", "place: nested"),
    *("place: hidden between", "place: after the end", "place: two ends", "end: directory of 4 GiB", "end: zip64 elsewhere"),
    *("manifest: none", "manifest: deep", "manifest: a key twice", "size: more after the deflated"),
]


def words(text: str) -> str:
    """The output without line breaks."""
    return " ".join(text.split())


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "workspace", tmp_path / "cache")
    made.write({"net.py": NET, "handler.py": HANDLER, "w.pt": STATE})
    return made


def test_hostile_archives_are_refused_with_the_reason(workspace: Workspace, tmp_path: Path) -> None:
    versions = [f'      "{n}": {{mar: {n}.mar}}' for n, _ in enumerate(SAMPLE)]
    workspace.write({f"{n}.mar": HOSTILE[case][0] for n, case in enumerate(SAMPLE)})
    workspace.write(
        {"gdcbuild.yaml": "\n".join([HEAD, "models:\n  m:\n    framework: pytorch-cpu.2-4\n    versions:", *versions])}
    )
    before = sorted(p for p in tmp_path.rglob("*") if p.is_file() and not p.is_relative_to(workspace.cache))
    done = workspace.run("apply", "-k")
    assert done.code == 1
    assert "Traceback" not in done.err
    for number, case in enumerate(SAMPLE):
        assert f"{number}.mar cannot be repacked" in words(done.err)
        assert HOSTILE[case][1] in words(done.err), case
    after = sorted(p for p in tmp_path.rglob("*") if p.is_file() and not p.is_relative_to(workspace.cache))
    assert after == before
    assert not (workspace.root / "bucket").exists() or not workspace.served()


@pytest.mark.parametrize(
    ("files", "secret", "content"),
    [
        ("extra/*", "extra/tls.key", KEY),
        ("extra/*", "extra/.env", "A=1\n"),
        ("extra/**", "extra/.aws/credentials", "[default]\n"),
        ("{from: extra/, to: extra/}", "extra/deep/id_rsa", "anything"),
        ("{from: extra/, to: extra/}", "extra/sa.json", '{"type": "service_account", "private_key": "x"}'),
        ("extra/*.json", "extra/project-0123456789ab.json", '{"type": "service_account", "private_key": "x"}'),
    ],
)
def test_secrets_are_refused_unless_named(workspace: Workspace, files: str, secret: str, content: str) -> None:
    workspace.write({"extra/labels.json": "[]", "extra/ca.pem": "-----BEGIN CERTIFICATE-----\n", secret: content})
    workspace.write({"gdcbuild.yaml": HEAD + OWN.replace("FILES", files)})
    for command in ("validate", "plan", "build"):
        done = workspace.run(command)
        assert done.code == 65
        assert f"gdcbuild.yaml:7:13: error: '{secret}'" in words(done.err)
        assert "looks like a secret" in done.err
        assert "name that file by itself" in words(done.err)
    workspace.write({"gdcbuild.yaml": HEAD + OWN.replace("FILES", secret)})
    workspace.ok("build")
    (workspace.root / secret).unlink()
    workspace.write({"gdcbuild.yaml": HEAD + OWN.replace("FILES", "extra/*.json")})
    workspace.ok("build")


def test_secrets_by_content_are_reported_before_anything_is_built(workspace: Workspace) -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"
    workspace.write({"extra/creds.ini": "[default]\naws_secret_access_key = wJalrXUtnFEMI\n", "extra/p8": key})
    workspace.write(
        {"extra/config.json": '{"auths": {"registry.example": {"auth": "dXNlcjpwYXNz"}}}', "extra/big": b"x" * 99999}
    )
    workspace.write({"gdcbuild.yaml": HEAD + OWN.replace("FILES", "{from: extra/, to: ./}")})
    for command in ("validate", "plan"):
        done = workspace.run(command)
        assert (done.code, done.err.count("looks like a secret")) == (65, 3), done.err


def test_every_secret_is_reported_at_once(workspace: Workspace) -> None:
    workspace.write({"extra/.env": "", "extra/id_rsa": "", "extra/a.txt": ""})
    workspace.write({"gdcbuild.yaml": HEAD + OWN.replace("FILES", "extra/*")})
    done = workspace.run("validate")
    assert done.err.count("looks like a secret") == 2


def test_secrets_in_a_saved_model_and_in_an_exports_files(workspace: Workspace) -> None:
    workspace.write({"sm/saved_model.pb": b"x", "sm/assets/.netrc": "", "code/net.py": NET, "code/.npmrc": ""})
    workspace.write(
        {
            "gdcbuild.yaml": HEAD
            + "models:\n  a:\n    framework: tf2-cpu.2-18\n    versions:\n"
            + '      "1": {saved_model: sm/}\n      "2": {export: {function: "net:f", files: [code/]}}\n'
        }
    )
    done = workspace.run("validate")
    assert done.code == 65
    assert "'sm/assets/.netrc', matched by 'sm/', looks like a secret: passwords" in words(done.err)
    assert "'code/.npmrc', matched by 'code/', looks like a secret: registry credentials" in words(done.err)


NOTES = "extra/notes.txt"
SWEPT = {
    "a glob": ("extra/*", NOTES),
    "a folder": ("{from: extra/, to: extra/}", NOTES),
    "a glob and by itself": ("extra/*", f"extra/*, {NOTES}"),
    "a step's folder": ("{step: s, path: made/}", "{step: s, path: made/notes.txt}"),
    "all of a step": ("{step: s}", "{step: s, path: made/notes.txt}"),
}
STEP = f"""\
steps:
  s:
    run: [cp, -r, extra, "${{out}}/made"]
    inputs: [{NOTES}]
    outputs: [made/]
"""


@pytest.mark.parametrize("case", SWEPT)
def test_a_key_under_an_innocent_name_is_refused_unless_named(workspace: Workspace, case: str) -> None:
    swept, by_itself = SWEPT[case]
    workspace.write({NOTES: KEY, "gdcbuild.yaml": HEAD + STEP + OWN.replace("FILES", swept)})
    for _ in range(2):
        done = workspace.run("apply")
        assert done.code == 1
        assert "notes.txt' looks like a secret: a private key" in words(done.err)
        assert "list that file on its own in the manifest" in words(done.err)
        assert "error" in done.err
    assert not (workspace.root / "bucket").exists() or not workspace.served()
    workspace.write({"gdcbuild.yaml": HEAD + STEP + OWN.replace("FILES", by_itself)})
    done = workspace.ok("apply")
    assert "notes.txt' looks like a secret: a private key" in words(done.err)
    assert "warning" in done.err
    assert list(workspace.served()) == ["m/1/model.mar"]
    workspace.write({"gdcbuild.yaml": HEAD + STEP + OWN.replace("FILES", swept)})  # the same bytes, no longer named
    assert workspace.run("build").code == 1


@pytest.mark.parametrize(("name", "content"), [("notes.txt", KEY), (".env", "A=1"), ("home/.aws/config", "[default]")])
def test_a_secret_in_an_existing_archive_is_refused(workspace: Workspace, name: str, content: str) -> None:
    described = {"modelName": "model", "modelVersion": "1", "handler": "h.py"}
    members = [Entry("h.py", HANDLER.encode()), Entry(name, content.encode())]
    manifest = Entry(MANIFEST, json.dumps({"runtime": "python", "model": described}).encode())
    workspace.write({"old.mar": made(*members, manifest)})
    workspace.write({"gdcbuild.yaml": HEAD + ARCHIVE})
    done = workspace.run("apply")
    assert done.code == 1
    assert f"m@1: '{name}' looks like a secret" in words(done.err)
    assert "remove it from the archive first" in words(done.err)
    assert not (workspace.root / "bucket").exists()
    workspace.write({"old.mar": made(members[0], manifest)})
    workspace.ok("apply")


def test_a_secret_among_a_saved_models_assets_is_refused(workspace: Workspace) -> None:
    workspace.write({"sm/saved_model.pb": model(graph(assets=["notes.txt"], saver=False)), "sm/assets/notes.txt": KEY})
    models = "models:\n  a:\n    framework: tf2-cpu.2-18\n    versions:\n" + '      "1": {saved_model: sm/}\n'
    workspace.write({"gdcbuild.yaml": HEAD + models})
    done = workspace.run("apply")
    assert done.code == 1
    assert "a@1: 'assets/notes.txt' looks like a secret: a private key" in words(done.err)
    assert not (workspace.root / "bucket").exists()
    workspace.write({"sm/assets/notes.txt": "cats\n"})
    workspace.ok("apply")


@pytest.mark.parametrize(("policy", "code"), [("", 0), ("policy: {pickle: allow}\n", 0), ("policy: {pickle: deny}\n", 1)])
def test_what_is_done_about_pickles_is_a_policy(workspace: Workspace, policy: str, code: int) -> None:
    workspace.write({"w.pt": EVIL, "gdcbuild.yaml": HEAD + policy + OWN.replace("FILES", "")})
    for _ in range(2):  # what was checked before is told again
        done = workspace.run("apply" if code else "build")
        assert done.code == code
        told = "m@1: w/data.pkl in w.pt: unpickling it imports os.system" in words(done.err)
        assert told == ("allow" not in policy)
        assert ("warning" in done.err) == (policy == "")
    assert not (workspace.root / "bucket").exists()


@pytest.mark.parametrize("name", ["extra.tar", "extra.tar.gz", "extra.zip"])
def test_pickles_are_found_in_packed_files(workspace: Workspace, name: str) -> None:
    tar = tarred(("labels.txt", b"x"), ("w.pt", EVIL))
    data = {"extra.tar": tar, "extra.tar.gz": gzip.compress(tar), "extra.zip": made(Entry("a.tgz", gzip.compress(tar)))}[name]
    workspace.write({name: data, "gdcbuild.yaml": f"{HEAD}policy: {{pickle: deny}}\n" + OWN.replace("FILES", name)})
    done = workspace.run("apply")
    assert done.code == 1
    place = f"a.tgz in {name}" if name == "extra.zip" else name
    assert f"w/data.pkl in w.pt in {place}: unpickling it imports os.system" in words(done.err)
    assert not (workspace.root / "bucket").exists()
    workspace.write({name: gzip.compress(tarred(("labels.txt", b"x"), ("w.pt", STATE)))})
    workspace.ok("apply")


def test_what_cannot_be_searched_for_pickles_is_refused(workspace: Workspace) -> None:
    """Pickles are found by content anywhere; a file that only starts like one is not reported."""
    sound = {"labels.bin": b"cat\ndog\n", "floats.bin": b"c\xa0\x3f\n\x8e\xbf\n\x3f" * 99, "x.tar.bz2": bz2.compress(tarred())}
    packed = {
        "one.txt": b"7z\xbc\xaf\x27\x1c\0\4" + bytes(24),
        "setup.sh": b"#!/bin/sh\nexit\n" + made(Entry("a.txt", b"x")),
        "more.tar": tarred(("a.pkl.lz4", b"\x04\x22\x4d\x18" + bytes(24))),
    }
    workspace.write(dict.fromkeys(packed, b"plain") | sound)
    workspace.write({"gdcbuild.yaml": f"{HEAD}policy: {{pickle: deny}}\n" + OWN.replace("FILES", ", ".join([*sound, *packed]))})
    workspace.ok("build")
    workspace.write(packed)
    done = workspace.run("build")
    assert done.code == 1
    for place, why in {
        "one.txt": "it is compressed with 7-Zip",
        "setup.sh": "it is a zip file with data before it",
        "a.pkl.lz4 in more.tar": "it is compressed with lz4",
    }.items():
        assert f"{place} cannot be searched for pickles: {why}" in words(done.err)


def test_another_policy_is_another_check(workspace: Workspace) -> None:
    for policy, code in (("warn", 0), ("deny", 1), ("allow", 0), ("deny", 1)):
        workspace.write({"w.pt": EVIL, "gdcbuild.yaml": f"{HEAD}policy: {{pickle: {policy}}}\n" + OWN.replace("FILES", "")})
        assert workspace.run("build").code == code


def test_a_policy_must_be_in_the_root_manifest(workspace: Workspace) -> None:
    workspace.write({"gdcbuild.yaml": HEAD + "include: [a/gdcbuild.yaml]\npolicy: {pickle: no}\n"})
    workspace.write({"a/gdcbuild.yaml": "schema: 1\npolicy: {pickle: deny}\n"})
    done = workspace.run("validate")
    assert "policy is not allowed in an included manifest" in done.err


NO_STATE = (1, "but TorchServe needs a state dict; TorchServe:")


@pytest.mark.parametrize(
    ("weights", "refused"),
    [
        (b"", (65, "'w.pt' is empty; models, weights and tokenizers never are")),
        (b"junk", NO_STATE),
        (STATE[:-20], NO_STATE),
        (b"\x80\2}.", NO_STATE),
    ],
)
def test_weights_that_are_none_are_not_published(workspace: Workspace, weights: bytes, refused: tuple[int, str]) -> None:
    workspace.write({"gdcbuild.yaml": HEAD + EAGER})
    workspace.ok("apply")
    published = workspace.snapshot("bucket")
    workspace.write({"w.pt": weights})
    done = workspace.run("apply")
    assert done.code == refused[0]
    assert refused[1] in words(done.err)
    assert workspace.snapshot("bucket") == published


def test_configuration_that_would_be_ignored_is_refused(workspace: Workspace) -> None:
    config = "    config: {batchSize: '8', parallelType: tp, minWorkers: 4, maxWorkers: 2}\n"
    workspace.write({"gdcbuild.yaml": HEAD + EAGER.replace("    versions", config + "    versions")})
    done = workspace.run("build")
    assert done.code == 65
    for said in (
        "batchSize is '8'; TorchServe would ignore it",
        "add torchrun: {nproc-per-node: N}",
        "minWorkers is 4 and maxWorkers is 2",
    ):
        assert said in words(done.err)


def test_a_valid_archive_of_another_tool_is_accepted(workspace: Workspace) -> None:
    manifest = {
        "runtime": "python",
        "model": {"modelName": "x", "modelVersion": "1", "handler": "h.py", "serializedFile": "w.pt"},
    }
    with zipfile.ZipFile(workspace.root / "old.mar", "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in (("h.py", HANDLER.encode()), ("w.pt", STATE), (MANIFEST, json.dumps(manifest).encode())):
            target.writestr(name, data)
    workspace.write({"gdcbuild.yaml": HEAD + ARCHIVE})
    workspace.ok("apply")
    assert list(workspace.served()) == ["m/1/model.mar"]


@pytest.mark.toolchain
def test_a_toolchain_is_what_its_file_pins(workspace: Workspace) -> None:
    """pip installs the newest version of what a pinned package needs, so that must be pinned too."""
    manifest = (
        ONE_STEP.replace('[sh, -c, "%s"]', "[python, make.py, '${out}/w.pt']")
        + """\
    inputs: [make.py]
    framework: pt
frameworks:
  pt: {image: pytorch-cpu.2-4, toolchain: {requirements: tools/r.txt}}
"""
    )
    make = "import jinja2, sys\nopen(sys.argv[1], 'w').write(jinja2.__version__)\n"
    workspace.write({"gdcbuild.yaml": manifest, "h.py": HANDLER, "make.py": make, "tools/r.txt": "jinja2==3.1.6\n"})
    refused = workspace.run("build")
    assert (refused.code, "Traceback" in refused.err) == (1, False)
    assert re.search(r"gdcbuild.yaml:19:\d+: error: tools/r.txt does not pin a package that pip installs", refused.err)
    lines = [line for line in refused.err.splitlines() if line.strip().startswith("markupsafe==")]
    assert len(lines) == 1
    workspace.write({"tools/r.txt": "\n".join(["jinja2==3.1.6", *lines])})  # as it is pasted
    workspace.ok("build")


IMMUTABLE = """\
schema: 1
environments: {prod: {bucket: bucket, immutable: true}}
handlers: {h: {file: h.py}}
models:
  fraud: {framework: pytorch-cpu.2-4, handler: h, versions: {"1": {weights: w.pt}}}
"""


def test_refused_publishes_nothing(workspace: Workspace) -> None:
    """An edited handler would change a published version: a new one beside it is not published either, and keeps its id."""
    workspace.write({"gdcbuild.yaml": IMMUTABLE, "h.py": HANDLER, "w.pt": "weights", "w2.pt": "other weights"})
    workspace.ok("apply")
    workspace.write(
        {"gdcbuild.yaml": IMMUTABLE.replace("w.pt}", 'w.pt}, "2": {weights: w2.pt}'), "h.py": HANDLER + "# edited\n"}
    )
    before = workspace.snapshot("bucket")
    for explained in ("unknown, ", "conflict, the published bytes differ"):
        assert f"fraud@1: {explained}" in workspace.ok("explain", "fraud").out
        result = workspace.run("apply", "-j", "1", "--json")
        assert result.code == 3
        assert workspace.snapshot("bucket") == before
        assert "fraud@1 is published and cannot change in prod" in result.err
    assert workspace.ok("explain", "fraud@1", "--json").json["changes"]["fraud@1"]["change"] == "conflict"
    result = workspace.run("apply", "-k", "--json")
    assert (result.code, result.jobs(what="publish")) == (3, ["fraud@2"])


def test_explain_needs_no_bucket(workspace: Workspace) -> None:
    files = {"h.py": HANDLER, "w.pt": "weights"}
    environments = "environments: {prod: {bucket: bucket, immutable: true}}\n"
    workspace.write({**files, "gdcbuild.yaml": IMMUTABLE.replace(environments, "")})
    assert workspace.ok("explain", "fraud").out.startswith("fraud@1:\n  ")
    unreachable = 'environments: {prod: {bucket: "s3://models", endpoint: "http://127.0.0.1:9"}}\n'
    workspace.write({**files, "gdcbuild.yaml": IMMUTABLE.replace(environments, unreachable)})
    workspace.variables = KEYS
    found = workspace.ok("explain", "fraud")
    assert (found.out.startswith("fraud@1:\n  "), "warning: " in found.err) == (True, True)
    assert workspace.run("explain", "fraud", "--env", "prod").code == 1
