"""Continues after a mistake, so that one run reports all of them."""

from __future__ import annotations

from types import TracebackType

from gdcbuild.errors import ManifestError, Problem, raise_all


class Mistakes:
    """Collects the problems of ManifestErrors. An error ends its `with` block, not the run."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> bool:
        if not isinstance(error, ManifestError):
            return False
        self.problems += error.problems
        return True

    def raise_all(self) -> None:
        raise_all(ManifestError, self.problems)
