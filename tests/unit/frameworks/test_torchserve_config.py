"""Check model-config.yaml: settings that TorchServe would log and ignore are refused."""

from __future__ import annotations

from typing import Any

import pytest

from gdcbuild.errors import Caution, Problem
from gdcbuild.frameworks.torchserve.check import config
from gdcbuild.frameworks.torchserve.check.settings import KEYS

NAME = "model-config.yaml"


def said(text: str, base: bool = True) -> list[str]:
    found = config.read(text.encode(), NAME)
    assert not isinstance(found, Problem), found
    problems = list(config.check(found, NAME, base))
    assert all(p.hint and p.message.startswith(NAME) for p in problems)
    return [p.message for p in problems]


@pytest.mark.parametrize(
    "text",
    [
        "minWorkers: 1\nmaxWorkers: 4\nbatchSize: 8\nmaxBatchDelay: 100\nresponseTimeout: 120\nstartupTimeout: 60\n",
        "deviceType: GPU\ndeviceIds: [0, 1]\nparallelType: tp\ntorchrun: {nproc-per-node: 2, OMP_NUMBER_THREADS: 4}\n",
        "parallelType: custom\nparallelLevel: 4\n",
        "useJobTicket: true\njobQueueSize: 10\nclientTimeoutInMills: 0\nmaxRetryTimeoutInSec: 300\n",
        "sequenceBatching: true\nsequenceMaxIdleMSec: 60000\nsequenceTimeoutMSec: 1\n",
        "sequenceMaxIdleMSec: 60000\nmaxNumSequence: 4\nmaxSequenceJobQueueSize: 2\n",
        "continuousBatching: true\nasyncCommunication: false\nuseVenv: yes\n",
        "handler: {profile: true, labels: [a, b]}\nmine: 5\nanythingElse: {a: 1}\n",
        "pt2: inductor\n",
        "pt2: {backend: inductor, mode: reduce-overhead}\n",
        "pt2: {compile: {enable: true, backend: inductor}}\n",
        "pt2: {export: {aot_compile: true}}\n",
    ],
)
def test_valid_settings(text: str) -> None:
    assert said(text) == []


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ["'8'", "8.5", "[a]", "3000000000", "none", "0x"])
def test_no_value_of_the_wrong_type_passes(key: str, value: str) -> None:
    """TorchServe: Invalid KEY: VALUE, should be ..."""
    found = said(f"{key}: {value}\n")
    assert any(f"{key} is" in message and "would ignore it" in message for message in found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("maxBatchDelay: -1\n", "maxBatchDelay is -1; TorchServe would ignore it"),
        ("responseTimeout: 0\n", "responseTimeout is 0; TorchServe would ignore it"),
        ("batchSize: true\n", "batchSize is true; TorchServe would ignore it"),
        ("useVenv: 1\n", "useVenv is 1; TorchServe would ignore it"),
        ("deviceType: tpu\n", "deviceType is 'tpu'"),
        ("parallelType: dp\n", "parallelType is 'dp'"),
        ("deviceIds: [0, x]\n", "deviceIds is a list"),
        ("torchrun: 2\nparallelType: tp\n", "torchrun is 2"),
        ("parallelType: tp\ntorchrun: {nproc-per-node: '2'}\n", "torchrun.nproc-per-node is '2'"),
        ("parallelType: tp\nparallelLevel: 4\n", "parallelType is tp, which starts workers with torchrun"),
        ("parallelType: PPTP\n", "parallelType is pptp, which starts workers with torchrun"),
        ("parallelType: tp\nparallelLevel: 4\ntorchrun: {nproc-per-node: 2}\n", "parallelLevel is 4, but torchrun starts 2"),
        ("torchrun: {nproc-per-node: 2}\n", "torchrun has no effect without parallelType"),
        ("parallelLevel: 2\n", "parallelLevel has no effect without parallelType"),
        ("minWorkers: 4\nmaxWorkers: 2\n", "minWorkers is 4 and maxWorkers is 2"),
        ("minWorkers: 4\n", "minWorkers is 4 and maxWorkers is not given"),
        ("maxWorkers: 4\n", "maxWorkers has no effect without minWorkers"),
        ("maxNumSequence: 2\n", "maxNumSequence has no effect without sequenceMaxIdleMSec"),
        ("1: 2\n", "the key 1 is not a string"),
        ("pt2: 5\n", "pt2 should be str or dict"),
        ("pt2: cuda\n", "does not know the backend 'cuda'"),
        ("pt2: {compile: {backend: inductor}}\n", "pt2.compile has no `enable`"),
        ("pt2: {compile: {enable: true, backend: [a]}}\n", "does not know the backend a list"),
    ],
)
def test_settings_that_would_be_ignored(text: str, words: str) -> None:
    (message,) = said(text)
    assert words in message


def test_the_section_for_the_base_handler_is_checked_only_with_it() -> None:
    assert said("pt2: 5\n", base=False) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("minWorkers: 0\nmaxWorkers: 1\n", "minWorkers is 0; TorchServe uses 1 instead"),
        ("batchSize: -8\n", "batchSize is -8; TorchServe uses 1 instead"),
        ("batchsize: 8\n", "does not know batchsize, and leaves it to the handler"),
        ("batch_size: 8\n", "does not know batch_size"),
        ("BatchSize: 4\n", "does not know BatchSize"),
        ("batchSizes: 8\n", "does not know batchSizes"),
        ("bachSize: 8\n", "does not know bachSize"),
        ("batchDize: 8\n", "does not know batchDize"),
        ("Handler: {a: 1}\n", "does not know Handler"),
        ("parallelType: tp\ntorchrun: {nproc_per_node: 2}\n", "does not know torchrun.nproc_per_node"),
        ("parallelType: tp\ntorchrun: {max-restarts: 2}\n", "unsupported parameter max-restarts"),
    ],
)
def test_what_the_server_loads_is_only_warned_about(text: str, words: str) -> None:
    found = config.read(text.encode(), NAME)
    assert not isinstance(found, Problem)
    (problem,) = config.check(found, NAME, True)
    assert isinstance(problem, Caution)
    assert words in problem.message


def test_values_that_mean_not_set_are_accepted() -> None:
    """TorchServe's own documentation gives jobQueueSize: -1 for "no setting of the model's own"."""
    assert said("jobQueueSize: -1\nclientTimeoutInMills: -1\nmaxRetryTimeoutInSec: 0\n") == []


def test_torchrun_gets_the_parallel_level() -> None:
    for text, processes in (("parallelLevel: 4\n", 4), ("", "N")):
        found = config.read(f"parallelType: pp\n{text}".encode(), NAME)
        assert not isinstance(found, Problem)
        (problem,) = config.check(found, NAME, True)
        assert problem.hint == f"add torchrun: {{nproc-per-node: {processes}}}"


def nested(levels: int, inside: str = "") -> str:
    return "a: " + "[" * levels + inside + "]" * levels + "\n"


def aliased(count: int, anchored: str = "{b: 1}") -> str:
    return f"a: &a {anchored}\nb: [" + ", ".join(["*a"] * count) + "]\n"


@pytest.mark.parametrize("text", [nested(50), nested(49, "1"), aliased(50), aliased(80, "1"), "a: &a [*a]\n"])
def test_what_torchserves_reader_of_yaml_takes(text: str) -> None:
    assert said(text) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (nested(51), "nested deeper than 50 levels"),
        (nested(50, "1"), "nested deeper than 50 levels"),
        (aliased(51), "more than 50 aliases of lists and mappings"),
        ("a: &a {b: 1}\n" + "".join(f"k{n}: {{<<: *a}}\n" for n in range(51)), "more than 50 aliases"),
    ],
)
def test_with_more_torchserve_would_drop_the_whole_file(text: str, words: str) -> None:
    found = config.read(text.encode(), NAME)
    assert isinstance(found, Problem)
    assert words in found.message
    assert found.where is not None
    assert found.where.line > 0


@pytest.mark.parametrize(
    ("key", "meant"), [("batchsize", "batchSize"), ("max_batch_delay", "maxBatchDelay"), ("handlr", "handler")]
)
def test_a_misspelt_key_is_guessed(key: str, meant: str) -> None:
    (problem,) = config.check({key: {}}, NAME, True)
    assert problem.hint == f"did you mean {meant}?"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"- a\n", "is not a mapping"),
        (b"hello\n", "is not a mapping"),
        (b"a: [\n", "invalid YAML"),
        (b"a: \xff\n", "not UTF-8"),
        (b"a: !!python/object/apply:os.system [x]\n", "invalid YAML"),
        (b"{[1]: 2}\n", "invalid YAML"),
        (b"a: " + b"[" * 100_000, "invalid YAML"),
        (b"a: " + b"9" * 10_000, "invalid YAML"),
        (b"a: !!bool maybe\n", "invalid YAML"),
        (b"a: !!int ''\n", "invalid YAML"),
        (b"a: !!timestamp now\n", "invalid YAML"),
        (b"a: 1" + b":1" * 300 + b":1.0\n", "invalid YAML"),
        (b"a: b\n" * 30_000, "has more than 128 KiB"),
    ],
)
def test_invalid_configurations(data: bytes, words: str) -> None:
    found = config.read(data, NAME)
    assert isinstance(found, Problem)
    assert words in found.message


def test_aliases_cannot_make_a_message_endless() -> None:
    text = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 2)}]\n" for n in range(20)
    )
    found: Any = config.read((text + "batchSize: *u\nself: &me [*me]\n").encode(), NAME)
    assert [p.message for p in config.check(found, NAME, True)] == [f"{NAME}: batchSize is a list; TorchServe would ignore it"]
