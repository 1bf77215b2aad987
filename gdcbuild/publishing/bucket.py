"""Reads the bucket: which versions are sealed with which digest, and whether their objects still match the seals.

MODEL/VERSION/...                                         served files, nothing else
.gdcbuild/v1/claims/MODEL/VERSION/GENERATION              which digest is being written
.gdcbuild/v1/seals/MODEL/VERSION/GENERATION-DIGEST.json   what is complete: the list of its files
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from gdcbuild.core.digest import Digest, Tree
from gdcbuild.core.ids import VersionId
from gdcbuild.core.parallel import each
from gdcbuild.errors import Problem, RemoteError

if TYPE_CHECKING:
    from gdcbuild.core.objects import RemoteObject
    from gdcbuild.core.ports import Records, Remote
    from gdcbuild.core.seal import Seal

RECORDS = ".gdcbuild"
CLAIMS = f"{RECORDS}/v1/claims/"
SEALS = f"{RECORDS}/v1/seals/"
MEMO_TABLE = "sealed"
PAGE = 1000


class Sealed(NamedTuple):
    """The newest seal of a version, from its name. `digest` is 64 hex digits, of Tree.digest."""

    id: VersionId
    generation: int
    digest: str
    etag: str = ""

    @property
    def key(self) -> str:
        return f"{SEALS}{self.id.model}/{self.id.version}/{self.generation:08}-{self.digest}.json"


def newest_seals(remote: Remote, ids: Iterable[VersionId] | None = None) -> dict[VersionId, Sealed]:
    """The newest seal of each of the versions that has one, or of every version if `ids` is None, from names alone."""
    if ids is None:
        listing = remote.list(SEALS)
    else:
        listing = (item for _, item in _below(remote, {f"{SEALS}{id.model}/{id.version}/" for id in ids}))
    return {s.id: s for s in map(_sealed, listing) if s is not None}  # sorted by key, so the newest comes last


def _sealed(found: RemoteObject) -> Sealed | None:
    """None unless the name is MODEL/VERSION/GENERATION-DIGEST.json, with 8 digits and 64 hex digits."""
    parts = found.key.removeprefix(SEALS).split("/")
    if len(parts) != 3 or len(parts[2]) != 8 + 1 + 64 + 5 or parts[2][8] != "-" or not parts[2].endswith(".json"):
        return None
    generation, digest = parts[2][:8], parts[2][9:-5]
    if not (parts[0] and parts[1] and generation.isascii() and generation.isdecimal()) or digest.strip("0123456789abcdef"):
        return None
    return Sealed(VersionId(parts[0], parts[1]), int(generation), digest, found.etag)


def claim_key(id: VersionId, generation: int) -> str:
    """Key of the record that says which digest is being written as a version's generation."""
    return f"{CLAIMS}{id.model}/{id.version}/{generation:08}"


def newest_claims(remote: Remote, ids: Iterable[VersionId]) -> dict[VersionId, int]:
    """The newest claimed generation of each of the versions that has one."""
    found: dict[VersionId, int] = {}
    prefixes = {f"{CLAIMS}{id.model}/{id.version}/": id for id in ids}
    for prefix, item in _below(remote, prefixes):
        name = item.key.removeprefix(prefix)
        if name.isdecimal():
            id = prefixes[prefix]
            found[id] = max(found.get(id, 0), int(name))
    return found


def claimed(remote: Remote, id: VersionId, generation: int) -> str:
    """The digest that is being written as a version's generation; also shown to people."""
    try:
        with remote.open(claim_key(id, generation)) as stream:
            return str(json.loads(stream.read())["digest"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "something unreadable"


def read_seal(remote: Remote, sealed: Sealed, memo: Records | None = None) -> Seal | None:
    """The seal's record; None if it is damaged or gone.

    `memo` caches records by etag, if there is one; such records do not list what a version was made from.
    """
    from gdcbuild.core.seal import Seal  # most plans of a folder bucket read no seal

    name = f"{sealed.key} {sealed.etag}"
    if memo is not None and sealed.etag:
        held = Seal.from_bytes(json.dumps(memo.get(MEMO_TABLE, name)).encode(), sealed.digest)
        if held is not None:
            return held
    try:
        with remote.open(sealed.key) as stream:
            seal = Seal.from_bytes(stream.read(), sealed.digest)
    except KeyError:
        return None
    if memo is None or seal is None:
        return seal
    if sealed.etag:
        memo.put(MEMO_TABLE, name, seal.short.to_json())
    return seal.short


def content(remote: Remote, item: RemoteObject, read: Callable[[BinaryIO], Digest] | None = None) -> Digest | None:
    """Digest of an object as it was listed, by `read`; None if it was deleted or overwritten since.

    Raises RemoteError if it has another length: then it is another object, or not an object.
    """
    from gdcbuild.files.content import hash_stream  # most plans read no object

    try:
        with remote.open(item.key, item.etag) as stream:
            found = (read or hash_stream)(stream)
    except KeyError:
        return None
    if found.size != item.size:
        message = f"cannot read {remote.url}/{item.key}: expected {item.size} bytes, received {found.size}"
        raise RemoteError(
            Problem(message, "run the command again; if it fails again, check what answers at the bucket's address")
        )
    return found


def contents(remote: Remote, ids: Collection[VersionId]) -> dict[VersionId, dict[str, RemoteObject]]:
    """Path → object of everything below each version's prefix."""
    found: dict[VersionId, dict[str, RemoteObject]] = {id: {} for id in ids}
    below = {f"{id.model}/{id.version}/": there for id, there in found.items()}
    for prefix, item in _below(remote, below):
        if not is_marker(item):
            below[prefix][item.key[len(prefix) :]] = item
    return found


def everything(remote: Remote) -> dict[VersionId, dict[str, RemoteObject]]:
    """Path → object of everything below any MODEL/VERSION/."""
    found: dict[VersionId, dict[str, RemoteObject]] = {}
    for item in remote.list(""):
        parts = item.key.split("/", 2)
        if len(parts) == 3 and parts[0] != RECORDS and not is_marker(item):
            found.setdefault(VersionId(parts[0], parts[1]), {})[parts[2]] = item
    return found


def as_listed(tree: Tree, found: Mapping[str, RemoteObject]) -> bool:
    """Whether a listing without etags shows the tree, by names and sizes."""
    return tree.keys() == found.keys() and all(found[path].size == d.size and not found[path].etag for path, d in tree.items())


def is_marker(found: RemoteObject) -> bool:
    """Whether it is the empty object that some clients create for a folder."""
    return found.key.endswith("/") and found.size == 0


def differences(
    seal: Seal | None, found: Mapping[str, RemoteObject], damaged: Collection[str] | None = None
) -> tuple[str, ...]:
    """How a listing differs from the seal, one line per file, sorted by path.

    `damaged` are the paths whose content differs from the seal, if everything was read; else etags are compared.
    """
    if seal is None:
        return ("its seal is damaged, or was written by a newer gdcbuild",)
    lines = []
    for path in sorted(seal.files.keys() | found.keys()):
        was, now = seal.files.get(path), found.get(path)
        if was is None:
            lines.append(f"{path}: was not published by gdcbuild")
        elif now is None:
            lines.append(f"{path}: is missing")
        elif now.size != was.digest.size:
            lines.append(f"{path}: has {now.size} bytes, but was published with {was.digest.size}")
        elif damaged is not None:
            lines += [f"{path}: differs from what was published"] if path in damaged else []
        elif now.etag and was.etag and now.etag != was.etag:
            lines.append(f"{path}: was overwritten after it was published (etag {now.etag}, was {was.etag})")
    return tuple(lines)


def _below(remote: Remote, prefixes: Iterable[str]) -> Iterator[tuple[str, RemoteObject]]:
    """Objects below the prefixes, each with its prefix, in key order. No prefix contains another."""
    todo = sorted(prefixes)
    size = max(1, -(-len(todo) // remote.lookups))
    ranges = [todo[i : i + size] for i in range(0, len(todo), size)]
    for found in each(remote.lookups, lambda r: list(_scan(remote, r)), ranges):
        yield from found


def _scan(remote: Remote, prefixes: Sequence[str]) -> Iterator[tuple[str, RemoteObject]]:
    """Objects below the prefixes, in few requests, whatever is between them.

    A listing continues through other objects as long as that costs no more than a new listing from the next prefix.
    """
    common = prefixes[0] if len(prefixes) == 1 else ""
    at = 0
    while at < len(prefixes):
        passed, prefix = 0, prefixes[at]
        for found in remote.list(common, after=prefix):
            key = found.key
            while not key.startswith(prefix) and key > prefix:
                at += 1
                if at == len(prefixes):
                    return
                prefix = prefixes[at]
            if key.startswith(prefix):
                passed = 0
                yield prefix, found
            else:
                passed += 1
                if passed == PAGE:
                    break
        else:
            return
