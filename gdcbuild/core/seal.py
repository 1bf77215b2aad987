"""The record in the bucket that a version is complete: what it consists of, and what it was made from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from gdcbuild.core.digest import BytesBlob, Digest, Tree

SEAL_SCHEMA = 1


class Provenance(NamedTuple):
    """What a version was made from.

    `recipe` tells it from all others: 64 hex digits. `sources` are the files of the workspace that went into it, by their paths
    there. `commit` is what the workspace had checked out, "" where that is not known, with "-dirty" behind it where a
    file of the repository had been changed since.
    """

    recipe: str
    sources: Tree
    commit: str = ""

    def to_json(self) -> dict[str, object]:
        sources = [_file(path, digest) for path, digest in self.sources.items()]
        return {"recipe": f"sha256:{self.recipe}", "commit": self.commit or None, "sources": sources}

    @classmethod
    def from_json(cls, record: Any) -> Provenance:
        sources = Tree(_files(record["sources"]))
        return cls(str(record["recipe"]).removeprefix("sha256:"), sources, str(record["commit"] or ""))


class SealedFile(NamedTuple):
    """A file of a sealed version: its content, and the etag the store showed for it ("" when it has none)."""

    digest: Digest
    etag: str


class Seal(NamedTuple):
    """The record that a version is complete: path → file, what wrote it, and what it was made from, where that is told."""

    files: Mapping[str, SealedFile]
    tool: str
    provenance: Provenance | None = None

    @property
    def tree(self) -> Tree:
        return Tree((path, f.digest) for path, f in self.files.items())

    def to_json(self) -> dict[str, object]:
        rows = [{**_file(path, f.digest), "etag": f.etag} for path, f in sorted(self.files.items())]
        origin = {"provenance": self.provenance.to_json()} if self.provenance else {}
        return {"schema": SEAL_SCHEMA, "digest": str(self.tree.digest), "tool": self.tool, "files": rows, **origin}

    def blob(self) -> BytesBlob:
        return BytesBlob(json.dumps(self.to_json(), indent=1, ensure_ascii=False).encode() + b"\n")

    @classmethod
    def from_bytes(cls, data: bytes, digest: str) -> Seal | None:
        """None when it is not the record of that digest, whole and of a schema we know."""
        try:
            record = json.loads(data)
            files = {f["path"]: SealedFile(Digest(f["sha256"], int(f["size"])), str(f["etag"])) for f in record["files"]}
            origin = Provenance.from_json(record["provenance"]) if "provenance" in record else None
            seal = cls(files, str(record["tool"]), origin)
            return seal if record["schema"] == SEAL_SCHEMA and seal.tree.digest.hash == digest else None
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
            return None


def _file(path: str, digest: Digest) -> dict[str, object]:
    return {"path": path, "size": digest.size, "sha256": digest.hash}


def _files(rows: Iterable[Any]) -> dict[str, Digest]:
    return {str(row["path"]): Digest(str(row["sha256"]), int(row["size"])) for row in rows}
