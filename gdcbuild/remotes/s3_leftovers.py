"""Uploads in parts that nobody will complete, since who began them was killed. A store keeps, and charges for, their parts."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

LEFT = timedelta(hours=6)
"""For how long nothing has come of what is taken for left behind. Who is alive sends a part within minutes, or gives up."""


def abort_left(client: S3Client, bucket: str, prefix: str) -> None:
    """Abort the uploads of keys with the prefix of which nothing has come for hours, by the store's own clock.

    What is published does not depend on it: an upload is nothing until it is completed, and who finds his own aborted begins
    anew. Raises as the client does; a store may lack these requests, or not permit them.
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
    """When the store sent the reply, None when it does not say: times of ours and times of its cannot be compared."""
    try:
        return parsedate_to_datetime(reply["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (LookupError, TypeError, ValueError):
        return None
