"""Build an archive of more than 4 GiB, and load it in a real TorchServe: python -m tests.serving.large TORCHSERVE_BIN [GIB]

TORCHSERVE_BIN is the bin folder of an environment with torchserve (tests/serving/requirements.txt). Needs 5 times the size on
disk, in TMPDIR, so it is no part of the tests.
"""

from __future__ import annotations

import hashlib
import random
import sys
import tempfile
from pathlib import Path

from tests.e2e.workspace import Workspace
from tests.serving.torchserve import TorchServe

MANIFEST = """\
schema: 1
environments: {local: {bucket: bucket}}
handlers: {own: {file: handler.py}}
models: {large: {framework: pytorch-cpu.2-4, handler: own, versions: {"1": {weights: weights.bin, files: [last.txt]}}}}
"""
HANDLER = """\
import hashlib, os

def handle(data, context):
    if data is None:
        return None
    folder = context.system_properties["model_dir"]
    hashed = hashlib.sha256()
    with open(os.path.join(folder, "weights.bin"), "rb") as file:
        while piece := file.read(1 << 20):
            hashed.update(piece)
    return [{"weights": hashed.hexdigest(), "last": open(os.path.join(folder, "last.txt")).read()}] * len(data)
"""


def main(bin_folder: Path, gib: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder, "workspace"), Path(folder, "cache"))
        workspace.write({"gdcbuild.yaml": MANIFEST, "handler.py": HANDLER, "last.txt": "comes after the weights"})
        source, hashed = random.Random(1), hashlib.sha256()
        with (workspace.root / "weights.bin").open("wb") as file:
            for _ in range(int(gib * 1024)):
                piece = source.randbytes(1 << 10) * (1 << 10)
                hashed.update(piece)
                file.write(piece)
        workspace.ok("apply")
        archive = workspace.root / "bucket/large/1/model.mar"
        print(f"{archive.stat().st_size} bytes")
        with TorchServe(bin_folder) as server:
            server.register(archive, "large")
            said = server.predict("large", {})
            wanted = {"weights": hashed.hexdigest(), "last": "comes after the weights"}
            print(f"registered; every byte arrived: {said == wanted}")
        if said != wanted:
            sys.exit(f"TorchServe read {said}, and {wanted} was packed")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), float(sys.argv[2]) if len(sys.argv) > 2 else 4.1)
