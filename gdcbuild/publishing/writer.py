"""The steps of a publish: compare, freeze, claim, settle, seal. The publisher combines them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from gdcbuild.core import parallel
from gdcbuild.core.digest import Blob, BytesBlob, Tree
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Terms
from gdcbuild.core.ports import Remote, RemoteObject
from gdcbuild.core.seal import Provenance, Seal, SealedFile
from gdcbuild.core.standing import Published, Standing, Unfinished, Unmanaged
from gdcbuild.errors import Problem, Refused, RemoteError
from gdcbuild.files.content import copy_verified, hash_stream
from gdcbuild.publishing.bucket import (
    Sealed,
    claim_key,
    claimed,
    content,
    contents,
    newest_claims,
    read_seal,
)
from gdcbuild.publishing.observe import other_content, unlike_as_listed

CLAIM_SCHEMA = 1
ROUNDS = 8
"""Rounds of changes to the prefix, before assuming that someone else keeps changing it."""

CHECK_EVERY = 1.0
"""Seconds between two checks whether another publisher has taken over."""

MOST_CLAIMS = 20
"""Competing claims, before assuming that what answers is not a bucket."""

GRACE = 5.0
"""Seconds in which a publisher that was replaced notices it."""


@dataclass(slots=True)
class SoFar:
    """Progress of a publish, to report if it fails or is not waited for."""

    begun: bool = False
    """Whether its digest was claimed."""
    gone: bool = False
    """Whether the entry object was deleted, or may have been, and there is no new one yet."""
    objects: int = 0
    """How many objects it has written, records included."""


class Release(NamedTuple):
    """The files of one version to publish: path → blob, including `entry`.

    `tool` and `provenance` go into its seal: what wrote it, and what it was made from. `sources` are the paths of
    the user's own files, which may change meanwhile: they are read before anything is written or deleted.
    """

    id: VersionId
    files: Mapping[str, Blob]
    entry: str
    tool: str
    provenance: Provenance | None = None
    sources: Collection[str] = ()

    @property
    def tree(self) -> Tree:
        return Tree((path, blob.digest) for path, blob in self.files.items())


class Writer:
    """One publish of one version."""

    def __init__(
        self, remote: Remote, release: Release, immutable: bool, so_far: SoFar, progress: Callable[[int], None]
    ) -> None:
        self.so_far = so_far
        self.removes = False
        self._remote = remote
        self._release = release
        self._id = release.id
        self._tree = release.tree
        self._entry = release.entry
        self._immutable = immutable
        self._progress = progress
        self._generation = 0
        self._lock = threading.Lock()
        self._looked = 0.0
        # (path, etag) → SHA-256 of content known without reading: sealed, sent by us, or read before.
        self._known: dict[tuple[str, str], str] = {}

    def freeze(self, found: Mapping[str, RemoteObject]) -> None:
        """Check that the user's files to be sent can be read and have not changed since they were judged. Raises BlobDamaged.

        After the claim it would be too late: a version might be taken out of service for bytes that no longer exist.
        """

        def read(path: str) -> None:
            copy_verified(self._release.files[path], lambda _: self._progress(0))

        _all(read, (path for path in sorted(self._release.sources) if not self._is_there(path, found)))

    def _is_there(self, path: str, found: Mapping[str, RemoteObject]) -> bool:
        """Whether the artifact's bytes are known to be there, without reading them."""
        item = found.get(path)
        return item is not None and self._known.get((path, item.etag)) == self._tree[path].hash

    def claim(self, generation: int) -> None:
        """Claim `generation` for our digest, or the next one that is free or ours. A generation has only one digest."""
        digest = str(self._tree.digest)
        claim = BytesBlob(json.dumps({"schema": CLAIM_SCHEMA, "digest": digest}).encode() + b"\n")
        taken_over = False
        for _ in range(MOST_CLAIMS):
            self._progress(0)
            stored = self._remote.create(claim_key(self._id, generation), claim)
            if stored.outcome != "other":
                break
            other = claimed(self._remote, self._id, generation)
            if other == digest:
                break
            if self._immutable:
                raise Refused(
                    Problem(
                        f"{self._id} has an unfinished publish of {other}, and cannot change to {digest}",
                        f"give it a new version id, beside {self._id.version!r}",
                    )
                )
            generation, taken_over = generation + 1, True
        else:
            raise RemoteError(
                Problem(
                    f"{MOST_CLAIMS} other publishers claimed {self._id}, one after another",
                    "check what answers at the bucket's address",
                )
            )
        if taken_over:
            time.sleep(GRACE)  # by then, a publisher that we replace has seen our claim
        self.so_far.begun = True
        self.so_far.objects += stored.outcome == "created"
        self._generation = generation

    def learn(self, seal: Seal | None) -> None:
        """Do not send content again that the last seal has, as long as the store shows the same etag."""
        if seal is not None:
            self._known.update({(p, f.etag): f.digest.hash for p, f in seal.files.items() if f.etag})

    def compared(self, standing: Standing, found: Mapping[str, RemoteObject], terms: Terms) -> Standing:
        """The standing with differences found by content: from the artifact, or, in a repair, drift."""
        match standing:
            case Unmanaged() | Unfinished():
                unlike = unlike_as_listed(self._tree, standing)
                return standing._replace(unlike=unlike or self._unlike(found))
            case Published(digest, ()) if terms.repair and digest == self._tree.digest.hash:
                return standing._replace(drift=self._unlike(found))
        return standing

    def _unlike(self, found: Mapping[str, RemoteObject]) -> tuple[str, ...]:
        return tuple(other_content(path) for path in sorted(self._wrong(found)))

    def settle(self) -> dict[str, RemoteObject]:
        """Change the prefix, in rounds, until a listing shows exactly the artifact; return that listing.

        The entry object is absent while anything else is missing or wrong; it is created in a separate round.
        """
        for _ in range(ROUNDS):
            # without an etag nothing shows that it is unchanged
            self._known = {(path, etag): digest for (path, etag), digest in self._known.items() if etag}
            found = contents(self._remote, [self._id])[self._id]
            wrong = self._wrong(found)
            missing = [path for path in self._tree if path in wrong or path not in found]
            self._stop_if_overtaken()
            if not wrong and not missing:
                return found
            others = [path for path in missing if path != self._entry]
            if not self.removes:
                self._refuse(wrong)
            elif self._entry in found and (wrong or others):
                self._remove(found[self._entry])
            _all(self._remove, (found[path] for path in sorted(wrong - {self._entry})))
            if others:
                _all(self._create, others)
            elif missing:
                self._create(self._entry)
        raise RemoteError(
            Problem(
                f"{self._id} keeps changing: listings disagree with what was just written or removed",
                "run the command again when nobody else publishes this version",
            )
        )

    def _wrong(self, found: Mapping[str, RemoteObject]) -> set[str]:
        """Paths of objects that differ from the artifact; reads those that listings cannot tell."""
        wrong = {p for p, o in found.items() if p not in self._tree or o.size != self._tree[p].size}
        unknown = [o for p, o in found.items() if p not in wrong and (p, o.etag) not in self._known]
        _all(self._read, unknown)
        known = self._known
        return wrong | {p for p, o in found.items() if p not in wrong and known.get((p, o.etag)) != self._tree[p].hash}

    def _read(self, found: RemoteObject) -> None:
        digest = content(self._remote, found, lambda s: hash_stream(s, lambda _: self._progress(0)))
        if digest is not None:  # else it was deleted or replaced since: the next listing shows it
            self._known[found.key.split("/", 2)[2], found.etag] = digest.hash

    def _refuse(self, wrong: set[str]) -> None:
        if wrong:
            detail = "\n".join(sorted(wrong))
            raise Refused(
                Problem(
                    f"there are files below {self._id} that this artifact does not have, and the version cannot change",
                    "delete them by hand",
                    detail=detail,
                )
            )

    def _create(self, path: str) -> None:
        self._stop_if_overtaken(CHECK_EVERY)
        stored = self._remote.create(self._key(path), self._release.files[path], self._sent)
        if stored.outcome == "other":  # another publisher was first: read the object in the next round
            self._known.pop((path, stored.etag), None)
        else:
            self._known[path, stored.etag] = self._tree[path].hash
            self.so_far.gone &= path != self._entry
        with self._lock:
            self.so_far.objects += stored.outcome == "created"

    def _sent(self, size: int) -> None:
        self._progress(size)
        self._stop_if_overtaken(CHECK_EVERY)

    def _remove(self, found: RemoteObject) -> None:
        self._stop_if_overtaken(CHECK_EVERY)
        if found.key != self._key(self._entry):
            self._remote.delete(found.key, found.etag)
            return
        was, self.so_far.gone = self.so_far.gone, True  # before the request: the answer may never come
        try:
            self._remote.delete(found.key, found.etag)
        except RemoteError:
            self.so_far.gone = was or self._may_be_gone(found)
            raise

    def _may_be_gone(self, found: RemoteObject) -> bool:
        try:
            return all(item.key != found.key for item in self._remote.list(found.key))
        except RemoteError:
            return True

    def _key(self, path: str) -> str:
        return f"{self._id.model}/{self._id.version}/{path}"

    def _stop_if_overtaken(self, seconds: float = 0.0) -> None:
        """Raise Refused if a newer generation is claimed; check at most once every `seconds`."""
        now = time.monotonic()
        if self._immutable or now - self._looked < seconds:
            return
        self._looked = now
        if newest_claims(self._remote, [self._id]).get(self._id, 0) > self._generation:
            raise Refused(Problem(f"another publisher replaced {self._id} with other bytes", "check what it published"))

    def seal(self, found: Mapping[str, RemoteObject]) -> None:
        """Record that the version is complete, and check that the record can be read."""
        files = {path: SealedFile(digest, found[path].etag) for path, digest in self._tree.items()}
        sealed = Sealed(self._id, self._generation, self._tree.digest.hash)
        stored = self._remote.create(sealed.key, Seal(files, self._release.tool, self._release.provenance).blob())
        self.so_far.objects += stored.outcome == "created"
        if read_seal(self._remote, sealed) is None:
            raise RemoteError(
                Problem(
                    f"the seal of {self._id} was read back with other content than was written",
                    "delete it, then run the command again",
                )
            )


T = TypeVar("T")


def _all(function: Callable[[T], None], items: Iterable[T]) -> None:
    parallel.each(parallel.JOBS, function, items)
