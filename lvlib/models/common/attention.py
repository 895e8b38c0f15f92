# Never edit this file: `python -m lvlib.course build` makes it from solutions/09_one_row_of_codes.py.
"""Attention over codes in raster order, each of which sees those before it. VideoGPT, sections 2.2
and 3."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.common.conditioning import ConditionalNorm, CrossAttention
from lvlib.models.common.flex import flex_attend


@dataclass(frozen=True)
class Sparse:
    """Local and strided attention, VideoGPT, section 4.1: a code sees the `local` codes up to
    itself, and of all that lie further back every `stride`-th. With the codes of one frame as the
    stride these are the same place in earlier frames.
    """

    local: int
    stride: int

    def allows(self, query: Tensor, key: Tensor) -> Tensor:
        """bool: may the position `query` look at the position `key`? Both integers, of shapes that
        broadcast."""
        behind = query - key
        return (behind >= 0) & ((behind < self.local) | (behind % self.stride == 0))

    def seen(self, position: int) -> Tensor:
        """All positions that `position` looks at, in order: int64 (m,)."""
        before = torch.arange(position + 1)
        return before[self.allows(torch.tensor(position), before)]


class AttentionPattern(Protocol):
    """Which positions see which: hashable, as `Sparse` is. It may let them look ahead, too."""

    def allows(self, query: Tensor, key: Tensor) -> Tensor: ...  # as of `Sparse`


def attend(query: Tensor, key: Tensor, value: Tensor, pattern: AttentionPattern | None) -> Tensor:
    """Averages of the values that each position sees. All (b, heads, n, d).

    pattern: None for causal attention, to itself and all before it.
    """
    if pattern is None:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    if query.device.type == "cuda":  # the same numbers, in less time: notebook 10
        return flex_attend(query, key, value, pattern.allows)
    allowed = mask(pattern, query.shape[2], query.device, type(query))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)


@lru_cache(maxsize=8)
def mask(pattern: AttentionPattern, n: int, device: torch.device, kind: type = Tensor) -> Tensor:
    """bool (n, n): may the row's position look at the column's? Kept for each kind: fake tensors
    have no contents."""
    position = torch.arange(n, dtype=torch.int32, device=device)
    return pattern.allows(position[:, None], position)


class CausalAttention(nn.Module):
    """Multi-head attention: a position sees itself and those before it, or what a pattern says."""

    def __init__(self, dim: int, heads: int, pattern: AttentionPattern | None = None):
        super().__init__()
        self.heads, self.pattern = heads, pattern
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, dim) -> (b, n, dim)."""
        return self.join_heads(attend(*self.heads_of(x), self.pattern))

    def heads_of(self, x: Tensor) -> Tensor:
        """(b, n, dim) -> query, key, value: (3, b, heads, n, d)."""
        return rearrange(self.qkv(x), "b n (p m d) -> p b m n d", p=3, m=self.heads)

    def join_heads(self, attended: Tensor) -> Tensor:
        """(b, heads, n, d) -> (b, n, dim)."""
        return self.out_proj(rearrange(attended, "b m n d -> b n (m d)"))


class GPTBlock(nn.Module):
    """One layer of the transformer: attention, cross attention where there is a memory, then two
    linear layers, each normalised before, dropped out after, and added to its input. VideoGPT,
    section 3.

    pattern: as of `attend`. cond_dim, memory_dim: of the condition, 0 for none.
    """

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float = 0.0,
                 pattern: AttentionPattern | None = None, cond_dim: int = 0, memory_dim: int = 0):
        super().__init__()
        self.attention_norm = ConditionalNorm(dim, cond_dim)
        self.attention = CausalAttention(dim, heads, pattern)
        if memory_dim:
            self.cross_norm = ConditionalNorm(dim, cond_dim)
            self.cross = CrossAttention(dim, heads, memory_dim)
        self.hidden_norm = ConditionalNorm(dim, cond_dim)
        self.hidden = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, cond_vector: Tensor | None = None, memory_kv: Tensor | None = None,
                attention: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """x (b, n, dim), cond_vector (b, n, cond_dim), memory_kv of `memory_kv` -> (b, n, dim).

        attention: what to use in place of the layer's own, while sampling with a cache.
        """
        attention = attention or self.attention
        x = x + self.dropout(attention(self.attention_norm(x, cond_vector)))
        if memory_kv is not None:
            x = x + self.dropout(self.cross(self.cross_norm(x, cond_vector), memory_kv))
        return x + self.dropout(self.hidden(self.hidden_norm(x, cond_vector)))

    def memory_kv(self, memory: Tensor | None) -> Tensor | None:
        """Keys and values of the memory (b, m, memory_dim), where there is one."""
        return None if memory is None else self.cross.memory_kv(memory)
