"""Finds the standing of versions in a bucket: from listings, or by reading every byte."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from gdcbuild.core import parallel
from gdcbuild.core.digest import Digest, Tree
from gdcbuild.core.standing import Absent, Published, Standing, Unfinished, Unmanaged
from gdcbuild.publishing.bucket import (
    Sealed,
    as_listed,
    claimed,
    content,
    contents,
    differences,
    everything,
    newest_claims,
    newest_seals,
    read_seal,
)

if TYPE_CHECKING:
    from gdcbuild.core.ids import VersionId
    from gdcbuild.core.objects import RemoteObject
    from gdcbuild.core.plan import Desired, Terms
    from gdcbuild.core.ports import Records, Remote
    from gdcbuild.core.seal import Provenance, Seal
    from gdcbuild.files.read_progress import Watched

COMPARED = "objects"
"""Table of the SHA-256 of objects, by what their listing shows."""

Listing = Mapping["VersionId", Mapping[str, "RemoteObject"]]
Drift = dict["VersionId", tuple[tuple[str, ...], "Provenance | None"]]
"""How sealed versions differ from their seals, and their provenance."""

_UNCHANGED: tuple[tuple[str, ...], Provenance | None] = ((), None)


class Observation(NamedTuple):
    """The state of the bucket. `orphans` are sealed and not in the manifest: version → digest."""

    standings: Mapping[VersionId, Standing]
    orphans: Mapping[VersionId, str] = MappingProxyType({})


class Look(NamedTuple):
    """How closely to look. Seals in `memo` are not read, nor those whose tree is in `trees` and matches a listing
    without etags. With `deep`, every file of every sealed version is read, and only its content counts.
    """

    memo: Records | None = None
    trees: Mapping[VersionId, Tree] = MappingProxyType({})
    deep: Watched | None = None


LISTINGS = Look()


class Bucket(NamedTuple):
    """A bucket, the terms of its environment, and what is needed to observe it.

    `complete`: all of the manifest's versions are observed, so others are orphans. `memo` caches what was read.
    `watched` reports the progress of reading large objects. Listings are made inside the context of `listing`.
    """

    remote: Remote
    terms: Terms
    memo: Records
    watched: Callable[[], Watched]
    complete: bool = True
    listing: Callable[[], AbstractContextManager[None]] = nullcontext

    def observe(self, desired: Mapping[VersionId, Desired], whole_seals: bool = False) -> Observation:
        """The standing of the desired versions. With `whole_seals`, every seal is read, even if a listing
        would suffice; in a repair, every byte of what is sealed.
        """
        remote = self.remote
        trees = {id: version.tree for id, version in desired.items() if version.tree is not None}
        with self.listing():
            look = LISTINGS if whole_seals else Look(self.memo, trees)
            found = observe(remote, desired, desired if self.complete else None, look)
        if self.terms.repair:
            found = deepened(remote, found, self.watched())
        return compare(remote, found, trees, self.memo)


def observe(
    remote: Remote, ids: Collection[VersionId], known: Collection[VersionId] | None = None, look: Look = LISTINGS
) -> Observation:
    """Observe the versions `ids`; if `known`, the whole manifest, is given, also find orphans among everything sealed.

    Two listings, in ranges if there is much to list, and one small read for every seal that must be
    read. A third listing, of claims, for versions that differ from their seal or have none.
    """
    seals = newest_seals(remote, None if known is not None else ids)
    standings = _standings(remote, seals, contents(remote, ids), look)
    return Observation(standings, {} if known is None else {id: seals[id].digest for id in sorted(seals.keys() - set(known))})


def audit(
    remote: Remote, known: Collection[VersionId], entries: Collection[str] | None = None, look: Look = LISTINGS
) -> Observation:
    """Observe everything sealed, everything `known` (the manifest's), and everything a server would load because it has
    one of the files `entries` (None: any file). Uses one listing of everything.
    """
    seals, there = newest_seals(remote), everything(remote)
    served = (id for id, files in there.items() if entries is None or any(entry in files for entry in entries))
    return Observation(_standings(remote, seals, {id: there.get(id, {}) for id in sorted({*seals, *known, *served})}, look))


def deepened(remote: Remote, observed: Observation, watched: Watched) -> Observation:
    """The observation, with drift that is found only by reading every byte of its sealed versions."""
    sealed = [id for id, standing in observed.standings.items() if isinstance(standing, Published)]
    found = observe(remote, sealed, look=Look(deep=watched)).standings
    return observed._replace(
        standings={id: found[id] if _is_drifted(found.get(id)) else old for id, old in observed.standings.items()}
    )


def _is_drifted(standing: Standing | None) -> bool:
    return isinstance(standing, Published) and bool(standing.drift)


def compare(remote: Remote, observed: Observation, artifacts: Mapping[VersionId, Tree], memo: Records) -> Observation:
    """The observation with `unlike` filled in where there is no seal and the artifact is known.

    Names and sizes are compared first; the rest is read, at most once for each etag that `memo` has.
    """
    there = {
        id: standing
        for id, standing in observed.standings.items()
        if id in artifacts and isinstance(standing, Unmanaged | Unfinished) and standing.files
    }
    if not there:
        return observed
    lines = {id: unlike_as_listed(artifacts[id], standing) for id, standing in there.items()}
    todo = [(id, path, item) for id, found in there.items() if not lines[id] for path, item in found.files.items()]
    hashes = parallel.each(remote.lookups, lambda entry: _hash(remote, entry[2], memo), todo)
    for (id, path, _), found in zip(todo, hashes, strict=True):
        if found != artifacts[id][path].hash:
            lines[id] += (other_content(path),)
    return observed._replace(
        standings={**observed.standings, **{id: standing._replace(unlike=lines[id]) for id, standing in there.items()}}
    )


def unlike_as_listed(tree: Tree, standing: Unmanaged | Unfinished) -> tuple[str, ...]:
    """How names and sizes differ from the artifact."""
    found, lines = standing.files, []
    for path in sorted(tree.keys() | found.keys()):
        if path not in tree:
            lines.append(f"{path}: is not in the artifact")
        elif path not in found:
            lines += [] if isinstance(standing, Unfinished) else [f"{path}: is missing"]
        elif found[path].size != tree[path].size:
            lines.append(f"{path}: has {found[path].size} bytes, but {tree[path].size} in the artifact")
    return tuple(lines)


def other_content(path: str) -> str:
    """The line for a file whose content differs although its size does not."""
    return f"{path}: differs from the artifact"


def standing_of(
    sealed: Sealed | None,
    drift: tuple[str, ...],
    found: Mapping[str, RemoteObject],
    claim: str,
    provenance: Provenance | None = None,
) -> Standing:
    """The standing of a version, from its newest seal, the objects below its prefix, and the digest of a newer claim."""
    if sealed is not None:
        return Published(sealed.digest, drift, claim if drift else "", provenance)
    if claim:
        return Unfinished(claim, found)
    return Unmanaged(found) if found else Absent()


def _standings(remote: Remote, seals: Mapping[VersionId, Sealed], found: Listing, look: Look) -> dict[VersionId, Standing]:
    sealed = [seals[id] for id in sorted(found) if id in seals]
    lines = _deep(remote, sealed, found, look.deep) if look.deep is not None else _listed(remote, sealed, found, look)
    unclear = [id for id in found if id not in seals or lines[id][0]]
    claims = newest_claims(remote, unclear)
    begun = [id for id, claim in claims.items() if id not in seals or claim > seals[id].generation]
    digests = dict(zip(begun, parallel.each(remote.lookups, lambda id: claimed(remote, id, claims[id]), begun), strict=True))
    return {
        id: standing_of(seals.get(id), drift, found[id], digests.get(id, ""), provenance)
        for id in found
        for drift, provenance in (lines.get(id, _UNCHANGED),)
    }


def _listed(remote: Remote, sealed: Collection[Sealed], found: Listing, look: Look) -> Drift:
    def lines(newest: Sealed) -> tuple[tuple[str, ...], Provenance | None]:
        tree, here = look.trees.get(newest.id), found[newest.id]
        if tree is not None and tree.digest.hash == newest.digest and as_listed(tree, here):
            return _UNCHANGED
        seal = read_seal(remote, newest, look.memo)
        return differences(seal, here), seal.provenance if seal is not None else None

    return dict(zip((s.id for s in sealed), parallel.each(remote.lookups, lines, sealed), strict=True))


def _deep(remote: Remote, sealed: Collection[Sealed], found: Listing, watched: Watched) -> Drift:
    read = parallel.each(remote.lookups, lambda s: read_seal(remote, s), sealed)
    seals = {s.id: seal for s, seal in zip(sealed, read, strict=True)}
    damaged = _damaged(remote, seals, found, watched)
    return {id: (differences(seal, found[id], damaged[id]), seal.provenance if seal else None) for id, seal in seals.items()}


def _damaged(
    remote: Remote, seals: Mapping[VersionId, Seal | None], found: Listing, watched: Watched
) -> dict[VersionId, set[str]]:
    """Read everything: for each version, the paths whose content differs from its seal."""
    from gdcbuild.files.content import hash_stream

    todo = [
        (id, path, file.digest)
        for id, seal in seals.items()
        if seal is not None
        for path, file in seal.files.items()
        if path in found[id]
    ]

    def is_whole(item: tuple[VersionId, str, Digest]) -> bool:
        id, path, digest = item
        there = found[id][path]._replace(etag="")  # whatever is there now: only content counts
        return content(remote, there, lambda s: hash_stream(watched(there.key, there.size, s))) == digest

    damaged: dict[VersionId, set[str]] = {id: set() for id in seals}
    for (id, path, _), whole in zip(todo, parallel.each(parallel.JOBS, is_whole, todo), strict=True):
        if not whole:
            damaged[id].add(path)
    return damaged


def _hash(remote: Remote, item: RemoteObject, memo: Records) -> str:
    """SHA-256 of an object; "" if it was deleted or overwritten since it was listed."""
    key = f"{remote.url} {item.key} {item.etag} {item.size}"
    held = memo.get(COMPARED, key) if item.etag else None
    if isinstance(held, str):
        return held
    found = content(remote, item)
    if found is None:
        return ""
    if item.etag:
        memo.put(COMPARED, key, found.hash)
    return found.hash
