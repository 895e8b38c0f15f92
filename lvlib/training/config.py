"""The settings of a training run: one frozen dataclass, checked when it is made."""

from dataclasses import dataclass
from typing import Literal, get_args

from lvlib.errors import UserError

Optimizer = Literal["adam", "adamw", "rmsprop"]
Schedule = Literal["constant", "cosine"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class TrainingConfig:
    """How to train. Raises UserError for a value that is not allowed, naming the field and what is."""

    steps: int
    """Optimizer steps in all."""
    batch: int
    """Clips per step, over all processes and micro-batches together."""
    learning_rate: float
    rate_per_clip: bool = False
    """learning_rate is that of a batch of one clip, and is multiplied by batch."""
    schedule: Schedule = "constant"
    """What the learning rate does after the warm-up: stays, or falls to 0 along half a cosine."""
    warmup: int = 0
    """Steps in which the learning rate rises from 0, in a straight line."""
    optimizer: Optimizer = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    """Decays of the gradient's and of its square's running means; RMSprop's momentum and alpha."""
    weight_decay: float = 0.0
    gradient_clip: float = 0.0
    """Largest norm of the gradient; 0 leaves it as it is."""
    ema_decay: float = 0.0
    """Decay of the running mean of the weights, a step; 0 keeps none."""
    precision: Precision = "32-true"
    accumulate: int = 1
    """Micro-batches that a step goes through one after the other, for batches that do not fit into memory at once."""
    log_every: int = 50
    """Steps between two lines of metrics.jsonl."""
    validate_every: int = 1000
    early_stopping: int = 0
    """Validations in a row without a lower score after which the training ends, before `steps`; who loads the run gets
    the weights with the lowest. `lvlib.training.train` says which score. 0: never, and the last weights are kept alone.
    """
    checkpoint_every: int = 1000
    keep: int = 3
    """Checkpoints kept, newest first."""
    workers: int = 0
    """Processes that read data, for each training process; 0 reads in the training process."""
    seed: int = 0
    """Fixes the order of the clips and every random number of the training."""

    def __post_init__(self):
        for name in ("steps", "batch", "accumulate", "log_every", "validate_every", "checkpoint_every", "keep"):
            self._require(name, "a whole number, 1 or more", _whole, lambda value: value >= 1)
        for name in ("workers", "warmup", "early_stopping"):
            self._require(name, "a whole number, 0 or more", _whole, lambda value: value >= 0)
        self._require("seed", "a whole number from 0 to 2**63 - 1", _whole, lambda value: 0 <= value < 2**63)
        self._require("learning_rate", "above 0", _real, lambda value: 0 < value < float("inf"))
        self._require("rate_per_clip", "true or false", lambda value: isinstance(value, bool))
        for name in ("weight_decay", "gradient_clip"):
            self._require(name, "0 or more", _real, lambda value: 0 <= value < float("inf"))
        self._require("ema_decay", "at least 0 and below 1", _real, lambda value: 0 <= value < 1)
        self._require("betas", "two numbers, each at least 0 and below 1", _pair,
                      lambda value: all(0 <= beta < 1 for beta in value))
        for name, kind in ("optimizer", Optimizer), ("schedule", Schedule), ("precision", Precision):
            self._require(name, "one of " + ", ".join(get_args(kind)), get_args(kind).__contains__)

    def _require(self, name: str, allowed: str, *tests) -> None:
        value = getattr(self, name)
        if not all(test(value) for test in tests):
            raise UserError(f"training.{name} is {value!r}: it must be {allowed}")


def _whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _real(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _pair(value) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(map(_real, value))
