"""The first code in a toolchain: what it runs, what it refuses, and what it says of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from gdcbuild.runners import child

WORKER = """
from pathlib import Path

def run(params, out, child):
    result = child.call(child.function(params["function"]), **params.get("args", {}))
    if result is None:
        raise child.Mistake("returned nothing", "return a model")
    if result:
        (out / "model").write_text(result)
"""

MODEL = """
import sys
from pathlib import Path

def build(size=1):
    return "model" * size

def fails():
    helper()

def helper():
    raise ValueError("no such digit")

def exits():
    sys.exit("enough")

def nothing():
    pass

def no_file():
    return ""

def elsewhere():
    Path("beside.txt").write_text("")
    Path(__file__).with_name("data.txt").write_text("longer")
    return "model"

def takes_odd_names(function, self):
    return f"{function} {self}"

def caches():
    Path("__pycache__").mkdir(exist_ok=True)
    Path("__pycache__/model.pyc").write_text("")
    return "model"

limit = 3
"""

FILES = {
    "net/model.py": MODEL,
    "net/data.txt": "data",
    "broken.py": "def build(:\n",
    "lacking.py": "import a_package_that_nobody_has\n",
    "raising.py": "1 / 0\n",
}


class Lab:
    def __init__(self, folder: Path) -> None:
        self.place = folder
        self.out = folder / "out"

    def run(self, function: str, cwd: str = "net", args: Mapping[str, object] | None = None) -> dict[str, str] | None:
        """What the child reports of calling the function, None when all went well."""
        inside = self.place / "in"
        for name, text in {**FILES, "../worker.py": WORKER}.items():
            (inside / name).parent.mkdir(parents=True, exist_ok=True)
            (inside / name).write_text(text)
        self.out.mkdir()
        error, worker = self.place / "error.json", self.place / "worker.py"
        params = {"function": function, "args": args or {}}
        request = {"folder": inside, "out": self.out, "error": error, "worker": worker, "params": params}
        (self.place / "request.json").write_text(json.dumps(request, default=str))
        command = [sys.executable, "-P", child.__file__, str(self.place / "request.json")]
        done = subprocess.run(command, check=False, cwd=inside / cwd, capture_output=True, text=True)
        assert done.returncode == (1 if error.exists() else 0), done.stderr
        assert (self.place / "done").exists() == (done.returncode == 0)
        return json.loads(error.read_text()) if error.exists() else None

    def mistake(self, function: str, cwd: str = "net", args: Mapping[str, object] | None = None) -> tuple[str, str]:
        """Message and hint of a mistake, which comes without a traceback."""
        report = self.run(function, cwd, args)
        assert report is not None
        assert report["detail"] == ""
        return report["message"], report["hint"]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.mark.parametrize(("function", "cwd"), [("model:build", "net"), ("net.model:build", ".")])
def test_calls_the_function_of_a_module_in_the_current_folder(lab: Lab, function: str, cwd: str) -> None:
    assert lab.run(function, cwd, {"size": 2}) is None
    assert (lab.out / "model").read_text() == "modelmodel"


@pytest.mark.parametrize("function", ["model:caches", "model:build"])
def test_byte_code_does_not_count_as_written(lab: Lab, function: str) -> None:
    assert lab.run(function) is None


def test_arguments_may_have_any_name(lab: Lab) -> None:
    assert lab.run("model:takes_odd_names", args={"function": "relu", "self": "me"}) is None
    assert (lab.out / "model").read_text() == "relu me"


def test_a_function_that_raises_is_shown_with_its_own_frames(lab: Lab) -> None:
    report = lab.run("net.model:fails", cwd=".")
    assert report is not None
    assert report["message"] == "raised ValueError: no such digit"
    assert [line.strip() for line in report["detail"].splitlines() if line.strip().startswith("File")] == [
        'File "net/model.py", line 9, in fails',
        'File "net/model.py", line 12, in helper',
    ]
    assert report["detail"].endswith("ValueError: no such digit")
    assert str(lab.place) not in report["detail"]


def test_a_module_that_raises_is_shown_with_its_own_frames(lab: Lab) -> None:
    report = lab.run("raising:build", cwd=".")
    assert report is not None
    assert report["message"] == "raised ZeroDivisionError: division by zero"
    assert report["detail"].splitlines()[:2] == [
        "Traceback (most recent call last):",
        '  File "raising.py", line 1, in <module>',
    ]
    assert "importlib" not in report["detail"]


def test_a_module_with_a_syntax_error(lab: Lab) -> None:
    report = lab.run("broken:build", cwd=".")
    assert report is not None
    assert report["message"].startswith("raised SyntaxError: ")
    assert report["detail"].splitlines()[0] == '  File "broken.py", line 1'


def test_a_module_that_lacks_a_package_is_not_a_missing_module(lab: Lab) -> None:
    report = lab.run("lacking:build", cwd=".")
    assert report is not None
    assert report["message"] == "raised ModuleNotFoundError: No module named 'a_package_that_nobody_has'"
    assert 'File "lacking.py", line 1' in report["detail"]


def test_exiting_the_process_is_reported(lab: Lab) -> None:
    report = lab.run("model:exits")
    assert report is not None
    assert report["message"] == "raised SystemExit: enough"


@pytest.mark.parametrize(("function", "file"), [("digits.net:build", "digits/net.py"), ("net.nett:build", "net/nett.py")])
def test_a_missing_module(lab: Lab, function: str, file: str) -> None:
    message, hint = lab.mistake(function, cwd=".")
    assert message == f"the files of the export have no module {function.partition(':')[0]!r}"
    assert hint == f"declare it: files: [{file}], or correct `function`"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("biuld", "did you mean 'build'?"), ("limit", "it has: build, fails, helper, exits"), ("", "it has: build, fails")],
)
def test_a_missing_function(lab: Lab, name: str, hint: str) -> None:
    message, said = lab.mistake(f"model:{name}")
    assert message == f"model has no function {name!r}"
    assert said.startswith(hint)


def test_arguments_that_do_not_match(lab: Lab) -> None:
    message, hint = lab.mistake("model:build", args={"sise": 2})
    assert message == "cannot be called with these `args`: got an unexpected keyword argument 'sise'"
    assert hint == "it is build(size=1)"


def test_a_worker_may_refuse_what_was_returned(lab: Lab) -> None:
    assert lab.mistake("model:nothing") == ("returned nothing", "return a model")


def test_writing_nothing(lab: Lab) -> None:
    message, hint = lab.mistake("model:no_file")
    assert message == "wrote nothing"
    assert "`export_dir`" in hint


def test_writing_outside_the_output_folder(lab: Lab) -> None:
    message, hint = lab.mistake("net.model:elsewhere", cwd=".")
    assert message == "wrote outside its output folder: beside.txt, net/data.txt"
    assert "`export_dir`" in hint
