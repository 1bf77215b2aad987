"""Finds the root manifest, as git finds its repository."""

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
    """The root manifest, and the folder below it ("FOLDER/") whose models are meant: "" for all."""

    manifest: Path
    member: str = ""


def find(start: Path, file: str | None, variables: Mapping[str, str]) -> Found:
    """The root manifest: `file` below `start`, or the nearest gdcbuild.yaml in `start` or above it.

    Where a manifest further above includes that one, it is the root, and what it includes is meant.
    """
    if file is not None:
        path = start / file
        if not path.is_file():
            raise UsageError(Problem(_no_file(path), "check -f and -C"))
        return Found(path.parent.resolve() / path.name)  # a link is where it lies, as when it is found
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
    """It says what is run; as for git, whoever can write above us is not obeyed for that."""
    if manifest.parent != here and manifest.stat().st_uid not in (0, os.geteuid()):
        raise UsageError(Problem(f"{manifest}, in a parent folder, belongs to another user", f"{hint}: -f {manifest}"))


def _includes(above: Path, manifest: Path, variables: Mapping[str, str]) -> bool:
    """Whether one manifest includes another one. Raises ManifestError when that cannot be told."""
    from gdcbuild.manifest.globs import compiled
    from gdcbuild.manifest.load import includes
    from gdcbuild.manifest.variables import fill
    from gdcbuild.manifest.yaml import parse

    try:
        node, problems = parse(above.read_bytes(), os.path.relpath(above))
    except OSError:
        return False  # it is not ours to read
    if node is None:
        raise ManifestError(*problems)
    path = manifest.relative_to(above.parent).as_posix()
    patterns = [posixpath.normpath(pattern) for pattern, _ in includes(fill(node, node, variables, []))]
    with suppress(re.error):
        return any(pattern == path or compiled(pattern).match(path) for pattern in patterns)
    return False


def _no_file(path: Path) -> str:
    """What is there instead of a file."""
    if path.is_dir():
        return f"{path} is a folder, not a manifest"
    if path.exists():
        return f"{path} is not a regular file"
    return f"{path} is a broken symlink" if path.is_symlink() else f"there is no file {path}"
