"""Check that TensorFlow Serving would load and serve a SavedModel, without TensorFlow and before it is uploaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial

from gdcbuild.core.digest import Blob
from gdcbuild.core.graph import Image
from gdcbuild.errors import Caution, Problem
from gdcbuild.files import standins
from gdcbuild.frameworks.tensorflow import bundle, warmup
from gdcbuild.frameworks.tensorflow.bundle import some
from gdcbuild.frameworks.tensorflow.saved_model import OBJECT_GRAPH, MetaGraph, read
from gdcbuild.frameworks.tensorflow.wire import Malformed, TooLarge

CHECK_VERSION = 6
"""Raise it when `check` would return something else for the same files."""

ENTRY = "saved_model.pb"
TAG = "serve"
SIGNATURE = "serving_default"
METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")

_SHARD = re.compile(r"variables/variables\.data-(\d{5})-of-(\d{5})")
_FIRST_SHARD = "variables/variables.data-00000-of-00001"
_RELEASE = re.compile(r"(\d+)\.(\d+)")


def check(artifact: Mapping[str, Blob], image: Image) -> list[Problem]:
    """Every reason why the image's server would not load the files or answer predictions."""
    if ENTRY not in artifact:
        return [_misplaced(artifact)]
    absent = standins.among({p: b.digest.size for p, b in artifact.items()}, partial(_read, artifact), [ENTRY])
    absent = {p: found for p, found in absent.items() if found.kind != "empty" or not standins.may_be_empty(p)}
    if absent:
        return [found.problem(path) for path, found in absent.items()]
    try:
        with artifact[ENTRY].open() as stream:
            graphs = read(stream)
    except Malformed as error:
        return [
            Problem(
                f'{ENTRY} is not a valid SavedModel: {error}. The server would say: "Can\'t parse {ENTRY} as binary proto"',
                "export the model again, or copy it again: the file may be truncated",
            )
        ]
    served = next((g for g in graphs if g.tags == {TAG}), None)
    if served is None:
        return [_untagged(graphs)]
    return [
        *_signature(served),
        *_version(served, image),
        *_variables(served, artifact),
        *_assets(served, artifact),
        *_warmup(artifact),
    ]


def _read(artifact: Mapping[str, Blob], path: str) -> bytes:
    with artifact[path].open() as stream:
        return stream.read()


def _misplaced(artifact: Mapping[str, Blob]) -> Problem:
    said = 'The server would say: "Could not find SavedModel .pb or .pbtxt at supplied export directory path"'
    folders = sorted(path.removesuffix(ENTRY) for path in artifact if path.endswith(f"/{ENTRY}"))
    if folders:
        return Problem(
            f"{ENTRY} is in {some(folders)}, not at the root. {said}",
            f"give the folder {folders[0]} itself as `saved_model`; a function must write directly into `export_dir`",
        )
    if "saved_model.cpb" in artifact:
        return Problem(
            f"there is only saved_model.cpb, the split format for graphs over 2 GB, and no {ENTRY}. {said}",
            "save without `experimental_image_format`, and store large constants as variables",
        )
    if "saved_model.pbtxt" in artifact:
        return Problem(
            f"there is only saved_model.pbtxt, the text format, and no {ENTRY}",
            f"save in the binary format: SavedModelBuilder.save(as_text=False) writes {ENTRY}",
        )
    return Problem(f"there is no {ENTRY}. {said}", f"give the folder that contains {ENTRY}")


def _untagged(graphs: tuple[MetaGraph, ...]) -> Problem:
    tags = some(sorted(f"{{ {' '.join(sorted(g.tags))} }}" for g in graphs))
    return Problem(
        f'no graph has exactly the tag {{ {TAG} }}; found: {tags}. The server would say: "Could not find meta graph def'
        f' matching supplied tags: {{ {TAG} }}"',
        f'with a SavedModelBuilder, write add_meta_graph_and_variables(session, ["{TAG}"], ...)',
    )


def _signature(graph: MetaGraph) -> Iterator[Problem]:
    method = graph.signatures.get(SIGNATURE)
    if method is None:
        others = some(sorted(name for name in graph.signatures if not name.startswith("__")))
        yield Problem(
            f"there is no signature {SIGNATURE}; found: {others}. The server would load the model, and answer every"
            f' prediction with: "Serving signature name: \\"{SIGNATURE}\\" not found in signature def"',
            f'return (module, {{"{SIGNATURE}": fn}}), where fn is a tf.function with an input_signature',
        )
    elif method not in METHODS:
        yield Problem(
            f"the method name of signature {SIGNATURE} is {method!r}. The server would answer every prediction with:"
            f' "Expected prediction signature method_name to be one of {{{", ".join(METHODS)}}}. Was: {method}"',
            f'use predict_signature_def(inputs, outputs), or build_signature_def(..., method_name="{METHODS[0]}")',
        )


def _version(graph: MetaGraph, image: Image) -> Iterator[Problem]:
    exporter, server = _RELEASE.match(graph.tensorflow_version), _RELEASE.match(image.version)
    if exporter and server and tuple(map(int, exporter.groups())) > tuple(map(int, server.groups())):
        yield Problem(
            f"exported by TensorFlow {graph.tensorflow_version}, but {image.name} has {image.version}. If the graph uses newer"
            ' ops, the server would say: "Op type not registered" or "NodeDef mentions attr ... not in Op"',
            f"use a toolchain with tensorflow {image.version}, or an image with {'.'.join(exporter.groups())} or newer",
        )


def _variables(graph: MetaGraph, artifact: Mapping[str, Blob]) -> Iterator[Problem]:
    """Problems of the tensors that are restored when the graph is loaded."""
    needed = graph.restores - {OBJECT_GRAPH}
    if bundle.INDEX not in artifact:
        if needed:
            missing = [bundle.INDEX, *([] if any(map(_SHARD.fullmatch, artifact)) else [_FIRST_SHARD])]
            yield _missing("variables", missing, "Could not find variable")
        return
    try:
        with artifact[bundle.INDEX].open() as stream:
            index = bundle.read(stream)
    except TooLarge as error:
        yield _damaged(bundle.Damage(bundle.INDEX, f"is damaged: {error}"))
        return
    except Malformed as error:
        yield _damaged(bundle.Damage(bundle.INDEX, "is damaged", str(error)))
        return
    lost = sorted(needed - index.names)
    if lost:
        what = f"does not have {some(lost)}, which {ENTRY} restores"
        yield _damaged(bundle.Damage(bundle.INDEX, what, f"Key {lost[0]} not found in checkpoint"))
    missing = [file for file in index.files() if file not in artifact]
    if missing:
        yield _missing("variables", missing, "No such file or directory")
    yield from map(_damaged, bundle.faults(index, artifact))
    stray = sorted(path for path in artifact if (shard := _SHARD.fullmatch(path)) and int(shard[2]) != index.shards)
    if stray:
        yield Caution(
            f"{some(stray)} would be published but never read: {bundle.INDEX} belongs to the files -of-{index.shards:05}",
            "remove the files of an earlier export",
        )


def _damaged(fault: bundle.Damage) -> Problem:
    return Problem(
        f"{fault.file} {fault.what}" + (f'. The server would say: "{fault.said}"' if fault.said else ""),
        f"export the model again, or copy all of it again: {ENTRY} and variables/ must come from one export",
    )


def _assets(graph: MetaGraph, artifact: Mapping[str, Blob]) -> Iterator[Problem]:
    lost = sorted(f"assets/{name}" for name in graph.assets if f"assets/{name}" not in artifact)
    if lost:
        yield _missing("assets", lost, "No such file or directory")


def _warmup(artifact: Mapping[str, Blob]) -> Iterator[Problem]:
    if warmup.REQUESTS in artifact:
        with artifact[warmup.REQUESTS].open() as stream:
            said = warmup.fault(stream)
        if said:
            yield Problem(
                f'{warmup.REQUESTS} is invalid, and the server would not serve the model: "{said}"',
                f"write it again with tf.io.TFRecordWriter, at most {warmup.MAX_RECORDS} requests, or remove it",
            )


def _missing(folder: str, files: list[str], said: str) -> Problem:
    return Problem(
        f'{some(files)} {"are" if len(files) > 1 else "is"} missing. The server would say: "{said}"',
        f"add all files of the export's folder {folder}/ (does .gitignore exclude them?)",
    )
