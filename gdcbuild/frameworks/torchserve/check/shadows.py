"""Find files of an archive that would replace a module of Python, PyTorch or TorchServe.

A model's folder comes first in its worker's sys.path, so every `import types` in the worker finds a `types.py` at the root of
the archive.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from gdcbuild.errors import Caution, Problem
from gdcbuild.frameworks.torchserve.mar.archive import MAX_TEXT, Archive

_NEEDED = """
    __future__ _asyncio _blake2 _compat_pickle _compression _contextvars _csv _ctypes _datetime _hashlib _posixshmem
    _posixsubprocess _random _socket _struct _uuid _weakrefset argparse ast asyncio base64 binascii bisect cmath
    collections concurrent contextlib contextvars copy copyreg ctypes dataclasses datetime dis email encodings enum
    fnmatch functools gettext glob heapq http importlib inspect json keyword linecache locale logging math mmap
    multiprocessing numbers numpy opcode operator packaging pathlib pickle platform pprint queue quopri random re reprlib
    select selectors shutil signal socket ssl string struct subprocess tempfile textwrap threading timeit token tokenize
    torch torchgen traceback ts types typing typing_extensions unittest urllib uuid warnings weakref yaml zlib
"""
"""Modules that a worker needs to load any model: the output of tests/serving/worker_modules.py with TorchServe 0.12, PyTorch
2.13 and Python 3.11."""

_BUILT_IN = """
    _abc _collections_abc _io _thread abc atexit builtins codecs errno faulthandler gc genericpath io itertools marshal
    ntpath os posix posixpath pwd runpy site stat sys time zipimport
"""
"""Modules that Python finds in itself before it searches sys.path."""

NEEDED, BUILT_IN = frozenset(_NEEDED.split()), frozenset(_BUILT_IN.split())


def module_of(name: str) -> str:
    """The top-level module in a file at this path in an archive, "" for none."""
    folder, slash, below = name.partition("/")
    stem, _, ending = (below if slash else name).partition(".")
    if ending not in ("py", "pyc") and not name.endswith(".so"):
        return ""
    return stem if not slash else folder if stem == "__init__" else ""


def clash(name: str, itself: bool = False) -> Problem | None:
    """The problem of a file at this path in an archive; `itself` is true for a handler or a model file."""
    module = module_of(name)
    if itself and module in BUILT_IN:
        return Problem(f"{name} would never be imported: Python finds its own module `{module}` instead", "rename it")
    if module not in NEEDED:
        return None
    folder = name.rpartition("/")[0]
    source, target = (f"{folder}/", f"lib/{folder}/") if folder else (name, "lib/")
    message = (
        f"{name} would replace the module `{module}` that TorchServe's worker imports, and the worker would fail: a model's"
        " files come first in its sys.path"
    )
    elsewhere = f"rename it, or move it to a folder and import it from there: {{from: .../{source}, to: {target}}}"
    return Problem(message, "rename it" if itself else elsewhere)


def look(archive: Archive, own: Collection[str]) -> Iterator[Problem]:
    """The files of an archive that replace modules the worker needs. `own` are its handler and its model file.

    A package installed into the archive with its metadata, as by `pip install --target`, may work: that is a Caution.
    """
    found = {name: problem for name in archive.names if (problem := clash(name, name in own))}
    records = [name for name in archive.names if is_record(name)] if found else []
    installed = {line.split(b",")[0] for name in records for line in archive.start(name, MAX_TEXT).splitlines()}
    for name, problem in found.items():
        if name.encode() in installed:
            message = f"the package `{module_of(name)}` in the archive replaces the image's own"
            yield Caution(message, "remove it, unless the model needs this version")
        else:
            yield problem


def is_record(name: str) -> bool:
    """Whether a file at this path lists a package installed into the archive."""
    return name.endswith(".dist-info/RECORD") and name.count("/") == 1
