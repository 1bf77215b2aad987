"""Where archives and exported folders go: copies on this machine, and uploads by `aws s3` and `gdcloud storage`."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gdcbuild.adopt.archiver import join
from gdcbuild.adopt.findings import TRACE, UNKNOWN, Findings, OtherCommand, Packing, Target, shown
from gdcbuild.adopt.known_commands import is_known, matters, only_reads, program_of
from gdcbuild.errors import Location

ENTRY = "model.mar"
LONGEST = 60
"""Characters of a command in a message."""

_STORES = {"aws": "s3", "gcloud": "storage", "gdcloud": "storage"}
_SETTINGS = {
    "endpoint": ("--endpoint-url", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "region": ("--region", "AWS_REGION", "AWS_DEFAULT_REGION"),
    "ca_file": ("--ca-bundle", "AWS_CA_BUNDLE"),
}
"""Keys of an environment, and the options and variables of aws that say the same."""

_IGNORED = {"--profile", "--exclude", "--include"}
_CHECK = "check what is uploaded; for a profile set AWS_PROFILE"
_VALUED = re.compile(r"--(?:endpoint-url|region|ca-bundle|profile|exclude|include|acl|sse|storage-class|content-type|output)")
_PLAIN = re.compile(r"\ue000\$([A-Za-z_]\w*)\ue001")
_PROGRAM = re.compile(r"[\w./+${}][\w./+${}-]*")
_BY_HAND = "add what it publishes to the manifest by hand"


class Transfer(NamedTuple):
    """A command that takes files elsewhere. `store` is the program for buckets, "" for a copy on this machine.

    `is_upload` is whether it is to a bucket, as far as that is known.
    """

    sources: tuple[str, ...]
    to: str
    store: str
    is_upload: bool
    options: Mapping[str, str]


def transfer(fields: Sequence[str]) -> Transfer | None:
    """What a command takes where; None when it takes nothing elsewhere, or in ways that are not followed."""
    words, options, rest = list[str](), dict[str, str](), iter(fields[1:])
    for argument in rest:
        option, joined, value = argument.partition("=")
        if argument.startswith("-"):
            options[option] = next(rest, "") if _VALUED.fullmatch(option) and not joined else value
        else:
            words.append(argument)
    verb, store = program_of(fields), ""
    if len(words) > 1 and words[0] == _STORES.get(verb):
        store, verb, words = verb, words[1], words[2:]
    is_followed = verb in ("cp", "mv", "sync") and len(words) > 1 and not {"-t", "--target-directory"} & options.keys()
    if not is_followed or words[-1].startswith("gs://"):
        return None
    *sources, to = words
    is_unclear = UNKNOWN.match(to) is not None and not any("://" in source for source in sources)
    return Transfer(tuple(sources), to, store, bool(store) and ("://" in to or is_unclear), {**options, verb: ""})


def _other_upload(fields: Sequence[str]) -> str:
    """The program that uploads in ways that are not followed; "" for another command."""
    program, to = program_of(fields), fields[-1]
    is_remote = "://" in to or UNKNOWN.search(to) or "put-object" in fields or (program == "rclone" and ":" in to)
    is_remote = is_remote or (program == "mc" and "/" in to and not to.startswith((".", "/")))
    is_upload = matters(" ".join(fields)) == "an upload" and not matters(" ".join(fields[1:]))
    return program if is_upload and is_remote else ""


class Uploads:
    """Follows archives from the command that packs them, by their paths. Folders are looked into below `root` only."""

    def __init__(self, found: Findings, root: str) -> None:
        self._found = found
        self._root = root
        self.at: dict[str, Packing] = {}
        self._folders: set[str] = set()

    def packed(self, packing: Packing) -> None:
        """A new archive, which replaces an older one at its path."""
        packing.commands = len(self._found.commands)
        self._found.packings.append(packing)
        self.at[packing.archive] = packing

    def command(self, fields: Sequence[str], folder: str, where: Location, doubt: str, held: Mapping[str, str]) -> bool:
        """Follow a command in a folder; False for one that takes no archive elsewhere. In doubt it is reported."""
        found = transfer(fields)
        if program_of(fields) == "mkdir":
            self._folders.update(join(folder, field).rstrip("/") for field in fields[1:])
        if "--dryrun" in fields and program_of(fields) in _STORES:
            return True
        if found is None:
            if store := _other_upload(fields):
                self._found.refuse(where, f"not followed: an upload by {store}", "write it as aws s3 cp, in a copy")
            return bool(store)
        paths = [join(folder, source).rstrip("/") for source in found.sources]
        is_copy = any(path in self.at or self._below(path) or (doubt and path.endswith(".mar")) for path in paths)
        if not (found.is_upload or (is_copy and not found.store)):
            return False
        if doubt:
            self._found.refuse(where, f"not followed: {'an upload' if found.store else 'a copy'} in {doubt}", TRACE)
            return True
        for option in _IGNORED & found.options.keys():
            self._found.note(where, f"{option} {shown(found.options[option])} is not followed", _CHECK)
        for source, path in zip(found.sources, paths, strict=True):
            if not found.store:
                self._copy(found, source, path, folder, where)
            elif "://" in source:
                self._found.refuse(where, f"not followed: {shown(source)} is copied from one bucket to another", _BY_HAND)
            else:
                known = {**held, **found.options} if found.store == "aws" else found.options
                self._upload(found, path, self._bucket(known, folder), where)
        return True

    def other(
        self, fields: Sequence[str], writes: Sequence[str], folder: str, where: Location, *, is_program: bool = True
    ) -> None:
        """Note a command that is not imported, with the paths that it may change; or a call of a function."""
        paths = [*self._changed(fields, folder), *(join(folder, path) for path in writes if not path.startswith("/dev/"))]
        named = next((path for path in paths if self._is_packed(path.rstrip("/"), program_of(fields))), "")
        text = shown(" ".join([*fields, *(f"> {path}" for path in writes)]))
        text = text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
        more = is_program and not is_known(fields) and _PROGRAM.fullmatch(shown(fields[0])) is not None
        if named:
            message = f"not imported: '{text}' names {named.removeprefix(f'{self._root}/')} after the archive is packed"
            self._found.refuse(where, message, f"add to `files` what it puts into the archive; {_BY_HAND}")
        elif paths or more:
            self._found.commands.append(OtherCommand(where, text, tuple(paths), more))

    def _changed(self, fields: Sequence[str], folder: str) -> Iterator[str]:
        """Paths that a command may change."""
        found = transfer(fields)
        for source in found.sources if found else ():
            to = join(folder, found.to if found else "")
            yield posixpath.join(to, posixpath.basename(source.rstrip("/"))) if found and self._is_into(found, to) else to
        if (found and "mv" not in found.options) or only_reads(fields):
            return
        for field in found.sources if found else fields[1:]:
            path = posixpath.basename(field) if "://" in field else field.rpartition("=")[2]
            if path and not path.startswith("-") and not UNKNOWN.search(path):
                yield join(folder, path)

    def _is_packed(self, path: str, program: str) -> bool:
        """Whether a command that names a path may change an archive that is packed, or take it elsewhere."""
        is_above = path in self.at or (path.startswith(f"{self._root}/") and bool(self._below(path)))
        return any(path.startswith(f"{archive}/") for archive in self.at) or (is_above and program != "rm")

    def _below(self, path: str) -> list[str]:
        """The archives in a folder."""
        return [archive for archive in self.at if archive.startswith(f"{path}/")]

    def _is_into(self, found: Transfer, to: str) -> bool:
        """Whether a destination is a folder, which is there or will be, and what is taken there keeps its name."""
        plain = to.rstrip("/")
        is_whole = found.store and {"sync", "--recursive", "-r", "-R"} & found.options.keys()
        is_open = plain in self.at and not plain.endswith(".mar")
        is_folder = to.endswith("/") or os.path.isdir(to) or plain in self._folders or self._below(plain) or is_open
        return bool(is_folder and not is_whole)

    def _copy(self, found: Transfer, source: str, path: str, folder: str, where: Location) -> None:
        """A copy of archives on this machine; mv takes them away."""
        to = join(folder, found.to)
        if UNKNOWN.search(to):
            message = f"where {shown(source)} is copied to is not known: {shown(found.to)}"
            self._found.note(where, message, "check the model's id and version")
        is_file = path in self.at and path.endswith(".mar")
        if (self._is_into(found, to) or (is_file and not to.endswith(".mar"))) and not source.endswith("/."):
            to = posixpath.join(to, posixpath.basename(path))
        for archive in [path] if path in self.at else self._below(path):
            packing = self.at.pop(archive) if "mv" in found.options else self.at[archive]
            packing.archive = posixpath.normpath(to + archive.removeprefix(path))
            self.at[packing.archive] = packing

    def _bucket(self, known: Mapping[str, str], folder: str) -> dict[str, str]:
        """What options and variables say of a bucket."""
        said = {key: next(filter(None, map(known.get, names)), "") for key, names in _SETTINGS.items()}
        said["ca_file"] = said["ca_file"] and join(folder, said["ca_file"])
        return {key: _variables(value) for key, value in said.items() if value}

    def _upload(self, found: Transfer, path: str, bucket: dict[str, str], where: Location) -> None:
        to = found.to if len(found.sources) == 1 else found.to.rstrip("/") + "/"
        if path in self.at or (path.endswith(".mar") and not UNKNOWN.search(path)):
            self._sent(path, to + posixpath.basename(path) if to.endswith("/") else to, bucket, where)
            return
        if UNKNOWN.search(path):
            self._found.refuse(where, f"what is uploaded is not known: {shown(path)}", _BY_HAND)
            return
        self._found.folders.append((path, len(self._found.commands)))
        below = self._below(path)
        inside = f"{path}/".startswith(f"{self._root}/") and os.path.isdir(path)
        there = [*Path(path).rglob("saved_model.pb"), *Path(path).rglob("*.mar")] if inside else []
        others = sorted({file.as_posix() for file in there} - self.at.keys())
        for file in others if below else ():
            message = f"{file.removeprefix(f'{self._root}/')} is in the folder that is uploaded, and nothing here packs it"
            self._found.note(where, message, "remove it from the manifest if it is old")
        for file in [*below, *others]:
            self._sent(file, to.rstrip("/") + file.removeprefix(path), bucket, where)
        if not others and not below:
            hint = "run import once it is there, or add what it holds to the manifest by hand"
            self._found.refuse(where, f"nothing is known of {path}, which is uploaded", hint)

    def _sent(self, path: str, key: str, bucket: dict[str, str], where: Location) -> None:
        """A file that is uploaded: an archive, or what says that its folder is a SavedModel."""
        if path in self.at and not key.endswith(".mar") and not UNKNOWN.search(key):
            message = f"{shown(key)} is not the name of an archive"
            self._found.refuse(where, message, "servers look for model.mar: end folders in a slash")
        elif (target := self._target(key, bucket, where)) and path in self.at:
            self.at[path].targets.append(target)
        elif target:
            self._found.uploaded.append((path if path.endswith(".mar") else posixpath.dirname(path), target))

    def _target(self, key: str, bucket: dict[str, str], where: Location) -> Target | None:
        """MODEL and VERSION are before the file's name, and the bucket with its prefix before these."""
        above, name = posixpath.split(key)
        prefix, model, version = ["", "", *above.removeprefix("s3://").rsplit("/", 2)][-3:]
        if not prefix or not model or UNKNOWN.search(model + version):
            message = f"no model and version are known from the upload to {shown(key)}"
            self._found.refuse(where, message, "write it as s3://BUCKET/MODEL/VERSION/FILE, or add the version by hand")
            return None
        url = f"s3://{_variables(prefix)}"
        if not key.startswith("s3://") or UNKNOWN.search(url + bucket.get("endpoint", "")):
            self._found.refuse(where, f"the bucket of {shown(key)} is not known", "add it to `environments` by hand")
            url = ""
        if name.endswith(".mar") and name != ENTRY:
            self._found.note(where, f"{name} is uploaded, and GDC's servers look for {ENTRY}", f"gdcbuild writes {ENTRY}")
        return Target(model, version, {"bucket": url, **bucket}, where, len(self._found.commands))


def _variables(text: str) -> str:
    """A value for an environment, where variables that the script does not set may stay variables."""
    return _PLAIN.sub(r"${env.\1}", text)
