"""What makes an action another one, and what does not: each thing changed by itself, through the command line."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.workspace import HANDLER, ONE_STEP, Result, Workspace

MANIFEST = """\
schema: 1
environments:
  local: {bucket: bucket}
frameworks:
  pt: {image: pytorch-cpu.2-4}
models:
  m:
    framework: pt
    handler: h
    config: {batchSize: 8, responseTimeout: 60}
    versions:
      "1": {weights: {step: s, path: w.pt}}
handlers:
  h: {file: h.py}
steps:
  s:
    run: [sh, -c, "cat data/* > ${out}/w.pt; echo $SEEN >> ${out}/w.pt"]
    inputs: [data/one.txt, data/two.txt]
    outputs: [w.pt]
    env: [SEEN]
"""
FILES = {"gdcbuild.yaml": MANIFEST, "h.py": HANDLER, "data/one.txt": "one", "data/two.txt": "two"}
BOTH = ["m@1", "step:s"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("keys")
    workspace = Workspace(folder / "workspace", folder / "cache", {"SEEN": "1"})
    workspace.write(FILES)
    workspace.ok("apply")
    return workspace


@pytest.fixture
def built(original: Workspace, workspace: Workspace) -> Workspace:
    """A copy of it elsewhere, with its own cache."""
    shutil.copytree(original.root, workspace.root, dirs_exist_ok=True)
    shutil.copytree(original.cache, workspace.cache)
    workspace.variables |= original.variables
    return workspace


def nothing_to_do(workspace: Workspace) -> bool:
    return "Nothing to do: no action ran, no object was written." in workspace.ok("apply").err


def edit(workspace: Workspace, before: str, after: str) -> None:
    text = (workspace.root / "gdcbuild.yaml").read_text()
    assert before in text
    workspace.write({"gdcbuild.yaml": text.replace(before, after)})


def patched(workspace: Workspace, patch: str, *arguments: str) -> Result:
    """gdcbuild, as another version of it would be."""
    code = f"import sys; {patch}; from gdcbuild.cli import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=workspace.root, env=workspace.environment(), capture_output=True, text=True, check=False)
    return Result(done.returncode, done.stdout, done.stderr)


def moved(workspace: Workspace) -> None:
    (workspace.root / "data/two.txt").rename(workspace.root / "data/three.txt")
    edit(workspace, "data/two.txt", "data/three.txt")


CHANGES: dict[str, tuple[Callable[[Workspace], object], str, list[str]]] = {
    "content of a file": (lambda w: w.write({"data/one.txt": "1"}), "input data/one.txt changed", BOTH),
    "path inside the action": (moved, "input data/three.txt added and 1 more", ["step:s"]),
    "one input less": (lambda w: edit(w, ", data/two.txt", ""), "input data/two.txt removed", BOTH),
    "parameter": (lambda w: edit(w, "batchSize: 8", "batchSize: 4"), "parameter config changed", ["m@1"]),
    "command": (lambda w: edit(w, "cat data", "cat ./data"), "run changed", ["step:s"]),
    "allowed variable": (lambda w: w.variables.update(SEEN="2"), "variable SEEN changed", BOTH),
    "allowed variable that is gone": (lambda w: w.variables.pop("SEEN"), "variable SEEN changed", BOTH),
    "which variables": (lambda w: edit(w, "[SEEN]", "[SEEN, MORE]"), "variable MORE added", ["step:s"]),
    "handler": (lambda w: w.write({"h.py": HANDLER + "# x\n"}), "input h.py (as handler/h.py) changed", ["m@1"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_ingredient(built: Workspace, name: str) -> None:
    change, why, ran = CHANGES[name]
    change(built)
    states = [step["state"] for step in built.ok("explain", "m@1", "--json").json["versions"]["m@1"]]
    assert f"to build: {why}" in states
    assert built.ok("apply", "--json").jobs(what="action", outcome="built") == ran


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        ("import gdcbuild.core.key as k; k.KEY_SCHEMA = 99", "gdcbuild itself changed (key schema"),
        (
            "import gdcbuild.core.graph as g; i = g.Action.__init__; "
            "g.Action.__init__ = lambda s, *a, **k: i(s, *a, **{**k, 'version': 99})",
            "gdcbuild itself changed (adapter version",
        ),
    ],
    ids=["key schema", "adapter version"],
)
def test_another_gdcbuild(built: Workspace, patch: str, why: str) -> None:
    before = built.snapshot("bucket")
    text = patched(built, patch, "explain", "m@1").out
    assert f"step:s: to build: {why}" in text
    assert ", now 99)" in text
    assert why in patched(built, patch, "plan", "--json").out or "known only after step:s is built" in text
    result = patched(built, patch, "apply", "--json")
    assert result.jobs(what="action", outcome="built") == BOTH
    assert built.snapshot("bucket") == before, "it came out the same, so nothing was published"
    assert patched(built, patch, "apply", "--json").jobs() == []


def wheel(folder: Path, version: str, code: str) -> None:
    """A distribution "thing" of one module."""
    folder.mkdir(exist_ok=True)
    info = f"thing-{version}.dist-info"
    files = {
        "thing.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: thing\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {n: base64.urlsafe_b64encode(hashlib.sha256(t.encode()).digest()).rstrip(b"=").decode() for n, t in files.items()}
    record = "".join(f"{n},sha256={d},{len(files[n])}\n" for n, d in digests.items()) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"thing-{version}-py3-none-any.whl", "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)


def test_the_toolchain_and_which_of_its_distributions(built: Workspace, tmp_path: Path) -> None:
    """Two toolchains from wheels of our own: no index is asked."""
    for version in ("1.0", "2.0"):
        wheel(tmp_path / "wheels", version, "number = 1\n")
    built.variables |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels")}
    edit(built, "frameworks:\n", "frameworks:\n  t: {image: pytorch-cpu.2-4, toolchain: {requirements: t.txt}}\n")
    edit(built, 'run: [sh, -c, "cat data/* > ${out}/w.pt; echo $SEEN >> ${out}/w.pt"]', 'run: [python, step.py, "${out}/w.pt"]')
    edit(built, "inputs: [", "framework: t\n    inputs: [step.py, ")
    built.write({"step.py": "import sys, thing\nopen(sys.argv[1], 'w').write(str(thing.number))\n", "t.txt": "thing==1.0\n"})
    assert "its toolchain t.txt is not installed yet" in built.ok("explain", "m@1").out
    assert built.ok("apply", "--json").jobs(what="action", outcome="built") == BOTH
    assert nothing_to_do(built)
    built.write({"t.txt": "# a comment\nthing==1.0\n"})
    assert built.ok("apply", "--json").jobs(outcome="built") == [], "another recipe, and the same when it is made"
    built.write({"t.txt": "thing==2.0\n"})
    other = Workspace(built.root.parent / "other", built.cache, built.variables)
    shutil.copytree(built.root, other.root, dirs_exist_ok=True)
    other.write({"data/one.txt": "other"})
    other.ok("build")  # so that the toolchain is there, and nothing is built with it here yet
    step = built.ok("explain", "m@1", "--json").json["versions"]["m@1"][-1]
    (difference,) = step["differences"]
    assert (step["action"], step["state"]) == ("step:s", "to build: toolchain thing changed")
    assert difference["before"].startswith("1.0 sha256:")
    assert difference["after"].startswith("2.0 sha256:")
    assert "      toolchain thing changed\n" in built.ok("explain", "m@1").out


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder that every user can get to."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become another user")
def test_another_user(built: Workspace, elsewhere: Path) -> None:
    """Workspace and cache are carried over to a user who has another home, name and number."""
    for source, name in ((built.root, "workspace"), (built.cache, "cache")):
        shutil.copytree(source, elsewhere / name)
    for path in [*elsewhere.rglob("*"), elsewhere]:
        os.chown(path, 65534, 65534, follow_symlinks=False)
    moved_to = Workspace(
        elsewhere / "workspace", elsewhere / "cache", {**built.variables, "HOME": "/nonexistent", "USER": "other"}
    )
    rights = "+dac_override,+dac_read_search"  # the tests' own Python may be where only root can read
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", f"--inh-caps={rights}", f"--ambient-caps={rights}"]
    done = subprocess.run(
        [*become, sys.executable, "-m", "gdcbuild", "apply"],
        cwd=moved_to.root,
        env=moved_to.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Nothing to do: no action ran" in done.stderr) == (0, True), done.stderr


def touched(workspace: Workspace) -> None:
    for path in workspace.root.rglob("*"):
        if path.is_file() and "bucket" not in path.parts:
            os.utime(path, ns=(1, 1))


OTHERS: dict[str, Callable[[Workspace], object]] = {
    "time zone and locale": lambda w: w.variables.update(TZ="Pacific/Auckland", LANG="C", LC_ALL="C"),
    "other variables": lambda w: w.variables.update(UNSEEN="1", PYTHONHASHSEED="7", HOME="/nonexistent"),
    "times of files": touched,
    "modes of files": lambda w: [p.chmod(0o755) for p in w.root.glob("*.py")],
    "comments": lambda w: edit(w, "steps:\n", "# a comment\nsteps: # another\n"),
    "order of keys": lambda w: edit(w, "batchSize: 8, responseTimeout: 60", "responseTimeout: 60, batchSize: 8"),
    "order of inputs": lambda w: edit(w, "[data/one.txt, data/two.txt]", "[data/two.txt, data/one.txt]"),
    "form of inputs": lambda w: edit(w, "[data/one.txt, data/two.txt]", '["data/*.txt"]'),
    "name of the framework": lambda w: (edit(w, "  pt: {", "  other: {"), edit(w, "framework: pt\n", "framework: other\n")),
    "name of the handler": lambda w: (edit(w, "handler: h\n", "handler: g\n"), edit(w, "  h: {file", "  g: {file")),
    "name of the environment": lambda w: edit(w, "  local: {", "  here: {"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_no_ingredient(built: Workspace, name: str) -> None:
    OTHERS[name](built)
    assert nothing_to_do(built)


def test_another_umask(built: Workspace) -> None:
    before = os.umask(0o077)
    try:
        assert nothing_to_do(built)
    finally:
        os.umask(before)


def test_another_path_and_another_model(built: Workspace, tmp_path: Path) -> None:
    """A clone elsewhere, in which another model is added: that alone is built."""
    clone = Workspace(tmp_path / "a clone" / "of it", built.cache, built.variables)
    shutil.copytree(built.root, clone.root, dirs_exist_ok=True)
    edit(clone, "handlers:\n", '  n:\n    framework: pt\n    handler: h\n    versions: {"1": {weights: h.py}}\nhandlers:\n')
    result = clone.ok("build", "--json")
    assert result.jobs(what="action", outcome="built") == ["n@1"]


def installed(workspace: Workspace, folder: str, text: str) -> None:
    """A program `mytool` in a folder of the machine, which comes first in PATH."""
    tool = workspace.root.parent / folder / "mytool"
    tool.parent.mkdir(exist_ok=True)
    tool.write_text(f'#!/usr/bin/env mysh\necho {text} > "$1"\n')
    tool.chmod(0o755)
    if not (tool.parent / "mysh").exists():
        shutil.copy(shutil.which("sh") or "", tool.parent / "mysh")
    path = workspace.variables.get("PATH", os.environ["PATH"])
    if str(tool.parent) not in path.split(":"):
        workspace.variables["PATH"] = f"{tool.parent}:{path}"


def test_another_program_makes_another_key(workspace: Workspace) -> None:
    manifest = ONE_STEP.replace('[sh, -c, "%s"]', '[mytool, "${out}/w.pt"]')
    workspace.write({"gdcbuild.yaml": manifest, "h.py": HANDLER})
    missing = workspace.run("build")
    assert (missing.code, "'mytool' cannot be started" in missing.err) == (1, True)
    installed(workspace, "one", "one")
    workspace.ok("apply")
    workspace.age()
    assert nothing_to_do(workspace)  # now it is remembered that nothing has changed
    known = "Plan: 1 up to date."
    assert known in workspace.ok("plan").out

    def changed(name: str) -> None:
        found = workspace.ok("explain", "m@1", "--json").json["versions"]["m@1"]
        (step,) = (each for each in found if each["action"] == "step:s")
        assert ([d["name"] for d in step["differences"]], step["state"]) == (
            [f"program {name}"],
            f"to build: program {name} changed",
        )
        assert known not in workspace.ok("plan").out
        assert "step:s" in workspace.ok("apply", "--json").jobs(outcome="built")
        workspace.age()
        for _ in range(2):
            assert known in workspace.ok("plan").out

    installed(workspace, "two", "other")  # another one comes first
    changed("mytool")
    installed(workspace, "two", "third")  # its bytes change
    changed("mytool")
    with (workspace.root.parent / "two/mysh").open("ab") as shell:
        shell.write(b"\0")
    changed("mysh")
    workspace.variables["PATH"] = workspace.variables["PATH"].replace("/two:", "/none:")
    assert known not in workspace.ok("plan").out
    assert workspace.ok("build", "--json").jobs(outcome="built") == []  # as it was in the beginning


def test_a_result_that_names_its_working_folder_is_not_reproducible(workspace: Workspace, tmp_path: Path) -> None:
    script = "mkdir ${out}/d; pwd > ${out}/d/w.pt; echo x > ${out}/d/other"
    manifest = (ONE_STEP % script).replace("outputs: [w.pt]", "outputs: [d/]").replace("path: w.pt", "path: d/w.pt")
    workspace.write({"gdcbuild.yaml": manifest, "h.py": HANDLER})
    built = workspace.ok("build")
    said = "step:s is not reproducible: d/w.pt contains the path of the working folder"
    assert (built.err.count(said), "other contain" in built.err) == (1, False)
    assert said not in workspace.ok("build").err
    state = "up to date; not reproducible: d/w.pt contains the path of the working folder"
    assert f"step:s: {state.replace('up to date', 'in the cache')}\n" in workspace.ok("explain", "m@1").out
    steps = workspace.ok("explain", "m@1", "--json").json["versions"]["m@1"]
    assert {s["action"]: (s["verdict"], s["state"]) for s in steps}["step:s"] == ("hit", state)
    edit(workspace, "pwd", "echo work/")
    assert "reproducible" not in workspace.ok("build").err
    assert "reproducible" not in workspace.ok("explain", "m@1").out
