# Never edit this file: `python -m lvlib.course build` makes it from solutions/18_masked_video_modelling.py.
"""Weights with which attention begins to look near. Ours, after Trockman and Kolter (2023)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lvlib.models.lvt.layers import sinusoid
from lvlib.models.mebt.attention import AttentionLayer


@torch.no_grad()
def look_near(positions: Tensor, latents: Tensor, shape: tuple[int, int, int],
              layers: Iterable[AttentionLayer]) -> None:
    """Sets weights. positions (t h w, dim) become waves, latents (l, dim) begin as some of them.
    Keys are what queries are, so that tokens look at what is like them, and values come out as
    they went in. Raises ValueError for more latents than positions."""
    if len(latents) > len(positions):
        raise ValueError(f"init mimetic takes at most as many latents as codes, {len(positions)}, "
                         f"not {len(latents)}")
    waves = sinusoid(shape, positions.shape[1])
    waves = waves - waves.mean(0)
    positions.copy_(0.06 * waves / waves.std())
    latents.copy_(positions[torch.randperm(len(positions))[:len(latents)]])
    for layer in layers:
        attention = layer.attention
        key, value = (nn.init.orthogonal_(torch.empty_like(attention.query.weight)) for _ in "kv")
        attention.query.weight.copy_(1.5 * key)
        attention.kv.weight.copy_(torch.cat([1.5 * key, 0.7 * value]))
        attention.out_proj.weight.copy_(0.7 * value.T)
