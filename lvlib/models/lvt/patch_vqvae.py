# Never edit this file: `python -m lvlib.course build` makes it from solutions/07_lvt_writes_video.py.
"""A frame autoencoder whose codes see their own patch alone, or their own layer of it. Ours.

LVT's encoder looks around each patch (section 4.1): what stands beside a digit changes its codes.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from lvlib.models.lvt.frame_vqvae import FrameVQVAE, FrameVQVAEConfig


class PatchResidualBlock(nn.Module):
    """x plus a correction, computed at each position alone. (n, channels, h, w) in and out."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.correction = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, hidden, 1),
            nn.ReLU(), nn.Conv2d(hidden, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.correction(x)


class PatchEncoder(nn.Sequential):
    """Frames (n, channels, h, w) -> vectors (n, hidden, h/4, w/4), each of its own 4x4 pixels.

    One flat sequence: convolution, `residual_blocks` blocks with `residual_hidden` channels inside.
    """

    def __init__(self, channels: int, hidden: int, residual_hidden: int, residual_blocks: int):
        super().__init__(
            nn.Conv2d(channels, hidden, 4, stride=4),
            *[PatchResidualBlock(hidden, residual_hidden) for _ in range(residual_blocks)],
        )


class LayerEncoder(nn.Module):
    """A `PatchEncoder` for each layer, side by side: codebook k sees the k-th layer alone.

    (n, channels, h, w) -> (n, hidden, h/4, w/4). The layers share the channels as evenly as can be,
    the later ones have more: of three, the first layer has one and the second two. `blocks` are the
    sizes of a `PatchEncoder`'s residual blocks.
    """

    def __init__(self, layers: int, channels: int, hidden: int, *blocks: int):
        super().__init__()
        ends = [layer * channels // layers for layer in range(layers + 1)]
        self.widths = [end - start for start, end in pairwise(ends)]
        size = hidden // layers, *blocks
        self.encoders = nn.ModuleList(PatchEncoder(width, *size) for width in self.widths)

    def forward(self, frames: Tensor) -> Tensor:
        layers = frames.split(self.widths, dim=1)
        vectors = [encoder(layer) for encoder, layer in zip(self.encoders, layers, strict=True)]
        return torch.cat(vectors, 1)


@dataclass(frozen=True)
class PatchVQVAEConfig(FrameVQVAEConfig):
    """A `FrameVQVAE` with another encoder: each code sees its own 4x4 pixels alone. Ours.

    Raises ValueError for sizes that do not fit together.
    """

    layers: bool = False
    """Whether each codebook sees colours of its own, too: codebook k the k-th layer of them."""

    def __post_init__(self):
        super().__post_init__()
        if self.layers and not 2 <= self.codebooks <= self.channels:
            raise ValueError("layers need from 2 codebooks to one for each of the "
                             f"{self.channels} channels, not {self.codebooks}")

    def build(self) -> FrameVQVAE:
        """The model, with new weights."""
        model = super().build()
        size = self.channels, self.hidden, self.residual_hidden, self.residual_blocks
        model.encoder = LayerEncoder(self.codebooks, *size) if self.layers else PatchEncoder(*size)
        return model
