"""Check an archive's `model-config.yaml` for settings that TorchServe would ignore.

TorchServe only logs a value of the wrong type or out of range, and uses the default; it leaves unknown keys to the handler.
The rules are those of its `ModelConfig.java`, `Model.java` and `base_handler.py` (0.12).
"""

from __future__ import annotations

import difflib
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any

from gdcbuild.errors import Caution, Location, Problem
from gdcbuild.frameworks.torchserve.check.settings import BACKENDS, KEYS, SECTIONS, TORCHRUN

MAX_TEXT = 128 << 10
"""Largest configuration in bytes that is parsed, which takes a second per 50 KiB."""

MAX_DEPTH = MAX_ALIASES = 50
"""Limits of TorchServe's YAML reader for nesting, and for aliases of lists and mappings; beyond them it ignores the file."""

_UNFIT = (AttributeError, ArithmeticError, LookupError, ValueError, RecursionError)
"""What PyYAML raises for values that do not match their tag, in addition to its own errors."""


_NEEDS = {
    **dict.fromkeys(("torchrun", "parallelLevel"), ("parallelType", "tp, pp, pptp or custom")),
    **dict.fromkeys(("sequenceTimeoutMSec", "maxSequenceJobQueueSize", "maxNumSequence"), ("sequenceMaxIdleMSec", "1 or more")),
}
"""Setting → the setting without which it has no effect, and its valid values."""

_BY_TORCHRUN = ("pp", "tp", "pptp")

_Keys = tuple[str, ...]
_Located = tuple[_Keys, Problem]


def read(data: bytes, name: str) -> Mapping[str, Any] | Problem:
    """Parse the configuration in the file `name` as the server and its workers do; or return why they cannot, and where."""
    import yaml

    where = Location(name)
    if len(data) > MAX_TEXT:
        hint = "put large tables for the handler into separate files, listed under `files`"
        return Caution(f"the configuration is not checked: it has more than {MAX_TEXT >> 10} KiB", hint, where)
    try:
        found = yaml.load(data.decode(), _loader())  # noqa: S506 - it is a SafeLoader
    except UnicodeDecodeError:
        return Problem("not UTF-8; TorchServe: Failed to parse model config yaml file.", "save it as UTF-8", where)
    except (yaml.YAMLError, *_UNFIT) as error:
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or " ".join(str(error).split()) or type(error).__name__
        message = f"invalid YAML: {said}; TorchServe: Failed to parse model config yaml file."
        return Problem(message, "correct the file", where if mark is None else Location(name, mark.line + 1, mark.column + 1))
    if not isinstance(found, dict):
        what = "empty" if found is None else "not a mapping"
        return Problem(
            f"the configuration is {what}; TorchServe expects a mapping", "write KEY: VALUE lines, or remove it", where
        )
    return found


def _loader() -> Any:
    """A loader with the limits of TorchServe's YAML reader."""
    import yaml

    class Limited(yaml.SafeLoader):
        depth = aliases = 0

        def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stubs leave it out
            alias = self.check_event(yaml.AliasEvent)
            if self.depth > MAX_DEPTH:
                raise yaml.composer.ComposerError(None, None, f"nested deeper than {MAX_DEPTH} levels", mark)
            self.depth += 1
            node = super().compose_node(parent, index)
            self.depth -= 1
            self.aliases += alias and not isinstance(node, yaml.ScalarNode)
            if self.aliases > MAX_ALIASES:
                message = f"more than {MAX_ALIASES} aliases of lists and mappings"
                raise yaml.composer.ComposerError(None, None, message, mark)
            return node

    return Limited


def check(config: Mapping[str, Any], name: str, base: bool) -> Iterator[Problem]:
    """All settings that would not take effect. `base` is true for a handler that loads models as the base handler does."""
    return (problem for _, problem in _findings(config, name, base))


def located(config: Mapping[str, Any], name: str, base: bool) -> Iterator[_Located]:
    """The same for a configuration that is not in a file, each with the path of the key that it is about."""
    if _depth(config) > MAX_DEPTH:
        message = f"{name}: nested deeper than {MAX_DEPTH} levels; TorchServe would ignore all of it"
        yield (), Problem(message, "use fewer levels, or put it into a separate file for the handler, listed under `files`")
    yield from _findings(config, name, base)


def _findings(config: Mapping[str, Any], name: str, base: bool) -> Iterator[_Located]:
    sound = yield from _typed(config, KEYS, name, (), SECTIONS)
    yield from _together(sound, name, "torchrun" in config)
    torchrun = sound.get("torchrun")
    if torchrun is not None:
        known = yield from _typed(torchrun, TORCHRUN, name, ("torchrun",))
        for key in torchrun:
            if isinstance(key, str) and key not in TORCHRUN and _meant(key, TORCHRUN) is None:
                message, hint = f"{name}: TorchServe: unsupported parameter {key}", f"use one of: {', '.join(TORCHRUN)}"
                yield ("torchrun", key), Caution(message, hint)
        level, processes = sound.get("parallelLevel"), known.get("nproc-per-node", 1)
        if level not in (None, processes):
            message = f"{name}: parallelLevel is {level}, but torchrun starts {processes} processes: the later one counts"
            yield ("parallelLevel",), Problem(message, "remove parallelLevel: torchrun sets it")
    if base and "pt2" in config:
        for problem in _compiled(config["pt2"], name):
            yield ("pt2",), problem


def _typed(
    config: Mapping[Any, Any], known: Mapping[str, Any], name: str, above: _Keys, others: tuple[str, ...] = ()
) -> Generator[_Located, None, dict[str, Any]]:
    """Report keys that look misspelt and invalid values; return the valid ones, as the server reads them.

    `above` is the path of keys to this mapping.
    """
    sound = {}
    prefix = "".join(f"{key}." for key in above)
    for key, value in config.items():
        place = (*above, key if isinstance(key, str) else _shown(key))
        if not isinstance(key, str):
            yield (
                place,
                Problem(
                    f"{name}: the key {prefix}{place[-1]} is not a string; TorchServe exits on it", f'write "{place[-1]}":'
                ),
            )
            continue
        wanted = known.get(key)
        if wanted is None:
            meant = None if key in others else _meant(key, (*known, *others))
            if meant is not None:
                message = f"{name}: TorchServe does not know {prefix}{key}" + (
                    "" if above else ", and leaves it to the handler"
                )
                yield place, Caution(message, f"did you mean {prefix}{meant}?")
        elif wanted.fits(value):
            sound[key] = taken = wanted.taken(value)
            if taken != value and taken:
                yield place, Caution(f"{name}: {prefix}{key} is {value}; TorchServe uses {taken} instead", f"write {taken}")
        else:
            message = f"{name}: {prefix}{key} is {_shown(value)}; TorchServe would ignore it"
            yield place, Problem(message, f"write {wanted}")
    return sound


def _depth(value: Any) -> int:
    """The nesting depth of a tree of mappings and lists."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=-1)


def _shown(value: Any) -> str:
    """A value for a message. Collections are not shown: YAML aliases can make them endless."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge number"  # Python refuses to print very large ones
    return "nothing" if value is None else f"{value!r:.60}"


def _meant(key: str, known: Iterable[str]) -> str | None:
    """The known key that `key` misspells: different case or separators, or one letter too many, missing or wrong."""
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


def _together(sound: Mapping[str, Any], name: str, has_torchrun: bool) -> Iterator[_Located]:
    """Settings that conflict, or need another one."""
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
    kind, level = str(sound.get("parallelType")).lower(), sound.get("parallelLevel")
    if kind in _BY_TORCHRUN and not has_torchrun:
        message = f"{name}: parallelType is {kind}, which starts workers with torchrun, but `torchrun` is missing"
        failure = "; TorchServe: NullPointerException, torchRun is null" if level else ""
        yield ("parallelType",), Problem(message + failure, f"add torchrun: {{nproc-per-node: {level or 'N'}}}")
    for key, (other, values) in _NEEDS.items():
        if sound.get(key) and not sound.get(other):
            yield (key,), Problem(f"{name}: {key} has no effect without {other}", f"add {other}: {values}")


def _compiled(pt2: Any, name: str) -> Iterator[Problem]:
    """Problems of the section `pt2`, in its old and new forms, as the base handler reads it."""
    if isinstance(pt2, str):
        options: Any = {"backend": pt2}
    elif not isinstance(pt2, dict):
        yield Problem(f"{name}: pt2 is {_shown(pt2)}; TorchServe: pt2 should be str or dict", "write {compile: {enable: true}}")
        return
    elif "compile" in pt2:
        options = pt2["compile"]
        if not (isinstance(options, dict) and isinstance(options.get("enable"), bool)):
            yield Problem(f"{name}: pt2.compile has no `enable`; TorchServe: 'enable'", "add enable: true, or false")
            return
        if not options["enable"]:
            return
    else:
        options = {} if "export" in pt2 else pt2
    backend = options.get("backend", BACKENDS[0])
    if not (isinstance(backend, str) and backend in BACKENDS):
        yield Problem(
            f"{name}: TorchServe does not know the backend {_shown(backend)}, and would not compile the model",
            f"use one of: {', '.join(BACKENDS)}",
        )
