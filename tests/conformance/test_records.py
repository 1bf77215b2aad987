"""What every store of records does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gdcbuild.core.ports import Records
from gdcbuild.store.memory import MemoryRecords
from gdcbuild.store.records import DiskRecords


def unwanted(problem: object) -> None:
    raise AssertionError(f"warned of {problem}")


@pytest.fixture(params=["disk", "memory"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Records:
    return DiskRecords(tmp_path / "records", unwanted) if request.param == "disk" else MemoryRecords()


@pytest.mark.parametrize(
    "value",
    [True, 0, -7, 1.5, "", "text", "ä名\n\x00", [], {}, [1, ["two", {"three": None}]], {"a": {"b": [False]}}, "x" * 100_000],
    ids=lambda v: repr(v)[:20],
)
def test_what_is_put_is_there(records: Records, value: Any) -> None:
    records.put("table", "key", value)
    found = records.get("table", "key")
    assert (found, type(found)) == (value, type(value))


def test_an_unknown_key_is_absent(records: Records) -> None:
    assert records.get("table", "key") is None
    records.put("table", "key", 1)
    assert records.get("table", "other") is None
    assert records.get("other", "key") is None


def test_a_key_may_be_any_text(records: Records) -> None:
    records.put("stat", "/tmp/\udcff\n ä", 1)
    assert records.get("stat", "/tmp/\udcff\n ä") == 1


def test_the_last_one_counts(records: Records) -> None:
    for value in ("first", ["second"], "third"):
        records.put("table", "key", value)
    records.put("other", "key", "of another table")
    assert records.get("table", "key") == "third"


def test_a_value_is_kept_as_it_was(records: Records) -> None:
    value = {"list": [1]}
    records.put("table", "key", value)
    value["list"].append(2)
    found = records.get("table", "key")
    assert found == {"list": [1]}
    found["list"].append(3)
    assert records.get("table", "key") == {"list": [1]}


def test_values_are_converted_as_json_does(records: Records) -> None:
    records.put("table", "key", (1, ("two",)))
    assert records.get("table", "key") == [1, ["two"]]


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object()], ids=["bytes", "set", "object"])
def test_a_value_that_is_not_json_is_refused(records: Records, value: Any) -> None:
    with pytest.raises(TypeError):
        records.put("table", "key", value)
    assert records.get("table", "key") is None


def test_many_at_a_time(records: Records) -> None:
    def work(number: int) -> Any:
        records.put("table", f"key {number % 10}", number % 10)
        return records.get("table", f"key {number % 10}")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(80))) == [n % 10 for n in range(80)]
