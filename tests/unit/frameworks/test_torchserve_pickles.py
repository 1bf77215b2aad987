"""Imports of a pickle, found without unpickling, compared with those of Python's own unpickler."""

from __future__ import annotations

import builtins
import bz2
import gzip
import io
import lzma
import pickle
import pickletools
import random
import struct
import sys
import tarfile
import time
import tracemalloc
import zlib
from collections import Counter, OrderedDict
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdcbuild.core.digest import BytesBlob
from gdcbuild.frameworks.torchserve.mar.archive import open_archive
from gdcbuild.frameworks.torchserve.pickles.expected import COMPUTED, UNREAD, unexpected
from gdcbuild.frameworks.torchserve.pickles.opcodes import Budget, read
from gdcbuild.frameworks.torchserve.pickles.search import Finding, scan
from tests.unit.frameworks.zips import Entry, made, mar


class Anything:
    """A substitute for everything a pickle imports."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Anything:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def __setstate__(self, state: Any) -> None: ...
    def __setitem__(self, key: Any, value: Any) -> None: ...
    def append(self, item: Any) -> None: ...
    def extend(self, items: Any) -> None: ...
    def add(self, item: Any) -> None: ...


def asked(data: bytes, unpickler: Any = pickle.Unpickler) -> tuple[set[str], bool]:
    """The globals that Python imports when it unpickles, and whether it finishes. Gives it only substitutes."""
    names = set()

    class Unpickler(unpickler):  # type: ignore[misc] # C's or Python's
        def find_class(self, module: str, name: str) -> Any:
            names.add(f"{module} {name}")
            return Anything

        def persistent_load(self, pid: Any) -> Any:
            return None

        def get_extension(self, code: int) -> Any:
            raise AssertionError

    try:
        Unpickler(io.BytesIO(data)).load()
    except Exception:
        return names, False
    return names, True


def found(data: bytes) -> set[str]:
    return read(io.BytesIO(data), Budget(), surely=True).names


class Evil:
    def __reduce__(self) -> Any:
        return builtins.eval, ("1",)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300) | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=9), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(OrderedDict, st.dictionaries(st.text(max_size=9), inner, max_size=3))
        | st.frozensets(st.text(max_size=4), max_size=3)
        | st.builds(Counter, st.text(max_size=4))
        | st.just(Evil())
        | st.just(Path)
        | st.builds(complex, st.just(1.0))
        | st.builds(bytearray, st.binary(max_size=9))
    ),
    max_leaves=20,
)


@pytest.mark.slow
@settings(max_examples=500)
@given(value=VALUES, protocol=st.integers(0, 5))
def test_what_python_would_ask_for_is_found(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert (found(data), True) == asked(data)


UNSAFE = {"EXT1", "EXT2", "EXT4", "PUT", "LONG_BINPUT", "BYTEARRAY8"}
"""Python itself would ask the registry, make room for 2^32 places in the memo, or stumble over its own bytearray."""

OPCODES = [op.code.encode("latin-1") for op in pickletools.opcodes if op.name not in UNSAFE]
PIECES = [
    *(b"cos\nsystem\n", b"ios\nsystem\n", b"\x8c\x02os", b"\x8c\x06system", b"X\x02\0\0\0os", b"Vos\n"),
    *(b"V\\u006fs\n", b"S'os'\n"),
    *(b"U\x02os", b"T\x02\0\0\0os", b"\x93", b"\x94", b"q\0", b"q\1", b"h\0", b"h\1", b"p0\n", b"g0\n", b"p1\n", b"g1\n"),
    *(b"r\0\0\0\0", b"j\0\0\0\0", b"(", b"1", b"0", b"2", b"t", b")", b"R", b".", b"N", b"}", b"]", b"\x8d" + b"\2" + bytes(7)),
    *(b"\x80\4", b"\x95" + bytes(8), b"P1\n", b"Q", b"l", b"d", b"o", b"b", b"a", b"e", b"s", b"u", b"\x85", b"\x86", b"\x87"),
]  # fmt: skip


@pytest.mark.slow
@settings(max_examples=2000)
@given(seed=st.integers(0, 1 << 40))
def test_nothing_that_python_would_ask_for_is_missed(seed: int) -> None:
    """Random programs for the pickle machine: every import of Python is named, or reported as unknown."""
    rng = random.Random(seed)
    data = b"".join(rng.choice(PIECES) if rng.random() < 0.9 else rng.choice(OPCODES) for _ in range(rng.randint(1, 24)))
    names = found(data + b".")
    assert names & {COMPUTED, UNREAD} or asked(data + b".")[0] <= names


@pytest.mark.slow
@settings(max_examples=1000)
@given(seed=st.integers(0, 1 << 40), protocol=st.integers(0, 5))
def test_nothing_is_missed_in_a_damaged_one(seed: int, protocol: int) -> None:
    """Uses the unpickler written in Python: the one in C allocates memory up to any memo index."""
    rng = random.Random(seed)
    changed = bytearray(pickle.dumps({"a": [1, Evil(), "x" * 300], "b": OrderedDict(c=Counter("ab"))}, protocol))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed))
        changed[at : at + rng.randint(0, 2)] = rng.choice([*PIECES, rng.randbytes(1)])
    names = found(bytes(changed))
    cut = any("..." in name for name in names)  # a line that is longer than names are
    assert cut or names & {COMPUTED, UNREAD} or asked(bytes(changed), pickle._Unpickler)[0] <= names


class Told(type):
    """Records that a pickle called it, or one of its methods."""

    used = False

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        Told.used = True
        return cls

    append = extend = add = __setitem__ = __setstate__ = __call__


class Global(metaclass=Told):
    """A substitute for every global."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        Told.used = True
        return cls


def used(data: bytes) -> bool:
    """Whether Python would call a global, or a method of it, before the pickle breaks."""

    class Unpickler(pickle._Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return Global

        def persistent_load(self, pid: Any) -> Any:
            return None

    Told.used = False
    with suppress(Exception):
        Unpickler(io.BytesIO(data)).load()
    return Told.used


@pytest.mark.parametrize(
    ("before", "call"),
    [
        *((b"cos\nsystem\n)", b"R"), (b"cos\nsystem\n)", b"\x81"), (b"cos\nsystem\n)}", b"\x92"), (b"(cos\nsystem\n", b"o")),
        *((b"(", b"ios\nsystem\n"), (b"cos\nsystem\nN", b"b"), (b"cos\nsystem\nN", b"a"), (b"cos\nsystem\n(N", b"e")),
        *((b"cos\nsystem\nNN", b"s"), (b"cos\nsystem\n(NN", b"u"), (b"cos\nsystem\n(N", b"\x90")),
    ],
)
def test_a_broken_pickle_counts_once_it_has_called_something(before: bytes, call: bytes) -> None:
    assert not used(before + b"\xff")
    assert read(io.BytesIO(before + b"\xff"), Budget()).names == set()
    assert used(before + call + b"\xff")
    assert read(io.BytesIO(before + call + b"\xff"), Budget()).names == {"os system"}


@settings(max_examples=500)
@given(seed=st.integers(0, 1 << 40))
def test_whatever_python_would_call_counts_though_the_rest_is_broken(seed: int) -> None:
    """Random programs without magic number or end, such as a file of labels could be."""
    rng = random.Random(seed)
    data = b"".join(rng.choice([p for p in PIECES if p != b"."]) for _ in range(rng.randint(1, 24)))
    data = rng.choice([b"", b"(", b"cos\nsystem\n"]) + data + b"\xff"
    assert not used(data) or read(io.BytesIO(data), Budget()).names


def test_raw_numbers_are_not_pickles() -> None:
    rng = random.Random(11)
    raw = [struct.pack("<256f", *(rng.gauss(0, 1) for _ in range(256))) for _ in range(2000)]
    assert sum(bool(read(io.BytesIO(data), Budget(), surely=True).names) for data in raw) > 20  # if they were
    assert sum(bool(read(io.BytesIO(data), Budget()).names) for data in raw) <= 1


HIDDEN = {
    "global": (b"cos\nsystem\n.", ["os.system"]),
    "instance": (b"(ios\nsystem\n.", ["os.system"]),
    "stack": (b"\x80\4\x8c\2os\x8c\6system\x93.", ["os.system"]),
    "memo": (b"\x80\4\x8c\2os\x94\x8c\6system\x94h\0h\1\x93.", ["os.system"]),
    "memo, put twice": (
        b"\x80\4X\x0b\0\0\0collectionsq\1q\1\x8c\2os\x94h\1\x8c\6system\x93.",
        [COMPUTED, "collections.system"],
    ),
    "name of parts": (b"\x80\4\x8c\5torch\x8c\x17serialization.os.system\x93.", ["torch.serialization.os.system"]),
    "name from a call": (b"\x80\4cbuiltins\nstr\n)R\x8c\6system\x93.", [COMPUTED]),
    "name with escapes": (b"V\\u006fs\nVsystem\n\x93.", [COMPUTED]),
    "name too long": (b"\x80\4\x8c\2osX\0\4\0\0" + b"a" * 1024 + b"\x93.", [COMPUTED]),
    "extension": (b"\x80\2\x82\7.", ["copyreg.extension.7"]),
    "behind a first pickle": (b"\x80\2}.\x80\2cos\nsystem\n.", ["os.system"]),
    "before it breaks": (b"\x80\2cos\nsystem\n(S'x'\ntR\xff", ["os.system"]),
    "in the last line, which has no end": (b"\x80\2cos\nsystem.", ["os.system"]),
    "in a long line": (b"\x80\2ctorch\nA" + b"a" * 300 + b"Tensor\n.", ["torch.A" + "a" * 255 + "..."]),
    "in bytes": (b"\x80\2c_pickle\nloads\nU\1.\x85R.", ["_pickle.loads"]),
    "load of a storage": (b"\x80\2ctorch.storage\n_load_from_bytes\n.", ["torch.storage._load_from_bytes"]),
    "control characters": (b"co\x1bs\nsystem\n.", ["o\\x1bs.system"]),
    "one that looks alike": (b"cc\xd0\xbellections\nOrderedDict\n.", ["c\\u043ellections.OrderedDict"]),
    "two spaces": (b"ctorch \nFloatStorage\n.", ["torch..FloatStorage"]),
}


@pytest.mark.parametrize("case", HIDDEN)
def test_hidden_names_are_found(case: str) -> None:
    data, names = HIDDEN[case]
    assert sorted(unexpected(found(data), torchscript=False)) == sorted(names)


@pytest.mark.parametrize(
    "name",
    [
        *("collections OrderedDict", "_codecs encode", "__builtin__ set", "torch FloatStorage", "torch.cuda HalfTensor"),
        *("torch._utils _rebuild_tensor_v2", "torch float32", "torch float8_e4m3fn", "torch bfloat16"),
        *("torch Size", "torch device"),
        *("numpy.core.multiarray _reconstruct", "numpy._core.multiarray scalar", "numpy ndarray", "numpy dtype"),
        *("torch.storage UntypedStorage", "torch Tensor", "torch.nn.parameter Parameter", "numpy.dtypes Float32DType"),
        *("collections defaultdict", "__builtin__ list", "torch.nn.parameter UninitializedParameter"),
    ],
)  # fmt: skip
def test_what_weights_are_made_of_is_expected(name: str) -> None:
    assert unexpected({name}, torchscript=False) == []


@pytest.mark.parametrize("name", ["__torch__.net.Net Net", "os system", "torch hub.load", "builtins eval", "torch load"])
def test_what_they_are_not_made_of_is_not(name: str) -> None:
    assert unexpected({name}, torchscript=False)


@pytest.mark.parametrize(
    "name", ["numpy ndarray", "numpy._core.multiarray scalar", "collections defaultdict", "builtins range"]
)
def test_what_pytorch_itself_does_not_take_for_weights(name: str) -> None:
    """`weights_only`, the default since PyTorch 2.6: Unsupported global."""
    assert unexpected({name}, torchscript=False) == []
    assert unexpected({name}, torchscript=False, only_weights=True) == [name.replace(" ", ".")]
    assert unexpected({"torch._utils _rebuild_tensor_v2", "builtins set"}, torchscript=False, only_weights=True) == []


def test_torchscript_uses_its_own_types() -> None:
    assert unexpected({"__torch__.net Net", "torch.jit._pickle build_intlist", "os system"}, torchscript=True) == ["os.system"]


GREEDY = {
    "a length of 2^63": b"\x80\4\x8e" + struct.pack("<Q", 1 << 63) + b"x",
    "a deep stack": b"\x80\2" + b"N" * 900_000,
    "many marks": b"(" * 150_000 + b"t" * 150_000,
    "many texts": b"\x80\4" + b"".join(b"\x8c\x04%04x\x94" % (n % 65536) for n in range(100_000)),
    "many pickles": b"\x80\2}." * 60_000,
    "one long line": b"V" + b"a" * (50 << 20) + b"\n.",
    "long bytes": b"\x80\3B" + struct.pack("<I", 50 << 20) + bytes(50 << 20) + b".",
}


@pytest.mark.slow
@pytest.mark.parametrize("case", GREEDY)
def test_time_and_memory_are_bounded(case: str) -> None:
    data, started = GREEDY[case], time.monotonic()
    tracemalloc.start()
    names = read(io.BytesIO(data), Budget(250_000)).names
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert names <= {UNREAD}
    assert peak < 30 << 20
    assert time.monotonic() - started < 60


def test_names_are_bounded() -> None:
    data = b"\x80\2" + b"".join(b"ca\n%06d\n0" % n for n in range(100_000)) + b"N."
    assert len(read(io.BytesIO(data), Budget(250_000)).names) < 10_000


@pytest.mark.parametrize("at", [(1 << 16) - 1, 512 + (1 << 16) - 1])
def test_a_second_pickle_is_found_wherever_it_begins(at: int) -> None:
    first = b"\x80\2X" + (at - 8).to_bytes(4, "little") + b"a" * (at - 8) + b"."
    assert len(first) == at
    assert found(first + EVIL) == {"os system"}
    assert [each.names for each in findings("x.pkl", first + EVIL)] == [("os.system",)]


EVIL = b"\x80\2cos\nsystem\nU\1x\x85R."
STATE = b"\x80\2ccollections\nOrderedDict\n)R."


def zipped(*entries: Entry) -> bytes:
    return made(*entries)


def array(descr: bytes, data: bytes) -> bytes:
    header = b"{'descr': " + descr + b", 'fortran_order': False, 'shape': (1,), }\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data


def findings(name: str, data: bytes, weights: str | None = None) -> list[Finding]:
    with open_archive(BytesBlob(mar(Entry(name, data)))) as archive:
        return scan(archive, weights)


gzipped = partial(gzip.compress, mtime=0)
"""Test names contain it, so it must be the same in every process."""


def tarred(*files: tuple[str, bytes], format: Any = tarfile.PAX_FORMAT, **lies: Any) -> bytes:
    """A tar file; `lies` are attributes of its members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as target:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in lies.items():
                setattr(info, key, value)
            buffer.write(info.tobuf(format))
            buffer.write(data + bytes(-len(data) % 512))
            target.offset = buffer.tell()
    return buffer.getvalue()


def plain(tar: bytes) -> bytes:
    """The tar file of one member as before POSIX: without the word ustar in it."""
    head = bytearray(tar[:512])
    head[257:265] = bytes(8)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + tar[512:]


E = Entry
PT = zipped(E("w/data.pkl", EVIL), E("w/version", b"3\n"), E("w/data/0", b"\x80\2rest of a tensor"))

SMALL = {"id": lzma.FILTER_LZMA1, "dict_size": 4096}
HUNGRY = lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 27}])
BEHIND = b"#!/bin/sh\nexit\n" + zipped(E("b.pkl", EVIL))

PLACES = {
    "pickle": ("a.pkl", EVIL, "a.pkl"),
    "old pickle": ("a.pkl", b"cos\nsystem\n.", "a.pkl"),
    "no ending": ("weights", EVIL, "weights"),
    "old pickle for torch": ("a.pth", b"cos\nsystem\n(U\1xtR.", "a.pth"),
    "torch": ("a.pt", PT, "w/data.pkl in a.pt"),
    "torch by another name": ("a.dat", PT, "w/data.pkl in a.dat"),
    "torch in an archive in it": ("x.mar", zipped(E("a.pt", PT)), "w/data.pkl in a.pt in x.mar"),
    "packed": ("x.zip", zipped(E("a.pt", PT, method=8)), "w/data.pkl in a.pt in x.zip"),
    "array of objects": ("a.npy", array(b"'|O'", EVIL), "a.npy"),
    "array of some objects": ("a.npy", array(b"[('x', '<f4'), ('y', '|O')]", EVIL), "a.npy"),
    "array with escapes": ("a.npy", array(b"'|\\x4f'", EVIL), "a.npy"),
    "arrays": ("a.npz", zipped(E("x.npy", array(b"'|O'", EVIL))), "x.npy in a.npz"),
    "behind the version": ("v.pt", zipped(E("w/data.pkl", STATE), E("w/.data/more.bin", EVIL)), "w/.data/more.bin in v.pt"),
    "gzip": ("a.pkl.gz", gzipped(EVIL), "a.pkl.gz"),
    "gzip of an old pickle": ("a.pkl.gz", gzipped(b"cos\nsystem\n."), "a.pkl.gz"),
    "gzip by another name": ("a.joblib", gzipped(EVIL), "a.joblib"),
    "gzip of torch": ("a.pt.gz", gzipped(PT), "w/data.pkl in a.pt.gz"),
    "gzip of an array": ("a.npy.gz", gzipped(array(b"'|O'", EVIL)), "a.npy.gz"),
    "gzip in two parts": ("a.pkl.gz", gzipped(EVIL[:5]) + gzipped(EVIL[5:]) + bytes(512), "a.pkl.gz"),
    "zlib": ("a.pkl.z", zlib.compress(EVIL), "a.pkl.z"),
    "zlib, fast": ("a.z", zlib.compress(EVIL + bytes(9999), 1), "a.z"),
    "bzip2": ("a.pkl.bz2", bz2.compress(b"cos\nsystem\n."), "a.pkl.bz2"),
    "bzip2 by another name": ("a.joblib", bz2.compress(EVIL + bytes(4 << 20)), "a.joblib"),
    "xz": ("a.pkl.xz", lzma.compress(EVIL), "a.pkl.xz"),
    "xz in two parts": ("a", lzma.compress(EVIL[:5]) + bytes(4) + lzma.compress(EVIL[5:]), "a"),
    "LZMA": ("a.pkl.lzma", lzma.compress(EVIL, lzma.FORMAT_ALONE), "a.pkl.lzma"),
    "LZMA, small dictionary": ("a", lzma.compress(EVIL, lzma.FORMAT_ALONE, filters=[SMALL]), "a"),
    "tar of bzip2": ("a.tar.bz2", bz2.compress(tarred(("a", bytes(2 << 20)), ("b.pkl", EVIL))), "b.pkl in a.tar.bz2"),
    "tar of xz": ("a.tar.xz", lzma.compress(tarred(("a", bytes(2 << 20)), ("b.pkl", EVIL))), "b.pkl in a.tar.xz"),
    "old file of torch": ("a.pt", b"L119547037146038801333356L\n.I1001\n.(dp0\n.cos\nsystem\n(U\1xtR.", "a.pt"),
    "broken after a call": ("a.bin", b"cos\nsystem\n(U\1xtR\xff", "a.bin"),
    "broken after a change": ("a.bin", b"cos\nenviron\nU\4PATHU\1xs\xff", "a.bin"),
    "broken after an instance": ("a.bin", b"(U\1xios\nsystem\n\xff", "a.bin"),
    "tar": ("a.tar", tarred(("b.pkl", EVIL)), "b.pkl in a.tar"),
    "tar by another name": ("labels", tarred(("x/b.pt", PT)), "w/data.pkl in x/b.pt in labels"),
    "tar without a magic": ("a.tar", plain(tarred(("b.pkl", EVIL))), "b.pkl in a.tar"),
    "tar, after others": ("a.tar", tarred(("a", b"x" * 5000), ("z" * 300, b""), ("b.pkl", EVIL)), "b.pkl in a.tar"),
    "tar of arrays": ("a.tar", tarred(("x.npy", array(b"'|O'", EVIL))), "x.npy in a.tar"),
    "tar, packed": ("a.tar.gz", gzipped(tarred(("a.txt", b"x"), ("b.pt", PT))), "w/data.pkl in b.pt in a.tar.gz"),
    "tar, packed, in zip": ("x.zip", zipped(E("a.tgz", gzipped(tarred(("b.pkl", EVIL))))), "b.pkl in a.tgz in x.zip"),
    "tar, packed, in packed zip": (
        "x.zip",
        zipped(E("a.tgz", gzipped(tarred(("b.pkl", EVIL))), method=8)),
        "b.pkl in a.tgz in x.zip",
    ),
    "gzip in tar in gzip": ("a.tgz", gzipped(tarred(("b.pkl.gz", gzipped(EVIL)))), "b.pkl.gz in a.tgz"),
    "TorchScript": ("s.pt", zipped(E("s/constants.pkl", EVIL), E("s/version", b"3")), "s/constants.pkl in s.pt"),
}


@pytest.mark.parametrize("case", PLACES)
def test_pickles_are_found_wherever_they_are(case: str) -> None:
    name, data, place = PLACES[case]
    assert findings(name, data) == [Finding(place, ("os.environ" if b"environ" in data else "os.system",))]


def test_whatever_pytorch_loads_is_looked_at() -> None:
    assert findings("a.weights", b"cos\nsystem\n.") == []
    assert findings("a.weights", b"cos\nsystem\n.", "a.weights") == [Finding("a.weights", ("os.system",))]


@pytest.mark.parametrize(
    ("name", "data", "names", "why"),
    [
        ("a.pkl", b"\x78\x9c compressed", (UNREAD,), ""),
        ("a.joblib", b"\x80\4\x8c", (UNREAD,), ""),
        ("a.pt", PT[:-9], (), "it is not a zip file, or its end is missing"),
        ("a.pt", zipped(E("w/data.pkl", STATE), E("w/data.pkl", EVIL)), (), "appears twice"),
        ("a.pt", zipped(E("w/data.pkl", STATE, local={"name": b"w/data.pkx"})), (), "different name in its own header"),
        ("a.zip", zipped(E("b.zip", zipped(E("c.zip", zipped(E("d.zip", PT)))))), (), "nested deeper than 4 levels"),
        ("a.pkl.gz", gzipped(b"\x78\x9c"), (UNREAD,), ""),
        ("a.pkl.gz", gzipped(EVIL)[:-12], (), "truncated"),
        ("a.pkl.gz", gzipped(STATE)[:10] + b"\xff" * 99, (), "cannot be decompressed: Error"),
        ("a.gz", gzipped(gzipped(EVIL)), (), "compressed twice"),
        ("a.xz", lzma.compress(bz2.compress(EVIL)), (), "compressed twice"),
        ("a.pkl.bz2", bz2.compress(STATE)[:-5], (), "truncated"),
        ("a.pkl.xz", lzma.compress(STATE) + b"more", (), "cannot be decompressed: "),
        ("a.pkl.z", zlib.compress(STATE) + zipped(E("b.pkl", EVIL)), (), "cannot be decompressed: "),
        ("a.txt.z", zlib.compress(b"words " * 999)[:-20], (), "truncated"),
        ("a.xz", HUNGRY, (), "Memory usage limit"),
        ("a.bz2", bz2.compress(tarred(("a.txt", bytes(6 << 20)))), (), "more than gdcbuild searches"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c\0\4" + bytes(24), (), "compressed with 7-Zip"),
        ("a.cbr", b"Rar!\x1a\x07\x01\0", (), "compressed with RAR"),
        ("a.pkl.lz4", b"\x04\x22\x4d\x18\x64\x40\xa7", (), "compressed with lz4"),
        ("a.zst", b"\x28\xb5\x2f\xfd\x24\x02", (), "compressed with zstd"),
        ("a.zst", b"\x5a\x2a\x4d\x18\0\0\0\0\x28\xb5\x2f\xfd", (), "compressed with lz4 or zstd"),
        ("a.tar", tarred(("b.7z", b"7z\xbc\xaf\x27\x1c\0\4")), (), "compressed with 7-Zip"),
        ("a.zip", zipped(E("b.rar", b"Rar!\x1a\x07\0", method=8)), (), "compressed with RAR"),
        ("a.sh", BEHIND, (), "a zip file with data before it"),
        ("a.bin", random.Random(1).randbytes(70_000) + BEHIND + bytes(1000), (), "a zip file with data before it"),
        ("a.npy", array(b"'<f4'", bytes(8)) + BEHIND, (), "a zip file with data before it"),
        ("a.sh.gz", gzipped(BEHIND), (), "a zip file with data before it"),
        ("a.tar", tarred(("a.sh", BEHIND), ("b", bytes(600))), (), "a zip file with data before it"),
        ("a.zip", zipped(E("a.sh", BEHIND, method=8), E("b", b"")), (), "a zip file with data before it"),
        ("a.sh", b"#!/bin/sh\n" + made(E("b.pkl", EVIL), zip64=True), (), "a zip file with data before it"),
        ("a.tar", tarred(("a", b"x")) + zipped(E("b.pkl", EVIL)), (), "data follows its last member"),
        ("a.pkl.gz", gzipped(b"\x80\3B" + struct.pack("<I", 1 << 31) + bytes(50 << 20)), (), "more than gdcbuild searches"),
        ("a.tgz", gzipped(tarred(("a.txt", bytes(50 << 20)))), (), "more than gdcbuild searches"),
        ("a.pt.gz", gzipped(zipped(E("x", random.Random(1).randbytes(33 << 20))), 0), (), "over 32 MiB"),
        ("a.pkl", tarred(("b.pkl", STATE)), (), "both a pickle and a tar file"),
        ("a", tarred(("\udc80\2cos\nsystem\n.", b""), format=tarfile.GNU_FORMAT), (), "both a pickle and a tar file"),
        ("a.tar", tarred(("a", b"x"))[:1024] + b"?" * 512, (), "data follows its last member"),
        ("a.tar", tarred(("a", b"x"))[:700], (), "damaged"),
        ("a.tar", tarred(("a", b""), size=-512), (), "not in order"),
        (
            "a.tar",
            tarred(("a", b"x"), type=tarfile.GNUTYPE_LONGNAME, size=1 << 33, format=tarfile.GNU_FORMAT),
            (),
            "header of a member has",
        ),
        ("a.tar", tarred(("a", b"x"), type=tarfile.GNUTYPE_SPARSE), (), ""),
        ("a.tar", tarred(*((str(n), b"") for n in range(5100))), (), "more parts than gdcbuild searches"),
        ("a.gz", gzipped(b"") * 5100, (), "more parts than gdcbuild searches"),
    ],
)
def test_what_cannot_be_searched_is_reported(
    monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, names: tuple[str, ...], why: str
) -> None:
    monkeypatch.setattr("gdcbuild.frameworks.torchserve.pickles.search.Budget", lambda: Budget(200_000, 40 << 20))
    (finding,) = findings(name, data)
    assert finding.names == names
    assert why in finding.why


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.npy", array(b"'<f4'", EVIL)),
        ("labels.txt", b"cat\ndog\n"),
        ("net.py", b"class Net: ...\n"),
        ("a.bin", b"\x80\2\xff\xff not a pickle"),
        ("a.safetensors", struct.pack("<Q", 2) + b"{}"),
        ("a.pt", zipped(E("w/data.pkl", STATE), E("w/data/0", b"\x80\2rest of a tensor"))),
        ("empty.pt", b""),
        ("labels.csv.gz", gzipped(b"cat\ndog\n")),
        ("labels.csv.z", zlib.compress(b"cat\ndog\n")),
        ("labels.csv.xz", lzma.compress(b"cat\ndog\n" * 99_999)),
        ("labels.csv.bz2", bz2.compress(b"cat\ndog\n" * 99_999)),
        ("labels.bin", b"cat\ndog\n"),
        ("labels.bin", b"cat\ndog\nSiamese\nIbex\nox\n"),
        ("labels.bin", b"cat\ndog\nbird\n"),
        ("labels.bin", b"x^2\n"),
        ("labels.bin", b"x^2 and more than that\n" * 99),
        ("labels.bin", b"LZIP\n"),
        ("ints.bin", struct.pack("<6I", 0x5D, 0, 1, 0, 0, 0)),
        ("ints.bin", struct.pack("<6I", 0x5D, 0x5E, 1, 0, 0, 0)),
        ("a.tar", tarred(("b.zip", zipped(E("c", b""))))),
        ("b.zip.gz", gzipped(zipped(E("c", b"")), 0)),
        ("a.txt", b"a directory ends with PK\5\6, then come its numbers"),
        ("a.txt", made()),
        ("empty.gz", gzipped(b"")),
        ("zeros", bytes(2048)),
        ("a.tar", tarred(("a.txt", b"x"), ("b.pt", zipped(E("w/data.pkl", STATE))))),
        ("a.tar", tarred(("a" * 300, b"x"), format=tarfile.GNU_FORMAT) + bytes(1024)),
        ("a.tgz", gzipped(tarred(("é" * 200, b"x"), ("b.pkl", STATE)))),
    ],
)
def test_other_files_are_not_reported(name: str, data: bytes) -> None:
    assert findings(name, data) == []


NAME = tarred(("a", b"x"), type=tarfile.GNUTYPE_LONGNAME, format=tarfile.GNU_FORMAT)[:1024]
STREAMS = {
    "a bomb": ("a.pkl.gz", gzipped(b"\x80\3B" + struct.pack("<I", 1 << 31) + bytes(100 << 20))),
    "a bomb of bzip2": ("a.pkl.bz2", bz2.compress(b"\x80\3B" + struct.pack("<I", 1 << 31) + bytes(40 << 20), 1)),
    "a bomb of xz": ("a.pkl.xz", lzma.compress(b"\x80\3B" + struct.pack("<I", 1 << 31) + bytes(60 << 20), preset=0)),
    "a bomb in tar": ("a.tgz", gzipped(tarred(("a.bin", bytes(100 << 20))))),
    "a large tar": ("a.tar", tarred(("a.bin", bytes(100 << 20)), ("b.pkl", STATE))),
    "many members": ("a.tgz", gzipped(tarred(("", b"")) [:512] * 100_000)),
    "many parts": ("a.pkl.gz", gzipped(b"") * 100_000),
    "names of names": ("a.tgz", gzipped(NAME * 4000)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", STREAMS)
def test_time_and_memory_are_bounded_for_streams(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr("gdcbuild.frameworks.torchserve.pickles.search.Budget", lambda: Budget(400_000, 200 << 20))
    (name, data), started = STREAMS[case], time.monotonic()
    with open_archive(BytesBlob(mar(Entry(name, data)))) as archive:
        tracemalloc.start()
        scan(archive, None)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 30 << 20
    assert time.monotonic() - started < 60


def test_one_budget_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdcbuild.frameworks.torchserve.pickles.search.Budget", lambda: Budget(80))
    assert [f.names for f in findings("a.zip", zipped(E("1.pkl", STATE), E("2.pkl", STATE)))] == [(UNREAD,)]


def test_nothing_is_unpickled() -> None:
    assert "torch" not in sys.modules
    for data in (EVIL, PT):
        findings("a.pt", data)
