"""Checks the values of environments without contacting a bucket."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from pathlib import Path

from gdcbuild.core.endpoint import FORM, is_endpoint, shown
from gdcbuild.errors import ManifestError, Problem
from gdcbuild.files import bucket_url
from gdcbuild.manifest.model import Manifest
from gdcbuild.manifest.paths import Paths
from gdcbuild.manifest.validate import did_you_mean, quoted
from gdcbuild.manifest.yaml import Node

_REGION = re.compile(r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)?")
"""An empty region counts as none."""


def problems(environment: Node, root: Path) -> Iterator[Problem]:
    """The problems of one environment. Values with variables are skipped: they are resolved when it is chosen."""
    node = environment.get("bucket")
    if node is not None and node.is_literal:
        try:
            bucket_url.folder(node.text, root)
        except ManifestError as error:
            yield from (problem._replace(where=environment.key("bucket")) for problem in error.problems)
    for key, kind, fits, hint in (
        ("endpoint", "an endpoint", is_endpoint, f"write {FORM}"),
        ("region", "a region", _REGION.fullmatch, "write letters, digits and -, such as us-east-1, or remove it"),
        ("ca_file", "a file", bool, "name a PEM file, or remove it"),
    ):
        node = environment.get(key)
        if node is None or not node.is_literal:
            continue
        if not node.text.strip() and not fits(node.text):
            yield Problem(f"the {key} is empty", hint, environment.key(key))
        elif not fits(node.text):
            yield Problem(f"{shown(node.text)!r} is not {kind}", hint, environment.key(key))


def missing(root: Node, manifest: Manifest, broken: Set[tuple[str, str]], paths: Paths) -> Iterator[Problem]:
    """Names and files of environments that do not exist. Entries in `broken` have been reported already."""
    chosen, known = manifest.default_environment, manifest.environments
    if chosen is not None and chosen not in known and not broken & {("environments", chosen), ("environments", "")}:
        hint = did_you_mean(chosen, known, "declare environments")
        yield Problem(f"unknown environment {quoted(chosen)}", hint, root.key("default_environment"))
    section = root.get("environments")
    for _, environment in section.items() if section else ():
        node = environment.get("ca_file")
        if node is not None and node.is_literal and node.text.strip():
            try:
                paths.file("", node.text, environment.key("ca_file"))
            except ManifestError as error:
                yield from error.problems
