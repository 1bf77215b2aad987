"""The seams: what the engine needs of the world, each as a small Protocol.

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
    """Digest → bytes. What is in it never changes; a missing or damaged blob is made again by its action."""

    def missing(self, digests: Iterable[Digest]) -> set[Digest]:
        """Those that are not held."""
        ...

    def put(self, file: Path, digest: Digest | None = None, seen: Callable[[bytes], object] | None = None) -> Digest:
        """Take over a finished file, which may be moved away; safe when others put the same at the same time.

        `digest` is given by whoever hashed the file while writing it, and is not checked again here. Otherwise the file is
        read, and each piece goes to `seen` too.
        """
        ...

    def get(self, digest: Digest) -> Blob:
        """The blob, to be verified by whoever reads it. Raises StoreError when it is not held."""
        ...


class Records(Protocol):
    """Small JSON documents by table and key: action results and memos. A damaged record is absent."""

    def get(self, table: str, key: str) -> Any | None: ...

    def put(self, table: str, key: str, value: Any) -> None: ...


class Locks(Protocol):
    """Mutual exclusion by name, between all that share a cache: no work is done twice, no folder is worked in by two."""

    def hold(
        self, name: str, cancel: Flag | None = None, waits: Callable[[], None] | None = None
    ) -> AbstractContextManager[None]:
        """Wait until nobody else holds `name` (a plain file name), and hold it inside the context.

        `waits` is called once if that takes longer than a moment. Raises Interrupted when `cancel` is set while it waits.
        """
        ...


class Workspace(Protocol):
    """The user's files, by path relative to the workspace root. Read only."""

    def digest(self, path: str) -> Digest:
        """Digest of the file's content. Raises ManifestError when it cannot be read."""
        ...

    def slow(self, paths: Iterable[str]) -> Sequence[str]:
        """Those whose digest takes long, the longest first: it is worth it to ask for several at a time."""
        ...

    def blob(self, path: str) -> Blob:
        """The file, with the digest it has now."""
        ...

    def standin(self, path: str, named: bool = True) -> Problem | None:
        """What is wrong with a small file that only stands for another one, such as a Git LFS pointer; None when it does not.

        A DVC file whose data is beside it is one only where it is `named` by itself.
        """
        ...


class Toolchains(Protocol):
    """The Python environments user code runs in."""

    def digest(self, toolchain: Toolchain) -> str | None:
        """Digest of interpreter, platform and installed distributions; None while it has not been made."""
        ...

    def rests_on(self, toolchain: Toolchain) -> Iterable[Path]:
        """Files and folders one of which changes when the digest does, other than the workspace's."""
        ...

    def bin(self, toolchain: Toolchain) -> Path:
        """The folder of its programs, which need not have been made."""
        ...

    def contents(self, digest: str) -> Mapping[str, str]:
        """What a toolchain of that digest was made of: interpreter and each distribution, name → what of it.

        For explaining only: empty when it is not known any more.
        """
        ...

    def ensure(self, toolchain: Toolchain, cancel: Flag) -> Path:
        """Its python executable, after making the environment if need be.

        Raises ActionFailed, or Interrupted when `cancel` was set.
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

    `digests` has those of files that were hashed while they were written. `place` is in every absolute path of the folder
    that user code ran in, "" if none ran.
    """

    def __init__(self, files: Mapping[str, Path], digests: Mapping[str, Digest] | None = None, place: str = "") -> None:
        super().__init__(files)
        self.digests = dict(digests or {})
        self.place = place


class Programs(NamedTuple):
    """Programs that a command starts, name → digest of its bytes or why there is none; and where they were looked for."""

    digests: Mapping[str, str]
    looked: Sequence[Path]


class Runner(Protocol):
    """Where actions run. It knows neither keys nor caches: it lays the inputs, runs, and shows what was made."""

    def programs(self, command: str, bin: Path | None, env: Mapping[str, str]) -> Programs:
        """The program that a command's first word names, and, of a script, its interpreters.

        `bin` is where the programs of its toolchain are, None if it has none; `env` are the variables it may see. What the
        toolchain's digest covers and what is an input is left out.
        """
        ...

    def run(self, run: Run, cancel: Flag) -> AbstractContextManager[Outputs]:
        """Run the action; inside the context its outputs are there, path → file, and may be moved away.

        Raises ActionFailed, or Interrupted when `cancel` was set; BlobDamaged when an input is not what its digest says.
        """
        ...


class Framework(Hashable, Protocol):
    """All that is TensorFlow, or PyTorch: from its keys in the manifest to the check of what is published.

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
    """Raise it when `check` would now find something else: what was checked before is then checked again."""

    def version_problem(self, version: str) -> str | None:
        """Why the server would not load a version of this id, with what to write instead; None when it would."""
        ...

    def lower(self, request: VersionRequest) -> Lowered | list[Problem]:
        """The actions that make this version, or every reason why there can be none.

        The request has this framework's keys only. More than one source, or none, is for the framework to refuse.
        """
        ...

    def mistake(self, action: Action, item: Input, start: Callable[[int], bytes]) -> Problem | None:
        """What is wrong with a file that an action reads, as far as its syntax tells: where it is used does not matter.

        `start` gives so many of its first bytes. The problem's place is a line and column of it.
        """
        ...

    def check(self, artifact: Mapping[str, Blob], image: Image, policy: Policy) -> list[Problem]:
        """Everything for which the image's server would refuse the artifact, in its words, with the mend.

        What does not stop it is a Caution.

        Never imports the framework, never unpickles.
        """
        ...


class Remote(Protocol):
    """A bucket: dumb, flat, key → bytes. All meaning (versions, seals, order) is the publisher's.

    Nothing may depend on overwriting a key. Methods are safe to call from several threads.
    Errors of transport and of rights are RemoteError with what to do; a missing key is KeyError.
    """

    url: str
    """For people: "s3://NAME/PREFIX" or the folder."""

    lookups: int
    """How many lookups at a time are worth it: one where there is no network to wait for."""

    def list(self, prefix: str, after: str = "") -> Iterator[RemoteObject]:
        """Objects whose key starts with `prefix` and sorts after `after`, sorted by key in UTF-8 order."""
        ...

    def create(self, key: str, blob: Blob, progress: Callable[[int], None] | None = None) -> Stored:
        """Store a new object, verified against the blob's digest while it is read; never change one that exists.

        The object is there whole or not at all. What was there before is compared by reading it, and so is what is there
        after an answer that leaves doubt: a lost reply to our own write ends as "same". `progress` is told in bytes what
        has gone since the last call, and less than nothing when that must be sent again. Raises BlobDamaged.
        """
        ...

    def open(self, key: str, etag: str = "") -> BinaryIO:
        """Read an object. Raises KeyError when there is none, or, as far as the store tells, when it has not the `etag` given.

        Reading raises RemoteError when the rest does not come.
        """
        ...

    def delete(self, key: str, etag: str = "") -> None:
        """Remove an object, only if it still has the `etag` given (as far as the store can tell); fine when there is none."""
        ...


class Reporter(Protocol):
    """Told what happens; the engine never prints. Called from several threads."""

    def emit(self, event: Event) -> None: ...

    def close(self) -> None:
        """Put away whatever is on display."""
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
