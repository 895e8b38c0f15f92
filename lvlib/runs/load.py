"""From a run folder to what was trained in it: its configuration and its models.

    RUN/config.json, checkpoints/, metrics.jsonl     written by `lvlib.training`
    RUN/autoencoder/, or RUN/prior/                  the run that it stands on: its config.json and newest checkpoint
    RUN/latents/                                     what the stage learns from, see `lvlib.runs.latents`
"""

import json
from pathlib import Path

from torch import nn

from lvlib.configs import Config, config_from_dict
from lvlib.configs.config import STAGES
from lvlib.errors import UserError
from lvlib.evaluation.generate import Pipeline
from lvlib.runs.shipped import run_folder
from lvlib.training import load_run, load_weights
from lvlib.training.engine import choose_device
from lvlib.training.run import newest_weights


def load_settings(run: Path) -> dict:
    """config.json as this lvlib writes it: classes named, fields renamed that had another name, new ones with their
    default. Raises UserError if there is none, or it cannot be read so.
    """
    values = load_run(run)
    if "codes" in values:  # before lvlib 0.2
        values["latents"] = values.pop("codes")
    return values | json.loads(json.dumps(_config(run, values).to_dict()))  # lists, as in a file


def load_config(run: Path) -> Config:
    """The configuration that the run was trained with. Raises UserError if there is none, or it is damaged."""
    return _config(run, load_run(run))


def load_model(run: Path, device: str = "auto") -> tuple[Config, nn.Module]:
    """The run's configuration and its newest model, in eval mode: the stage that it trained; the EMA where one is kept.

    device: "auto" for a GPU if there is one, or "cpu", "cuda", "mps".
    """
    config = load_config(run)
    model = config.build()
    load_weights(model, run, renamed=renamed_tensors(config))
    return config, model.eval().to(choose_device(device))


def load_pipeline(run: Path | str, device: str = "auto") -> Pipeline:
    """All stages of a run, or of the shipped model of that name, in eval mode. As `load_model`.

    Raises UserError if a stage is not there, or is not the one that the run learned from.
    """
    run = run_folder(str(run))
    config, model = load_model(run, device)
    models = {config.stage: model}
    folder, upper = run, config
    while upper.stands_on:
        below = folder / upper.stands_on
        lower, model = load_model(below, device)
        _check_below(folder, upper, below, lower)
        models[lower.stage] = model
        folder, upper = below, lower
    return Pipeline(config, **models)


def load_autoencoder(run: Path, device: str = "auto") -> tuple[Config, nn.Module]:
    """The autoencoder of a run, which trained it, or stands on it; with its own configuration."""
    while (stage := load_config(run).stands_on) is not None:
        run = run / stage
    return load_model(run, device)


def renamed_tensors(config: Config) -> dict[str, str]:
    """Parts of names of tensors that older checkpoints have, and what they are now."""
    return getattr(config.stages[config.stage], "renamed", {})


def _config(run: Path, values: dict) -> Config:
    try:
        return config_from_dict(values)
    except UserError as error:
        raise UserError(f"{run / 'config.json'}: {error}") from error


def _check_below(run: Path, config: Config, below: Path, lower: Config) -> None:
    for stage in STAGES[:STAGES.index(lower.stage) + 1]:
        if config.stages[stage] != lower.stages.get(stage):
            raise UserError(f"{below} is not what {run} stands on: their configurations of the {stage} differ")
    learned = load_settings(run).get("latents", {}).get(lower.stage)
    if learned and learned != newest_weights(below).sha256:
        raise UserError(f"{below} is not what {run} stands on: it holds other weights")
