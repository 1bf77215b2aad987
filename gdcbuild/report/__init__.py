"""All that is said, to people and to machines: the only code that formats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gdcbuild.core.ports import Reporter


@contextmanager
def closing(reporter: Reporter) -> Iterator[Reporter]:
    """A reporter whose display is put away at the end, whatever happens."""
    try:
        yield reporter
    finally:
        reporter.close()
