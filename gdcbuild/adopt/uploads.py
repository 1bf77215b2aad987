"""Where archives and exported folders go: copies on this machine, and uploads by `aws s3` and `gdcloud storage`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from gdcbuild.adopt.archiver import join
from gdcbuild.adopt.files import is_folder
from gdcbuild.adopt.found import UNKNOWN, Bucket, Found, Packing, Target, shown
from gdcbuild.adopt.transfers import Transfer, is_remote, transfer
from gdcbuild.errors import Location

ENTRY = "model.mar"
_PLAIN = re.compile(r"\ue000\$([A-Za-z_]\w*)\ue001")
_URL = re.compile(r"\w+://\S+\.mar")
_SCHEME = "s3://"
_LOOKS = re.compile(
    r"ls|rm|test|\[\[?|chmod|chown|du|stat|unzip|file|touch|wc|find|echo|printf|sha256sum|md5sum|sha1sum|cat|:|mkdir|trap"
    r"|aws|gsutil|mc|s5cmd|s3cmd|gcloud"
)
"""Programs that leave an archive where it is."""

_TAKES = frozenset({"rsync", "scp", "ln", "install"})
"""Programs that take folders elsewhere."""

_BY_HAND = "add what it publishes to the manifest by hand"


class Uploads:
    """Follows archives from the command that packs them, by their paths. Folders are looked into below `root` only."""

    def __init__(self, found: Found, root: str) -> None:
        self._found = found
        self._root = root
        self.at: dict[str, int] = {}
        self._folders: set[str] = set()

    def packed(self, packing: Packing) -> None:
        """A new archive, which takes the place of an older one at its path."""
        self._found.packings.append(packing)
        self.at[packing.archive] = len(self._found.packings) - 1

    def command(
        self, fields: Sequence[str], folder: str, where: Location, doubt: str, environment: Mapping[str, str]
    ) -> str | None:
        """Follow a command in a folder. Returns what is not followed because of a doubt, or ""; None for what takes nothing
        elsewhere."""
        found = transfer(fields)
        if found is None:
            program = posixpath.basename(fields[0])
            if program == "mkdir":
                self._folders.update(join(folder, field).rstrip("/") for field in fields[1:])
            taken = next((f for f in fields[1:] if join(folder, f) in self.at or _URL.fullmatch(f)), "")
            if program in _TAKES:
                taken = taken or next((f for f in fields[1:] if self._below(join(folder, f))), "")
            if not taken or _LOOKS.fullmatch(program):
                return None
            self._found.refuse(where, f"{shown(taken)} is given to {shown(fields[0])}, which is not followed", _BY_HAND)
            return ""
        if "--dryrun" in found.options:
            return ""
        if found.is_download or found.store in ("curl", "wget"):
            self._fetch(found, folder, where)
        elif not found.store:
            if doubt and self._is_of_archives(found, folder):
                return "a copy"
            self._copy(found, folder, where)
        elif not found.followed:
            if is_remote(found.to, found.store) or UNKNOWN.search(found.to):
                message = f"an upload by {found.store} is not followed"
                self._found.refuse(where, message, "write it as aws s3 cp, in a copy of the script")
        elif doubt:
            return "an upload"
        elif not found.sources:
            self._found.refuse(where, f"what {found.store} takes where is not known", _BY_HAND)
        else:
            bucket = self._bucket(found, folder, where, environment)
            for source in found.sources:
                self._upload_one(found, source, folder, bucket, where)
        return ""

    def _upload_one(self, found: Transfer, source: str, folder: str, bucket: Bucket, where: Location) -> None:
        if is_remote(source, found.store):
            self._found.refuse(where, f"{shown(source)} is copied from one bucket to another, which is not followed", _BY_HAND)
            return
        if {"--exclude", "--include"} & found.options.keys():
            self._found.note(where, "--exclude and --include are not followed", f"see what of {shown(source)} is uploaded")
        to = found.to if len(found.sources) == 1 else found.to.rstrip("/") + "/"
        self._upload(join(folder, source), to, bucket, where)

    def _bucket(self, found: Transfer, folder: str, where: Location, environment: Mapping[str, str]) -> Bucket:
        """What options, or else the variables of aws, say of a bucket."""

        def said(option: str, *names: str) -> str:
            named = (environment.get(name, "") for name in names if found.store == "aws")
            return found.options.get(option) or next(filter(None, named), "")

        if profile := said("--profile", "AWS_PROFILE"):
            message = f"the profile {shown(profile)!r} is no part of a manifest"
            self._found.note(where, message, f"set AWS_PROFILE={shown(profile)}")
        endpoint = said("--endpoint-url", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        region = said("--region", "AWS_REGION", "AWS_DEFAULT_REGION")
        path = said("--ca-bundle", "AWS_CA_BUNDLE")
        return Bucket("", _variables(endpoint), _variables(region), join(folder, path) if path else "")

    def _fetch(self, found: Transfer, folder: str, where: Location) -> None:
        for source in found.sources:
            self._make(found, source, join(folder, found.to), f"is fetched from {shown(source)}", where)

    def _make(self, found: Transfer, source: str, to: str, how: str, where: Location) -> None:
        """Note that a file, or a folder's content, comes from elsewhere."""
        into = not found.is_whole and (to.endswith("/") or is_folder(to))
        path = posixpath.join(to, posixpath.basename(source.rstrip("/"))) if into else to
        self._found.made[posixpath.normpath(path)] = (how, where)

    def _below(self, path: str) -> list[str]:
        """The archives in a folder."""
        return [archive for archive in self.at if archive.startswith(f"{path.rstrip('/')}/")]

    def _is_folder(self, path: str) -> bool:
        """Whether a folder is there, or will be."""
        return is_folder(path) or path.rstrip("/") in self._folders or bool(self._below(path))

    def _is_of_archives(self, found: Transfer, folder: str) -> bool:
        """Whether it may be that an archive is copied."""
        paths = [join(folder, source) for source in found.sources]
        return any(path in self.at or path.endswith(".mar") or self._below(path) for path in paths)

    def _copy(self, found: Transfer, folder: str, where: Location) -> None:
        target = join(folder, found.to)
        for source in found.sources:
            if not self._is_of_archives(found, folder):
                self._make(found, source, target, f"is copied from {shown(source)}", where)
                continue
            if UNKNOWN.search(target):
                message = f"where {shown(source)} is copied to is not known: {shown(found.to)}"
                self._found.note(where, message, "see that the model's id and version are right")
            path = join(folder, source).rstrip("/")
            into = target.endswith("/") or self._is_folder(target) or (path in self.at and not target.endswith(".mar"))
            to = posixpath.join(target, posixpath.basename(path)) if into and not source.endswith("/.") else target
            for archive in [path] if path in self.at else self._below(path):
                copied = posixpath.normpath(to + archive.removeprefix(path))
                number = self.at.pop(archive) if "mv" in found.options else self.at[archive]
                self.at[copied] = number
                self._found.copies[number] = copied

    def _upload(self, source: str, to: str, bucket: Bucket, where: Location) -> None:
        path = source.rstrip("/")
        if path in self.at:
            key = to + posixpath.basename(path) if to.endswith("/") else to
            self._archive(self.at[path], key, bucket, where)
        elif UNKNOWN.search(path):
            self._found.refuse(where, f"what is uploaded is not known: {shown(source)}", _BY_HAND)
        elif path.endswith(".mar"):
            self._other(self._found.archives, path, to + posixpath.basename(path) if to.endswith("/") else to, bucket, where)
        else:
            self._folder(path, to.rstrip("/"), bucket, where)

    def _archive(self, number: int, key: str, bucket: Bucket, where: Location) -> None:
        if not key.endswith(".mar") and not UNKNOWN.search(key):
            self._found.refuse(
                where, f"{shown(key)} is no name of an archive", "servers look for model.mar: end folders in a slash"
            )
            return
        target = self._target(key, bucket, where)
        if target is not None:
            self._found.targets.setdefault(number, []).append(target)

    def _folder(self, path: str, to: str, bucket: Bucket, where: Location) -> None:
        """A folder: archives that are packed here, and what nothing here makes, as it lies there now."""
        below = self._below(path)
        for archive in below:
            self._archive(self.at[archive], to + archive.removeprefix(path), bucket, where)
        inside = f"{path}/".startswith(f"{self._root}/") and is_folder(path)
        found = [*Path(path).rglob("saved_model.pb"), *Path(path).rglob("*.mar")] if inside else []
        others = sorted({file.as_posix() for file in found} - self.at.keys())
        for file in others:
            key = to + file.removeprefix(path)
            if below:
                message = (
                    f"{file.removeprefix(f'{self._root}/')} lies in the folder that is uploaded, and nothing here makes it"
                )
                self._found.note(where, message, "take it out of the manifest if it is old")
            if file.endswith(".mar"):
                self._other(self._found.archives, file, key, bucket, where)
            else:
                self._other(self._found.folders, posixpath.dirname(file), key, bucket, where)
        if not others and not below:
            self._found.refuse(
                where,
                f"nothing is known of {path}, which is uploaded",
                "run import once it is there, or add what it holds to the manifest by hand",
            )

    def _other(self, known: list[tuple[str, Target]], path: str, key: str, bucket: Bucket, where: Location) -> None:
        target = self._target(key, bucket, where)
        if target is not None:
            known.append((path, target))

    def _target(self, key: str, bucket: Bucket, where: Location) -> Target | None:
        """MODEL and VERSION stand before the file's name, and the bucket with its prefix before these."""
        above, name = posixpath.split(key)
        prefix, model, version = ["", "", *above.removeprefix(_SCHEME).rsplit("/", 2)][-3:]
        if not prefix and UNKNOWN.search(key):
            self._found.refuse(where, f"where the upload to {shown(key)} goes is not known", "add the version by hand")
            return None
        if UNKNOWN.search(model + version):
            message = f"what {shown(model)}/{shown(version)} is in {shown(key)} is not known"
            self._found.refuse(where, message, "add the version by hand")
            return None
        if not prefix or not model:
            self._found.refuse(where, f"{shown(key)} is not s3://BUCKET/MODEL/VERSION/FILE", "servers would not find it there")
            return None
        url = _SCHEME + _variables(prefix)
        if not key.startswith(_SCHEME) or UNKNOWN.search(url + bucket.endpoint):
            self._found.refuse(where, f"the bucket of {shown(key)} is not known", "add it to `environments` by hand")
            url = ""
        if name.endswith(".mar") and name != ENTRY:
            self._found.note(where, f"{name} is uploaded, and GDC's servers look for {ENTRY}", f"gdcbuild writes {ENTRY}")
        return Target(model, version, Bucket(url, bucket.endpoint, bucket.region, bucket.ca_file), where)


def _variables(text: str) -> str:
    """A value for an environment, where variables that the script does not set may stay variables."""
    return _PLAIN.sub(r"${env.\1}", text)
