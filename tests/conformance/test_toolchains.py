"""What all toolchains do. The real ones are made from a requirements file that installs next to nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gdcbuild.core.events import Event, JobFinished, JobStarted
from gdcbuild.core.graph import Toolchain
from gdcbuild.core.ports import Flag, Toolchains
from gdcbuild.errors import ActionFailed, Location
from gdcbuild.runners.memory import FixedToolchains
from gdcbuild.runners.toolchains import VenvToolchains
from gdcbuild.store.memory import MemoryLocks, MemoryRecords, MemoryWorkspace

WHERE = Location("gdcbuild.yaml", 7, 3)
SIX = Toolchain("six.txt", "six.txt", WHERE)
WRONG = Toolchain("wrong.txt", "wrong.txt", WHERE)
OWN = Toolchain("interpreter")
FILES = {"six.txt": b"six==1.17.0\n", "wrong.txt": b"this is no requirement\n"}


@dataclass
class Lab:
    """Toolchains that can be had afresh, as the next run of the command would."""

    fresh: Callable[[], Toolchains]
    events: list[Event] = field(default_factory=list)


@contextmanager
def venvs(folder: Path) -> Iterator[Lab]:
    events: list[Event] = []
    records, workspace = MemoryRecords(), MemoryWorkspace(FILES)
    yield Lab(
        lambda: VenvToolchains(folder / "made", folder / "logs", workspace, records, MemoryLocks(), events.append), events
    )


@contextmanager
def fixed(_folder: Path) -> Iterator[Lab]:
    toolchains = FixedToolchains({"six.txt": "digest of six"})
    yield Lab(lambda: toolchains)


@pytest.fixture(scope="module", params=[pytest.param(venvs, marks=pytest.mark.toolchain), fixed])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with request.param(tmp_path_factory.mktemp("toolchains")) as made:
        yield made


def test_our_own_interpreter_is_always_there(lab: Lab) -> None:
    toolchains = lab.fresh()
    assert toolchains.digest(OWN)
    assert toolchains.ensure(OWN, Flag()) == Path(sys.executable)
    assert toolchains.digest(OWN) == lab.fresh().digest(OWN)
    assert toolchains.bin(OWN) == Path(sys.executable).parent
    assert lab.events == []


def test_the_contents_of_a_digest_are_still_known_later(lab: Lab) -> None:
    digest = lab.fresh().digest(OWN)
    assert digest
    assert lab.fresh().contents(digest) == lab.fresh().contents(digest)
    assert lab.fresh().contents("no such digest") == {}


def test_a_failed_installation_is_reported_with_its_line(lab: Lab) -> None:
    toolchains = lab.fresh()
    with pytest.raises(ActionFailed) as caught:
        toolchains.ensure(WRONG, Flag())
    assert [p.where for p in caught.value.problems] == [WHERE]
    assert toolchains.digest(WRONG) is None
    lab.events.clear()


@pytest.mark.slow
def test_installed_once_and_known_from_then_on(lab: Lab) -> None:
    toolchains = lab.fresh()
    assert toolchains.digest(SIX) is None
    bin = toolchains.bin(SIX)
    python = toolchains.ensure(SIX, Flag())
    assert python.parent == bin
    subprocess.run([python, "-c", "pass"], check=True)
    digest = toolchains.digest(SIX)
    assert digest
    assert digest != toolchains.digest(OWN)
    begun = len(lab.events)
    assert lab.fresh().ensure(SIX, Flag()) == toolchains.ensure(SIX, Flag()) == python
    assert lab.fresh().digest(SIX) == digest
    assert len(lab.events) == begun


@pytest.mark.slow
@pytest.mark.toolchain
def test_the_real_one_has_the_requirements_and_reports_them(tmp_path: Path) -> None:
    with venvs(tmp_path) as lab:
        python = lab.fresh().ensure(SIX, Flag())
        shown = subprocess.run([python, "-c", "import six; print(six.__version__)"], capture_output=True, text=True, check=True)
        assert shown.stdout == "1.17.0\n"
        started, finished = lab.events
        assert started == JobStarted("six.txt", "toolchain")
        assert isinstance(finished, JobFinished)
        assert (finished.job, finished.outcome, Path(finished.log).exists()) == ("six.txt", "installed", True)
    with venvs(tmp_path / "elsewhere") as other:
        other.fresh().ensure(SIX, Flag())
        assert other.fresh().digest(SIX) == lab.fresh().digest(SIX)
        made_of = lab.fresh().contents(str(lab.fresh().digest(SIX)))
        assert set(made_of) == {"interpreter", "six"}
        assert made_of["six"].startswith("1.17.0 sha256:")
        assert "3." in made_of["interpreter"]
