"""A run folder, as others see it: the settings in config.json, the newest weights, and a lock."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from filelock import FileLock, Timeout
from torch import Tensor, nn

from lvlib.errors import UserError
from lvlib.training.checkpoint import BEST, EMA, MODEL, load_tensors, recorded_files, steps_saved, write_file
from lvlib.training.config import TrainingConfig

MAY_CHANGE = ("training.steps", "training.log_every", "training.validate_every",
              "training.checkpoint_every", "training.early_stopping", "training.keep", "training.workers")
DEEPEST = 20  # levels of a config.json
NONE_RENAMED: Mapping[str, str] = MappingProxyType({})


def load_run(run: Path | str) -> dict:
    """config.json of a run: `training`, `clips` (how many it learned from), and what `train` got as `describe`.

    Raises UserError if the folder is no run, or the file is none that lvlib writes.
    """
    run = Path(run)
    if not run.is_dir():
        raise UserError(f"no such run folder: {run}")
    path = run / "config.json"
    if not path.exists():
        raise UserError(f"not a run folder (no config.json in it): {run}")
    try:
        if not path.is_file():
            raise ValueError("it is not a file")
        config = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse, parse_float=_finite)
        if not isinstance(config, dict):
            raise ValueError(f"it holds {json.dumps(config)[:40]}, and not settings by name")
        _check_depth(config)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    return config


def _refuse(number: str) -> float:
    raise ValueError(f"it holds {number}")


def _finite(number: str) -> float:
    return float(number) if abs(float(number)) < float("inf") else _refuse(number)


def _check_depth(config: dict) -> None:
    level: list[dict | list] = [config]
    for _ in range(DEEPEST):
        values = (value for part in level for value in (part.values() if isinstance(part, dict) else part))
        level = [value for value in values if isinstance(value, (dict, list))]
    if level:
        raise ValueError(f"it has more than {DEEPEST} levels")


class Weights(NamedTuple):
    step: int
    name: str  # BEST, EMA or MODEL
    sha256: str


def newest_weights(run: Path | str, ema: bool = True) -> Weights:
    """Which file of a run `load_weights` reads. Raises UserError if there is no checkpoint, or it is damaged."""
    run = Path(run)
    load_run(run)
    saved = steps_saved(run)
    if not saved:
        raise UserError(f"no checkpoint yet in {run}")
    files = recorded_files(run, saved[-1])
    name = next((name for name in (BEST, EMA) if ema and name in files), MODEL)
    if name not in files:
        raise UserError(f"the checkpoint of step {saved[-1]} in {run} holds no weights")
    return Weights(saved[-1], name, files[name]["sha256"])


def load_weights(model: nn.Module, run: Path | str, ema: bool = True,
                 renamed: Mapping[str, str] = NONE_RENAMED) -> int:
    """Puts the weights of the newest checkpoint into the model. With `ema` those of the lowest score, of a run with
    early stopping, or else the running mean, if there is one; without, the last ones.

    Returns the checkpoint's step. Raises UserError if there is none, if it is damaged, if it does not fit the model, or
    holds numbers that are not finite. renamed: as for `put_weights`.
    """
    weights = newest_weights(run, ema)
    put_weights(model, load_tensors(Path(run), weights.step, weights.name), Path(run), renamed)
    return weights.step


def put_weights(model: nn.Module, tensors: Mapping[str, Tensor], run: Path,
                renamed: Mapping[str, str] = NONE_RENAMED) -> None:
    """Puts tensors from a checkpoint of `run` into the model. As for `check_weights`."""
    model.load_state_dict(check_weights(model, tensors, run, renamed))


def check_weights(model: nn.Module, tensors: Mapping[str, Tensor], run: Path,
                  renamed: Mapping[str, str] = NONE_RENAMED) -> dict[str, Tensor]:
    """Tensors from a checkpoint of `run` by the names that the model has. Raises UserError, naming the first that does
    not fit, or is not finite.

    renamed: {part of an old name: new one}, of whole parts between dots; for those names that the model does not have.
    """
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tensors = {name if name in own else _rename(name, renamed): tensor for name, tensor in tensors.items()}
    saved = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in own | saved:
        if own.get(name) != saved.get(name):
            raise UserError(f"the checkpoint in {run} is of another model: {name} is {saved.get(name, 'not in it')} "
                            f"there, {own.get(name, 'not in it')} here")
        if not is_finite(tensors[name]):
            raise UserError(f"the checkpoint in {run} is of no use: {name} holds numbers that are not finite")
    return tensors


def is_finite(tensor: Tensor) -> bool:
    return bool((tensor.float() if tensor.itemsize == 1 else tensor).isfinite().all())  # isfinite knows no float8


def _rename(name: str, renamed: Mapping[str, str]) -> str:
    for old, new in renamed.items():
        name = f".{name}.".replace(f".{old}.", f".{new}.")[1:-1]
    return name


def lock(run: Path) -> FileLock:
    """Holds the run folder until it is released or the process dies. Raises UserError if another holds it."""
    path = run / "lock"
    if path.is_symlink() or (path.is_file() and path.stat().st_size):  # taking the lock may empty the file
        raise UserError(f"{path} is a link, or not empty: it is no lock of a training; remove it")
    held = FileLock(path)
    try:
        held.acquire(blocking=False)
    except Timeout:
        raise UserError(f"another process is training in {run}") from None
    return held


def check_agrees(run: Path, settings: dict, may_change: Iterable[str] = (),
                 read_settings: Callable[[Path], dict] = load_run) -> None:
    """Raises UserError, naming the field, if the run in this folder, if any, differs in more than what may change.

    With the cosine schedule the number of steps may not change either: each step's learning rate depends on it.

    may_change: fields besides those of MAY_CHANGE, as "part.field". read_settings: reads config.json of a run, and
    brings that of an older one to today's form; new fields of TrainingConfig need not be in it.
    """
    if not (run / "config.json").exists():
        return
    defaults = {f"training.{field.name}": field.default for field in fields(TrainingConfig)
                if field.default is not MISSING}  # for a run that is older than the field
    recorded, new = _flat(read_settings(run)), _flat(json.loads(json.dumps(settings)))
    old = recorded | defaults | recorded  # in the order of config.json
    free = [name for name in (*MAY_CHANGE, *may_change)
            if name != "training.steps" or old["training.schedule"] != "cosine"]
    for name in old | new:
        if name not in free and old.get(name) != new.get(name):
            here = json.dumps(new[name]) if name in new else "left out"
            there = f"with {name} = {json.dumps(old[name])}, not {here}" if name in old else f"without {name} = {here}"
            why = ", on which each learning rate of a cosine depends" if name == "training.steps" else ""
            raise UserError(f"{run} was started {there}{why}: resume with the old value, or start another run folder "
                            f"(free to change: {', '.join(free)})")


def write_config(run: Path, config: dict) -> None:
    partial = run / "config.tmp"
    write_file(partial, json.dumps(config, indent=1).encode() + b"\n")
    os.replace(partial, run / "config.json")


def _flat(config: dict, prefix: str = "") -> dict:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict = {}
    for name, value in config.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
