"""S3 servers on free ports of this machine: two emulators, and a small one of ours that misbehaves on demand."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

HOST = "127.0.0.1"


@contextmanager
def moto() -> Iterator[str]:
    """moto's server, in a thread of this process; its endpoint."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(HOST, port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


@contextmanager
def ministack() -> Iterator[str]:
    """ministack, in a process of its own; its endpoint."""
    with socket.create_server((HOST, 0)) as held:
        port = held.getsockname()[1]
    env = {**os.environ, "BIND_HOST": HOST, "GATEWAY_PORT": str(port), "LOG_LEVEL": "ERROR"}
    command = [sys.executable, "-m", "ministack"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield f"http://{HOST}:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the server does not listen")


SERVERS = {"moto": moto, "ministack": ministack}


@dataclass
class AwkwardS3:
    """A bucket that does as it is told to, and worse. `conditions`: "honoured", "ignored", "501", or "put-only", which
    refuses every conditional completion. `whole` listings start at the start, wherever they should. A `locked` bucket has
    Object Lock: a body without the right Content-MD5 is refused. `faults` maps an operation to what happens to its next
    requests, in order.

    Operations: HEAD GET PUT INITIATE PART COMPLETE ABORT DELETE LIST UPLOADS PARTS. Faults: "lose-reply" (done, no
    answer), "drop" (not done, no answer), "silence" (not done, and the connection stays), "not-stored" (200, not done),
    "cut" (half a body), "page" and "xml" (200, not done, and HTML that is not, or is, XML), or an error code with status,
    such as "AccessDenied 403".
    """

    conditions: str = "honoured"
    faults: dict[str, list[str]] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    begun: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    """Upload → its key, and when it was begun; its parts arrived an hour later."""
    log: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)
    endpoint: str = ""
    whole: bool = False
    locked: bool = False

    def fault(self, operation: str) -> str:
        with self.lock:
            self.log.append(operation)
            queue = self.faults.get(operation, [])
            return queue.pop(0) if queue else ""

    def refuses(self, operation: str, condition: str | None, key: str) -> str:
        """The error by which a conditional write is refused, "" when it is not."""
        if condition is None or self.conditions == "ignored":
            return ""
        if self.conditions == "501":
            return "NotImplemented 501"
        inverted = self.conditions == "put-only" and operation == "COMPLETE"
        return "PreconditionFailed 412" if inverted or key in self.objects else ""


@contextmanager
def awkward(store: AwkwardS3, certificate: Path | None = None) -> Iterator[AwkwardS3]:
    """The store behind a socket, with its `endpoint` set; over TLS when there is a certificate (with its key)."""
    server = ThreadingHTTPServer((HOST, 0), type("Handler", (_Handler,), {"store": store}))
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    store.endpoint = f"{'https' if certificate else 'http'}://{HOST}:{server.server_address[1]}"
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Path-style requests for any bucket; signatures are not looked at."""

    protocol_version = "HTTP/1.1"
    store: AwkwardS3

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._handle("HEAD")

    def do_GET(self) -> None:
        query = self._query()
        key = "PARTS" if "uploadId" in query else "GET"
        self._handle(key if self._key() else "UPLOADS" if "uploads" in query else "LIST")

    def do_PUT(self) -> None:
        self._handle("PART" if "uploadId" in self._query() else "PUT")

    def do_POST(self) -> None:
        self._handle("COMPLETE" if "uploadId" in self._query() else "INITIATE")

    def do_DELETE(self) -> None:
        self._handle("ABORT" if "uploadId" in self._query() else "DELETE")

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]

    def _query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True)

    def _handle(self, operation: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.store.fault(operation)
        self.store.headers.append(dict(self.headers))
        if fault == "silence":
            time.sleep(600)  # in a thread that does not outlive the tests
        if fault == "drop":
            self.close_connection = True
            return
        if fault in ("page", "xml"):
            page = b"<html><p>Sign in" + (b"</p></html>" if fault == "xml" else b"</html>")
            self._answer(200, {"Content-Type": "text/html"}, page, cut=False)
            return
        if self.store.locked and operation in ("PUT", "PART"):
            right = base64.b64encode(hashlib.md5(body).digest()).decode()
            if (given := self.headers.get("Content-MD5")) != right:
                fault = "InvalidRequest 400" if given is None else "BadDigest 400"
        if " " in fault:
            self._error(fault)
            return
        with self.store.lock:
            status, headers, answer = self._do(operation, body, done=fault != "not-stored")
        if fault == "lose-reply":
            self.close_connection = True
            return
        self._answer(status, headers, answer, cut=fault == "cut")

    def _do(self, operation: str, body: bytes, done: bool) -> tuple[int, dict[str, str], bytes]:
        store, key, query = self.store, self._key(), self._query()
        upload = query.get("uploadId", [""])[0]
        if refusal := store.refuses(operation, self.headers.get("If-None-Match"), key):
            return self._refusal(refusal)
        match operation:
            case "PUT":
                if done:
                    store.objects[key] = body
                return 200, {"ETag": _etag(body)}, b""
            case "HEAD" | "GET":
                if key not in store.objects:
                    return self._refusal("NoSuchKey 404")
                return 200, {"ETag": _etag(store.objects[key])}, store.objects[key]
            case "DELETE":
                store.objects.pop(key, None)
                return 204, {}, b""
            case "INITIATE":
                store.uploads[name := str(len(store.log))] = {}
                store.begun[name] = (key, datetime.now(UTC))
                return 200, {}, f"<R><UploadId>{name}</UploadId></R>".encode()
            case "UPLOADS":
                rows = "".join(
                    f"<Upload><Key>{escape(store.begun[u][0])}</Key><UploadId>{u}</UploadId>"
                    f"<Initiated>{store.begun[u][1].isoformat()}</Initiated></Upload>"
                    for u in store.uploads
                    if store.begun[u][0].startswith(query.get("prefix", [""])[0])
                )
                return 200, {}, f"<R>{rows}<IsTruncated>false</IsTruncated></R>".encode()
            case "PARTS":
                arrived = (store.begun[upload][1] + timedelta(hours=1)).isoformat()
                rows = "".join(
                    f"<Part><PartNumber>{n}</PartNumber><LastModified>{arrived}</LastModified></Part>"
                    for n in store.uploads[upload]
                )
                return 200, {}, f"<R>{rows}<IsTruncated>false</IsTruncated></R>".encode()
            case "PART":
                store.uploads[upload][int(query["partNumber"][0])] = body
                return 200, {"ETag": _etag(body)}, b""
            case "ABORT":
                store.uploads.pop(upload, None)
                return 204, {}, b""
            case "COMPLETE":
                if upload not in store.uploads:
                    return self._refusal("NoSuchUpload 404")
                parts = store.uploads.pop(upload)
                store.objects[key] = b"".join(parts[n] for n in sorted(parts))
                return 200, {}, f"<R><ETag>{_etag(store.objects[key])}</ETag></R>".encode()
        prefix, after = query.get("prefix", [""])[0], "" if store.whole else query.get("start-after", [""])[0]
        rows = "".join(
            f"<Contents><Key>{escape(k)}</Key><Size>{len(v)}</Size><ETag>{_etag(v)}</ETag></Contents>"
            for k, v in sorted(store.objects.items())
            if k.startswith(prefix) and k > after
        )
        return 200, {}, f"<ListBucketResult>{rows}<IsTruncated>false</IsTruncated></ListBucketResult>".encode()

    def _refusal(self, error: str) -> tuple[int, dict[str, str], bytes]:
        code, status = error.split()
        return int(status), {}, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()

    def _error(self, error: str) -> None:
        self._answer(*self._refusal(error), cut=False)

    def _answer(self, status: int, headers: dict[str, str], body: bytes, cut: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.close_connection = cut


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'
