"""Run folders of models with random weights, as `lvlib train` would have left them."""

import json
from dataclasses import replace
from pathlib import Path

import torch

from lvlib.cli.arguments import override
from lvlib.configs import Config, named_config
from lvlib.training.checkpoint import Checkpoint, save_checkpoint

SMALL = {"data.size": "32", "data.frames": "4", "autoencoder.hidden": "8", "autoencoder.residual_hidden": "4",
         "autoencoder.codes": "16", "autoencoder.codebooks": "2", "prior.dim": "16", "prior.embedding_dim": "8",
         "prior.heads": "2", "prior.head_dim": "8", "prior.encoder_layers": "1", "prior.decoder_layers": "1"}


def make_prior_run(run: Path, subscale: str = "4 1 1", fps: float | None = None, **fields: str) -> Path:
    """A prior for 4 frames of 32 x 32, each 8 x 8 x 2 codes of 16, and its autoencoder in run/autoencoder."""
    fields = SMALL | {name.replace("__", "."): value for name, value in fields.items()}
    config = override(named_config("bench-lvt"), {name: [value] for name, value in fields.items()}
                      | {"prior.subscale": subscale.split()})
    about = {"fps": fps} if fps else {}
    save_run(run, "bench-lvt", config, about)
    save_run(run / "autoencoder", "bench-lvt", replace(config, prior=None), about)
    return run


SMALL_VIDEOGPT = {
    "data.size": "32", "data.frames": "4", "autoencoder.downsample": "2 8 8", "autoencoder.hidden": "8",
    "autoencoder.residual_hidden": "4", "autoencoder.residual_blocks": "1", "autoencoder.block": "plain",
    "autoencoder.codes": "16", "autoencoder.code_dim": "8"}
SMALL_PRIOR = {"prior.dim": "16", "prior.heads": "2", "prior.layers": "1", "prior.hidden": "16",
               "prior.resnet_units": "8"}


def make_videogpt_run(run: Path, about: dict | None = None, **fields: str) -> Path:
    """VideoGPT for 4 frames of 32 x 32, 2 x 4 x 4 codes of 16, and its autoencoder in run/autoencoder.

    about: what else config.json says, such as fps and classes.
    """
    fields = SMALL_VIDEOGPT | SMALL_PRIOR | {name.replace("__", "."): value for name, value in fields.items()}
    config = override(named_config("bench-videogpt"), {name: value.split() for name, value in fields.items()})
    save_run(run, "bench-videogpt", config, about or {})
    save_run(run / "autoencoder", "bench-videogpt", replace(config, prior=None), about or {})
    return run


def make_mebt_run(run: Path, about: dict | None = None, **fields: str) -> Path:
    """MeBT for 16 grey frames of 16 x 16, 4 x 4 x 4 codes of 16, and its autoencoder in run/autoencoder."""
    small = {"data.size": "16", "autoencoder.codes": "16", "autoencoder.code_dim": "4", "prior.dim": "16",
             "prior.heads": "2", "prior.hidden": "16", "prior.encoder_layers": "1", "prior.decoder_layers": "2",
             "prior.bottleneck": "4", "prior.classes": "0"}
    fields = small | {name.replace("__", "."): value for name, value in fields.items()}
    config = override(named_config("mebt-course"), {name: [value] for name, value in fields.items()})
    save_run(run, "mebt-course", config, about or {})
    save_run(run / "autoencoder", "mebt-course", replace(config, prior=None), about or {})
    return run


def make_pvdm_run(run: Path, about: dict | None = None, **fields: str) -> Path:
    """PVDM for clips of 4 grey frames of 16 x 16, three planes of 4 x 4 positions, and its autoencoder in
    run/autoencoder."""
    small = {"data.size": "16", "data.frames": "4", "autoencoder.size": "16", "autoencoder.frames": "4",
             "autoencoder.width": "16", "autoencoder.layers": "1", "autoencoder.heads": "2", "autoencoder.head_dim": "8",
             "prior.width": "8", "prior.heads": "2"}
    fields = small | {name.replace("__", "."): value for name, value in fields.items()}
    config = override(named_config("pvdm-course"), {name: value.split() for name, value in fields.items()})
    save_run(run, "pvdm-course", config, about or {})
    save_run(run / "autoencoder", "pvdm-course", replace(config, prior=None), about or {})
    return run


def save_run(run: Path, name: str, config: Config, about: dict) -> None:
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"name": name, "clips": 7, **about, **config.to_dict()}))
    torch.manual_seed(0)
    model = config.build()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Small where they are new: all codes would be as likely, whatever the condition.
            if name in ("out.weight", "transformer.out.weight") or any(
                    part in name for part in ("heads.out", "steer", "to_scale_shift")):
                weight.normal_()
    save_checkpoint(run, Checkpoint(step=5, model=model.state_dict(), ema=None, state={}, metrics={}), keep=1)
