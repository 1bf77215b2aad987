"""The record in the bucket that a version is complete: what it consists of, and what it was made from."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from gdcbuild.core.digest import BytesBlob, Digest, Tree

SEAL_SCHEMA = 1


MOST_SOURCES = 1000
"""Most files listed in the provenance. A seal is read often, and a dataset may have any number of files."""

_COMMIT = re.compile("[0-9a-f]{40,64}(-dirty)?")
_KEY = re.compile("[0-9a-f]{64}")


class Checkout(NamedTuple):
    """What the workspace has checked out: `commit`, "" if unknown, and those `files` that the commit has.

    A file that the commit has with other bytes, or not at all, is not among them.
    """

    commit: str = ""
    files: Mapping[str, Digest] = MappingProxyType({})

    def uncommitted(self, used: Mapping[str, Digest]) -> list[str]:
        """Those of the used files, by path and digest, that the commit does not have; all of them without a commit."""
        return sorted(path for path, digest in used.items() if self.files.get(path) != digest)

    def describe(self, used: Mapping[str, Digest]) -> str:
        """The commit, with "-dirty" if it does not have all files used; "" without a commit."""
        return f"{self.commit}-dirty" if self.commit and self.uncommitted(used) else self.commit


NO_CHECKOUT = Checkout()


class Provenance(NamedTuple):
    """What a version was made from.

    `key` is its action key, if that alone decides its bytes, else "". `commit` is what the workspace had checked out, "" if
    unknown, with "-dirty" if the commit does not have everything that the version was made from. `sources` are the files of
    the workspace that went into it, by their paths there; None if there are too many, or they were not read.
    """

    key: str = ""
    commit: str = ""
    sources: Tree | None = None

    def to_json(self) -> dict[str, object]:
        sources = None if self.sources is None else [_file(path, digest) for path, digest in self.sources.items()]
        return {"key": self.key or None, "commit": self.commit or None, "sources": sources}

    @classmethod
    def from_json(cls, record: Any) -> Provenance | None:
        """None if it is not a provenance: the seal's list of files is still valid."""
        try:
            key, commit, rows = str(record["key"]), str(record["commit"]), record["sources"]
            sources = None if rows is None else Tree({str(r["path"]): Digest(str(r["sha256"]), int(r["size"])) for r in rows})
        except (ValueError, LookupError, TypeError, ArithmeticError):
            return None
        return cls(key if _KEY.fullmatch(key) else "", commit if _COMMIT.fullmatch(commit) else "", sources)


class SealedFile(NamedTuple):
    """A file of a sealed version: its content, and the etag the store showed for it ("" when it has none)."""

    digest: Digest
    etag: str


class Seal(NamedTuple):
    """The record that a version is complete: path → file, what wrote it, and what it was made from, if known."""

    files: Mapping[str, SealedFile]
    tool: str
    provenance: Provenance | None = None

    @property
    def tree(self) -> Tree:
        return Tree((path, f.digest) for path, f in self.files.items())

    @property
    def short(self) -> Seal:
        """Without the list of sources, which plans do not need."""
        return self if self.provenance is None else self._replace(provenance=self.provenance._replace(sources=None))

    def to_json(self) -> dict[str, object]:
        rows = [{**_file(path, f.digest), "etag": f.etag} for path, f in sorted(self.files.items())]
        origin = {"provenance": self.provenance.to_json()} if self.provenance else {}
        return {"schema": SEAL_SCHEMA, "digest": str(self.tree.digest), "tool": self.tool, "files": rows, **origin}

    def blob(self) -> BytesBlob:
        return BytesBlob(json.dumps(self.to_json(), indent=1, ensure_ascii=False).encode() + b"\n")

    @classmethod
    def from_bytes(cls, data: bytes, digest: str) -> Seal | None:
        """None if it is not a complete record of that digest in a known schema."""
        try:
            record = json.loads(data)
            files = {f["path"]: SealedFile(Digest(f["sha256"], int(f["size"])), str(f["etag"])) for f in record["files"]}
            seal = cls(files, str(record["tool"]), Provenance.from_json(record.get("provenance")))
            return seal if record["schema"] == SEAL_SCHEMA and seal.tree.digest.hash == digest else None
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
            return None


def _file(path: str, digest: Digest) -> dict[str, object]:
    return {"path": path, "size": digest.size, "sha256": digest.hash}
