"""What TensorFlow Serving asks of a SavedModel, checked before it is uploaded and without TensorFlow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from gdcbuild.core.digest import Blob
from gdcbuild.core.graph import Image
from gdcbuild.errors import Problem
from gdcbuild.frameworks.tensorflow.saved_model import MetaGraph, Unreadable, read

CHECK_VERSION = 2
"""Raise it when `check` would now find something else."""

ENTRY = "saved_model.pb"
TAG = "serve"
SIGNATURE = "serving_default"
METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")

_SHARD = re.compile(r"variables/variables\.data-(\d{5})-of-(\d{5})")
_RELEASE = re.compile(r"(\d+)\.(\d+)")


def check(artifact: Mapping[str, Blob], image: Image) -> list[Problem]:
    """Everything for which the image's server would not load the files, or not answer a prediction with them."""
    if ENTRY not in artifact:
        return [_misplaced(artifact)]
    try:
        with artifact[ENTRY].open() as stream:
            graphs = read(stream)
    except Unreadable as error:
        return [
            Problem(
                f'{ENTRY} is no SavedModel: {error}. The server would say: "Can\'t parse {ENTRY} as binary proto"',
                "export the model again; the file may have been cut off when it was copied",
            )
        ]
    served = next((g for g in graphs if g.tags == {TAG}), None)
    if served is None:
        return [_untagged(graphs)]
    return [*_signature(served), *_version(served, image), *_files(served, artifact)]


def _misplaced(artifact: Mapping[str, Blob]) -> Problem:
    said = 'The server would say: "Could not find SavedModel .pb or .pbtxt at supplied export directory path"'
    folders = sorted(path.removesuffix(ENTRY) for path in artifact if path.endswith(f"/{ENTRY}"))
    if folders:
        return Problem(
            f"{ENTRY} lies in {_some(folders)}, not at the root. {said}",
            f"make {folders[0]} itself the source, or have the function write into `export_dir` and not below it",
        )
    if "saved_model.cpb" in artifact:
        return Problem(
            f"there is only saved_model.cpb, the form in pieces for graphs above 2 GB, and no {ENTRY}. {said}",
            "save without `experimental_image_format`, and keep large constants in variables",
        )
    if "saved_model.pbtxt" in artifact:
        return Problem(
            f"there is only the text form, saved_model.pbtxt, and no {ENTRY}",
            f"save in the binary form: with a SavedModelBuilder, save(as_text=False) writes {ENTRY}",
        )
    return Problem(f"there is no {ENTRY}. {said}", "give the folder of a SavedModel, the one that holds that file")


def _untagged(graphs: tuple[MetaGraph, ...]) -> Problem:
    tags = _some(sorted(f"{{ {' '.join(sorted(g.tags))} }}" for g in graphs))
    return Problem(
        f'no graph is tagged {{ {TAG} }} alone; there is: {tags}. The server would say: "Could not find meta graph def'
        f' matching supplied tags: {{ {TAG} }}"',
        f'with a SavedModelBuilder, write add_meta_graph_and_variables(session, ["{TAG}"], ...)',
    )


def _signature(graph: MetaGraph) -> Iterator[Problem]:
    method = graph.signatures.get(SIGNATURE)
    if method is None:
        others = _some(sorted(name for name in graph.signatures if not name.startswith("__")))
        yield Problem(
            f"there is no signature {SIGNATURE}; there is: {others}. The server would load the model and answer every"
            f' prediction: "Serving signature name: \\"{SIGNATURE}\\" not found in signature def"',
            f'return (module, {{"{SIGNATURE}": fn}}), where fn is a tf.function with an input_signature',
        )
    elif method not in METHODS:
        yield Problem(
            f"the method name of signature {SIGNATURE} is {method!r}. The server would answer every prediction:"
            f' "Expected prediction signature method_name to be one of {{{", ".join(METHODS)}}}. Was: {method}"',
            f'make it with predict_signature_def(inputs, outputs), or build_signature_def(..., method_name="{METHODS[0]}")',
        )


def _version(graph: MetaGraph, image: Image) -> Iterator[Problem]:
    exporter, server = _RELEASE.match(graph.tensorflow_version), _RELEASE.match(image.version)
    if exporter and server and tuple(map(int, exporter.groups())) > tuple(map(int, server.groups())):
        yield Problem(
            f"it was exported by TensorFlow {graph.tensorflow_version}, and {image.name} has {image.version}. Where the graph"
            ' uses what came later, the server would say: "Op type not registered" or "NodeDef mentions attr ... not in Op"',
            f"use a toolchain with tensorflow {image.version}, or an image of {'.'.join(exporter.groups())} or newer",
        )


def _files(graph: MetaGraph, artifact: Mapping[str, Blob]) -> Iterator[Problem]:
    shards = {path for path in artifact if _SHARD.fullmatch(path)}
    counts = {int(match[2]) for match in map(_SHARD.fullmatch, shards) if match}
    wanted = {f"variables/variables.data-{n:05}-of-{count:05}" for count in counts for n in range(count)}
    missing = sorted(wanted - shards)
    if (graph.restores or shards) and "variables/variables.index" not in artifact:
        missing.append("variables/variables.index")
    if graph.restores and not shards:
        missing.append("variables/variables.data-00000-of-00001")
    if missing:
        yield Problem(
            f'it has variables, but these files are not there: {_some(missing)}. The server would say: "Could not find'
            ' variable" or "Failed to find any matching files"',
            "give all files of the export's folder variables/ (does a .gitignore leave them out?)",
        )
    lost = sorted(f"assets/{name}" for name in graph.assets if f"assets/{name}" not in artifact)
    if lost:
        yield Problem(
            f'it uses files that are not there: {_some(lost)}. The server would say: "No such file or directory"',
            "give all files of the export's folder assets/ (does a .gitignore leave them out?)",
        )


def _some(names: list[str]) -> str:
    """At most five of them, for a message."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "none"
