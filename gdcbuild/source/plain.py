"""The workspace itself: every manifest is read, every file they name is looked at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path

from gdcbuild.core import bucket
from gdcbuild.core.graph import Graph
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Desired
from gdcbuild.engine.judge import NOTHING, Judged, desired, judge
from gdcbuild.engine.rebuilder import Rebuilder
from gdcbuild.errors import Location, ManifestError, raise_all
from gdcbuild.frameworks import FRAMEWORKS, images
from gdcbuild.manifest import apart
from gdcbuild.manifest.load import load
from gdcbuild.manifest.lower import lower
from gdcbuild.source.environment import Environment
from gdcbuild.source.source import Work


class PlainSource:
    """A workspace, read when this is made. Included manifests in `without` (paths below the root) are left out."""

    def __init__(
        self,
        manifest: Path,
        variables: Mapping[str, str],
        rebuilder_of: Callable[[Graph], Rebuilder],
        without: Collection[str] = (),
    ) -> None:
        self.root = manifest.parent
        self.loaded = load(manifest, variables, without)
        self.graph = lower(self.loaded, FRAMEWORKS, images.known())
        self._rebuilder_of = rebuilder_of
        self._judged = NOTHING

    @cached_property
    def rebuilder(self) -> Rebuilder:
        """What judges and makes the actions. Looking at the workspace alone needs none, and so no cache."""
        return self._rebuilder_of(self.graph)

    def models(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for version in self.graph.versions:
            found.setdefault(version.model, []).append(version.version)
        return found

    def environment(self, name: str | None) -> Environment:
        """The environment, with its variables put in. Refuses a bucket that is a folder with inputs in it."""
        name, given = self.loaded.environment(name)
        paths, ca_file = self.loaded.paths, None
        if given.ca_file is not None:
            ca_file = str(self.root / paths.file("", given.ca_file, self.where("environments", name, "ca_file")))
        real = bucket.real(given.bucket, self.root)
        if real is not None:
            chosen = apart.Bucket(given.bucket, real, self.where("environments", name, "bucket"))
            raise_all(ManifestError, apart.problems([chosen], paths.taken))
        return Environment(name, given.bucket, given.endpoint, given.region, ca_file, given.immutable, given.protect)

    def where(self, *path: str) -> Location:
        return self.loaded.main.where(*path)

    def desired(self, wanted: Collection[VersionId]) -> dict[VersionId, Desired]:
        return desired(self.graph, wanted, self.judged(wanted))

    def work(self, wanted: Collection[VersionId]) -> Work:
        return Work(self.graph, self.judged(wanted), self.rebuilder)

    def judged(self, wanted: Collection[VersionId]) -> Judged:
        """The verdicts on all that the versions need; those that were asked for before are not judged again."""
        found = judge(self.graph, wanted, self.rebuilder, self._judged)
        self._judged = Judged({**self._judged.verdicts, **found.verdicts}, {**self._judged.made, **found.made})
        return found

    def take_verdicts(self, earlier: PlainSource) -> None:
        """Take over the verdicts of an earlier reading on all that is the same in both."""
        found, before, now = earlier._judged, earlier.graph.actions, self.graph.actions
        same: set[str] = set()
        for id in earlier.graph.order:
            if id in found.verdicts and now.get(id) == before[id] and same.issuperset(before[id].needs):
                same.add(id)
        self._judged = Judged({i: found.verdicts[i] for i in same}, {i: a for i, a in found.made.items() if i in same})
