"""Environment variables that the manifest uses, and the chosen environment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple


class Variables(Mapping[str, str]):
    """The environment variables, and which of them have been read."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @contextmanager
    def apart(self) -> Iterator[set[str]]:
        """Collect the variables read inside the context separately."""
        outer, self.asked = self.asked, set()
        try:
            yield self.asked
        finally:
            self.asked = outer

    def digests(self, names: Iterable[str]) -> dict[str, str | None]:
        """Digests of the variables' values, which may be secrets."""
        found = {name: self._values.get(name) for name in sorted(names)}
        return {
            n: None if v is None else hashlib.sha256(f"{n}={v}".encode("utf-8", "surrogateescape")).hexdigest()
            for n, v in found.items()
        }


class Environment(NamedTuple):
    """The chosen environment, with its variables resolved. `ca_file` is an absolute path."""

    name: str
    bucket: str
    endpoint: str | None
    region: str | None
    ca_file: str | None
    immutable: bool
    protect: bool
    clean: bool
