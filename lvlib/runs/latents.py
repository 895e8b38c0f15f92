"""What a prior or a refiner learns from: the run of the stage below it, and the latents of the clips.

    RUN/autoencoder/ or RUN/prior/   a run folder of its own: config.json, the newest checkpoint, and what it stands on
    RUN/latents/                     the latents of the clips, see `lvlib.data.latents`
"""

import dataclasses
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from filelock import FileLock
from torch.utils.data import Dataset

from lvlib.configs import Config
from lvlib.configs.config import STAGES
from lvlib.data import new_folder
from lvlib.data.conditions import condition_of
from lvlib.data.latents import LatentsDataset, open_latents, write_latents
from lvlib.data.text import vocabulary_fingerprint
from lvlib.errors import UserError
from lvlib.runs.load import load_autoencoder, load_config, runs_down_from
from lvlib.runs.shipped import FOLDER, run_folder, shipped
from lvlib.training.checkpoint import STATE, folder_of
from lvlib.training.run import newest_weights

# What `latents_of` makes in a run folder, before training begins; and the names of before lvlib 0.2.
FILES = {*STAGES, "latents", "latents.lock", "codes", "codes.lock"}


def find_below(config: Config, given: str | None, run: Path) -> Path:
    """The run folder of the stage that this configuration stands on: `given` (a folder, or the name of a shipped
    model), or the one that `run` keeps. Raises UserError if there is none, it has no checkpoint, or `run` learned from
    another.
    """
    stage = config.stands_on
    kept = run / stage
    if given is None:
        if kept.exists():
            return kept
        fitting = [name for name in shipped() if _fits(config, load_config(FOLDER / name))]
        raise UserError(f"a {config.stage} learns from the latents of an autoencoder: give --{stage} RUN, a run folder "
                        f"or a shipped model ({', '.join(fitting) or 'there is none'})")
    source = run_folder(given)
    found = newest_weights(source)
    if (run / "config.json").exists() and kept.exists() and found.sha256 != newest_weights(kept).sha256:
        raise UserError(f"{run} learns from another {stage} than {given}: leave --{stage} out to go on, or start "
                        "another run folder")
    return source


def standing_on(config: Config, source: Path, fields: Iterable[str] = ()) -> Config:
    """The configuration with the stages of the run `source` below its own.

    fields: "part.field" that the user set; they must agree. Raises UserError if they do not, if `source` trained
    another stage, or if its latents are others than the configuration's.
    """
    chain = list(runs_down_from(source))
    found, stage = chain[0][1], config.stands_on
    if found.stage != stage:
        inside = "".join(f"; one is in {run}" for run, lower in chain if lower.stage == stage)
        raise UserError(f"{source} is the run of {_a(found.stage)}, not of {_a(stage)}{inside}")
    for part, _, field in (name.partition(".") for name in fields):
        if part in found.stages:
            wanted, has = (getattr(c.stages[part], field, None) for c in (config, found))
            if wanted != has:
                raise UserError(f"--{part}.{field} is {wanted}, but the {part} in {source} has {has}: leave the field "
                                f"out, or give another {part}")
    for part in found.stages:
        wanted, has = (type(c.stages[part]).__name__.removesuffix("Config") for c in (config, found))
        if wanted != has:
            raise UserError(f"the {part} in {source} is of the class {has}, and this configuration stands on a "
                            f"{wanted}: give another {part}, or take a configuration that fits it")
    chosen = replace(config, **found.stages)
    if chosen.latents != config.latents:
        fields = [f"--autoencoder.{field.name} {_as_typed(getattr(chosen.autoencoder, field.name))}"
                  for field in dataclasses.fields(chosen.autoencoder)
                  if getattr(chosen.autoencoder, field.name) != getattr(config.autoencoder, field.name)]
        raise UserError(f"the autoencoder in {source} makes {chosen.latents}; this configuration learns "
                        f"{config.latents}: set {' '.join(fields) or 'data.frames and data.size'}, or give another "
                        f"{stage}")
    return chosen


def _as_typed(value: object) -> str:
    """As an option takes it: (4, 8, 8) is typed 4 8 8."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _fits(config: Config, below: Config) -> bool:
    """Whether a run of that configuration is what this one stands on, without a field changed."""
    return below.stage == config.stands_on and below.stages == config.up_to(below.stage).stages


def made_from(source: Path, data: Mapping[str, Dataset], config: Config) -> dict:
    """What latents depend on: fingerprints of the weights of the stage below and of the clips of each split, and what
    is kept beside the latents, where the stage is conditioned."""
    fields = {spec.name: _settings(spec) for spec in config.conditions}
    clips = {f"{split}_clips": clips.fingerprint(fields) for split, clips in data.items()}
    below = {config.stands_on: newest_weights(source).sha256}
    return {**below, **clips, **({"condition": fields} if fields else {})}


def latents_of(data: Mapping[str, Dataset], source: Path, run: Path, config: Config) -> dict[str, LatentsDataset]:
    """Copies the run that this one stands on into `run`, and encodes the clips of each split, unless that was done.

    Of several processes one does it, and the others wait. Raises UserError if the disk refuses, latents that were there
    are damaged, or a clip does not come with its condition.
    """
    origin, specs = made_from(source, data, config), config.conditions
    run.mkdir(parents=True, exist_ok=True)
    with FileLock(run / "latents.lock"):
        if (run / "codes").is_dir() and not (run / "latents").exists():
            (run / "codes").rename(run / "latents")
        _copy(source, run / config.stands_on)
        latents = open_latents(run / "latents", origin)
        if latents is None:
            shutil.rmtree(run / "latents", ignore_errors=True)
            encoder = load_autoencoder(run / config.stands_on)[1]
            write_latents(run / "latents", data, encoder, config.latents, origin, config.training.workers,
                          partial(condition_of, specs=specs) if specs else None)
            latents = open_latents(run / "latents", origin)
    return latents


def _copy(source: Path, target: Path) -> None:
    weights, stage = newest_weights(source), load_config(source).stands_on
    if target.exists():
        if newest_weights(target).sha256 == weights.sha256:
            return
        shutil.rmtree(target)
    with new_folder(target) as draft:
        shutil.copytree(folder_of(source, weights.step), folder_of(draft, weights.step),
                        ignore=shutil.ignore_patterns(STATE))  # nobody trains it further
        shutil.copy(source / "config.json", draft)
        if stage:
            _copy(source / stage, draft / stage)


def _settings(spec) -> int | list:
    """What a condition's configuration sets: of classes, numbers a frame and frames the one number; of signals and
    tokens the shape, and how a text becomes tokens."""
    if spec.kind == "signal":
        return list(spec.shape)
    if spec.kind == "tokens":
        words = [spec.tokenizer, vocabulary_fingerprint(spec.tokenizer)] if spec.tokenizer else []
        return [*spec.shape, spec.num_classes, *words]
    return spec.num_classes if spec.kind == "class" else [*spec.shape[1:2], *spec.shape[:1], 1][0]


def _a(stage: str) -> str:
    return f"{'an' if stage[0] in 'aeiou' else 'a'} {stage}"
