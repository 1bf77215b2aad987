"""Writes an archive byte for byte the same from the same members, whoever writes it, wherever and whenever.

The members' times and the manifest's `createdOn` are one moment that is given: an archive's bytes follow from its content.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gdcbuild.core.digest import Blob, BytesBlob, Digest
from gdcbuild.frameworks.torchserve.mar.zip_writer import FIRST, LAST, ZipWriter

ENTRY = "model.mar"
MANIFEST = "MAR-INF/MANIFEST.json"
MODEL_NAME = "model"
"""A server names a model after its archive's manifest; the prebuilt images ask for this one."""


def manifest_blob(manifest: Mapping[str, Any], moment: int) -> BytesBlob:
    """The manifest as the archiver lays it out, with the moment and the name that are given here."""
    created = time.strftime("%d/%m/%Y %H:%M:%S", time.gmtime(moment))
    content = {**manifest, "createdOn": created, "model": {**manifest["model"], "modelName": MODEL_NAME}}
    return BytesBlob(json.dumps(content, indent=2).encode())


def write_archive(
    file: Path, members: Mapping[str, Blob], manifest: Mapping[str, Any], moment: int | None = None, deflate: bool = False
) -> Digest:
    """Write all members, the weights first and the manifest last; returns the digest of what was written.

    `moment` is in seconds since 1970, UTC, and moved into what a zip file can tell; the default is 1980. Members are
    stored, for weights hardly get smaller, or deflated.
    Raises BlobDamaged when a member's bytes are not those of its digest.
    """
    moment = FIRST if moment is None else min(max(moment, FIRST), LAST)
    weights = manifest["model"].get("serializedFile")
    with file.open("wb") as stream:
        archive = ZipWriter(stream, moment, deflate)
        for name in sorted(members, key=lambda n: (n != weights, n)):
            archive.add(name, members[name])
        archive.add(MANIFEST, manifest_blob(manifest, moment))
        return archive.finish()
