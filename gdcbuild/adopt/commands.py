"""Simple commands: which one packs, which ones matter though they are not followed, and which files they run."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from itertools import takewhile

from gdcbuild.adopt.found import UNKNOWN

ARCHIVER = "torch-model-archiver"
SHELLS = frozenset({"bash", "sh", "dash", "ksh", "zsh", "ash"})
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?=)")
_PACKS = re.compile(
    rf"""(?:{ARCHIVER}|\bmodel_archiver(?:\.model_packaging)?|\bmodel_packaging\.py)['"]?[\s,\\].*?"""
    r"(?:--(?:handler|model-n|vers|ser|exp)|-v\b)",
    re.DOTALL,
)
_UPLOADS = re.compile(
    r"\baws\b[^\n;&|]*\s(?:s3\s+(?:cp|sync|mv)|put-object)\b"
    r"|(?:^|\s)s3\s+(?:cp|sync|mv)\s"
    r"|\b(?:gcloud|gdcloud)\b[^\n;&|]*\sstorage\s+(?:cp|mv|rsync)\b"
    r"|\b(?:gsutil|s5cmd|mc|rclone|s3cmd)\s[^\n;&|]*\b(?:cp|mv|sync|rsync|copy|copyto|mirror|put|move)\s"
)
_MODULES = ("model_archiver", "model_archiver.model_packaging")
_PASSED = frozenset({"then", "else", "elif", "do", "!", "time", "sudo", "exec", "command", "nohup", "env", "nice", "builtin"})
_RUNNERS = frozenset({"poetry", "uv", "pipenv", "pdm", "hatch", "rye"})
_TALKS = frozenset({"echo", "printf", "pip", "pip3", "which", "type", "hash", "apt-get", "conda", "man", "command", ":"})
_SHOWS = _TALKS | {"cat", "tee", "grep", "sed", "read", "true", "wc", "sort"}
_STARTERS = frozenset({"xargs", "parallel", "find", "timeout", "sudo", "env", "nice", "flock", "setsid", "stdbuf", "ionice"})
"""Programs that run what stands in their arguments."""

_BY_NAME = frozenset({"alias", "xargs", "parallel"})
"""Programs to which the archiver's name alone is given, and which run it."""


def matters(text: str) -> str:
    """What a text that is not read would do if it ran: "torch-model-archiver", "an upload" or ""."""
    return ARCHIVER if _PACKS.search(text) else "an upload" if _UPLOADS.search(text) else ""


def begins(text: str) -> int:
    """Where in the text that is."""
    match = _PACKS.search(text) or _UPLOADS.search(text)
    return match.start() if match else 0


def bare(fields: list[str]) -> list[str]:
    """Without what only starts another command, and the plus signs that `bash -x` puts before one."""
    while fields:
        follows = fields[1] if len(fields) > 1 else ""
        if (fields[0] in _PASSED and not follows.startswith("-")) or not fields[0].strip("+") or ASSIGNMENT.match(fields[0]):
            fields = fields[1:]
        elif fields[0] in _RUNNERS and follows == "run":
            fields = fields[2:]
        else:
            break
    return fields


def archiver(fields: Sequence[str]) -> list[str] | None:
    """The options of a run of the archiver; None for another command."""
    if fields and posixpath.basename(fields[0]) == ARCHIVER:
        return list(fields[1:])
    if not _is_python(fields):
        return None
    at = next((n for n, field in enumerate(fields[1:], 1) if field == "-m" or not field.startswith("-")), 0)
    return list(fields[at + 2 :]) if fields[at] == "-m" and fields[at + 1 : at + 2] and fields[at + 1] in _MODULES else None


def wrapped(fields: Sequence[str]) -> str:
    """What a command runs that has another command among its arguments, as `matters` says it."""
    program = posixpath.basename(fields[0]) if fields else ""
    line = " ".join([*fields[:1], *(UNKNOWN.sub("?", field) for field in fields[1:])])  # of which $(...) was told
    if program in _TALKS:
        cut = re.search(r"\n\++ ", line)  # a trace whose line with the closing quote was filtered out
        return matters(line[cut.start() :]) if cut else ""
    options = {name for f in fields for name in ("--model-name", "--handler") if f.partition("=")[0] == name}
    if len(options) == 2 or (program in _BY_NAME and ARCHIVER in line):
        return ARCHIVER
    return matters(line if matters(fields[0]) else line.removeprefix(fields[0])) if fields else ""


def only_shows(fields: Sequence[str]) -> bool:
    """Whether a command runs nothing of what it reads."""
    return bool(fields) and posixpath.basename(fields[0]) in _SHOWS


def reads_commands(fields: Sequence[str]) -> bool:
    """Whether it is a shell that reads its commands from standard input."""
    is_shell = bool(fields) and posixpath.basename(fields[0]) in SHELLS
    return is_shell and ("-s" in fields or all(f.startswith("-") and f != "-c" for f in fields[1:]))


def runs_text(fields: Sequence[str]) -> bool:
    """Whether it runs commands in its arguments, which are not read."""
    if fields[:1] == ["eval"]:
        return any(map(UNKNOWN.search, fields))
    return bool(fields) and posixpath.basename(fields[0]) in {"trap", *SHELLS, *_STARTERS}


def scripts(fields: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Scripts that a command runs, or has another one run."""
    yield script(fields)
    if fields and posixpath.basename(fields[0]) in _STARTERS:
        for number, field in enumerate(fields[1:], 1):
            name, sure = script(fields[number:])
            yield name, sure and posixpath.basename(field) in SHELLS


def script(fields: Sequence[str]) -> tuple[str, bool]:
    """The script or Makefile that a command runs, "" for none, and whether it can be nothing but that."""
    if not fields:
        return "", False
    program, arguments = posixpath.basename(fields[0]), [f for f in fields[1:] if not f.startswith(("-", "+"))]
    if program in SHELLS:
        options = takewhile(lambda field: field != arguments[0], fields) if arguments else ["-s"]
        return ("", False) if {"-c", "-s"} & set(options) else (arguments[0], True)
    if _is_python(fields):
        return (arguments[0], False) if arguments and arguments[0].endswith(".py") else ("", False)
    if program in ("make", "gmake"):
        return _makefile(fields)
    return (fields[0], program.endswith((".sh", ".bash"))) if "/" in fields[0] else ("", False)


def _makefile(fields: Sequence[str]) -> tuple[str, bool]:
    """The Makefile that make reads; where it is told of one, there has to be one."""
    pairs = dict(zip(fields, [*fields[1:], ""], strict=True))
    if folder := pairs.get("-C") or pairs.get("--directory"):
        return posixpath.join(folder, pairs.get("-f") or "Makefile"), True
    if file := pairs.get("-f") or pairs.get("--file"):
        return file, True
    return "Makefile", False


def is_told_variables(fields: Sequence[str]) -> bool:
    """Whether it is make with variables of its own, so that what was read of its Makefile does not hold."""
    return posixpath.basename(fields[0]) in ("make", "gmake") and any(ASSIGNMENT.match(field) for field in fields[1:])


def _is_python(fields: Sequence[str]) -> bool:
    return bool(fields) and re.fullmatch(r"python[\d.]*", posixpath.basename(fields[0])) is not None
