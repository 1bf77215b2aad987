"""The documents say what is so: their manifests validate, their commands give what they show, and nothing is left out."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from gdcbuild import errors
from gdcbuild.cli.typer_app import app
from gdcbuild.frameworks import FRAMEWORKS
from gdcbuild.manifest.schema import json_schema
from tests.docs.markdown import PAGES, ROOT, Block, anchors, blocks, links, rows
from tests.e2e.workspace import Workspace
from tests.unit.frameworks.zips import Entry, made

DOCS = ROOT / "docs"
DESIGN = DOCS / "explanation" / "design.md"
REFERENCE = DOCS / "reference" / "manifest.md"
COMMANDS = DOCS / "reference" / "commands.md"

WRONG = "# not valid"
"""How a manifest begins that shows mistakes; what gdcbuild says of it follows in a block of its own."""

MANIFESTS = [b for page in PAGES for b in blocks(page, "yaml") if b.text.startswith("schema: 1")]
MISTAKES = [b for page in PAGES for b in blocks(page, "yaml") if b.text.startswith(WRONG)]
SESSIONS = [page for page in PAGES if blocks(page, "console")]

GLOSSARY = (
    *("manifest", "workspace", "model", "version", "image", "toolchain", "action", "artifact", "digest", "tree", "action key"),
    *("action cache", "CAS", "environment", "plan", "change", "drift", "entry object", "seal"),
)

FOLDERS = ("saved_model",)
FILES = ("include", "ca_file", "requirements", "file", "files", "files+", "data", "data+", "inputs")
FILES_OF_VERSIONS = ("keras", "weights", "mar", "model_file", "config")

NET = "import torch\n\n\nclass Net(torch.nn.Module):\n    pass\n"
HANDLER = "from ts.torch_handler.base_handler import BaseHandler\n\n\nclass Handler(BaseHandler):\n    pass\n"


def saved_model() -> bytes:
    """The smallest SavedModel that a server would take: one graph tagged `serve`, with a signature to predict."""

    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    method = field(3, b"tensorflow/serving/predict")
    signature = field(1, b"serving_default") + field(2, method)
    return field(2, field(1, field(4, b"serve")) + field(5, signature))


def state_dict(size: int) -> bytes:
    """A file as torch.save writes it, with an empty state dict and so many bytes beside it."""
    return made(Entry("w/data.pkl", b"\x80\2}q\0."), Entry("w/version", b"3\n"), Entry("w/data/0", bytes(size)))


def dummies(node: Any, key: str = "") -> Iterator[str]:
    """The files that a manifest names, a name for each glob."""
    if isinstance(node, dict):
        if "from" in node:
            yield f"{node['from'].rstrip('/')}/file"
        for name, child in node.items():
            if name not in ("from", "vars"):
                yield from dummies(child, name)
    elif isinstance(node, list):
        for child in node:
            yield from dummies(child, key)
    elif isinstance(node, str) and "://" not in node:
        path = node.replace("**", "deep").replace("*", "any").partition(":")[0]
        if key in FOLDERS:
            yield f"{path.rstrip('/')}/saved_model.pb"
        elif key in (*FILES, *FILES_OF_VERSIONS):
            yield path


def content(path: str) -> str | bytes:
    if path.endswith("saved_model.pb"):
        return saved_model()
    if path.endswith("gdcbuild.yaml"):
        return "schema: 1\n"
    toolchain = (ROOT / "examples" / "toolchains" / "pytorch-2.13.txt").read_text()
    known = {"net.py": NET, "handler.py": HANDLER, "requirements.txt": "six==1.17.0\n", "toolchain.txt": toolchain}
    return known.get(path.rsplit("/", 1)[-1], "x==1\n")


def prepared(tmp_path: Path, manifest: str, cache: Path | None = None) -> Workspace:
    """A workspace with this manifest and all the files it names."""
    variables = {"GDC_S3_ENDPOINT": "https://s3.example", "MODELS_SHARE": "share"}
    workspace = Workspace(tmp_path / "workspace", cache or tmp_path / "cache", variables)
    filled = manifest
    for name, value in yaml.safe_load(manifest).get("vars", {}).items():
        filled = filled.replace(f"${{vars.{name}}}", str(value))
    workspace.write({path: content(path) for path in dummies(yaml.safe_load(filled))})
    workspace.write({f"share/{path}": content(path) for path in below_roots(yaml.safe_load(filled))})
    workspace.write({"gdcbuild.yaml": manifest})
    return workspace


def below_roots(value: Any) -> Iterator[str]:
    """Every file that is named below a root."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if isinstance(value, dict) and value.keys() >= {"root", "path"}:
        yield value["path"]
    for part in parts:
        yield from below_roots(part)


@pytest.mark.parametrize("block", MANIFESTS, ids=lambda b: b.id)
def test_manifests_are_valid(block: Block, tmp_path: Path) -> None:
    prepared(tmp_path, block.text).ok("validate")


@pytest.mark.parametrize("block", MISTAKES, ids=lambda b: b.id)
def test_mistakes_are_answered_as_shown(block: Block, tmp_path: Path) -> None:
    following = next(b for b in blocks(block.page, "text") if b.line > block.line)
    workspace = Workspace(tmp_path / "workspace", tmp_path / "cache")
    workspace.write({"gdcbuild.yaml": block.text})
    result = workspace.run("validate")
    assert (result.code, result.err) == (65, following.text)


VARYING = re.compile(r"/home/me/\S*|\b[0-9a-f]{12,64}\b|\b\d+\.\d+(?= s\b)")
"""Folders, digests and times: they are others wherever the command runs."""


def shown(line: str) -> re.Pattern[str]:
    """What a line of output may look like; how many spaces there are does not count."""
    words = (r"\s+".join(map(re.escape, fixed.split())) for fixed in VARYING.split(line))
    return re.compile(r"\s*" + r"\s*\S+\s*".join(words) + r"\s*")


AUTHOR = {f"GIT_{role}_{what}": "me" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.mark.slow
@pytest.mark.parametrize("page", SESSIONS, ids=lambda p: p.name)
def test_commands_give_what_is_shown(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The console blocks of a page are one session, in a workspace with the page's first manifest and its titled files."""
    first = blocks(page, "yaml")[0].text
    cache = None
    if "toolchain" in first:
        request.getfixturevalue("torch_python")  # so that no console block shows its installation
        cache = request.getfixturevalue("shared_cache")
    workspace = prepared(tmp_path, first, cache)
    workspace.write({f"weights/{name}.pt": state_dict(size) for name, size in (("v1", 40), ("v2", 40), ("retrained", 48))})
    for block in blocks(page):
        if block.title:  # the cache is shared, so what is built must not have been built before
            workspace.write({block.title: f"{block.text}\n# {tmp_path}\n"})
        if block.language != "console":
            continue
        for entry in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, *expected = entry.splitlines()
            program, *arguments = shlex.split(command)
            if program == "gdcbuild":
                result = workspace.ok(*arguments)
                printed = (result.out + result.err).splitlines()
            else:
                subprocess.run(command, shell=True, cwd=workspace.root, env={**os.environ, **AUTHOR}, check=True)
                printed = []
            missing = [line for line in expected if not any(shown(line).fullmatch(p) for p in printed)]
            assert not missing, f"{block.id}: {command} does not print this any more:\n" + "\n".join(
                [*missing, "but:", *printed]
            )
            assert len(printed) == len(expected), f"{block.id}: {command} prints\n" + "\n".join(printed)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        if "://" in link:
            continue
        found = (page.parent / target).resolve() if target else page
        assert found.is_relative_to(ROOT), link
        assert found.exists(), link
        assert not anchor or anchor in anchors(found), link


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    for path in re.findall(r"`((?:gdcbuild|tests|examples|schemas|docs)/[\w./-]+)`", page.read_text()):
        assert "NAME" in path or (ROOT / path).exists(), path


def test_decisions_are_all_listed() -> None:
    folder = DOCS / "explanation" / "decisions"
    assert sorted(links(folder / "README.md")) == sorted(p.name for p in folder.glob("0*.md"))


def test_glossary_has_exactly_the_words() -> None:
    assert [cells[0].strip("*") for cells in rows(DESIGN, "| Word")] == list(GLOSSARY)


def test_every_module_of_the_lifecycle_exists() -> None:
    page = DOCS / "explanation" / "apply-lifecycle.md"
    names = re.findall(
        r"`((?:cli|app|memory|source|manifest|core|engine|build|publish|files|store|frameworks|remotes|runners|report)/[\w*./]+?\.py)\b",
        page.read_text(),
    )
    assert names
    for name in names:
        assert list((ROOT / "gdcbuild").glob(name)), name


def commands() -> dict[str, Any]:
    """Command as it is typed → its parameters."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_group(app(["all"])).commands.items():
        for sub, inner in getattr(command, "commands", {"": command}).items():
            found[f"gdcbuild {name} {sub}".strip()] = inner.params
    return found


def test_every_command_is_in_the_table() -> None:
    listed = {
        cells[0].strip("`").removesuffix(" MODEL@VERSION").removesuffix(" FILE...") for cells in rows(COMMANDS, "| Command")
    }
    assert listed == set(commands())


def test_every_flag_with_its_variable_is_in_the_table() -> None:
    listed = {(frozenset(re.findall(r"-[\w-]+", flags)), variable.strip("`")) for flags, variable in rows(COMMANDS, "| Flag")}
    known = {(frozenset(p.opts), p.envvar) for params in commands().values() for p in params if getattr(p, "envvar", None)}
    assert listed == known


def test_every_exit_code_is_in_the_table() -> None:
    listed = {int(cells[0]) for cells in rows(COMMANDS, "| Exit code")}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.GdcbuildError)]
    assert listed == {0, 2, *(kind.exit_code for kind in kinds)}
    for cells in rows(COMMANDS, "| Command"):
        assert {int(code) for code in cells[2].split(",")} <= listed


def keys(schema: Any) -> Iterator[str]:
    """Every key that a JSON Schema knows."""
    for name, part in schema["$defs"].items():
        if name not in ("StepRef", "ModelRef", "RootRef", "FolderMap"):
            yield from part["properties"]
    yield from schema["properties"]


def test_the_reference_has_every_key() -> None:
    text = REFERENCE.read_text()
    missing = {key for key in keys(yaml.safe_load(json_schema(FRAMEWORKS))) if f"`{key}`" not in text}
    assert not missing
