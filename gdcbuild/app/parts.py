"""The parts of a project: source, cache, ports, buckets. Each is made on first use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gdcbuild.app.cache import Cache, LateRecords
from gdcbuild.core.plan import Terms
from gdcbuild.errors import ManifestError, Problem
from gdcbuild.source.environment import Environment, Variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gdcbuild.building.rebuilder import Ports, Rebuilder
    from gdcbuild.core.digest import Digest
    from gdcbuild.core.events import Event
    from gdcbuild.core.graph import Graph
    from gdcbuild.core.ports import Remote
    from gdcbuild.core.seal import Checkout
    from gdcbuild.files.read_progress import Watched
    from gdcbuild.publishing.observe import Bucket
    from gdcbuild.source.plain import PlainSource
    from gdcbuild.source.source import Source


class Parts:
    """The parts for one manifest, cache folder and set of environment variables."""

    def __init__(self, manifest: Path, cache: Path, variables: Mapping[str, str], emit: Callable[[Event], None]) -> None:
        self.emit = emit
        self._manifest = manifest
        self._cache_folder = cache
        self._environ = variables

    def source(self, believe: bool = True) -> Source:
        """The workspace as it is now. With `believe`, what has not changed since the last run is not read."""
        from gdcbuild.memory.remembered import RememberedSource

        self._renew()
        return RememberedSource(self._manifest, self._variables, self._cache_folder, self._read, self.warn, believe)

    def plain(self) -> PlainSource:
        """The workspace as it is now, read completely."""
        self._renew()
        return self._read()

    def _renew(self) -> None:
        self.__dict__.pop("_ports", None)  # which remembers earlier states of files
        self._variables = Variables(self._environ)

    def _read(self, without: Collection[str] = ()) -> PlainSource:
        from gdcbuild.source.plain import PlainSource

        return PlainSource(self._manifest, self._variables, self._rebuilder, self.warn, without)

    def warn(self, problem: Problem) -> None:
        from gdcbuild.core.events import Warned

        self.emit(Warned(problem))

    def watched(self) -> Watched:
        """What reports the progress of reading large files."""
        from gdcbuild.files.read_progress import Watch

        return Watch(self.emit).stream

    @cached_property
    def cache(self) -> Cache:
        return Cache(self._cache_folder, self.emit)

    def _rebuilder(self, graph: Graph) -> Rebuilder:
        from gdcbuild.building.rebuilder import Rebuilder

        return Rebuilder(graph, self._ports)

    @cached_property
    def _ports(self) -> Ports:
        from gdcbuild.building.rebuilder import Ports
        from gdcbuild.frameworks import FRAMEWORKS
        from gdcbuild.runners.process import LocalRunner
        from gdcbuild.runners.toolchains import VenvToolchains
        from gdcbuild.store.workspace import DiskWorkspace

        cache, locks = self.cache, self.cache.locks
        workspace = DiskWorkspace(self._manifest.parent, cache.records, self.watched())
        logs = cache.folder / "logs"
        toolchains = VenvToolchains(cache.folder / "toolchains", logs, workspace, cache.records, locks, self.emit)
        machine = DiskWorkspace(Path("/"), cache.records)
        runner = LocalRunner(cache.folder / "work", logs, self.emit, machine, self._variables)
        return Ports(cache.cas, cache.records, runner, toolchains, workspace, locks, self._variables, FRAMEWORKS)

    def checkout(self, files: Mapping[str, Digest]) -> Checkout:
        """The commit of the workspace, and which of the files match it."""
        from gdcbuild.app.commit import checkout

        return checkout(self._manifest, files, self._environ, self.warn)

    def records(self) -> LateRecords:
        return LateRecords(lambda: self.cache.records)

    def bucket(
        self, source: Source, environment: str | None, complete: bool, repair: bool = False
    ) -> tuple[Environment, Bucket]:
        """The chosen environment and its bucket. `complete` means that all versions of the manifest are looked up."""
        from gdcbuild.publishing.observe import Bucket
        from gdcbuild.remotes import remembered, waited

        chosen = source.environment(environment)
        remote = self._remote(source, chosen)

        @contextmanager
        def listing() -> Iterator[None]:
            with ExitStack() as contexts:
                if complete:
                    contexts.enter_context(remembered(remote, self._cache_folder / "listings", self.warn))
                contexts.enter_context(waited(remote, self.warn))
                yield

        terms = Terms(chosen.name, chosen.immutable, repair, chosen.clean)
        return chosen, Bucket(remote, terms, self.records(), self.watched, complete, listing)

    def _remote(self, source: Source, chosen: Environment) -> Remote:
        from gdcbuild.remotes import open_remote

        try:
            return open_remote(
                chosen.bucket,
                source.root,
                endpoint=chosen.endpoint,
                region=chosen.region,
                ca_file=Path(chosen.ca_file) if chosen.ca_file else None,
            )
        except ManifestError as error:
            where = source.where("environments", chosen.name, "bucket")
            raise ManifestError(*(p._replace(where=p.where or where) for p in error.problems)) from error
