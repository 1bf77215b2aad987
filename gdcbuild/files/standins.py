"""Recognise placeholders for data that has not been fetched: Git LFS and git-annex pointers, DVC files, empty files."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Collection, Mapping
from typing import Literal, NamedTuple

from gdcbuild.errors import Location, Problem

MAX_BYTES = 4096
"""Largest stand-in. Larger files are not looked at."""

VERSION = 2
"""Raise it when more is recognised than before, so that versions already checked are checked again."""

_LFS = re.compile(
    rb"version (?:https://git-lfs\.github\.com/spec/|https://hawser\.github\.com/spec/|http://git-media\.io/v/)\S+\r?\n"
    rb"(?:ext-[^\n]*\n)*(?:oid sha256:([0-9a-f]{64}))?"
)
_ANNEX = re.compile(rb"(?:/|(?:\.\./)*\.git/)annex/objects/(?:\S+/)?(?:SHA256E?-s\d+--([0-9a-f]{64}))?")
_DVC = re.compile(rb"^outs:[ \t]*\r?$", re.MULTILINE), re.compile(rb"^[ -]+(?:md5|etag|checksum|hash):", re.MULTILINE)
_DVC_PATH = re.compile(rb"^[ -]+path:[ \t]*(['\"]?)([^'\"\r\n]+)\1[ \t]*\r?$", re.MULTILINE)

_NEVER_EMPTY = (
    *(".pt", ".pth", ".pt2", ".ckpt", ".bin", ".safetensors", ".onnx", ".so", ".engine", ".gguf", ".h5", ".hdf5", ".keras"),
    *(".npy", ".npz", ".pkl", ".pickle", ".joblib", ".model", ".spm", ".tflite", ".mar"),
    *(".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst"),
    *("saved_model.pb", "tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt"),
)
"""Endings of the names of weights, models, tokenizers and archives, which are never empty."""

_NEVER_EMPTY_SAVED = ("saved_model.pb", "variables/")


class StandIn(NamedTuple):
    """A placeholder file; `sha256` is the digest of the data and `path` its path, as far as the file says."""

    kind: Literal["lfs", "annex", "dvc", "empty"]
    sha256: str = ""
    path: str = ""

    def problem(self, shown: str, path: str = "", repository: str = "", where: Location | None = None) -> Problem:
        """The refusal of a file shown as `shown`.

        `path` is relative to where the command that fetches it is run: the folder `repository` for Git. Without a path, the
        file is in something made from other files, which must be fetched first.
        """
        if self.kind == "empty":
            hint = "copy or fetch it again: the transfer was probably interrupted"
            return Problem(f"{shown!r} is empty; models, weights and tokenizers never are", hint, where)
        what, *command = _KINDS[self.kind]
        if repository:
            command[1:1] = ["-C", shlex.quote(repository)]
        if not path:
            hint = f"fetch the files before the model is saved or packed: {' '.join(command[:-1])}"
            return Problem(f"{shown!r} is {what}", hint, where)
        hint = f"fetch it: {' '.join(filter(None, command))} {shlex.quote(path)}"
        if self.kind == "dvc":
            hint += f"; then write {self.path!r} instead"
        return Problem(f"{shown!r} is {what}", hint, where)


_KINDS = {
    "lfs": ("a Git LFS pointer, not the file itself", "git", "lfs pull", "--include"),
    "annex": ("a git-annex pointer, not the file itself", "git", "annex get", ""),
    "dvc": ("a DVC file, not the data it describes", "dvc", "pull", ""),
}
"""Kind → what the file is, and the command that fetches the data: all of it, or one file with the last word and a path."""


def recognise(name: str, data: bytes) -> StandIn | None:
    """The stand-in that a file with this content is; None for a file with content of its own."""
    if not data:
        return StandIn("empty") if name.lower().endswith(_NEVER_EMPTY) else None
    if len(data) > MAX_BYTES:
        return None
    if found := _LFS.match(data):
        return StandIn("lfs", (found[1] or b"").decode())
    if linked := annex(data):
        return linked
    outs, kept = (form.search(data) for form in _DVC)
    if outs and kept:
        path = _DVC_PATH.search(data, outs.end())
        text = path[2].decode(errors="replace").strip() if path else name.removesuffix(".dvc")
        return StandIn("dvc", path=posixpath.normpath(posixpath.join(posixpath.dirname(name), text)))
    return None


def among(members: Mapping[str, int], read: Callable[[str], bytes], never_empty: Collection[str] = ()) -> dict[str, StandIn]:
    """The stand-ins among the files to be published, given by path and size.

    A DVC file next to its data is not one. `never_empty`: members that must not be empty, whatever their names.
    """
    found = {path: recognise(path, read(path)) for path, size in members.items() if size <= MAX_BYTES}
    found.update({path: StandIn("empty") for path in never_empty if members.get(path) == 0})
    return {path: each for path, each in found.items() if each and not (each.kind == "dvc" and each.path in members)}


def may_be_empty(member: str) -> bool:
    """Whether TensorFlow loads a SavedModel in which this file is empty, as it does for assets."""
    return not member.startswith(_NEVER_EMPTY_SAVED)


def annex(text: bytes) -> StandIn | None:
    """The stand-in in the content of a git-annex file, or in the target of one of its links."""
    found = _ANNEX.match(text)
    return StandIn("annex", (found[1] or b"").decode()) if found else None
