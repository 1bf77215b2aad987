"""Runners and toolchains without processes: for tests, and as the simplest implementation of the ports."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from gdcbuild.core.graph import Toolchain
from gdcbuild.core.ports import Flag, Outputs, Programs, Run
from gdcbuild.errors import ActionFailed, Interrupted, Problem
from gdcbuild.files.content import read_verified

Work = Callable[[Run, Mapping[str, bytes]], Mapping[str, bytes]]
"""What an action does: the run and its inputs, path → bytes, to its outputs, path → bytes."""


class MemoryRunner:
    """Runs the function registered for an action's kind, in this process. `ran` has the ids of the actions that were started.

    `installed` are the programs that commands may name, with their digests.
    """

    def __init__(self, work: Mapping[str, Work]) -> None:
        self._work = dict(work)
        self.ran: list[str] = []
        self.installed: dict[str, str] = {}

    def programs(self, command: str, bin: Path | None, env: Mapping[str, str]) -> Programs:  # noqa: ARG002 - as the port has it
        return Programs({command: self.installed[command]} if command in self.installed else {}, ())

    @contextmanager
    def run(self, run: Run, cancel: Flag) -> Iterator[Outputs]:
        if cancel.is_set():
            raise Interrupted(Problem("interrupted"))
        work = self._work.get(run.action.kind)
        if work is None:
            raise ActionFailed(Problem(f"nothing is registered for the kind {run.action.kind!r}", "", run.action.where))
        inputs = {path: read_verified(blob) for path, blob in run.inputs.items()}
        self.ran.append(run.action.id)
        made = work(run, inputs)
        with tempfile.TemporaryDirectory() as folder:
            outputs = {path: Path(folder, path) for path in sorted(made)}
            for path, file in outputs.items():
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(made[path])
            yield Outputs(outputs)


class FixedToolchains:
    """Toolchains by name, each with a given digest; installed on first use. `installed` has their names."""

    def __init__(self, digests: Mapping[str, str]) -> None:
        self.digests = dict(digests)
        self.installed: list[str] = []

    def digest(self, toolchain: Toolchain) -> str | None:
        if toolchain.requirements is None or toolchain.name in self.installed:
            return self.digests.get(toolchain.name, "the interpreter")
        return None

    def rests_on(self, toolchain: Toolchain) -> list[Path]:  # noqa: ARG002 - the port's signature
        return []

    def bin(self, toolchain: Toolchain) -> Path:  # noqa: ARG002 - the port's signature
        return Path(sys.executable).parent

    def contents(self, digest: str) -> Mapping[str, str]:
        """The contents of a digest of `NAME=VALUE` words; empty for any other."""
        return dict(word.split("=", 1) for word in digest.split() if "=" in word)

    def ensure(self, toolchain: Toolchain, cancel: Flag) -> Path:
        if cancel.is_set():
            raise Interrupted(Problem("interrupted"))
        if toolchain.requirements is not None and toolchain.name not in self.installed:
            if toolchain.name not in self.digests:
                raise ActionFailed(Problem(f"the toolchain {toolchain.name} cannot be installed", "", toolchain.where))
            self.installed.append(toolchain.name)
        return Path(sys.executable)
