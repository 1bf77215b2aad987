"""Repack an existing archive: check each member, then write the archive as if packed here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gdcbuild.core.digest import Blob, Digest
from gdcbuild.errors import ActionFailed, BlobDamaged, Problem
from gdcbuild.files.content import hash_stream
from gdcbuild.frameworks.torchserve.mar.archive import GZIP_MAGIC, open_archive
from gdcbuild.frameworks.torchserve.mar.layout import UnreadableArchive
from gdcbuild.frameworks.torchserve.mar.pack import written
from gdcbuild.frameworks.torchserve.mar.writer import MANIFEST


def run(params: Mapping[str, Any], inputs: Mapping[str, Blob], out: Path) -> dict[str, Digest]:
    """Write `out`/model.mar from the one input, an archive; return its name → digest.

    Keeps its manifest except for name and time. `params` are those of `pack.written`.
    Raises ActionFailed for an archive that is invalid or unsafe to unpack, BlobDamaged when its bytes changed.
    """
    ((path, blob),) = inputs.items()
    with blob.open() as stream:
        if hash_stream(stream) != blob.digest:
            raise BlobDamaged(Problem(f"{path} changed while it was read"))
    try:
        with open_archive(blob) as archive:
            manifest = archive.manifest()
            members = {name: archive.member(name) for name in archive.names if name != MANIFEST}
            return written(params, out, members, manifest)
    except (UnreadableArchive, RecursionError) as error:  # a deeply nested manifest that can be read cannot always be written
        name = path.rpartition("/")[2]
        with blob.open() as stream:
            if stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC:
                message, hint = (
                    f"{name} is a gzip file, and the containers need a zip file",
                    "run torch-model-archiver without --archive-format tgz",
                )
            else:
                message, hint = f"{name} cannot be repacked: {error}", "make the archive again with torch-model-archiver"
        raise ActionFailed(Problem(message, hint)) from None
