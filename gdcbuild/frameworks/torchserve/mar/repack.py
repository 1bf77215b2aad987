"""Repacks an existing archive: checked member by member, then written as this tool writes its own."""

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
    """Write `out`/model.mar from the one input, an archive; returns its digest under its name.

    Its manifest is kept but for name and time. `params` are those of `pack.written`.
    Raises ActionFailed when it is not an archive that can be unpacked without harm, BlobDamaged when its bytes changed.
    """
    ((path, blob),) = inputs.items()
    with blob.open() as stream:
        if hash_stream(stream) != blob.digest:
            raise BlobDamaged(Problem(f"{path} has changed while it was read"))
    try:
        with open_archive(blob) as archive:
            manifest = archive.manifest()
            members = {name: archive.member(name) for name in archive.names if name != MANIFEST}
            return written(params, out, members, manifest)
    except (UnreadableArchive, RecursionError) as error:  # a manifest that can just be read need not be one that can be written
        name = path.rpartition("/")[2]
        with blob.open() as stream:
            if stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC:
                message, hint = (
                    f"{name} is packed with gzip, and the containers ask for a zip file",
                    "leave out --archive-format tgz",
                )
            else:
                message, hint = f"{name} cannot be repacked: {error}", "make the archive again"
        raise ActionFailed(Problem(message, hint)) from None
