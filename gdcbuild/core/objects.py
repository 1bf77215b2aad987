"""Objects of a bucket, as its listings and creates show them."""

from __future__ import annotations

from typing import Literal, NamedTuple


class RemoteObject(NamedTuple):
    """An object as a listing shows it. `etag` is "" if the store has none that identifies content."""

    key: str
    size: int
    etag: str = ""


class Stored(NamedTuple):
    """What is under a key after a create: our bytes, "created" now or already there ("same"), or "other" bytes.

    `etag` belongs to the object found or created; "" if the store gave none.
    """

    outcome: Literal["created", "same", "other"]
    etag: str = ""
