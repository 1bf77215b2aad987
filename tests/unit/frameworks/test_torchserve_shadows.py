"""Files at an archive's root that TorchServe's worker would import instead of a module of its own."""

from __future__ import annotations

import pytest

from gdcbuild.errors import Caution
from tests.unit.frameworks.test_torchserve_contract import OWN, found


@pytest.mark.parametrize(
    "name",
    [
        "types.py",
        "random.py",
        "json.pyc",
        "torch/__init__.py",
        "yaml/__init__.pyc",
        "_csv.so",
        "_csv.cpython-311-x86_64-linux-gnu.so",
    ],
)
def test_what_the_worker_needs_is_not_replaced(name: str) -> None:
    (problem,) = found({"h.py": OWN, name: "?"}, handler="h.py")
    assert f"{name} would replace the module `{name.replace('/', '.').split('.')[0]}`" in problem.message
    assert "move it to a folder and import it from there: {from: .../" in problem.hint


@pytest.mark.parametrize(
    "name",
    [
        *("abc.py", "time.py", "labels.py", "types.txt", "types.v2.py", "pkg/types.py", "pkg/torch/__init__.py"),
        *("torch/labels.txt", "torch/nn.py", "xml/__init__.py", "antigravity.py", "types.so.txt", "json/types.py"),
    ],
)
def test_what_it_does_not_look_for_there_is_left_alone(name: str) -> None:
    assert found({"h.py": OWN, name: ""}, handler="h.py") == []


@pytest.mark.parametrize("name", ["random.py", "types.py"])
def test_a_handler_has_to_be_called_something_else(name: str) -> None:
    (problem,) = found({name: OWN}, handler=name)
    assert problem.hint == "rename it"


@pytest.mark.parametrize("name", ["io.py", "time.py", "os.py"])
def test_a_handler_that_python_would_not_find_is_refused(name: str) -> None:
    (problem,) = found({name: OWN}, handler=name)
    assert problem.message == f"{name} would never be imported: Python finds its own module `{name[:-3]}` instead"


def test_a_package_that_was_installed_into_the_archive_is_only_warned_about() -> None:
    record = "yaml/__init__.py,sha256=x,1\nyaml/loader.py,sha256=x,1\n"
    package = {"yaml/__init__.py": "", "yaml/loader.py": "", "pyyaml-6.0.3.dist-info/RECORD": record}
    (problem,) = found({"h.py": OWN, **package}, handler="h.py")
    assert isinstance(problem, Caution)
    assert "the package `yaml` in the archive replaces the image's own" in problem.message
    problems = found({"h.py": OWN, **package, "types.py": ""}, handler="h.py")
    assert [isinstance(p, Caution) for p in problems] == [True, False]
