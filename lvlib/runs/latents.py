"""The first stage of a prior's run: the autoencoder that stays as it is, and the codes that it makes of the data.

    RUN/autoencoder/   a run folder of its own: the autoencoder's config.json and its newest checkpoint
    RUN/codes/         the codes of the clips, see `lvlib.data.codes`
"""

import fcntl
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch.utils.data import Dataset

from lvlib.configs import Config
from lvlib.data import new_folder
from lvlib.data.codes import CodesDataset, open_codes, write_codes
from lvlib.data.conditions import condition_of, needs
from lvlib.errors import UserError
from lvlib.reports.describe import latent_shape
from lvlib.runs.load import load_autoencoder, load_config
from lvlib.runs.shipped import FOLDER, run_folder, shipped
from lvlib.training.checkpoint import STATE, folder_of
from lvlib.training.run import newest_weights

# What `codes_of` makes in a run folder, before training begins.
FILES = {"autoencoder", ".autoencoder.part", "codes", ".codes.part", "codes.lock"}


def find_autoencoder(given: str | None, run: Path) -> Path:
    """The run folder of the autoencoder: `given` (a folder, or the name of a shipped model), or the one that `run`
    keeps. Raises UserError if there is none, it has no checkpoint, or `run` learned from the codes of another.
    """
    kept = run / "autoencoder"
    if given is None:
        if kept.exists():
            return kept
        autoencoders = (name for name in shipped() if not (FOLDER / name / "autoencoder").exists())
        raise UserError("a prior learns the codes of an autoencoder: give --autoencoder RUN, a run folder or a shipped "
                        f"model ({', '.join(autoencoders)})")
    source = run_folder(given)
    found = newest_weights(source)
    if (run / "config.json").exists() and kept.exists() and found.sha256 != newest_weights(kept).sha256:
        raise UserError(f"{run} learns the codes of another autoencoder than {given}: leave --autoencoder out to go "
                        "on, or start another run folder")
    return source


def with_autoencoder(config: Config, source: Path, fields: Iterable[str] = ()) -> Config:
    """The configuration with the autoencoder of the run `source` as its own.

    fields: "part.field" that the user set; they must agree. Raises UserError if they do not, if `source` is no run of
    an autoencoder, or if its codes have another shape or number than the configuration's.
    """
    found = load_config(source)
    if found.prior is not None:
        raise UserError(f"{source} is the run of a prior; its autoencoder is in {source / 'autoencoder'}")
    for part, _, field in (name.partition(".") for name in fields):
        wanted, has = (getattr(c.autoencoder, field, None) for c in (config, found))
        if part == "autoencoder" and wanted != has:
            raise UserError(f"--autoencoder.{field} is {wanted}, but the autoencoder in {source} has {has}: leave the "
                            "field out, or give another autoencoder")
    if type(found.autoencoder) is not type(config.autoencoder):
        wanted, has = (type(c.autoencoder).__name__.removesuffix("Config") for c in (config, found))
        raise UserError(f"the autoencoder in {source} is a {has}, and this configuration learns the codes of a "
                        f"{wanted}: give another autoencoder, or take a configuration that fits it")
    chosen = replace(config, autoencoder=found.autoencoder)
    wanted, has = (f"{' x '.join(map(str, latent_shape(c)))} codes of a clip, each one of {c.autoencoder.codes}"
                   for c in (config, chosen))
    if wanted != has:
        raise UserError(f"the autoencoder in {source} makes {has}; this configuration learns {wanted}: give another "
                        "autoencoder, or take a configuration that fits it")
    return chosen


def made_from(source: Path, data: Mapping[str, Dataset], config: Config) -> dict:
    """What codes depend on: fingerprints of the autoencoder's weights and of the clips of each split, and what is kept
    beside the codes, where the prior is told more."""
    asked = needs(config.prior)
    clips = {f"{split}_clips": clips.fingerprint(asked) for split, clips in data.items()}
    return {"autoencoder": newest_weights(source).sha256, **clips, **({"condition": asked} if asked else {})}


def codes_of(data: Mapping[str, Dataset], source: Path, run: Path, config: Config) -> dict[str, CodesDataset]:
    """Copies the autoencoder into `run`, and encodes the clips of each split, unless that was done before.

    Of several processes one does it, and the others wait. Raises UserError if the disk refuses, codes that were there
    are damaged, or a clip does not come with what the prior is told.
    """
    origin = made_from(source, data, config)
    asked = needs(config.prior)
    condition = partial(condition_of, needs=asked, frames=config.data.frames) if asked else None
    run.mkdir(parents=True, exist_ok=True)
    with open(run / "codes.lock", "w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        _copy(source, run / "autoencoder")
        codes = open_codes(run / "codes", origin)
        if codes is None:
            shutil.rmtree(run / "codes", ignore_errors=True)
            write_codes(run / "codes", data, load_autoencoder(run / "autoencoder"), config.autoencoder.codes, origin,
                        config.training.workers, condition)
            codes = open_codes(run / "codes", origin)
    return codes


def _copy(source: Path, target: Path) -> None:
    weights = newest_weights(source)
    if target.exists():
        if newest_weights(target).sha256 == weights.sha256:
            return
        shutil.rmtree(target)
    with new_folder(target) as draft:
        shutil.copytree(folder_of(source, weights.step), folder_of(draft, weights.step),
                        ignore=shutil.ignore_patterns(STATE))  # nobody trains it further
        shutil.copy(source / "config.json", draft)
