"""Real toolchains and what the examples publish, made once and shared by all tests of all runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gdcbuild.app.cache import Cache
from gdcbuild.core.graph import Toolchain
from gdcbuild.core.ports import Flag
from gdcbuild.runners.toolchains import VenvToolchains
from gdcbuild.store.locks import FileLocks
from gdcbuild.store.workspace import DiskWorkspace
from tests.e2e.workspace import Workspace

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_cache() -> Path:
    """One cache for all that is slow to make. Tests that need an empty one make their own."""
    return Path(os.environ.get("GDCBUILD_TEST_CACHE", ROOT / ".cache" / "tests"))


def _toolchain(cache: Path, requirements: str) -> Path:
    """The python of a toolchain, made by gdcbuild itself from a requirements file of this repository."""
    opened = Cache(cache, lambda _: None)
    locks = FileLocks(cache / "locks")
    workspace = DiskWorkspace(ROOT, opened.records)
    made = VenvToolchains(cache / "toolchains", cache / "logs", workspace, opened.records, locks, lambda _: None)
    return made.ensure(Toolchain(requirements, requirements), Flag())


@pytest.fixture(scope="session")
def tf218_python(shared_cache: Path) -> Path:
    return _toolchain(shared_cache, "examples/toolchains/tensorflow-2.18.txt")


@pytest.fixture(scope="session")
def tf214_python(shared_cache: Path) -> Path:
    return _toolchain(shared_cache, "examples/tensorflow-2.14/toolchain.txt")


@pytest.fixture(scope="session")
def torch_python(shared_cache: Path) -> Path:
    return _toolchain(shared_cache, "examples/toolchains/pytorch-2.13.txt")


@pytest.fixture(scope="session")
def torchserve_bin(shared_cache: Path) -> Path:
    """The bin folder of an environment with TorchServe."""
    return _toolchain(shared_cache, "tests/serving/requirements.txt").parent


def examples(to: Path, cache: Path, folder: str = "") -> Workspace:
    """A copy of the example workspace, or of one below examples/, as a fresh clone would have it."""
    if folder:
        shutil.copytree(ROOT / folder, to, ignore=shutil.ignore_patterns("bucket", "__pycache__"))
    else:
        ignored = shutil.ignore_patterns("bucket", "__pycache__")
        shutil.copytree(ROOT / "examples", to / "examples", ignore=ignored)
        shutil.copy(ROOT / "gdcbuild.yaml", to)
    return Workspace(to, cache)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """The bucket after `gdcbuild apply` of the examples."""
    workspace = examples(tmp_path_factory.mktemp("published") / "workspace", shared_cache)
    workspace.ok("apply")
    return workspace.root / "bucket"


@pytest.fixture(scope="session")
def published_214(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> Path:
    """The bucket after `gdcbuild apply` of the TensorFlow 2.14 examples."""
    folder = tmp_path_factory.mktemp("published214") / "workspace"
    workspace = examples(folder, shared_cache, "examples/tensorflow-2.14")
    workspace.ok("apply")
    return workspace.root / "bucket"


@pytest.fixture(scope="session")
def held_out(tmp_path_factory: pytest.TempPathFactory, torch_python: Path) -> Path:
    """Digits no example has learnt from: test_images float32 [n, 64] and test_labels [n]."""
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    subprocess.run([torch_python, ROOT / "examples/digits/split.py", path], check=True)
    return path
