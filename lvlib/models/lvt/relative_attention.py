# Never edit this file: `python -m lvlib.course build` makes it from solutions/06_attention_and_one_slice.py.
"""Attention over a small volume whose weights know how far apart two positions are. LVT, sections
3.2 and 4.4."""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Kind = Literal["query-key", "key", "relative"]


class RelativeBias(nn.Module):
    """One learned number for each head, axis and distance, summed over the axes. LVT, section 4.4
    (b_kq).

    shape is (t, h, w) of the volume, n = t*h*w in raster order. Each head begins by preferring one
    neighbour in the frame (ours: the official code begins without any preference).
    """

    def __init__(self, shape: tuple[int, int, int], heads: int):
        super().__init__()
        # How far the query stands behind the key; keys that come before it first, a masked layer
        # sees no others.
        neighbours = torch.tensor([(0, 0, 1), (0, 1, 0), (0, 1, 1), (0, 1, -1),
                                   (0, 0, -1), (0, -1, 0), (0, -1, -1), (0, -1, 1)])
        preferred = neighbours[torch.arange(heads) % len(neighbours)]
        distances = (torch.arange(1 - size, size) for size in shape)
        self.tables = nn.ParameterList(
            nn.Parameter(-2.0 * (distance - preferred[:, axis, None]).abs().clamp(max=4))
            for axis, distance in enumerate(distances))

    def forward(self) -> Tensor:
        """(heads, n, n): the bias of query (row) and key (column)."""
        t, h, w = (self.by_distance(table) for table in self.tables)
        bias = (t[:, :, None, None, :, None, None] + h[:, None, :, None, None, :, None]
                + w[:, None, None, :, None, None])
        return rearrange(bias, "m t h w t2 h2 w2 -> m (t h w) (t2 h2 w2)")

    def by_distance(self, table: Tensor) -> Tensor:
        """(heads, 2 * size - 1) -> (heads, size, size): entry (q, k) is that at distance q - k."""
        position = torch.arange((table.shape[1] + 1) // 2, device=table.device)
        return table[:, position[:, None] - position + len(position) - 1]


class Attention(nn.Module):
    """Multi-head attention over a volume, with one of the three kinds of weights of LVT, section
    4.4.

    kind: "query-key" compares contents and distances, "key" gives each key one weight for all
    queries besides the distance, "relative" looks at distances alone. causal: a position sees
    itself and those before it in raster order.
    """

    def __init__(self, dim: int, heads: int, head_dim: int, shape: tuple[int, int, int],
                 kind: Kind, causal: bool):
        super().__init__()
        self.heads, self.kind, self.causal = heads, kind, causal
        self.parts = {"query-key": 3, "key": 2, "relative": 1}[kind]
        # Values, then keys, then queries.
        self.in_proj = nn.Linear(dim, self.parts * heads * head_dim, bias=False)
        if kind == "key":  # u_m: one query for all positions
            self.query = nn.Parameter(torch.randn(heads, head_dim))
        self.relative = RelativeBias(shape, heads)
        self.out_proj = nn.Linear(heads * head_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, dim) -> (b, n, dim)."""
        value, key, query = self.heads_of(x)
        return self.join_heads(self.attend(query, key, value, self.bias()))

    def bias(self) -> Tensor:
        """(heads, n, n), -inf where a position may not look."""
        bias = self.relative()
        if self.causal:
            n = bias.shape[-1]
            later = torch.ones(n, n, dtype=torch.bool, device=bias.device).triu(1)
            bias = bias.masked_fill(later, float("-inf"))
        return bias

    def heads_of(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(b, n, dim) -> value, key, query, each (b, heads, n, d), None for what is not needed."""
        # "b n (p m d) -> p b m n d". Sampling comes here often, and a view beats `rearrange`.
        parts = self.in_proj(x).unflatten(-1, (self.parts, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.kind == "relative":
            return parts[0], None, None
        query = self.query[:, None].expand_as(parts[1]) if self.kind == "key" else parts[2]
        return parts[0], parts[1], query

    def attend(self, query: Tensor | None, key: Tensor | None, value: Tensor,
               bias: Tensor) -> Tensor:
        """Values averaged by the attention weights: query (b, heads, q, d), others (..., k, d),
        bias (heads, q, k)."""
        if key is None:
            return bias.softmax(-1) @ value
        bias = bias[None].to(query.dtype)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    def join_heads(self, attended: Tensor) -> Tensor:
        """(b, heads, n, d) -> (b, n, dim)."""
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """One layer of the transformer: attention, then two linear layers, each added to its input.
    (b, n, dim) -> (b, n, dim)."""

    def __init__(self, dim: int, heads: int, head_dim: int, shape: tuple[int, int, int], kind: Kind,
                 causal: bool):
        super().__init__()
        self.attention_norm, self.hidden_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, head_dim, shape, kind, causal)
        self.hidden = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.hidden(self.hidden_norm(x))
