"""Output: as JSON, to closed or limited streams, and when interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from gdcbuild.app.cache import cache_folder
from gdcbuild.cli.options import WITH_JSON
from gdcbuild.cli.typer_app import app
from gdcbuild.errors import UsageError
from tests.e2e.test_incremental import FILES, MANIFEST
from tests.e2e.workspace import Workspace

PROBLEM = {"message", "hint", "where", "detail"}
PATIENCE = 30


def failure(out: str) -> Any:
    """The failure event: the last line, or the only one."""
    found = json.loads(out.splitlines()[-1])
    assert (found["schema"], found["event"], set(found["problems"][0])) == (1, "failed", PROBLEM)
    return found


@pytest.mark.parametrize("command", ["plan", "status", "explain a@1", "verify", "build", "apply"])
def test_an_invalid_manifest_is_reported_as_json(workspace: Workspace, command: str) -> None:
    workspace.write({"gdcbuild.yaml": "schema: 1\nmodles: {}\n"})
    result = workspace.run(*command.split(), "--json")
    (problem,) = failure(result.out)["problems"]
    assert (result.code, failure(result.out)["exit_code"]) == (65, 65)
    assert problem["where"] == {"file": "gdcbuild.yaml", "line": 2, "column": 1}
    assert (problem["message"], problem["hint"]) == ("unknown key 'modles'", "did you mean 'models'?")
    assert "gdcbuild.yaml:2:1: error: unknown key 'modles'" in result.err, "and to people"


@pytest.mark.parametrize(
    "command",
    ["plan nope", "plan --env nope", "apply --nope", "plan -f nope.yaml", "apply -j 0", "explain", "cache stats --nope"],
)
def test_wrong_usage_is_reported_as_json(workspace: Workspace, command: str) -> None:
    workspace.write(FILES)
    result = workspace.run(*command.split(), "--json")
    assert (result.code, failure(result.out)["exit_code"]) == (64, 64), result.err
    assert failure(result.out)["problems"][0]["message"] in result.err
    workspace.variables["GDCBUILD_JSON"] = "true"
    assert failure(workspace.run(*command.split()).out)["exit_code"] == 64


def test_failed_jobs_are_reported_in_the_last_event(workspace: Workspace) -> None:
    workspace.write({**FILES, "handlers/other.py": "def handle(data, context:\n"})
    result = workspace.run("apply", "-k", "--json")
    (failed,) = [e for e in result.events if e["event"] == "job_failed"]
    assert (failed["job"], failed["what"]) == ("b@2", "check")
    assert failure(result.out)["problems"] == failed["problems"]
    assert "failed     check b@2" in workspace.run("apply", "-k").err


def test_findings_of_verify_are_in_its_document(workspace: Workspace) -> None:
    workspace.write(FILES)
    workspace.ok("apply")
    (workspace.root / "bucket/a/1/model.mar").unlink()
    result = workspace.run("verify", "--json")
    assert (result.code, result.json["versions"][0]["findings"]) == (4, ["model.mar: is missing"])


def test_verify_says_what_is_not_published(workspace: Workspace) -> None:
    workspace.write(FILES)
    workspace.ok("apply", "a")
    (workspace.root / "bucket/b/2").mkdir(parents=True)
    (workspace.root / "bucket/b/2/model.mar").write_bytes(b"by hand")
    (workspace.root / "bucket/c/7").mkdir(parents=True)
    (workspace.root / "bucket/c/7/saved_model.pb").write_bytes(b"by hand")
    shutil.rmtree(workspace.root / "bucket/.gdcbuild/v1/seals/a/1")
    result = workspace.run("verify")
    assert (result.code, "find out who changed it" in result.err) == (4, False)
    lines = result.err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == [
        "error: a@1 is not published: a publish was started but not finished",
        "error: b@2 has files in the bucket that were not published by gdcbuild",
        "error: c@7 has files in the bucket that were not published by gdcbuild",
    ]


def test_unpublished_versions_are_not_damage(workspace: Workspace) -> None:
    """A version that is merged but not applied yet must not raise an alarm."""
    workspace.write(FILES)
    workspace.ok("apply", "a")
    assert workspace.ok("verify").err == "Not published yet: b@1, b@2.\nOK: 2 versions match their seals.\n"
    rows = workspace.ok("verify", "--json").json["versions"]
    assert [(r["model"], r["standing"], r["findings"]) for r in rows] == [
        ("a", "published", []),
        ("a", "published", []),
        ("b", "absent", []),
        ("b", "absent", []),
    ]
    (workspace.root / "bucket/b/1").mkdir(parents=True)
    (workspace.root / "bucket/b/1/model.mar").write_bytes(b"by hand")
    assert workspace.run("verify").code == 4


def test_names_from_the_bucket_are_escaped(workspace: Workspace) -> None:
    workspace.write(FILES)
    workspace.ok("apply")
    seal = workspace.root / "bucket/.gdcbuild/v1/seals" / "\x1b[2Jx\n  + forged" / "1" / f"00000001-{'a' * 64}.json"
    seal.parent.mkdir(parents=True)
    seal.write_text("{}")
    (workspace.root / "bucket/a/1" / "\x1b]0;x\x07\nerror: forged\u202e").write_bytes(b"")
    for command in ("plan", "status", "apply", "verify"):
        result = workspace.run(command)
        shown = result.out + result.err
        assert not {c for c in shown if c != "\n" and not c.isprintable()}, command
        assert not [line for line in shown.splitlines() if line.startswith(("  + forged", "error: forged"))], command
        assert "\\x1b[2Jx\\n  + forged@1" in shown, command
    assert "\\x1b]0;x\\x07\\nerror: forged\\u202e: was not published" in workspace.run("status").out


def test_retiring_a_version(workspace: Workspace) -> None:
    """In the documented order."""
    workspace.write(FILES)
    workspace.ok("apply")
    workspace.write({"gdcbuild.yaml": MANIFEST.replace('      "1": {weights: w1.pt}\n', "")})
    before = workspace.snapshot("bucket")
    assert "a@1  orphan" in workspace.ok("plan", "--detailed-exitcode").out
    workspace.ok("apply")
    workspace.ok("cache", "gc")
    assert workspace.snapshot("bucket") == before, "nothing removes it but a hand"
    bucket = workspace.root / "bucket"
    (bucket / "a/1/model.mar").unlink()
    shutil.rmtree(bucket / "a/1")
    halfway = workspace.run("verify")
    assert (halfway.code, ".gdcbuild/v1/seals/a/1/" in halfway.err) == (4, True), halfway.err
    shutil.rmtree(bucket / ".gdcbuild/v1/seals/a/1")
    assert workspace.ok("verify").err == "OK: 3 versions match their seals.\n"
    assert "a@1" not in workspace.ok("plan").out


def test_commands_that_have_json() -> None:
    found = set()
    for name, command in typer.main.get_group(app(["all"])).commands.items():
        for inner in getattr(command, "commands", {"": command}).values():
            if any("--json" in p.opts for p in inner.params):
                found.add(name)
    assert found == WITH_JSON


def shell(workspace: Workspace, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The result of a bash script in which `g` is gdcbuild."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'g() {{ "{sys.executable}" -m gdcbuild "$@"; }}\n{script}'],
        cwd=workspace.root,
        env={**workspace.environment(), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("g plan | true", 0),
        ("g plan --detailed-exitcode | true", 2),
        ("g plan --json --detailed-exitcode | true", 2),
        ("g plan nope --json | true", 64),
        ("g schema | true", 0),
        ("g plan >&-", 0),
        ("g plan 2>&-", 0),
        ("g plan nope 2>&- >&-", 64),
        ("g plan nope 2> /dev/full", 64),
        ("g plan > /dev/full", 1),
        ("g plan --json > /dev/full", 1),
        ("g version > /dev/full", 1),
        ("g --help > /dev/full", 1),
        ("g apply --json > /dev/full", 1),
        ("g cache stats > /dev/full", 1),
    ],
)
def test_closed_streams(workspace: Workspace, script: str, code: int) -> None:
    workspace.write(FILES)
    done = shell(workspace, script)
    assert (done.returncode, "Traceback" in done.stderr, "Exception" in done.stderr) == (code, False, False), done.stderr
    if "> /dev/full" in script and code == 1:
        assert "No space left on device" in done.stderr


@pytest.mark.parametrize("stderr", ["2> /dev/full", "2>&1 >&3 | true"], ids=["full", "gone"])
def test_an_unreadable_warning_does_not_lose_the_answer(workspace: Workspace, stderr: str) -> None:
    workspace.write(FILES)
    workspace.ok("apply")
    workspace.write({"wb.pt": "other weights"})
    (workspace.cache / "CACHEDIR.TAG").write_text("damaged")
    script = f"exec 3>&1; {{ g plan --json --detailed-exitcode; echo $? > code; }} {stderr}"
    done = shell(workspace, script)
    assert ((workspace.root / "code").read_text(), '"change": "unknown"' in done.stdout) == ("2\n", True), done


@pytest.mark.parametrize("script", ["g apply --json | true", "g apply 2>&1 | true", "g apply 2> /dev/full", "g apply 2>&-"])
def test_a_run_without_a_reader_completes(workspace: Workspace, script: str) -> None:
    workspace.write(FILES)
    assert shell(workspace, script).returncode == 0
    assert workspace.ok("verify").err == "OK: 4 versions match their seals.\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_locale_that_cannot_show_a_name(workspace: Workspace, encoding: str) -> None:
    name = "handlers/hé-日.py"
    workspace.write({**FILES, "gdcbuild.yaml": MANIFEST.replace("handlers/helper.py", name), name: "x = 1\n"})
    workspace.ok("build")
    workspace.write({name: "x = 2\n"})
    variables = {"LC_ALL": "C", "PYTHONIOENCODING": encoding}
    for command in ("plan", "explain a@1", "status", "plan nöpé", "plan 日"):
        done = shell(workspace, f"g {command} 2>&1 | iconv -f latin1 -t utf-8", **variables)
        assert (done.returncode, "Traceback" in done.stdout) == (64 if "plan " in command else 0, False), done.stdout
    found = json.loads(shell(workspace, "g plan a@1 --json", **variables).stdout)
    assert "hé-日.py (as extra/hé-日.py) changed" in found["changes"][0]["why"]
    assert shell(workspace, "g apply 2> /dev/null", **variables).returncode == 0
    workspace.ok("verify")


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a user whom the system does not know
    with pytest.raises(UsageError, match="GDCBUILD_CACHE_DIR"):
        cache_folder(None, {})
    assert cache_folder(Path("/c"), {}) == Path("/c")
    assert cache_folder(None, {"XDG_CACHE_HOME": "/x"}) == Path("/x/gdcbuild")


def test_completion_knows_commands_and_flags(workspace: Workspace) -> None:
    for typed, expected in (
        ("gdcbuild pl", "plan"),
        ("gdcbuild plan --det", "--detailed-exitcode"),
        ("gdcbuild cache st", "stats"),
    ):
        workspace.variables |= {"_GDCBUILD_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
        assert workspace.ok().out.split() == [expected]


def test_no_arguments_give_the_help(workspace: Workspace) -> None:
    result = workspace.run()
    assert (result.code, result.err.startswith("Usage: gdcbuild"), "error" in result.err) == (64, True, False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_at_any_moment(workspace: Workspace, number: int) -> None:
    """At moments spread over a run that imports everything a plan does, once Python has started."""
    workspace.write(FILES)
    for moment in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.argv[1:] = ['apply', '--json']; {STARTED}"],
            cwd=workspace.root,
            env=workspace.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            assert process.stderr.readline() == "started\n"
            time.sleep(moment * 0.03)
            for _ in range(3):
                process.send_signal(number)
            _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode in (0, 128 + number), err
        assert (process.returncode == 0) == ("interrupted" not in err), err
        assert "Traceback" not in err
        assert "Exception" not in err
    workspace.ok("apply")
    workspace.ok("verify", "--deep")


STARTED = """
from gdcbuild import cli
listen = cli._Stop.listen
def listening(stop):
    listen(stop)
    print("started", file=sys.stderr, flush=True)
cli._Stop.listen = listening
cli.main()
"""


def test_a_second_interrupt_does_not_wait(workspace: Workspace) -> None:
    """As when a server does not answer while an upload is being aborted."""
    with subprocess.Popen([sys.executable, "-c", SLOW], env={**os.environ}, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "started\n"
        process.send_signal(signal.SIGINT)
        time.sleep(1.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, "error: interrupted\n")


SLOW = """
import sys, time
from gdcbuild import cli
from gdcbuild.cli import version
def slow():
    print("started", file=sys.stderr, flush=True)
    try:
        time.sleep(60)
    finally:
        time.sleep(60)
slow.__annotations__ = {}
version.version = slow
sys.argv[1:] = ["version"]
cli.main()
"""
