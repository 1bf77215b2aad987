"""The workspace read from its files: every manifest, and every file they name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path

from gdcbuild.building.judge import NOTHING, Judged, Work, desired, judge
from gdcbuild.building.rebuilder import Rebuilder
from gdcbuild.core.graph import Graph
from gdcbuild.core.ids import VersionId
from gdcbuild.core.plan import Build, Desired
from gdcbuild.errors import Location, ManifestError, Problem, raise_all
from gdcbuild.files import bucket_url
from gdcbuild.frameworks import FRAMEWORKS, images
from gdcbuild.manifest import bucket_overlap
from gdcbuild.manifest.load import load
from gdcbuild.manifest.lower import lower_what_can_be
from gdcbuild.source.environment import Environment

_SHOWN = 5


class PlainSource:
    """A workspace, read on construction. Included manifests in `without` (paths below the root) are not read."""

    def __init__(
        self,
        manifest: Path,
        variables: Mapping[str, str],
        rebuilder_of: Callable[[Graph], Rebuilder],
        warn: Callable[[Problem], None],
        without: Collection[str] = (),
    ) -> None:
        self.root = manifest.parent
        self.loaded = load(manifest, variables, FRAMEWORKS, without)
        self.graph, self.wrong, self.unread = lower_what_can_be(self.loaded, images.known())
        self._rebuilder_of = rebuilder_of
        self._warn = warn
        self.known = NOTHING
        """The verdicts so far."""

    @cached_property
    def rebuilder(self) -> Rebuilder:
        """What judges and runs the actions. Made on first use: reading the workspace needs no cache."""
        return self._rebuilder_of(self.graph)

    def models(self, below: str = "") -> dict[str, tuple[str, ...]]:
        files = (file for file in self.loaded.files if file.path.startswith(below))
        return {model: ids for file in files for model, ids in file.versions.items()}

    def check(self, wanted: Collection[VersionId] | None) -> None:
        self.refuse(wanted)
        self.judged(self.graph.versions if wanted is None else wanted)

    def refuse(self, wanted: Collection[VersionId] | None) -> None:
        """The same for manifests and missing files only; no other file is read."""
        mistakes = self.wrong.all()
        if mistakes:
            raise_all(ManifestError, mistakes if wanted is None else self.wrong.of(map(str, wanted)))
            self._warn(_elsewhere(mistakes))

    def environment(self, name: str | None) -> Environment:
        """The environment, with its variables resolved. Refuses a local bucket that contains inputs."""
        name, given = self.loaded.environment(name)
        paths, ca_file = self.loaded.paths, None
        if given.ca_file is not None:
            ca_file = str(self.root / paths.file("", given.ca_file, self.where("environments", name, "ca_file")))
        real = bucket_url.real(given.bucket, self.root)
        if real is not None:
            chosen = bucket_overlap.Bucket(given.bucket, real, self.where("environments", name, "bucket"))
            raise_all(ManifestError, bucket_overlap.problems([chosen], paths.taken))
        return Environment(
            name, given.bucket, given.endpoint, given.region, ca_file, given.immutable, given.protect, given.clean
        )

    def where(self, *path: str) -> Location:
        return self.loaded.main.where(*path)

    def desired(self, wanted: Collection[VersionId]) -> dict[VersionId, Desired]:
        try:
            raise_all(ManifestError, self.wrong.of(map(str, wanted)))
            return desired(self.graph, wanted, self.judged(wanted))
        except ManifestError as error:
            if len(wanted) > 1:
                return {id: found for each in wanted for id, found in self.desired([each]).items()}
            first = error.problems[0]
            why = f"{first.where}: {first.message}" if first.where else first.message
            return {id: Desired(Build.BUILD, why, None) for id in wanted}

    def work(self, wanted: Collection[VersionId]) -> Work:
        raise_all(ManifestError, self.wrong.of(map(str, wanted)))
        return Work(self.graph, self.judged(wanted), self.rebuilder)

    def judged(self, wanted: Collection[VersionId]) -> Judged:
        """The verdicts on everything that the versions need. No action is judged twice."""
        found = judge(self.graph, wanted, self.rebuilder, self.known)
        self.known = Judged({**self.known.verdicts, **found.verdicts}, {**self.known.made, **found.made})
        return found

    def take_verdicts(self, earlier: PlainSource) -> None:
        """Reuse the verdicts of an earlier reading for actions that have not changed."""
        found, before, now = earlier.known, earlier.graph.actions, self.graph.actions
        same: set[str] = set()
        for id in earlier.graph.order:
            if id in found.verdicts and now.get(id) == before[id] and same.issuperset(before[id].needs):
                same.add(id)
        self.known = Judged({i: found.verdicts[i] for i in same}, {i: a for i, a in found.made.items() if i in same})


def _elsewhere(mistakes: Collection[Problem]) -> Problem:
    """The warning about mistakes that do not affect the selection."""
    lines = sorted({f"{p.where}: {p.message}" if p.where else p.message for p in mistakes})
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    message = f"{len(lines)} mistake{'s' * (len(lines) != 1)} outside the selection"
    return Problem(
        message, "no action needed now; gdcbuild validate shows how to fix them", detail="\n".join([*lines[:_SHOWN], *more])
    )
