"""From manifests to the graph: scopes, defaults, variables, references, and paths of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from gdcbuild.core.graph import Action, Command, Graph, Input, MadeBy, SourceFile
from gdcbuild.core.ids import VersionId
from gdcbuild.errors import ManifestError
from gdcbuild.frameworks import FRAMEWORKS, images
from gdcbuild.manifest.load import load
from gdcbuild.manifest.lower import lower

HEAD = "schema: 1\nframeworks:\n  tf: {image: tf2-cpu.2-18}\n  pt: {image: pytorch-cpu.2-4}\n"


def graph(folder: Path, files: Mapping[str, str], **variables: str) -> Graph:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return lower(load(folder / "gdcbuild.yaml", variables, FRAMEWORKS), images.known())


def inputs(action: Action) -> dict[str, str]:
    """Target path → source."""
    return {
        i.path: i.origin.path if isinstance(i.origin, SourceFile) else f"{i.origin.action}:{i.origin.path}"
        for i in action.inputs
    }


def message(folder: Path, files: Mapping[str, str]) -> str:
    with pytest.raises(ManifestError) as caught:
        graph(folder, files)
    return str(caught.value)


STEP = "steps:\n  s:\n    run: [sh, -c, x, '${out}/w.pt']\n    inputs: %s\n    outputs: [w.pt, d/]\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("[a.txt]", {"a.txt": "a.txt"}),
        ("['*.txt', a.txt]", {"a.txt": "a.txt", "b.txt": "b.txt"}),
        ("[d/]", {"d/c.txt": "d/c.txt"}),
        ("[{from: d/, to: e/}]", {"e/c.txt": "d/c.txt"}),
        ("[{from: a.txt, to: x.txt}]", {"x.txt": "a.txt"}),
        ("[{from: a.txt, to: e/}]", {"e/a.txt": "a.txt"}),
        ("[{step: t, path: q.pt}]", {"q.pt": "step:t:q.pt"}),
        ("[{step: t, path: q.pt, to: r.pt}]", {"r.pt": "step:t:q.pt"}),
        ("[{step: t, path: ./}]", {"": "step:t:"}),
        ("[{step: t, to: e/}]", {"e/": "step:t:"}),
        ("[{step: t, path: d}]", {"d/": "step:t:d/"}),
        ("[{step: t, path: d/e}]", {"d/e/": "step:t:d/e/"}),
        ("[{step: t, path: f/g}]", {"f/g": "step:t:f/g"}),
        ("[{model: m, version: '1', path: variables/, to: base/}]", {"base/": "m@1:variables/"}),
        ("[{model: m, version: '1', path: variables/}]", {"variables/": "m@1:variables/"}),
    ],
)
def test_where_inputs_of_a_step_are_placed(tmp_path: Path, given: str, expected: dict[str, str]) -> None:
    manifest = HEAD + STEP % given + "  t: {run: [x], outputs: [q.pt, d/e/h.pt, f/]}\n"
    manifest += "models: {m: {framework: tf, versions: {'1': {saved_model: d/}}}}\n"
    found = graph(tmp_path, {"gdcbuild.yaml": manifest, "a.txt": "", "b.txt": "", "d/c.txt": ""})
    assert inputs(found.actions["step:s"]) == expected
    assert found.actions["step:s"].run == Command(("sh", "-c", "x", "${out}/w.pt"))


def test_files_beside_the_manifest(tmp_path: Path) -> None:
    part = "schema: 1\n" + STEP % "[../shared/x.txt, y.txt, {step: top, path: q}]"
    root = "schema: 1\ninclude: [m/g.yaml]\nsteps: {top: {run: [x], outputs: [q]}}\n"
    found = graph(tmp_path, {"gdcbuild.yaml": root, "m/g.yaml": part, "shared/x.txt": "", "m/y.txt": ""})
    action = found.actions["step:m/s"]
    assert action.cwd == "m"
    assert inputs(action) == {"shared/x.txt": "shared/x.txt", "m/y.txt": "m/y.txt", "m/q": "step:top:q"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("[{step: s, path: nope}]", "step 's' has no output 'nope'"),
        ("[{step: s, path: w}]", "step 's' has no output 'w'"),
        ("[{step: s, path: w.pt/}]", "step 's' has no output 'w.pt/'"),
        ("[{step: s, path: ../w.pt}]", "points outside the folder"),
        ("[{step: s, path: w.pt, to: /abs}]", "points outside the folder"),
        ("[a.txt, {from: b.txt, to: a.txt}]", "two files for 'a.txt': a.txt"),
        ("[{step: u, path: w.pt}]", "unknown step 'u'"),
        ("[{model: 'n', version: '1'}]", "unknown model 'n'"),
        ("[{from: nowhere/, to: x/}]", "there is no file 'nowhere/'"),
    ],
)
def test_inputs_that_are_refused(tmp_path: Path, given: str, expected: str) -> None:
    manifest = HEAD + STEP % given + "models: {m: {framework: tf, versions: {'1': {saved_model: d/}}}}\n"
    assert expected in message(tmp_path, {"gdcbuild.yaml": manifest, "a.txt": "", "b.txt": "b", "d/c.txt": ""})


def test_files_with_the_same_bytes_are_one(tmp_path: Path) -> None:
    manifest = HEAD + STEP % "[a.txt, {from: b.txt, to: a.txt}]"
    found = graph(tmp_path, {"gdcbuild.yaml": manifest, "a.txt": "same", "b.txt": "same"})
    assert inputs(found.actions["step:s"]) == {"a.txt": "b.txt"}


def test_names_are_seen_in_their_own_file_and_the_roots_everywhere(tmp_path: Path) -> None:
    files = {
        "gdcbuild.yaml": HEAD + "include: [one/g.yaml, two/g.yaml]\nhandlers: {h: {file: root.py}, r: {file: root.py}}\n",
        "root.py": "",
        "w.pt": "",
        "one/g.yaml": "schema: 1\nhandlers: {h: {file: own.py}}\n"
        "models: {a: {framework: pt, handler: h, versions: {'1': {weights: w.pt}}},"
        " b: {framework: pt, handler: r, versions: {'1': {weights: w.pt}}}}\n",
        "one/own.py": "",
        "one/w.pt": "",
        "two/g.yaml": "schema: 1\nmodels: {c: {framework: pt, handler: h, versions: {'1': {weights: w.pt}}}}\n",
        "two/w.pt": "",
    }
    found = graph(tmp_path, files)
    handlers = {
        name: inputs(found.actions[f"{name}@1"])[f"handler/{file}"]
        for name, file in [("a", "own.py"), ("b", "root.py"), ("c", "root.py")]
    }
    assert handlers == {"a": "one/own.py", "b": "root.py", "c": "root.py"}
    files["two/g.yaml"] = files["two/g.yaml"].replace("handler: h", "handler: own")
    files["one/g.yaml"] = files["one/g.yaml"].replace("{h:", "{own:").replace("handler: h", "handler: own")
    assert "two/g.yaml:2:" in message(tmp_path, files)


def test_paths_of_defaults_are_relative_to_their_file(tmp_path: Path) -> None:
    files = {
        "gdcbuild.yaml": HEAD + "include: [m/g.yaml]\ndefaults: {pytorch: {files: [common.txt], handler: base_handler}}\n",
        "common.txt": "",
        "m/g.yaml": "schema: 1\ndefaults: {pytorch: {files+: [own.txt]}}\n"
        "models: {a: {framework: pt, versions: {'1': {weights: w.pt}}}}\n",
        "m/own.txt": "",
        "m/w.pt": "",
    }
    assert inputs(graph(tmp_path, files).actions["a@1"]) == {
        "weights/w.pt": "m/w.pt",
        "extra/common.txt": "common.txt",
        "extra/own.txt": "m/own.txt",
    }


def test_variables(tmp_path: Path) -> None:
    manifest = HEAD + "vars: {n: 3, name: w}\nmodels: {a: {framework: tf, versions: {'1': {export: {function: 'f:g', "
    manifest += "files: ['${vars.name}.py'], args: {n: '${vars.n}', s: 'n=${vars.n} ${env.E}'}}}}}}\n"
    action = graph(tmp_path, {"gdcbuild.yaml": manifest, "w.py": ""}, E="e").actions["a@1"]
    assert action.params["args"] == {"n": 3, "s": "n=3 e"}
    assert "unknown variable 'vars.m'" in message(tmp_path, {"gdcbuild.yaml": manifest.replace("${vars.n}", "${vars.m}")})


def test_a_version_uses_another(tmp_path: Path) -> None:
    manifest = (
        HEAD
        + "models: {a: {framework: tf, versions: {'1': {saved_model: d/}, '2': {saved_model: {model: a, version: '1'}}}}}\n"
    )
    found = graph(tmp_path, {"gdcbuild.yaml": manifest, "d/saved_model.pb": "", "d/variables/x": ""})
    assert inputs(found.actions["a@1"]) == {"saved_model.pb": "d/saved_model.pb", "variables/x": "d/variables/x"}
    assert found.actions["a@2"].inputs == (Input("", MadeBy("a@1", "")),)
    assert found.order == ("a@1", "a@2")
    assert found.versions[VersionId("a", "2")].image.name == "tf2-cpu.2-18"


def test_the_graph_is_the_same_for_any_order_of_the_manifest(tmp_path: Path) -> None:
    a, b = (f"  {m}: {{framework: tf, versions: {{'{v}': {{saved_model: d/}}}}}}\n" for m, v in [("a", 1), ("b", 2)])
    one, other = f"{HEAD}models:\n{a}{b}", f"models:\n{b}{a}{HEAD}"
    files = {"d/x": ""}
    assert graph(tmp_path, {"gdcbuild.yaml": one, **files}) == graph(tmp_path, {"gdcbuild.yaml": other, **files})


@pytest.mark.parametrize(
    "line",
    [
        "numpy==1.0",
        "numpy[x]==1.0",
        "a==1 ; python_version > '3'",
        "a==1 --hash=sha256:00",
        "a==1 \\",
        "    --hash=sha256:00",
        "# x",
        "",
    ],
)
def test_pinned_requirements(tmp_path: Path, line: str) -> None:
    manifest = "schema: 1\nframeworks: {tf: {image: tf2-cpu.2-18, toolchain: {requirements: r.txt}}}\n"
    graph(tmp_path, {"gdcbuild.yaml": manifest, "r.txt": line + "\n"})


@pytest.mark.parametrize(
    "line",
    [
        *("numpy", "numpy>=1", "numpy==1.*", "-r other.txt", "-e .", "./x.whl", "x @ file:///x.whl", "--index-url x"),
        "a==1 " + "--hash=a" * 99 + " !",
    ],
    ids=lambda line: line[:20],
)
def test_unpinned_requirements(tmp_path: Path, line: str) -> None:
    manifest = "schema: 1\nframeworks: {tf: {image: tf2-cpu.2-18, toolchain: {requirements: r.txt}}}\n"
    assert "r.txt:1:1: " in message(tmp_path, {"gdcbuild.yaml": manifest, "r.txt": line + "\n"})


@pytest.mark.parametrize(
    ("outputs", "fits"),
    [
        ("[a, b/c, b/d, e/]", True),
        ("[a/, a/b]", True),
        ("[a/b/, a/c]", True),
        ("[a, a/b]", False),
        ("[a/b/c, a/b]", False),
        ("[a, a/]", False),
        ("[a/, a]", False),
    ],
)
def test_outputs_that_are_a_file_and_a_folder_of_the_same_name(tmp_path: Path, outputs: str, fits: bool) -> None:
    files = {"gdcbuild.yaml": f"schema: 1\nsteps:\n  s:\n    run: [x]\n    outputs: {outputs}\n"}
    if fits:
        graph(tmp_path, files)
    else:
        assert "a file and a folder of the same name" in message(tmp_path, files)


def test_a_requirements_file_may_have_any_name(tmp_path: Path) -> None:
    manifest = "schema: 1\nframeworks: {tf: {image: tf2-cpu.2-18, toolchain: {requirements: interpreter}}}\n"
    manifest += "steps: {a: {framework: tf, run: [x], outputs: [o]}, b: {framework: tf2-cpu.2-18, run: [x], outputs: [o]}}\n"
    found = graph(tmp_path, {"gdcbuild.yaml": manifest, "interpreter": "x==1"})
    used = {id: found.toolchains[str(found.actions[id].toolchain)].requirements for id in ("step:a", "step:b")}
    assert used == {"step:a": "interpreter", "step:b": None}


def test_suggested_paths_are_relative_to_the_manifest(tmp_path: Path) -> None:
    part = "schema: 1\nsteps: {s: {run: [x], outputs: [o], inputs: [%s]}}\n"
    files = {"gdcbuild.yaml": HEAD + "include: [a/gdcbuild.yaml]\n", "a/w/v3.pt": "", "b/x.pt": ""}
    for given, hint in (
        ("w/v1.pt", "did you mean 'w/v3.pt'?"),
        ("../b/y.pt", "did you mean '../b/x.pt'?"),
        ("gdcbuild.yml", "did you mean 'gdcbuild.yaml'?"),
        ("nope/x", "there is no folder 'nope' either"),
        ("w/v3.pt/x", "'w/v3.pt' is not a folder"),
    ):
        assert hint in message(tmp_path, files | {"a/gdcbuild.yaml": part % given})


def test_steps_of_the_same_name_in_manifests_of_one_folder(tmp_path: Path) -> None:
    """Neither they nor their outputs collide. If a folder has one manifest, the ids do not contain its name."""
    part = "schema: 1\nsteps: {s: {run: [%s], outputs: [%s.pt]}}\nmodels: {%s: {framework: pt, handler: base_handler, "
    part += "versions: {'1': {weights: {step: s, path: %s.pt}}}}}\n"
    files = {f"{path}.yaml": part % ((path.replace("/", "-"),) * 4) for path in ("b", "m/a", "m/gdcbuild", "n/c")}
    root = part.replace("schema: 1\n", HEAD + "include: ['*.yaml', '*/*.yaml']\n") % (("root",) * 4)
    found = graph(tmp_path, {"gdcbuild.yaml": root, **files})
    assert {i: str(a.run.argv) for i, a in found.actions.items() if isinstance(a.run, Command)} == {
        "step:s": "('root',)",
        "step:b.yaml/s": "('b',)",
        "step:m/a.yaml/s": "('m-a',)",
        "step:m/s": "('m-gdcbuild',)",
        "step:n/s": "('n-c',)",
    }
    assert [found.actions[f"{m}@1"].needs for m in ("root", "b", "m-a", "m-gdcbuild", "n-c")] == [
        ("step:s",), ("step:b.yaml/s",), ("step:m/a.yaml/s",), ("step:m/s",), ("step:n/s",)
    ]  # fmt: skip
