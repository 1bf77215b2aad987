"""A workspace as it is now: what its versions should be, read anew only where something has changed since the last time.

What came of every model is kept in a snapshot beside what was looked at for it. Only manifests that changed, and those of
models for which something changed, are read; of all others the snapshot tells. Without one, everything is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gdcbuild import __version__
from gdcbuild.core.digest import Digest, Tree
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Build, Desired
from gdcbuild.errors import ManifestError
from gdcbuild.store.snapshot import RACY_NS, Head, Part, Rows, Snapshot, stamp, write

if TYPE_CHECKING:
    from gdcbuild.core.graph import Graph
    from gdcbuild.engine.judge import Judged
    from gdcbuild.engine.rebuilder import Rebuilder
    from gdcbuild.errors import Location
    from gdcbuild.manifest.load import Loaded


class Variables(Mapping[str, str]):
    """Our environment, and which of its variables have been asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def digests(self, names: Iterable[str]) -> dict[str, str | None]:
        """What tells the variables' values apart, without telling them: they may be secrets."""
        found = {name: self._values.get(name) for name in sorted(names)}
        return {
            n: None if v is None else hashlib.sha256(f"{n}={v}".encode("utf-8", "replace")).hexdigest()
            for n, v in found.items()
        }


class Environment(NamedTuple):
    """An environment that has been chosen, with its variables put in. `ca_file` is an absolute path."""

    name: str
    bucket: str
    endpoint: str | None
    region: str | None
    ca_file: str | None
    immutable: bool
    protect: bool


def is_private(folder: Path) -> bool:
    """Whether the folder is there and nobody else can write to it: then what it says can be believed."""
    try:
        found = folder.stat()
    except OSError:
        return False
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


class Workspace:
    """One workspace. `cache` is the cache folder; `rebuilder_of` makes what judges a graph's actions.

    Raises ManifestError as soon as what has changed is not valid.
    """

    def __init__(
        self, manifest: Path, variables: Mapping[str, str], cache: Path, rebuilder_of: Callable[[Graph], Rebuilder]
    ) -> None:
        self.root = manifest.parent
        self._prefix = f"{self.root}/"
        self._manifest = manifest
        self.variables = Variables(variables)
        self._cache = cache
        self._rebuilder_of = rebuilder_of
        self._started = time.time_ns()
        self._file = cache / "snapshots" / hashlib.sha256(os.fsencode(manifest)).hexdigest()[:32]
        self._loaded: Loaded | None = None
        self._graph: Graph | None = None
        self._rebuilder: Rebuilder | None = None
        self._read: set[str] = set()
        self._environments: dict[str, list[object]] = {}
        self._snapshot = self._valid(Snapshot.read(self._file)) if is_private(cache) else None
        if self._snapshot is None:
            self._load_all()
        else:
            manifests = self._snapshot.head.manifests
            changed = [m for m, seen in manifests.items() if stamp(self._prefix, (m,)).digest != seen]
            if changed:
                self._load(changed)

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
        if self._snapshot is not None:
            kept = self._snapshot.head.extra["environments"].get(name or "")
            if kept is not None:
                values, variables, paths, seen = kept
                if self.variables.digests(variables) == variables and stamp(self._prefix, paths).digest == seen:
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
        self._environments[name or ""] = [result, names, paths, stamp(self._prefix, paths).digest]
        self.variables.asked |= asked
        return result

    def where(self, *path: str) -> Location:
        """The place of a key of the root manifest."""
        if self._loaded is None:
            self._load(())
        assert self._loaded is not None
        return self._loaded.main.node.at(path)[0]

    def desired(self, wanted: Collection[VersionId]) -> dict[VersionId, Desired]:
        """What each of the versions should be. Builds nothing; remembers what was found."""
        known = self._known({id.model for id in wanted})
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
        if judged is not None or self._environments:
            self._remember(judged)
        return {id: fresh[id] if id.model in rest else known[id.model][id.version] for id in wanted}

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
            if self._snapshot is not None:
                self._load_all()
        elif self._snapshot is not None:
            homes, closure = self._snapshot.head.models, self._closure(models)
            files = {homes[name][0] for name in closure if name in homes} | {
                p.manifest for p in closure.values() if p is not None
            }
            if self._graph is None or not files <= self._read:
                self._load(files)
        assert self._graph is not None
        if self._rebuilder is None:
            self._rebuilder = self._rebuilder_of(self._graph)
        return self._graph, self._rebuilder

    def _basis(self, variables: Iterable[str]) -> str:
        """What a snapshot rests on beside the workspace's files: this gdcbuild, this Python, these variables, this cache."""
        package = Path(__file__).parent.parent
        code = sorted(f"{folder}/{f}" for folder, _, files in os.walk(package) for f in files if f.endswith((".py", ".json")))
        try:
            inode = (self._cache / "records" / "cache.db").stat().st_ino
        except OSError:
            inode = 0
        basis = [__version__, stamp("", code).digest, sys.version, sys.executable, inode, self.variables.digests(variables)]
        return hashlib.sha256(json.dumps(basis).encode()).hexdigest()

    def _valid(self, snapshot: Snapshot | None) -> Snapshot | None:
        if snapshot is None or snapshot.head.basis != self._basis(snapshot.head.extra["variables"]):
            return None
        return snapshot if stamp(self._prefix, snapshot.head.paths).digest == snapshot.head.stamp else None

    def _load_all(self) -> None:
        from gdcbuild.manifest.load import load

        self._snapshot = None
        self._lower(load(self._manifest, self.variables))

    def _load(self, files: Collection[str]) -> None:
        """Read these included manifests beside what has been read, or everything when they do not stand by themselves."""
        from gdcbuild.manifest.load import load

        assert self._snapshot is not None
        head = self._snapshot.head
        read = self._read | set(files)
        try:
            loaded = load(self._manifest, self.variables, head.manifests.keys() - read)
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

    def _closure(self, models: Iterable[str]) -> dict[str, Part | None]:
        """The parts that these models rest on, as far as the snapshot tells, their own among them."""
        assert self._snapshot is not None
        found: dict[str, Part | None] = {}
        stack = list(models)
        while stack:
            name = stack.pop()
            if name not in found:
                part = found[name] = self._snapshot.part(name)
                stack += part.needs if part is not None else ()
        return found

    def _known(self, models: Iterable[str]) -> dict[str, dict[str, Desired]]:
        """Of these models, those for which nothing has changed: version id → what it should be."""
        found: dict[str, dict[str, Desired]] = {}
        if self._snapshot is None:
            return found
        sound: set[str] = set()
        for model in models:
            part = self._snapshot.part(model)
            if part is not None and self._holds(part) and (not part.needs or self._all_hold(part.needs, sound)):
                found[model] = {
                    version: Desired(Build(how), "", Tree.from_json(rows, Digest(*digest)))
                    for version, how, digest, rows in part.rows
                }
        return found

    def _holds(self, part: Part) -> bool:
        return stamp(self._prefix, part.paths).digest == part.stamp

    def _all_hold(self, names: Iterable[str], sound: set[str]) -> bool:
        """Whether nothing has changed for these parts and all that they need; `sound` has those found so before."""
        assert self._snapshot is not None
        seen: set[str] = set()
        stack = list(names)
        while stack:
            name = stack.pop()
            if name in seen or name in sound:
                continue
            seen.add(name)
            part = self._snapshot.part(name)
            if part is None or not self._holds(part):
                return False
            stack += part.needs
        sound |= seen
        return True

    def _remember(self, judged: Judged | None) -> None:
        """Write the snapshot anew: what has been judged, and of the old one what still holds."""
        from gdcbuild.core.graph import STEP

        old, graph = self._snapshot, self._graph
        assert graph is not None and self._loaded is not None
        common = sorted({*graph.origins[""].looked, self._manifest.name, *(old.head.paths if old else ())})
        shared = stamp(self._prefix, common)
        if shared.newest > self._started - RACY_NS:
            return
        manifests = dict(old.head.manifests) if old else {}
        for file in {f.path for f in self._loaded.files} - {self._manifest.name}:
            manifests[file] = stamp(self._prefix, (file,)).digest
        if old is None and manifests.keys() != self._loaded.included:
            return
        homes = {m: file for m, (file, _) in old.head.models.items()} if old else {}
        homes.update({name: origin.manifest for name, origin in graph.origins.items()})
        models = {m: (homes[m], tuple(ids)) for m, ids in self.models().items()}
        asked = self.variables.asked | set(old.head.extra["variables"] if old else ())
        environments = {**(old.head.extra["environments"] if old else {}), **self._environments}
        extra = {"variables": sorted(asked), "environments": environments}
        head = Head(self._basis(asked), tuple(common), shared.digest, manifests, models, extra)
        parts = dict(self._parts(graph, judged)) if judged is not None else {}
        kept = [name for name in (old.names() if old else ()) if name in models or name.startswith(STEP)]
        write(self._file, head, parts, old, kept)

    def _parts(self, graph: Graph, judged: Judged) -> Iterator[tuple[str, Part]]:
        """Every model and step of which all that was judged is known, and at rest."""
        from gdcbuild.core.graph import SourceFile, owner
        from gdcbuild.core.verdict import Taken

        actions: dict[str, list[str]] = {}
        for action in judged.verdicts:
            actions.setdefault(owner(action), []).append(action)
        versions: dict[str, list[VersionId]] = {}
        for id in graph.versions:
            versions.setdefault(id.model, []).append(id)
        for name, ids in actions.items():
            if not all(i in judged.made for i in ids):
                continue
            paths = {graph.origins[name].manifest, *graph.origins[name].looked}
            needs = set()
            for item in map(graph.actions.__getitem__, ids):
                paths |= {i.origin.path for i in item.inputs if isinstance(i.origin, SourceFile)}
                needs |= {owner(n) for n in item.needs}
                if item.toolchain is not None and self._rebuilder is not None:
                    toolchain = graph.toolchains[item.toolchain]
                    paths.update(map(str, self._rebuilder.ports.toolchains.rests_on(toolchain)))
            rows: Rows = []
            for id in versions.get(name, ()):
                action_id = graph.versions[id].action
                taken = isinstance(judged.verdicts[action_id], Taken)
                tree = judged.made[action_id].tree
                rows.append((id.version, Build.SOURCE if taken else Build.CACHED, tree.digest, tree.to_json()))
            seen = stamp(self._prefix, ordered := sorted(paths))
            if seen.newest <= self._started - RACY_NS:
                yield name, Part(graph.origins[name].manifest, tuple(ordered), seen.digest, tuple(sorted(needs - {name})), rows)
