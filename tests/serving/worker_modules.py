"""Print the modules that a TorchServe worker needs: run with the Python of an environment that has TorchServe.

The folder of a model comes first in the worker's path. Each module that a worker imports from a file is put there once as
an empty file; those with which the worker can no longer load a model are printed, one on a line.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

WORKER = """
import logging, os, sys
from ts import model_service_worker as worker
from ts.torch_handler import base_handler

folder = sys.argv[1]
logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
arguments = worker.ArgParser.model_service_worker_args().parse_args(["--sock-type", "unix", "--sock-name", folder + "/s.1"])
metrics = os.path.join(os.path.dirname(worker.__file__), "configs", "metrics.yaml")
service = worker.TorchModelServiceWorker("unix", arguments.sock_name, None, None, metrics, False)
request = {"modelPath": folder.encode(), "modelName": b"m", "handler": b"a_handler", "batchSize": b"1"}
assert service.load_model(request)[2] == 200
"""
LISTED = """
origins = {name: getattr(getattr(module, "__spec__", None), "origin", None) for name, module in sys.modules.items()}
print("FOUND", *sorted(n for n, o in origins.items() if "." not in n and o and o.startswith("/") and n != "a_handler"))
"""


def run(code: str, folder: str) -> subprocess.CompletedProcess[str]:
    """Run code as a worker is run whose model lies in the folder."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, folder]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a_handler.py").write_text("def handle(data, context):\n    return data\n")
        listed = run(WORKER + LISTED, folder)
        for name in listed.stdout.rpartition("FOUND ")[2].split():
            file = Path(folder, f"{name}.py")
            file.touch()
            if run(WORKER, folder).returncode:
                print(name, flush=True)
            file.unlink()


if __name__ == "__main__":
    main()
