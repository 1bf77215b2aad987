"""An S3 bucket, with the few operations that every compatible store has. No status is trusted alone."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError
from botocore.response import StreamingBody

from gdcbuild.core.digest import Blob, Digest
from gdcbuild.core.ports import Remote, RemoteObject, Stored
from gdcbuild.errors import BlobDamaged, Problem, RemoteError
from gdcbuild.files.content import hash_stream, read_verified
from gdcbuild.remotes.s3_client import S3Options, check, client
from gdcbuild.remotes.s3_errors import Place, explain, is_absent, is_doubtful, is_lost_upload, is_race, no_store, status_of
from gdcbuild.remotes.s3_leftovers import abort_left

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from mypy_boto3_s3.type_defs import CompletedMultipartUploadTypeDef, CompletedPartTypeDef, HeadObjectOutputTypeDef

    Futures = list[Future[CompletedPartTypeDef]]

PIECE = 16 << 20
"""Bytes of a part, and the largest object that is sent in one request."""

IN_FLIGHT = 6
"""Pieces in memory at one time, over all uploads of one remote."""

MOST_PARTS = 10_000
ATTEMPTS = 3

_OF_A_LISTING = {"Name", "IsTruncated", "MaxKeys", "KeyCount"}
"""Fields of every listing: a web page does not have them."""

REFUSED_CONDITION = (409, 412, 501)
"""Statuses that refuse a conditional create: in a race, because the object exists, or because it is not supported."""


def open_bucket(rest: str, endpoint: str | None, region: str | None, ca_file: Path | None) -> Remote:
    """The bucket at s3://REST."""
    name, _, prefix = rest.partition("/")
    return S3Remote(S3Options(name, prefix.strip("/"), endpoint, region, ca_file))


class S3Remote:
    """A bucket, or the part of one below a prefix."""

    lookups = 8

    def __init__(self, options: S3Options) -> None:
        self._bucket = options.bucket
        self._base = f"{options.prefix}/" if options.prefix else ""
        self.url = f"s3://{options.bucket}" + (f"/{options.prefix}" if options.prefix else "")
        self._place = Place(options.bucket, options.endpoint or "")
        check(options)
        try:
            self._client = client(options, 2 * IN_FLIGHT)
        except (BotoCoreError, ValueError) as error:
            raise RemoteError(explain(error, f"use {self.url}", self._place)) from error
        self._place = Place(options.bucket, self._client.meta.endpoint_url)
        self._pieces = threading.BoundedSemaphore(IN_FLIGHT)
        self._senders = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="s3")
        # Whether the store is asked to create only. It may silently ignore that, so `create` always looks first.
        self._conditional = True
        self._tidied: set[str] = set()

    def list(self, prefix: str, after: str = "") -> Iterator[RemoteObject]:
        start: dict[str, Any] = {"StartAfter": self._base + after} if after else {}
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._base + prefix, **start)
        with self._explained("list"):
            for page in pages:
                if _OF_A_LISTING.isdisjoint(page):
                    raise RemoteError(no_store(f"list {self.url}/{prefix}", self._place))
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(self._base)
                    if key > after:  # some stores ignore StartAfter
                        yield RemoteObject(key, found["Size"], _etag(found))

    def open(self, key: str, etag: str = "") -> BinaryIO:
        with self._explained("read", key):
            try:
                reply = self._client.get_object(Bucket=self._bucket, Key=self._base + key)
            except ClientError as error:
                if is_absent(error):
                    raise KeyError(key) from error
                raise
        if etag and _etag(reply) not in ("", etag):  # not sent as a condition, which some stores refuse even if it holds
            reply["Body"].close()
            raise KeyError(key)
        return io.BufferedReader(_Body(reply["Body"], lambda: self._explained("read", key)), 1 << 20)

    def delete(self, key: str, etag: str = "") -> None:
        only_if: dict[str, Any] = {"IfMatch": f'"{etag}"'} if etag else {}
        with self._explained("delete", key):
            try:
                self._client.delete_object(Bucket=self._bucket, Key=self._base + key, **only_if)
            except ClientError as error:
                if is_absent(error):
                    return
                if not only_if or status_of(error) not in REFUSED_CONDITION:
                    raise
                head = self._head(key)
                if head is not None and _etag(head) == etag:  # a store without this condition
                    self._client.delete_object(Bucket=self._bucket, Key=self._base + key)

    def create(self, key: str, blob: Blob, progress: Callable[[int], None] | None = None) -> Stored:
        conditional = self._conditional
        doubt: BotoCoreError | ClientError | None = None
        attempts = 0
        while (found := self._compare(key, blob)) is None:
            if doubt is not None:
                if attempts == ATTEMPTS or not (status_of(doubt) in REFUSED_CONDITION or is_lost_upload(doubt)):
                    raise self._failure(doubt, "write", key) from doubt
                # Refused although nothing is there: a race that is over, or, if it repeats, a store without this condition.
                conditional = conditional and is_race(doubt, last=attempts == ATTEMPTS - 1)
                self._conditional = self._conditional and status_of(doubt) != 501
            attempts += 1
            sending = _Sending(blob, progress)
            try:
                etag = self._send(key, sending, conditional) or _etag(self._head(key) or {})
            except (BotoCoreError, ClientError) as error:
                sending.take_back()
                if not is_doubtful(error):
                    raise self._failure(error, "write", key) from error
                doubt = error
            else:
                if not etag:
                    raise RemoteError(no_store(f"write {self.url}/{key}", self._place))
                return Stored("created", etag)
        return found

    def _compare(self, key: str, blob: Blob) -> Stored | None:
        """What a create would find, by reading it; None if nothing is there."""
        with self._explained("read", key):
            head = self._head(key)
        if head is None:
            return None
        if head.get("ContentLength", blob.digest.size) != blob.digest.size:  # some proxies leave it out
            return Stored("other", _etag(head))
        try:
            with self.open(key) as stream:
                found = hash_stream(stream)
        except KeyError:
            return None
        return Stored("same" if found == blob.digest else "other", _etag(head))

    def _head(self, key: str) -> HeadObjectOutputTypeDef | None:
        """The store's answer about an object, None if there is none."""
        try:
            return self._client.head_object(Bucket=self._bucket, Key=self._base + key)
        except ClientError as error:
            if is_absent(error):
                return None
            raise

    def _send(self, key: str, sending: _Sending, conditional: bool) -> str:
        create_only: dict[str, Any] = {"IfNoneMatch": "*"} if conditional else {}
        if sending.blob.digest.size > PIECE:
            return self._send_parts(key, sending, create_only)
        with self._pieces:
            data = read_verified(sending.blob)
            reply = self._client.put_object(
                Bucket=self._bucket,
                Key=self._base + key,
                Body=data,
                ContentMD5=_md5(data),
                ChecksumSHA256=base64.b64encode(bytes.fromhex(sending.blob.digest.hash)).decode(),
                **create_only,
            )
        sending.sent(len(data))
        return _etag(reply)

    def _send_parts(self, key: str, sending: _Sending, create_only: dict[str, Any]) -> str:
        """Send in parts, and complete only if all bytes match the blob's digest. Aborted on any failure."""
        bucket, name = self._bucket, self._base + key
        self._tidy(key)
        upload = self._client.create_multipart_upload(Bucket=bucket, Key=name).get("UploadId")
        if not upload:
            raise RemoteError(no_store(f"write {self.url}/{key}", self._place))
        futures: Futures = []
        try:
            self._submit_parts(name, upload, sending, futures)
            parts: CompletedMultipartUploadTypeDef = {"Parts": [future.result() for future in futures]}
            reply = self._client.complete_multipart_upload(
                Bucket=bucket, Key=name, UploadId=upload, MultipartUpload=parts, **create_only
            )
        except BaseException:
            wait(futures)
            with suppress(BotoCoreError, ClientError):
                self._client.abort_multipart_upload(Bucket=bucket, Key=name, UploadId=upload)
            raise
        return _etag(reply)

    def _tidy(self, key: str) -> None:
        """Abort leftover uploads of killed runs, once for each topmost folder that large files go to."""
        folder = key[: key.find("/") + 1] or key
        if folder not in self._tidied:
            self._tidied.add(folder)
            with suppress(BotoCoreError, ClientError):  # a store without this, or credentials without permission
                abort_left(self._client, self._bucket, self._base + folder)

    def _submit_parts(self, name: str, upload: str, sending: _Sending, futures: Futures) -> None:
        """Read the blob once, piece by piece, and hand each piece to a sender; stop early if one has failed."""
        expected = sending.blob.digest
        size = max(PIECE, -(-expected.size // MOST_PARTS))
        hasher, read = hashlib.sha256(), 0
        with sending.blob.open() as stream:
            for number in range(1, -(-expected.size // size) + 1):
                if sending.failed.is_set():
                    return
                self._pieces.acquire()
                try:
                    data = stream.read(size)
                    hasher.update(data)
                    read += len(data)
                    future = self._senders.submit(self._send_part, name, upload, number, data, sending)
                except BaseException:
                    self._pieces.release()
                    raise
                future.add_done_callback(lambda _: self._pieces.release())
                futures.append(future)
        found = Digest(hasher.hexdigest(), read)
        if found != expected:
            raise BlobDamaged(Problem(f"expected {expected}, {expected.size} bytes; read {found}, {found.size} bytes"))

    def _send_part(self, name: str, upload: str, number: int, data: bytes, sending: _Sending) -> CompletedPartTypeDef:
        try:
            reply = self._client.upload_part(
                Bucket=self._bucket, Key=name, UploadId=upload, PartNumber=number, Body=data, ContentMD5=_md5(data)
            )
            if "ETag" not in reply:
                raise RemoteError(no_store(f"write {self.url}/{name}", self._place))
            sending.sent(len(data))
        except BaseException:
            sending.failed.set()
            raise
        return {"ETag": reply["ETag"], "PartNumber": number}

    def _failure(self, error: BotoCoreError | ClientError, verb: str, key: str = "") -> RemoteError:
        return RemoteError(explain(error, f"{verb} {self.url}/{key}" if key else f"{verb} {self.url}", self._place))

    @contextmanager
    def _explained(self, verb: str, key: str = "") -> Iterator[None]:
        """Errors of the client as RemoteError: what could not be done, why, and what to do."""
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise self._failure(error, verb, key) from error


class _Sending:
    """One attempt to send a blob: how much was sent, and whether a part failed."""

    def __init__(self, blob: Blob, progress: Callable[[int], None] | None) -> None:
        self.blob = blob
        self.failed = threading.Event()
        self._progress = progress
        self._sent: list[int] = []

    def sent(self, size: int) -> None:
        self._sent.append(size)
        if self._progress is not None:
            self._progress(size)

    def take_back(self) -> None:
        """Tell `progress` that the bytes sent will be sent again."""
        if self._progress is not None and self._sent:
            self._progress(-sum(self._sent))


class _Body(io.RawIOBase):
    """The body of a reply as a stream, its errors explained."""

    def __init__(self, body: StreamingBody, explained: Callable[[], AbstractContextManager[None]]) -> None:
        self._body = body
        self._explained = explained

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        with self._explained():
            data = self._body.read(len(view))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._body.close()
        super().close()


def _md5(data: bytes) -> str:
    """Content-MD5, without which a bucket with Object Lock refuses every body.

    All stores check it. SHA-256 of a part would not do: older stores lack it, and S3 wants it declared with the upload.
    """
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _etag(reply: Any) -> str:
    """The etag without its quotes, of a reply or of a row of a listing."""
    found: str = reply.get("ETag", "")
    # a proxy that compresses replies marks the etag as weak
    return found.removeprefix("W/").strip('"')
