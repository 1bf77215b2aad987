"""A reporter that keeps its events: for tests."""

from __future__ import annotations

from gdcbuild.core.events import Event


class Recorder:
    """All events, in the order they came."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        """Do nothing: there is no display."""
