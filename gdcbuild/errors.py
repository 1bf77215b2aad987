"""Error types. Each error has problems with locations, and an exit code.

The command line renders errors, in one place.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from os import PathLike, fspath
from typing import Any, NamedTuple


class Location(NamedTuple):
    """A place in a user's file. Lines and columns count from 1; line 0 means the whole file."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Problem(NamedTuple):
    """One mistake: where it is, what is wrong, and what to do.

    `detail` has lines to show unchanged below the message: a traceback, the end of a log, a listing.
    """

    message: str
    hint: str = ""
    where: Location | None = None
    detail: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  {self.hint}" if self.hint else text


class Caution(Problem):
    """A warning that does not stop the run."""


class Note(Problem):
    """Information; nothing is wrong."""


class GdcbuildError(Exception):
    """The base class of all expected errors. One error may have many problems."""

    exit_code = 1
    report: Any = None
    """The core.run.Report of a run that failed in part."""

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = tuple(p if isinstance(p, Problem) else Problem(p) for p in problems)
        super().__init__("\n".join(str(p) for p in self.problems))


Error = GdcbuildError
"""The public name, gdcbuild.Error."""


class Several(GdcbuildError):
    """Several errors of different types, with all their problems."""

    def __init__(self, errors: Iterable[GdcbuildError]) -> None:
        self.errors = tuple(errors)
        super().__init__(*_sorted(problem for error in self.errors for problem in error.problems))


class UsageError(GdcbuildError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_code = 64


class ManifestError(GdcbuildError):
    """The manifest, or a file it names, is not valid."""

    exit_code = 65


class ActionFailed(GdcbuildError):
    """An action, or installing its toolchain, failed."""


class ContractViolated(GdcbuildError):
    """An artifact cannot be served by its image."""


class StoreError(GdcbuildError):
    """The local cache cannot be used."""


class BlobMissing(StoreError):
    """A blob is no longer in the cache: it was collected, or deleted by hand."""


class BlobDamaged(StoreError):
    """Bytes do not match their digest."""


class ResultChanged(StoreError):
    """A result that the plan depends on was lost, and building it again gave other bytes: the plan is no longer valid."""


class RemoteError(GdcbuildError):
    """The bucket cannot be reached, denies access, or does not do what it confirmed."""


class Refused(GdcbuildError):
    """The request would break a promise, such as changing an immutable version."""

    exit_code = 3


class NotImported(GdcbuildError):
    """The input has something that a manifest cannot express, or that is known only by running it."""


class DamageFound(GdcbuildError):
    """Verification found bytes that differ from the recorded ones."""

    exit_code = 4


class Interrupted(GdcbuildError):
    """The user, or the system on their behalf, asked to stop."""

    exit_code = 130


_CACHE = "GDCBUILD_CACHE_DIR sets the cache folder"
_FILES = "allow more open files (ulimit -n), or run fewer jobs at a time: -j 1"
_SYSTEM_HINTS = {
    errno.ENOSPC: f"free space on that disk, or use a folder on another one ({_CACHE}); then run it again",
    errno.EDQUOT: f"free space within your quota, or use another folder ({_CACHE}); then run it again",
    errno.EIO: "the disk or its connection is failing: see the system log, use another disk, then run it again",
    errno.EROFS: f"make it writable, or use another folder ({_CACHE})",
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
}
_FALLBACKS = dict.fromkeys(
    (errno.EACCES, errno.EPERM), f"make it readable and writable for you (chown, chmod), or use another folder ({_CACHE})"
)


def of_system(error: OSError, message: str = "", hint: str = "") -> Problem:
    """The problem for an error of the operating system. The hint depends on the error, else it is `hint`, else a default."""
    what = message or str(error.filename or "the system")
    place = f" ({error.filename})" if message and error.filename and str(error.filename) not in message else ""
    number = error.errno or 0
    return Problem(f"{what}: {error.strerror or error}{place}", _SYSTEM_HINTS.get(number) or hint or _FALLBACKS.get(number, ""))


def named(error: OSError, path: str | PathLike[str]) -> OSError:
    """The error with the name of its file, which read, write and fsync leave out."""
    if error.filename is None and error.errno is not None:
        error.filename = fspath(path)
    return error


def damaged(memo: PathLike[str]) -> Problem:
    """The warning for a damaged memo in the cache."""
    return Problem(f"{fspath(memo)} is damaged and was ignored", "no action needed; it will be regenerated")


def raise_all(error: type[GdcbuildError], problems: Iterable[Problem]) -> None:
    """Raise one `error` with every problem, sorted by location; do nothing if there is none."""
    found = _sorted(problems)
    if found:
        raise error(*found)


def _sorted(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(set(problems), key=lambda p: (p.where or Location(""), p.message))
