# Never edit this file: `python -m lvlib.course build` makes it from solutions/18_masked_video_modelling.py.
"""The latent bottleneck: an encoder and a decoder at a cost linear in the number of codes. MeBT,
sections 3.1 and 3.2."""

import torch
from torch import Tensor, nn

from lvlib.models.mebt.attention import AttentionLayer


class LatentEncoder(nn.Module):
    """Latents attend to the context, then to themselves, and so on in turn. Section 3.1.

    layers: attention layers, at least 1. sizes: those of `AttentionLayer`.
    """

    def __init__(self, layers: int, *sizes):
        super().__init__()
        self.layers = nn.ModuleList(AttentionLayer(*sizes) for _ in range(layers))

    def forward(self, latents: Tensor, context: Tensor) -> Tensor:
        """latents (b, l, dim), context (b, c, dim), c may be 0 -> latents (b, l, dim)."""
        for i, layer in enumerate(self.layers):
            latents = layer(latents, context if i % 2 == 0 else None)
        return latents


class LatentDecoder(nn.Module):
    """Latents attend to latents and masks, masks attend to latents, in turn; the masks come last.
    Section 3.2.

    With an even number of layers the latents begin, as in the paper; with an odd one the masks do,
    as in the official code, whose decoder has 11.
    """

    def __init__(self, layers: int, *sizes):
        super().__init__()
        self.layers = nn.ModuleList(AttentionLayer(*sizes) for _ in range(layers))

    def forward(self, latents: Tensor, masks: Tensor) -> Tensor:
        """latents (b, l, dim), masks (b, m, dim) -> masks (b, m, dim)."""
        for i, layer in enumerate(self.layers, 1):
            if (len(self.layers) - i) % 2 == 0:
                masks = layer(masks, latents)
            else:
                latents = layer(latents, torch.cat([latents, masks], 1))
        return masks


class FullDecoder(nn.Module):
    """In each layer all latents and masks attend to all of them: quadratic in the number of masks.
    Table 3, "Full"."""

    def __init__(self, layers: int, *sizes):
        super().__init__()
        self.layers = nn.ModuleList(AttentionLayer(*sizes) for _ in range(layers))

    def forward(self, latents: Tensor, masks: Tensor) -> Tensor:
        """latents (b, l, dim), masks (b, m, dim) -> masks (b, m, dim)."""
        x = torch.cat([latents, masks], 1)
        for layer in self.layers:
            x = layer(x)
        return x[:, latents.shape[1]:]
