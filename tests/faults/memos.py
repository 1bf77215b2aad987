"""Damage in the state files beside the database: each is reported, ignored, and written again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from gdcbuild.core.events import Event
from gdcbuild.core.graph import Toolchain
from gdcbuild.core.ports import Flag
from gdcbuild.errors import Problem
from gdcbuild.memory import snapshot
from gdcbuild.remotes import listings
from gdcbuild.runners.toolchains import MARK, VenvToolchains
from gdcbuild.store.folder import prepare
from gdcbuild.store.locks import FileLocks
from gdcbuild.store.memory import MemoryRecords, MemoryWorkspace
from tests.faults.edits import Case, damaged, fresh_folder
from tests.faults.scene import Fault

PARTS = {f"m{n}": snapshot.Part("gdcbuild.yaml", ("a.pt",), f"{n:032x}", ("step",), []) for n in range(9)}
PARTS["step"] = snapshot.Part("gdcbuild.yaml", ("a.pt",), "0" * 32, (), [])
HEAD = snapshot.Head("basis", ("gdcbuild.yaml",), "1" * 32, {}, "2" * 32, {"m1": ("gdcbuild.yaml", ("1",))}, (), {}, {})
LISTING = {f"m/{n}/": ([n, n, n], ["b", "a"]) for n in range(9)}


def kinds() -> Iterator[tuple[str, Callable[[Case], str], int]]:
    """The name of each, what tries a case on it, and how long the file is."""
    yield "CACHEDIR.TAG", _tag, 105
    yield MARK, _toolchain, 141
    with fresh_folder() as folder:
        snapshot.write(folder / "snapshot", HEAD, PARTS, None, ())
        data = (folder / "snapshot").read_bytes()
        yield "snapshot", partial(_snapshot, data), len(data)
        listings._write(folder / "listing", LISTING)
        data = (folder / "listing").read_bytes()
        yield "listing", partial(_listing, data), len(data)


def _tag(case: Case) -> str:
    with fresh_folder() as folder:
        told: list[Problem] = []
        prepare(folder / "cache", told.append)
        tag = folder / "cache" / "CACHEDIR.TAG"
        whole = tag.read_bytes()
        tag.write_bytes(damaged(whole, case))
        harmless = tag.read_bytes() == whole
        prepare(folder / "cache", told.append)
        if tag.read_bytes() != whole or bool(told) == harmless:
            raise Fault(f"the tag is not fixed, or not reported: {told}")
        return "no harm" if harmless else "miss, reported"


def _toolchain(case: Case) -> str:
    """The mark of a finished toolchain. It is said to be damaged, and what the toolchain is made of is known all the same."""
    with fresh_folder() as folder:
        told: list[Event] = []
        workspace, locks = MemoryWorkspace({"r.txt": b"x==1\n"}), FileLocks(folder / "locks")
        toolchain = Toolchain("t", "r.txt")

        def fresh() -> VenvToolchains:
            return VenvToolchains(folder / "made", folder, workspace, MemoryRecords(), locks, told.append)

        recipe = fresh()._recipe(toolchain).name
        made = folder / "made" / recipe
        info = made / "lib/python3/site-packages/x-1.dist-info"
        for path in (made / "bin" / "python", info / "RECORD"):
            path.parent.mkdir(parents=True)
            path.write_text("x.py,sha256=abc,1\n")
        (info / "REQUESTED").touch()
        fresh()._mark(recipe, None)
        whole, right = (made / MARK).read_bytes(), fresh().digest(toolchain)
        (made / MARK).write_bytes(damaged(whole, case))
        harmless = (made / MARK).read_bytes() == whole
        found = fresh().digest(toolchain)
        if right is None or found != (right if harmless else None) or bool(told) == harmless:
            raise Fault(f"{right} became {found}, and the warnings were {told}")
        fresh().ensure(toolchain, Flag())
        if fresh().digest(toolchain) != right:
            raise Fault("it is not fixed")
        return "no harm" if harmless else "miss, reported"


def _snapshot(whole: bytes, case: Case) -> str:
    with fresh_folder() as folder:
        file, told = folder / "snapshot", list[bool]()
        file.write_bytes(damaged(whole, case))
        found = snapshot.Snapshot.read(file, lambda: told.append(True))
        parts = {name: found.part(name) for name in PARTS} if found else {}
        if (found and not _same(found.head, HEAD)) or any(
            part and not _same(part, PARTS[name]) for name, part in parts.items()
        ):
            raise Fault("damage is believed")
        return _told(None in (found, *parts.values()), told, snapshot.is_whole(file))


def _listing(whole: bytes, case: Case) -> str:
    with fresh_folder() as folder:
        file, told = folder / "listings" / "listing", list[Problem]()
        file.parent.mkdir(mode=0o700)  # what others can write to is not read at all
        file.write_bytes(damaged(whole, case))
        found = listings._read(file, told.append)
        if found not in ({}, LISTING):
            raise Fault("damage is believed")
        return _told(not found, told, listings.is_whole(file))


def _same(one: object, other: object) -> bool:
    return json.dumps(one) == json.dumps(other)


def _told(missed: bool, told: Sequence[object], whole: bool) -> str:
    if missed != bool(told) or missed == whole:
        raise Fault(f"missed: {missed}, warnings: {told}, found whole: {whole}")
    return "miss, reported" if missed else "no harm"
