"""Read progress is reported at most so often, and to the end once it was reported."""

from __future__ import annotations

from io import BytesIO

import pytest

from gdcbuild.core.events import Event, Reading
from gdcbuild.files import read_progress


class Clock:
    """A clock set by the test."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(read_progress, "time", clock)
    return clock


def test_quick_reads_are_not_reported(clock: Clock) -> None:
    told: list[Event] = []
    found = read_progress.Watch(told.append)
    for name in "abc":
        stream = found.stream(name, 4, BytesIO(b"1234"))
        assert stream.read(2) + stream.read() == b"1234"
    assert told == []


def test_progress_is_reported_at_most_so_often_and_at_the_end(clock: Clock) -> None:
    told: list[Event] = []
    with read_progress.Watch(told.append, "m@1").stream("w.pt", 6, BytesIO(b"123456")) as stream:
        for _ in range(3):
            clock.now += read_progress.EVERY * 0.7
            stream.read(2)
    assert told == [Reading("m@1", "w.pt", 4, 6), Reading("m@1", "w.pt", 6, 6)]
    assert stream.closed


def test_many_files_share_one_interval(clock: Clock) -> None:
    told: list[Event] = []
    found = read_progress.Watch(told.append)
    for name in "abcd":
        clock.now += read_progress.EVERY * 0.6
        found.counter(name, 9)(b"1")
    assert told == [Reading("", "b", 1, 9), Reading("", "d", 1, 9)]


def test_whoever_sees_may_stop_the_reading() -> None:
    def stop(_: bytes) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        read_progress.shown(BytesIO(b"1"), stop).read()
