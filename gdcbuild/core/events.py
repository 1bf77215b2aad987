"""What happens during a run, as data: one stream for people, machines and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gdcbuild.core.plan import Plan
from gdcbuild.errors import Problem

What = Literal["toolchain", "action", "check", "publish"]
"""What is done: making a toolchain, running an action, checking an artifact against its image, publishing it."""

Outcome = Literal["built", "cached", "created", "replaced", "repaired", "unchanged", "installed", "sound"]
"""How a job ended well."""


@dataclass(frozen=True, slots=True)
class Planned:
    """It is known what may be done; nothing has been yet. `total` is the number of jobs that may follow.

    `plan` is None for a build, which looks at no bucket.
    """

    plan: Plan | None
    total: int


@dataclass(frozen=True, slots=True)
class JobStarted:
    """A job has begun."""

    job: str
    what: What


@dataclass(frozen=True, slots=True)
class JobWaiting:
    """It waits for another process, which is doing the same."""

    job: str
    what: What


@dataclass(frozen=True, slots=True)
class JobFinished:
    """It has ended well. `outcome` says how: a cached action did not run, an unchanged version wrote nothing.

    `log` is the file with what user code printed, "" when there is none.
    """

    job: str
    what: What
    outcome: Outcome
    seconds: float
    log: str = ""


@dataclass(frozen=True, slots=True)
class JobFailed:
    """It has failed; what depends on it does not run."""

    job: str
    what: What
    problems: tuple[Problem, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class JobSkipped:
    """It was not tried, because it needs the job named, which failed."""

    job: str
    because: str


@dataclass(frozen=True, slots=True)
class JobNotStarted:
    """It was not tried, because some other job failed before its turn came."""

    job: str


@dataclass(frozen=True, slots=True)
class Progress:
    """A long upload is this far, in bytes."""

    job: str
    sent: int
    total: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A file takes long to read, and is read this far, in bytes: by the action `job`, or for its digest when that is ""."""

    job: str
    path: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Something to know that does not stop the run."""

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
