"""Parts of the TensorFlow worker that need no TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gdcbuild.frameworks.tensorflow import worker
from gdcbuild.runners import child


class Thing:
    pass


def test_the_set_keeps_order_and_compares_by_identity() -> None:
    things = [Thing() for _ in range(50)]
    found = worker.OrderedWeakSet()
    for thing in [*things, *reversed(things)]:
        found.add(thing)
    assert list(found) == things


def test_the_set_forgets_what_is_gone_and_takes_another_at_its_address() -> None:
    found = worker.OrderedWeakSet()
    kept = Thing()
    gone = Thing()
    found.add(gone)
    address = id(gone)
    del gone
    found.add(kept)
    assert list(found) == [kept]
    others: list[Thing] = []
    while not others or id(others[-1]) != address:
        others.append(Thing())
        assert len(others) < 100_000
    found.add(others[-1])
    assert list(found) == [kept, others[-1]]


def test_a_table_is_named_by_content_not_by_place(tmp_path: Path) -> None:
    names = []
    for place, text in (("a", "x"), ("b", "x"), ("c", "y")):
        file = tmp_path / place / "words.txt"
        file.parent.mkdir()
        file.write_text(text)
        names.append(worker.by_content(f"hash_table_{file}_-2_-1", str(file)))
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("hash_table_words.txt-")
    assert worker.by_content("hash_table_gs://b/words_-2", "gs://b/words") == "hash_table_gs://b/words_-2"


def test_what_an_estimator_wrote_moves_to_the_root(tmp_path: Path) -> None:
    for name in ("saved_model.pb", "variables/variables.index"):
        file = tmp_path / "1700000000" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    worker.lift(tmp_path)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()) == [
        "saved_model.pb",
        "variables/variables.index",
    ]
    assert not (tmp_path / "1700000000").exists()


def asked_of(tmp_path: Path) -> dict[str, str]:
    """What the child reports in a Python that has only the packages in `tmp_path`/site."""
    request = {"folder": "in", "out": "out", "error": "error.json", "worker": worker.__file__, "params": {"way": "keras"}}
    (tmp_path / "request.json").write_text(json.dumps(request))
    run = f"runpy.run_path({child.__file__!r}, run_name='__main__')"
    start = f"import runpy, sys; sys.path.append('site'); sys.argv[1:] = ['request.json']; {run}"
    bare = [sys.executable, "-I", "-S", "-c", start]  # -S: none of the installed packages
    assert subprocess.run(bare, check=False, cwd=tmp_path).returncode == 1
    found: dict[str, str] = json.loads((tmp_path / "error.json").read_text())
    return found


def test_a_toolchain_without_tensorflow(tmp_path: Path) -> None:
    report = asked_of(tmp_path)
    assert report["message"] == "the toolchain has no tensorflow"
    assert "add it to the requirements" in report["hint"]
    assert "tensorflow-cpu==2." in report["hint"]
    assert "without a toolchain" in report["hint"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise AttributeError('no ImpImporter')", "AttributeError: no ImpImporter"),
        ("import distutils_gone", "ModuleNotFoundError: No module named 'distutils_gone'"),
    ],
)
def test_a_toolchain_whose_packages_do_not_match(tmp_path: Path, code: str, said: str) -> None:
    (tmp_path / "site/tensorflow").mkdir(parents=True)
    (tmp_path / "site/tensorflow/__init__.py").write_text("import setuptools_of_old")
    (tmp_path / "site/setuptools_of_old.py").write_text(code)
    report = asked_of(tmp_path)
    assert report["message"] == f"the toolchain has tensorflow, which cannot be imported: {said}"
    assert "add " not in report["hint"]
    assert "setuptools_of_old.py:1: " in report["detail"].splitlines()[0]
