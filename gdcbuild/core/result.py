"""The result of an action: recorded in the action cache under the action's key, last of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gdcbuild.core.digest import Tree

RESULT_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The artifact of one action, and how long the run took (seconds).

    `bound` are its files that contain the path of their working folder: another cache folder gives other bytes.
    """

    tree: Tree
    seconds: float = 0.0
    bound: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        found = {"schema": RESULT_SCHEMA, "tree": self.tree.to_json(), "seconds": round(self.seconds, 3)}
        return {**found, "bound": list(self.bound)} if self.bound else found

    @classmethod
    def from_json(cls, data: Any) -> ActionResult | None:
        """None if the record has another schema or is not a record: a miss, never an error."""
        try:
            if data["schema"] != RESULT_SCHEMA:
                return None
            return cls(Tree.from_json(data["tree"]), float(data["seconds"]), tuple(map(str, data.get("bound", ()))))
        except (KeyError, TypeError, ValueError):
            return None
