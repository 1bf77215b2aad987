"""Globals that pickled weights use; any other global is reported."""

from __future__ import annotations

import re

UNREAD = "more than gdcbuild can read"
COMPUTED = "a name computed at run time"

_NUMPY = r"numpy\.(?:core|_core)"
_DTYPE = r"(?:b?float|complex|q?u?int|bits)\d\w*|bool"
_ALLOWED = re.compile(
    r"collections (?:OrderedDict|Counter)|_codecs encode"
    r"|(?:builtins|__builtin__) (?:set|bytearray|complex)"
    r"|torch(?:\.cuda|\.sparse|\.cuda\.sparse)? (?:[A-Z]\w*)?(?:Storage|Tensor)"
    rf"|torch (?:Size|device|per_(?:tensor|channel)_\w+|{_DTYPE})"
    r"|torch\.storage (?:Typed|Untyped)Storage|torch\.nn\.parameter Parameter|torch\.serialization _get_layout"
    r"|torch\._utils _rebuild_\w+|torch\._tensor _rebuild_from_type_v2"
)
"""Globals, as "MODULE NAME", that create tensors and plain containers: those that PyTorch's `weights_only` accepts."""

_HARMLESS = re.compile(
    r"collections (?:defaultdict|deque)|torch\.nn\.parameter (?:Buffer|Uninitialized(?:Parameter|Buffer))"
    r"|(?:builtins|__builtin__) (?:frozenset|slice|x?range|bool|int|float|str|bytes|list|tuple|dict)"
    rf"|numpy (?:ndarray|dtype|{_DTYPE}\d*_?)|numpy\.dtypes \w+DType"
    rf"|{_NUMPY}\.multiarray (?:_reconstruct|scalar)|{_NUMPY}\.numeric _frombuffer"
)
"""Globals that create arrays and other plain containers, and do nothing else."""

_TORCHSCRIPT = re.compile(r"__torch__\S* \S+|torch\.jit\._pickle \w+")
"""Types that TorchScript files use in addition. PyTorch reads them in C++ and imports nothing."""


def unexpected(names: set[str], torchscript: bool, only_weights: bool = False) -> list[str]:
    """The names that weights do not use, sorted, in Python's dotted form."""
    expected = [_ALLOWED, *([] if only_weights else [_HARMLESS]), *([_TORCHSCRIPT] if torchscript else [])]
    odd = (n for n in names if not any(each.fullmatch(n) for each in expected))
    return sorted(n if n in (UNREAD, COMPUTED) else ascii(n.replace(" ", "."))[1:-1] for n in odd)
