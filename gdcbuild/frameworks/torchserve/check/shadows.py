"""Files of an archive that would replace a module of Python's, PyTorch's or TorchServe's own.

The folder of a model comes first in the path of its worker, so a `types.py` at the root of an archive is what every
`import types` of the worker finds.
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
"""Modules without which no worker loads a model: what tests/serving/worker_modules.py prints, with TorchServe 0.12, PyTorch
2.13 and Python 3.11."""

_BUILT_IN = """
    _abc _collections_abc _io _thread abc atexit builtins codecs errno faulthandler gc genericpath io itertools marshal
    ntpath os posix posixpath pwd runpy site stat sys time zipimport
"""
"""Modules that every Python finds in itself before it looks at any path."""

NEEDED, BUILT_IN = frozenset(_NEEDED.split()), frozenset(_BUILT_IN.split())


def module_of(name: str) -> str:
    """The module that Python finds in a file at this path below the root of an archive; "" when it finds none."""
    folder, slash, below = name.partition("/")
    stem, _, ending = (below if slash else name).partition(".")
    if ending not in ("py", "pyc") and not name.endswith(".so"):
        return ""
    return stem if not slash else folder if stem == "__init__" else ""


def clash(name: str, itself: bool = False) -> Problem | None:
    """What is wrong with a file at this path of an archive; `itself` is true for a handler or a model file."""
    module = module_of(name)
    if itself and module in BUILT_IN:
        return Problem(f"{name} would never be imported: Python finds its own module `{module}` instead", "rename it")
    if module not in NEEDED:
        return None
    folder = name.rpartition("/")[0]
    source, target = (f"{folder}/", f"lib/{folder}/") if folder else (name, "lib/")
    message = (
        f"{name} would replace the module `{module}` that TorchServe's worker itself imports, and the worker would fail:"
        " the files of a model come first in its path"
    )
    elsewhere = f"rename it, or put it in a folder and import it from there: {{from: .../{source}, to: {target}}}"
    return Problem(message, "rename it" if itself else elsewhere)


def look(archive: Archive, own: Collection[str]) -> Iterator[Problem]:
    """The files of an archive that replace what the worker needs. `own` are its handler and its model file.

    A package that was installed into the archive with its metadata, as `pip install --target` does, may well work.
    """
    found = {name: problem for name in archive.names if (problem := clash(name, name in own))}
    records = [name for name in archive.names if is_record(name)] if found else []
    installed = {line.split(b",")[0] for name in records for line in archive.start(name, MAX_TEXT).splitlines()}
    for name, problem in found.items():
        if name.encode() in installed:
            message = f"the package `{module_of(name)}` of the archive replaces the one that the image has"
            yield Caution(message, "leave it out, unless the model needs this version of it")
        else:
            yield problem


def is_record(name: str) -> bool:
    """Whether a file at this path lists what was installed into the archive."""
    return name.endswith(".dist-info/RECORD") and name.count("/") == 1
