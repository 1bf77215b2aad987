"""Warm-up requests, which TensorFlow Serving sends to a model before serving it: a file of records with two checksums each."""

from __future__ import annotations

from typing import BinaryIO

from gdcbuild.files.content import CHUNK
from gdcbuild.frameworks.tensorflow.sstable import masked

REQUESTS = "assets.extra/tf_serving_warmup_requests"
MAX_RECORDS = 1000


def fault(stream: BinaryIO) -> str | None:
    """The error TensorFlow Serving would report for the stream, or None when it can read all records."""
    from google_crc32c import extend

    at = 0
    for _ in range(MAX_RECORDS + 1):
        head = stream.read(12)
        if len(head) < 12:  # as in TensorFlow: an incomplete header is the end
            return None
        if masked(extend(0, head[:8])) != int.from_bytes(head[8:], "little"):
            return f"corrupted record at {at}"
        left, crc = int.from_bytes(head[:8], "little"), 0
        while data := stream.read(min(left, CHUNK)):
            crc, left = extend(crc, data), left - len(data)
        tail = stream.read(4)
        if left or len(tail) < 4:
            return f"truncated record at {at}"
        if masked(crc) != int.from_bytes(tail, "little"):
            return f"corrupted record at {at + 12}"
        at = stream.tell()
    return f"Number of warmup records exceeds the maximum ({MAX_RECORDS})"
