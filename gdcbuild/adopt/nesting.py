"""The compound commands, followed loops and calls that a script is in, and what they make doubtful."""

from __future__ import annotations

from dataclasses import dataclass

from gdcbuild.adopt.values import Values
from gdcbuild.adopt.variables import Saved

LOOP, ROUNDS, IF, CASE, CALL, BLOCK, SUBSHELL = "a loop", "rounds", "an if", "a case", "a call", "{", "("


@dataclass(slots=True, eq=False)
class Level:
    """One of them; `doubt` says why it is not known that what is in it runs, or runs once.

    `began` is what held when it was opened, `folder` where the doubt began, `stopped` why no further round may come.
    """

    kind: str
    doubt: str
    began: Saved
    folder: str
    is_apart: bool
    moved: bool = False
    is_pattern: bool = False
    stopped: str = ""


class Nesting:
    """What is open, the outermost first. Keywords close nothing below `floor`, which was open before their body was read."""

    def __init__(self, values: Values) -> None:
        self.levels: list[Level] = []
        self.floor = 0
        self._values = values

    @property
    def kind(self) -> str:
        """Of the innermost."""
        return self.levels[-1].kind if len(self.levels) > self.floor else ""

    @property
    def is_pattern(self) -> bool:
        """Whether a pattern of a case is read."""
        return bool(self.levels) and self.levels[-1].is_pattern

    @property
    def doubt(self) -> str:
        """Why it is not known that a command here runs, and once; "" when it is."""
        return next((level.doubt for level in reversed(self.levels) if level.doubt), "")

    def open(self, kind: str, doubt: str, is_apart: bool = False) -> Level:
        """Enter one. `is_apart` is one that runs in a process of its own."""
        level = Level(kind, doubt, self._values.saved(), self._values.folder, is_apart or kind == SUBSHELL)
        self.levels.append(level)
        return level

    def branch(self) -> None:
        """Between the branches of an if or a case; each begins in the folder that the whole began in."""
        if self.kind in (IF, CASE):
            level = self.levels[-1]
            level.moved = level.moved or (bool(level.doubt) and self._values.folder != level.folder)
            if not level.doubt:  # what stands before the first `then` runs
                level.folder = self._values.folder
            level.doubt = level.kind
            self._values.folder = level.folder

    def close(self, is_apart: bool = False) -> None:
        """Leave the innermost."""
        if self.kind:
            level = self.levels.pop()
            if is_apart or level.is_apart:
                self._values.restore(level.began)
            elif level.doubt and (level.moved or self._values.folder != level.folder):
                self._values.lost(f"cd in {level.doubt}")

    def close_to(self, depth: int) -> None:
        """Leave all that was opened since there were so many."""
        while len(self.levels) > depth:
            self.close()

    def again(self, level: Level) -> None:
        """Begin another round."""
        if level.doubt and self._values.folder != level.folder:
            self._values.lost(f"cd in {level.doubt}")
        level.doubt = level.stopped

    def leave(self, how: str, count: int) -> bool:
        """A break, continue, return or exit: what it may pass over is doubtful. False if there is nothing that it leaves."""
        kinds = {"exit": (), "return": (CALL,)}.get(how, (LOOP, ROUNDS))
        target: Level | None = None
        for level in reversed(self.levels):
            if level.kind == SUBSHELL or level.kind in kinds:
                target, count = level, count - 1
            if level.kind == SUBSHELL or not count:
                break
        if target is None:
            return False
        if not target.doubt:
            target.doubt, target.folder = f"a part behind {how}", self._values.folder
        if how != "continue":
            target.stopped = target.stopped or target.doubt
        return True
