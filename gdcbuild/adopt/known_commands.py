"""What is known of programs: which one packs, which change no files, and how commands run other commands."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from gdcbuild.adopt.findings import UNKNOWN

ARCHIVER = "torch-model-archiver"
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?=)")
TESTS = re.compile(r"\[|test|\[\[.*|\(\(.*|false|grep|egrep|fgrep|which|type|hash|command|cmp|diff", re.DOTALL)
"""Commands that fail in the ordinary course of a script, so that what follows && may not run."""

_READERS = re.compile(
    r":|true|echo|printf|cd|pushd|popd|export|readonly|local|declare|typeset|unset|set|shopt|read|mapfile|readarray|getopts|let"
    r"|shift|exit|return|break|continue|trap|wait|sleep|date|ulimit|umask|alias|eval|source|\.|for|case|select"
    r"|ls|tree|cat|head|tail|wc|du|df|stat|file|basename|dirname|realpath|readlink|seq|sort|uniq|cut|tr|awk|jq"
    r"|sha256sum|md5sum|sha1sum|mkdir|rmdir|chmod|chown|pwd|ps|kill|printenv|uname|hostname|whoami|id|man|clear|nvidia-smi"
    r"|pip|pip3|conda|mamba|apt|apt-get|apk|yum|dnf|brew|torchserve"
)
"""Programs that change no file which could be packed, but by redirections."""

_WRITERS = re.compile(
    r"cp|mv|rm|ln|install|rsync|scp|touch|tee|sed|dd|truncate|zip|wget|curl|unlink"
    r"|aws|gcloud|gdcloud|gsutil|s5cmd|s3cmd|mc|rclone"
)
"""Programs that change only what their words name."""

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
_TALKS = re.compile(r":|echo|printf|pip3?|which|type|hash|apt-get|conda|mamba|man|command|git")
"""Programs that run none of their words, but for `conda run`."""

_SHELLS = ("bash", "sh", "dash", "ksh", "zsh", "ash")
_STARTERS = ("sudo", "exec", "command", "nohup", "env", "nice", "builtin")
_RUNNERS = ("poetry", "uv", "pipenv", "pdm", "hatch", "rye")


def matters(text: str) -> str:
    """What a text that is not read would do if it ran: "torch-model-archiver", "an upload" or ""."""
    return ARCHIVER if _PACKS.search(text) else "an upload" if _UPLOADS.search(text) else ""


def line_of(text: str) -> int:
    """The line of the text with that, from 0."""
    match = _PACKS.search(text) or _UPLOADS.search(text)
    return text.count("\n", 0, match.start()) if match else 0


def program_of(fields: Sequence[str]) -> str:
    """The program's name."""
    return posixpath.basename(fields[0])


def bare(fields: list[str]) -> list[str]:
    """Without what only starts another command, and the plus signs that `bash -x` puts before one."""
    while fields:
        follows = fields[1] if len(fields) > 1 else ""
        if (fields[0] in _STARTERS and not follows.startswith("-")) or not fields[0].strip("+") or ASSIGNMENT.match(fields[0]):
            fields = fields[1:]
        elif fields[0] in _RUNNERS and follows == "run":
            fields = fields[2:]
        else:
            break
    return fields


def archiver(fields: Sequence[str]) -> list[str] | None:
    """The options of a run of the archiver; None for another command."""
    if program_of(fields) == ARCHIVER:
        return list(fields[1:])
    at = next((n for n, field in enumerate(fields[1:], 1) if field == "-m" or not field.startswith("-")), 0)
    is_module = re.fullmatch(r"python[\d.]*", program_of(fields)) and fields[at] == "-m"
    names = ("model_archiver", "model_archiver.model_packaging")
    return list(fields[at + 2 :]) if is_module and fields[at + 1 : at + 2] and fields[at + 1] in names else None


def only_reads(fields: Sequence[str]) -> bool:
    """Whether a command changes no file that could be packed, but by redirections."""
    is_python = re.fullmatch(r"python[\d.]*", program_of(fields)) and list(fields[1:3]) in (["-m", "pip"], ["-m", "venv"])
    return bool(is_python or _READERS.fullmatch(program_of(fields)) or TESTS.fullmatch(program_of(fields)))


def is_known(fields: Sequence[str]) -> bool:
    """Whether a command changes no file that its words and redirections do not name."""
    return only_reads(fields) or _WRITERS.fullmatch(program_of(fields)) is not None


def wrapped(fields: Sequence[str]) -> str:
    """What a command runs that has another command among its arguments, as `matters` says it."""
    line = " ".join(UNKNOWN.sub("?", field) for field in fields[1:])  # $(...) is followed apart
    is_text = _TALKS.fullmatch(program_of(fields)) and "run" not in fields[1:2]
    if is_text or _WRITERS.fullmatch(program_of(fields)) or (program_of(fields)[:6] == "python" and only_reads(fields)):
        cut = re.search(r"\n\++ ", line)  # a trace whose line with the closing quote was filtered out
        return matters(line[cut.start() :]) if cut else ""
    options = {name for f in fields for name in ("--model-name", "--handler") if f.partition("=")[0] == name}
    if len(options) == 2 or any(posixpath.basename(field.rpartition("=")[2]) == ARCHIVER for field in fields[1:]):
        return ARCHIVER
    return matters(f"{fields[0]} {line}" if UNKNOWN.search(fields[0]) else line)


def is_unclear(fields: Sequence[str], is_fed: bool) -> bool:
    """Whether a command comes from what only running the script would tell; with `is_fed`, its standard input is known."""
    program = program_of(fields)
    after = fields[fields.index("-c") + 1 if "-c" in fields else 1 :]
    if program in _SHELLS and not is_fed and ("-s" in fields or all(field.startswith("-") for field in fields[1:])):
        return True
    if program in (*_SHELLS, "eval"):  # what programs print to be evaluated are settings
        return any(UNKNOWN.match(field) and not field[1:].startswith("$(") for field in after[:1])
    return bool(UNKNOWN.match(fields[0])) and bool(re.search(r"\[[@*]\]|, which ", fields[0]))


def script_of(fields: Sequence[str]) -> str:
    """The script that a command runs, if it plainly does."""
    operands = [field for field in fields[1:] if not field.startswith("-")]
    if program_of(fields) in _SHELLS and operands and "-c" not in fields:
        return operands[0]
    return fields[0] if fields[0].endswith((".sh", ".bash")) else ""
