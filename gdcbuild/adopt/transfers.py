"""Commands that take files elsewhere, on this machine or to and from buckets: what, whereto, and with which options."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gdcbuild.adopt.found import UNKNOWN

_STORES: Mapping[str, tuple[str, frozenset[str]]] = {
    "aws": ("s3", frozenset({"cp", "mv", "sync"})),
    "gcloud": ("storage", frozenset({"cp", "mv", "rsync"})),
    "gdcloud": ("storage", frozenset({"cp", "mv", "rsync"})),
    "gsutil": ("", frozenset({"cp", "mv", "rsync"})),
    "s5cmd": ("", frozenset({"cp", "mv", "sync"})),
    "s3cmd": ("", frozenset({"put", "get", "sync"})),
    "mc": ("", frozenset({"cp", "mv", "mirror"})),
    "rclone": ("", frozenset({"copy", "copyto", "sync", "move", "moveto"})),
}
"""Programs for buckets: the word that comes before the verbs, and the verbs that take files elsewhere."""

_FOLLOWED = frozenset({"aws", "gcloud", "gdcloud"})
_FLAG = re.compile(
    r"--no-.+|-\w|--(?:recursive|quiet|dryrun|only-show-errors|follow-symlinks|delete|size-only|debug|exact-timestamps"
    r"|force-glacier-transfer|ignore-glacier-warnings|continue-on-error)"
)
"""Options of the followed programs that no value follows; all others have one."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """`store` is the program for buckets, "" for a copy on this machine. Not `followed` is one whose options are not read."""

    sources: tuple[str, ...]
    to: str
    store: str
    options: Mapping[str, str]
    followed: bool = True

    @property
    def is_download(self) -> bool:
        """Whether it fetches: then the destination is plainly a path, and a source, as far as it is known, is none."""
        if not self.store or not self.sources or is_remote(self.to, self.store) or UNKNOWN.match(self.to):
            return False
        return any(is_remote(s, self.store) or UNKNOWN.match(s) for s in self.sources)

    @property
    def is_whole(self) -> bool:
        """Whether it takes the content of folders."""
        return bool({"--recursive", "-r", "-R", "-a", "sync", "rsync", "mirror"} & self.options.keys())


def is_remote(path: str, store: str) -> bool:
    """Whether a path is one in a bucket, for a program."""
    if store == "rclone":
        return ":" in path
    return "://" in path or (store == "mc" and not path.startswith((".", "/")) and "/" in path)


def transfer(fields: Sequence[str]) -> Transfer | None:
    """What a command takes where; None when it takes nothing elsewhere."""
    program = posixpath.basename(fields[0]) if fields else ""
    if program in ("cp", "mv"):
        return _local(program, fields[1:])
    if program in ("curl", "wget"):
        return _fetched(program, fields[1:])
    if program not in _STORES:
        return None
    words, options = _parsed(fields[1:], program)
    if program == "aws" and words[:1] == ["s3api"]:
        return _by_key(words[1:2], options)
    before, verbs = _STORES[program]
    at = next((n for n, word in enumerate(words) if word in verbs), -1)
    if at < 0 or (before and words[:1] != [before]):
        return None
    *sources, to = words[at + 1 :] or [""]
    followed = program in _FOLLOWED and words[at] != "rsync" and not to.startswith("gs://")
    return Transfer(tuple(sources), to, program, {**options, words[at]: ""}, followed)


def _parsed(arguments: Sequence[str], program: str) -> tuple[list[str], dict[str, str]]:
    """Words, and options with their values; of programs that are not followed, values are taken for words."""
    words, options, name = list[str](), dict[str, str](), ""
    for argument in arguments:
        if name:
            options[name], name = argument, ""
        elif argument.startswith("-") and len(argument) > 1:
            option, joined, value = argument.partition("=")
            options[option] = value
            if program in _FOLLOWED and not joined and not _FLAG.fullmatch(option):
                name = option
        else:
            words.append(argument)
    return words, options


def _local(program: str, arguments: Sequence[str]) -> Transfer | None:
    options = {program: "", **{a: "" for a in arguments if a.startswith("-")}}
    if any(re.match(r"-\w*[rRa]", option) for option in options):
        options["-r"] = ""
    words = [a for a in arguments if not a.startswith("-")]
    if "-t" in options:
        at = list(arguments).index("-t")
        folder = arguments[at + 1] if at + 1 < len(arguments) else ""
        words = [*(word for word in words if word != folder), f"{folder}/"]
    return Transfer(tuple(words[:-1]), words[-1], "", options) if len(words) > 1 else None


def _fetched(program: str, arguments: Sequence[str]) -> Transfer | None:
    """What curl or wget writes into a file."""
    url = next((a for a in arguments if "://" in a or UNKNOWN.match(a)), "")
    names = ("-o", "--output") if program == "curl" else ("-O", "--output-document")
    pairs = dict(pairwise(arguments))
    to = next((pairs[name] for name in names if name in pairs), "")
    if not to and (program == "wget" or "-O" in arguments):
        to = posixpath.basename(url)
    return Transfer((url,), to, program, {}, False) if url and to else None


def _by_key(verb: Sequence[str], options: Mapping[str, str]) -> Transfer | None:
    body, bucket, key = (options.get(f"--{name}", "") for name in ("body", "bucket", "key"))
    return Transfer((body,), f"s3://{bucket}/{key}", "aws", options) if verb == ["put-object"] and body else None
