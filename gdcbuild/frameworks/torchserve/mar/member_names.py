"""Names of an archive's members: normalize them, and refuse those that are unsafe or impossible to unpack."""

from __future__ import annotations

from itertools import pairwise

from gdcbuild.frameworks.torchserve.mar.layout import UnreadableArchive

MAX_NAME = 1024
MAX_PART = 255
"""Most bytes in a name, and in a part between slashes: the limits of file systems."""


def unpacked_as(name: str) -> str:
    """A member's name without empty and `.` parts, as in ./a//b; a folder's name ends in "/", the root's is ""."""
    *above, last = name.split("/")
    return "/".join([*(part for at, part in enumerate(above) if part != "." and (part or at == 0)), last])


def _problem(name: str) -> str | None:
    """Why a member with this name cannot be unpacked, or must not be."""
    parts = name.split("/")
    if not name or name.startswith("/") or "\\" in name:
        return "is not a relative path with /"
    if ".." in parts:
        return "contains .."
    if "" in parts or "." in parts:
        return "contains // or ./"
    if len(name.encode(errors="replace")) > MAX_NAME:
        return f"is longer than {MAX_NAME} bytes"
    if any(len(part.encode(errors="replace")) > MAX_PART for part in parts):
        return f"has a part longer than {MAX_PART} bytes"
    if any(ord(c) < 32 or ord(c) == 127 for c in name):
        return "contains a control character"
    return None


def check_names(names: list[str]) -> None:
    """Raise UnreadableArchive for a name that cannot be unpacked or conflicts with another. A folder's name ends in "/"."""
    seen: set[str] = set()
    for name in names:
        problem = _problem(name.removesuffix("/"))
        if problem:
            raise UnreadableArchive(f"the name {name!r} {problem}")
        if name in seen:
            raise UnreadableArchive(f"the name {name!r} appears twice")
        seen.add(name)
    parts = sorted(name.split("/") for name in names)
    for one, other in pairwise(parts):  # a folder's files follow it directly
        if other[: len(one)] == one:
            of = f" of {'/'.join(other)!r}" if other[-1] else ""
            raise UnreadableArchive(f"{'/'.join(one)!r} is both a file and the folder{of}")
