"""Read what a server uses from `saved_model.pb`, without TensorFlow: tags, signatures and the exporter's version.

Knows nothing of what an image requires.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from gdcbuild.frameworks.tensorflow.wire import Message, TooLarge, Wire

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The only tensor of a model without variables. Servers do not read it."""


@dataclass(frozen=True, slots=True)
class MetaGraph:
    """One graph of a SavedModel.

    `tensorflow_version` is the exporter's, "" when missing. `signatures` are name → method name. `restores` are the names
    of the tensors read from `variables/` when it is loaded. `assets` are file names below `assets/`.
    """

    tags: frozenset[str]
    tensorflow_version: str
    signatures: Mapping[str, str]
    restores: frozenset[str]
    assets: tuple[str, ...]


def read(stream: BinaryIO) -> tuple[MetaGraph, ...]:
    """All graphs in a seekable stream. Raises Malformed."""
    return tuple(_meta_graph(m) for m in Wire(stream).message().messages(2))


def _meta_graph(message: Message) -> MetaGraph:
    tags: set[str] = set()
    tensorflow_version, restore, graph = "", "", None
    signatures: dict[str, str] = {}
    assets: list[str] = []
    for number, value in message.fields():
        match number, value:
            case 1, Message():  # MetaInfoDef
                tags |= {tag.text() for tag in value.messages(4)}
                tensorflow_version = value.text_of(5) or tensorflow_version
            case 2, Message():  # GraphDef
                graph = value
            case 3, Message():  # SaverDef
                restore = value.text_of(3)
            case 5, Message():  # an entry of the map: the key, and a SignatureDef
                methods = [signature.text_of(3) for signature in value.messages(2)]
                signatures[value.text_of(1)] = methods[-1] if methods else ""
            case 6, Message():  # AssetFileDef
                assets.append(value.text_of(2))
    restores = _restored(graph, restore) if graph is not None and restore else frozenset[str]()
    return MetaGraph(frozenset(tags), tensorflow_version, signatures, restores, tuple(assets))


def _restored(graph: Message, operation: str) -> frozenset[str]:
    """The names of the tensors an operation restores.

    In a graph of TensorFlow 1 they are next to the operation, in one of TensorFlow 2 in the function it calls. Empty for a
    graph that is too large to search.
    """
    graph = Message(Wire(graph.wire.stream), graph.start, graph.end)
    scope, _, name = operation.rpartition("/")
    try:
        if scope:
            return _names(graph.messages(1), f"{scope}/RestoreV2")
        node = next((node for node in graph.messages(1) if node.first_text(1) == name), None)
        called = {} if node is None else {entry.first_text(1): entry for entry in node.messages(5)}
        if "f" not in called:
            return frozenset()
        function = next(called["f"].follow(2, 10, 1), None)
        wanted = function.text() if function else ""
        functions = graph.follow(2, 1)
        body = next((body for body in functions if any(s.first_text(1) == wanted for s in body.messages(1))), None)
        return frozenset() if body is None else _names(body.messages(3), "RestoreV2")
    except TooLarge:
        return frozenset()


def _names(nodes: Iterable[Message], operation: str) -> frozenset[str]:
    """The strings in the constants that name the tensors these operations restore."""
    constants = (n for n in nodes if (name := n.first_text(1)).startswith(operation) and name.endswith("/tensor_names"))
    return frozenset(text.text() for constant in constants for text in constant.follow(5, 2, 8, 8))
