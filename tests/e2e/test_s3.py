"""Publishing to S3 servers over a socket: the same as to a folder, and plain words when the server says no."""

from __future__ import annotations

import select
import signal
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.e2e.test_incremental import ALL, FILES, MANIFEST
from tests.e2e.test_killed import PATIENCE, started, until
from tests.e2e.workspace import HANDLER, Workspace
from tests.servers import HOST, AwkwardS3, awkward

KEYS = {"AWS_ACCESS_KEY_ID": "testaccess", "AWS_SECRET_ACCESS_KEY": "testsecret123"}


def on_server(tmp_path: Path, endpoint: str, bucket: str = "models") -> Workspace:
    """The workspace of the incremental tests, with an environment `s3` at an endpoint."""
    found = Workspace(tmp_path / "workspace", tmp_path / "cache", {**KEYS, "S3_ENDPOINT": endpoint})
    environments = "environments:\n  s3: {bucket: s3://" + bucket + "/team, endpoint: '${env.S3_ENDPOINT}'}\n"
    found.write({**FILES, "gdcbuild.yaml": MANIFEST.replace("environments:\n", environments)})
    return found


class Bucket:
    """A bucket of a server, as another client sees it."""

    def __init__(self, endpoint: str, name: str) -> None:
        self.name = name
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )
        self.client.create_bucket(Bucket=name)

    def listing(self) -> dict[str, tuple[str, Any]]:
        """Key → etag and time of writing."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return {o["Key"]: (o["ETag"], o["LastModified"]) for page in pages for o in page.get("Contents", [])}

    def read(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data


def test_the_same_as_a_folder(s3_server: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    name = f"bucket-{abs(hash(request.node.name)) % 10**8}"
    bucket = Bucket(s3_server, name)
    workspace = on_server(tmp_path, s3_server, name)
    first = workspace.ok("apply", "--env", "s3", "--json")
    assert first.jobs(what="publish", outcome="created") == ALL
    workspace.ok("apply", "--env", "local")
    served = {key for key in bucket.listing() if not key.startswith("team/.gdcbuild/")}
    assert {key.removeprefix("team/"): bucket.read(key) for key in served} == workspace.served()
    before = bucket.listing()
    assert "Nothing to do" in workspace.ok("apply", "--env", "s3").err
    assert bucket.listing() == before
    workspace.write({"handlers/helper.py": "x = 2\n"})
    second = workspace.ok("apply", "--env", "s3", "--json")
    assert second.jobs(what="publish", outcome="replaced") == ["a@1", "a@2", "b@1"]
    after = bucket.listing()
    assert after["team/b/2/model.mar"] == before["team/b/2/model.mar"]
    assert after["team/b/1/model.mar"][0] != before["team/b/1/model.mar"][0]
    assert "Nothing to do" in workspace.ok("apply", "--env", "s3").err
    workspace.ok("verify", "--env", "s3", "--deep")
    bucket.client.put_object(Bucket=name, Key="team/b/2/model.mar", Body=b"somebody's")
    assert [c["change"] for c in workspace.ok("plan", "--env", "s3", "--json").json["changes"]] == ["none"] * 3 + ["drift"]
    assert workspace.run("verify", "--env", "s3").code == 4


def test_entry_object_last_and_seal_after_it(tmp_path: Path) -> None:
    with awkward(AwkwardS3()) as store:
        workspace = on_server(tmp_path, store.endpoint)
        workspace.ok("apply", "a@1", "--env", "s3")
        keys = [key.rpartition("team/")[2] for key in store.objects]
        assert [key.split("/")[:3] for key in keys] == [
            [".gdcbuild", "v1", "claims"],
            ["a", "1", "model.mar"],
            [".gdcbuild", "v1", "seals"],
        ]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("InvalidAccessKeyId 403", "AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch 403", "AWS_SECRET_ACCESS_KEY"),
        ("AccessDenied 403", "models"),
        ("NoSuchBucket 404", "models"),
    ],
)
def test_refusals_in_plain_words(tmp_path: Path, fault: str, expected: str) -> None:
    with awkward(AwkwardS3(faults={"LIST": [fault] * 50})) as store:
        result = on_server(tmp_path, store.endpoint).run("apply", "--env", "s3")
        assert (result.code, "Traceback" in result.err) == (1, False), result.err
        assert result.err.startswith("error:") or ": error: " in result.err
        assert expected in result.err
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in result.err
        assert store.objects == {}


def test_missing_bucket_on_real_servers(s3_server: str, tmp_path: Path) -> None:
    result = on_server(tmp_path, s3_server, "no-such-bucket").run("apply", "--env", "s3")
    assert (result.code, "no-such-bucket" in result.err, "Traceback" in result.err) == (1, True, False), result.err


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as held:
        port = held.getsockname()[1]
    workspace = on_server(tmp_path, f"http://{HOST}:{port}")
    result = workspace.run("apply", "--env", "s3")
    assert (result.code, str(port) in result.err, "Traceback" in result.err) == (1, True, False), result.err


@pytest.mark.parametrize("command", ["plan", "status", "verify", "apply"])
def test_a_web_page_answers_instead_of_a_store(tmp_path: Path, command: str) -> None:
    """A console, or a proxy with a sign-in page: it answers 200 to everything, and stores nothing."""

    class Page(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            page = b"<html>login</html>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(page)

        do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = answer  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer((HOST, 0), Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        result = on_server(tmp_path, f"http://{HOST}:{server.server_port}").run(command, "--env", "s3")
        server.shutdown()
    assert (result.code, result.out, "Traceback" in result.err) == (1, "", False), result.err
    assert f"what answers at http://{HOST}:{server.server_port} is not an S3 server" in result.err


def test_waiting_for_a_silent_server_is_reported(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as silent:
        workspace = on_server(tmp_path, f"http://{HOST}:{silent.getsockname()[1]}")
        with started(workspace, "plan", "--env", "s3") as process:
            assert process.stderr is not None
            assert select.select([process.stderr], [], [], 30)[0]
            assert process.stderr.readline() == "warning: still waiting for s3://models/team\n"


@pytest.mark.parametrize("versions", [["a@1"], ["a@1", "a@2"]], ids=["one version", "several versions at a time"])
def test_an_interrupt_ends_the_wait_for_a_silent_server(tmp_path: Path, versions: list[str]) -> None:
    with socket.create_server((HOST, 0)) as silent:
        workspace = on_server(tmp_path, f"http://{HOST}:{silent.getsockname()[1]}")
        with started(workspace, "plan", *versions, "--env", "s3") as process:
            assert process.stderr is not None
            assert select.select([process.stderr], [], [], 30)[0]
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE)
            assert (process.returncode, "error: interrupted" in err, "Traceback" in err) == (130, True, False), err


def test_an_interrupt_ends_the_wait_for_a_server_that_falls_silent_during_an_upload(tmp_path: Path) -> None:
    with awkward(AwkwardS3(faults={"PUT": ["silence"] * 99})) as store:
        workspace = on_server(tmp_path, store.endpoint)
        with started(workspace, "apply", "--env", "s3") as process:
            until(lambda: "PUT" in store.log)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE + 3)
            assert (process.returncode, "interrupted" in err, "Traceback" in err) == (130, True, False), err
        store.faults.clear()
        workspace.ok("apply", "--env", "s3")
        workspace.ok("cache", "verify")


def test_an_object_written_by_another_client_is_not_replaced_unseen(tmp_path: Path) -> None:
    with awkward(AwkwardS3()) as store:
        workspace = on_server(tmp_path, store.endpoint)
        workspace.ok("apply", "--env", "s3")
        bucket = Bucket(store.endpoint, "models")
        bucket.client.put_object(Bucket="models", Key="team/a/1/model.mar", Body=b"patched by hand")
        workspace.write({"handlers/helper.py": "x = 2\n"})
        for _ in range(2):
            (change,) = workspace.ok("plan", "a@1", "--env", "s3", "--json").json["changes"]
            assert change["change"] == "drift"
            assert "drifted" in workspace.ok("status", "a@1", "--env", "s3").out
            refused = workspace.run("apply", "--env", "s3")
            assert (refused.code, "apply --repair a@1 --env s3" in refused.err) == (3, True), refused.err
            assert bucket.read("team/a/1/model.mar") == b"patched by hand"
        repaired = workspace.ok("apply", "--repair", "a@1", "--env", "s3", "--json")
        assert repaired.jobs(what="publish", outcome="replaced") == ["a@1"]
        assert "Nothing to do" in workspace.ok("apply", "--env", "s3").err


def test_a_failed_replacement_warns_that_nothing_is_served(tmp_path: Path) -> None:
    with awkward(AwkwardS3()) as store:
        workspace = on_server(tmp_path, store.endpoint)
        workspace.ok("apply", "a@1", "--env", "s3")
        workspace.write({"handlers/helper.py": "x = 2\n"})
        store.faults["PUT"] = ["", *["AccessDenied 403"] * 20]
        broken = workspace.run("apply", "a@1", "--env", "s3")
        assert broken.code == 1
        assert "no server can load a@1 until it is published again" in broken.err
        store.faults.clear()
        (change,) = workspace.ok("plan", "a@1", "--env", "s3", "--json").json["changes"]
        assert change["why"] == "a publish was started but not finished; model.mar: is missing"
        assert "model.mar: is missing" in workspace.ok("status", "a@1", "--env", "s3").out
        verified = workspace.run("verify", "a@1", "--env", "s3")
        assert (verified.code, "finish it: gdcbuild apply a@1 --env s3" in verified.err) == (4, True), verified.err
        workspace.ok("apply", "a@1", "--env", "s3")
        workspace.ok("verify", "a@1", "--env", "s3")


def test_an_interrupted_replacement_warns_that_nothing_is_served(tmp_path: Path) -> None:
    with awkward(AwkwardS3()) as store:
        workspace = on_server(tmp_path, store.endpoint)
        workspace.ok("apply", "a@1", "--env", "s3")
        workspace.write({"handlers/helper.py": "x = 2\n"})
        store.faults["PUT"] = ["", *["silence"] * 20]  # after the claim
        with started(workspace, "apply", "a@1", "--env", "s3") as process:
            until(lambda: "DELETE" in store.log and store.log[-1] == "PUT")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE + 3)
        assert process.returncode == 130
        assert "warning: no server can load a@1 until it is published again" in err
        assert "    publish it: gdcbuild apply a@1 --env s3" in err
        assert "error: interrupted; the next run finishes what was started in the bucket" in err
        store.faults.clear()
        workspace.ok("apply", "a@1", "--env", "s3")
        workspace.ok("verify", "a@1", "--env", "s3")


def test_no_credentials(tmp_path: Path) -> None:
    with awkward(AwkwardS3()) as store:
        workspace = on_server(tmp_path, store.endpoint)
        nowhere = str(tmp_path / "nothing")
        workspace.variables = {
            "S3_ENDPOINT": store.endpoint,
            "AWS_CONFIG_FILE": nowhere,
            "AWS_SHARED_CREDENTIALS_FILE": nowhere,
        }
        result = workspace.run("apply", "--env", "s3")
        assert (result.code, "AWS_ACCESS_KEY_ID" in result.err) == (1, True), result.err


def test_a_failed_upload_is_completed_by_the_next_run(tmp_path: Path) -> None:
    with awkward(AwkwardS3()) as store:
        store.faults["PUT"] = ["", "AccessDenied 403"]
        workspace = on_server(tmp_path, store.endpoint)
        assert workspace.run("apply", "-k", "--env", "s3").code == 1
        result = workspace.ok("apply", "--env", "s3", "--json")
        assert result.events[-1]["failed"] == 0
        workspace.ok("verify", "--env", "s3", "--deep")
        assert "Nothing to do" in workspace.ok("apply", "--env", "s3").err


def test_environment_whose_variable_is_not_set(workspace: Workspace) -> None:
    workspace.write({**FILES})
    text = MANIFEST.replace("environments:\n", "environments:\n  s3: {bucket: s3://b, endpoint: '${env.NOT_SET_ANYWHERE}'}\n")
    workspace.write({"gdcbuild.yaml": text, "handlers/other.py": HANDLER})
    workspace.ok("plan")
    result = workspace.run("plan", "--env", "s3")
    assert (result.code, "gdcbuild.yaml:3:34: error: the environment variable NOT_SET_ANYWHERE" in result.err) == (65, True), (
        result.err
    )
