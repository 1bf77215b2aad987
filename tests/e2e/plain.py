"""gdcbuild without its memory: every command reads the whole workspace."""

from __future__ import annotations

from gdcbuild import cli
from gdcbuild.memory import remembered


def main() -> None:
    """The console script, in a process of its own."""
    setattr(remembered, "RememberedSource", lambda _manifest, _variables, _cache, read, *_: read(()))  # noqa: B010 - a class
    cli.main()
