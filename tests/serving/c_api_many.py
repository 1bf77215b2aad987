"""Load many SavedModels with the C API, each in its own process. Run in a toolchain's Python:

c_api_many.py SAVED_MODEL...  ->  {"SAVED_MODEL": "", "SAVED_MODEL": "Checksum does not match"}
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

from c_api_loader import Model  # type: ignore[import-not-found] # beside this script


def answer(folder: Path, saved_model: str) -> str:
    """TensorFlow's error for a model, empty when it loads."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = ""
        try:
            Model(folder, saved_model)
        except RuntimeError as error:
            said = str(error)
        os.write(writing, said.encode()[:4096])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    return said if status == 0 else f"died with {status}"


def main(saved_models: list[str]) -> None:
    spec = importlib.util.find_spec("tensorflow")
    assert spec is not None and spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations)))
    print(json.dumps({each: answer(folder, each) for each in saved_models}))


if __name__ == "__main__":
    main(sys.argv[1:])
