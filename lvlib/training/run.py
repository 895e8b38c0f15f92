"""The files of a run folder besides its checkpoints: config.json, metrics.jsonl, TensorBoard's, and a lock."""

import fcntl
import json
import math
import os
import threading
from contextlib import suppress
from dataclasses import MISSING, fields
from pathlib import Path
from typing import IO, NamedTuple

from torch import nn

from lvlib.errors import UserError
from lvlib.training.checkpoint import EMA, MODEL, load_tensors, recorded_files, steps_saved, write_file
from lvlib.training.config import TrainingConfig

MAY_CHANGE = ("training.steps", "training.log_every", "training.validate_every", "training.checkpoint_every",
              "training.keep", "training.workers", "data.root")


def load_run(run: Path | str) -> dict:
    """config.json of a run: `training`, `clips` (how many it learned from), and what `train` got as `describe`.

    Raises UserError if the folder is no run.
    """
    run = Path(run)
    if not run.is_dir():
        raise UserError(f"no such run folder: {run}")
    try:
        return json.loads((run / "config.json").read_text())
    except FileNotFoundError:
        raise UserError(f"not a run folder (no config.json in it): {run}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {run / 'config.json'}: {error}") from error


class Weights(NamedTuple):
    step: int
    name: str  # EMA or MODEL
    sha256: str


def newest_weights(run: Path | str, ema: bool = True) -> Weights:
    """Which file of a run `load_weights` reads. Raises UserError if there is no checkpoint, or it is damaged."""
    run = Path(run)
    load_run(run)
    saved = steps_saved(run)
    if not saved:
        raise UserError(f"no checkpoint yet in {run}")
    files = recorded_files(run, saved[-1])
    name = EMA if ema and EMA in files else MODEL
    return Weights(saved[-1], name, files[name]["sha256"])


def load_weights(model: nn.Module, run: Path | str, ema: bool = True) -> int:
    """Puts the weights of the newest checkpoint into the model: the running mean if there is one and `ema`.

    Returns the checkpoint's step. Raises UserError if there is none, if it is damaged, or if it does not fit the model.
    """
    weights = newest_weights(run, ema)
    put_weights(model, load_tensors(Path(run), weights.step, weights.name), Path(run))
    return weights.step


def put_weights(model: nn.Module, tensors: dict, run: Path) -> None:
    """Raises UserError, naming the first tensor that does not fit."""
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    saved = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in own | saved:
        if own.get(name) != saved.get(name):
            raise UserError(f"the checkpoint in {run} is of another model: {name} is {saved.get(name, 'not in it')} "
                            f"there, {own.get(name, 'not in it')} here")
    model.load_state_dict(tensors)


def lock(run: Path) -> IO:
    """Holds the run folder until the file is closed or the process dies. Raises UserError if another holds it."""
    file = open(run / "lock", "w")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of the process: data workers do not inherit it
    except BlockingIOError:
        file.close()
        raise UserError(f"another process is training in {run}") from None
    return file


def check_agrees(run: Path, config: dict) -> None:
    """Raises UserError, naming the field, if a config.json is there and differs in more than what MAY_CHANGE.

    With the cosine schedule the number of steps may not change either: each step's learning rate depends on it.
    """
    if not (run / "config.json").exists():
        return
    defaults = {f"training.{field.name}": field.default for field in fields(TrainingConfig)
                if field.default is not MISSING}  # for a run that is older than the field
    recorded, new = _flat(load_run(run)), _flat(json.loads(json.dumps(config)))
    old = recorded | defaults | recorded  # in the order of config.json
    free = [name for name in MAY_CHANGE if name != "training.steps" or old["training.schedule"] != "cosine"]
    for name in old | new:
        if name not in free and old.get(name) != new.get(name):
            raise UserError(f"{run} was started with {name} = {json.dumps(old.get(name))}, not "
                            f"{json.dumps(new.get(name))}: go on with the old value, or start another run folder "
                            f"(free to change: {', '.join(free)})")


def write_config(run: Path, config: dict) -> None:
    partial = run / "config.tmp"
    write_file(partial, json.dumps(config, indent=1).encode() + b"\n")
    os.replace(partial, run / "config.json")


def _flat(config: dict, prefix: str = "") -> dict:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


class MetricsLog:
    """metrics.jsonl and TensorBoard. What an earlier attempt logged after step `start` is dropped from both."""

    def __init__(self, run: Path, start: int):
        from torch.utils.tensorboard import SummaryWriter

        self.file = open(run / "metrics.jsonl", "a+b")
        self.file.truncate(_end_of(self.file, start))
        self.board = SummaryWriter(run / "tensorboard", purge_step=start + 1)

    def write(self, record: dict[str, float]) -> None:
        """One line. The record has a `step`."""
        record = {name: value if math.isfinite(value) else None for name, value in record.items()}  # JSON has no NaN
        self.file.write(json.dumps(record).encode() + b"\n")
        self.file.flush()
        for name, value in record.items():
            if name != "step" and value is not None:
                self.board.add_scalar(name, value, record["step"])

    def __enter__(self) -> "MetricsLog":
        self.hook, threading.excepthook = threading.excepthook, self._failed_thread
        return self

    def __exit__(self, *_) -> None:
        with suppress(OSError):  # on a full disk the error that matters is under way already
            self.file.close()
        with suppress(OSError):
            self.board.close()
        threading.excepthook = self.hook

    def _failed_thread(self, failure: threading.ExceptHookArgs) -> None:
        """TensorBoard writes in a thread and raises that thread's error at the next write: no need to print it."""
        if not issubclass(failure.exc_type, OSError):
            self.hook(failure)


def _end_of(file: IO, step: int) -> int:
    """Bytes up to the first line that is of a later step, or that a crash cut short."""
    file.seek(0)
    end = 0
    for line in file:
        try:
            if json.loads(line)["step"] > step:
                break
        except (ValueError, KeyError, TypeError):
            break
        end += len(line)
    return end
