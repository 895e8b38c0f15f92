"""From a run folder to what was trained in it: its configuration and its model."""

import dataclasses
from pathlib import Path

import torch
from torch import nn

from lvlib.configs import CONFIGS, Config, config_from_dict
from lvlib.errors import UserError
from lvlib.reports.describe import build
from lvlib.training import load_run, load_weights


def load_config(run: Path) -> Config:
    """The configuration that the run was trained with. Raises UserError if there is none, or it is damaged."""
    values = load_run(run)
    try:
        like = CONFIGS[values["name"]].config
        parts = [part.name for part in dataclasses.fields(like)]
        return config_from_dict({name: values[name] for name in parts if name in values}, like)
    except UserError as error:
        raise UserError(f"{run / 'config.json'} is of another lvlib: {error}") from error
    except (KeyError, TypeError) as error:
        raise UserError(f"{run / 'config.json'} is damaged, or of another lvlib") from error


def load_model(run: Path) -> tuple[Config, nn.Module]:
    """The run's configuration and its newest model, in eval mode, on a GPU if there is one; the EMA where one is kept.

    The model is the prior where the configuration has one, else the autoencoder.
    """
    config = load_config(run)
    model = build(config)
    load_weights(model, run)
    return config, model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def load_autoencoder(run: Path) -> nn.Module:
    """The autoencoder that a run trained, or the frozen one whose codes its prior learned from; as `load_model`."""
    return load_model(run if load_config(run).prior is None else run / "autoencoder")[1]
