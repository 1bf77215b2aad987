"""Write an archive with the same bytes for the same members, on every machine and at any time.

The members' times and the manifest's `createdOn` are a given moment, so an archive's bytes depend only on its content.
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
"""The model name in the manifest. Servers use it, and the prebuilt images expect this one."""


def manifest_blob(manifest: Mapping[str, Any], moment: int) -> BytesBlob:
    """The manifest in the archiver's layout, with this moment and MODEL_NAME."""
    created = time.strftime("%d/%m/%Y %H:%M:%S", time.gmtime(moment))
    content = {**manifest, "createdOn": created, "model": {**manifest["model"], "modelName": MODEL_NAME}}
    return BytesBlob(json.dumps(content, indent=2).encode())


def write_archive(
    file: Path, members: Mapping[str, Blob], manifest: Mapping[str, Any], moment: int | None = None, deflate: bool = False
) -> Digest:
    """Write all members, the weights first and the manifest last; return the digest of the archive.

    `moment` is in seconds since 1970, UTC, limited to the range of zip files; the default is 1980. Members are stored,
    because weights hardly compress, or deflated.
    Raises BlobDamaged when a member's bytes do not match its digest.
    """
    moment = FIRST if moment is None else min(max(moment, FIRST), LAST)
    weights = manifest["model"].get("serializedFile")
    with file.open("wb") as stream:
        archive = ZipWriter(stream, moment, deflate)
        for name in sorted(members, key=lambda n: (n != weights, n)):
            archive.add(name, members[name])
        archive.add(MANIFEST, manifest_blob(manifest, moment))
        return archive.finish()
