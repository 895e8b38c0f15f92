"""From a run folder to what was trained in it: its configuration and its models.

    RUN/config.json, checkpoints/, metrics.jsonl     written by `lvlib.training`
    RUN/autoencoder/, or RUN/prior/                  the run that it stands on: its config.json and newest checkpoint
    RUN/latents/                                     what the stage learns from, see `lvlib.runs.latents`
"""

import json
from collections.abc import Iterator
from itertools import pairwise
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
    chain = list(runs_down_from(run_folder(str(run))))
    for (folder, config), (below, lower) in pairwise(chain):
        _check_below(folder, config, below, lower)
    return Pipeline(chain[0][1], **{config.stage: load_model(folder, device)[1] for folder, config in chain})


def load_autoencoder(run: Path, device: str = "auto") -> tuple[Config, nn.Module]:
    """The autoencoder of a run, which trained it, or stands on it; with its own configuration."""
    *_, (folder, _) = runs_down_from(run)
    return load_model(folder, device)


def runs_down_from(run: Path) -> Iterator[tuple[Path, Config]]:
    """The run folder with its configuration, then the one that it stands on, and so on to that of the autoencoder.

    Raises UserError if one is not there, or of another stage: a link may lead back up, and there would be no end.
    """
    config = load_config(run)
    yield run, config
    while stage := config.stands_on:
        run = run / stage
        config = load_config(run)
        if config.stage != stage:
            raise UserError(f"{run} must be the run of the {stage}, and is that of the {config.stage}")
        yield run, config


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
