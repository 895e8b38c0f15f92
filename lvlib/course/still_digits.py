"""What notebook 18 tries on masked codes: clips in which nothing moves, small models that fill in what is hidden."""

import math
import random

import torch
from torch import Tensor, nn

from lvlib.course.experiments import fit
from lvlib.data import MovingDigits, to_video
from lvlib.models.mebt.masking import random_count, random_split
from lvlib.models.mebt.mimetic import mimetic_init_
from lvlib.models.mebt.transformer import MeBTAttention, MeBTInit, MeBTTransformer, TransformerConfig
from lvlib.models.tats.vqgan import VQGAN
from lvlib.stages import LatentSpec


@torch.no_grad()
def still_codes(autoencoder: VQGAN, count: int, seed: int, split: str) -> Tensor:
    """Codes of digits that stand still, int64 (count, 4, 3, 3): all four latent frames are alike."""
    data = MovingDigits(count, frames=1, size=12, digit_size=11, digits=1, seed=seed, split=split)
    picture = to_video(torch.tensor(data.batch(slice(0, count))["video"]))
    return autoencoder.encode(picture.expand(-1, -1, 4, -1, -1)).expand(-1, 4, -1, -1)


def small_mebt(spec: LatentSpec, attention: MeBTAttention = "latent", latents: int = 16, seed: int = 0,
               init: MeBTInit = "normal") -> MeBTTransformer:
    """A small model whose matrices begin at the spread that is 0.02 at the paper's width; those of attention as `init`
    says. Sets the seeds of torch and `random`."""
    torch.manual_seed(seed)
    random.seed(seed)
    model = MeBTTransformer(TransformerConfig(64, 4, 128, 3, 2, latents, attention=attention, init=init), spec)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.02 * math.sqrt(1024 / 64))
    if init == "mimetic":  # again: the spread is for all other matrices
        mimetic_init_(model.positions.weight, model.bottleneck, spec.shape,
                      (*model.encoder.layers, *model.decoder.layers))
    return model


def hidden_nats(model: MeBTTransformer, codes: Tensor, count: int) -> Tensor:
    """Nats a hidden code, mean over clips (b, t, h, w) that hide `count` codes each, drawn at random."""
    places = random_split(len(codes), model.spec.tokens, count, codes.device)
    return model.nats(codes.flatten(1), *places).mean()


def learn(model: MeBTTransformer, train_codes: Tensor, test_codes: Tensor, steps: int,
          name: str) -> tuple[list[float], float]:
    """Losses of a training, and nats a hidden code of test clips, the same half of them hidden. Steps hide as many
    codes of 32 clips as MeBT's do."""
    tokens = model.spec.tokens
    history = fit(model, lambda: hidden_nats(model, train_codes[torch.randint(len(train_codes), (32,))],
                                             random_count(tokens)), steps, name, rate=4e-3)
    torch.manual_seed(1)
    with torch.no_grad():
        return history, hidden_nats(model, test_codes, tokens // 2).item()
