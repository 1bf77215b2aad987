"""Finds the pickles in an archive, in zip, tar and compressed files in it too. Says what unpickling would reach for."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from gdcbuild.frameworks.torchserve.mar.archive import MAX_UNPACKED, ZIP_MAGIC, Archive, open_nested
from gdcbuild.frameworks.torchserve.mar.layout import TAIL, UnreadableArchive, is_zip
from gdcbuild.frameworks.torchserve.pickles import opcodes, streams
from gdcbuild.frameworks.torchserve.pickles.expected import UNREAD, unexpected
from gdcbuild.frameworks.torchserve.pickles.opcodes import Budget
from gdcbuild.frameworks.torchserve.pickles.streams import Ahead, Broken, Tail

MAX_DEPTH = 4
"""Archives within archives that are looked into."""

PICKLES = frozenset({".pkl", ".pickle", ".p", ".joblib", ".dill", ".cloudpickle"})
"""Endings of files that are nothing but pickles: one that cannot be read as one is told."""

WEIGHTS = frozenset({".pt", ".pth", ".ckpt", ".bin"})
"""Endings of files that `torch.load` unpickles even when they do not begin as a pickle of today."""

MEMBER = 10
"""What a member of an archive in the archive costs, in opcodes of a pickle: PyTorch may write one for each tensor."""

MAX_ARRAY_HEADER = 64 << 10

_ARRAY = b"\x93NUMPY"
_OBJECTS = re.compile(rb"['\"][|<>=]?O['\"]|\\")
"""In an array's header: objects, which are pickled, or an escape that may be hiding them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A pickle with more in it than weights are made of. `place` is "MEMBER", or "MEMBER in ARCHIVE"; `why` when unread."""

    place: str
    names: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Inside:
    """What files lie in: its place ("" for the artifact's archive), how deep it lies, and whether it is TorchScript.

    `only_weights` is true when no more is expected than PyTorch itself does.
    """

    budget: Budget
    place: str = ""
    depth: int = 1
    script: bool = False
    only_weights: bool = False

    def placed(self, name: str) -> str:
        return f"{name} in {self.place}" if self.place else name

    def deeper(self, place: str, script: bool = False) -> _Inside:
        if self.depth >= MAX_DEPTH:
            raise UnreadableArchive("archives are nested too deeply to be searched")
        return replace(self, place=place, depth=self.depth + 1, script=script)


def scan(archive: Archive, weights: str | None) -> list[Finding]:
    """Everything of that kind in the archive; `weights` names the member that PyTorch loads."""
    where = _Inside(Budget())
    return [found for name in archive.names for found in _member(archive, name, where, name == weights)]


def look(archive: Archive, weights: str, only_weights: bool = False) -> list[Finding]:
    """Everything of that kind in one member, which PyTorch loads; what its `weights_only` refuses too, when that is asked."""
    return list(_member(archive, weights, _Inside(Budget(), only_weights=only_weights), True))


def is_torchscript(archive: Archive) -> bool:
    """True for a zip file that PyTorch takes for TorchScript."""
    return any(name.partition("/")[2] == "constants.pkl" for name in archive.names)


def _member(archive: Archive, name: str, where: _Inside, loaded: bool) -> Iterator[Finding]:
    place = where.placed(name)
    try:
        with archive.nested(name) as inner:
            if inner is not None:
                yield from _zip(inner, place, where)
                return
        with archive.open(name) as stream:
            yield from _file(Ahead(stream), name, place, where, partial(archive.end, name, TAIL), loaded=loaded)
    except UnreadableArchive as error:
        yield Finding(place, (), str(error))


def _zip(archive: Archive, place: str, where: _Inside) -> Iterator[Finding]:
    inside = where.deeper(place, is_torchscript(archive))
    streams.pay(where.budget, MEMBER * len(archive.names))
    for name in archive.names:
        yield from _member(archive, name, inside, False)


def _streamed(stream: BinaryIO, name: str, place: str, where: _Inside, packed: bool = False) -> Iterator[Finding]:
    """A file that can only be read on."""
    whole = Tail(stream)
    return _file(Ahead(cast(BinaryIO, whole)), name, place, where, whole.end, packed=packed)


def _file(
    stream: Ahead,
    name: str,
    place: str,
    where: _Inside,
    end: Callable[[], bytes],
    *,
    loaded: bool = False,
    packed: bool = False,
) -> Iterator[Finding]:
    """A file by what it begins as, and by its `end`: its last TAIL bytes.

    `name` is the one whose ending counts, `packed` says that it has been decompressed before.
    """
    head, ending = stream.head, PurePosixPath(name).suffix.lower()
    pickled = bool(opcodes.MAGIC.match(head)) or ending in PICKLES | WEIGHTS or loaded
    try:
        if head.startswith(ZIP_MAGIC):
            data = io.BufferedReader(stream).read(MAX_UNPACKED + 1)
            if len(data) > MAX_UNPACKED:
                raise UnreadableArchive(f"it is a zip file of more than {MAX_UNPACKED >> 20} MiB in a compressed or tar file")
            with open_nested(io.BytesIO(data), len(data)) as inner:
                yield from _zip(inner, place, where)
        elif (content := streams.unpacked(stream, where.budget)) is not None:
            if packed:
                raise UnreadableArchive("it is compressed twice")
            inner_name = name if ending in PICKLES | WEIGHTS else name[: len(name) - len(ending)]
            yield from _streamed(content, inner_name, place, where, packed=True)
        elif streams.is_tar(head):
            if pickled:
                raise UnreadableArchive("it can be read both as a pickle and as a tar file")
            inside = where.deeper(place)
            for each, bytes_ in streams.members(cast(BinaryIO, stream), where.budget):
                yield from _streamed(bytes_, each, inside.placed(each), inside)
        else:
            if head.startswith(_ARRAY):
                yield from _array(stream, place, where)
            elif pickled:
                yield from _pickle(cast(BinaryIO, stream), place, where, ending in PICKLES)
            if is_zip(end()):
                raise UnreadableArchive("it is a zip file with something before it, such as one that extracts itself")
    except UnreadableArchive as error:
        if isinstance(error, Broken) and not packed:  # it is in what is compressed, of which that is told
            raise
        yield Finding(place, (), str(error))


def _array(stream: Ahead, place: str, where: _Inside) -> Iterator[Finding]:
    """An array of objects holds a pickle behind its header."""
    width = 2 if stream.head[6:7] == b"\x01" else 4
    length = 8 + width + int.from_bytes(stream.head[8 : 8 + width], "little")
    if length > MAX_ARRAY_HEADER:
        raise UnreadableArchive("the header of the array in it is longer than any")
    reader = io.BufferedReader(stream)
    if _OBJECTS.search(reader.read(length)):
        yield from _pickle(reader, place, where, True)


def _pickle(stream: BinaryIO, place: str, where: _Inside, surely: bool) -> Iterator[Finding]:
    found = opcodes.read(stream, where.budget, surely)
    names = found.names if found.whole or not surely else found.names | {UNREAD}
    odd = unexpected(names, where.script, where.only_weights)
    if odd:
        yield Finding(place, tuple(odd))
