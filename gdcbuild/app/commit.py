"""What the workspace has checked out, for the record of what is published."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from gdcbuild.errors import Problem

_GIT = ("git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_STATUS = ("status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules=dirty", "-z")
_HEAD = "# branch.oid "
_SECONDS = 60.0
_KEPT = ("PATH", "HOME", "XDG_CONFIG_HOME", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM")
"""Variables that git may see. Not those by which a hook tells it of another repository, and no secrets."""


def commit(manifest: Path, variables: Mapping[str, str], warn: Callable[[Problem], None]) -> str:
    """The commit of the repository that has the manifest, with "-dirty" behind it where a tracked file is another one now.

    "" where there is none. Warns where there is a repository and git cannot tell, as in a container that runs as somebody
    else. Nothing is written to the repository, and nobody who works in it is kept waiting.
    """
    if not any(os.path.lexists(folder / ".git") for folder in manifest.parents):
        return ""
    try:
        if not _git(manifest, variables, "ls-files", "--", manifest.name):
            return ""
        head, *rows = _git(manifest, variables, *_STATUS).split("\0")
    except _Silent as error:
        first, _, rest = str(error).partition("\n")
        hint = "what is published is published all the same"
        warn(Problem(f"the commit is not recorded: {first}", hint, detail=rest.strip()))
        return ""
    name = head.removeprefix(_HEAD)
    if name == "(initial)":
        return ""
    return f"{name}-dirty" if any(row and not row.startswith("#") for row in rows) else name


class _Silent(Exception):
    """Git does not tell, and why."""


def _git(manifest: Path, variables: Mapping[str, str], *arguments: str) -> str:
    env = {n: v for n, v in variables.items() if n in _KEPT or n.startswith("GIT_CONFIG")}
    env |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    command = (*_GIT, *arguments)
    try:
        done = subprocess.run(
            command, check=False, cwd=manifest.parent, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise _Silent(f"git did not answer for {_SECONDS:.0f} s") from None
    except OSError as error:
        raise _Silent(f"git cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        raise _Silent(done.stderr.decode(errors="replace").strip() or f"git ended with {done.returncode}")
    return done.stdout.decode(errors="replace")
