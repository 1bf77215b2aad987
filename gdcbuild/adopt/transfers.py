"""Commands that take files elsewhere, on this machine or to and from buckets: which files, where to, with which options."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gdcbuild.adopt.findings import UNKNOWN
from gdcbuild.adopt.known_commands import matters

_STORES = {"aws": "s3", "gcloud": "storage", "gdcloud": "storage"}
_FLAG = re.compile(
    r"--no-.+|-\w|--(?:recursive|quiet|dryrun|only-show-errors|follow-symlinks|delete|size-only|debug|exact-timestamps"
    r"|force-glacier-transfer|ignore-glacier-warnings|continue-on-error)"
)
"""Options that no value follows; all others of the programs for buckets have one."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """`store` is the program for buckets, "" for a copy on this machine."""

    sources: tuple[str, ...]
    to: str
    store: str
    options: Mapping[str, str]

    @property
    def is_download(self) -> bool:
        """Whether it fetches: then the destination is plainly a path, and a source, as far as it is known, is not."""
        is_remote = any("://" in source or UNKNOWN.match(source) for source in self.sources)
        return bool(self.store) and is_remote and "://" not in self.to and not UNKNOWN.match(self.to)

    @property
    def is_whole(self) -> bool:
        """Whether it takes the content of folders."""
        return "sync" in self.options or any(re.match(r"--recursive|-\w*[rRa]", option) for option in self.options)


def transfer(fields: Sequence[str]) -> Transfer | None:
    """What a command takes where; None when it takes nothing elsewhere, or in ways that are not followed."""
    program, words, options, name = posixpath.basename(fields[0]), list[str](), dict[str, str](), ""
    for argument in fields[1:]:
        if name:
            options[name], name = argument, ""
        elif argument.startswith("-") and len(argument) > 1:
            option, joined, options[option] = argument.partition("=")
            name = option if program in _STORES and not joined and not _FLAG.fullmatch(option) else ""
        else:
            words.append(argument)
    if program in ("cp", "mv"):
        is_plain = len(words) > 1 and not {"-t", "--target-directory"} & options.keys()
        return Transfer(tuple(words[:-1]), words[-1], "", {**options, program: ""}) if is_plain else None
    if words[:2] == ["s3api", "put-object"]:
        body, bucket, key = (options.get(f"--{name}", "") for name in ("body", "bucket", "key"))
        return Transfer((body,), f"s3://{bucket}/{key}", program, options) if body else None
    if words[:1] != [_STORES.get(program)] or words[1:2] not in (["cp"], ["mv"], ["sync"]) or words[-1].startswith("gs://"):
        return None
    *sources, to = words[2:] or [""]
    return Transfer(tuple(sources), to, program, {**options, words[1]: ""})


def other_upload(fields: Sequence[str]) -> str:
    """The program for buckets that uploads in ways that are not followed; "" for another command."""
    program, to = posixpath.basename(fields[0]), fields[-1]
    is_remote = "://" in to or UNKNOWN.search(to) or (program == "rclone" and ":" in to)
    is_remote = is_remote or (program == "mc" and "/" in to and not to.startswith((".", "/")))
    is_upload = matters(" ".join(fields)) == "an upload" and not matters(" ".join(fields[1:]))
    return program if is_upload and is_remote else ""
