"""Accepted values mean what they say; obvious mistakes are reported once, with a hint."""

from __future__ import annotations

import os
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from gdcbuild.core.graph import Graph
from gdcbuild.errors import ManifestError, Problem
from gdcbuild.frameworks import FRAMEWORKS, images
from gdcbuild.manifest.load import load
from gdcbuild.manifest.lower import lower

TORCH = "models: {m: {framework: pytorch-cpu.2-4, handler: base_handler, %s, versions: {'1': {weights: w.pt, %s}}}}\n"
EXPORT = "models: {m: {framework: tf2-cpu.2-18, export: {args: {%s}}, versions: {'1': %s}}}\n"
CALLED = "{export: {function: 'n:f', files: [n.py], args: {%s}}}"
STEP = "steps: {s: {run: [sh, '${out}/x'], outputs: [c.yaml, x], inputs: [%s]}}\n"


def graph(root: Path, text: str, **variables: str) -> Graph:
    for name in ("w.pt", "n.py", "a.txt", "b.txt", "lab/x.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("")
    (root / "gdcbuild.yaml").write_text(f"schema: 1\n{text}")
    return lower(load(root / "gdcbuild.yaml", variables, FRAMEWORKS), images.known())


def refused(root: Path, text: str, **variables: str) -> Problem:
    """The one problem."""
    with pytest.raises(ManifestError) as caught:
        graph(root, text, **variables)
    (problem,) = caught.value.problems
    assert problem.hint and problem.where and problem.where.line
    return problem


@pytest.mark.parametrize("text", ["?models: {}\n", '"?models": {}\n', 'pools: {"?x": 1}\n', 'policy: {"?pickle": deny}\n'])
def test_a_key_that_begins_with_a_question_mark_is_not_dropped(tmp_path: Path, text: str) -> None:
    assert "'?" in refused(tmp_path, text).message


@pytest.mark.parametrize(
    "text",
    [
        EXPORT % ("a: '${out}/x'", CALLED % ""),
        TORCH % ("files: ['${out}/a.txt']", ""),
        "steps: {s: {run: [x], outputs: ['${out}/x']}}\n",
        "steps: {run: {run: [x], outputs: [x], inputs: ['${out}/x']}}\n",
    ],
)
def test_the_output_folder_is_available_only_in_run(tmp_path: Path, text: str) -> None:
    assert "${out} is available only in a step's `run`" in refused(tmp_path, text).message


@pytest.mark.parametrize("value", ["${vars.b}", "${env.B}", "x ${out}", "${nope}"])
def test_variables_cannot_contain_variables(tmp_path: Path, value: str) -> None:
    text = f"vars: {{a: '{value}', b: x}}\n" + EXPORT % ("a: '${vars.a}', b: 'x${vars.a}'", CALLED % "")
    problem = refused(tmp_path, text, B="b")
    assert problem.where is not None
    assert (problem.where[1:], "cannot contain variables" in problem.message) == ((2, 11), True)


def test_a_variable_without_a_closing_brace(tmp_path: Path) -> None:
    assert "'${vars.x' has no closing }" in refused(tmp_path, EXPORT % ("a: 'b ${vars.x'", CALLED % "")).message


def test_how_to_leave_a_variable_to_the_shell(tmp_path: Path) -> None:
    text = "steps: {s: {run: [sh, -c, 'echo %s > ${out}/x'], outputs: [x]}}\n"
    assert "$NAME without braces" in refused(tmp_path, text % "${HOME}").hint
    graph(tmp_path, text % "$HOME")


def args(root: Path, model: str, version: str) -> Any:
    return graph(root, EXPORT % (model, CALLED % version)).actions["m@1"].params["args"]


def test_appending_nothing_keeps_the_list(tmp_path: Path) -> None:
    action = graph(tmp_path, TORCH % ("files: [a.txt]", "files+: ")).actions["m@1"]
    assert "extra/a.txt" in [i.path for i in action.inputs]


def test_args_keep_their_keys(tmp_path: Path) -> None:
    assert args(tmp_path, "c+: 1", "C++: x") == {"c+": 1, "C++": "x"}


@pytest.mark.parametrize("key", ["args", "config", "export"])
def test_mappings_within_args_are_replaced(tmp_path: Path, key: str) -> None:
    assert args(tmp_path, f"{key}: {{a: 1}}", f"{key}: {{b: 2}}") == {key: {"b": 2}}


def test_a_configuration_and_a_reference_do_not_merge(tmp_path: Path) -> None:
    content, made = "config: {batchSize: 2}", "config: {step: s, path: c.yaml}"
    asked = graph(tmp_path, TORCH % (made, content) + STEP % "").actions["m@1"]
    assert asked.params["config"] == {"batchSize": 2}
    asked = graph(tmp_path, TORCH % (content, made) + STEP % "").actions["m@1"]
    assert asked.needs == ("step:s",)
    other = made.replace("c.yaml", "x, to: c.yaml")
    assert graph(tmp_path, TORCH % (other, made) + STEP % "").actions["m@1"].needs == ("step:s",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TORCH % ("files: [{from: '', to: x/}]", ""), "from: is empty"),
        ("handlers: {h: {file: ''}}\n", "file: is empty"),
        ("include: ['']\n", "item 1 of include: is empty"),
        ("frameworks: {f: {image: '', kind: pytorch, version: '2.4'}}\n", "image: is empty"),
        ("frameworks: {f: {image: x, kind: pytorch, version: '2.4', toolchain: {requirements: ''}}}\n", "requirements: is"),
        ("policy: {pickle: []}\n", "pickle: a list is not one of 'allow'"),
        ("policy: {pickle: }\n", "pickle: nothing is not one of 'allow'"),
        (TORCH % ("files: [{path: x}]", ""), "item 1 of files: expected a path or a reference"),
        (TORCH % ("files: [{}]", ""), "item 1 of files: expected a path or a reference"),
        (EXPORT % ("a: 1.0e+999", CALLED % ""), "1.0e+999 is not quoted"),
        ("frameworks: {f: {image: pytorch-cpu.2-4, kind: tensorflow}}\n", "kind: image 'pytorch-cpu.2-4' has pytorch"),
        ("frameworks: {f: {image: pytorch-cpu.2-4, version: '2.13'}}\n", "version: image 'pytorch-cpu.2-4' has 2.4"),
        (STEP % "{from: a.txt, to: q}, {from: b.txt, to: q/b}", "'q' is both a file and a folder"),
        (
            STEP % "{from: a.txt, to: q}, {step: t, to: q/}" + "  t: {run: [x], outputs: [o]}\n",
            "'q' is both a file and a folder",
        ),
        (TORCH % ("files: [{from: a.txt, to: q}, {from: lab/, to: q/}]", ""), "'q' is both a file and a folder"),
        ("frameworks: {f: {image: x, kind: pytorch, version: '٢.٣'}}\n", "is not a valid name"),
    ],
)
def test_obvious_mistakes(tmp_path: Path, text: str, said: str) -> None:
    if "t: {run" in text:
        text = text.replace("steps: {s:", "steps:\n  s:").replace("}}\n", "}\n")
    assert said in refused(tmp_path, text).message


def test_one_file_of_another_action_in_a_folder_keeps_its_name(tmp_path: Path) -> None:
    text = TORCH % ("compression: store", "") + STEP % ""
    action = graph(tmp_path, text.replace("weights: w.pt", "weights: {step: s, path: x, to: sub/}")).actions["m@1"]
    assert [i.path for i in action.inputs] == ["weights/x"]


@pytest.mark.parametrize("name", [b"line\nfeed", b"\xff"])
def test_folders_whose_names_are_not_utf_8(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / "odd" / os.fsdecode(name)
    folder.mkdir(parents=True)
    (folder / "x").write_text("")
    assert "has a control character or is not UTF-8" in refused(tmp_path, STEP % "odd/").message


def test_a_file_called_git_is_ignored_too(tmp_path: Path) -> None:
    """In submodules and linked worktrees, .git is a file with a path of this machine."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/.git").write_text("gitdir: /elsewhere")
    action = graph(tmp_path, STEP % "lab/").actions["step:s"]
    assert [i.path for i in action.inputs] == ["lab/x.txt"]


def test_the_other_unicode_form_is_written_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/ü.txt").write_text("")
    assert 'or write "lab/\\xfc.txt"' in refused(tmp_path, STEP % '"lab/u\\u0308.txt"').hint


def test_a_requirements_file_is_shown_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.txt").write_text("numpy\n")
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    text = "frameworks: {f: {image: tf2-cpu.2-18, toolchain: {requirements: r.txt}}}\n"
    assert str(refused(tmp_path, text).where) == "../r.txt:1:1"


@pytest.mark.parametrize("name", ["my, dir", "a: b", "#h", "plain-1.0_x y"])
def test_the_suggestion_for_a_folder_is_valid_yaml(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "x").write_text("")
    hint = refused(tmp_path, TORCH % (f"files: ['{name}/']", "")).hint
    written = hint[hint.index("{") : hint.index("}") + 1]
    for given in (written, written.replace("./", hint.split("or to: ")[1].removesuffix(" to keep the folder"))):
        graph(tmp_path, TORCH % (f"files: [{given}]", ""))


@pytest.mark.slow
def test_many_names_and_mistakes_take_linear_time(tmp_path: Path) -> None:
    """Comparing each name with all others, or listing all visible names, would take quadratic time."""
    count = 500
    models = "".join(
        f"  m{i}: {{framework: pytorch-cpu.2-4, handler: %s{i}, versions: {{'1': {{weights: %s}}}}}}\n" for i in range(count)
    )
    handlers = "handlers:\n" + "".join(f"  handler-h{i}: {{file: h.py}}\n" for i in range(count))
    (tmp_path / "h.py").write_text("def handle(data, context): return data\n")
    began = process_time()
    graph(tmp_path, "models:\n" + models % (("handler-h", "w.pt") * count) + handlers)
    valid = process_time() - began
    values = "vars:\n" + "".join(f"  data-{i}: 1\n" for i in range(count))
    began = process_time()
    with pytest.raises(ManifestError) as caught:
        graph(tmp_path, "models:\n" + models % (("handler-x", "'${vars.date-1}'") * count) + handlers + values)
    assert len(caught.value.problems) == 2 * count
    assert process_time() - began < 5 * valid + 5
