"""Find the pickles in an archive, including its zip, tar and compressed files, and the globals unpickling would import."""

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
"""Levels of nested archives that are searched."""

PICKLES = frozenset({".pkl", ".pickle", ".p", ".joblib", ".dill", ".cloudpickle"})
"""Endings of files that must be pickles: one that cannot be read as a pickle is reported."""

WEIGHTS = frozenset({".pt", ".pth", ".ckpt", ".bin"})
"""Endings of files that `torch.load` unpickles even when they do not start as a modern pickle."""

MEMBER = 10
"""Cost of a member of a nested archive, in pickle opcodes: PyTorch may write one for each tensor."""

MAX_ARRAY_HEADER = 64 << 10

_ARRAY = b"\x93NUMPY"
_OBJECTS = re.compile(rb"['\"][|<>=]?O['\"]|\\")
"""In an array's header: objects, which are pickled, or an escape that may hide them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A pickle that uses globals weights do not need. `place` is "MEMBER" or "MEMBER in ARCHIVE"; `why` when not read."""

    place: str
    names: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Inside:
    """The archive that files are in: its place ("" for the artifact itself), its depth, and whether it is TorchScript.

    With `only_weights`, only the globals that PyTorch's `weights_only` accepts are expected.
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
            raise UnreadableArchive(f"archives are nested deeper than {MAX_DEPTH} levels")
        return replace(self, place=place, depth=self.depth + 1, script=script)


def scan(archive: Archive, weights: str | None) -> list[Finding]:
    """All findings in the archive; `weights` is the name of the member that PyTorch loads."""
    where = _Inside(Budget())
    return [found for name in archive.names for found in _member(archive, name, where, name == weights)]


def look(archive: Archive, weights: str, only_weights: bool = False) -> list[Finding]:
    """All findings in one member that PyTorch loads; with `only_weights`, also what its `weights_only` refuses."""
    return list(_member(archive, weights, _Inside(Budget(), only_weights=only_weights), True))


def is_torchscript(archive: Archive) -> bool:
    """Whether PyTorch treats the zip file as TorchScript."""
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
    """Findings in a file that can only be read forward."""
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
    """Findings in a file, by how it starts and by its `end`: its last TAIL bytes.

    The ending of `name` counts. `packed`: the stream is already decompressed.
    """
    head, ending = stream.head, PurePosixPath(name).suffix.lower()
    pickled = bool(opcodes.MAGIC.match(head)) or ending in PICKLES | WEIGHTS or loaded
    try:
        if head.startswith(ZIP_MAGIC):
            data = io.BufferedReader(stream).read(MAX_UNPACKED + 1)
            if len(data) > MAX_UNPACKED:
                raise UnreadableArchive(f"it is a zip file over {MAX_UNPACKED >> 20} MiB in a compressed or tar file")
            with open_nested(io.BytesIO(data), len(data)) as inner:
                yield from _zip(inner, place, where)
        elif (content := streams.unpacked(stream, where.budget)) is not None:
            if packed:
                raise UnreadableArchive("it is compressed twice")
            inner_name = name if ending in PICKLES | WEIGHTS else name[: len(name) - len(ending)]
            yield from _streamed(content, inner_name, place, where, packed=True)
        elif streams.is_tar(head):
            if pickled:
                raise UnreadableArchive("it is both a pickle and a tar file")
            inside = where.deeper(place)
            for each, bytes_ in streams.members(cast(BinaryIO, stream), where.budget):
                yield from _streamed(bytes_, each, inside.placed(each), inside)
        else:
            if head.startswith(_ARRAY):
                yield from _array(stream, place, where)
            elif pickled:
                yield from _pickle(cast(BinaryIO, stream), place, where, ending in PICKLES)
            if is_zip(end()):
                raise UnreadableArchive("it is a zip file with data before it, such as a self-extracting archive")
    except UnreadableArchive as error:
        if isinstance(error, Broken) and not packed:  # reported for the compressed file that contains it
            raise
        yield Finding(place, (), str(error))


def _array(stream: Ahead, place: str, where: _Inside) -> Iterator[Finding]:
    """Findings in an array: an array of objects has a pickle after its header."""
    width = 2 if stream.head[6:7] == b"\x01" else 4
    length = 8 + width + int.from_bytes(stream.head[8 : 8 + width], "little")
    if length > MAX_ARRAY_HEADER:
        raise UnreadableArchive(f"the header of its array has more than {MAX_ARRAY_HEADER >> 10} KiB")
    reader = io.BufferedReader(stream)
    if _OBJECTS.search(reader.read(length)):
        yield from _pickle(reader, place, where, True)


def _pickle(stream: BinaryIO, place: str, where: _Inside, surely: bool) -> Iterator[Finding]:
    found = opcodes.read(stream, where.budget, surely)
    names = found.names if found.whole or not surely else found.names | {UNREAD}
    odd = unexpected(names, where.script, where.only_weights)
    if odd:
        yield Finding(place, tuple(odd))
