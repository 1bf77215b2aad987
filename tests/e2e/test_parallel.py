"""Several jobs at a time: how many, which first, and what must not run together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.workspace import HANDLER, Workspace

STEP = """\
  %(name)s:
    run: [sh, step.sh, %(name)s, "${out}/w.pt", "%(seconds)s"]
    inputs: [step.sh]
    outputs: [w.pt]
"""
HEAD = """\
schema: 1
environments:
  local: {bucket: bucket}
handlers:
  h: {file: h.py}
"""


def write(workspace: Workspace, steps: dict[str, float], pools: str = "", more: str = "", seed: int = 0) -> None:
    """A workspace with steps by name and duration; each publishes a version, and notes when it begins and ends."""
    models = "".join(f'      "{name}": {{weights: {{step: {name}, path: w.pt}}}}\n' for name in steps)
    made = "".join(STEP % {"name": name, "seconds": seconds} + more for name, seconds in steps.items())
    model = f"models:\n  m:\n    framework: pytorch-cpu.2-4\n    handler: h\n    versions:\n{models}"
    log = workspace.root / "log"
    script = f'echo "+ $1" >> {log}; sleep "$3"; echo {seed} > "$2"; echo "- $1" >> {log}\n'
    workspace.write({"gdcbuild.yaml": f"{HEAD}{pools}{model}steps:\n{made}", "h.py": HANDLER, "step.sh": script, "log": ""})


def log(workspace: Workspace) -> list[str]:
    return (workspace.root / "log").read_text().splitlines()


def most_at_once(lines: list[str]) -> int:
    running, most = 0, 0
    for line in lines:
        running += 1 if line.startswith("+") else -1
        most = max(most, running)
    return most


NAMES = {f"s{n}": 0.3 for n in range(4)}


@pytest.mark.parametrize(
    ("jobs", "pools", "more", "expected"),
    [
        ("4", "", "", 4),
        ("1", "", "", 1),
        ("2", "", "", 2),
        ("4", "pools: {gpu: 1}\n", "    pool: gpu\n", 1),
        ("4", "pools: {gpu: 2, other: 1}\n", "    pool: gpu\n", 2),
        ("4", "pools: {gpu: 1}\n", "", 4),
    ],
    ids=["four", "one", "two", "pool of one", "pool of two", "pool that nothing is in"],
)
def test_so_many_run_at_a_time(workspace: Workspace, jobs: str, pools: str, more: str, expected: int) -> None:
    write(workspace, NAMES, pools, more)
    workspace.ok("apply", "-j", jobs)
    assert len(log(workspace)) == 8
    assert most_at_once(log(workspace)) == expected


def test_a_pool_is_no_part_of_the_key(workspace: Workspace) -> None:
    write(workspace, {"s": 0})
    workspace.ok("apply")
    write(workspace, {"s": 0}, "pools: {gpu: 1}\n", "    pool: gpu\n")
    assert "Nothing to do: no action ran" in workspace.ok("apply").err


def test_a_pool_in_an_included_manifest(workspace: Workspace) -> None:
    write(workspace, {"s": 0}, "include: [part.yaml]\n")
    workspace.write({"part.yaml": "schema: 1\npools: {gpu: 1}\n"})
    result = workspace.run("apply")
    assert (result.code, "part.yaml:2:1: error: pools is not allowed in an included manifest" in result.err) == (65, True), (
        result.err
    )


def test_what_took_longest_last_time_begins_first(workspace: Workspace) -> None:
    write(workspace, {"a": 0, "b": 0, "slow": 1.5})
    workspace.ok("apply", "-j", "1")
    assert log(workspace)[0::2] == ["+ a", "+ b", "+ slow"]
    write(workspace, {"a": 0, "b": 0, "slow": 1.5}, seed=1)
    workspace.ok("apply", "-j", "1")
    assert log(workspace)[0] == "+ slow"


def test_what_is_not_started_is_not_blamed_on_what_failed(workspace: Workspace) -> None:
    write(workspace, {"bad": 0, "good": 0})
    workspace.write({"step.sh": '[ "$1" = good ] && echo > "$2"\n'})
    result = workspace.run("apply", "-j", "1")
    assert result.code == 1
    lines = result.err.splitlines()
    assert {line for line in lines if line.startswith(("skipped", "not started"))} == {
        "skipped    m@bad, because step:bad failed",
        "skipped    publish m@bad, because step:bad failed",
        "not started step:good",
        "not started m@good",
        "not started publish m@good",
    }
    found = workspace.run("apply", "-j", "1", "--json")
    assert found.jobs("job_not_started") == ["m@good", "publish m@good", "step:good"]
    assert workspace.run("apply", "-k", "--json").jobs(what="publish", outcome="created") == ["m@good"]


def test_two_versions_at_once_and_two_processes_do_not_disturb_each_other(workspace: Workspace, tmp_path: Path) -> None:
    """Both steps write one name, into outputs and into temporary folders; what comes out is each one's own."""
    write(workspace, {"one": 0.2, "two": 0.2})
    workspace.write(
        {"step.sh": 'echo "$1" > "$TMPDIR/x"; echo "$1" > "$HOME/x"; sleep "$3"; cat "$TMPDIR/x" "$HOME/x" > "$2"\n'}
    )
    workspace.ok("apply", "-j", "4")
    blobs = [p.read_bytes() for p in (workspace.cache / "cas").rglob("*") if p.is_file()]
    assert {b"one\none\n", b"two\ntwo\n"} <= set(blobs)
