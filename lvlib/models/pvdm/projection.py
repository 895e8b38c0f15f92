# Never edit this file: `python -m lvlib.course build` makes it from solutions/20_triplane.py.
"""From a cube of vectors to three planes, and back. PVDM, section 3.2."""

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.pvdm.timesformer import RotaryAttention, attend_all

Projection = Literal["attention", "pooled", "none"]
Summary = Literal["own", "first"]


class SummaryLayer(nn.Module):
    """A layer of the transformer that sums up a row: (b, n, width) -> (b, n, width)."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.norm, self.hidden_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = RotaryAttention(width, heads, width // 8)
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x))
        return x + self.hidden(self.hidden_norm(x))


class RowSummary(nn.Module):
    """Sums up rows of `length` vectors by a small transformer with one token more at the end, the
    summary: (b, length, width) -> (b, width). reads: what became of its "own" token, or of the
    "first" vector, as the official code does."""

    def __init__(self, length: int, width: int, layers: int, heads: int, hidden: int,
                 reads: Summary = "own"):
        super().__init__()
        self.reads = reads
        self.token = nn.Parameter(torch.randn(width))
        self.positions = nn.Parameter(0.02 * torch.randn(length + 1, width))
        self.layers = nn.Sequential(*(SummaryLayer(width, heads, hidden) for _ in range(layers)))

    def forward(self, rows: Tensor) -> Tensor:
        token = self.token.expand(len(rows), 1, -1)
        x = self.layers(torch.cat([rows, token], 1) + self.positions)
        return x[:, -1 if self.reads == "own" else 0]


class RowPooling(nn.Module):
    """One learned query for each head looks at the row: (b, length, width) -> (b, width). Ours."""

    def __init__(self, length: int, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(heads, 1, width // heads))
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        self.norm = nn.LayerNorm(width)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, rows: Tensor) -> Tensor:
        pairs = self.key_value(self.norm(rows) + self.positions)
        key, value = rearrange(pairs, "b n (p m d) -> p b m n d", p=2, m=self.heads)
        query = self.query.expand(len(rows), -1, -1, -1).to(key.dtype)
        attended = attend_all(query, key, value)
        return self.out(rearrange(attended, "b m n d -> b (n m d)"))


def project(u: Tensor, over_time: nn.Module, over_height: nn.Module,
            over_width: nn.Module) -> list[Tensor]:
    """u (b, t, h, w, d) -> three planes: z_s (b, h, w, d), z_h (b, t, w, d), z_w (b, t, h, d).

    Each module sums up rows along one axis, (rows, length, d) -> (rows, d). PVDM, section 3.2.
    """
    b, t, h, w, _ = u.shape
    z_s = over_time(rearrange(u, "b t h w d -> (b h w) t d"))
    z_h = over_height(rearrange(u, "b t h w d -> (b t w) h d"))
    z_w = over_width(rearrange(u, "b t h w d -> (b t h) w d"))
    return [z_s.view(b, h, w, -1), z_h.view(b, t, w, -1), z_w.view(b, t, h, -1)]


def spread(planes: list[Tensor]) -> Tensor:
    """The inverse direction: z_s (b, h, w, c), z_h (b, t, w, c), z_w (b, t, h, c) -> v
    (b, t, h, w, 3 c), whose vector at (s, h, w) is those of the three planes there, side by side.
    PVDM, section 3.2."""
    z_s, z_h, z_w = planes
    return torch.cat(torch.broadcast_tensors(z_s[:, None], z_h[:, :, None], z_w[:, :, :, None]), -1)
