"""Writes one version to a bucket so that no server ever loads anything but exactly one build of it.

The order: read once more what may have changed; claim the digest, create-only; remove what does not belong, the entry
object first; create all but the entry object; list and compare; the entry object; list and compare; seal, create-only, and
read the seal back. Nothing is ever overwritten. Content is claimed, not a process: whoever comes with the same bytes after
a crash finishes the job.

What holds, on a store that creates only when told so. In an immutable environment one digest only is ever written, and
nothing is removed but by a repair, so no order of events mixes two builds. In others a newer generation takes over from an
unfinished one.
A publisher that has been taken over finds the newer claim within a second and stops; its successor lets that second pass.
One gap is left: S3 cannot fence a request that is already on its way, so one that hangs for longer than the grace may
still arrive. The successor finds it in its listings and removes it before it seals; what comes later still is drift, and is
shown as such.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from gdcbuild.core.digest import Blob, Tree
from gdcbuild.core.ids import VersionId
from gdcbuild.core.ports import Remote, RemoteObject
from gdcbuild.core.seal import Provenance
from gdcbuild.engine.bucket import (
    JOBS,
    contents,
    differences,
    newest_claims,
    newest_seals,
    read_seal,
)
from gdcbuild.engine.writer import SoFar, Writer, conflict
from gdcbuild.errors import Problem, Refused

Outcome = Literal["created", "replaced", "repaired", "unchanged"]


@dataclass(frozen=True, slots=True)
class Published:
    """What publishing a version came to, and how many objects it wrote (records included)."""

    outcome: Outcome
    objects: int


def publish(
    remote: Remote,
    id: VersionId,
    artifact: Mapping[str, Blob],
    entry: str,
    planned: str | None,
    immutable: bool,
    tool: str,
    jobs: int = JOBS,
    progress: Callable[[int], None] | None = None,
    repair: bool = False,
    seen: Mapping[str, RemoteObject] | None = None,
    sources: Collection[str] = (),
    so_far: SoFar | None = None,
    provenance: Provenance | None = None,
) -> Published:
    """Make the artifact (path → blob, `entry` among them) the version's published content, and seal it.

    `planned` is the digest (64 hex digits) that was sealed when the plan was made, None when none was. `tool` and
    `provenance` go into the seal: what wrote it, and what it was made from. `progress` is told the bytes that have gone,
    from several threads, and may raise to stop. `repair` believes nothing but content, puts back what drifted, and seals
    what somebody else published with these bytes.
    `seen` are the objects that the plan saw of a version that was published by other means: no others are replaced.
    `sources` are the paths that are files of the user's, which may change meanwhile: they are read before anything is
    written or removed. `so_far` is kept up to date, for whoever cannot wait for the end.

    Raises Refused when the version is published with other bytes and is immutable, has changed since it was planned, has
    drifted, or is taken over by another publisher; RemoteError and BlobDamaged as the remote does. In every case a rerun
    with the same bytes completes what was begun.
    """
    tree = Tree((path, blob.digest) for path, blob in artifact.items())
    newest = newest_seals(remote, [id]).get(id)
    seal = read_seal(remote, newest) if newest else None
    generation = newest.generation if newest else 0
    found = contents(remote, [id], jobs)[id]
    begun = newest_claims(remote, [id]).get(id, 0)  # last: who changes what lies there has claimed it before
    writer = Writer(remote, id, artifact, tree, entry, immutable, jobs, progress, so_far or SoFar())
    if not repair:
        writer.learn(seal)
    drift = differences(seal, found) if newest else ()
    foreign = bool(found) and not newest and not begun
    same = newest is not None and newest.digest == tree.digest.hash
    if same:
        if not drift and (not repair or writer.is_whole(found)):
            return Published("unchanged", 0)
        if begun <= generation and not repair:
            raise Refused(_drifted(id, drift))
        writer.removes = True  # to put back the sealed bytes, and no others, also where versions may not change
    elif newest and immutable:
        raise Refused(conflict(id, f"is published with sha256:{newest.digest}", tree))
    elif (newest.digest if newest else None) != planned:
        raise Refused(Problem(f"{id} has been published by somebody else since the plan was made", "run it again"))
    elif drift and begun <= generation and not repair:
        raise Refused(_drifted(id, drift))
    elif foreign:
        whole = writer.is_whole(found)
        if whole and not repair:
            return Published("unchanged", 0)
        if not whole and immutable:
            raise Refused(conflict(id, "is published by other means, with other bytes,", tree))
        if not whole and repair:
            message = f"{id} is published by other means, with other bytes, which a repair leaves alone"
            raise Refused(Problem(message, "leave it out (--exclude), or have it replaced, by an apply without --repair"))
        if not whole and found != seen:
            message = f"{id} has been published by other means since the plan was made"
            raise Refused(Problem(message, "run it again, and look at the plan", detail="\n".join(sorted(found))))
    writer.freeze(sources, found)
    writer.claim(begun if begun > generation else generation + 1)
    writer.seal(writer.settle(), tool, provenance)
    written = writer.so_far.objects
    if not written:  # somebody else was quicker, with the same bytes
        return Published("unchanged", 0)
    outcome: Outcome = "replaced" if newest or foreign else "created"
    return Published("repaired" if repair and (same or drift or foreign) else outcome, written)


def _drifted(id: VersionId, lines: tuple[str, ...]) -> Problem:
    hint = f"find out who changed it; then put it right: gdcbuild apply --repair {id}"
    return Problem(f"{id} is not what was published", hint, detail="\n".join(lines))
