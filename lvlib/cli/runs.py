"""A run folder, seen from the command line: which configuration it belongs to, and its model."""

import dataclasses
import json
import os
from pathlib import Path

import torch
from torch import nn

from lvlib.configs import CONFIGS, Config, config_from_dict
from lvlib.describe import build
from lvlib.errors import UserError
from lvlib.training.checkpoint import EMA, MODEL, has_ema, load_tensors, steps_saved

CONFIG = "config.json"
# What may change when a run goes on: how long it goes, where its data lie, and what it writes.
FREE = {"data.root", *(f"training.{name}" for name in
                       ("steps", "log_every", "validate_every", "checkpoint_every", "keep", "workers"))}


def save_config(run: Path, name: str, config: Config) -> None:
    """Writes RUN/config.json, in a new folder or in a run of the same configuration.

    Raises UserError if the folder holds something else: the first field that differs, and both its values.
    """
    if run.exists() and not run.is_dir():
        raise UserError(f"{run} is a file: --out takes the folder of a run")
    if (run / CONFIG).exists():
        _compare(run, name, config)
    elif run.exists() and any(run.iterdir()):
        raise UserError(f"{run} holds something that is no run: give --out a new or an empty folder")
    run.mkdir(parents=True, exist_ok=True)
    draft = run / f".{CONFIG}.{os.getpid()}"  # each process of a distributed training writes the same
    draft.write_text(json.dumps({"name": name, **config.to_dict()}, indent=2) + "\n")
    draft.replace(run / CONFIG)


def load_config(run: Path) -> tuple[str, Config]:
    """The configuration's name and what it was when the run began. UserError if there is none, or it is damaged."""
    try:
        values = json.loads((run / CONFIG).read_text())
        name = values.pop("name")
        return name, config_from_dict(values, CONFIGS[name].config)
    except FileNotFoundError:
        raise UserError(f"{run} is not a run: it has no {CONFIG}") from None
    except UserError as error:
        raise UserError(f"{run / CONFIG} is of another lvlib: {error}") from error
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{run / CONFIG} is damaged, or of another lvlib") from error


def load_run(run: Path) -> tuple[Config, nn.Module]:
    """The run's configuration and its newest model, on a GPU if there is one; its EMA where one is kept."""
    _, config = load_config(run)
    steps = steps_saved(run)
    if not steps:
        raise UserError(f"{run} has no checkpoint yet")
    model = build(config)
    try:
        model.load_state_dict(load_tensors(run, steps[-1], EMA if has_ema(run, steps[-1]) else MODEL))
    except RuntimeError as error:
        raise UserError(f"the checkpoint of {run} does not fit its {CONFIG}") from error
    return config, model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def _compare(run: Path, name: str, config: Config) -> None:
    old_name, old = load_config(run)
    if old_name != name:
        raise UserError(f"{run} is a run of {old_name}, not of {name}")
    for part in dataclasses.fields(config):
        before, now = getattr(old, part.name), getattr(config, part.name)
        for field in dataclasses.fields(before):
            values = getattr(before, field.name), getattr(now, field.name)
            if values[0] != values[1] and f"{part.name}.{field.name}" not in FREE:
                raise UserError(f"{run} was begun with --{part.name}.{field.name} {values[0]}, not {values[1]}")
