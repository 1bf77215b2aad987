"""What pip gets to see, and the mark of what is finished."""

from __future__ import annotations

from pathlib import Path

from gdcbuild.core.events import Event, Warned
from gdcbuild.core.graph import Toolchain
from gdcbuild.core.ports import Flag
from gdcbuild.runners.toolchains import VenvToolchains, _pip_environment, mark_of
from gdcbuild.store.memory import MemoryLocks, MemoryRecords, MemoryWorkspace


def test_pip_sees_its_settings_and_no_keys() -> None:
    ours = {"PATH": "p", "PIP_NO_INDEX": "1", "https_proxy": "x", "HTTPS_PROXY": "y", "LC_ALL": "C", "HOME": "h"}
    others = {"AWS_SECRET_ACCESS_KEY": "s", "AWS_ACCESS_KEY_ID": "k", "GDCBUILD_ENV": "e", "PYTHONPATH": "q", "TOKEN": "t"}
    assert _pip_environment({**ours, **others}) == ours


def test_a_damaged_mark_is_told_and_written_anew(tmp_path: Path) -> None:
    told: list[Event] = []
    workspace, toolchain = MemoryWorkspace({"r.txt": b"x==1\n"}), Toolchain("t", "r.txt")

    def fresh() -> VenvToolchains:
        return VenvToolchains(tmp_path, tmp_path, workspace, MemoryRecords(), MemoryLocks(), told.append)

    made = tmp_path / fresh()._recipe(toolchain)
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "python").touch()
    fresh()._mark(made.name)
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
    one, other = (tmp_path / toolchains._recipe(Toolchain("t", name)) for name in ("r.txt", "s.txt"))
    for folder in (one, other):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").touch()
    toolchains._mark(one.name)
    (other / "toolchain.json").write_bytes((one / "toolchain.json").read_bytes())
    assert (mark_of(other), bool(mark_of(one))) == ("", True)
