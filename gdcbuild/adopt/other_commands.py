"""Commands that are not imported, and what of the archives they may change: none of that is left out silently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gdcbuild.adopt.findings import Findings

_STEP = "if it makes or changes a file that is packed, declare it as a step, or run it before gdcbuild"
_BEFORE = "gdcbuild packs what is there when it runs: make the change in the workspace, or give it a version of its own"


class Source(NamedTuple):
    """The files and folders of a version, and how many other commands come before it is packed or uploaded."""

    version: str
    paths: tuple[str, ...]
    commands: int


def report(found: Findings, sources: Sequence[Source], root: str) -> None:
    """Report each command that may change what is packed; after packing it is an error."""
    for number, command in enumerate(found.commands):
        text = f"not imported: '{command.text}'"
        hits = [(s, path) for s in sources for path in command.paths if any(_touches(path, own, root) for own in s.paths)]
        put = [path for path in command.paths for to, count in found.folders if number < count and path.startswith(f"{to}/")]
        late = next((hit for hit in hits if hit[0].commands <= number), None)
        if source_path := late or next(iter(hits), None):
            source, path = source_path
            short = path.removeprefix(f"{root}/").rstrip("/")
            if late:
                found.refuse(command.where, f"{text} names {short} after {source.version} is packed from it", _BEFORE)
            else:
                found.note(command.where, f"{text} names {short}, which is packed in {source.version}", _STEP)
        elif put and not command.text.startswith("rm "):
            message = f"{text} puts {put[0].removeprefix(f'{root}/')} into a folder that is uploaded"
            found.refuse(command.where, message, "gdcbuild publishes only what the manifest names")
        elif command.may_change_more and any(source.commands > number for source in sources):
            found.note(command.where, text, _STEP)


def _touches(path: str, own: str, root: str) -> bool:
    """Whether a path is a packed file, in a packed folder, or a folder below the root that holds one."""
    path, own = path.rstrip("/"), own.rstrip("/")
    return path == own or path.startswith(f"{own}/") or (own.startswith(f"{path}/") and path.startswith(f"{root}/"))
