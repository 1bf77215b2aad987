"""What lies in the bucket and no seal speaks for: whether it is what the artifact would be."""

from __future__ import annotations

from collections.abc import Mapping

from gdcbuild.core.digest import Tree
from gdcbuild.core.ids import VersionId
from gdcbuild.core.ports import Records, Remote, RemoteObject
from gdcbuild.engine.bucket import JOBS, Observation, content
from gdcbuild.engine.parallel import each

MEMO_TABLE = "objects"


def compare(
    remote: Remote, observed: Observation, artifacts: Mapping[VersionId, Tree], memo: Records, jobs: int = JOBS
) -> Observation:
    """The observation with `unlike` filled in for the foreign and the begun versions whose artifact is known.

    Names and sizes first; what is left is read, at most once for each etag that `memo` can keep it under.
    """
    there = {**observed.foreign, **observed.left}
    known = {id: artifacts[id] for id in there if id in artifacts}
    lines = {id: _by_listing(tree, there[id], id in observed.left) for id, tree in known.items()}
    todo = [(id, path, item) for id in known if not lines[id] for path, item in there[id].items()]
    hashes = each(jobs, lambda entry: _hash(remote, entry[2], memo), todo)
    for (id, path, _), found in zip(todo, hashes, strict=True):
        if found != known[id][path].hash:
            lines[id] += (f"{path}: has other content than the artifact",)
    return observed._replace(unlike=lines)


def _by_listing(tree: Tree, found: Mapping[str, RemoteObject], begun: bool) -> tuple[str, ...]:
    """How names and sizes differ. Of what was only begun, it is no difference that something is missing."""
    lines = []
    for path in sorted(tree.keys() | found.keys()):
        if path not in tree:
            lines.append(f"{path}: is not in the artifact")
        elif path not in found:
            lines += [] if begun else [f"{path}: is missing"]
        elif found[path].size != tree[path].size:
            lines.append(f"{path}: has {found[path].size} bytes, {tree[path].size} in the artifact")
    return tuple(lines)


def _hash(remote: Remote, item: RemoteObject, memo: Records) -> str:
    """SHA-256 of an object; "" when it has gone, or was written again, since it was listed."""
    key = f"{remote.url} {item.key} {item.etag} {item.size}"
    held = memo.get(MEMO_TABLE, key) if item.etag else None
    if isinstance(held, str):
        return held
    found = content(remote, item)
    if found is None:
        return ""
    if item.etag:
        memo.put(MEMO_TABLE, key, found.hash)
    return found.hash
