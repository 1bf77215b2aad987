"""A workspace in a temporary folder, and the real command line run in it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.forked import run

HANDLER = "def handle(data, context):\n    return data\n"

ONE_VERSION = """\
schema: 1
environments:
  local: {bucket: bucket}
models:
  m:
    framework: pytorch-cpu.2-4
    handler: h
    versions:
      "1": {weights: w.pt}
handlers:
  h: {file: h.py}
"""

ONE_STEP = (
    ONE_VERSION.replace("w.pt", "{step: s, path: w.pt}")
    + """\
steps:
  s:
    run: [sh, -c, "%s"]
    outputs: [w.pt]
"""
)


@dataclass(frozen=True)
class Result:
    """How a command ended: exit code, what it printed for scripts, what it told people."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    def jobs(self, event: str = "job_finished", **match: str) -> list[str]:
        """Ids of the jobs with such an event, sorted."""
        return sorted(e["job"] for e in self.events if e["event"] == event and all(e[k] == v for k, v in match.items()))


class Workspace:
    """Writes files, runs gdcbuild, and looks at the bucket."""

    program = "gdcbuild.cli"

    def __init__(self, root: Path, cache: Path, variables: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.cache = cache
        self.variables = dict(variables or {})
        root.mkdir(parents=True, exist_ok=True)

    def write(self, files: Mapping[str, str | bytes]) -> None:
        for path, content in files.items():
            target = self.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "GDCBUILD_", "XDG_"))}
        return {**kept, "GDCBUILD_CACHE_DIR": str(self.cache), **self.variables}

    def run(self, *arguments: str, cwd: str = ".") -> Result:
        return Result(*run(arguments, self.root / cwd, self.environment(), self.program))

    def ok(self, *arguments: str, cwd: str = ".") -> Result:
        """Run a command that must succeed."""
        result = self.run(*arguments, cwd=cwd)
        assert result.code == 0, f"gdcbuild {' '.join(arguments)} ended with {result.code}\n{result.out}\n{result.err}"
        return result

    def age(self) -> None:
        """Wait until no file counts as changed just now: only what is at rest is remembered."""
        time.sleep(1.1)

    def snapshot(self, folder: str = ".") -> dict[str, tuple[bytes, int]]:
        """Path → content and mtime_ns of every file below a folder."""
        base = self.root / folder
        return {
            p.relative_to(base).as_posix(): (p.read_bytes(), p.stat().st_mtime_ns)
            for p in sorted(base.rglob("*"))
            if p.is_file()
        }

    def served(self, bucket: str = "bucket") -> dict[str, bytes]:
        """Path → content of what servers see: all but gdcbuild's own records."""
        return {p: c for p, (c, _) in self.snapshot(bucket).items() if not p.startswith(".gdcbuild/")}
