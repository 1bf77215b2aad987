"""S3 stores that fail, give wrong answers, or lack features."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from botocore.utils import parse_timestamp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gdcbuild.core.digest import BytesBlob
from gdcbuild.core.ports import Remote
from gdcbuild.errors import RemoteError
from gdcbuild.remotes import open_remote
from gdcbuild.remotes.s3 import S3Remote
from gdcbuild.remotes.s3_client import S3Options, _instant
from tests.servers import AwkwardS3, awkward

BIG = b"0123456789abcdef" * (20 << 16)  # 20 MiB: two parts


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)


def remote_at(endpoint: str, bucket: str = "bucket", ca_file: Path | None = None) -> Remote:
    return open_remote(f"s3://{bucket}", Path(), endpoint=endpoint, ca_file=ca_file)


LOST = [
    (b"x", "PUT", ["lose-reply"]),
    (b"x", "PUT", ["lose-reply"] * 4),
    (b"x", "PUT", ["drop", "InternalError 500", "SlowDown 503"]),
    (b"x", "PUT", ["ConditionalRequestConflict 409"]),
    (BIG, "PART", ["lose-reply", "InternalError 500"]),
    (BIG, "COMPLETE", ["lose-reply"]),
    (BIG, "COMPLETE", ["lose-reply"] * 4),
    (b"x", "HEAD", ["drop"]),
]


@pytest.mark.parametrize(("data", "operation", "faults"), LOST)
def test_an_unclear_answer_is_followed_by_a_look(data: bytes, operation: str, faults: list[str]) -> None:
    with awkward(AwkwardS3(faults={operation: list(faults)})) as store:
        told: list[int] = []
        outcome = remote_at(store.endpoint).create("m/1/f", BytesBlob(data), told.append).outcome
        assert outcome in ("created", "same")
        assert store.objects == {"m/1/f": data}
        assert store.uploads == {}
        assert sum(told) in (0, len(data))


def test_a_lost_reply_is_not_taken_for_another_writer() -> None:
    with awkward(AwkwardS3(faults={"PUT": ["lose-reply"]})) as store:
        assert remote_at(store.endpoint).create("k", BytesBlob(b"ours")).outcome == "same"
        assert store.log == ["HEAD", "PUT", "PUT", "HEAD", "GET"]


@pytest.mark.slow
@pytest.mark.parametrize("conditions", ["honoured", "ignored", "501", "put-only"])
@pytest.mark.parametrize("data", [b"x", BIG], ids=["put", "parts"])
def test_create_only_on_every_kind_of_store(conditions: str, data: bytes) -> None:
    with awkward(AwkwardS3(conditions=conditions)) as store:
        remote = remote_at(store.endpoint)
        assert remote.create("k", BytesBlob(data)).outcome == "created"
        assert remote.create("k", BytesBlob(data)).outcome == "same"
        assert remote.create("k", BytesBlob(data[:-1] + b"!")).outcome == "other"
        assert store.objects == {"k": data}
        assert store.uploads == {}


def test_a_store_that_cannot_create_only_is_asked_once() -> None:
    with awkward(AwkwardS3(conditions="501")) as store:
        remote = remote_at(store.endpoint)
        for key in "abc":
            assert remote.create(key, BytesBlob(b"x")).outcome == "created"
        assert store.log.count("PUT") == 4
        assert ["If-None-Match" in h for h, o in zip(store.headers, store.log, strict=True) if o == "PUT"] == [
            True,
            *[False] * 3,
        ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("refusals", "conditions"),
    [
        (["PreconditionFailed 412"], [True, True]),
        (["PreconditionFailed 412"] * 2, [True, True, False]),
        (["ConditionalRequestConflict 409"] * 2, [True, True, True]),
        (["InvalidRequest 412"], [True, False]),
        (["NotImplemented 501"], [True, False]),
    ],
)
@pytest.mark.parametrize(("data", "operation"), [(b"x", "PUT"), (BIG, "COMPLETE")], ids=["put", "parts"])
def test_a_race_that_is_over_is_no_reason_to_overwrite(
    data: bytes, operation: str, refusals: list[str], conditions: list[bool]
) -> None:
    with awkward(AwkwardS3(faults={operation: list(refusals)})) as store:
        assert remote_at(store.endpoint).create("k", BytesBlob(data)).outcome == "created"
    sent = zip(store.log, store.headers, strict=True)
    assert ["If-None-Match" in headers for done, headers in sent if done == operation] == conditions


@pytest.mark.parametrize("data", [b"x", BIG], ids=["put", "parts"])
def test_a_bucket_with_object_lock(data: bytes) -> None:
    with awkward(AwkwardS3(locked=True)) as store:
        assert remote_at(store.endpoint).create("k", BytesBlob(data)).outcome == "created"
        assert store.objects == {"k": data}


@pytest.mark.parametrize(
    ("data", "operation"), [(b"x", "LIST"), (b"x", "PUT"), (BIG, "INITIATE"), (BIG, "PART"), (BIG, "COMPLETE")]
)
def test_a_web_page_answers_one_request(data: bytes, operation: str) -> None:
    with awkward(AwkwardS3(faults={operation: ["page"] * 99})) as store:
        remote = remote_at(store.endpoint)
        with pytest.raises(RemoteError, match=r"cannot .* (answered with a web page|is not an S3 server)"):
            list(remote.list("")) if operation == "LIST" else remote.create("k", BytesBlob(data))
        assert (store.objects, store.uploads) == ({}, {})


def test_an_xml_page_starts_no_upload() -> None:
    store = AwkwardS3(faults={"INITIATE": ["xml"]})
    with awkward(store), pytest.raises(RemoteError, match="is not an S3 server"):
        remote_at(store.endpoint).create("k", BytesBlob(BIG))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("operation", ["LIST", "HEAD", "PUT"])
def test_a_redirect_that_lasts(status: int, operation: str) -> None:
    with awkward(AwkwardS3(faults={operation: [f"Moved {status}"] * 99})) as store:
        remote = remote_at(store.endpoint)
        with pytest.raises(RemoteError, match=r"redirects to another address|another endpoint"):
            list(remote.list("")) if operation == "LIST" else remote.create("k", BytesBlob(b"x"))
        assert len(store.log) < 20


def test_a_failed_part_aborts_the_upload() -> None:
    with awkward(AwkwardS3(faults={"PART": ["AccessDenied 403"]})) as store:
        told: list[int] = []
        with pytest.raises(RemoteError, match="access denied"):
            remote_at(store.endpoint).create("k", BytesBlob(BIG), told.append)
        assert (store.objects, store.uploads, sum(told)) == ({}, {}, 0)
        assert store.log[-1] == "ABORT"


def test_an_error_of_the_caller_aborts_the_upload() -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with awkward(AwkwardS3()) as store:
        with pytest.raises(KeyboardInterrupt):
            remote_at(store.endpoint).create("k", BytesBlob(BIG), stop)
        assert (store.objects, store.uploads) == ({}, {})


def test_uploads_left_by_killed_runs_are_aborted() -> None:
    now = datetime.now(UTC)
    begun = {
        "killed": ("m/1/f", now - timedelta(hours=8)),
        "without-a-part": ("m/1/g", now - timedelta(hours=8)),
        "slow": ("m/2/f", now - timedelta(hours=6.5)),
        "just-begun": ("m/3/f", now),
        "another-model": ("mm/1/f", now - timedelta(days=9)),
    }
    uploads = {id: {} if id == "without-a-part" else {1: b"x"} for id in begun}
    with awkward(AwkwardS3(uploads=uploads, begun=begun)) as store:
        remote = remote_at(store.endpoint)
        for key in ("m/3/f", "m/3/g"):
            assert remote.create(key, BytesBlob(BIG)).outcome == "created"
        assert set(store.uploads) == {"slow", "just-begun", "another-model"}
        assert store.log.count("UPLOADS") == 1


@pytest.mark.parametrize("refusal", ["NotImplemented 501", "AccessDenied 403", "MethodNotAllowed 405", "drop", "cut"])
@pytest.mark.parametrize("operation", ["UPLOADS", "PARTS", "ABORT"])
def test_a_store_that_cannot_list_uploads_still_works(operation: str, refusal: str) -> None:
    begun = {"left": ("m/1/f", datetime.now(UTC) - timedelta(days=1))}
    with awkward(AwkwardS3(uploads={"left": {1: b"x"}}, begun=begun, faults={operation: [refusal] * 4})) as store:
        assert remote_at(store.endpoint).create("m/1/f", BytesBlob(BIG)).outcome == "created"
        assert store.objects == {"m/1/f": BIG}


@pytest.mark.parametrize("operation", ["PART", "COMPLETE"])
def test_an_upload_aborted_by_another_run_is_started_again(operation: str) -> None:
    with awkward(AwkwardS3(faults={operation: ["NoSuchUpload 404"]})) as store:
        assert remote_at(store.endpoint).create("m/1/f", BytesBlob(BIG)).outcome == "created"
        assert (store.objects, store.uploads) == ({"m/1/f": BIG}, {})
    sent = zip(store.log, store.headers, strict=True)
    assert all("If-None-Match" in headers for done, headers in sent if done == "COMPLETE")


def test_a_store_that_lists_from_the_start_wherever_it_should() -> None:
    with awkward(AwkwardS3(whole=True, objects=dict.fromkeys(("a/1", "m/1", "m/2"), b""))) as store:
        assert [o.key for o in remote_at(store.endpoint).list("", after="m/1")] == ["m/2"]
        assert [o.key for o in remote_at(store.endpoint).list("")] == ["a/1", "m/1", "m/2"]


def test_a_body_that_ends_early_is_an_error() -> None:
    with awkward(AwkwardS3(objects={"k": b"x" * 1000}, faults={"GET": ["cut"]})) as store:
        remote = remote_at(store.endpoint)
        with remote.open("k") as stream, pytest.raises(RemoteError, match=r"the connection to http://.* broke"):
            stream.read()


def test_uploads_have_a_digest_and_no_trailer() -> None:
    with awkward(AwkwardS3()) as store:
        remote_at(store.endpoint).create("k", BytesBlob(b"x"))
        remote_at(store.endpoint).create("big", BytesBlob(BIG))
    for operation, headers in zip(store.log, store.headers, strict=True):
        names = {name.lower() for name in headers}
        assert not names & {"x-amz-trailer", "x-amz-sdk-checksum-algorithm"}
        assert len(headers["X-Amz-Content-SHA256"]) == 64
        assert ("x-amz-checksum-sha256" in names) == (operation == "PUT")
        assert ("content-md5" in names) == (operation in ("PUT", "PART"))
        assert "testsecret123" not in str(headers)


REFUSALS = [
    ("InvalidAccessKeyId 403", "does not recognise the access key", "AWS_ACCESS_KEY_ID"),
    ("SignatureDoesNotMatch 403", "secret key does not match the access key", "AWS_SECRET_ACCESS_KEY"),
    ("AccessDenied 403", "access denied", "read, write and delete"),
    ("SomethingOdd 403", "access denied", "read, write and delete"),
    ("NoSuchBucket 404", "bucket 'bucket' does not exist", "create it"),
    ("PermanentRedirect 301", "another region or at another endpoint", "region"),
    ("AuthorizationHeaderMalformed 400", "another region", "region"),
    ("RequestTimeTooSkewed 403", "clock", "clock"),
    ("ExpiredToken 400", "expired", "sign in"),
    ("QuotaExceeded 403", "is full", "free space"),
    ("Odd{0}Code 418", "Odd{0}Code", ""),
]


@pytest.mark.parametrize(("error", "message", "hint"), REFUSALS)
@pytest.mark.parametrize("operation", ["LIST", "PUT"])
def test_refusals_in_plain_words(error: str, message: str, hint: str, operation: str) -> None:
    calls: dict[str, Callable[[Remote], object]] = {
        "LIST": lambda r: list(r.list("m/")),
        "PUT": lambda r: r.create("m/1/f", BytesBlob(b"x")),
    }
    with awkward(AwkwardS3(faults={operation: [error] * 8})) as store, pytest.raises(RemoteError) as raised:
        calls[operation](remote_at(store.endpoint))
    (problem,) = raised.value.problems
    assert message in problem.message
    assert "s3://bucket" in problem.message
    assert hint in problem.hint
    assert "testsecret123" not in str(problem)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
    return port


def fails(remote: Remote) -> str:
    with pytest.raises(RemoteError) as raised:
        list(remote.list(""))
    return str(raised.value.problems[0])


def test_nobody_listens() -> None:
    port = free_port()
    said = fails(remote_at(f"http://someone:password@127.0.0.1:{port}"))
    assert f"http://127.0.0.1:{port} cannot be reached" in said
    assert "`endpoint`" in said
    assert "password" not in said


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "no credentials found" in fails(remote_at("http://127.0.0.1:9"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testaccess")
    with pytest.raises(RemoteError, match="the credentials are incomplete"):
        remote_at("http://127.0.0.1:9")


@pytest.mark.parametrize("endpoint", ["not a url", "http://", "http://host:port"])
def test_invalid_endpoints(endpoint: str) -> None:
    with pytest.raises(RemoteError, match="not an endpoint"):
        remote_at(endpoint)


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("endpoint", ["http://h:secret", "http://user:secret/@h", "user:secret@h"])
def test_an_invalid_endpoint_in_a_variable(monkeypatch: pytest.MonkeyPatch, variable: str, endpoint: str) -> None:
    monkeypatch.setenv(variable, endpoint)
    with pytest.raises(RemoteError, match=f"{variable}: .* is not an endpoint") as caught:
        open_remote("s3://bucket", Path())
    assert "secret" not in repr(caught.value.problems)


def test_an_invalid_endpoint_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config").write_text("[default]\nendpoint_url = http://h:secret\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with pytest.raises(RemoteError) as caught:
        list(open_remote("s3://bucket", Path()).list(""))
    (problem,) = caught.value.problems
    assert "http://h:*** is not an endpoint" in problem.message
    assert "endpoint_url" in problem.hint


@pytest.mark.parametrize(
    ("given", "variables", "used"),
    [
        ("here-1", {"AWS_REGION": "there-1", "AWS_DEFAULT_REGION": "default-1"}, "here-1"),
        (None, {"AWS_REGION": "there-1", "AWS_DEFAULT_REGION": "default-1"}, "there-1"),
        (None, {"AWS_REGION": "", "AWS_DEFAULT_REGION": "default-1"}, "default-1"),
        (None, {}, "us-east-1"),
    ],
)
def test_the_region(monkeypatch: pytest.MonkeyPatch, given: str | None, variables: dict[str, str], used: str) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with awkward(AwkwardS3()) as store:
        list(open_remote("s3://bucket", Path(), endpoint=store.endpoint, region=given).list(""))
    assert f"/{used}/s3/" in store.headers[0]["Authorization"]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-25T03:04:05.678Z",
        "2026-11-25T03:04:05Z",
        "2026-11-25T03:04:05+01:00",
        "Wed, 25 Nov 2026 03:04:05 GMT",
        "Wednesday, 25-Nov-26 03:04:05 GMT",
        "20261125",
        "1764040000.5",
        1764040000.5,
    ],
)
def test_times_are_parsed_as_botocore_does(text: Any) -> None:
    assert _instant(text) == parse_timestamp(text)


def test_a_profile_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(RemoteError, match="profile in AWS_PROFILE does not exist"):
        remote_at("http://127.0.0.1:9")


def test_an_invalid_bucket_name() -> None:
    assert "'a b' is not a valid bucket name" in fails(S3Remote(S3Options("a b", endpoint="http://127.0.0.1:9")))


def test_an_invalid_ca_file(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match=r"ca\.pem cannot be used: No such file"):
        remote_at("https://127.0.0.1:9", ca_file=tmp_path / "ca.pem")
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(RemoteError, match=r"ca\.pem cannot be used: contains no certificate"):
        remote_at("https://127.0.0.1:9", ca_file=tmp_path / "ca.pem")


def test_an_endpoint_with_a_private_certificate(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path / "ca.pem")
    with awkward(AwkwardS3(objects={"k": b"x"}), certificate) as store:
        said = fails(remote_at(store.endpoint))
        assert "certificate of https://127.0.0.1" in said
        assert "cannot be verified: self-signed certificate" in said
        assert "ca_file: PATH" in said
        assert [o.key for o in remote_at(store.endpoint, ca_file=certificate).list("")] == ["k"]


def test_a_server_without_tls() -> None:
    with awkward(AwkwardS3()) as store:
        said = fails(remote_at(store.endpoint.replace("http:", "https:")))
    assert "what answers at https://127.0.0.1" in said
    assert "does not use TLS" in said
    assert "write http:// in `endpoint`" in said


def self_signed(file: Path) -> Path:
    """Write a certificate for 127.0.0.1, and its key, into the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    authority = x509.BasicConstraints(ca=True, path_length=None)
    certificate = builder.add_extension(address, False).add_extension(authority, True).sign(key, hashes.SHA256())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + pem)
    return file
