# Never edit this file: `python -m lvlib.course build` makes it from solutions/18_masked_video_modelling.py.
"""Mimetic initialization: attention begins with what is alike, and so with what is near. After
Trockman and Kolter (2023), whose values come out negated; ours learn nothing so (notebook 18)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lvlib.models.lvt.layers import sinusoid
from lvlib.models.mebt.attention import AttentionLayer


@torch.no_grad()
def mimetic_init_(positions: Tensor, latents: Tensor, shape: tuple[int, ...],
                  layers: Iterable[AttentionLayer]) -> None:
    """In place: positions (t h w, dim) become sinusoids, latents (l, dim) some of them, keys what
    queries are, values what came in. Raises ValueError for sizes that leave nothing to begin."""
    places, dim = positions.shape
    if places < 2 or dim < 6:
        raise ValueError(f"init mimetic needs 2 codes and dim 6 or more, not {places} and {dim}")
    if len(latents) > places:
        raise ValueError(f"bottleneck must be at most {places} with init mimetic, the codes of a "
                         f"clip, not {len(latents)}")
    waves = sinusoid(shape, dim)
    waves = waves - waves.mean(0)  # what is slow is alike everywhere
    positions.copy_(0.06 * waves / waves.std())  # three times what codes begin with
    latents.copy_(positions[torch.randperm(places)[:len(latents)]])
    for layer in layers:
        attention = layer.attention
        key, value = (nn.init.orthogonal_(torch.empty_like(attention.query.weight)) for _ in "kv")
        attention.query.weight.copy_(1.5 * key)  # the larger, the nearer
        attention.kv.weight.copy_(torch.cat([1.5 * key, 0.7 * value]))
        attention.out_proj.weight.copy_(0.7 * value.T)
