"""Our parser against torch-model-archiver's own, which reads sys.argv."""

from __future__ import annotations

import sys

import pytest
from model_archiver.arg_parser import ArgParser

from gdcbuild.adopt.archiver import NotUnderstood, packing, parser
from gdcbuild.errors import Location

BASE = ["--model-name", "model", "--handler", "h.py", "-v", "1"]
LINES = [
    BASE,
    [],
    ["--model-name=m", "--handler=h", "--version=1.10"],
    ["--model-n", "m", "--ha", "h", "--v", "1"],
    ["--model", "m", *BASE],
    ["--mod", "m", *BASE],
    ["--s", "w.pt", *BASE],
    ["--e", "x", *BASE],
    ["--ex", "x", *BASE],
    ["--ext", "a,b", *BASE],
    ["--exp", "out", *BASE],
    ["--r", "x", *BASE],
    ["--ru", "python3", *BASE],
    ["--re", "r.txt", *BASE],
    ["-r", "r.txt", "-c", "c.yaml", "-f", *BASE],
    ["-rr.txt", "-cc.yaml", "-fv2", *BASE],
    ["-v2", "-v", "3", *BASE],
    ["--runtime", "LSP", *BASE],
    ["--runtime", "java", *BASE],
    ["--archive-format", "zip-store", *BASE],
    ["--archive-format", "zip", *BASE],
    ["--a", "tgz", *BASE],
    ["--f", *BASE],
    ["--force=1", *BASE],
    ["--config-file", *BASE],
    ["--conf", "-x", *BASE],
    ["extra", *BASE],
    ["--", *BASE],
    [*BASE, "--version", "-1"],
    ["--serialized-file", "", *BASE],
    ["--colour", "red", *BASE],
]


def theirs(line: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, object] | None:
    monkeypatch.setattr(sys, "argv", ["torch-model-archiver", *line])
    try:
        return dict(vars(ArgParser.export_model_args_parser()))
    except SystemExit:
        return None


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_options_are_read_as_the_archiver_reads_them(line: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = theirs(line, monkeypatch)
    try:
        found = vars(parser().parse_args(line))
    except NotUnderstood:
        assert expected is None
        return
    assert expected is not None
    del found["help"]
    assert {k: v for k, v in found.items() if k != "export_path"} == {k: v for k, v in expected.items() if k != "export_path"}
    assert found["export_path"] is None or found["export_path"] == expected["export_path"]


def test_no_option_is_missing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert theirs(["--help"], monkeypatch) is None
    listed = {word.strip(",[]") for word in capsys.readouterr().out.split() if word.strip("[").startswith("-")}
    known = {option for action in parser()._actions for option in action.option_strings}
    assert known == {option for option in listed if option.lstrip("-").replace("-", "").isalpha()}


def test_paths_are_those_of_the_folder_it_runs_in() -> None:
    line = [*BASE, "--serialized-file", "../w.pt", "--extra-files", "a, /b/,,c/../d", "--export-path", "out/"]
    found = packing(line, "/home/me/sub", Location("x", 1))
    assert (found.serialized_file, found.archive) == ("/home/me/w.pt", "/home/me/sub/out/model.mar")
    assert found.extra_files == ("/home/me/sub/a", "/b/", "/home/me/sub/d")
