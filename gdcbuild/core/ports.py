"""The ports: what the engine needs from outside, each as a small Protocol.

Every port has an implementation in memory or a plain fake, and one conformance suite in tests/conformance.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

from gdcbuild.core.digest import Blob, Digest
from gdcbuild.core.ids import VersionId
from gdcbuild.core.objects import RemoteObject, Stored

if TYPE_CHECKING:
    from gdcbuild.core.events import Event
    from gdcbuild.core.graph import Action, Image, Input, Policy, Toolchain
    from gdcbuild.core.keys import ChoiceKey, Key
    from gdcbuild.core.request import Lowered, VersionRequest
    from gdcbuild.errors import Problem


class CAS(Protocol):
    """Digest → bytes. Its contents never change; a missing or damaged blob is built again by its action."""

    def missing(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are not stored."""
        ...

    def put(self, file: Path, digest: Digest | None = None, seen: Callable[[bytes], object] | None = None) -> Digest:
        """Store a finished file, which may be moved away; safe if others store the same at the same time.

        `digest` is for callers that hashed the file while writing it; it is not checked again. Otherwise the file is
        read, and each piece is passed to `seen` too.
        """
        ...

    def get(self, digest: Digest) -> Blob:
        """The blob; its reader verifies it. Raises StoreError if it is not stored."""
        ...


class Records(Protocol):
    """Small JSON documents by table and key: action results and memos. A damaged record is absent."""

    def get(self, table: str, key: str) -> Any | None: ...

    def put(self, table: str, key: str, value: Any) -> None: ...


class Locks(Protocol):
    """Mutual exclusion by name between all users of a cache: no work is done twice, and no two runs use one folder."""

    def hold(
        self, name: str, cancel: Flag | None = None, waits: Callable[[], None] | None = None
    ) -> AbstractContextManager[None]:
        """Wait until nobody else holds `name` (a plain file name); hold it inside the context.

        `waits` is called once if that takes longer than a moment. Raises Interrupted if `cancel` is set meanwhile.
        """
        ...


class Workspace(Protocol):
    """The user's files, by path relative to the workspace root. Read-only."""

    def digest(self, path: str) -> Digest:
        """Digest of the file's content. Raises ManifestError when it cannot be read."""
        ...

    def slow(self, paths: Iterable[str]) -> Sequence[str]:
        """Those whose digest takes long, the longest first: hash several at a time."""
        ...

    def blob(self, path: str) -> Blob:
        """The file, with the digest it has now."""
        ...

    def standin(self, path: str, named: bool = True) -> Problem | None:
        """The problem with a small file that is a placeholder, such as a Git LFS pointer; None if it is not one.

        A DVC file with its data beside it is one only if the manifest names it (`named`).
        """
        ...


class Toolchains(Protocol):
    """The Python environments user code runs in."""

    def digest(self, toolchain: Toolchain) -> str | None:
        """Digest of interpreter, platform and installed distributions; None until it is installed."""
        ...

    def rests_on(self, toolchain: Toolchain) -> Iterable[Path]:
        """Files and folders outside the workspace, one of which changes when the digest does."""
        ...

    def bin(self, toolchain: Toolchain) -> Path:
        """The folder of its programs, which may not exist yet."""
        ...

    def contents(self, digest: str) -> Mapping[str, str]:
        """The contents of a toolchain of that digest: interpreter and each distribution, name → version.

        For `explain` only: empty if no longer known.
        """
        ...

    def ensure(self, toolchain: Toolchain, cancel: Flag) -> Path:
        """Its Python executable, after installing the environment if necessary.

        Raises ActionFailed, or Interrupted if `cancel` was set.
        """
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an action: `inputs` are path in the action's folder → blob; `python` the toolchain's, if any."""

    action: Action
    key: str
    inputs: Mapping[str, Blob]
    python: Path | None
    env: Mapping[str, str]


class Outputs(dict[str, Path]):
    """What an action made, path → file.

    `digests` has those of files that were hashed while they were written. `place` is part of every absolute path in the folder
    that user code ran in, or "" if none ran.
    """

    def __init__(self, files: Mapping[str, Path], digests: Mapping[str, Digest] | None = None, place: str = "") -> None:
        super().__init__(files)
        self.digests = dict(digests or {})
        self.place = place


class Programs(NamedTuple):
    """Programs that a command starts, name → digest of its bytes or why there is none; and the paths that were tried."""

    digests: Mapping[str, str]
    looked: Sequence[Path]


class Runner(Protocol):
    """Runs actions. Knows neither keys nor caches: places the inputs, runs, and shows the outputs."""

    def programs(self, command: str, bin: Path | None, env: Mapping[str, str]) -> Programs:
        """The program that a command's first word names, and, of a script, its interpreters.

        `bin` is where the programs of its toolchain are, None if it has none; `env` are the variables it may see. Leaves out
        inputs and what the toolchain's digest covers.
        """
        ...

    def run(self, run: Run, cancel: Flag) -> AbstractContextManager[Outputs]:
        """Run the action; inside the context its outputs are there, path → file, and may be moved away.

        Raises ActionFailed, or Interrupted when `cancel` was set; BlobDamaged when an input is not what its digest says.
        """
        ...


class Framework(Hashable, Protocol):
    """Everything specific to TensorFlow or PyTorch: from its keys in the manifest to the check of what is published.

    Keys of one name in several frameworks have one shape. Planning imports neither TensorFlow nor PyTorch.
    """

    kind: str
    """What the manifest calls it, as in `defaults`: "tensorflow"."""

    title: str
    """What people call it: "TensorFlow"."""

    entry: str
    """The file whose presence makes a server load a version."""

    sources: Sequence[Key[Any]]
    """Keys that give what a version is made from: a FileKey, a FolderKey or an ExportKey each."""

    keys: Sequence[Key[Any]]
    """All other keys of a version."""

    policy: Sequence[ChoiceKey]
    """Keys of the manifest's `policy`, each with a default."""

    check_version: int
    """Raise it when `check` would find something else: earlier results are then checked again."""

    def version_problem(self, version: str) -> str | None:
        """Why the server would not load a version with this id, and what to write instead; None if it would."""
        ...

    def lower(self, request: VersionRequest) -> Lowered | list[Problem]:
        """The actions that make this version, or every problem that prevents it.

        The request has this framework's keys only. More than one source, or none, is for the framework to refuse.
        """
        ...

    def mistake(self, action: Action, item: Input, start: Callable[[int], bytes]) -> Problem | None:
        """The syntax error in a file that an action reads, wherever it is used, or None.

        `start(n)` gives its first n bytes. The problem's place is a line and column in it.
        """
        ...

    def check(self, artifact: Mapping[str, Blob], image: Image, policy: Policy) -> list[Problem]:
        """Everything for which the image's server would refuse the artifact, with what to do.

        What does not stop the server is a Caution.

        Never imports the framework, never unpickles.
        """
        ...


class Remote(Protocol):
    """A bucket: flat, key → bytes. Only the publisher knows about versions, seals and order.

    Nothing may depend on overwriting a key. Methods are safe to call from several threads.
    Errors of transport and permission are RemoteError with what to do; a missing key is KeyError.
    """

    url: str
    """For people: "s3://NAME/PREFIX" or the folder."""

    lookups: int
    """How many lookups to run at a time: one if there is no network to wait for."""

    def list(self, prefix: str, after: str = "") -> Iterator[RemoteObject]:
        """Objects whose key starts with `prefix` and sorts after `after`, sorted by key in UTF-8 order."""
        ...

    def create(self, key: str, blob: Blob, progress: Callable[[int], None] | None = None) -> Stored:
        """Store a new object, verified against the blob's digest while it is read; never change one that exists.

        The object is there whole or not at all. What was there before is read and compared, and so is what is there
        after an unclear answer: a lost reply to our own write ends as "same". `progress` gets the bytes sent since the
        last call, a negative number if they must be sent again. Raises BlobDamaged.
        """
        ...

    def open(self, key: str, etag: str = "") -> BinaryIO:
        """Read an object. Raises KeyError if there is none, or if its etag is not `etag`, as far as the store tells.

        Reading raises RemoteError if the connection breaks.
        """
        ...

    def delete(self, key: str, etag: str = "") -> None:
        """Delete an object, only if it still has `etag` (as far as the store can tell); fine if there is none."""
        ...


class Reporter(Protocol):
    """Receives events; the engine never prints. Called from several threads."""

    def emit(self, event: Event) -> None: ...

    def close(self) -> None:
        """Clear the display."""
        ...


__all__ = [
    "CAS",
    "Flag",
    "Framework",
    "Locks",
    "Outputs",
    "Programs",
    "Records",
    "Remote",
    "RemoteObject",
    "Reporter",
    "Run",
    "Runner",
    "Stored",
    "Toolchains",
    "VersionId",
    "Workspace",
]
