"""Run folders of models with random weights, as `lvlib train` would have left them."""

import json
from dataclasses import replace
from pathlib import Path

import torch

from lvlib.cli.arguments import override
from lvlib.configs import Config, named_config
from lvlib.describe import build
from lvlib.training.checkpoint import Checkpoint, save_checkpoint

SMALL = {"data.size": "32", "data.frames": "4", "autoencoder.hidden": "8", "autoencoder.residual_hidden": "4",
         "autoencoder.codes": "16", "autoencoder.codebooks": "2", "prior.dim": "16", "prior.embedding_dim": "8",
         "prior.heads": "2", "prior.head_dim": "8", "prior.encoder_layers": "1", "prior.decoder_layers": "1"}


def make_prior_run(run: Path, subscale: str = "4 1 1", fps: float | None = None, **fields: str) -> Path:
    """A prior for 4 frames of 32 x 32, each 8 x 8 x 2 codes of 16, and its autoencoder in run/autoencoder."""
    fields = SMALL | {name.replace("__", "."): value for name, value in fields.items()}
    config = override(named_config("bench-lvt"), {name: [value] for name, value in fields.items()}
                      | {"prior.subscale": subscale.split()})
    save_run(run, config, fps)
    save_run(run / "autoencoder", replace(config, prior=None), fps)
    return run


def save_run(run: Path, config: Config, fps: float | None) -> None:
    run.mkdir(parents=True)
    rate = {"fps": fps} if fps else {}
    (run / "config.json").write_text(json.dumps({"name": "bench-lvt", "clips": 7, **rate, **config.to_dict()}))
    torch.manual_seed(0)
    model = build(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "heads.out" in name:  # these begin at 0: all codes would be equally likely
                weight.normal_()
    save_checkpoint(run, Checkpoint(step=5, model=model.state_dict(), ema=None, state={}, metrics={}), keep=1)
