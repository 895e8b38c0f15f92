"""Merges the codes of a trained frame VQ-VAE that say nearly the same, for a prior that is to learn them.

On clips that are mostly black, restarts put many codes on black, and which of them a black patch gets is next to
chance. A prior would have to learn that. So: of the two codes that are nearest to each other the less used one goes,
until as many are left as you ask for.

    python -m lvlib.cli.merge_codes RUN --codes 48 --out NEW_RUN
"""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from lvlib.cli import reported
from lvlib.cli.arguments import Parser
from lvlib.data import new_folder
from lvlib.errors import UserError
from lvlib.runs.load import load_model, load_settings
from lvlib.training.checkpoint import Checkpoint, save_checkpoint
from lvlib.training.run import newest_weights, write_config


def main(argv: list[str] | None = None) -> None:
    parser = Parser("python -m lvlib.cli.merge_codes", description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder of a frame VQ-VAE")
    parser.add_argument("--codes", type=int, required=True, help="codes of each codebook that are left")
    parser.add_argument("--out", type=Path, required=True, metavar="NEW_RUN", help="run folder to write")
    options = parser.parse_args(argv)
    config, model = load_model(options.run, "cpu")
    num_codes = config.latents.num_codes
    if config.stage != "autoencoder" or num_codes is None or not config.autoencoder.frame_by_frame:
        raise UserError(f"{options.run} is not the run of a frame VQ-VAE")
    if not 1 <= options.codes < num_codes:
        raise UserError(f"--codes must be from 1 to {num_codes - 1}, fewer than there are, not {options.codes}")
    tensors = model.state_dict()
    for name in [name for name in tensors if name.endswith("embedding")]:
        book = name.removesuffix("embedding")
        kept = merge(tensors[name], tensors[f"{book}count"], options.codes)
        for part in ("embedding", "count", "total"):
            tensors[book + part] = tensors[book + part][kept]
    smaller = replace(config, autoencoder=replace(config.autoencoder, codes=options.codes))
    with new_folder(options.out) as draft:
        write_config(draft, load_settings(options.run) | smaller.to_dict())
        save_checkpoint(draft, Checkpoint(newest_weights(options.run).step, tensors, None, {}, {}), keep=1)
    print(f"{options.out}: {options.codes} codes of {num_codes} in each codebook")


def merge(embedding: Tensor, count: Tensor, codes: int) -> Tensor:
    """Indices of the codes that stay, int64 (codes,). embedding (k, d); count (k,): how often each is used."""
    kept = torch.arange(len(count))
    distance = torch.cdist(embedding, embedding).fill_diagonal_(float("inf"))
    while len(kept) > codes:
        one, other = divmod(int(distance.argmin()), len(kept))
        gone = one if count[kept[one]] < count[kept[other]] else other
        stay = torch.arange(len(kept)) != gone
        kept, distance = kept[stay], distance[stay][:, stay]
    return kept


if __name__ == "__main__":
    sys.exit(reported(main))
