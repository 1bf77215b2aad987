"""Strict YAML: YAML 1.2 values, a location for each, and never an exception."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gdcbuild.errors import Location
from gdcbuild.manifest.yaml import MAX_BYTES, is_placeholder, parse


def values(text: str) -> Any:
    node, problems = parse(text.encode(), "f")
    assert not problems, problems
    assert node is not None
    return node.plain()


def said(data: str | bytes) -> list[str]:
    _, problems = parse(data.encode() if isinstance(data, str) else data, "f")
    return [f"{p.where}: {p.message}" for p in problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-7", -7),
        ("0", 0),
        ("1.10", 1.1),
        ("1.5e+3", 1500.0),
        ("1.0e-4", 0.0001),
        ("-9223372036854775807", -9223372036854775807),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ('"no"', "no"),
        ("'true'", "true"),
        ("word", "word"),
        ("2024-1-1", "2024-1-1"),
        ("yy", "yy"),
        ("1.2.3", "1.2.3"),
        ("|\n  text\n", "text\n"),
        ("[1, a, [b]]", [1, "a", ["b"]]),
        ("{}", {}),
    ],
)
def test_values(text: str, value: Any) -> None:
    found = values(f"k: {text}\n")["k"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "yes",
            "No",
            "on",
            "OFF",
            "True",
            "FALSE",
            "017",
            "0o17",
            "0x1F",
            "1_000",
            "12:30:45",
            "+1",
            ".5",
            "1.",
            ".inf",
            ".NaN",
        ),
        *(
            "1e-4",
            "1e5",
            "1.5e3",
            "-1E3",
            "-1.",
            "1.e+3",
            ".5e-3",
            "-0x1F",
            "+0x1",
            "-0o7",
            "123456789012345678901",
            "y",
            "N",
            "=",
        ),
        *("2024-01-01", "2024-1-1 10:00:00", "2024-01-01T10:00:00.5Z", "2024-01-01 10:00:00 +01:00", "00.5", "1_0.5e+3"),
    ],
)
def test_values_on_which_parsers_disagree(text: str) -> None:
    assert said(f"k: {text}\n") == [f"f:1:4: {text} is not quoted, and YAML parsers disagree on its value"]
    assert values(f"k: '{text}'\n") == {"k": text}


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("1e-4", 'write "1e-4" for the string, 0.0001 for the number'),
        ("1e5", "100000.0 for the number"),
        ("1.5E3", "1500.0 for the number"),
        (".5e-3", "0.0005 for the number"),
        ("1e-40", "1.0e-40 for the number"),
        ("+2.5E40", "2.5e+40 for the number"),
        ("y", "true or false"),
        ("1e" + "9" * 5000, "true or false"),
    ],
)
def test_hints_for_values_on_which_parsers_disagree(text: str, hint: str) -> None:
    _, (problem,) = parse(f"k: {text}\n".encode(), "f")
    assert hint in problem.hint
    if hint.endswith("the number"):
        assert values(f"k: {hint.split()[-4]}\n") == {"k": float(text)}


@pytest.mark.slow
@given(st.text(st.sampled_from("0123456789-+._:eExobaf TZyn"), min_size=1, max_size=24))
@settings(max_examples=2000)
def test_accepted_scalars_agree_with_pyyaml(text: str) -> None:
    node, problems = parse(f"k: {text}\n".encode(), "f")
    if not problems:
        assert node is not None
        assert node.plain() == yaml.safe_load(f"k: {text}\n")


@pytest.mark.parametrize("key", ["1e5", "2024-01-01", "123456789012345678901", "="])
def test_keys_on_which_parsers_disagree(key: str) -> None:
    assert said(f"{key}: x\n")[0].startswith(f"f:1:1: {key} is not quoted, and YAML ")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("-1", 'such as "1":'),
        ("+1", 'such as "1":'),
        ("~", "write a name in quotes: letters"),
        (".inf", 'such as "inf":'),
        ("12:30:45", 'such as "12-30-45":'),
    ],
)
def test_keys_that_are_invalid_names_even_in_quotes(key: str, hint: str) -> None:
    """One mistake, with a valid hint. If any string may be a key, the hint is to quote it."""
    node, (problem,) = parse(f"versions:\n  {key}: x\n".encode(), "f")
    assert hint in problem.hint
    assert node is not None
    assert all(map(is_placeholder, node.plain()["versions"]))
    _, (problem,) = parse(f"args:\n  - {{{key}: x}}\n".encode(), "f", {"args"})
    assert problem.hint == f'write "{key}":'


def test_letters_are_keys() -> None:
    assert values("y: 1\nn: 2\n") == {"y": 1, "n": 2}


@pytest.mark.parametrize("key", ["1", "1.10", "true", "null", "~", "no", "0x1F"])
def test_keys_must_be_strings(key: str) -> None:
    assert said(f"{key}: x\n")[0].startswith(f"f:1:1: {key} is not quoted, and YAML reads it as")
    assert values(f'"{key}": x\n') == {key: "x"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\na: 2\n", ["f:2:1: duplicate key 'a'; the first is at f:1:1"]),
        ("a: &x 1\nb: *x\n", ["f:1:4: anchor &x is not allowed", "f:2:4: alias *x is not allowed"]),
        ("a: !!int 1\n", ["f:1:4: tag tag:yaml.org,2002:int is not allowed"]),
        ("a: !python/object:os.system x\n", ["f:1:4: tag !python/object:os.system is not allowed"]),
        ("<<: {a: 1}\n", ["f:1:1: merge keys (<<) are not allowed"]),
        ('a: "x\\0y"\n"\\x00": 1\n', ["f:1:4: NUL characters are not allowed", "f:2:1: NUL characters are not allowed"]),
        ("? [a]\n: 1\n", ["f:1:3: a key must be a string"]),
        ("a: 1\n---\nb: 2\n", ["f:2:1: more than one document"]),
        ("", ["f:1:1: the manifest is empty"]),
        ("# nothing\n", ["f:1:1: the manifest is empty"]),
        ("a: [1\n", ["f:2:1: not valid YAML: did not find expected ',' or ']' while parsing a flow sequence"]),
        ("a: 'x\n", ["f:1:4: not valid YAML: found unexpected end of stream while scanning a quoted scalar"]),
        (
            "a: 1\n\tb: 2\n",
            ["f:2:1: not valid YAML: found a tab character that violates indentation while scanning a plain scalar"],
        ),
        ("a: [" + "[" * 100 + "]" * 101 + "\n", ["f:1:67: nested deeper than 64 levels"]),
    ],
)
def test_what_is_refused(text: str, expected: list[str]) -> None:
    assert said(text) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a: 1\nb: \xff\n", "f:2:1: not UTF-8"),
        (b"a: 1\nb: \x00\n", "f:2:1: YAML does not allow the character"),
        (b"x" * (MAX_BYTES + 1), "f: the manifest is larger than 16 MiB"),
    ],
)
def test_bytes_that_are_not_text(data: bytes, expected: str) -> None:
    assert said(data)[0].startswith(expected)


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("a:\n\tb: 1\n", "f:2:1", "indent with spaces, not tabs"),
        ("a: b: c\n", "f:1:5", "quote the value if it contains a colon"),
        ("a: 1\nb:{}\nc: 1\n", "f:3:1", "with a space after the colon"),
        ("a: [*.txt]\n", "f:1:6", "quote values that start with *"),
        ("a: {b: ${vars.x}}\n", "f:1:9", 'quote it: "${vars.NAME}"'),
        ("a: @x\n", "f:1:4", "quote the value: @ has a special meaning"),
        ('a: 1\nb: "c\nd: 1\n', "f:2:4", "close the quotation marks"),
        ('a: "C:\\x"\n', "f:1:9", "write \\\\ for a backslash"),
        ("a: [1, 2\nb: 3\n", "f:2:2", "close the bracket"),
        ("a: 1\n%YAML 1.1\n", "f:3:1", "remove the line above"),
    ],
)
def test_hints_for_invalid_yaml(text: str, place: str, hint: str) -> None:
    _, (problem,) = parse(text.encode(), "f")
    assert problem.message.startswith("not valid YAML: ")
    assert (str(problem.where), hint in problem.hint) == (place, True), problem


@pytest.mark.parametrize("key", ["0x_", "0b_", "+" + "1" * 5000, "1_" + "0" * 5000, "1:" + "2:" * 40 + "3"])
def test_keys_that_look_like_numbers_and_cannot_be_parsed(key: str) -> None:
    assert "is not quoted, and YAML reads it as" in said(f"? {key}\n: x\n")[0]


def test_an_invalid_character_is_reported_at_its_line() -> None:
    assert said("a: äöü äöü\nb: \x01\n") == ["f:2:1: YAML does not allow the character U+0001"]


def test_a_long_value_takes_linear_time() -> None:
    """Backtracking would take hours."""
    assert values("k: 1" + "_" * 200_000 + "x\n")["k"].endswith("x")


def test_a_byte_order_mark_and_windows_lines() -> None:
    node, _ = parse(b"\xef\xbb\xbfa: 1\r\nb: x\r\n", "f")
    assert node is not None
    assert node.plain() == {"a": 1, "b": "x"}


def test_locations() -> None:
    node, _ = parse(b"a:\n  b: [x, {c: 1}]\n", "f")
    assert node is not None
    assert node.at(("a", "b", 1, "c"))[0] == Location("f", 2, 11)
    assert node.at(("a", "nope", "b"))[0] == Location("f", 2, 3)
    assert node.key("a") == Location("f", 1, 1)


def test_every_problem_is_found() -> None:
    assert len(said("a: &x no\n1: *x\na: !!str y\n")) == 6


@given(st.binary(max_size=200))
def test_any_bytes_give_a_node_or_problems(data: bytes) -> None:
    node, problems = parse(data, "f")
    assert node is not None or problems


@pytest.mark.slow
@given(st.text(st.sampled_from("ab:-[]{}&*!|>'\"#%@`?,. \n\t0123456789"), max_size=60))
@settings(max_examples=500)
def test_any_text_agrees_with_another_parser_or_is_refused(text: str) -> None:
    node, problems = parse(text.encode(), "f")
    if problems:
        return
    assert node is not None
    try:
        other = yaml.load(text, yaml.CBaseLoader)  # text only
    except yaml.YAMLError:
        pytest.fail("refused by the other reader")
    assert _as_text(node.plain()) == _as_text(other)


def _as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _as_text(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_as_text(v) for v in value]
    return None if isinstance(value, int | float | None) or value in ("", "~", "null", "true", "false") else _number(value)


def _number(text: str) -> str | None:
    try:
        float(text)
    except ValueError:
        return text
    return None
