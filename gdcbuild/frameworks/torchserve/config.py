"""What TorchServe takes from an archive's `model-config.yaml`, and where it would pass over what stands there.

It logs a value of the wrong type, or out of range, and goes on with the default; a key that it does not know it leaves to the
handler. Both are told here, from what its `ModelConfig.java`, `Model.java` and `base_handler.py` (0.12) do.
"""

from __future__ import annotations

import difflib
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gdcbuild.errors import Caution, Problem

MAX_INT = 2**31 - 1
MAX_TEXT = 128 << 10
"""Bytes of the largest configuration that is parsed, which takes a second for each 50 KiB."""

_UNFIT = (AttributeError, ArithmeticError, LookupError, ValueError, RecursionError)
"""What PyYAML raises of values that are not what their tag says, beside errors of its own."""


@dataclass(frozen=True, slots=True)
class _Whole:
    """A whole number of at least `least`."""

    least: int

    def __str__(self) -> str:
        return f"a whole number, {self.least} or more"

    def fits(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.least <= value <= MAX_INT


@dataclass(frozen=True, slots=True)
class _OneOf:
    """One of a few words, in any case."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and value.lower() in self.words


@dataclass(frozen=True, slots=True)
class _Kind:
    """Any value of a type."""

    name: str
    kind: type

    def __str__(self) -> str:
        return self.name

    def fits(self, value: Any) -> bool:
        return isinstance(value, self.kind)


@dataclass(frozen=True, slots=True)
class _Numbers:
    """A list of whole numbers."""

    def __str__(self) -> str:
        return "a list of whole numbers, 0 or more"

    def fits(self, value: Any) -> bool:
        return isinstance(value, list) and all(_Whole(0).fits(v) for v in value)


_FLAG, _TEXT, _MAPPING = _Kind("true or false", bool), _Kind("text", str), _Kind("a mapping", dict)

KEYS = {
    "minWorkers": _Whole(1),
    "maxWorkers": _Whole(1),
    "batchSize": _Whole(1),
    "maxBatchDelay": _Whole(0),
    "responseTimeout": _Whole(1),
    "startupTimeout": _Whole(1),
    "deviceType": _OneOf(("cpu", "gpu")),
    "deviceIds": _Numbers(),
    "parallelType": _OneOf(("pp", "tp", "pptp", "custom")),
    "parallelLevel": _Whole(0),
    "torchrun": _MAPPING,
    "maxRetryTimeoutInSec": _Whole(0),
    "clientTimeoutInMills": _Whole(0),
    "jobQueueSize": _Whole(1),
    "useJobTicket": _FLAG,
    "sequenceMaxIdleMSec": _Whole(0),
    "sequenceTimeoutMSec": _Whole(0),
    "maxSequenceJobQueueSize": _Whole(1),
    "maxNumSequence": _Whole(1),
    "continuousBatching": _FLAG,
    "sequenceBatching": _FLAG,
    "asyncCommunication": _FLAG,
    "useVenv": _FLAG,
}
"""What the server itself reads."""

TORCHRUN = {
    "nnodes": _Whole(1),
    "nproc-per-node": _Whole(1),
    "rdzv-backend": _TEXT,
    "rdzv-endpoint": _TEXT,
    "rdzv-conf": _TEXT,
    "monitor-interval": _Whole(1),
    "node-rank": _Whole(0),
    "OMP_NUMBER_THREADS": _Whole(1),
}

SECTIONS = ("handler", "pt2", "pippy", "deepspeed", "dali")
"""What TorchServe's own handlers read. Others may read anything."""

BACKENDS = (
    *("eager", "aot_eager", "inductor", "nvfuser", "aot_nvfuser", "aot_cudagraphs", "ofi", "fx2trt", "onnxrt", "ipex"),
    *("torchxla_trace_once", "openvino", "tensorrt", "hpu_backend"),
)

_NEEDS = {
    **dict.fromkeys(("torchrun", "parallelLevel"), ("parallelType", "tp, pp, pptp or custom")),
    **dict.fromkeys(("sequenceTimeoutMSec", "maxSequenceJobQueueSize", "maxNumSequence"), ("sequenceMaxIdleMSec", "1 or more")),
}
"""What has no effect without another setting, and that with its values."""

_Keys = tuple[str, ...]
_Located = tuple[_Keys, Problem]


def read(data: bytes, name: str) -> Mapping[str, Any] | Problem:
    """The configuration in a file, as the server and its workers parse it; or why they cannot."""
    import yaml

    if len(data) > MAX_TEXT:
        message = f"{name} has more than {MAX_TEXT >> 10} KiB, which are not looked into"
        return Caution(message, "give the handler large tables in files of their own: `files`")
    try:
        found = yaml.safe_load(data.decode())
    except UnicodeDecodeError:
        return Problem(f"{name} is not UTF-8; TorchServe: Failed to parse model config yaml file.", "save it as UTF-8")
    except (yaml.YAMLError, *_UNFIT) as error:
        line = " ".join(str(error).split()) or type(error).__name__
        return Problem(f"{name} is not YAML: {line}; TorchServe: Failed to parse model config yaml file.", "correct it")
    if not isinstance(found, dict):
        what = "empty" if found is None else "no mapping"
        return Problem(f"{name} is {what}, and TorchServe takes it for a mapping", "write KEY: VALUE lines, or leave it out")
    return found


def check(config: Mapping[str, Any], name: str, base: bool) -> Iterator[Problem]:
    """Everything that would not have the effect it asks for. `base` is true for a handler that loads as the base one does."""
    return (problem for _, problem in located(config, name, base))


def located(config: Mapping[str, Any], name: str, base: bool) -> Iterator[_Located]:
    """The same, each with the path of the key that it speaks of first."""
    sound = yield from _typed(config, KEYS, name, (), SECTIONS)
    yield from _together(sound, name)
    torchrun = sound.get("torchrun")
    if torchrun is not None:
        known = yield from _typed(torchrun, TORCHRUN, name, ("torchrun",))
        for key in torchrun:
            if isinstance(key, str) and key not in TORCHRUN and _meant(key, TORCHRUN) is None:
                message, hint = f"{name}: TorchServe: unsupported parameter {key}", f"torchrun knows: {', '.join(TORCHRUN)}"
                yield ("torchrun", key), Problem(message, hint)
        level, processes = sound.get("parallelLevel"), known.get("nproc-per-node", 1)
        if level not in (None, processes):
            message = f"{name}: parallelLevel is {level}, and torchrun starts {processes} processes: the later one counts"
            yield ("parallelLevel",), Problem(message, "remove parallelLevel, which torchrun sets")
    if base and "pt2" in config:
        for problem in _compiled(config["pt2"], name):
            yield ("pt2",), problem


def _typed(
    config: Mapping[Any, Any], known: Mapping[str, Any], name: str, above: _Keys, others: tuple[str, ...] = ()
) -> Generator[_Located, None, dict[str, Any]]:
    """Tells keys that are misspelt and values that do not fit; returns the values that do. `above` are the keys it is in."""
    sound = {}
    prefix = "".join(f"{key}." for key in above)
    for key, value in config.items():
        place = (*above, key if isinstance(key, str) else _shown(key))
        if not isinstance(key, str):
            yield (
                place,
                Problem(f"{name}: the key {prefix}{place[-1]} is not text, on which TorchServe ends", f'write "{place[-1]}":'),
            )
            continue
        wanted = known.get(key)
        if wanted is None:
            meant = None if key in others else _meant(key, (*known, *others))
            if meant is not None:
                yield place, Problem(f"{name}: TorchServe does not know {prefix}{key}", f"did you mean {prefix}{meant}?")
        elif wanted.fits(value):
            sound[key] = value
        else:
            message = f"{name}: {prefix}{key} is {_shown(value)}; TorchServe would ignore it"
            yield place, Problem(message, f"write {wanted}")
    return sound


def _shown(value: Any) -> str:
    """A value for people. YAML's aliases make collections that have no end when they are written out."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge number"  # Python writes none out
    return "nothing" if value is None else f"{value!r:.60}"


def _meant(key: str, known: Iterable[str]) -> str | None:
    """The known key that `key` must be a misspelling of: another case or other joints, or a letter too many, few or wrong."""
    for each in known:
        if _plain(key) == _plain(each) or _one_edit(key.lower(), each.lower()):
            return each
    return None


def _plain(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")


def _one_edit(one: str, other: str) -> bool:
    if abs(len(one) - len(other)) > 1 or min(len(one), len(other)) < 4:
        return False
    changes = [c for c in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes() if c[0] != "equal"]
    return len(changes) == 1 and max(changes[0][2] - changes[0][1], changes[0][4] - changes[0][3]) == 1


def _together(sound: Mapping[str, Any], name: str) -> Iterator[_Located]:
    """Settings that cancel each other, or need another one."""
    least, most = sound.get("minWorkers"), sound.get("maxWorkers")
    if least is not None and (most is None or most < least):
        message = (
            f"{name}: minWorkers is {least} and maxWorkers is {'not given' if most is None else most}; TorchServe ignores both"
            " unless maxWorkers is at least minWorkers"
        )
        yield ("minWorkers",), Problem(message, f"write maxWorkers: {least} or more")
    elif most is not None and least is None:
        message = f"{name}: maxWorkers has no effect without minWorkers"
        yield ("maxWorkers",), Problem(message, f"add minWorkers: 1, up to {most}")
    for key, (other, values) in _NEEDS.items():
        if sound.get(key) and not sound.get(other):
            yield (key,), Problem(f"{name}: {key} has no effect without {other}", f"add {other}: {values}")


def _compiled(pt2: Any, name: str) -> Iterator[Problem]:
    """How the base handler takes the section `pt2`, in its old and new forms."""
    if isinstance(pt2, str):
        options: Any = {"backend": pt2}
    elif not isinstance(pt2, dict):
        yield Problem(f"{name}: pt2 is {_shown(pt2)}; TorchServe: pt2 should be str or dict", "write {compile: {enable: true}}")
        return
    elif "compile" in pt2:
        options = pt2["compile"]
        if not (isinstance(options, dict) and isinstance(options.get("enable"), bool)):
            yield Problem(f"{name}: pt2.compile says not whether it is on; TorchServe: 'enable'", "add enable: true, or false")
            return
        if not options["enable"]:
            return
    else:
        options = {} if "export" in pt2 else pt2
    backend = options.get("backend", BACKENDS[0])
    if not (isinstance(backend, str) and backend in BACKENDS):
        yield Problem(
            f"{name}: {_shown(backend)} is no backend that TorchServe knows; it would go on without compiling",
            f"use one of: {', '.join(BACKENDS)}",
        )
