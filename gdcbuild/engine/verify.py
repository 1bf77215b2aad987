"""Compares the bucket with its seals: by listings, or by reading every byte. Tells what should have one, and has none."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gdcbuild.core.digest import Digest, hash_stream
from gdcbuild.core.ids import VersionId
from gdcbuild.core.ports import Remote, RemoteObject
from gdcbuild.core.seal import Seal
from gdcbuild.core.watch import Watched, unwatched
from gdcbuild.engine.bucket import (
    BEGUN,
    FOREIGN,
    JOBS,
    RECORDS,
    UNSEALED,
    Observation,
    content,
    contents,
    differences,
    is_marker,
    newest_claims,
    newest_seals,
    read_seal,
)
from gdcbuild.engine.parallel import each


def verify(
    remote: Remote,
    ids: Collection[VersionId] | None = None,
    deep: bool = False,
    jobs: int = JOBS,
    watched: Watched = unwatched,
    known: Collection[VersionId] = (),
    entries: Collection[str] | None = None,
) -> dict[VersionId, tuple[str, ...]]:
    """What is wrong with each of the versions `ids`, one line a file, empty when nothing is.

    When `ids` is None, with all that is sealed, all that is `known` (the manifest's), and all that a server would load,
    because it holds one of the files `entries` (None stands for any): one listing of everything tells.
    A deep look reads every file of every version and believes its content alone: an etag may change and say nothing.
    """
    sealed = newest_seals(remote, ids, jobs)
    if ids is None:
        there = _everything(remote)
        wanted = sorted({*sealed, *known, *(id for id, files in there.items() if _is_served(files, entries))})
        found = {id: there.get(id, {}) for id in wanted}
    else:
        wanted = sorted(set(ids))
        found = contents(remote, wanted, jobs)
    seals = dict(zip(sealed, each(jobs, lambda s: read_seal(remote, s), sealed.values()), strict=True))
    damaged = _damaged(remote, seals, found, jobs, watched) if deep else {}

    def findings(id: VersionId) -> tuple[str, ...]:
        if id not in sealed:
            return (FOREIGN,) if _is_served(found[id], entries) else (UNSEALED,)
        return differences(seals[id], found[id], damaged.get(id))

    lines = {id: findings(id) for id in wanted}
    claims = newest_claims(remote, [id for id in wanted if lines[id] and (id in sealed or found[id])], jobs)
    begun = {id for id, claim in claims.items() if id not in sealed or claim > sealed[id].generation}
    lines.update({id: (UNSEALED,) for id in begun if id not in sealed})
    return {id: (BEGUN, *found) if id in begun else found for id, found in lines.items()}


def _everything(remote: Remote) -> dict[VersionId, dict[str, RemoteObject]]:
    """Path → object of all that lies below any MODEL/VERSION/."""
    found: dict[VersionId, dict[str, RemoteObject]] = {}
    for item in remote.list(""):
        parts = item.key.split("/", 2)
        if len(parts) == 3 and parts[0] != RECORDS and not is_marker(item):
            found.setdefault(VersionId(parts[0], parts[1]), {})[parts[2]] = item
    return found


def _is_served(files: Mapping[str, RemoteObject], entries: Collection[str] | None) -> bool:
    return bool(files) if entries is None else any(entry in files for entry in entries)


def deepened(remote: Remote, observed: Observation, watched: Watched = unwatched) -> Observation:
    """The observation with the drift that only reading every byte of its sealed versions finds."""
    found = verify(remote, observed.sealed.keys(), deep=True, watched=watched)
    return observed._replace(drifted={**observed.drifted, **{id: lines for id, lines in found.items() if lines}})


def _damaged(
    remote: Remote,
    seals: Mapping[VersionId, Seal | None],
    found: Mapping[VersionId, Mapping[str, RemoteObject]],
    jobs: int,
    watched: Watched,
) -> dict[VersionId, set[str]]:
    """Read everything: for each version, the paths whose content is not what its seal says."""
    todo = [
        (id, path, file.digest)
        for id, seal in seals.items()
        if seal is not None
        for path, file in seal.files.items()
        if path in found[id]
    ]

    def is_sound(item: tuple[VersionId, str, Digest]) -> bool:
        id, path, digest = item
        there = found[id][path]._replace(etag="")  # whatever lies there now: content is believed alone
        return content(remote, there, lambda s: hash_stream(watched(there.key, there.size, s))) == digest

    damaged: dict[VersionId, set[str]] = {id: set() for id in seals}
    for (id, path, _), sound in zip(todo, each(jobs, is_sound, todo), strict=True):
        if not sound:
            damaged[id].add(path)
    return damaged
