"""Where archives and exported folders go: copies on this machine, and uploads by `aws s3` and `gdcloud storage`."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gdcbuild.adopt.archiver import join
from gdcbuild.adopt.findings import TRACE, UNKNOWN, Bucket, Findings, OtherCommand, Packing, Target, shown
from gdcbuild.adopt.known_commands import is_known, only_reads
from gdcbuild.adopt.transfers import Transfer, other_upload, transfer
from gdcbuild.errors import Location

ENTRY = "model.mar"
LONGEST = 60
"""Characters of a command in a message."""

_PLAIN = re.compile(r"\ue000\$([A-Za-z_]\w*)\ue001")
_PROGRAM = re.compile(r"[\w./+${}][\w./+${}-]*")
_BY_HAND = "add what it publishes to the manifest by hand"


class Uploads:
    """Follows archives from the command that packs them, by their paths. Folders are looked into below `root` only."""

    def __init__(self, found: Findings, root: str) -> None:
        self._found = found
        self._root = root
        self.at: dict[str, int] = {}
        self._folders: set[str] = set()

    def packed(self, packing: Packing) -> None:
        """A new archive, which replaces an older one at its path."""
        self._found.packings.append(replace(packing, commands=len(self._found.commands)))
        self.at[packing.archive] = len(self._found.packings) - 1

    def command(self, fields: Sequence[str], folder: str, where: Location, doubt: str, held: Mapping[str, str]) -> bool:
        """Follow a command in a folder; False for one that takes no archive elsewhere. In doubt it is reported."""
        found = transfer(fields)
        if posixpath.basename(fields[0]) == "mkdir":
            self._folders.update(join(folder, field).rstrip("/") for field in fields[1:])
        if found is None:
            store = other_upload(fields)
            if store:
                hint = "write it as aws s3 cp, in a copy of the script"
                self._found.refuse(where, f"not followed: an upload by {store}", hint)
            return bool(store)
        paths = [join(folder, source) for source in found.sources]
        is_copy = any(self._is_archive(path) or (doubt and path.endswith(".mar")) for path in paths)
        if found.is_download or not (found.store or is_copy):
            return False
        if "--dryrun" in found.options:
            return True
        if doubt:
            self._found.refuse(where, f"not followed: {'an upload' if found.store else 'a copy'} in {doubt}", TRACE)
        elif not found.sources:
            self._found.refuse(where, f"what {found.store} uploads is not known", _BY_HAND)
        elif not found.store:
            self._copy(found, folder, where)
        else:
            bucket = self._bucket(found, folder, where, held)
            for source in found.sources:
                self._upload(found, source, folder, bucket, where)
        return True

    def other(
        self, fields: Sequence[str], writes: Sequence[str], folder: str, where: Location, *, is_program: bool = True
    ) -> None:
        """Note a command that is not imported, with the paths that it may change; or a call of a function."""
        program = posixpath.basename(fields[0])
        paths = [*self._changed(fields, folder), *(join(folder, path) for path in writes if not path.startswith("/dev/"))]
        named = next((path for path in paths if self._is_packed(path.rstrip("/"), program)), "")
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
            into = found and not found.is_whole and (to.endswith("/") or self._is_folder(to))
            yield posixpath.join(to, posixpath.basename(source.rstrip("/"))) if into else to
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
        return [archive for archive in self.at if archive.startswith(f"{path.rstrip('/')}/")]

    def _is_archive(self, path: str) -> bool:
        """Whether it is an archive, or a folder of some."""
        return path.rstrip("/") in self.at or bool(self._below(path))

    def _is_folder(self, path: str) -> bool:
        """Whether a folder is there, or will be."""
        plain = path.rstrip("/")
        return os.path.isdir(path) or plain in self._folders or bool(self._below(path)) or self._is_open(plain)

    def _is_open(self, path: str) -> bool:
        """Whether it is an archive that is a folder."""
        return path in self.at and self._found.packings[self.at[path]].archive_format == "no-archive"

    def _copy(self, found: Transfer, folder: str, where: Location) -> None:
        target = join(folder, found.to)
        for source in found.sources:
            if UNKNOWN.search(target):
                message = f"where {shown(source)} is copied to is not known: {shown(found.to)}"
                self._found.note(where, message, "check the model's id and version")
            path = join(folder, source).rstrip("/")
            is_named = path not in self.at or target.endswith(".mar") or self._is_open(path)
            into = target.endswith("/") or self._is_folder(target) or not is_named
            to = posixpath.join(target, posixpath.basename(path)) if into and not source.endswith("/.") else target
            for archive in [path] if path in self.at else self._below(path):
                copied = posixpath.normpath(to + archive.removeprefix(path))
                number = self.at.pop(archive) if "mv" in found.options else self.at[archive]
                self.at[copied] = number
                self._found.copies[number] = copied

    def _bucket(self, found: Transfer, folder: str, where: Location, held: Mapping[str, str]) -> Bucket:
        """What options, or else the variables of aws, say of a bucket."""

        def said(option: str, *names: str) -> str:
            named = (held.get(name, "") for name in names if found.store == "aws")
            return found.options.get(option) or next(filter(None, named), "")

        if profile := shown(said("--profile", "AWS_PROFILE")):
            self._found.note(where, f"the profile {profile!r} is not part of a manifest", f"set AWS_PROFILE={profile}")
        if {"--exclude", "--include"} & found.options.keys():
            self._found.note(where, "--exclude and --include are not followed", "check what is uploaded")
        endpoint = said("--endpoint-url", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        region = said("--region", "AWS_REGION", "AWS_DEFAULT_REGION")
        path = said("--ca-bundle", "AWS_CA_BUNDLE")
        return Bucket("", _variables(endpoint), _variables(region), join(folder, path) if path else "")

    def _upload(self, found: Transfer, source: str, folder: str, bucket: Bucket, where: Location) -> None:
        to = found.to if len(found.sources) == 1 else found.to.rstrip("/") + "/"
        path = join(folder, source).rstrip("/")
        key = to + posixpath.basename(path) if to.endswith("/") else to
        if "://" in source:
            self._found.refuse(where, f"not followed: {shown(source)} is copied from one bucket to another", _BY_HAND)
        elif path in self.at:
            self._archive(self.at[path], f"{to.rstrip('/')}/{ENTRY}" if self._is_open(path) else key, bucket, where)
        elif UNKNOWN.search(path):
            self._found.refuse(where, f"what is uploaded is not known: {shown(path)}", _BY_HAND)
        elif path.endswith(".mar"):
            self._other(self._found.archives, path, key, bucket, where)
        else:
            self._folder(path, to.rstrip("/"), bucket, where)

    def _archive(self, number: int, key: str, bucket: Bucket, where: Location) -> None:
        if not key.endswith(".mar") and not UNKNOWN.search(key):
            message = f"{shown(key)} is not the name of an archive"
            self._found.refuse(where, message, "servers look for model.mar: end folders in a slash")
        elif target := self._target(key, bucket, where):
            self._found.targets.setdefault(number, []).append(target)

    def _folder(self, path: str, to: str, bucket: Bucket, where: Location) -> None:
        """A folder: archives that are packed here, and what is in it now and nothing here packs."""
        below = self._below(path)
        self._found.uploads.append((path, len(self._found.commands)))
        for archive in below:
            self._archive(self.at[archive], to + archive.removeprefix(path), bucket, where)
        inside = f"{path}/".startswith(f"{self._root}/") and os.path.isdir(path)
        found = [*Path(path).rglob("saved_model.pb"), *Path(path).rglob("*.mar")] if inside else []
        others = sorted({file.as_posix() for file in found} - self.at.keys())
        for file in others:
            if below:
                short = file.removeprefix(f"{self._root}/")
                message = f"{short} is in the folder that is uploaded, and nothing here packs it"
                self._found.note(where, message, "remove it from the manifest if it is old")
            is_archive = file.endswith(".mar")
            known = self._found.archives if is_archive else self._found.folders
            self._other(known, file if is_archive else posixpath.dirname(file), to + file.removeprefix(path), bucket, where)
        if not others and not below:
            hint = "run import once it is there, or add what it holds to the manifest by hand"
            self._found.refuse(where, f"nothing is known of {path}, which is uploaded", hint)

    def _other(self, known: list[tuple[str, Target]], path: str, key: str, bucket: Bucket, where: Location) -> None:
        if target := self._target(key, bucket, where):
            known.append((path, target))

    def _target(self, key: str, bucket: Bucket, where: Location) -> Target | None:
        """MODEL and VERSION are before the file's name, and the bucket with its prefix before these."""
        above, name = posixpath.split(key)
        prefix, model, version = ["", "", *above.removeprefix("s3://").rsplit("/", 2)][-3:]
        problem, hint = "", "add the version by hand"
        if not prefix and UNKNOWN.search(key):
            problem = f"where the upload to {shown(key)} goes is not known"
        elif UNKNOWN.search(model + version):
            problem = f"what {shown(model)}/{shown(version)} is in {shown(key)} is not known"
        elif not prefix or not model:
            problem, hint = f"{shown(key)} is not s3://BUCKET/MODEL/VERSION/FILE", "servers would not find it there"
        if problem:
            self._found.refuse(where, problem, hint)
            return None
        url = f"s3://{_variables(prefix)}"
        if not key.startswith("s3://") or UNKNOWN.search(url + bucket.endpoint):
            self._found.refuse(where, f"the bucket of {shown(key)} is not known", "add it to `environments` by hand")
            url = ""
        if name.endswith(".mar") and name != ENTRY:
            self._found.note(where, f"{name} is uploaded, and GDC's servers look for {ENTRY}", f"gdcbuild writes {ENTRY}")
        return Target(model, version, replace(bucket, url=url), where, len(self._found.commands))


def _variables(text: str) -> str:
    """A value for an environment, where variables that the script does not set may stay variables."""
    return _PLAIN.sub(r"${env.\1}", text)
