"""Judges one action: computes its key, looks up its result, and, if there is none, builds and records it.

Constructive traces: the action cache maps a key to the resulting tree, and the CAS has the bytes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gdcbuild.building.artifacts import Artifact, Origin, inputs_of
from gdcbuild.core.digest import Digest, Tree
from gdcbuild.core.graph import Action, Command, Files, Graph
from gdcbuild.core.key import PROGRAM, Difference, Key, differences, key_of
from gdcbuild.core.ports import CAS, Flag, Framework, Locks, Outputs, Programs, Records, Run, Runner, Toolchains, Workspace
from gdcbuild.core.result import ActionResult
from gdcbuild.core.verdict import Hit, Miss, Taken, Unknown, Verdict
from gdcbuild.errors import ActionFailed, Location, Problem
from gdcbuild.files.content import Search

Outcome = Literal["built", "cached"]

_WIDE = ("utf-16-le", "utf-16-be")
"""Encodings in which a tool may write a path, besides the file system's."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports needed to judge and build. `variables` is gdcbuild's own environment."""

    cas: CAS
    records: Records
    runner: Runner
    toolchains: Toolchains
    workspace: Workspace
    locks: Locks
    variables: Mapping[str, str]
    frameworks: Mapping[str, Framework]


class Rebuilder:
    """Rebuilder of one graph. Safe to use from several threads."""

    def __init__(self, graph: Graph, ports: Ports) -> None:
        self._graph = graph
        self.ports = ports

    def judge(self, action: Action, made: Mapping[str, Artifact]) -> tuple[Verdict, Artifact | None]:
        """The verdict on an action, and its artifact if that is known without building. Runs nothing.

        `made` has the artifacts known so far; an action that needs another one is unknown until that is built.
        """
        for need in action.needs:
            if need not in made:
                return Unknown(need, f"known only after {need} is built"), None
        inputs = inputs_of(action, made, self.ports.workspace)
        if isinstance(action.run, Files):
            return Taken(inputs.tree), inputs
        toolchain = self._toolchain(action)
        if action.toolchain is not None and toolchain is None:
            return Unknown(action.toolchain, f"its toolchain {action.toolchain} is not installed yet"), None
        key = self.key(action, inputs, toolchain)
        result = self._result(key)
        if result is not None:
            made_from = _origin(action, key, inputs)
            return Hit(key, result.tree, result.bound), Artifact(result.tree, made_from=made_from, bound=result.bound)
        return Miss(key, self._why(action, key)), None

    def key(self, action: Action, inputs: Artifact, toolchain: str | None) -> Key:
        programs = self._programs(action).digests
        return key_of(action, inputs.tree, toolchain, self._variables(action), inputs.origins, programs)

    def rests_on(self, action: Action) -> Iterator[Path]:
        """Files and folders outside the workspace, one of which changes when the action's key does."""
        if action.toolchain is not None:
            yield from self.ports.toolchains.rests_on(self._graph.toolchains[action.toolchain])
        yield from self._programs(action).looked

    def explain(self, action: Action, key: Key) -> list[Difference] | None:
        """The differences from the last result of this action; None if there is none."""
        last = self._last(action)
        return None if last is None else differences(last, key, self.ports.toolchains.contents)

    def make(
        self, action: Action, made: Mapping[str, Artifact], cancel: Flag, waits: Callable[[], None]
    ) -> tuple[Artifact, Outcome]:
        """The action's artifact with all its bytes: from the cache, or by running it now.

        `waits` is called if another process is running it. Raises ActionFailed, and records nothing then.
        """
        if isinstance(action.run, Files):
            return inputs_of(action, made, self.ports.workspace), "cached"
        inputs = inputs_of(action, made, self.ports.workspace)
        toolchain = self._toolchain(action)
        if action.toolchain is None or toolchain is not None:
            key = self.key(action, inputs, toolchain)
            found = self._at_hand(action, key, inputs)
            if found is not None:
                self._remember(action, key)
                return found, "cached"
        python: Path | None = None
        if action.toolchain is not None:
            python = self.ports.toolchains.ensure(self._graph.toolchains[action.toolchain], cancel)
        key = self.key(action, inputs, self._toolchain(action))  # known only now, if the toolchain is new
        with self.ports.locks.hold(key.hash, cancel, waits):
            found = self._at_hand(action, key, inputs)
            if found is None:
                return self._run(action, key, inputs, python, cancel), "built"
        self._remember(action, key)
        return found, "cached"

    def expected(self, action: Action) -> float:
        """The expected run time in seconds: that of the last run, or 1 if unknown."""
        last = self._last(action)
        result = None if last is None else self._result(last)
        return 1.0 if result is None else result.seconds

    def prepare(self, name: str, cancel: Flag) -> None:
        """Install the toolchain of that name, unless it is installed. Raises ActionFailed, or Interrupted."""
        self.ports.toolchains.ensure(self._graph.toolchains[name], cancel)

    def lacks(self, action: Action) -> bool:
        """True if the action's toolchain was never installed, so that its key is unknown."""
        return action.toolchain is not None and self._toolchain(action) is None

    def _run(self, action: Action, key: Key, inputs: Artifact, python: Path | None, cancel: Flag) -> Artifact:
        ports = self.ports
        started = time.monotonic()
        run = Run(action, key.hash, inputs.blobs(ports.cas, ports.workspace), python, self._variables(action))
        try:
            with ports.runner.run(run, cancel) as outputs:
                _check_outputs(action, outputs)
                tree, bound = self._kept(outputs)
        finally:
            # a result of other inputs would be stored under a wrong key; and a changed input is the likely cause of a failure
            self._refuse_changed(action, key, inputs)
        result = ActionResult(tree, time.monotonic() - started, bound)
        ports.records.put("result", key.hash, result.to_json())
        self._remember(action, key)
        return Artifact(tree, made_from=_origin(action, key, inputs), bound=bound)

    def _kept(self, outputs: Outputs) -> tuple[Tree, tuple[str, ...]]:
        """Store the outputs. Returns their tree, and which of them contain the path of their working folder."""
        files: dict[str, Digest] = {}
        bound = []
        for path, file in outputs.items():
            place = Search(os.fsencode(outputs.place), *(outputs.place.encode(form, "surrogatepass") for form in _WIDE))
            files[path] = self.ports.cas.put(file, outputs.digests.get(path), place.look if outputs.place else None)
            if place.found:
                bound.append(path)
        return Tree(files), tuple(bound)

    def _at_hand(self, action: Action, key: Key, inputs: Artifact) -> Artifact | None:
        result = self._result(key)
        if result is None:
            return None
        artifact = Artifact(result.tree, made_from=_origin(action, key, inputs), bound=result.bound)
        return artifact if artifact.held(self.ports.cas) else None

    def _result(self, key: Key) -> ActionResult | None:
        return ActionResult.from_json(self.ports.records.get("result", key.hash))

    def _toolchain(self, action: Action) -> str | None:
        if action.toolchain is None:
            return None
        try:
            return self.ports.toolchains.digest(self._graph.toolchains[action.toolchain])
        except ActionFailed as error:
            raise ActionFailed(*(p._replace(where=p.where or action.where) for p in error.problems)) from error

    def _programs(self, action: Action) -> Programs:
        if not isinstance(action.run, Command):
            return Programs({}, ())
        name = action.toolchain
        bin = None if name is None else self.ports.toolchains.bin(self._graph.toolchains[name])
        return self.ports.runner.programs(action.run.argv[0], bin, self._variables(action))

    def _refuse_changed(self, action: Action, key: Key, inputs: Artifact) -> None:
        """Raise ActionFailed if a file or program in the key has changed."""
        inputs.refuse_changed(self.ports.workspace, f"{action.id} ran", action.where)
        before = {name: digest for name, digest in key.ingredients.items() if name.startswith(PROGRAM)}
        now = {f"{PROGRAM}{name}": digest for name, digest in self._programs(action).digests.items()}
        if before != now:
            message = f"{', '.join(before | now)} changed while {action.id} ran; the result is discarded"
            raise ActionFailed(Problem(message, "run the command again", action.where))

    def _variables(self, action: Action) -> dict[str, str]:
        return {name: self.ports.variables[name] for name in action.env if name in self.ports.variables}

    def _last(self, action: Action) -> Key | None:
        return Key.from_json(self.ports.records.get("last", self._memo(action)))

    def _memo(self, action: Action) -> str:
        return f"{self._graph.name} {action.id}"

    def _remember(self, action: Action, key: Key) -> None:
        """Record the ingredients of the last result, to explain the next rebuild."""
        last = self._last(action)
        if last != key:
            self.ports.records.put("last", self._memo(action), key.to_json())

    def _why(self, action: Action, key: Key) -> str:
        """One line: the reason for a rebuild."""
        found = self.explain(action, key)
        if found is None:
            return "not built yet"
        if not found:
            return "its result is no longer in the cache"
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return f"{found[0]}{more}"


def _origin(action: Action, key: Key, inputs: Artifact) -> Origin:
    """What the result of a key was made from."""
    return inputs.made_from._replace(key=key.hash if action.is_pure else "")


def _check_outputs(action: Action, outputs: Mapping[str, Path]) -> None:
    """Refuse outputs that are missing or not declared."""
    where: Location | None = action.where
    if action.outputs is None:
        if not outputs:
            hint = "return the model, or write it to the folder passed as `export_dir`, and do not end the process"
            raise ActionFailed(Problem(f"{action.id} made nothing", hint, where))
        return
    listed = ", ".join(list(outputs)[:8]) or "nothing"
    declared, made = set(action.outputs), {*outputs, *(folder for path in outputs for folder in _folders(path))}
    problems = [
        Problem(f"{action.id} did not make {wanted!r}", f"it made {listed}; write it to ${{out}}", where)
        for wanted in action.outputs
        if wanted not in made
    ]
    problems += [
        Problem(f"{action.id} made {path!r}, which it does not declare", f"add it: outputs: [{path}]", where)
        for path in outputs
        if path not in declared and declared.isdisjoint(_folders(path))
    ]
    if problems:
        raise ActionFailed(*problems)


def _folders(path: str) -> list[str]:
    """Every folder that contains the path, with a "/" at its end, as it is declared."""
    return [path[: end + 1] for end, c in enumerate(path) if c == "/"]
