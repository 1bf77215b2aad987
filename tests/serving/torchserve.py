"""A real TorchServe for tests, on free loopback ports, in its own folder, stopped and removed afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

START_SECONDS = 120.0
STOP_SECONDS = 20.0
PORTS = ("inference", "management", "metrics", "grpc_inference", "grpc_management")


class TorchServeError(Exception):
    """TorchServe refused, or ended. `status` is the answer's HTTP status, 0 when there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class TorchServe:
    """A context manager: the server runs inside it.

    `bin_folder` is the bin folder of an environment with torchserve; a `java` must be on PATH or in JAVA_HOME.
    `envelope` is what a container may set for all its models: with "json" the server itself unwraps
    {"instances": [...]} and wraps {"predictions": [...]}.
    """

    def __init__(self, bin_folder: Path, envelope: str | None = None) -> None:
        self._bin = bin_folder
        self._envelope = envelope
        self._stack = ExitStack()

    def __enter__(self) -> TorchServe:
        with self._stack as stack:
            # Not pytest's tmp_path: the workers' sockets lie in here, and a socket's path must be short.
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ts-", ignore_cleanup_errors=True)))
            self._store = self._folder / "store"
            self._store.mkdir()
            self._ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
            self._process = self._start()
            stack.callback(self._stop)
            self._await_health()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def register(self, archive: Path, name: str, workers: int = 1) -> None:
        """Serve an archive under `name`, with so many workers, and wait for them to have loaded it.

        Every archive for Google Distributed Cloud calls its model "model", so the name is given here.
        """
        shutil.copyfile(archive, self._store / f"{name}.mar")
        asked = {"url": f"{name}.mar", "model_name": name, "initial_workers": workers, "synchronous": "true"}
        query = urllib.parse.urlencode(asked)
        self._request("management", f"/models?{query}", method="POST")

    def unregister(self, name: str) -> None:
        """Unregister the model; its worker ends."""
        self._request("management", f"/models/{name}", method="DELETE")

    def scale(self, name: str, workers: int) -> None:
        """Have so many workers, and wait for them to have loaded the model."""
        self._request("management", f"/models/{name}?min_worker={workers}&synchronous=true", method="PUT")

    def predict(self, name: str, body: Any) -> Any:
        """The answer to a JSON body."""
        return self._request("inference", f"/predictions/{name}", json.dumps(body).encode())

    def describe(self, name: str) -> dict[str, Any]:
        """What the server says of a model: its workers and their status, batch size, ..."""
        (found,) = self._request("management", f"/models/{name}")
        return dict(found)

    def log(self) -> str:
        """All the server and its workers have printed."""
        return (self._folder / "output").read_text(errors="replace")

    def _start(self) -> subprocess.Popen[bytes]:
        settings = {
            "inference_address": f"http://127.0.0.1:{self._ports['inference']}",
            "management_address": f"http://127.0.0.1:{self._ports['management']}",
            "metrics_address": f"http://127.0.0.1:{self._ports['metrics']}",
            "grpc_inference_address": "127.0.0.1",
            "grpc_management_address": "127.0.0.1",
            "grpc_inference_port": str(self._ports["grpc_inference"]),
            "grpc_management_port": str(self._ports["grpc_management"]),
            "disable_token_authorization": "true",
            "enable_model_api": "true",
            "disable_system_metrics": "true",
        }
        if self._envelope is not None:
            settings["service_envelope"] = self._envelope
        config = self._folder / "config.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        command = [str(self._bin / "torchserve"), "--start", "--foreground", "--no-config-snapshots"]
        command += ["--model-store", str(self._store), "--ts-config", str(config)]
        with (self._folder / "output").open("wb") as output:
            return subprocess.Popen(
                command,
                cwd=self._folder,  # it writes logs/ there
                env={
                    **{name: os.environ[name] for name in ("JAVA_HOME", "HOME") if name in os.environ},
                    "PATH": f"{self._bin}:{os.environ.get('PATH', '/usr/bin:/bin')}",
                    "TMPDIR": str(self._folder),  # its pid file and the sockets, which others' servers have names for, too
                    "TEMP": str(self._folder),
                    "OMP_NUM_THREADS": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _await_health(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self._process.poll() is not None:
                raise TorchServeError(f"TorchServe ended while starting:\n{self._end_of_log()}")
            try:
                self._request("inference", "/ping")
                return
            except TorchServeError as error:
                if time.monotonic() > deadline:
                    raise TorchServeError(f"TorchServe did not start: {error}\n{self._end_of_log()}") from error
            time.sleep(0.1)

    def _stop(self) -> None:
        """Stop the server, Java and the workers, which are the whole session started here."""
        for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                break
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline and alive(self._process):
                time.sleep(0.05)
        self._process.wait()

    def _request(self, api: str, path: str, body: bytes | None = None, method: str | None = None) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self._ports[api]}{path}", body, method=method)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=START_SECONDS) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            raise TorchServeError(f"{error.code} to {path}: {said}\n{self._end_of_log()}", error.code) from error
        except OSError as error:
            raise TorchServeError(f"no answer to {path}: {error}") from error

    def _end_of_log(self) -> str:
        lines = [line for line in self.log().splitlines() if not line.startswith("\tat ")]  # Java's stack traces
        return "\n".join(lines[-40:])


def alive(leader: subprocess.Popen[bytes]) -> bool:
    """Whether any process of the leader's group is left. The leader itself is reaped on the way."""
    leader.poll()
    try:
        os.killpg(leader.pid, 0)
    except ProcessLookupError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Different loopback ports that were free a moment ago."""
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            found.append(listener.getsockname()[1])
        return found
