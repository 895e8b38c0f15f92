# Never edit this file: `python -m lvlib.course build` makes it from solutions/18_masked_video_modelling.py.
"""What MeBT is compared with: context and masks in one grid, with full, axial or window attention.
MeBT, section 5.4."""

import math

from einops import rearrange
from torch import Tensor, nn

from lvlib.models.mebt.attention import AttentionLayer


def boxes(grid: tuple[int, int, int], attention: str, layer: int) -> tuple[int, int, int]:
    """The sides (t, h, w) of the boxes into which a layer cuts the grid. A token sees its own.

    full: the whole grid. axial: a row along time, height and width in turn. window: a frame, then
    4 x 4 places of all frames, as MaskViT has them (or of as many as divide the sides).
    """
    t, h, w = grid
    if attention == "full":
        return grid
    if attention == "axial":
        return ((t, 1, 1), (1, h, 1), (1, 1, w))[layer % 3]
    return ((1, h, w), (t, math.gcd(h, 4), math.gcd(w, 4)))[layer % 2]


class GridTransformer(nn.Module):
    """A bidirectional transformer over all tokens of a grid. Section 5.4, Table 4.

    attention: full, axial or window. sizes: those of `AttentionLayer`.
    """

    def __init__(self, attention: str, layers: int, *sizes):
        super().__init__()
        self.attention = attention
        self.layers = nn.ModuleList(AttentionLayer(*sizes) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, h, w, dim) -> (b, t, h, w, dim)."""
        for i, layer in enumerate(self.layers):
            a, b, c = boxes(tuple(x.shape[1:4]), self.attention, i)
            cut = rearrange(x, "n (t a) (h b) (w c) d -> (n t h w) (a b c) d", a=a, b=b, c=c)
            x = rearrange(layer(cut), "(n t h w) (a b c) d -> n (t a) (h b) (w c) d", a=a, b=b, c=c,
                          t=x.shape[1] // a, h=x.shape[2] // b, w=x.shape[3] // c)
        return x
