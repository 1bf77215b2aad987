"""Small files that stand for other ones: what is checked out of Git where the data itself has not been fetched."""

from __future__ import annotations

import posixpath
import re
import shlex
from typing import Literal, NamedTuple

MAX_BYTES = 4096
"""Of a stand-in. No larger file is looked at."""

_LFS = re.compile(
    rb"version (?:https://git-lfs\.github\.com/spec/|https://hawser\.github\.com/spec/|http://git-media\.io/v/)\S+\r?\n"
    rb"(?:ext-[^\n]*\n)*(?:oid sha256:([0-9a-f]{64}))?"
)
_ANNEX = re.compile(rb"(?:/|(?:\.\./)*\.git/)annex/objects/(?:\S+/)?(?:SHA256E?-s\d+--([0-9a-f]{64}))?")
_DVC = re.compile(rb"^outs:[ \t]*\r?$", re.MULTILINE), re.compile(rb"^[ -]+(?:md5|etag|checksum|hash):", re.MULTILINE)
_DVC_PATH = re.compile(rb"^[ -]+path:[ \t]*(['\"]?)([^'\"\r\n]+)\1[ \t]*\r?$", re.MULTILINE)

_NEVER_EMPTY = (
    *(".pt", ".pth", ".pt2", ".ckpt", ".bin", ".safetensors", ".onnx", ".so", ".engine", ".gguf", ".h5", ".hdf5", ".keras"),
    *(".npy", ".npz", ".pkl", ".pickle", ".joblib", ".model", ".spm", ".pb", ".tflite", ".mar"),
    *(".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst"),
    *("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt"),
)
"""How names of weights, models, tokenizers and archives end: none of them is ever empty."""


class StandIn(NamedTuple):
    """What a file is, in words, and what it is not: `sha256` is the digest of the data, `path` its name, as far as it says."""

    kind: Literal["lfs", "annex", "dvc", "empty"]
    sha256: str = ""
    path: str = ""

    @property
    def what(self) -> str:
        return _WHAT[self.kind]

    def fetch(self, path: str) -> str:
        """The command that fetches the data of the file at `path`: for Git LFS, the path in its repository."""
        return f"{_FETCH[self.kind]} {shlex.quote(path)}" if self.kind in _FETCH else ""


_WHAT = {
    "lfs": "a Git LFS pointer, not the file itself",
    "annex": "a git-annex pointer, not the file itself",
    "dvc": "a DVC file, not the data it stands for",
    "empty": "empty",
}
_FETCH = {"lfs": "git lfs pull --include", "annex": "git annex get", "dvc": "dvc pull"}


def recognise(name: str, data: bytes) -> StandIn | None:
    """What the whole content of a file says that it stands for; None when it stands for itself."""
    if not data:
        return StandIn("empty") if name.lower().endswith(_NEVER_EMPTY) else None
    if len(data) > MAX_BYTES:
        return None
    if found := _LFS.match(data):
        return StandIn("lfs", (found[1] or b"").decode())
    if linked := annex(data):
        return linked
    if all(form.search(data) for form in _DVC):
        path = _DVC_PATH.search(data)
        text = path[2].decode(errors="replace").strip() if path else name.removesuffix(".dvc")
        return StandIn("dvc", path=posixpath.normpath(posixpath.join(posixpath.dirname(name), text)))
    return None


def annex(text: bytes) -> StandIn | None:
    """What a file of git-annex, or the target of one of its links, stands for."""
    found = _ANNEX.match(text)
    return StandIn("annex", (found[1] or b"").decode()) if found else None
