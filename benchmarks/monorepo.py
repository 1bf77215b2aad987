"""Makes a monorepo of PyTorch models to measure on: 5 versions a model, 10 files a version, 47 files a model.

Beside the gdcbuild manifests lie what peers need to look at the very same files: build.ninja, Makefile, dvc.yaml.
"""

from __future__ import annotations

import random
from pathlib import Path

VERSIONS = 5
EXTRAS = 8
HANDLER = "def handle(data, context):\n    return [len(row) for row in data or []]\n"


def write(root: Path, versions: int, bucket: str = "bucket") -> None:
    """Write a workspace of so many versions (a multiple of 5) below `root`, which must not exist."""
    root.mkdir(parents=True)
    random.seed(versions)
    for model in range(versions // VERSIONS):
        _model(root / "models" / f"m{model:05}", f"m{model:05}")
    (root / "gdcbuild.yaml").write_text(
        f"schema: 1\ninclude: [models/*/gdcbuild.yaml]\nenvironments:\n  local: {{bucket: {bucket}}}\n"
    )
    (root / ".gitignore").write_text("/bucket/\n/out/\n/.ninja_*\n")


def _model(folder: Path, name: str) -> None:
    lines = ["schema: 1", "handlers:", "  own: {file: handler.py}", "models:", f"  {name}:"]
    lines += ["    framework: pytorch-cpu.2-4", "    handler: own", "    versions:"]
    for version in range(1, VERSIONS + 1):
        own = folder / f"v{version}"
        own.mkdir(parents=True)
        (own / "weights.pt").write_bytes(b"\0" + random.randbytes(4095))
        for extra in range(EXTRAS):
            (own / f"labels{extra}.txt").write_text(f"{name} {version} {extra}\n" * 4)
        lines.append(f'      "{version}": {{weights: v{version}/weights.pt, files: ["v{version}/*.txt"]}}')
    (folder / "handler.py").write_text(HANDLER)
    (folder / "gdcbuild.yaml").write_text("\n".join(lines) + "\n")


def write_peers(root: Path) -> None:
    """What make, ninja and DVC need to look at the same files: one target a version, made already."""
    ninja = ["rule pack", "  command = cat $in > $out"]
    make = []
    stages = ["stages:"]
    targets = []
    for folder in sorted((root / "models").glob("*/v*")):
        path = folder.relative_to(root)
        inputs = sorted(p.relative_to(root) for p in folder.iterdir())
        inputs += [path.parent / "handler.py", path.parent / "gdcbuild.yaml"]
        target = f"out/{path.parent.name}/{path.name}.mar"
        targets.append(target)
        ninja.append(f"build {target}: pack {' '.join(map(str, inputs))}")
        make.append(f"{target}: {' '.join(map(str, inputs))}\n\tcat $^ > $@\n")
        stages += [f"  {path.parent.name}-{path.name}:", f"    cmd: cat {' '.join(map(str, inputs))} > {target}"]
        stages += ["    deps:", *(f"      - {i}" for i in inputs), "    outs:", f"      - {target}"]
        (root / target).parent.mkdir(parents=True, exist_ok=True)
    (root / "build.ninja").write_text("\n".join(ninja) + "\n")
    (root / "Makefile").write_text("all: " + " ".join(targets) + "\n\n" + "\n".join(make))
    (root / "dvc.yaml").write_text("\n".join(stages) + "\n")
