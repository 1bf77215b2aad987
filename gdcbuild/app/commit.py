"""What the workspace has checked out, for the record of what is published."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from gdcbuild.errors import Problem

_COMMAND = ("git", "-c", "core.fsmonitor=false", "describe", "--always", "--dirty", "--abbrev=64", "--exclude=*")
_SECONDS = 60.0


def commit(root: Path, variables: Mapping[str, str], warn: Callable[[Problem], None]) -> str:
    """The commit, with "-dirty" behind it where a file of the repository was changed since; "" where that is not known.

    Warns where there is a repository and git cannot tell, as in a container that runs as somebody else.
    """
    if not any(os.path.lexists(folder / ".git") for folder in (root, *root.parents)):
        return ""
    env = {name: value for name, value in variables.items() if not name.startswith("AWS_")}
    env |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}  # whoever else works in the repository is not kept waiting
    try:
        done = subprocess.run(
            _COMMAND, check=False, cwd=root, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        said = f"git did not answer for {_SECONDS:.0f} s"
    except OSError as error:
        said = f"git cannot be run: {error.strerror}"
    else:
        if done.returncode == 0:
            return done.stdout.decode(errors="replace").strip()
        said = done.stderr.decode(errors="replace").strip() or f"git ended with {done.returncode}"
    first, _, rest = said.partition("\n")
    warn(Problem(f"the commit is not recorded: {first}", "what is published is published all the same", detail=rest.strip()))
    return ""
