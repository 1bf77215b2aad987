"""Which parts of a snapshot are still valid, and the parts for the next one."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gdcbuild import __version__
from gdcbuild.core.digest import Digest, Tree
from gdcbuild.core.plan import Build, Desired
from gdcbuild.files.memo import RACY_NS
from gdcbuild.memory.snapshot import Part, Rows, Snapshot, stamp

if TYPE_CHECKING:
    from gdcbuild.building.judge import Judged
    from gdcbuild.core.graph import Action, Graph
    from gdcbuild.core.ids import VersionId


def basis(cache: Path, variables: Mapping[str, str | None]) -> str:
    """A digest of what a snapshot depends on besides the workspace's files: gdcbuild, Python, variables, and the cache."""
    package = Path(__file__).parent.parent
    code = sorted(_code(package))
    try:
        inode = (cache / "records" / "cache.db").stat().st_ino
    except OSError:
        inode = 0
    text = json.dumps([__version__, stamp(package, code).digest, sys.version, sys.prefix, inode, variables])
    return hashlib.sha256(text.encode()).hexdigest()


def _code(package: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(package):
        if "__pycache__" in folders:
            folders.remove("__pycache__")
        yield from (f"{folder}/{name}" for name in files if name.endswith((".py", ".json")))


class Held:
    """A snapshot, and which of its parts are still valid. `root` is the workspace's."""

    def __init__(self, snapshot: Snapshot, root: Path) -> None:
        self.snapshot = snapshot
        self._root = root
        self._sound: dict[str, bool] = {}
        self._desired: dict[str, dict[str, Desired]] = {}

    def closure(self, models: Iterable[str]) -> dict[str, Part | None]:
        """The parts of these models and of everything they depend on; None for parts that are not in the snapshot."""
        found: dict[str, Part | None] = {}
        stack = list(models)
        while stack:
            name = stack.pop()
            if name not in found:
                part = found[name] = self.snapshot.part(name)
                stack += part.needs if part is not None else ()
        return found

    def desired(self, models: Iterable[str]) -> dict[str, dict[str, Desired]]:
        """For each model that has not changed: version id → the desired state. Each model is checked once."""
        return {model: found for model in models if (found := self._desired_of(model)) is not None}

    def _desired_of(self, model: str) -> dict[str, Desired] | None:
        if model in self._desired:
            return self._desired[model]
        part = self.snapshot.part(model) if self._sound.get(model, True) else None
        if part is not None and model not in self._sound:
            self._sound[model] = self._holds(part) and all(self._is_sound(name, self._sound) for name in part.needs)
        if part is None or not self._sound[model]:
            return None
        self._desired[model] = {
            version: Desired(Build(how), "", Tree.from_json(rows, Digest(*digest))) for version, how, digest, rows in part.rows
        }
        return self._desired[model]

    def _holds(self, part: Part) -> bool:
        return stamp(self._root, part.paths).digest == part.stamp

    def _is_sound(self, name: str, sound: dict[str, bool]) -> bool:
        """Whether this part and everything it needs are unchanged; `sound` records this for each part checked."""
        needs: dict[str, tuple[str, ...]] = {}  # of parts that wait for those above them on the stack
        stack = [name]
        while stack:
            top = stack[-1]
            if top not in sound and top not in needs:
                part = self.snapshot.part(top)
                if part is not None and self._holds(part):
                    needs[top] = tuple(part.needs)
                else:
                    sound[top] = False
            if top in sound:
                stack.pop()
            elif not all(sound.get(n, True) for n in needs[top]):
                sound[top] = False
            elif waiting := [n for n in needs[top] if n not in sound and n not in needs]:
                stack += waiting
            else:
                sound[top] = True
        return sound[name]


def parts(
    graph: Graph, judged: Judged, rests_on: Callable[[Action], Iterable[Path]], root: Path, started: int
) -> Iterator[tuple[str, Part]]:
    """The models and steps whose results are all known, and whose files have not changed since `started` (ns since 1970).

    `rests_on` gives the files outside the workspace that an action's key depends on.
    """
    from gdcbuild.core.graph import SourceFile, owner
    from gdcbuild.core.verdict import Taken

    actions: dict[str, list[str]] = {}
    for action in judged.verdicts:
        actions.setdefault(owner(action), []).append(action)
    versions: dict[str, list[VersionId]] = {}
    for id in graph.versions:
        versions.setdefault(id.model, []).append(id)
    for name, ids in actions.items():
        if not judged.made.keys() >= {*ids, *(graph.versions[id].action for id in versions.get(name, ()))}:
            continue
        paths = {graph.origins[name].manifest, *graph.origins[name].looked}
        needs = set()
        for item in map(graph.actions.__getitem__, ids):
            paths |= {i.origin.path for i in item.inputs if isinstance(i.origin, SourceFile)}
            needs |= {owner(n) for n in item.needs}
            paths.update(map(str, rests_on(item)))
        rows: Rows = []
        for id in versions.get(name, ()):
            action_id = graph.versions[id].action
            taken = isinstance(judged.verdicts[action_id], Taken)
            tree = judged.made[action_id].tree
            rows.append((id.version, Build.SOURCE if taken else Build.CACHED, tree.digest, tree.to_json()))
        seen = stamp(root, ordered := sorted(paths))
        if seen.newest <= started - RACY_NS:
            yield name, Part(graph.origins[name].manifest, tuple(ordered), seen.digest, tuple(sorted(needs - {name})), rows)
