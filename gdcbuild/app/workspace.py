"""A workspace as it is now: what its versions should be, read anew only where something has changed since the last time.

What came of every model is kept in a snapshot beside what was looked at for it. Only manifests that changed, and those of
models for which something changed, are read; of all others the snapshot tells. Without one, everything is read.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gdcbuild.app.environment import Environment, Variables
from gdcbuild.app.known import Known, basis, parts
from gdcbuild.core import bucket
from gdcbuild.core.ids import VersionId
from gdcbuild.core.memo import RACY_NS, is_trusted
from gdcbuild.core.plan import Desired
from gdcbuild.errors import ManifestError, Problem, damaged, raise_all
from gdcbuild.store.snapshot import Head, Snapshot, stamp, write

if TYPE_CHECKING:
    from gdcbuild.core.graph import Graph
    from gdcbuild.engine.judge import Judged
    from gdcbuild.engine.rebuilder import Rebuilder
    from gdcbuild.errors import Location
    from gdcbuild.manifest.load import Loaded


class Workspace:
    """One workspace. `cache` is the cache folder; `rebuilder_of` makes what judges a graph's actions.

    Raises ManifestError as soon as what has changed is not valid.
    """

    def __init__(
        self,
        manifest: Path,
        variables: Mapping[str, str],
        cache: Path,
        rebuilder_of: Callable[[Graph], Rebuilder],
        warn: Callable[[Problem], None],
    ) -> None:
        self.root = manifest.parent
        self.manifest = manifest
        self.variables = Variables(variables)
        self._cache = cache
        self._rebuilder_of = rebuilder_of
        self._started = time.time_ns()
        self._file = cache / "snapshots" / hashlib.sha256(os.fsencode(manifest)).hexdigest()[:32]
        self._loaded: Loaded | None = None
        self._graph: Graph | None = None
        self._rebuilder: Rebuilder | None = None
        self._read: set[str] = set()
        self._edited: list[str] = []
        self._environments: dict[str, list[object]] = {}
        self._chosen: dict[str, tuple[str, str]] = {}  # by where it really lies: a bucket's environment, its text
        snapshot = Snapshot.read(self._file, lambda: warn(damaged(self._file))) if is_trusted(self._file) else None
        self._snapshot = self._valid(snapshot)
        if self._snapshot is None:
            self._load_all()
        else:
            head = self._snapshot.head
            if stamp(self.root, head.manifests).digest != head.all_manifests:
                self._edited = [m for m, seen in head.manifests.items() if stamp(self.root, (m,)).digest != seen]
                self._load(self._edited)

    def models(self) -> dict[str, Collection[str]]:
        """Model id → its version ids, of the whole workspace."""
        found: dict[str, Collection[str]] = {}
        if self._snapshot is not None:
            found = {m: ids for m, (file, ids) in self._snapshot.head.models.items() if file not in self._read}
        if self._graph is not None:
            fresh: dict[str, list[str]] = {}
            for version in self._graph.versions:
                fresh.setdefault(version.model, []).append(version.version)
            found.update(fresh)
        return found

    def environment(self, name: str | None) -> Environment:
        """The environment of that name, or the default one. Its variables are only wanted now."""
        found = self._environment(name)
        self._keep_apart(found)
        return found

    def _environment(self, name: str | None) -> Environment:
        if self._snapshot is not None:
            kept = self._snapshot.head.extra["environments"].get(name or "")
            if kept is not None:
                values, variables, paths, seen = kept
                if self.variables.digests(variables) == variables and stamp(self.root, paths).digest == seen:
                    return Environment(*values)
            if self._loaded is None:
                self._load(())
        assert self._loaded is not None
        loaded, asked = self._loaded, set(self.variables.asked)
        self.variables.asked.clear()
        chosen, found = loaded.environment(name)
        ca_file = None
        with loaded.paths.watched() as looked:
            if found.ca_file is not None:
                where = loaded.main.node.at(("environments", chosen, "ca_file"))[0]
                ca_file = str(self.root / loaded.paths.file("", found.ca_file, where))
        result = Environment(chosen, found.bucket, found.endpoint, found.region, ca_file, found.immutable, found.protect)
        paths = sorted(looked)
        names = self.variables.digests(self.variables.asked)
        self._environments[name or ""] = [result, names, paths, stamp(self.root, paths).digest]
        self.variables.asked |= asked
        return result

    def _keep_apart(self, chosen: Environment) -> None:
        """Refuse a bucket that is a folder with inputs in it. Those that are written plainly have been, with the manifest."""
        real = bucket.real(chosen.bucket, self.root)
        extra: Mapping[str, Any] = self._snapshot.head.extra if self._snapshot is not None else {}
        if real is None or real in extra.get("buckets", {}).values():
            return
        self._chosen[real] = (chosen.name, chosen.bucket)
        if self._snapshot is not None and _hidden(real) not in extra["apart"]:
            self._load_all()
        elif self._loaded is not None:
            self._refuse_lost()

    def _refuse_lost(self) -> None:
        """Raise ManifestError when one of the buckets chosen holds something that was read of."""
        from gdcbuild.manifest import apart

        assert self._loaded is not None
        chosen = [
            apart.Bucket(text, real, self.where("environments", name, "bucket")) for real, (name, text) in self._chosen.items()
        ]
        raise_all(ManifestError, apart.problems(chosen, self._loaded.paths.taken))

    def where(self, *path: str) -> Location:
        """The place of a key of the root manifest."""
        if self._loaded is None:
            self._load(())
        assert self._loaded is not None
        return self._loaded.main.node.at(path)[0]

    def desired(self, wanted: Collection[VersionId]) -> dict[VersionId, Desired]:
        """What each of the versions should be. Builds nothing; remembers what was found."""
        known = Known(self._snapshot, self.root).desired({id.model for id in wanted}) if self._snapshot else {}
        rest = {id.model for id in wanted} - known.keys()
        judged = None
        if rest:
            self.graph(rest)
            assert self._graph is not None and self._rebuilder is not None
            from gdcbuild.engine.judge import desired, judge

            models = self._with_needs(rest)
            ids = [id for id in self._graph.versions if id.model in models]
            judged = judge(self._graph, ids, self._rebuilder)
            fresh = desired(self._graph, ids, judged)
            if gone := [id for id in wanted if id.model in rest and id not in fresh]:
                hint = "run the command again"
                raise ManifestError(*(Problem(f"{id} has left the manifest while this ran", hint) for id in gone))
        if judged is not None or self._environments:
            self._remember(judged)
        return {id: fresh[id] if id.model in rest else known[id.model][id.version] for id in wanted}

    def misled(self, planned: Mapping[VersionId, Desired], judged: Judged) -> bool:
        """Whether the snapshot told of results that the cache no longer has, though nothing in the workspace has changed."""
        from gdcbuild.engine.judge import desired

        if self._snapshot is None:
            return False
        assert self._graph is not None
        fresh = desired(self._graph, planned, judged)
        other = {id for id, version in planned.items() if version.tree is not None and version.tree != fresh[id].tree}
        known = Known(self._snapshot, self.root).desired({id.model for id in other})
        return any(known.get(id.model, {}).get(id.version, fresh[id]).tree == planned[id].tree for id in other)

    def forget(self) -> None:
        """Believe no snapshot any more: everything is read and judged anew."""
        self._load_all()

    def declared(self) -> Graph:
        """The graph of everything there is, read anew where it has not been."""
        if self._snapshot is not None:
            self._load_all()
        assert self._graph is not None
        return self._graph

    def _with_needs(self, models: Collection[str]) -> set[str]:
        """These models and all whose artifacts they rest on: a model is remembered whole or not at all."""
        from gdcbuild.core.graph import owner

        assert self._graph is not None
        graph, found = self._graph, set(models)
        while True:
            needed = graph.closure(v.action for id, v in graph.versions.items() if id.model in found)
            more = {owner(action) for action in needed} - found
            if not more:
                return found
            found |= more

    def graph(self, models: Collection[str] | None = None) -> tuple[Graph, Rebuilder]:
        """A graph that has these models and all they need, or everything there is; and what judges its actions."""
        if models is None:
            self.declared()
        elif self._snapshot is not None:
            homes, closure = self._snapshot.head.models, Known(self._snapshot, self.root).closure(models)
            files = {homes[name][0] for name in closure if name in homes} | {
                p.manifest for p in closure.values() if p is not None
            }
            files.discard(self.manifest.name)  # which is read with any other
            if self._graph is None or not files <= self._read:
                self._load(files)
        assert self._graph is not None
        if self._rebuilder is None:
            self._rebuilder = self._rebuilder_of(self._graph)
        return self._graph, self._rebuilder

    def _valid(self, snapshot: Snapshot | None) -> Snapshot | None:
        if snapshot is None or snapshot.head.basis != basis(
            self._cache, self.variables.digests(snapshot.head.extra["variables"])
        ):
            return None
        if any(bucket.real(text, self.root) != real for text, real in snapshot.head.extra["buckets"].items()):
            return None  # a link leads elsewhere now: what is read may lie in that bucket
        return snapshot if stamp(self.root, snapshot.head.paths).digest == snapshot.head.stamp else None

    def _load_all(self) -> None:
        from gdcbuild.manifest.load import load

        self._snapshot = None
        self._lower(load(self.manifest, self.variables))

    def _load(self, files: Collection[str]) -> None:
        """Read these included manifests beside what has been read, or everything when they do not stand by themselves."""
        from gdcbuild.manifest.load import load

        assert self._snapshot is not None
        head = self._snapshot.head
        read = self._read | set(files)
        try:
            loaded = load(self.manifest, self.variables, head.manifests.keys() - read)
            self._lower(loaded)
        except ManifestError:
            self._load_all()
            return
        assert self._graph is not None
        twice = any(head.models.get(m, ("", ()))[0] not in {"", *read} for m in {id.model for id in self._graph.versions})
        if loaded.included != head.manifests.keys() or twice:
            self._load_all()
            return
        self._read = read

    def _lower(self, loaded: Loaded) -> None:
        from gdcbuild.frameworks import FRAMEWORKS, images
        from gdcbuild.manifest.lower import lower

        self._graph, self._rebuilder = lower(loaded, FRAMEWORKS, images.known()), None
        self._loaded = loaded
        self._refuse_lost()

    def _remember(self, judged: Judged | None) -> None:
        """Write the snapshot anew: what has been judged, and of the old one what still holds."""
        from gdcbuild.core.graph import STEP
        from gdcbuild.manifest import apart

        old, graph = self._snapshot, self._graph
        assert graph is not None and self._loaded is not None
        idle = graph.idle if old is None or self._edited else ()  # what is edited may have been the last to use something
        common = sorted({*graph.origins[""].looked, self.manifest.name, *(old.head.paths if old else ()), *idle})
        shared = stamp(self.root, common)
        if shared.newest > self._started - RACY_NS:
            return
        manifests = dict(old.head.manifests) if old else {}
        for file in {f.path for f in self._loaded.files} - {self.manifest.name}:
            manifests[file] = stamp(self.root, (file,)).digest
        if old is None and manifests.keys() != self._loaded.included:
            return
        homes = {m: file for m, (file, _) in old.head.models.items()} if old else {}
        homes.update({name: origin.manifest for name, origin in graph.origins.items()})
        models = {m: (homes[m], tuple(ids)) for m, ids in self.models().items()}
        asked = self.variables.asked | set(old.head.extra["variables"] if old else ())
        environments = {**(old.head.extra["environments"] if old else {}), **self._environments}
        literal = {each.text: each.real for each in apart.buckets(self._loaded.main.node, self.root)}
        compared = {_hidden(real) for real in self._chosen} | set(old.head.extra["apart"] if old and not self._read else ())
        extra = {
            "variables": sorted(asked),
            "environments": environments,
            "buckets": literal,
            "apart": sorted(compared),
        }
        together = stamp(self.root, manifests)
        if together.newest > self._started - RACY_NS:
            return  # what was read of them may be older than what they look like now
        rests_on = basis(self._cache, self.variables.digests(asked))
        head = Head(rests_on, tuple(common), shared.digest, manifests, together.digest, models, extra)
        fresh = {}
        if judged is not None:
            assert self._rebuilder is not None
            fresh = dict(parts(graph, judged, self._rebuilder.ports.toolchains, self.root, self._started))
        kept = [name for name in (old.names() if old else ()) if name in models or name.startswith(STEP)]
        write(self._file, head, fresh, old, kept)


def _hidden(real: str) -> str:
    """What tells a folder apart without telling it: it may have come from a variable."""
    return hashlib.sha256(os.fsencode(real)).hexdigest()
