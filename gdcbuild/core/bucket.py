"""What may be a bucket: the one rule for manifests and for whoever opens it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gdcbuild.core.endpoint import shown
from gdcbuild.errors import ManifestError, Problem

_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:.+")
"""What the S3 client takes for a bucket; what of it a store allows, the store says."""

_FORM = "write s3://NAME, s3://NAME/PREFIX, or a folder, with /; or set its variable"


def folder(text: str, root: Path) -> Path | None:
    """The folder that is the bucket, relative to the workspace `root`; None for one on S3.

    Raises ManifestError for what is no bucket, and for a folder that holds the workspace.
    """
    if not text.strip():
        raise ManifestError(Problem("the bucket is empty", _FORM))
    scheme, separator, rest = text.partition("://")
    fits = scheme == "s3" and _NAME.fullmatch(rest.partition("/")[0]) if separator else "\\" not in text and text.isprintable()
    if not fits:
        raise ManifestError(Problem(f"{shown(text)!r} is not a bucket", _FORM))
    if separator:
        return None
    if root.resolve().is_relative_to((root / text).resolve()):
        hint = "what is published would lie among its sources: name a folder of its own, as bucket"
        raise ManifestError(Problem(f"the bucket {text!r} is the workspace itself, or contains it", hint))
    return root / text


def real(text: str, root: Path) -> str | None:
    """Where the folder that is the bucket really lies, with all links followed; None for a bucket on S3."""
    return None if "://" in text else os.path.realpath(root / text)
