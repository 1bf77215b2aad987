"""The shape of a manifest, as frozen models. Validation and the JSON Schema are both generated from them.

Keys of a framework are not here: it declares them, and `manifest.keys` adds them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema
from pydantic.config import JsonDict

NAME = r"^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$"
ID = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | int | float):
        raise ValueError("expected a string, a number, or true or false")
    return value


def _whole(value: Any) -> Any:
    """Accept only the integer 1: in Python, true and 1.0 equal 1, too."""
    return value if type(value) is int else str(value)


Value = Annotated[Any, AfterValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=NAME)]
Id = Annotated[str, Field(pattern=ID)]


class Strict(BaseModel):
    """Refuses unknown keys. `manifest.keys` adds those of the frameworks."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False, defer_build=True)


class StepRef(Strict):
    """An output of a step: a file, or a folder (ending in "/")."""

    step: Name = Field(description="The step's name.")
    path: str = Field("", description="One of its outputs, or a folder of them; empty for all.")
    to: str | None = Field(None, description="Where to put it instead; the default is `path`.")


class ModelRef(Strict):
    """The artifact of another version, or a file or folder in it."""

    model: Id = Field(description="The model's id.")
    version: Id = Field(description="The version's id.")
    path: str = Field("", description="A file or folder in the artifact; empty for all of it.")
    to: str | None = Field(None, description="Where to put it instead; the default is `path`.")


class RootRef(Strict):
    """A file or folder below a folder outside the workspace."""

    root: Name = Field(description="A name from `roots`.")
    path: str = Field(description='A file below it, or a folder (ending in "/").')
    to: str | None = Field(None, description="Where to put it instead.")


_REFERENCE = ("step", "model", "version", "root", "path", "to")
IN_REFERENCE = frozenset({*_REFERENCE, "from"})
"""Keys of a reference. Removing one of them would make it refer to something else."""


class FolderMap(Strict):
    """A file or folder of the workspace, under another name."""

    source: Text = Field(alias="from", description="A file, or a folder; its structure is kept.")
    to: str = Field(description='Its new name, or, ending in "/", the folder to put it in.')


TAGS = ("(path)", "(step)", "(model)", "(root)", "(from)", "(mapping)")
"""Branches of unions, as they appear in the paths of pydantic's errors."""


def _tag(value: Any) -> str | None:
    if isinstance(value, dict):
        marks = (
            ("step", "(step)"),
            ("model", "(model)"),
            ("version", "(model)"),
            ("root", "(root)"),
            ("from", "(from)"),
            ("to", "(from)"),
        )
        return next((tag for key, tag in marks if key in value), None)
    return "(path)"


_Path = Annotated[Text, Tag("(path)")]
_Step = Annotated[StepRef, Tag("(step)")]
_Model = Annotated[ModelRef, Tag("(model)")]
_Root = Annotated[RootRef, Tag("(root)")]
_Folder = Annotated[FolderMap, Tag("(from)")]

OneFile = Annotated[_Path | _Step | _Model | _Root, Discriminator(_tag)]
"""One file or folder: a path, an output of another action, or a path below a root."""

AnyFiles = Annotated[_Path | _Step | _Model | _Root | _Folder, Discriminator(_tag)]
"""Files: a path, a glob, {from, to}, an output of another action, or a path below a root."""


class Export(Strict):
    """Call a function in the toolchain, and save what it returns."""

    function: str | None = Field(None, pattern=r"^[\w.]+:\w+$", description="package.module:function")
    files: list[AnyFiles] | None = Field(None, description="The code the function needs: paths and globs.")
    files_append: list[AnyFiles] | None = Field(None, alias="files+", description="Appended to the inherited `files`.")
    data: list[AnyFiles] | None = Field(None, description="The data the function needs.")
    data_append: list[AnyFiles] | None = Field(None, alias="data+", description="Appended to the inherited `data`.")
    args: dict[str, Any] | None = Field(None, description="Keyword arguments for the function.")


_NO_REFERENCE: JsonDict = {"not": {"minProperties": 1, "propertyNames": {"enum": [*_REFERENCE]}}}
"""For the JSON Schema: a mapping that is a configuration and not a reference."""


def is_reference(value: Any) -> bool:
    """Whether a mapping is a reference and not a configuration."""
    return isinstance(value, dict) and bool(value) and set(value) <= set(_REFERENCE)


FileOrMapping = Annotated[
    _Path | _Step | _Model | _Root | Annotated[dict[str, Any], Tag("(mapping)"), Field(json_schema_extra=_NO_REFERENCE)],
    Discriminator(lambda v: "(mapping)" if isinstance(v, dict) and not is_reference(v) else _tag(v)),
]
"""One file, or a configuration."""


class Version(Strict):
    """One version of a model: exactly one source, and how it is served."""

    framework: str | None = Field(None, description="A name from `frameworks`, or an image.")


class Model(Version):
    """A model; its keys are defaults for its versions."""

    versions: dict[Id, Version | None] = Field(description='Version id (quoted: "1") to version.')


class Toolchain(Strict):
    """The Python environment in which user code is exported."""

    requirements: Text = Field(description="A pip requirements file with every package pinned: NAME==VERSION.")


class Framework(Strict):
    """An image to serve with, and the toolchain to export in."""

    image: Text = Field(description="The serving container, such as tf2-cpu.2-18.")
    kind: str | None = Field(None, description="The framework of an image that gdcbuild does not know.")
    version: str | None = Field(None, pattern=r"^[0-9]+\.[0-9]+$", description="The framework's release in that image.")
    toolchain: Toolchain | None = Field(None, description="The default is the Python that runs gdcbuild.")


class Step(Strict):
    """Any other work: a command with declared inputs and outputs."""

    run: list[str] = Field(min_length=1, description="The command and its arguments; ${out} is the output folder.")
    inputs: list[AnyFiles] = Field([], description="Everything it reads; nothing else is in its folder.")
    outputs: list[str] = Field(min_length=1, description='Everything it writes, below ${out}; a folder ends in "/".')
    framework: str | None = Field(None, description="Run in that framework's toolchain.")
    env: list[str] = Field([], description="Environment variables that it sees, besides a fixed few.")
    pool: Name | None = Field(None, description="A name from `pools`, which limits how many of its steps run at a time.")


class Environment(Strict):
    """A bucket and its policy."""

    bucket: str = Field(description="A directory, or s3://NAME or s3://NAME/PREFIX.")
    endpoint: str | None = Field(None, description="The S3 endpoint's URL.")
    region: str | None = Field(None, description="The S3 region.")
    ca_file: str | None = Field(None, description="A PEM file with the CA of the endpoint's certificate.")
    immutable: bool = Field(False, description="Never change a published version.")
    protect: bool = Field(False, description="apply asks for confirmation.")
    clean: bool = Field(False, description="Publish only what is committed.")


class Policy(Strict):
    """What to do about artifacts that can be served but may be unsafe."""


class Defaults(Strict):
    """Defaults for every model of a framework."""


class Manifest(Strict):
    """A gdcbuild.yaml."""

    schema_: Annotated[Literal[1], BeforeValidator(_whole)] = Field(
        alias="schema", description="1, the schema of this manifest."
    )
    include: list[Text] = Field([], description="Other manifests of the workspace: paths and globs.")
    environments: dict[Name, Environment] = Field({}, description="Where to publish; in the root manifest only.")
    default_environment: str | None = Field(None, description="The environment used without --env.")
    policy: Policy = Field(Policy(), description="What the check of artifacts allows; in the root manifest only.")
    pools: dict[Name, Annotated[int, Field(ge=1)]] = Field(
        {}, description="How many steps of each pool run at a time; in the root manifest only."
    )
    roots: dict[Name, Text] = Field(
        {}, description="Folders outside the workspace that may contain inputs, by name; in the root manifest only."
    )
    vars: dict[Name, Value] = Field({}, description="Values for ${vars.NAME}.")
    defaults: Defaults = Field(Defaults(), description="Defaults for models, by framework.")
    frameworks: dict[Name, Framework] = Field({}, description="Images and toolchains by name.")
    models: dict[Id, Model] = Field({}, description="The models by id.")
    steps: dict[Name, Step] = Field({}, description="Other actions by name.")
