"""Runs an action on this machine: user code in separate child processes, gdcbuild's own code in this one.

The action's folder has its declared inputs and nothing else. Its path depends only on the action's key,
so that paths that user code writes into its outputs are the same every time.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from typing import BinaryIO

from gdcbuild.core.digest import Blob, Digest
from gdcbuild.core.events import Event
from gdcbuild.core.graph import Command, Inline, Worker
from gdcbuild.core.ports import Outputs, Programs, Run, Workspace
from gdcbuild.errors import ActionFailed, Interrupted, Problem, named
from gdcbuild.files.content import CHUNK, place
from gdcbuild.files.read_progress import Watch, shown
from gdcbuild.runners.guarded import Place, claimed, put_away
from gdcbuild.runners.logs import end_of
from gdcbuild.runners.programs import HostPrograms, search_path

LOG_LINES = 30
_CHILD = Path(__file__).with_name("child.py")
_FIXED = {
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONNOUSERSITE": "1",
    "PYTHONUNBUFFERED": "1",
    "SOURCE_DATE_EPOCH": "315532800",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "TF_DETERMINISTIC_OPS": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}


class LocalRunner:
    """Runs below `folder`; the output of user code is kept in `logs`/KEY.log.

    `files` are all files of the machine, by their absolute path without the "/"; `variables` is our own environment.
    """

    def __init__(
        self, folder: Path, logs: Path, emit: Callable[[Event], None], files: Workspace, variables: Mapping[str, str]
    ) -> None:
        self._folder = folder
        self._variables = variables
        self._programs = HostPrograms(files, variables)
        self._logs = logs
        self._emit = emit

    def log(self, key: str) -> Path:
        return self._logs / f"{key}.log"

    def programs(self, command: str, bin: Path | None, env: Mapping[str, str]) -> Programs:
        return self._programs.of(command, bin, env)

    @contextmanager
    def run(self, run: Run, cancel: Flag) -> Iterator[Outputs]:
        with claimed(self._folder / run.key, cancel) as place:
            try:
                yield self._outputs(run, place, cancel)
            except OSError as error:
                raise named(error, place.path) from error
            finally:
                put_away(place.path)

    def _outputs(self, run: Run, place: Place, cancel: Flag) -> Outputs:
        """Run the action; report failures with the line in the manifest."""
        how, out = run.action.run, place.path / "out"
        out.mkdir()
        watch = Watch(self._emit, run.action.id)
        try:
            if isinstance(how, Inline):
                inputs = {path: _Watched(path, blob, cancel, watch) for path, blob in run.inputs.items()}
                digests: Mapping[str, Digest] | None = importlib.import_module(how.module).run(run.action.params, inputs, out)
                return Outputs(_files(out), digests)
            place_of_out = os.path.realpath(out)
            if isinstance(how, Command | Worker):
                self._child(run, how, place, cancel, watch)
            if os.path.realpath(out) != place_of_out or not out.is_dir():
                # the target of a link is the user's, and would be moved into the cache
                hint = "write into the output folder, but do not move or replace it"
                raise ActionFailed(Problem("the command moved or replaced its output folder", hint))
            return Outputs(_files(out), place=f"/{place.path.name}")
        except ActionFailed as error:
            raise ActionFailed(*(p._replace(where=p.where or run.action.where) for p in error.problems)) from error

    def _child(self, run: Run, how: Command | Worker, place: Place, cancel: Flag, watch: Watch) -> None:
        work = place.path
        folder, out = work / "in", work / "out"
        _lay(run.inputs, folder, cancel, watch)
        start = folder / run.action.cwd
        for path in (start, work / "tmp", work / "home"):
            path.mkdir(parents=True, exist_ok=True)
        report, asked = work / "error.json", ""
        if isinstance(how, Command):
            argv = [word.replace("${out}", str(out)) for word in how.argv]
            if argv[0] in ("python", "python3") and run.python is not None:
                argv[0] = str(run.python)
            for output in run.action.outputs or ():
                (out / output).parent.mkdir(parents=True, exist_ok=True)
        else:
            request = {
                "folder": str(folder),
                "out": str(out),
                "error": str(report),
                "worker": _file_of(how.module),
                "params": dict(run.action.params),
            }
            asked = json.dumps(request)
            (work / "request.json").write_text(asked)
            # -P: keeps the folder of child.py off the import path
            argv = [str(run.python), "-P", str(_CHILD), str(work / "request.json")]
        log = self.log(run.key)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as printed:
            try:
                code = place.run(argv, printed, cancel, env=self._environment(run, work), cwd=start)
            except OSError as error:
                problem = f"{argv[0]!r} cannot be started: {error.strerror}"
                raise ActionFailed(Problem(problem, "correct the command, or its toolchain")) from error
        if code != 0:
            raise ActionFailed(_failure(run, code, report, log, folder))
        if asked and not _repeats(work / "done", asked):
            problem = f"{run.action.id}: the export ended its process with exit code 0 before it finished"
            hint = f"return from the function: do not call exit or os._exit; the full output is in {log}"
            raise ActionFailed(Problem(problem, hint))

    def _environment(self, run: Run, work: Path) -> dict[str, str]:
        here = {
            "PATH": search_path(self._variables, run.python.parent if run.python else None),
            "HOME": str(work / "home"),
            "TMPDIR": str(work / "tmp"),
            "USER": "gdcbuild",
            "LOGNAME": "gdcbuild",
        }
        return {**_FIXED, **here, **run.env}


@dataclass(frozen=True, slots=True)
class _Watched:
    """A blob that reports read progress. Reading stops once `cancel` is set: our own actions have no process to end."""

    path: str
    blob: Blob
    cancel: Flag
    watch: Watch

    @property
    def digest(self) -> Digest:
        return self.blob.digest

    @property
    def crc(self) -> int | None:
        return self.blob.crc

    def open(self) -> BinaryIO:
        if self.blob.digest.size <= CHUNK:  # too small for progress
            _refuse_cancelled(self.cancel)
            return self.blob.open()
        return shown(self.blob.open(), _seen(self.path, self.blob, self.cancel, self.watch))


def _refuse_cancelled(cancel: Flag) -> None:
    if cancel.is_set():
        raise Interrupted(Problem("interrupted"))


def _seen(path: str, blob: Blob, cancel: Flag, watch: Watch) -> Callable[[bytes], None]:
    """A callback for each piece read of a blob: reports progress, and raises if cancelled."""
    count = watch.counter(path, blob.digest.size)

    def seen(data: bytes) -> None:
        _refuse_cancelled(cancel)
        count(data)

    return seen


def _lay(inputs: Mapping[str, Blob], folder: Path, cancel: Flag, watch: Watch) -> None:
    folder.mkdir(parents=True)
    for path, blob in inputs.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x+b") as file:
            place(blob, file, _seen(path, blob, cancel, watch))


def _files(out: Path) -> dict[str, Path]:
    """Every file below the output folder; refuses what cannot be kept: links, devices, names that are not text."""
    found = {}
    for path in sorted(out.rglob("*")):
        if "__pycache__" in path.parts:
            continue
        name = path.relative_to(out).as_posix()
        if any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in name):
            problem = f"the name of its output {name!r} has a control character or is not UTF-8"
            raise ActionFailed(Problem(problem, "give it another name"))
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ActionFailed(Problem(f"its output {name!r} is not a regular file", "write the file itself, not a link to it"))
        if path.is_file():
            if path.stat().st_nlink > 1:
                _part(path, out.with_name("copy"))
            found[name] = path
    return found


def _part(path: Path, spare: Path) -> None:
    """Replace a file that has several names by a copy: the cache would share its bytes and permissions with the others."""
    with path.open("rb") as source, spare.open("xb") as target:
        shutil.copyfileobj(source, target)
    spare.replace(path)


def _failure(run: Run, code: int, report: Path, log: Path, folder: Path) -> Problem:
    """The problem of a child that failed: its own message if it left one, else the end of its output."""
    try:
        said = json.loads(report.read_text())
        return Problem(said["message"], said["hint"], run.action.where, said["detail"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    end = f"was ended by {_name(-code)}" if code < 0 else f"ended with exit code {code}"
    lines = end_of(log).replace(f"{folder}{os.sep}", "").splitlines()
    what = run.action.run.argv[0] if isinstance(run.action.run, Command) else "the export"
    return Problem(
        f"{run.action.id}: {what!r} {end}", f"the full output is in {log}", run.action.where, "\n".join(lines[-LOG_LINES:])
    )


def _repeats(done: Path, asked: str) -> bool:
    """Whether the child finished: then it has repeated the request."""
    try:
        return done.read_text() == asked
    except (OSError, ValueError):
        return False


def _name(number: int) -> str:
    """The name of a signal; real-time signals have none."""
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _file_of(module: str) -> str:
    """The file of a module, without importing it: it may need what is only in the toolchain."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ActionFailed(Problem(f"the worker {module} is not installed"))
    return spec.origin
