"""Where archives and exported folders go: copies on this machine, and uploads by `aws s3` and `gdcloud storage`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

from gdcbuild.adopt.archiver import join
from gdcbuild.adopt.found import UNKNOWN, Bucket, Found, Packing, Target, is_folder, shown
from gdcbuild.errors import Location, Problem

ENTRY = "model.mar"
_PLAIN = re.compile(r"\ue000\$(\w+)\ue001")
_SCHEME = "s3://"


class Uploads:
    """Follows archives from the command that packs them, by their paths. Folders are looked into below `root` only."""

    def __init__(self, found: Found, root: str) -> None:
        self._found = found
        self._root = root
        self._at: dict[str, int] = {}

    def packed(self, packing: Packing) -> None:
        """A new archive, which takes the place of an older one at its path."""
        self._found.packings.append(packing)
        self._at[packing.archive] = len(self._found.packings) - 1

    def concerns(self, fields: Sequence[str]) -> bool:
        """Whether a command takes files elsewhere."""
        return fields[:1] in (["cp"], ["mv"]) or _pair(fields) is not None or _other_program(fields)

    def command(self, fields: Sequence[str], folder: str, where: Location) -> None:
        """Follow a command for which that is so, run in a folder."""
        pair = _pair(fields)
        if pair is None and _other_program(fields):
            self._refuse(where, f"an upload by {fields[0]} is not followed", "write it as aws s3 cp, in a copy of the script")
            return
        if pair is None:
            self._copy([f for f in fields[1:] if not f.startswith("-")], folder)
            return
        source, key = pair
        if source.startswith(_SCHEME):
            return
        bucket = Bucket(
            "",
            _variables(_option(fields, "--endpoint-url")),
            _variables(_option(fields, "--region")),
            join(folder, path) if (path := _option(fields, "--ca-bundle")) else "",
        )
        if profile := _option(fields, "--profile"):
            self._note(where, f"the profile {shown(profile)!r} is no part of a manifest", f"set AWS_PROFILE={shown(profile)}")
        self._upload(join(folder, source), key, bucket, where)

    def _copy(self, paths: list[str], folder: str) -> None:
        if len(paths) < 2:
            return
        *sources, target = [join(folder, path) for path in paths]
        for source in sources:
            number = self._at.get(source.rstrip("/"))
            if number is not None:
                into = target.endswith("/") or is_folder(target) or not target.endswith(".mar")
                path = posixpath.join(target, posixpath.basename(source)) if into else target
                self._at[posixpath.normpath(path)] = number
                self._found.copies[number] = posixpath.normpath(path)

    def _upload(self, source: str, to: str, bucket: Bucket, where: Location) -> None:
        path = source.rstrip("/")
        below = {archive: number for archive, number in self._at.items() if archive.startswith(f"{path}/")}
        if path in self._at:
            key = to + posixpath.basename(path) if to.endswith("/") else to
            self._archive(self._at[path], key, bucket, where)
        elif below:
            for archive, number in below.items():
                self._archive(number, to.rstrip("/") + archive.removeprefix(path), bucket, where)
        elif UNKNOWN.search(path):
            self._refuse(where, f"what is uploaded is not known: {shown(source)}", "add it to the manifest by hand")
        elif path.endswith(".mar"):
            self._other(self._found.archives, path, to + posixpath.basename(path) if to.endswith("/") else to, bucket, where)
        else:
            self._folder(path, to.rstrip("/"), bucket, where)

    def _archive(self, number: int, key: str, bucket: Bucket, where: Location) -> None:
        target = self._target(key, bucket, where)
        if target is not None:
            self._found.targets.setdefault(number, []).append(target)

    def _folder(self, path: str, to: str, bucket: Bucket, where: Location) -> None:
        """A folder of files that nothing here makes: SavedModels, and archives, as they lie there now."""
        inside = f"{path}/".startswith(f"{self._root}/") and is_folder(path)
        found = [*Path(path).rglob("saved_model.pb"), *Path(path).rglob("*.mar")] if inside else []
        for file in sorted(file.as_posix() for file in found):
            key = to + file.removeprefix(path)
            if file.endswith(".mar"):
                self._other(self._found.archives, file, key, bucket, where)
            else:
                self._other(self._found.folders, posixpath.dirname(file), key, bucket, where)
        if not found:
            self._refuse(
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
        *prefix, model, version, name = key.removeprefix(_SCHEME).rsplit("/", 3) if key.count("/") > 4 else ["", "", "", ""]
        if not model:
            self._refuse(where, f"{shown(key)} is not s3://BUCKET/MODEL/VERSION/FILE", "servers would not find it there")
            return None
        if UNKNOWN.search(model + version):
            self._refuse(
                where, f"what {shown(model)}/{shown(version)} is in {shown(key)} is not known", "add the version by hand"
            )
            return None
        url = _SCHEME + _variables("/".join(prefix))
        if UNKNOWN.search(url + bucket.endpoint):
            self._refuse(where, f"the bucket of {shown(key)} is not known", "add it to `environments` by hand")
            url = ""
        if name.endswith(".mar") and name != ENTRY:
            self._note(where, f"{name} is uploaded, and GDC's servers look for {ENTRY}", f"gdcbuild writes {ENTRY}")
        return Target(model, version, Bucket(url, bucket.endpoint, bucket.region, bucket.ca_file), where)

    def _refuse(self, where: Location, message: str, hint: str) -> None:
        self._found.problems.append(Problem(message, hint, where))

    def _note(self, where: Location, message: str, hint: str) -> None:
        self._found.notes.append(Problem(message, hint, where))


def _pair(fields: Sequence[str]) -> tuple[str, str] | None:
    """Source and destination of an upload; None when the command is none."""
    line = [f for f in fields if not f.startswith("-")]
    if fields[:1] == ["aws"] and "put-object" in line:
        body, bucket, key = (_option(fields, f"--{name}") for name in ("body", "bucket", "key"))
        return (body, f"{_SCHEME}{bucket}/{key}") if body and bucket and key else None
    aws = fields[:1] == ["aws"] and "s3" in line and bool({"cp", "sync", "mv"} & set(line))
    gdcloud = line[:2] in (["gdcloud", "storage"], ["gcloud", "storage"]) and line[2:3] in (["cp"], ["mv"])
    if not (aws or gdcloud):
        return None
    at = next((i for i in range(len(fields) - 1, 0, -1) if fields[i].startswith(_SCHEME)), None)
    return None if at is None or fields[at - 1].startswith("-") else (fields[at - 1], fields[at])


def _other_program(fields: Sequence[str]) -> bool:
    """Whether a command uploads by a program, or to a kind of bucket, whose options are not read here."""
    line = [f for f in fields if not f.startswith("-")]
    remote = bool(line) and ":" in line[-1]
    match line:
        case ["gsutil", "cp" | "mv" | "rsync", *_] | ["gcloud" | "gdcloud", "storage", "cp" | "mv" | "rsync", *_]:
            return remote
        case ["rclone", "copy" | "copyto" | "sync" | "move", *_]:
            return remote
        case ["s3cmd", "put" | "sync", *_]:
            return True
        case ["mc", "cp" | "mv" | "mirror", *_]:
            return not line[-1].startswith((".", "/"))
    return False


def _option(fields: Sequence[str], name: str) -> str:
    for number, field in enumerate(fields):
        if field == name:
            return fields[number + 1] if number + 1 < len(fields) else ""
        if field.startswith(f"{name}="):
            return field.partition("=")[2]
    return ""


def _variables(text: str) -> str:
    """A value for an environment, where variables that the script does not set may stay variables."""
    return _PLAIN.sub(r"${env.\1}", text)
