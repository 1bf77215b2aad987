"""Pack a version's files into `model.mar`: what torch-model-archiver would write, always with the same bytes.

The rules of this framework put the inputs into one folder per role; the role decides which manifest key names the file. All
but `extra` go to the root of the archive, under their base name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from gdcbuild.core.digest import Blob, BytesBlob, Digest
from gdcbuild.errors import ActionFailed, Problem
from gdcbuild.frameworks.torchserve.mar.layout import UnreadableArchive
from gdcbuild.frameworks.torchserve.mar.member_names import check_names
from gdcbuild.frameworks.torchserve.mar.writer import ENTRY, MANIFEST, MODEL_NAME, write_archive

ROLES = ("weights", "model_file", "handler", "requirements", "config")
"""The roles with one file each."""

EXTRA = "extra"
EPOCH = "SOURCE_DATE_EPOCH"
DEFLATE = "deflate"
"""Optional parameters of an action that writes an archive. The value of DEFLATE is zlib's version."""

CONFIG_NAME = "model-config.yaml"


def run(params: Mapping[str, Any], inputs: Mapping[str, Blob], out: Path) -> dict[str, Digest]:
    """Write `out`/model.mar; return its name → digest.

    `params` are {"handler": as written in the manifest, "version": "...", "runtime": "...", "config": a mapping or None}
    and those of `written`. The paths of `inputs` are ROLE/NAME and extra/PATH.
    Raises ActionFailed when two files have the same name in the archive, or a role has two files.
    """
    files = dict(inputs)
    if params["config"] is not None:
        files[f"config/{CONFIG_NAME}"] = BytesBlob(yaml_text(params["config"]).encode())
    names = _names_by_role(files)
    members = _members(files)
    return written(params, out, members, _manifest(params, names))


def written(
    params: Mapping[str, Any], out: Path, members: Mapping[str, Blob], manifest: Mapping[str, Any]
) -> dict[str, Digest]:
    """Write `out`/model.mar from its members; return its name → digest.

    `params` may have EPOCH, used for every time in the archive, and DEFLATE to deflate its members.
    """
    return {ENTRY: write_archive(out / ENTRY, members, manifest, params.get(EPOCH), DEFLATE in params)}


def _names_by_role(files: Mapping[str, Blob]) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in sorted(files):
        role, _, name = path.partition("/")
        if role in ROLES:
            if role in found:
                raise ActionFailed(
                    Problem(
                        f"two files for the role {role!r}: {found[role]} and {name}",
                        "keep one of them, and list the others under `files`",
                    )
                )
            found[role] = PurePosixPath(name).name
    return found


def _members(files: Mapping[str, Blob]) -> dict[str, Blob]:
    members: dict[str, Blob] = {}
    origins: dict[str, str] = {}
    for path in sorted(files):
        role, _, rest = path.partition("/")
        name = rest if role == EXTRA else PurePosixPath(rest).name
        if name in members and members[name].digest == files[path].digest:
            continue  # one file in two roles, such as a model's source that a glob also matches
        if name in members or name == MANIFEST:
            raise ActionFailed(
                Problem(
                    f"two files for {name!r} in the archive: {origins.get(name, 'the manifest')} and {path}",
                    "rename one of them, or move one to a folder: {from: ..., to: ...}",
                )
            )
        members[name], origins[name] = files[path], path
    try:
        check_names([*members, MANIFEST])
    except UnreadableArchive as error:
        raise ActionFailed(Problem(f"the archive cannot be written: {error}", "rename the file")) from None
    return members


def _manifest(params: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    from model_archiver.manifest_components.manifest import Manifest
    from model_archiver.manifest_components.model import Model

    model = Model(
        model_name=MODEL_NAME,
        serialized_file=names.get("weights"),
        handler=params["handler"],
        model_file=names.get("model_file"),
        model_version=params["version"],
        requirements_file=names.get("requirements"),
        config_file=names.get("config"),
    )
    manifest: dict[str, Any] = Manifest(params["runtime"], model).manifest_dict
    return manifest


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|(?<![\d.])\d+(?=e[-+])|-?Infinity|NaN')
_NUMBERS = {"NaN": ".nan", "Infinity": ".inf", "-Infinity": "-.inf"}
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def yaml_text(config: Mapping[str, Any]) -> str:
    """The mapping as YAML that means the same to 1.1 and 1.2 readers: JSON, except for some numbers and rare characters."""

    def token(match: re.Match[str]) -> str:
        text = match[0]
        if text.startswith('"'):
            return _UNPRINTABLE.sub(lambda c: f"\\u{ord(c[0]):04x}", text)
        return _NUMBERS.get(text, f"{text}.0")

    return _TOKEN.sub(token, json.dumps(config, ensure_ascii=False, sort_keys=True, indent=2)) + "\n"
