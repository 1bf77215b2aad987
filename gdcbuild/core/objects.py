"""Objects of a bucket, as its listings and creates show them."""

from __future__ import annotations

from typing import Literal, NamedTuple


class RemoteObject(NamedTuple):
    """An object as a listing shows it. `etag` is "" where the store has none that tells content apart."""

    key: str
    size: int
    etag: str = ""


class Stored(NamedTuple):
    """What lies under a key after a create: our bytes, "created" now or found to be the "same", or "other" bytes.

    `etag` belongs to the object found or created; "" when the store gave none.
    """

    outcome: Literal["created", "same", "other"]
    etag: str = ""
