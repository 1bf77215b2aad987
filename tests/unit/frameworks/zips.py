"""Zip files written field by field, so that each field can be wrong."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

from gdcbuild.frameworks.torchserve.mar.writer import MANIFEST

GOOD = json.dumps({"runtime": "python", "model": {"modelName": "model", "handler": "base_handler", "serializedFile": "w.pt"}})
UTF8, DESCRIPTOR, ENCRYPTED = 0x800, 0x8, 0x1
FULL = 0xFFFFFFFF


@dataclass
class Entry:
    """One member. `local` and `central` replace fields of the two headers: name, extra, flags, method, crc, packed, size, and
    in the central one also comment, disk, attributes, offset."""

    name: str | bytes
    data: bytes = b""
    method: int = 0
    flags: int = 0
    extra: bytes = b""
    attributes: int = 0
    local: dict[str, Any] = field(default_factory=dict)
    central: dict[str, Any] = field(default_factory=dict)
    behind: bytes = b""
    """Follows the data: a descriptor, or what should not be there."""

    packed: bytes | None = None
    absent: bool = False
    """Only the directory knows it: its header and data are not written."""


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def local_header(values: dict[str, Any]) -> bytes:
    head = struct.pack(
        *("<4s5H3I2H", b"PK\3\4", 20, values["flags"], values["method"], 0, 0x21),
        *(values["crc"], values["packed"], values["size"], len(values["name"]), len(values["extra"])),
    )
    return head + bytes(values["name"] + values["extra"])


def central_header(values: dict[str, Any]) -> bytes:
    sizes = (len(values["name"]), values.get("extra_size", len(values["extra"])), len(values["comment"]))
    head = struct.pack(
        *("<4s6H3I5H2I", b"PK\1\2", 0x031E, 20, values["flags"], values["method"], 0, 0x21),
        *(values["crc"], values["packed"], values["size"], *sizes, values["disk"], 0),
        *(values["attributes"], values["offset"]),
    )
    return head + bytes(values["name"] + values["extra"] + values["comment"])


def made(
    *entries: Entry,
    prefix: bytes = b"",
    suffix: bytes = b"",
    comment: bytes = b"",
    gap: bytes = b"",
    zip64: bool | dict[str, int] = False,
    end: dict[str, Any] | None = None,
) -> bytes:
    """An archive of the entries. `gap` comes before the directory; `end` and a `zip64` mapping replace fields of the ends."""
    body, directory = bytearray(prefix), bytearray()
    for entry in entries:
        name = entry.name.encode() if isinstance(entry.name, str) else entry.name
        packed = entry.packed if entry.packed is not None else deflated(entry.data) if entry.method == 8 else entry.data
        flags = entry.flags | (0 if name.isascii() or isinstance(entry.name, bytes) else UTF8)
        known = {"name": name, "flags": flags, "method": entry.method, "crc": zlib.crc32(entry.data)}
        known |= {"packed": len(packed), "size": len(entry.data), "extra": entry.extra}
        central = {**known, "comment": b"", "disk": 0, "attributes": entry.attributes, "offset": len(body)}
        if not entry.absent:
            body += local_header({**known, **entry.local}) + packed + entry.behind
        directory += central_header({**central, **entry.central})
    body += gap
    start = len(body)
    ends = {"count": len(entries), "here": len(entries), "length": len(directory), "start": start, "disk": 0}
    body += directory
    if zip64 is not False:
        wide = {**ends, "rest": 44, "at": len(body), **(zip64 if isinstance(zip64, dict) else {})}
        body += struct.pack("<4sQ2H2I4Q", b"PK\6\6", wide["rest"], 45, 45, 0, 0, *(wide[k] for k in ("here", "count")), *(
            wide[k] for k in ("length", "start")
        ))  # fmt: skip
        body += struct.pack("<4sIQI", b"PK\6\7", 0, wide["at"], 1)
        ends |= {"count": 0xFFFF, "here": 0xFFFF, "length": FULL, "start": FULL}
    ends |= {"comment_size": len(comment), **(end or {})}
    body += struct.pack("<4s4H2IH", b"PK\5\6", ends["disk"], 0, *(ends[k] for k in ("here", "count", "length", "start")),
        ends["comment_size"])  # fmt: skip
    return bytes(body + comment + suffix)


def mar(*entries: Entry, manifest: str | bytes | None = GOOD, **how: Any) -> bytes:
    """An archive for TorchServe with weights, the entries, and a manifest."""
    text = manifest.encode() if isinstance(manifest, str) else manifest
    last = [] if text is None else [Entry(MANIFEST, text)]
    return made(Entry("w.pt", b"weights"), *entries, *last, **how)
