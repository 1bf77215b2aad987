"""Each suite finds out an implementation that is wrong in one place, so passing it means something."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from gdcbuild.core.digest import Blob, BytesBlob, Digest
from gdcbuild.core.events import Event, JobFailed
from gdcbuild.core.graph import Toolchain
from gdcbuild.core.ports import Flag, Outputs, Run, Stored
from gdcbuild.core.request import Lowered, VersionRequest
from gdcbuild.errors import Problem
from gdcbuild.frameworks.tensorflow.rules import TensorFlow
from gdcbuild.remotes.memory import MemoryRemote
from gdcbuild.report.memory import Recorder
from gdcbuild.runners.memory import FixedToolchains, MemoryRunner
from gdcbuild.store.memory import MemoryCAS, MemoryRecords, MemoryWorkspace
from tests.conformance import (
    test_cas,
    test_framework,
    test_locks,
    test_records,
    test_remote,
    test_reporter,
    test_runner,
    test_toolchains,
    test_workspace,
)


class OtherBytes(MemoryCAS):
    """Returns the bytes of whatever was put last."""

    def __init__(self) -> None:
        super().__init__()
        self._last = Digest.of(b"")

    def put(self, file: Path, digest: Digest | None = None, seen: Callable[[bytes], object] | None = None) -> Digest:
        self._last = super().put(file, digest, seen)
        return self._last

    def get(self, digest: Digest) -> Blob:
        super().get(digest)
        return super().get(self._last)


class ForgetsTables(MemoryRecords):
    def get(self, table: str, key: str) -> Any | None:
        return super().get("", key)

    def put(self, table: str, key: str, value: Any) -> None:
        super().put("", key, value)


class NeverLooksAgain(MemoryWorkspace):
    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, Blob] = {}

    def blob(self, path: str) -> Blob:
        return self._seen.setdefault(path, super().blob(path))


class NoLocks:
    def hold(
        self, name: str, cancel: Flag | None = None, waits: Callable[[], None] | None = None
    ) -> AbstractContextManager[None]:
        return nullcontext()


class BelievesItsInputs(MemoryRunner):
    """Reads what an input holds without comparing it with the digest."""

    @contextmanager
    def run(self, run: Run, cancel: Flag) -> Iterator[Outputs]:
        inputs = {path: BytesBlob(blob.open().read()) for path, blob in run.inputs.items()}
        with super().run(Run(run.action, run.key, inputs, run.python, run.env), cancel) as outputs:
            yield outputs


class KnowsBeforehand(FixedToolchains):
    """Tells the digest of what is not installed."""

    def digest(self, toolchain: Toolchain) -> str | None:
        return self.digests.get(toolchain.name, "the interpreter")


class SilentOnFailure(Recorder):
    def emit(self, event: Event) -> None:
        if not isinstance(event, JobFailed):
            super().emit(event)


class Undecided(TensorFlow):
    """Lowers one request now so, now otherwise."""

    def lower(self, request: VersionRequest) -> Lowered | list[Problem]:
        found = super().lower(request)
        if isinstance(found, list):
            return found
        action = found.final
        inputs = list(action.inputs)
        random.shuffle(inputs)
        return Lowered((type(action)(action.id, action.kind, action.run, tuple(inputs), {"chosen": random.random()}),))


class Overwrites(MemoryRemote):
    def create(self, key: str, blob: Blob, progress: Callable[[int], None] | None = None) -> Stored:
        self.delete(key)
        return super().create(key, blob, progress)


def _workspace() -> test_workspace.Place:
    wrong = NeverLooksAgain()
    return test_workspace.Place(wrong, wrong.files.__setitem__)


def _runner() -> test_runner.Lab:
    return test_runner.Lab(BelievesItsInputs({name: work for name, (_, work) in test_runner.PROGRAMS.items()}), list)


def _toolchains() -> test_toolchains.Lab:
    wrong = KnowsBeforehand({"six.txt": "digest of six"})
    return test_toolchains.Lab(lambda: wrong)


def _reporter() -> test_reporter.Ear:
    wrong = SilentOnFailure()
    return test_reporter.Ear(wrong, lambda: " ".join(f"{type(e).__name__} {e}" for e in wrong.events))


CAUGHT: dict[str, Callable[[Path], None]] = {
    "CAS": lambda folder: test_cas.test_each_keeps_its_own_bytes(OtherBytes(), folder),
    "Records": lambda _: test_records.test_the_last_one_counts(ForgetsTables()),
    "Workspace": lambda _: test_workspace.test_a_change_is_seen(_workspace()),
    "Locks": lambda _: test_locks.test_one_at_a_time_holds_a_name(NoLocks()),
    "Runner": lambda _: test_runner.test_an_input_of_other_bytes_is_refused(_runner()),
    "Toolchains": lambda _: test_toolchains.test_installed_once_and_known_from_then_on(_toolchains()),
    "Reporter": lambda _: test_reporter.test_finished_jobs_are_reported(_reporter(), "failed"),
    "Framework": lambda _: test_framework.test_lowering_is_a_function_of_the_request(
        test_framework.Sample(Undecided(), test_framework.SAMPLES["tensorflow"].good)
    ),
    "Remote": lambda _: test_remote.test_create_never_changes_what_exists(Overwrites(), 5),
}


@pytest.mark.parametrize("port", CAUGHT)
def test_a_wrong_implementation_is_detected(port: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        CAUGHT[port](tmp_path)


def test_every_port_has_a_wrong_implementation() -> None:
    from gdcbuild.core import ports

    names = {
        name
        for name, found in vars(ports).items()
        if getattr(found, "_is_protocol", False) and found.__module__ == ports.__name__
    }
    assert names == set(CAUGHT)
