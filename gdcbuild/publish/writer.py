"""The steps of a publishing, each by itself: compare, freeze, claim, settle, seal. What they do together is the publisher's."""

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
from gdcbuild.publish.bucket import (
    Sealed,
    claim_key,
    claimed,
    content,
    contents,
    newest_claims,
    read_seal,
)
from gdcbuild.publish.observe import other_content, unlike_as_listed

CLAIM_SCHEMA = 1
ROUNDS = 8
"""How often the prefix is brought into order before we believe that somebody else keeps changing it."""

CHECK_EVERY = 1.0
"""Seconds for which a publisher writes on without looking whether another one has taken over."""

MOST_CLAIMS = 20
"""Publishers that may come in between before we believe that it is no bucket that answers."""

GRACE = 5.0
"""Seconds that are left to a publisher that is taken over, to see it. One that was killed needs none of them."""


@dataclass(slots=True)
class SoFar:
    """How far a publishing has come: what there is to tell of one that does not end well, or is not waited for."""

    begun: bool = False
    """Whether its digest is claimed."""
    gone: bool = False
    """Whether the entry object was removed, or may have been, and no other one is there yet."""
    objects: int = 0
    """How many objects it has written, records included."""


class Release(NamedTuple):
    """What is to be published of one version: path → blob, `entry` among them.

    `tool` and `provenance` go into its seal: what wrote it, and what it was made from. `sources` are the paths that are
    files of the user's, which may change meanwhile: they are read before anything is written or removed.
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
    """One publishing of one version."""

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
        # (path, etag) → SHA-256 of content that is known without reading it: sealed so, sent by us, or read before.
        self._known: dict[tuple[str, str], str] = {}

    def freeze(self, found: Mapping[str, RemoteObject]) -> None:
        """Make sure that what is to be sent of the user's files can be read, and is what was judged. Raises BlobDamaged.

        After the claim it would be too late: a version may have been taken out of service for bytes that are no more.
        """

        def read(path: str) -> None:
            copy_verified(self._release.files[path], lambda _: self._progress(0))

        _all(read, (path for path in sorted(self._release.sources) if not self._is_there(path, found)))

    def _is_there(self, path: str, found: Mapping[str, RemoteObject]) -> bool:
        """Whether the artifact's bytes are known to lie there already, without reading them."""
        item = found.get(path)
        return item is not None and self._known.get((path, item.etag)) == self._tree[path].hash

    def claim(self, generation: int) -> None:
        """Claim `generation` for our digest, or the next one that is free or ours. One digest only claims a generation."""
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
            time.sleep(GRACE)  # whoever we have taken over, and is alive, has seen our claim after that
        self.so_far.begun = True
        self.so_far.objects += stored.outcome == "created"
        self._generation = generation

    def learn(self, seal: Seal | None) -> None:
        """Content that the last seal knows need not be sent again, as long as the store shows the same etag."""
        if seal is not None:
            self._known.update({(p, f.etag): f.digest.hash for p, f in seal.files.items() if f.etag})

    def compared(self, standing: Standing, found: Mapping[str, RemoteObject], terms: Terms) -> Standing:
        """The standing with what only content tells: how it differs from the artifact, or, in a repair, has drifted."""
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
        """Bring the prefix into order, round after round, until a listing shows exactly the artifact; returns that listing.

        While anything else is missing or wrong, the entry object is not there; it comes alone, in a round of its own.
        """
        for _ in range(ROUNDS):
            # without an etag nothing says that it is still what it was
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
        """Paths at which something lies that is not the artifact's; read where it cannot be told otherwise."""
        wrong = {p for p, o in found.items() if p not in self._tree or o.size != self._tree[p].size}
        unknown = [o for p, o in found.items() if p not in wrong and (p, o.etag) not in self._known]
        _all(self._read, unknown)
        known = self._known
        return wrong | {p for p, o in found.items() if p not in wrong and known.get((p, o.etag)) != self._tree[p].hash}

    def _read(self, found: RemoteObject) -> None:
        digest = content(self._remote, found, lambda s: hash_stream(s, lambda _: self._progress(0)))
        if digest is not None:  # else it has gone since it was listed, or is another one: the next listing tells
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
        if stored.outcome == "other":  # somebody was quicker: the next listing is to be read, not believed
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
        was, self.so_far.gone = self.so_far.gone, True  # as soon as it is asked for: the answer may never come
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
        """Raise Refused when a newer generation is claimed; look no more often than every so many seconds."""
        now = time.monotonic()
        if self._immutable or now - self._looked < seconds:
            return
        self._looked = now
        if newest_claims(self._remote, [self._id]).get(self._id, 0) > self._generation:
            raise Refused(Problem(f"another publisher replaced {self._id} with other bytes", "check what it published"))

    def seal(self, found: Mapping[str, RemoteObject]) -> None:
        """Record that the version is complete, and make sure that the record can be read."""
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
