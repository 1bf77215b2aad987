"""Finds the pickles in an archive, in archives in it, and in arrays, and says what unpickling them would reach for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from gdcbuild.frameworks.torchserve import pickles
from gdcbuild.frameworks.torchserve.archive import ZIP_MAGIC, Archive
from gdcbuild.frameworks.torchserve.layout import Unreadable
from gdcbuild.frameworks.torchserve.pickles import UNREAD, Budget

MAX_DEPTH = 4
"""Archives within archives that are looked into."""

PICKLES = frozenset({".pkl", ".pickle", ".p", ".joblib", ".dill", ".cloudpickle"})
"""Endings of files that are nothing but pickles: one that cannot be read as one is told."""

WEIGHTS = frozenset({".pt", ".pth", ".ckpt", ".bin"})
"""Endings of files that `torch.load` unpickles even when they do not begin as a pickle of today."""

_ARRAY = b"\x93NUMPY"
_OBJECTS = re.compile(rb"['\"][|<>=]?O['\"]|\\")
"""In an array's header: objects, which are pickled, or an escape that may be hiding them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A pickle with more in it than weights are made of. `place` is "MEMBER", or "MEMBER in ARCHIVE"; `why` when unread."""

    place: str
    names: tuple[str, ...]
    why: str = ""


def scan(archive: Archive, weights: str | None) -> list[Finding]:
    """Everything of that kind in the archive; `weights` names the member that PyTorch loads."""
    budget = Budget()
    return [found for name in archive.names for found in _member(archive, name, "", budget, name == weights, 1)]


def look(archive: Archive, weights: str) -> list[Finding]:
    """Everything of that kind in one member, which PyTorch loads."""
    return list(_member(archive, weights, "", Budget(), True, 1))


def is_torchscript(archive: Archive) -> bool:
    """True for a zip file that PyTorch takes for TorchScript."""
    return any(name.partition("/")[2] == "constants.pkl" for name in archive.names)


def _member(archive: Archive, name: str, inside: str, budget: Budget, loaded: bool, depth: int) -> Iterator[Finding]:
    place = f"{name} in {inside}" if inside else name
    ending = PurePosixPath(name).suffix.lower()
    try:
        head = archive.start(name, 8)
        if head.startswith(ZIP_MAGIC):
            if depth >= MAX_DEPTH:
                raise Unreadable("archives lie deeper in each other than is looked into")
            with archive.nested(name) as inner:
                assert inner is not None
                for each in inner.names:
                    yield from _member(inner, each, place, budget, False, depth + 1)
        elif head.startswith(_ARRAY):
            yield from _array(archive, name, place, budget)
        elif pickles.MAGIC.match(head) or ending in PICKLES | WEIGHTS or loaded:
            yield from _pickle(archive, name, place, budget, 0, ending in PICKLES)
    except Unreadable as error:
        yield Finding(place, (), str(error))


def _array(archive: Archive, name: str, place: str, budget: Budget) -> Iterator[Finding]:
    """An array of objects holds a pickle behind its header."""
    start = archive.start(name, 12)
    width = 2 if start[6:7] == b"\x01" else 4
    end = 8 + width + int.from_bytes(start[8 : 8 + width], "little")
    header = archive.start(name, min(end, 1 << 16))
    if _OBJECTS.search(header):
        yield from _pickle(archive, name, place, budget, end, True)


def _pickle(archive: Archive, name: str, place: str, budget: Budget, offset: int, surely: bool) -> Iterator[Finding]:
    names: set[str] = set()
    with archive.open(name) as stream:
        stream.seek(offset)
        found = list(pickles.read(stream, budget))
    for each in found:
        names |= each.names
    if surely and not found[0].whole:
        names.add(UNREAD)
    odd = pickles.unexpected(names, is_torchscript(archive))
    if odd:
        yield Finding(place, tuple(odd))
