"""A small workspace with its clean outcome, and the question whether a run after a fault comes to the same."""

from __future__ import annotations

import gc
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from gdcbuild import cli
from gdcbuild.app.cache import Cache
from gdcbuild.core.digest import Digest
from gdcbuild.store.records import DiskRecords
from tests.e2e.workspace import Result, Workspace
from tests.records import close

MANIFEST = """\
schema: 1
environments:
  local: {bucket: bucket}
handlers:
  h: {file: handler.py}
models:
  m:
    framework: pytorch-cpu.2-4
    handler: h
    versions:
"""
"""Of which the versions are wanting, and whatever else."""
HANDLER = "def handle(data, context):\n    return data\n"
FILES: dict[str, str | bytes] = {
    "gdcbuild.yaml": MANIFEST
    + """\
      "1": {weights: a.pt}
      "2": {weights: {step: copy, path: b.pt}}
steps:
  copy: {run: [sh, -c, "cat a.pt seed > ${out}/b.pt"], inputs: [a.pt, seed], outputs: [b.pt]}
""",
    "handler.py": HANDLER,
    "a.pt": bytes(range(256)) * 4,
    "seed": "seed",
}
TIMEOUT = 120.0


class Fault(AssertionError):
    """What must not happen did."""


@dataclass(frozen=True)
class Outcome:
    """What a run leaves: what servers see, what is sealed, and each result by its key."""

    served: dict[str, bytes]
    seals: dict[str, str]
    results: dict[str, Any]


class _Here(ThreadPoolExecutor):
    """Does each job where it is handed over: system calls come in one order, so that the k-th can be picked."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def _wait(look: Callable[[], Any]) -> Any:
    """What a look gives once it gives something."""
    deadline = time.monotonic() + TIMEOUT
    while not (found := look()) or found == (0, 0):
        if time.monotonic() > deadline:
            raise Fault("it does not end")
        time.sleep(0.002)
    return found


class Scene(Workspace):
    """The workspace, its bucket and its cache below one folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "workspace", folder / "cache", {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"})
        self.folder = folder
        self.write(FILES)

    @property
    def bucket(self) -> Path:
        return self.root / "bucket"

    def start_over(self) -> None:
        """Forget the bucket and the cache."""
        for path in (self.bucket, self.cache):
            shutil.rmtree(path, ignore_errors=True)

    def warm(self) -> Outcome:
        """A clean run in this very process, so that those forked from it start at once; what it comes to."""
        time.sleep(1.1)  # files that have just changed are read more often, which would move the points at which a fault is met
        before, here = dict(os.environ), Path.cwd()
        os.environ.update(self.environment())
        os.chdir(self.root)
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
                code = cli.run(["apply", "-j", "1"]) or cli.run(["verify", "--deep"])
        finally:
            os.chdir(here)
            os.environ.clear()
            os.environ.update(before)
        if code:
            raise Fault(f"a clean run ended with {code}\n{said.getvalue()}")
        gc.enable()  # which a command has switched off: many follow in this process
        gc.collect()  # whatever has the cache open
        return self.outcome()

    def forked(self, *arguments: str, tracer: Sequence[str] = ()) -> Result:
        """Run a command in one thread of a process forked from this one, perhaps below a program that can attach to it."""
        sys.stdout.flush()
        out, err = self.folder / "out.txt", self.folder / "err.txt"
        pid = os.fork()
        if pid == 0:
            self._child(arguments, out, err, bool(tracer))
        attached = None
        if tracer:
            os.waitpid(pid, os.WUNTRACED)
            attached = subprocess.Popen([*tracer, "-p", str(pid)], stderr=subprocess.DEVNULL)
            _wait(lambda: "TracerPid:\t0" not in Path(f"/proc/{pid}/status").read_text() or attached.poll() is not None)
            os.kill(pid, signal.SIGCONT)
        status = _wait(lambda: os.waitpid(pid, os.WNOHANG))[1]
        if attached is not None:
            attached.wait(TIMEOUT)
        return Result(os.waitstatus_to_exitcode(status), out.read_text(), err.read_text())

    def _child(self, arguments: Sequence[str], out: Path, err: Path, stop: bool) -> NoReturn:
        code = 70
        try:
            os.chdir(self.root)
            environment = self.environment()
            os.environ.clear()
            os.environ.update(environment)
            for number, path in ((0, os.devnull), (1, out), (2, err)):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
            for name, module in list(sys.modules.items()):
                if name.startswith("gdcbuild.") and hasattr(module, "ThreadPoolExecutor"):
                    setattr(module, "ThreadPoolExecutor", _Here)  # noqa: B010 - as the module has it
            if stop:
                os.kill(os.getpid(), signal.SIGSTOP)
            code = cli.run(list(arguments))
            gc.collect()  # closes what the end of a process would close
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def outcome(self) -> Outcome:
        seals: dict[str, str] = {}
        for path in sorted((self.bucket / ".gdcbuild/v1/seals").rglob("*.json")):
            seals["@".join(path.parts[-3:-1])] = path.stem.partition("-")[2]
            json.loads(path.read_text())
        return Outcome(self.served(), seals, results(self.cache))

    def recover(self, clean: Outcome, killed: bool = False) -> None:
        """Run it again, which must succeed and end as the clean run did; and find nothing damaged.

        After a kill it has nothing to warn of.
        """
        again = self.rerun(clean)
        if killed and "warning: " in again.err:
            raise Fault(f"the rerun warned\n{again.err}")
        if damaged := self.discard_damaged():
            raise Fault(f"cache verify finds {damaged}")
        check_blobs(self.cache, clean)
        checked = self.forked("verify", "--deep")
        if checked.code != 0:
            raise Fault(f"verify --deep ended with {checked.code}\n{checked.err}")

    def rerun(self, clean: Outcome, forgotten: bool = False) -> Result:
        """Run it again: it succeeds, and what is published and recorded is what the clean run published and recorded.

        Results may be `forgotten` where looking at all of them finds damage that the run did not come across.
        """
        again = self.forked("apply")
        if again.code != 0:
            raise Fault(f"the rerun ended with {again.code}\n{again.err}")
        found = self.outcome()
        if forgotten and found.results.items() <= clean.results.items():
            found = replace(found, results=clean.results)
        for what in ("served", "seals", "results"):
            if getattr(found, what) != getattr(clean, what):
                raise Fault(f"{what} differ: {getattr(found, what)}")
        return again

    def discard_damaged(self) -> list[str]:
        """What `cache verify` finds and removes."""
        opened = Cache(self.cache, lambda _: None)
        try:
            return opened.discard_damaged()
        finally:
            close(opened.records)


def warmed(folder: Path) -> tuple[Scene, Outcome]:
    """A scene of this process, and its clean outcome."""
    return _warmed(folder / str(os.getpid()))


@cache
def _warmed(folder: Path) -> tuple[Scene, Outcome]:
    scene = Scene(folder)
    return scene, scene.warm()


def sober(result: Result) -> None:
    """A run that met a fault ends well or says what is wrong, and never with a traceback."""
    if "Traceback" in result.err or result.code not in (0, 1, 3, 4):
        raise Fault(f"it ended with {result.code}\n{result.err}")
    if result.code and ("error: " not in result.err or "\n    " not in result.err):
        raise Fault(f"it ended with {result.code} and does not say what to do\n{result.err}")


def results(cache: Path) -> dict[str, Any]:
    """Key → tree of every result in the cache."""
    records = DiskRecords(cache / "records", lambda _: None)
    try:
        found = {key: records.get("result", key) for key in records.keys("result")}
        return {key: result["tree"] for key, result in found.items() if result is not None}
    finally:
        close(records)


def check_blobs(cache: Path, clean: Outcome) -> None:
    """Every file that a result names is there, and is what its digest says."""
    for tree in clean.results.values():
        for path, hash, size in tree:
            if Digest.of((cache / "cas" / hash[:2] / hash).read_bytes()) != Digest(hash, size):
                raise Fault(f"{path} is damaged")
