# Never edit this file: `python -m lvlib.course build` makes it from solutions/05_subscale_order.py and
# solutions/08_video_vqvae.py.
"""Volumes of latents: their shape, and a learned vector for each place in them."""

import torch
from torch import Tensor, nn

Triple = tuple[int, int, int]  # (t, h, w)


# Introduced in solutions/08_video_vqvae.py
def check_reach(shape: tuple[int, ...], largest: tuple[int, ...]) -> None:
    """Raises ValueError if a volume of latents is larger than position embeddings reach."""
    for axis, size, end in zip(("frames", "height", "width"), shape, largest, strict=False):
        if size > end:
            raise ValueError(f"latent {axis} must be at most {end}, where position embeddings end, "
                             f"not {size}")


class AxialPositions(nn.Module):
    """A learned vector for each place on each axis; a position's is the sum over its axes (ours;
    the paper says learned embeddings, shared by all layers: VideoGPT, section 3).

    shape: of the largest volume, (t, h, w), or (t, h, w, k) where each code has a position of its
    own.
    """

    def __init__(self, shape: tuple[int, ...], dim: int):
        super().__init__()
        self.tables = nn.ParameterList(nn.Parameter(0.02 * torch.randn(size, dim))
                                       for size in shape)

    def forward(self, shape: tuple[int, ...]) -> Tensor:
        """(*shape, dim), for a volume of this shape. Raises ValueError if the tables do not reach
        that far."""
        check_reach(shape, tuple(map(len, self.tables)))
        first, *others = (table[:size] for table, size in zip(self.tables, shape, strict=True))
        for table in others:
            first = first.unsqueeze(-2) + table
        return first
