"""Writes one version to a bucket so that no server ever loads anything but exactly one build of it.

The order: read again what may have changed; claim the digest, create-only; delete what does not belong, the entry
object first; create all but the entry object; list and compare; create the entry object; list and compare; seal,
create-only, and read the seal back. Nothing is ever overwritten.
A claim names content, not a process: any publisher of the same bytes finishes the job after a crash.

Guarantees, on a store with conditional creates: in an immutable environment only one digest is ever written, and
only a repair deletes anything, so no order of events mixes two builds. In others a newer generation replaces an
unfinished one.
A publisher that was replaced finds the newer claim within a second and stops; its successor waits longer than that.
One gap remains: S3 cannot cancel a request that is already on its way, so one delayed for longer than the grace period may
still arrive. The successor finds it in its listings and deletes it before it seals; what arrives even later is shown as
drift.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from gdcbuild.core.decision import change_of
from gdcbuild.core.plan import Build, Desired, Kind, Terms, refused
from gdcbuild.core.ports import Remote
from gdcbuild.core.standing import Published, Standing, Unmanaged
from gdcbuild.errors import Problem, Refused
from gdcbuild.publishing.bucket import claimed, contents, differences, newest_claims, newest_seals, read_seal
from gdcbuild.publishing.observe import standing_of
from gdcbuild.publishing.writer import Release, SoFar, Writer

Outcome = Literal["created", "replaced", "repaired", "unchanged"]

_OUTCOMES: dict[Kind, Outcome] = {Kind.CREATE: "created", Kind.REPLACE: "replaced", Kind.REPAIR: "repaired"}


class Publication(NamedTuple):
    """The outcome of publishing a version, and how many objects it wrote (records included)."""

    outcome: Outcome
    objects: int


def publish(
    remote: Remote,
    release: Release,
    planned: Standing,
    terms: Terms,
    so_far: SoFar | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Publication:
    """Make the release its version's published content, and seal it.

    `planned` is the version's standing in the plan. `so_far` is kept up to date, for callers that do not wait for the end.
    `progress` gets the bytes sent, from several threads, and may raise to stop.

    Raises Refused if the version may not be published, was published by someone else since the plan, or is replaced
    by another publisher; RemoteError and BlobDamaged as the remote does. In every case a rerun with the same bytes
    finishes the publish.
    """
    id = release.id
    newest = newest_seals(remote, [id]).get(id)
    seal = read_seal(remote, newest) if newest else None
    found = contents(remote, [id])[id]
    begun = newest_claims(remote, [id]).get(id, 0)  # last: a publisher claims before it changes objects
    generation = newest.generation if newest else 0
    claim = claimed(remote, id, begun) if begun > generation else ""
    writer = Writer(remote, release, terms.immutable, so_far or SoFar(), progress)
    if not terms.repair:  # which trusts only content
        writer.learn(seal)
    now = writer.compared(standing_of(newest, differences(seal, found) if newest else (), found, claim), found, terms)
    change = change_of(id, Desired(Build.CACHED, "", release.tree), now, terms)
    if error := refused(change, terms.environment):
        raise error
    if change.kind is Kind.NONE:
        return Publication("unchanged", 0)
    _refuse_moved(release, planned, now)
    writer.removes = not terms.immutable or isinstance(now, Published)  # there: only in repairs
    writer.freeze(found)
    writer.claim(max(begun, generation + 1))
    writer.seal(writer.settle())
    written = writer.so_far.objects
    return Publication(_OUTCOMES[change.kind] if written else "unchanged", written)  # else others wrote the same


def _refuse_moved(release: Release, planned: Standing, now: Standing) -> None:
    """Refuse to replace what the plan has not seen, except unfinished publishes of others."""
    match planned, now:
        case _, Published(digest) if digest == release.tree.digest.hash:
            return
        case (Published(before), Published(after)) if before == after:
            return
        case (Published(), _) | (_, Published()):
            raise Refused(
                Problem(f"{release.id} was published by someone else after the plan was made", "run the command again")
            )
        case (_, Unmanaged(files, unlike)) if unlike and not (isinstance(planned, Unmanaged) and planned.files == files):
            message = f"{release.id} was changed in the bucket after the plan was made, not by gdcbuild"
            raise Refused(Problem(message, "run the command again, and check the plan", detail="\n".join(sorted(files))))
