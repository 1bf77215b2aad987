"""Toolchains as virtual environments, installed once from pinned requirements and named by their ingredients."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from gdcbuild.core.digest import Digest
from gdcbuild.core.events import Event, JobFailed, JobFinished, JobStarted, JobWaiting, Warned
from gdcbuild.core.graph import Toolchain
from gdcbuild.core.ports import Flag, Locks, Records, Workspace
from gdcbuild.errors import ActionFailed, BlobDamaged, Location, Problem, damaged
from gdcbuild.files import requirements
from gdcbuild.files.content import read_verified
from gdcbuild.runners.distributions import (
    contents_of,
    digest_of,
    distributions,
    packages_of,
    refuse_editable,
    refuse_unasked,
    site_packages,
)
from gdcbuild.runners.guarded import Place, claimed, put_away
from gdcbuild.runners.logs import end_of

_SCHEMA = 1
_BUNDLED = {"pip", "setuptools"}
"""What Python installs into every new environment. It counts only if the requirements name it."""

_REQUIREMENTS = "requirements.txt"
MARK = "toolchain.json"
"""The file in a finished environment that records its digest."""
_FOR_PIP = {
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    *(name for proxy in ("http_proxy", "https_proxy", "no_proxy", "all_proxy") for name in (proxy, proxy.upper())),
}


class _Recipe(NamedTuple):
    """The ingredients of an environment, and its name before it exists."""

    name: str
    requirements: bytes


class VenvToolchains:
    """Environments below `folder`. Their contents are recorded, so a plan needs no environment."""

    def __init__(
        self,
        folder: Path,
        logs: Path,
        workspace: Workspace,
        records: Records,
        locks: Locks,
        emit: Callable[[Event], None],
    ) -> None:
        self._folder = folder
        self._logs = logs
        self._workspace = workspace
        self._records = records
        self._locks = locks
        self._emit = emit
        self._interpreter: str | None = None
        self._recipes: dict[str, _Recipe] = {}
        self._told: set[str] = set()

    def digest(self, toolchain: Toolchain) -> str | None:
        if toolchain.requirements is None:
            if self._interpreter is None:
                self._interpreter = self._made_of(site_packages(), {"gdcbuild"}, toolchain.where)
            return self._interpreter
        recipe = self._recipe(toolchain).name
        found = self._marker(recipe) or self._records.get("toolchain", recipe)
        return found if isinstance(found, str) else None

    def rests_on(self, toolchain: Toolchain) -> list[Path]:
        if toolchain.requirements is None:
            return site_packages()
        return [self._folder / self._recipe(toolchain).name / MARK]

    def bin(self, toolchain: Toolchain) -> Path:
        if toolchain.requirements is None:
            return Path(sys.executable).parent
        return self._folder / self._recipe(toolchain).name / "bin"

    def contents(self, digest: str) -> Mapping[str, str]:
        found = self._records.get("contents", digest)
        return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}

    def ensure(self, toolchain: Toolchain, cancel: Flag) -> Path:
        if toolchain.requirements is None:
            return Path(sys.executable)
        recipe = self._recipe(toolchain)
        folder = self._folder / recipe.name
        python = folder / "bin" / "python"
        waiting = JobWaiting(toolchain.name, "toolchain")
        with self._locks.hold(f"toolchain-{recipe.name}", cancel, partial(self._emit, waiting)):
            if python.exists() and (folder / MARK).exists():
                refuse_unasked(folder, toolchain)
                if self._marker(recipe.name) is None:  # it was finished: only the mark is damaged
                    self._mark(recipe.name, toolchain.where)
            else:
                with claimed(folder, cancel) as place:
                    self._install(toolchain, recipe, place, cancel)
            os.utime(folder / MARK)  # under the lock: a collection goes by the time of last use
        return python

    def _recipe(self, toolchain: Toolchain) -> _Recipe:
        """Name the environment before it exists: requirements, interpreter, platform.

        The file is read once a run: what is named, installed and part of keys is the same, whatever becomes of the file.
        """
        path = toolchain.requirements
        assert path is not None
        if path not in self._recipes:
            try:
                data = read_verified(self._workspace.blob(path))
            except BlobDamaged as error:
                raise ActionFailed(
                    Problem(f"{path} changed while it was read", "run the command again", toolchain.where)
                ) from error
            made_from = [_SCHEMA, Digest.of(data).hash, platform.python_version(), sysconfig.get_platform()]
            if theirs := _BUNDLED & _named(data):
                made_from.append(sorted(theirs))  # these did not count in older releases, whose environments keep their names
            text = json.dumps(made_from)
            self._recipes.setdefault(path, _Recipe(hashlib.sha256(text.encode()).hexdigest()[:32], data))
        return self._recipes[path]

    def _made_of(self, folders: list[Path], ignore: set[str], where: Location | None) -> str:
        """Digest of an environment, whose contents are recorded. Raises ActionFailed if it has none."""
        refuse_editable(folders, ignore, where)
        found = distributions(folders, ignore)
        digest = digest_of(found)
        if not self.contents(digest):
            self._records.put("contents", digest, contents_of(found))
        return digest

    def _install(self, toolchain: Toolchain, recipe: _Recipe, place: Place, cancel: Flag) -> None:
        self._emit(JobStarted(toolchain.name, "toolchain"))
        started = time.monotonic()
        folder = place.path
        log = self._logs / f"toolchain-{recipe.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._fill(toolchain, recipe.requirements, place, log, cancel)
            self._mark(recipe.name, toolchain.where)
        except BaseException as error:
            put_away(folder)
            if isinstance(error, ActionFailed):
                self._emit(JobFailed(toolchain.name, "toolchain", error.problems, time.monotonic() - started))
            raise
        self._emit(JobFinished(toolchain.name, "toolchain", "installed", time.monotonic() - started, str(log)))

    def _mark(self, recipe: str, where: Location | None) -> None:
        """Record the digest in a finished environment."""
        folder = self._folder / recipe
        site = packages_of(folder)
        wanted = folder / _REQUIREMENTS
        ignore = _BUNDLED - _named(wanted.read_bytes() if wanted.exists() else b"")
        digest = self._made_of(site, ignore, where)
        os.sync()  # pip does not sync, and the mark says that everything is there
        _write(folder, digest)
        self._records.put("toolchain", recipe, digest)

    def _marker(self, recipe: str) -> str | None:
        """The digest in the mark of a finished environment; None if there is none, or the mark is damaged."""
        folder = self._folder / recipe
        found = mark_of(folder)
        if found == "" and recipe not in self._told:
            self._told.add(recipe)
            self._emit(Warned(damaged(folder / MARK)))
        return found if found and (folder / "bin" / "python").exists() else None

    def _fill(self, toolchain: Toolchain, wanted: bytes, place: Place, log: Path, cancel: Flag) -> None:
        """Install the environment in its empty folder. Raises ActionFailed if that fails."""
        copy, python = place.path / _REQUIREMENTS, place.path / "bin" / "python"
        if vague := [*requirements.unpinned(_text(wanted))]:
            # reading the manifest refuses this too: the file has changed since
            problem = f"{toolchain.requirements} does not pin exactly what is installed"
            detail = "\n".join(f"line {line.number}: {line.problem}" for line in vague)
            raise ActionFailed(Problem(problem, vague[0].hint, toolchain.where, detail))
        copy.write_bytes(wanted)
        pip = [str(python), "-I", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
        commands = ([sys.executable, "-I", "-m", "venv", str(place.path)], [*pip, "-r", str(copy)])
        environment = _pip_environment(os.environ)
        with log.open("wb") as output:
            if all(place.run(argv, output, cancel, env=environment) == 0 for argv in commands):
                refuse_unasked(place.path, toolchain)
                return
        lines = end_of(log).splitlines()
        said = [line for line in lines if line.lower().startswith("error")] or lines[-10:]
        raise ActionFailed(
            Problem(
                f"the toolchain of {toolchain.requirements} cannot be installed",
                f"correct the file, or the package index that pip uses; the full output is in {log}",
                toolchain.where,
                "\n".join(said),
            )
        )


def _text(wanted: bytes) -> str:
    return wanted.decode(errors="replace")


def _named(wanted: bytes) -> set[str]:
    return requirements.names(_text(wanted))


def _pip_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The variables that configure pip. Installing a source distribution runs code, which must not see the credentials."""
    return {name: value for name, value in ours.items() if name in _FOR_PIP or name.startswith(("PIP_", "LC_"))}


def mark_of(folder: Path) -> str | None:
    """The digest in the mark of the environment in a folder, "" if that is damaged.

    None if it is not finished, or the mark must be written again.
    """
    try:
        text = (folder / MARK).read_text(errors="replace")
    except OSError:
        return None
    try:
        digest = str(json.loads(text)["digest"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return (digest or None) if text == _marked(folder.name, digest) else ""


def unmark(folder: Path) -> None:
    """Have the next user of a finished environment write its mark again: without any mark it would be installed again."""
    _write(folder, "")


def _write(folder: Path, digest: str) -> None:
    """Write the mark of an environment, which is there whole or not at all."""
    unfinished = folder / f"{MARK}.tmp"
    unfinished.write_text(_marked(folder.name, digest))
    unfinished.replace(folder / MARK)


def _marked(recipe: str, digest: str) -> str:
    """The text of the mark of an environment. Its checksum covers text and folder, so any edit is detected."""
    check = hashlib.sha256(f"{_SCHEMA} {recipe}\n{digest}".encode()).hexdigest()[:32]
    return json.dumps({"schema": _SCHEMA, "digest": digest, "check": check})
