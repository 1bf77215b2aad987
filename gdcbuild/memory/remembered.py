"""A source around another one: answers from a snapshot of the last run where that is still valid.

The other source is used for what has changed, and reads only the manifests needed for that. Without a snapshot, it is used
for everything.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gdcbuild.core.ids import VersionId
from gdcbuild.errors import ManifestError, Problem, Refused, ResultChanged, damaged
from gdcbuild.files import bucket_url
from gdcbuild.files.memo import RACY_NS, is_trusted
from gdcbuild.memory.held import Held, basis, parts
from gdcbuild.memory.snapshot import Head, Snapshot, stamp, write
from gdcbuild.source.environment import Environment, Variables

if TYPE_CHECKING:
    from gdcbuild.building.judge import Judged, Work
    from gdcbuild.core.graph import Graph
    from gdcbuild.core.plan import Desired
    from gdcbuild.errors import Location
    from gdcbuild.source.plain import PlainSource


class Chosen(NamedTuple):
    """A chosen environment, and what it depends on besides the root manifest.

    `real` is the real path of a local bucket, which contains none of the snapshot's inputs.
    """

    environment: Environment
    variables: Mapping[str, str | None]
    paths: Collection[str]
    stamp: str
    real: str | None


class RememberedSource:
    """The workspace of `manifest`. `read` reads it, without the given included manifests.

    The snapshot is in the folder `cache`; an existing one is used only with `believe`.
    """

    def __init__(
        self,
        manifest: Path,
        variables: Variables,
        cache: Path,
        read: Callable[[Collection[str]], PlainSource],
        warn: Callable[[Problem], None],
        believe: bool = True,
    ) -> None:
        self.root = manifest.parent
        self._manifest = manifest.name
        self._variables = variables
        self._cache = cache
        self._read = read
        self._started = time.time_ns()
        self._file = cache / "snapshots" / hashlib.sha256(os.fsencode(manifest)).hexdigest()[:32]
        self._plain: PlainSource | None = None
        self._files: set[str] = set()  # included manifests read so far; the snapshot covers the others
        self._edited: list[str] = []
        self._chosen: dict[str, Chosen] = {}
        self._told: dict[VersionId, Desired] = {}
        self._old = self._opened(warn) if believe and is_trusted(self._file) else None
        if self._old is None:
            self._reading()
            return
        head = self._old.snapshot.head
        if stamp(self.root, head.manifests).digest != head.all_manifests:
            self._edited = [m for m, seen in head.manifests.items() if stamp(self.root, (m,)).digest != seen]
            self._reading(self._edited)

    def models(self, below: str = "") -> dict[str, Collection[str]]:
        found: dict[str, Collection[str]] = {}
        if self._old is not None:
            known = self._old.snapshot.head.models.items()
            found = {m: ids for m, (file, ids) in known if file not in self._files and file.startswith(below)}
        if self._plain is not None:
            found.update(self._plain.models(below))
        return found

    def environment(self, name: str | None) -> Environment:
        kept = self._kept(name or "")
        if kept is not None and self._plain is None:
            self._chosen[name or ""] = kept
            return kept.environment
        plain = self._reading()
        chosen = self._choose(plain, name or "")
        if kept is None and self._old is not None and chosen.real not in (None, *self._old.snapshot.head.buckets.values()):
            self._everything()  # inputs not read yet may be in this bucket
        return chosen.environment

    def where(self, *path: str) -> Location:
        return self._reading().where(*path)

    def check(self, wanted: Collection[VersionId] | None) -> None:
        if wanted is None:
            models = self.models()
            known = self._known(models)
            rest = [VersionId(m, v) for m, ids in models.items() if m not in known for v in ids]
        else:
            known = self._known({id.model for id in wanted})
            rest = [id for id in wanted if id.model not in known]
        plain = self._having(rest) if rest else self._plain
        if plain is None:
            return
        if wanted is None and self._old is not None and plain.wrong.all():
            plain = self._everything()  # all mistakes are reported together
        plain.refuse(wanted)
        plain.judged(rest)

    def desired(self, wanted: Collection[VersionId]) -> dict[VersionId, Desired]:
        known = self._known({id.model for id in wanted})
        self._told = {id: known[id.model][id.version] for id in wanted if id.model in known}
        rest = [id for id in wanted if id.model not in known]
        judged, fresh = None, dict(self._told)
        if rest:
            plain = self._having(rest)
            fresh |= plain.desired([*rest, *_with_needs(plain.graph, {id.model for id in rest})])
            judged = plain.known
        if self._plain is not None:
            self._remember(self._plain, judged)
        return {id: fresh[id] for id in wanted}

    def _known(self, models: Iterable[str]) -> Mapping[str, Mapping[str, Desired]]:
        """What the snapshot has for these models."""
        return self._old.desired(models) if self._old is not None else {}

    def work(self, wanted: Collection[VersionId]) -> Work:
        plain = self._having(wanted)
        found = plain.work(wanted)
        now = plain.desired(wanted)
        if other := [id for id in wanted if self._told.get(id, now[id]) != now[id]]:
            raise ResultChanged(*(Problem(f"{id} changed after it was planned") for id in other))
        return found

    def _having(self, wanted: Collection[VersionId]) -> PlainSource:
        """The workspace, with everything read that these versions need."""
        files: set[str] = set()
        if self._old is not None:
            homes, closure = self._old.snapshot.head.models, self._old.closure({id.model for id in wanted})
            files = {homes[name][0] for name in closure if name in homes}
            files |= {part.manifest for part in closure.values() if part is not None}
        plain = self._reading(files - {self._manifest})
        models = plain.models()
        if gone := [id for id in wanted if id.version not in models.get(id.model, ())]:
            raise Refused(
                *(Problem(f"{id} was removed from the manifest during the run", "run the command again") for id in gone)
            )
        return plain

    def _reading(self, files: Collection[str] = ()) -> PlainSource:
        """The workspace with the root manifest, these files, and those read before; without a snapshot, all of it."""
        if self._plain is not None and (self._old is None or self._files.issuperset(files)):
            return self._plain
        wanted = self._files.union(files)
        plain = self._some(self._old.snapshot.head, wanted) if self._old is not None else None
        if plain is None:
            return self._everything()
        self._files = wanted
        return self._take(plain)

    def _some(self, head: Head, files: Set[str]) -> PlainSource | None:
        """The workspace with only these included manifests; None if they depend on others."""
        try:
            plain = self._read(head.manifests.keys() - files)
        except ManifestError:
            return None
        if plain.unread:
            return None
        told_elsewhere = {m for m, (file, _) in head.models.items() if file not in files and file != self._manifest}
        if plain.loaded.included != head.manifests.keys() or not told_elsewhere.isdisjoint(plain.models()):
            return None
        return plain

    def _everything(self) -> PlainSource:
        self._old, self._files = None, set()
        return self._take(self._read(()))

    def _take(self, plain: PlainSource) -> PlainSource:
        if self._plain is not None:
            plain.take_verdicts(self._plain)
        self._plain = plain
        for name in self._chosen:
            self._choose(plain, name)  # files read now may be in its bucket
        return plain

    def _choose(self, plain: PlainSource, name: str) -> Chosen:
        with plain.loaded.paths.watched() as looked, self._variables.apart() as asked:
            found = plain.environment(name or None)
        paths, real = sorted(looked), bucket_url.real(found.bucket, self.root)
        self._chosen[name] = Chosen(found, self._variables.digests(asked), paths, stamp(self.root, paths).digest, real)
        return self._chosen[name]

    def _kept(self, name: str) -> Chosen | None:
        """The environment from the snapshot, if it is still valid."""
        row = self._old.snapshot.head.environments.get(name) if self._old is not None else None
        if row is None:
            return None
        kept = Chosen(Environment(*row[0]), *row[1:])
        holds = (
            self._variables.digests(kept.variables) == kept.variables
            and stamp(self.root, kept.paths).digest == kept.stamp
            and bucket_url.real(kept.environment.bucket, self.root) == kept.real
        )
        return kept if holds else None

    def _opened(self, warn: Callable[[Problem], None]) -> Held | None:
        """The snapshot, if what all its parts depend on has not changed."""
        snapshot = Snapshot.read(self._file, lambda: warn(damaged(self._file)))
        if snapshot is None:
            return None
        head = snapshot.head
        if head.basis != basis(self._cache, self._variables.digests(head.variables)):
            return None
        if any(bucket_url.real(text, self.root) != real for text, real in head.buckets.items()):
            return None  # a link points elsewhere now: inputs may be in that bucket
        return Held(snapshot, self.root) if stamp(self.root, head.paths).digest == head.stamp else None

    def _remember(self, plain: PlainSource, judged: Judged | None) -> None:
        """Write the snapshot: the new results, and the parts of the old one that are still valid.

        Models with mistakes are left out, so that the mistakes are found again. With any other mistake, nothing is written:
        it would be forgotten. Nor is anything written when two manifests declare one model: only one of them would be read.
        """
        from gdcbuild.core.graph import STEP
        from gdcbuild.manifest import bucket_overlap

        old = self._old.snapshot.head if self._old is not None else None
        graph, loaded = plain.graph, plain.loaded
        mistakes = {m: set(plain.wrong.of(f"{m}@{v}" for v in ids)) for m, ids in plain.models().items()}
        declared = [(model, file.path) for file in loaded.files for model in file.versions]
        if not set(plain.wrong.all()) <= set().union(*mistakes.values()) or len(declared) > len(mistakes):
            return
        idle = graph.idle if old is None or self._edited else ()  # an edit may have removed the last use of something
        common = sorted({*graph.origins[""].looked, self._manifest, *(old.paths if old else ()), *idle})
        shared = stamp(self.root, common)
        manifests = dict(old.manifests) if old else {}
        manifests |= {f.path: stamp(self.root, (f.path,)).digest for f in loaded.files if f.path != self._manifest}
        if manifests.keys() != loaded.included:
            return
        together = stamp(self.root, manifests)
        if max(shared.newest, together.newest) > self._started - RACY_NS:
            return  # they may have changed after they were read
        homes = {m: file for m, (file, _) in old.models.items()} if old else {}
        homes |= dict(declared)
        variables = sorted(self._variables.asked.union(old.variables if old else ()))
        head = Head(
            basis=basis(self._cache, self._variables.digests(variables)),
            paths=common,
            stamp=shared.digest,
            manifests=manifests,
            all_manifests=together.digest,
            models={m: (homes[m], tuple(ids)) for m, ids in self.models().items()},
            variables=variables,
            environments={**self._others(old, judged), **self._chosen},
            buckets={each.text: each.real for each in bucket_overlap.buckets(loaded.main.node, self.root)},
        )
        fresh = {}
        if judged is not None:
            found = parts(graph, judged, plain.rebuilder.rests_on, self.root, self._started)
            fresh = {name: part for name, part in found if not mistakes.get(name)}
        snapshot = self._old.snapshot if self._old is not None else None
        kept = [n for n in (snapshot.names() if snapshot else ()) if n in head.models or n.startswith(STEP)]
        write(self._file, head, fresh, snapshot, kept)

    def _others(self, old: Head | None, judged: Judged | None) -> dict[str, Any]:
        """The environments of the old snapshot, except those whose buckets may contain files read now."""
        as_it_was = judged is None and not self._edited
        return {n: row for n, row in old.environments.items() if as_it_was or Chosen(*row).real is None} if old else {}


def _with_needs(graph: Graph, models: Set[str]) -> list[VersionId]:
    """All versions of these models and of those they depend on: a snapshot has a model completely or not at all."""
    from gdcbuild.core.graph import owner

    found: set[str] = set()
    more = set(models)
    while more:
        found |= more
        needed = graph.closure(v.action for id, v in graph.versions.items() if id.model in found)
        more = {owner(action) for action in needed} - found
    return [id for id in graph.versions if id.model in found]
