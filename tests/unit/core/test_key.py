"""The action key: every ingredient is in it, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gdcbuild.core import key as module
from gdcbuild.core.digest import Digest, Tree
from gdcbuild.core.graph import Action, Command, Inline, Worker
from gdcbuild.core.key import Difference, Key, key_of
from gdcbuild.errors import Location

INPUTS = Tree({"a": Digest.of(b"1"), "b": Digest.of(b"2")})
PARAMS = {"p": {"x": 1, "y": [1, 2]}}
ACTION = Action("id", "kind", Command(("run", "it")), (), PARAMS, "t", ("V",), ("out",), "sub", 1, where=Location("f", 1, 1))


def key(action: Action = ACTION, inputs: Tree = INPUTS, toolchain: str = "t1", env: dict[str, str] | None = None) -> Key:
    return key_of(action, inputs, toolchain, {"V": "1"} if env is None else env)


def differences(before: Key, after: Key) -> list[Difference]:
    return module.differences(before, after, lambda _digest: {})


BASE = key()

INGREDIENTS: dict[str, Key] = {
    "file content": key(inputs=Tree({"a": Digest.of(b"1"), "b": Digest.of(b"3")})),
    "path inside the action": key(inputs=Tree({"a": Digest.of(b"1"), "c": Digest.of(b"2")})),
    "one input less": key(inputs=Tree({"a": Digest.of(b"1")})),
    "size alone": key(inputs=Tree({"a": Digest.of(b"1"), "b": Digest(Digest.of(b"2").hash, 5)})),
    "parameter": key(replace(ACTION, params={"p": {"x": 2, "y": [1, 2]}})),
    "parameter's type": key(replace(ACTION, params={"p": {"x": "1", "y": [1, 2]}})),
    "order in a list": key(replace(ACTION, params={"p": {"x": 1, "y": [2, 1]}})),
    "toolchain": key(toolchain="t2"),
    "no toolchain": key(replace(ACTION, toolchain=None)),
    "allowed variable": key(env={"V": "2"}),
    "variable that is not set": key(env={}),
    "variable that is empty": key(env={"V": ""}),
    "which variables": key(replace(ACTION, env=("V", "W"))),
    "adapter version": key(replace(ACTION, version=2)),
    "kind": key(replace(ACTION, kind="other")),
    "command": key(replace(ACTION, run=Command(("run", "that")))),
    "words of the command": key(replace(ACTION, run=Command(("run it",)))),
    "worker": key(replace(ACTION, run=Worker("run"))),
    "inline": key(replace(ACTION, run=Inline("run"))),
    "outputs": key(replace(ACTION, outputs=("other",))),
    "folder": key(replace(ACTION, cwd="")),
}

OTHERS: dict[str, Key] = {
    "id": key(replace(ACTION, id="other")),
    "place in the manifest": key(replace(ACTION, where=Location("g", 9, 9))),
    "name of the toolchain": key(replace(ACTION, toolchain="u")),
    "order of keys": key(replace(ACTION, params={"p": {"y": [1, 2], "x": 1}})),
    "order of inputs": key(inputs=Tree({"b": Digest.of(b"2"), "a": Digest.of(b"1")})),
    "other variables": key(env={"V": "1", "HOME": "/elsewhere"}),
}


@pytest.mark.parametrize("name", INGREDIENTS)
def test_an_ingredient_changes_the_key(name: str) -> None:
    assert INGREDIENTS[name].hash != BASE.hash
    assert differences(BASE, INGREDIENTS[name])


def test_all_keys_differ_from_each_other() -> None:
    assert len({k.hash for k in INGREDIENTS.values()}) == len(INGREDIENTS)


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_else_changes_the_key(name: str) -> None:
    assert OTHERS[name].hash == BASE.hash
    assert not differences(BASE, OTHERS[name])


def test_the_key_schema_is_in_it_and_explains_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEY_SCHEMA", module.KEY_SCHEMA + 1)
    after = key()
    assert after.hash != BASE.hash
    assert [str(d) for d in differences(BASE, after)] == ["gdcbuild itself changed (key schema 3, now 4)"]


def test_keys_of_two_schemas_are_not_compared_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEY_SCHEMA", module.KEY_SCHEMA + 1)
    assert len(differences(BASE, key(replace(ACTION, kind="other")))) == 1


def test_the_adapter_version_explains_itself() -> None:
    (found,) = differences(BASE, INGREDIENTS["adapter version"])
    assert str(found) == "gdcbuild itself changed (adapter version 1, now 2)"


def test_a_toolchain_is_explained_by_its_changed_packages() -> None:
    contents = {
        "t1": {"interpreter": "3.11", "numpy": "1.0", "old": "1"},
        "t2": {"interpreter": "3.11", "numpy": "2.0", "new": "1"},
    }
    found = module.differences(BASE, key(toolchain="t2"), lambda digest: contents[digest])
    assert [(str(d), d.before, d.after) for d in found] == [
        ("toolchain numpy changed", "1.0", "2.0"),
        ("toolchain new added", None, "1"),
        ("toolchain old removed", "1", None),
    ]
    forgotten = module.differences(BASE, key(toolchain="t3"), lambda digest: contents.get(digest, {}))
    assert [str(d) for d in forgotten] == ["toolchain changed"]


def test_a_variable_may_be_any_bytes() -> None:
    values = ["\udcff", "\\udcff", "ÿ", "ÿ\udcff", "\\u00ff\udcff"]
    assert len({key(env={"V": value}).hash for value in values}) == len(values)


def test_the_value_of_a_variable_is_not_revealed() -> None:
    found = [key(env={"V": value}) for value in ("the first secret", "the second secret")]
    (difference,) = differences(*found)
    assert difference.name == "variable V"
    assert "secret" not in json.dumps([*found[0].to_json(), difference.before, difference.after])


def test_origins_of_inputs_are_reported_but_are_not_ingredients() -> None:
    origins = {"a": "shared/a", "b": "b"}
    elsewhere = key_of(ACTION, INPUTS, "t1", {"V": "1"}, origins)
    assert elsewhere.hash == BASE.hash
    changed = key_of(ACTION, Tree({"a": Digest.of(b"3"), "b": Digest.of(b"3")}), "t1", {"V": "1"}, origins)
    assert [str(d) for d in differences(elsewhere, changed)] == ["input shared/a (as a) changed", "input b changed"]
    gone = key(inputs=Tree({"b": Digest.of(b"2")}))
    assert [str(d) for d in differences(elsewhere, gone)] == ["input shared/a (as a) removed"]


@pytest.mark.parametrize("found", [BASE, key_of(ACTION, INPUTS, "t1", {}, {"a": "shared/a"})])
def test_a_key_is_read_as_written(found: Key) -> None:
    read = Key.from_json(json.loads(json.dumps(found.to_json())))
    assert read is not None
    assert (read, read.hash) == (found, found.hash)


@pytest.mark.parametrize("rows", [None, 5, [[]], [["a"]], ["a"], {"a": 1}])
def test_invalid_keys(rows: Any) -> None:
    assert Key.from_json(rows) is None


def test_the_key_never_changes_by_accident() -> None:
    """A new hash here means that every cache in the world is cold: raise KEY_SCHEMA, and say so in the changelog."""
    assert BASE.hash == "7d64eb58994c060b2d52bdb4676961206cf9d7fad08092e6a923eb2cdffc5b3b"


def test_differences_say_what_is_new_and_what_is_gone() -> None:
    before, after = Key({"a": "1", "b": "2"}), Key({"a": "9", "c": "3"})
    found: list[tuple[str, Any, Any]] = [(d.name, d.before, d.after) for d in differences(before, after)]
    assert found == [("a", "1", "9"), ("c", None, "3"), ("b", "2", None)]
    assert [str(d) for d in differences(before, after)] == ["a changed", "c added", "b removed"]
