"""What pip gets to see, and the mark of what is finished."""

from __future__ import annotations

import hashlib
import json
import platform
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from gdcbuild.core.events import Event, Warned
from gdcbuild.core.graph import Toolchain
from gdcbuild.core.ports import Flag
from gdcbuild.errors import ActionFailed, Location
from gdcbuild.runners.guarded import Place
from gdcbuild.runners.toolchains import VenvToolchains, _pip_environment, mark_of
from gdcbuild.store.memory import MemoryLocks, MemoryRecords, MemoryWorkspace

WHERE = Location("gdcbuild.yaml", 7, 3)


def test_pip_sees_its_settings_and_no_keys() -> None:
    ours = {"PATH": "p", "PIP_NO_INDEX": "1", "https_proxy": "x", "HTTPS_PROXY": "y", "LC_ALL": "C", "HOME": "h"}
    others = {"AWS_SECRET_ACCESS_KEY": "s", "AWS_ACCESS_KEY_ID": "k", "GDCBUILD_ENV": "e", "PYTHONPATH": "q", "TOKEN": "t"}
    assert _pip_environment({**ours, **others}) == ours


def test_a_damaged_mark_is_reported_and_written_again(tmp_path: Path) -> None:
    told: list[Event] = []
    workspace, toolchain = MemoryWorkspace({"r.txt": b"x==1\n"}), Toolchain("t", "r.txt")

    def fresh() -> VenvToolchains:
        return VenvToolchains(tmp_path, tmp_path, workspace, MemoryRecords(), MemoryLocks(), told.append)

    made = tmp_path / fresh()._recipe(toolchain).name
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "python").touch()
    fresh()._mark(made.name, None)
    right = fresh().digest(toolchain)
    assert (right is not None, told) == (True, [])
    text = (made / "toolchain.json").read_text()
    for wrong in (text.replace(str(right)[:4], "0000"), text[:-1], "", '{"schema": 1, "digest": "x"}'):
        (made / "toolchain.json").write_text(wrong)
        toolchains = fresh()
        assert toolchains.digest(toolchain) is None
        assert toolchains.digest(toolchain) is None
        assert [isinstance(e, Warned) and "is damaged" in e.problem.message for e in told] == [True]
        told.clear()
        assert toolchains.ensure(toolchain, Flag()) == made / "bin" / "python"
        assert toolchains.digest(toolchain) == right
        assert told == []


def test_a_mark_holds_in_its_place_only(tmp_path: Path) -> None:
    workspace = MemoryWorkspace({"r.txt": b"x==1\n", "s.txt": b"y==1\n"})
    toolchains = VenvToolchains(tmp_path, tmp_path, workspace, MemoryRecords(), MemoryLocks(), lambda _: None)
    one, other = (tmp_path / toolchains._recipe(Toolchain("t", name)).name for name in ("r.txt", "s.txt"))
    for folder in (one, other):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").touch()
    toolchains._mark(one.name, None)
    (other / "toolchain.json").write_bytes((one / "toolchain.json").read_bytes())
    assert (mark_of(other), bool(mark_of(one))) == ("", True)


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that the interpreter has besides its own."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def distribution(folder: Path, name: str, direct_url: str = "") -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text(f"{name}.py,sha256=abc,1\n")
    (info / "REQUESTED").touch()
    if direct_url:
        (info / "direct_url.json").write_text(direct_url)


def made_of(folder: Path, wanted: str, *installed: str) -> str | None:
    """The digest of an environment made from such requirements, with such distributions in it."""
    site = folder / "lib/python3.11/site-packages"
    site.mkdir(parents=True)
    for name in installed:
        distribution(site, name)
    if wanted:
        (folder / "requirements.txt").write_text(wanted)
    toolchains = VenvToolchains(folder.parent, folder, MemoryWorkspace({}), MemoryRecords(), MemoryLocks(), lambda _: None)
    toolchains._mark(folder.name, None)
    return mark_of(folder)


def test_bundled_packages_count_only_if_named(tmp_path: Path) -> None:
    alone = made_of(tmp_path / "alone", "x==1\n", "x")
    assert made_of(tmp_path / "unnamed", "x==1 # pip\n", "x", "pip", "setuptools") == alone
    assert made_of(tmp_path / "old", "", "x", "pip", "setuptools") == alone
    named = made_of(tmp_path / "named", "x==1\nSetuptools==1.0\n", "x", "pip", "setuptools")
    assert named not in (None, alone)
    assert made_of(tmp_path / "same", "setuptools==1.0\nx==1\n", "x", "setuptools") == named


def test_names_of_environments_stay_what_they_are_where_nothing_else_counts(tmp_path: Path) -> None:
    files = {"x.txt": b"x==1\n", "pip.txt": b"pip==1\n"}
    toolchains = VenvToolchains(tmp_path, tmp_path, MemoryWorkspace(files), MemoryRecords(), MemoryLocks(), lambda _: None)

    def first(data: bytes) -> str:
        made_from = [1, hashlib.sha256(data).hexdigest(), platform.python_version(), sysconfig.get_platform()]
        return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:32]

    assert [toolchains._recipe(Toolchain("t", f)).name == first(data) for f, data in files.items()] == [True, False]


def digest(tmp_path: Path) -> str | None:
    records = MemoryRecords()
    made = VenvToolchains(tmp_path, tmp_path, MemoryWorkspace({}), records, MemoryLocks(), lambda _: None)
    return made.digest(Toolchain("interpreter", where=WHERE))


def test_what_is_installed_as_editable_is_refused_by_name(tmp_path: Path, interpreter: Path) -> None:
    distribution(interpreter, "plain")
    distribution(interpreter, "from_a_folder", '{"url": "file:///x", "dir_info": {}}')
    distribution(interpreter, "odd", "[]")
    assert digest(tmp_path)
    distribution(interpreter, "mine", '{"url": "file:///x", "dir_info": {"editable": true}}')
    (interpreter / "older.egg-link").write_text("/x\n.")
    with pytest.raises(ActionFailed) as caught:
        digest(tmp_path)
    (problem,) = caught.value.problems
    assert (problem.where, "has mine, older installed as editable" in problem.message) == (WHERE, True)
    assert "install it without -e" in problem.hint


def test_gdcbuild_itself_may_be_editable(tmp_path: Path, interpreter: Path) -> None:
    before = digest(tmp_path)
    distribution(interpreter, "gdcbuild", '{"url": "file:///x", "dir_info": {"editable": true}}')
    assert digest(tmp_path) == before


def test_an_environment_with_an_editable_package_is_not_marked(tmp_path: Path) -> None:
    site = tmp_path / "recipe/lib/python3.11/site-packages"
    site.mkdir(parents=True)
    distribution(site, "mine", '{"url": "file:///x", "dir_info": {"editable": true}}')
    toolchains = VenvToolchains(tmp_path, tmp_path, MemoryWorkspace({}), MemoryRecords(), MemoryLocks(), lambda _: None)
    with pytest.raises(ActionFailed, match="has mine installed as editable"):
        toolchains._mark("recipe", WHERE)
    assert mark_of(tmp_path / "recipe") is None


Commands = list[list[str]]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    """What is run to make environments, of which nothing comes but the Python."""
    ran: Commands = []

    def run(place: Place, argv: Sequence[str], *_: object, **__: object) -> int:
        ran.append([*argv])
        (place.path / "bin").mkdir(exist_ok=True)
        (place.path / "bin" / "python").touch()
        return 0

    monkeypatch.setattr(Place, "run", run)
    return ran


class EditedMeanwhile(MemoryLocks):
    """Somebody edits a file while a lock is waited for."""

    def __init__(self, edit: Callable[[], None]) -> None:
        super().__init__()
        self._edit = edit

    @contextmanager
    def hold(self, *_: object) -> Iterator[None]:
        self._edit()
        yield


def test_the_environment_is_named_by_the_installed_requirements(tmp_path: Path, commands: Commands) -> None:
    workspace, toolchain = MemoryWorkspace({"r.txt": b"x==1\n"}), Toolchain("t", "r.txt")
    locks = EditedMeanwhile(lambda: workspace.files.update({"r.txt": b"x==2\n"}))
    toolchains = VenvToolchains(tmp_path, tmp_path, workspace, MemoryRecords(), locks, lambda _: None)
    assert toolchains.digest(toolchain) is None
    made = toolchains.ensure(toolchain, Flag()).parent.parent
    assert (made / "requirements.txt").read_bytes() == b"x==1\n"
    assert str(made / "requirements.txt") in commands[-1]
    assert [*toolchains.rests_on(toolchain)] == [made / "toolchain.json"]  # as long as this run lasts
    assert toolchains.digest(toolchain)
    fresh = VenvToolchains(tmp_path, tmp_path, workspace, MemoryRecords(), locks, lambda _: None)
    assert fresh.digest(toolchain) is None


def test_requirements_that_are_no_longer_pinned_are_not_installed(tmp_path: Path, commands: Commands) -> None:
    workspace = MemoryWorkspace({"r.txt": b"x==1\ny\n"})
    toolchains = VenvToolchains(tmp_path, tmp_path, workspace, MemoryRecords(), MemoryLocks(), lambda _: None)
    with pytest.raises(ActionFailed, match=r"r\.txt does not pin exactly what is installed") as caught:
        toolchains.ensure(Toolchain("t", "r.txt", WHERE), Flag())
    assert ([(p.where, p.detail) for p in caught.value.problems], commands) == (
        [(WHERE, "line 2: 'y' is not pinned to an exact version")],
        [],
    )


def test_modules_of_the_current_folder_are_not_imported(tmp_path: Path, commands: Commands) -> None:
    workspace = MemoryWorkspace({"r.txt": b"x==1\n"})
    toolchains = VenvToolchains(tmp_path, tmp_path, workspace, MemoryRecords(), MemoryLocks(), lambda _: None)
    toolchains.ensure(Toolchain("t", "r.txt"), Flag())
    assert [(argv[1:3], argv[3]) for argv in commands] == [(["-I", "-m"], "venv"), (["-I", "-m"], "pip")]


def test_packages_that_are_not_pinned_are_refused_with_the_lines_to_add(tmp_path: Path, commands: Commands) -> None:
    workspace, toolchain = MemoryWorkspace({"t/r.txt": b"x==1\n"}), Toolchain("t", "t/r.txt", WHERE)
    toolchains = VenvToolchains(tmp_path, tmp_path, workspace, MemoryRecords(), MemoryLocks(), lambda _: None)
    made = toolchains.ensure(toolchain, Flag()).parent.parent
    site = made / "lib/python3.11/site-packages"
    site.mkdir(parents=True)
    distribution(site, "x")
    distribution(site, "pip")
    toolchains.ensure(toolchain, Flag())
    for name in ("Typing_Extensions", "setuptools"):  # the latter replaced by a newer one, because something needs it
        distribution(site, name)
        (site / f"{name}-1.0.dist-info" / "REQUESTED").unlink()
    with pytest.raises(ActionFailed) as caught:
        toolchains.ensure(toolchain, Flag())
    (problem,) = caught.value.problems
    assert (problem.where, problem.message) == (WHERE, "t/r.txt does not pin 2 packages that pip installs for it")
    assert problem.hint.splitlines()[1:] == ["setuptools==1.0", "typing-extensions==1.0"]


def test_an_environment_with_packages_that_are_not_pinned_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: Commands
) -> None:
    fake = Place.run

    def run(place: Place, argv: Sequence[str], *rest: object, **options: object) -> int:
        site = place.path / "lib/python3.11/site-packages"
        if "pip" in argv:
            site.mkdir(parents=True)
            (site / "markupsafe-3.0.4.dist-info").mkdir()
        return fake(place, argv, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Place, "run", run)
    workspace, toolchain = MemoryWorkspace({"r.txt": b"jinja2==3.1.6\n"}), Toolchain("t", "r.txt", WHERE)
    toolchains = VenvToolchains(tmp_path, tmp_path / "logs", workspace, MemoryRecords(), MemoryLocks(), lambda _: None)
    for _ in range(2):
        with pytest.raises(ActionFailed, match=r"does not pin a package that pip installs for it(?s:.*)markupsafe==3\.0\.4"):
            toolchains.ensure(toolchain, Flag())
        assert toolchains.digest(toolchain) is None
    assert len(commands) == 4
