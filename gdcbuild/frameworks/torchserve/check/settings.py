"""The settings that TorchServe reads from a configuration, with their valid values, from its `ModelConfig.java` (0.12)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MAX_INT = 2**31 - 1


class Setting:
    """A kind of value that the server uses unchanged."""

    def taken(self, value: Any) -> Any:
        """What the server uses for a valid value."""
        return value


@dataclass(frozen=True)
class Whole(Setting):
    """A whole number of at least `least`. With `raised`, the server uses `least` for a smaller one."""

    least: int
    raised: bool = False

    def __str__(self) -> str:
        return f"a whole number, {self.least} or more"

    def fits(self, value: Any) -> bool:
        lowest = -MAX_INT - 1 if self.raised else self.least
        return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= MAX_INT

    def taken(self, value: Any) -> Any:
        return max(value, self.least)


@dataclass(frozen=True)
class OneOf(Setting):
    """One of a few words, in any case."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}"

    def fits(self, value: Any) -> bool:
        return isinstance(value, str) and value.lower() in self.words


@dataclass(frozen=True)
class OfType(Setting):
    """Any value of a type."""

    name: str
    kind: type

    def __str__(self) -> str:
        return self.name

    def fits(self, value: Any) -> bool:
        return isinstance(value, self.kind)


@dataclass(frozen=True)
class Numbers(Setting):
    """A list of whole numbers."""

    def __str__(self) -> str:
        return "a list of whole numbers, 0 or more"

    def fits(self, value: Any) -> bool:
        return isinstance(value, list) and all(Whole(0).fits(v) for v in value)


_FLAG, _TEXT, _MAPPING = OfType("true or false", bool), OfType("a string", str), OfType("a mapping", dict)

KEYS = {
    "minWorkers": Whole(1, raised=True),
    "maxWorkers": Whole(1),
    "batchSize": Whole(1, raised=True),
    "maxBatchDelay": Whole(0),
    "responseTimeout": Whole(1),
    "startupTimeout": Whole(1),
    "deviceType": OneOf(("cpu", "gpu")),
    "deviceIds": Numbers(),
    "parallelType": OneOf(("pp", "tp", "pptp", "custom")),
    "parallelLevel": Whole(0),
    "torchrun": _MAPPING,
    "maxRetryTimeoutInSec": Whole(0, raised=True),
    "clientTimeoutInMills": Whole(0, raised=True),
    "jobQueueSize": Whole(0, raised=True),
    "useJobTicket": _FLAG,
    "sequenceMaxIdleMSec": Whole(0, raised=True),
    "sequenceTimeoutMSec": Whole(0, raised=True),
    "maxSequenceJobQueueSize": Whole(1, raised=True),
    "maxNumSequence": Whole(1, raised=True),
    "continuousBatching": _FLAG,
    "sequenceBatching": _FLAG,
    "asyncCommunication": _FLAG,
    "useVenv": _FLAG,
}
"""Keys that the server itself reads."""

TORCHRUN = {
    "nnodes": Whole(1),
    "nproc-per-node": Whole(1),
    "rdzv-backend": _TEXT,
    "rdzv-endpoint": _TEXT,
    "rdzv-conf": _TEXT,
    "monitor-interval": Whole(1),
    "node-rank": Whole(0),
    "OMP_NUMBER_THREADS": Whole(1),
}

SECTIONS = ("handler", "pt2", "pippy", "deepspeed", "dali")
"""Keys that TorchServe's own handlers read. Other handlers may read any key."""

BACKENDS = (
    *("eager", "aot_eager", "inductor", "nvfuser", "aot_nvfuser", "aot_cudagraphs", "ofi", "fx2trt", "onnxrt", "ipex"),
    *("torchxla_trace_once", "openvino", "tensorrt", "hpu_backend"),
)
