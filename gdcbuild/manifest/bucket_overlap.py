"""Refuses a local bucket that overlaps with inputs.

Publishing a version replaces everything in its folder of the bucket, so inputs there would be deleted. A bucket inside a
folder that is packed would be packed, too, and grow with each build.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from gdcbuild.errors import Location, ManifestError, Problem
from gdcbuild.files import bucket_url
from gdcbuild.manifest.yaml import Node


class Taken(NamedTuple):
    """A file or folder that a manifest names at `where`: its path below the root, and its `real` path.

    `found` are the files that a glob matched below it; `whole` is true for a folder that is used as a whole.
    """

    real: str
    path: str
    where: Location
    found: tuple[str, ...] = ()
    whole: bool = False


class Bucket(NamedTuple):
    """A local bucket as written at `where`, and its `real` path."""

    text: str
    real: str
    where: Location


def buckets(main: Node, root: Path) -> list[Bucket]:
    """The local buckets of a manifest. Those with a variable are checked when their environment is chosen."""
    found = []
    section = main.get("environments")
    for _, environment in section.items() if section else ():
        node = environment.get("bucket")
        if node is None or not node.is_literal:
            continue
        try:
            folder = bucket_url.folder(node.text, root)
        except ManifestError:
            continue  # reported with the environments
        if folder is not None:
            found.append(Bucket(node.text, os.path.realpath(folder), environment.key("bucket")))
    return found


def problems(folders: Iterable[Bucket], taken: Iterable[Taken]) -> Iterator[Problem]:
    """One problem for each bucket that contains inputs, and for each input folder that contains a bucket."""
    items = list(dict.fromkeys(taken))
    for each in folders:
        inside = each.real + os.sep
        lost: dict[str, Location] = {}
        for item in items:
            above = item.real + os.sep
            if item.real == each.real or item.real.startswith(inside):
                lost.setdefault(item.path, item.where)
            elif inside.startswith(above):
                if item.whole:
                    yield holds(item.path, item.where)
                start = f"{item.path}/" if item.path else ""
                below = f"{start}{inside.removeprefix(above)}"
                lost.update((path, item.where) for path in item.found if path.startswith(below) and path not in lost)
        if lost:
            path, where = next(iter(lost.items()))
            more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            message = f"the bucket {each.text!r} contains inputs of versions: {path!r} ({where}){more}"
            hint = "publishing there would delete them; choose a separate folder, such as bucket: published"
            yield Problem(message, hint, each.where)


def holds(folder: str, where: Location) -> Problem:
    """The problem of an input folder that contains a bucket."""
    hint = "every build would pack what was published there; choose another bucket folder"
    return Problem(f"{folder or '.'!r} contains a bucket", hint, where)
