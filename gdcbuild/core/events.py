"""What happens during a run, as data: one stream for people, machines and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gdcbuild.core.plan import Plan
from gdcbuild.errors import Problem

What = Literal["toolchain", "action", "check", "publish"]
"""The work: installing a toolchain, running an action, checking an artifact against its image, publishing it."""

Outcome = Literal["built", "cached", "created", "replaced", "repaired", "unchanged", "installed", "sound"]
"""How a job succeeded."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan is made; nothing has been done yet. `total` is the number of jobs that may follow.

    `plan` is None for a build, which looks at no bucket.
    """

    plan: Plan | None
    total: int


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A job has started."""

    job: str
    what: What


@dataclass(frozen=True, slots=True)
class JobWaiting:
    """The job waits for another process that does the same work."""

    job: str
    what: What


@dataclass(frozen=True, slots=True)
class JobFinished:
    """The job succeeded. `outcome` says how: a cached action did not run, an unchanged version wrote nothing.

    `log` is the file with the output of user code, or "".
    """

    job: str
    what: What
    outcome: Outcome
    seconds: float
    log: str = ""


@dataclass(frozen=True, slots=True)
class JobFailed:
    """The job failed; what depends on it does not run."""

    job: str
    what: What
    problems: tuple[Problem, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class JobSkipped:
    """The job was not tried, because it needs the job `because`, which failed."""

    job: str
    because: str


@dataclass(frozen=True, slots=True)
class JobNotStarted:
    """The job was not tried, because another job failed before its turn."""

    job: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a long upload, in bytes."""

    job: str
    sent: int
    total: int


@dataclass(frozen=True, slots=True)
class Reading:
    """Progress of reading a large file, in bytes: by the action `job`, or for its digest if that is ""."""

    job: str
    path: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning that does not stop the run."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Summed:
    """The end: how many actions ran, versions were published, objects were written, and jobs failed."""

    actions: int
    published: int
    objects: int
    failed: int
    seconds: float


Event = (
    Planned
    | JobStarted
    | JobWaiting
    | JobFinished
    | JobFailed
    | JobSkipped
    | JobNotStarted
    | Progress
    | Reading
    | Warned
    | Summed
)
