"""A SavedModel whose variables are damaged is refused before anything is written to the bucket."""

from __future__ import annotations

import pytest

from tests.e2e.workspace import Workspace
from tests.unit.frameworks.bundles import INDEX, SHARD, bundle, floats
from tests.unit.frameworks.test_tensorflow_contract import graph, model

MANIFEST = """\
schema: 1
environments: {local: {bucket: bucket}}
models:
  m: {framework: tf2-cpu.2-18, versions: {"1": {saved_model: sm/}}}
"""
WHOLE = bundle({"w": floats(1, 2, 3)})


@pytest.fixture
def ready(workspace: Workspace) -> Workspace:
    workspace.write({"gdcbuild.yaml": MANIFEST, "sm/saved_model.pb": model(graph(restores=["w"]))})
    workspace.write({f"sm/{path}": data for path, data in WHOLE.items()})
    return workspace


@pytest.mark.parametrize(
    ("path", "data", "said"),
    [
        (SHARD, bytes(12), ["the checksums of 1 of its 1 tensors differ (w)", '"Checksum does not match"', "from one export"]),
        (INDEX, WHOLE[INDEX][:60], ["is damaged", '"not an sstable (bad magic number)"', "from one export"]),
    ],
)
def test_damaged_variables_are_refused_and_nothing_is_written(
    ready: Workspace, path: str, data: bytes, said: list[str]
) -> None:
    ready.write({f"sm/{path}": data})
    done = ready.run("apply")
    words = " ".join(done.err.split())
    assert done.code == 1
    assert f"m@1: {path} " in words
    for part in said:
        assert part in words
    assert not (ready.root / "bucket").exists()
    ready.write({f"sm/{path}": WHOLE[path]})
    ready.ok("apply")
    assert ready.served()[f"m/1/{path}"] == WHOLE[path]


def test_a_data_file_that_is_not_read_is_a_caution(ready: Workspace) -> None:
    ready.write({"sm/variables/variables.data-00001-of-00002": b"left behind"})
    done = ready.ok("apply")
    assert "m@1: variables/variables.data-00001-of-00002 would be published but never read" in " ".join(done.err.split())
