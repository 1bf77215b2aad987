"""ONNX for the rest of gdcbuild: a version is one file, and what lies beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gdcbuild.core.digest import Blob
from gdcbuild.core.graph import Action, Files, Image, Input, Policy
from gdcbuild.core.keys import ChoiceKey, FileKey, FilesKey, Key
from gdcbuild.core.ports import Framework
from gdcbuild.core.request import Lowered, VersionRequest
from gdcbuild.errors import Problem

ENTRY = "model.onnx"
MODEL = FileKey("onnx", "an ONNX file, taken as it is.")
FILES = FilesKey("files", "more files beside it, such as its external data.")
OPERATORS = ChoiceKey("operators", "operators that are not ONNX's own.", ("allow", "deny"), "deny")

OWN_DOMAINS = (b"", b"ai.onnx", b"ai.onnx.ml")
IR_VERSION, GRAPH, OPERATOR_SET = 1, 7, 8
"""Fields of a ModelProto (onnx.proto); an operator set's first one is its domain."""


class Onnx:
    """The ONNX adapter."""

    kind = "onnx"
    title = "ONNX"
    entry = ENTRY
    sources: Sequence[Key[Any]] = (MODEL,)
    keys: Sequence[Key[Any]] = (FILES,)
    policy: Sequence[ChoiceKey] = (OPERATORS,)
    check_version = 1

    def version_problem(self, version: str) -> str | None:
        return None if version.isascii() and version.isdigit() else f'{version!r} is not a number: write "1"'

    def lower(self, request: VersionRequest) -> Lowered | list[Problem]:
        files = request.values.of(FILES) or ()
        if any(item.path == ENTRY for item in files):
            return [Problem(f"{request.id}: `files` has a file {ENTRY!r}", "rename it", request.given.get(FILES.name))]
        if not request.sources:
            return [Problem(f"{request.id} has no source", f"add {MODEL.name}: FILE", request.where)]
        models = (replace(item, path=ENTRY) for source in request.sources for item in source.inputs)
        action = Action(str(request.id), "onnx.files", Files(), (*models, *files), where=request.where)
        return Lowered((action,))

    def mistake(self, action: Action, item: Input, start: Callable[[int], bytes]) -> Problem | None:
        return None

    def check(self, artifact: Mapping[str, Blob], image: Image, policy: Policy) -> list[Problem]:
        if ENTRY not in artifact:
            return [Problem(f"there is no {ENTRY}", f"give the model as {MODEL.name}: FILE")]
        with artifact[ENTRY].open() as stream:
            data = stream.read()
        try:
            fields = list(_fields(data))
            domains = {dict(_fields(value)).get(1, b"") for number, value in fields if number == OPERATOR_SET}
        except (IndexError, ValueError):
            return [Problem(f"{ENTRY} is not an ONNX model", "save it again, with onnx.save")]
        if not {IR_VERSION, GRAPH, OPERATOR_SET} <= {number for number, _ in fields}:
            return [Problem(f"{ENTRY} has no graph", "save it again, with onnx.save")]
        strange = sorted(domain.decode("utf-8", "replace") for domain in domains.difference(OWN_DOMAINS))
        if strange and policy.options.get(OPERATORS.name, OPERATORS.default) == "deny":
            return [Problem(f"operators of {', '.join(strange)}", "export without them, or policy: {operators: allow}")]
        return []


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field of a message; numbers' content is left out."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        length = {1: 8, 5: 4}.get(tag & 7, 0)
        if tag & 7 == 0:
            _, at = _varint(data, at)
        elif tag & 7 == 2:
            length, at = _varint(data, at)
        elif not length:
            raise ValueError("a group")
        if not tag >> 3 or at + length > len(data):
            raise ValueError("torn")
        yield tag >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = data[at], at + 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("too long")


FRAMEWORK: Framework = Onnx()
