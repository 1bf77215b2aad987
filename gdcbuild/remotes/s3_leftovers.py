"""Multipart uploads that nobody will complete, since their run was killed. A store keeps, and charges for, their parts."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LEFT = timedelta(hours=6)
"""Age of the last part of an upload that counts as left behind. A live run sends a part within minutes, or gives up."""


def abort_left(client: S3Client, bucket: str, prefix: str) -> None:
    """Abort the uploads of keys with the prefix without a new part for hours, by the store's own clock.

    What is published does not depend on it: an upload does not exist until it is completed, and a run whose upload was
    aborted starts it again. Raises as the client does; a store may lack these requests, or not permit them.
    """
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        now = _clock(page)
        if now is None:
            return
        for upload in page.get("Uploads", ()):
            key, id = upload.get("Key", ""), upload.get("UploadId", "")
            begun = upload.get("Initiated")
            if not key.startswith(prefix) or not id or begun is None or now - begun < LEFT:
                continue
            parts = client.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=id)
            if all(now - part["LastModified"] >= LEFT for page in parts for part in page.get("Parts", ())):
                client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=id)


def _clock(reply: Any) -> datetime | None:
    """When the store sent the reply, None if it does not say: our clock and the store's cannot be compared."""
    try:
        return parsedate_to_datetime(reply["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (LookupError, TypeError, ValueError):
        return None
