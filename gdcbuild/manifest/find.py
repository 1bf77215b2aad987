"""Finds the root manifest, like git finds its repository."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from gdcbuild.errors import ManifestError, Problem, UsageError

NAME = "gdcbuild.yaml"


class Found(NamedTuple):
    """The root manifest, and the folder below it ("FOLDER/") whose models are selected; "" for all."""

    manifest: Path
    member: str = ""


def find(start: Path, file: str | None, variables: Mapping[str, str]) -> Found:
    """The root manifest: `file` below `start`, or the nearest gdcbuild.yaml in `start` or above it.

    If a manifest further above includes that one, the upper one is the root, and the models of the lower one are selected.
    """
    if file is not None:
        path = start / file
        if not path.is_file():
            raise UsageError(Problem(_no_file(path), "check -f and -C"))
        return Found(path.parent.resolve() / path.name)  # a symlink counts where it is, not where it points
    if not start.is_dir():
        raise UsageError(Problem(f"there is no folder {start}", "check -C"))
    here = start.resolve()
    manifests = [folder / NAME for folder in (here, *here.parents) if (folder / NAME).is_file()]
    if not manifests:
        raise UsageError(Problem(f"there is no {NAME} here or in a parent folder", "create one: gdcbuild init"))
    root = nearest = manifests[0]
    _refuse_foreign(nearest, here, "to use it anyway")
    for above in manifests[1:]:
        if _includes(above, root, variables):
            _refuse_foreign(above, here, "to use it as the root manifest")
            root = above
    return Found(root, "" if root is nearest else f"{nearest.parent.relative_to(root.parent).as_posix()}/")


def _refuse_foreign(manifest: Path, here: Path, hint: str) -> None:
    """A manifest runs commands. Like git, do not trust one in a parent folder that another user owns."""
    if manifest.parent != here and manifest.stat().st_uid not in (0, os.geteuid()):
        raise UsageError(Problem(f"{manifest}, in a parent folder, belongs to another user", f"{hint}: -f {manifest}"))


def _includes(above: Path, manifest: Path, variables: Mapping[str, str]) -> bool:
    """Whether one manifest includes another. Raises ManifestError if the upper one cannot be parsed."""
    from gdcbuild.manifest.globs import compiled
    from gdcbuild.manifest.load import includes
    from gdcbuild.manifest.variables import fill
    from gdcbuild.manifest.yaml import parse

    try:
        node, problems = parse(above.read_bytes(), os.path.relpath(above))
    except OSError:
        return False  # not readable for us, so not ours
    if node is None:
        raise ManifestError(*problems)
    path = manifest.relative_to(above.parent).as_posix()
    patterns = [posixpath.normpath(pattern) for pattern, _ in includes(fill(node, node, variables, []))]
    with suppress(re.error):
        return any(pattern == path or compiled(pattern).match(path) for pattern in patterns)
    return False


def _no_file(path: Path) -> str:
    """A message that says what is at a path instead of a file."""
    if path.is_dir():
        return f"{path} is a folder, not a manifest"
    if path.exists():
        return f"{path} is not a regular file"
    return f"{path} is a broken symlink" if path.is_symlink() else f"there is no file {path}"
