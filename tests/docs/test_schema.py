"""The committed JSON Schema is the one of the code, takes every valid manifest, and refuses wrong ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gdcbuild.frameworks import FRAMEWORKS
from gdcbuild.manifest.schema import json_schema
from tests.docs.markdown import PAGES, ROOT, blocks

SCHEMA = json.loads(json_schema(FRAMEWORKS))
CHECK = jsonschema.Draft202012Validator(SCHEMA)
FILES = [ROOT / "gdcbuild.yaml", *sorted(ROOT.glob("examples/*/gdcbuild.yaml"))]
SHOWN = [b for page in PAGES for b in blocks(page, "yaml") if b.text.startswith("schema: 1")]


def test_it_is_the_one_of_the_code() -> None:
    assert (ROOT / "schemas" / "gdcbuild.schema.json").read_text() == json_schema(FRAMEWORKS), (
        "gdcbuild schema > schemas/gdcbuild.schema.json"
    )


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_it_takes_the_examples(path: Path) -> None:
    CHECK.validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("text", [b.text for b in SHOWN], ids=[b.id for b in SHOWN])
def test_it_takes_what_the_documents_show(text: str) -> None:
    CHECK.validate(yaml.safe_load(text))


def of_version(version: Any, **model: Any) -> dict[str, Any]:
    return {"schema": 1, "models": {"m": {"framework": "pt", "versions": {"1": version}, **model}}}


@pytest.mark.parametrize(
    "manifest",
    [
        of_version({"weights": {"step": "s", "path": "w.pt", "to": "x.pt"}}),
        of_version({"weights": {"model": "m", "version": "2"}}),
        of_version(None, weights="w.pt"),
        of_version({"config": {"step": "s", "path": "c.yaml"}}),
        of_version({"config": {"batchSize": 1, "version": "any"}}),
        of_version({"files+": [{"from": "a/", "to": "b/"}, "c.txt"]}),
        of_version({"export": {"function": "${vars.module}:f", "method": "${vars.way}"}, "runtime": "${vars.runtime}"}),
        {"schema": 1, "pools": {"gpu": "${vars.n}"}, "environments": {"e": {"bucket": "b", "protect": "${vars.p}"}}},
    ],
    ids=str,
)
def test_it_takes_every_form(manifest: Any) -> None:
    CHECK.validate(manifest)


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"schema": 2},
        {"schema": 1, "modles": {}},
        {"schema": 1, "environments": {"local": {}}},
        {"schema": 1, "environments": {"local": {"bucket": "b", "immutable": "yes"}}},
        {"schema": 1, "steps": {"s": {"run": [], "outputs": ["x"]}}},
        {"schema": 1, "steps": {"s": {"run": "python x.py", "outputs": ["x"]}}},
        {"schema": 1, "frameworks": {"tf": {"image": "i", "kind": "jax"}}},
        of_version({"weights": {"from": "a", "to": "b"}}),
        of_version({"export": {"function": "no-colon"}}),
        of_version({"export": {"function": "a:b", "method": "freeze"}}),
        of_version({"weights": 1}),
        of_version({"files": [{"from": "", "to": "x/"}]}),
        {"schema": "${vars.one}"},
        {"schema": 1, "pools": {"a b": 1}},
        {"schema": 1, "models": {"a/b": {"versions": {}}}},
        {"schema": 1, "models": {"m": {"versions": {"-1": None}}}},
    ],
    ids=str,
)
def test_it_refuses_what_is_wrong(manifest: Any) -> None:
    assert not CHECK.is_valid(manifest)
