# Never edit this file: `python -m lvlib.course build` makes it from solutions/08_video_vqvae.py.
"""Attention along the axes of a volume: of each position to its row, its column, and its place in
all frames.

VideoGPT, section 3, after Ho et al. 2019.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def attend_along(axis: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of each position to those on its line along one axis, "t", "h" or "w". VideoGPT,
    section 3.

    q, k, v (b, heads, t, h, w, d) -> (b, heads, t, h, w, d).
    """
    lines = {"t": "(b h w) m t d", "h": "(b t w) m h d", "w": "(b t h) m w d"}[axis]
    b, _, t, h, w, _ = q.shape
    out = F.scaled_dot_product_attention(*(rearrange(x, f"b m t h w d -> {lines}")
                                           for x in (q, k, v)))
    return rearrange(out, f"{lines} -> b m t h w d", b=b, t=t, h=h, w=w)


class AxisAttention(nn.Module):
    """Multi-head attention along one axis of volumes (b, t, h, w, dim)."""

    def __init__(self, axis: str, dim: int, heads: int):
        super().__init__()
        self.axis, self.heads = axis, heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b t h w (three m d) -> three b m t h w d", three=3,
                            m=self.heads)
        return self.out_proj(rearrange(attend_along(self.axis, q, k, v),
                                       "b m t h w d -> b t h w (m d)"))


class AxialAttention(nn.Module):
    """The sum of three attentions, along w, h and t. Volumes (b, t, h, w, dim). Official code, two
    heads."""

    def __init__(self, dim: int, heads: int = 2):
        super().__init__()
        self.axes = nn.ModuleList(AxisAttention(axis, dim, heads) for axis in "wht")

    def forward(self, x: Tensor) -> Tensor:
        return sum(attention(x) for attention in self.axes)
