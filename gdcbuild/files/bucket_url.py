"""What a valid bucket is: the one rule, for manifests and for whoever opens the bucket."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from gdcbuild.errors import ManifestError, Problem

_S3_NAME = "a bucket name has 1 to 63 lowercase letters, digits, - and ., as in s3://my-bucket"

KINDS: Mapping[str, Sequence[tuple[str, str]]] = {
    "s3": (
        (r"((?![^/]*\.\.)[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?|arn:[^/]+)(/.*)?", _S3_NAME),
        (r"(?!.*/\.\.?(/|\Z)).*", "write the prefix without . and .., which S3 treats as ordinary names"),
    ),
}
"""Scheme → patterns for what follows SCHEME://, each with what to write instead. `gdcbuild.remotes.SCHEME` opens it.

These are rules of the protocol; a store may refuse more, with a message of its own.
"""

_FORM = "write s3://NAME, s3://NAME/PREFIX or a folder path with /; if it comes from a variable, correct that"


def folder(text: str, root: Path) -> Path | None:
    """The folder that is the bucket, relative to the workspace `root`; None for one at an address.

    Raises ManifestError for an invalid bucket, for a file, and for a folder that contains the workspace.
    """
    if not text.strip():
        raise ManifestError(Problem("the bucket is empty", _FORM))
    scheme, separator, rest = text.partition("://")
    wrong = (_no_address(scheme, rest) if separator else _no_folder(text)) if text.isprintable() else _FORM
    if wrong:
        from gdcbuild.core.endpoint import shown

        raise ManifestError(Problem(f"{shown(text)!r} is not a bucket", wrong))
    if separator:
        return None
    if Path(os.path.realpath(root)).is_relative_to(os.path.realpath(root / text)):
        hint = "published files would end up among its sources: choose a separate folder, such as `bucket`"
        raise ManifestError(Problem(f"the bucket {text!r} is the workspace itself, or contains it", hint))
    _refuse_file(text, root)
    return root / text


def _refuse_file(text: str, root: Path) -> None:
    """Raise ManifestError if a file is at the path of this folder, or above it."""
    path = root / text
    found = next((each for each in (path, *path.parents) if os.path.exists(each)), root)  # noqa: PTH110 - never raises
    if not os.path.isdir(found):  # noqa: PTH112 - never raises
        what = f"the bucket {text!r} is a file" if found == path else f"the bucket {text!r} is below {str(found)!r}, a file"
        raise ManifestError(Problem(f"{what}, not a folder", "choose another path, or move the file elsewhere"))


def real(text: str, root: Path) -> str | None:
    """The real path of the bucket's folder, with all links resolved; None for one at an address."""
    return None if "://" in text else os.path.realpath(root / text)


def _no_address(scheme: str, rest: str) -> str:
    """What to write instead of SCHEME://REST; "" when it is valid."""
    if scheme not in KINDS:
        return _FORM
    return next((hint for pattern, hint in KINDS[scheme] if not re.fullmatch(pattern, rest, re.DOTALL)), "")


def _no_folder(text: str) -> str:
    """What to write instead of this path; "" when it is valid."""
    if text.startswith("~"):
        home = text == "~" or text.startswith("~/")
        return f'write "${{env.HOME}}{text[1:]}"' if home else "write the full path, starting with /"
    if text.startswith("s3:"):
        return f"write s3://{text.removeprefix('s3:').lstrip('/')}"
    begun, address, _ = text.partition(":/")  # such as gs:/name: meant as an address, not as a folder
    return _FORM if "\\" in text or (address and begun.isalnum()) else ""
