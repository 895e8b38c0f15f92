"""From a run folder to what was trained in it: its configuration and its models.

    RUN/config.json, checkpoints/, metrics.jsonl     written by `lvlib.training`
    RUN/autoencoder/, or RUN/prior/                  the run that it stands on: its config.json and newest checkpoint
    RUN/latents/                                     what the stage learns from, see `lvlib.runs.latents`
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lvlib.configs import Config, config_from_dict
from lvlib.configs.kinds import fits
from lvlib.errors import UserError, shortened
from lvlib.evaluation.generate import Pipeline
from lvlib.runs.shipped import run_folder
from lvlib.training import load_run, load_weights
from lvlib.training.engine import choose_device
from lvlib.training.run import newest_weights


@dataclass(frozen=True)
class Learned:
    """What a run knows of the clips that it learned from."""

    fps: float | None
    """Frames a second, of those taken."""
    classes: list[str]
    """Names, in the order of their numbers; none where the data had none."""


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


def learned_from(run: Path) -> Learned:
    """Raises UserError if config.json is damaged."""
    values = load_run(run)
    fps, classes = values.get("fps"), values.get("classes", [])
    if not fits(fps, float | None) or fps is not None and not 0 < fps < math.inf:
        raise UserError(f"{run / 'config.json'}: fps must be a number above 0, or null, not {shortened(repr(fps))}")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise UserError(f"{run / 'config.json'}: classes must be a list of names, not {shortened(repr(classes))}")
    return Learned(fps, classes)


def load_model(run: Path, device: str = "auto") -> tuple[Config, nn.Module]:
    """The run's configuration and its newest model, in eval mode: the stage that it trained, by `load_weights`.

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
    return Pipeline(chain[0][1], **{config.stage: load_model(folder, device)[1] for folder, config in chain})


def load_autoencoder(run: Path, device: str = "auto") -> tuple[Config, nn.Module]:
    """The autoencoder of a run, which trained it, or stands on it; with its own configuration. As `load_pipeline`."""
    *_, (folder, _) = runs_down_from(run)
    return load_model(folder, device)


def runs_down_from(run: Path) -> Iterator[tuple[Path, Config]]:
    """The run folder with its configuration, then the one that it stands on, and so on to that of the autoencoder.

    Raises UserError if one is not there, or of another stage (a link may lead back up, and there would be no end), or
    is not the one that the run above it learned from.
    """
    config = load_config(run)
    yield run, config
    while stage := config.stands_on:
        below = run / stage
        lower = load_config(below)
        if lower.stage != stage:
            raise UserError(f"{below} must be the run of the {stage}, and is that of the {lower.stage}")
        _check_below(run, config, below, lower)
        yield below, lower
        run, config = below, lower


def renamed_tensors(config: Config) -> dict[str, str]:
    """Parts of names of tensors that older checkpoints have, and what they are now."""
    return getattr(config.stages[config.stage], "renamed", {})


def _config(run: Path, values: dict) -> Config:
    try:
        return config_from_dict(values)
    except UserError as error:
        raise UserError(f"{run / 'config.json'}: {error}") from error


def _check_below(run: Path, config: Config, below: Path, lower: Config) -> None:
    for stage in lower.stages:
        if config.stages[stage] != lower.stages[stage]:
            raise UserError(f"{below} is not what {run} stands on: their configurations of the {stage} differ")
    latents = load_settings(run).get("latents")
    learned = latents.get(lower.stage) if isinstance(latents, dict) else None
    if learned and learned != newest_weights(below).sha256:
        raise UserError(f"{below} is not what {run} stands on: it holds other weights")
