"""Which programs of the machine a command starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdcbuild.core.digest import Digest
from gdcbuild.errors import ManifestError
from gdcbuild.runners.programs import HostPrograms, interpreter
from gdcbuild.store.memory import MemoryRecords
from gdcbuild.store.workspace import DiskWorkspace


@pytest.fixture
def programs(tmp_path: Path) -> HostPrograms:
    """PATH has two folders, the first of which need not be there."""
    (tmp_path / "second").mkdir()
    variables = {"PATH": f"relative::{tmp_path}/first:{tmp_path}/second"}
    return HostPrograms(DiskWorkspace(Path("/"), MemoryRecords()), variables)


def program(path: Path, content: str, mode: int = 0o755) -> str:
    """Install one; its digest."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    return str(Digest.of(content.encode()))


def test_the_first_in_path_counts_by_its_bytes(programs: HostPrograms, tmp_path: Path) -> None:
    digest = program(tmp_path / "second/tool", "\x7fELF one")
    found = programs.of("tool", None, {})
    assert found.digests == {"tool": digest}
    assert found.looked == [tmp_path / "first/tool", tmp_path / "second/tool"]
    program(tmp_path / "first/tool", "\x7fELF cannot be executed", mode=0o644)
    assert programs.of("tool", None, {}).digests == {"tool": digest}
    assert programs.of(str(tmp_path / "second/tool"), None, {}).digests == {f"{tmp_path}/second/tool": digest}
    other = program(tmp_path / "first/tool", "\x7fELF other")
    assert programs.of("tool", None, {}).digests == {"tool": other}
    (tmp_path / "first/tool").unlink()
    (tmp_path / "first/tool").mkdir()
    assert programs.of("tool", None, {}).digests == {"tool": digest}


def test_a_script_brings_its_interpreters(programs: HostPrograms, tmp_path: Path) -> None:
    inner = program(tmp_path / "second/inner", "\x7fELF")
    outer = program(tmp_path / "second/outer", f"#!{tmp_path}/second/inner -x\n")
    tool = program(tmp_path / "second/tool", "#! /usr/bin/env -S A=1 outer -u\nprint()\n")
    assert programs.of("tool", None, {}).digests == {"tool": tool, "outer": outer, f"{tmp_path}/second/inner": inner}
    program(tmp_path / "second/tool", "#!/usr/bin/env gone\n")
    found = programs.of("tool", None, {})
    assert found.digests["gone"] == "not found"
    assert tmp_path / "second/gone" in found.looked


def test_scripts_that_interpret_each_other_end(programs: HostPrograms, tmp_path: Path) -> None:
    program(tmp_path / "second/a", "#!/usr/bin/env b\n")
    program(tmp_path / "second/b", "#!/usr/bin/env a\n")
    assert [*programs.of("a", None, {}).digests] == ["a", "b"]


def test_a_missing_program_may_appear_later(programs: HostPrograms, tmp_path: Path) -> None:
    found = programs.of("tool", None, {})
    assert found.digests == {"tool": "not found"}
    assert found.looked == [tmp_path / "first/tool", tmp_path / "second/tool"]


@pytest.mark.parametrize("word", ["./tool", "scripts/tool", "../tool"])
def test_a_program_among_the_inputs_counts_as_an_input(programs: HostPrograms, word: str) -> None:
    assert programs.of(word, None, {}) == ({}, [])


def test_a_toolchain_covers_its_own_programs(programs: HostPrograms, tmp_path: Path) -> None:
    bin = tmp_path / "bin"
    program(bin / "exporter", f"#!{bin}/python3\nmain()\n")
    program(bin / "quoted", f"#!/bin/sh\n'''exec' \"{bin}/python\" \"$0\" \"$@\"\n' '''\n")
    compiled = program(bin / "compiled", "\x7fELF")
    program(tmp_path / "second/tool", "not where a toolchain's commands are looked for")
    for word in ("python", "python3", "exporter", "quoted", "tool", "./tool"):
        assert programs.of(word, bin, {}).digests == {}, word
    assert programs.of("compiled", bin, {}).digests == {"compiled": compiled}
    assert programs.of("sh", bin, {}).digests == {"sh": str(Digest.of(Path("/bin/sh").read_bytes()))}
    assert programs.of("python3", None, {}).digests == {"python3": "not found"}


def test_a_program_that_cannot_be_read(tmp_path: Path) -> None:
    class Unreadable(DiskWorkspace):
        def digest(self, path: str) -> Digest:
            raise ManifestError(path)

    program(tmp_path / "tool", "\x7fELF")
    found = HostPrograms(Unreadable(Path("/"), MemoryRecords()), {"PATH": str(tmp_path)}).of("tool", None, {})
    assert found.digests == {"tool": "not readable"}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"#!/bin/sh -e\n", "/bin/sh"),
        (b"#!  /opt/x y\n", "/opt/x"),
        (b"#!/usr/bin/env python3\nmore", "python3"),
        (b"#!/bin/env -S -i A=1 python3 -u\n", "python3"),
        (b"#!/usr/bin/env", ""),
        (b"#!\n", ""),
        (b"\x7fELF", ""),
        (b"", ""),
    ],
)
def test_interpreters(line: bytes, found: str) -> None:
    assert interpreter(line) == found


def test_a_path_that_the_action_may_see_is_the_one_that_counts(programs: HostPrograms, tmp_path: Path) -> None:
    digest = program(tmp_path / "third/tool", "\x7fELF")
    for bin in (None, tmp_path / "bin"):
        assert programs.of("tool", bin, {"PATH": str(tmp_path / "third")}).digests == {"tool": digest}
