# Never edit this file: `python -m lvlib.course build` makes it from solutions/08_videogpt_prior.py.
"""Attention over codes in raster order, each of which sees those before it. VideoGPT, sections 2.2 and 3."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.common.kv_cache import KVCache


@dataclass(frozen=True)
class Sparse:
    """Local and strided attention, VideoGPT, section 4.1: a code sees the `local` codes up to itself, and of all
    that lie further back every `stride`-th. With the codes of one frame as the stride these are the same place in
    earlier frames.
    """

    local: int
    stride: int

    def allows(self, query: Tensor, key: Tensor) -> Tensor:
        """bool: may the position `query` look at the position `key`? Both integers, of shapes that broadcast."""
        behind = query - key
        return (behind >= 0) & ((behind < self.local) | (behind % self.stride == 0))

    def seen(self, position: int) -> Tensor:
        """All positions that `position` looks at, in order: int64 (m,)."""
        before = torch.arange(position + 1)
        return before[self.allows(torch.tensor(position), before)]


@lru_cache(maxsize=8)
def mask(pattern: Sparse, n: int, device: torch.device, kind: type = Tensor) -> Tensor:
    """bool (n, n): may the row's position look at the column's? Kept for each kind: fake tensors have no contents."""
    position = torch.arange(n, dtype=torch.int32, device=device)
    return pattern.allows(position[:, None], position)


@lru_cache(maxsize=8)
def block_mask(pattern: Sparse, n: int, device: torch.device):
    """The same for FlexAttention, which skips the blocks of the mask where nothing is allowed."""
    from torch.nn.attention.flex_attention import create_block_mask

    return create_block_mask(lambda b, head, query, key: pattern.allows(query, key), None, None, n, n, device)


@lru_cache(maxsize=1)
def flex_attention():
    """FlexAttention, compiled: only then it is fast."""
    from torch.nn.attention import flex_attention as flex

    return torch.compile(flex.flex_attention)


def attend(query: Tensor, key: Tensor, value: Tensor, pattern: Sparse | None) -> Tensor:
    """Averages of the values at each position and before. All (b, heads, n, d). pattern: None for all of them."""
    if pattern is None:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    n, device = query.shape[2], query.device
    if device.type == "cuda":
        return flex_attention()(query, key, value, block_mask=block_mask(pattern, n, device))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask(pattern, n, device, type(query)))


class CausalAttention(nn.Module):
    """Multi-head attention in which a position sees itself and those before it, or some of them."""

    def __init__(self, dim: int, heads: int, pattern: Sparse | None = None):
        super().__init__()
        self.heads, self.pattern = heads, pattern
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, dim) -> (b, n, dim)."""
        attended = attend(*self.heads_of(x), self.pattern)
        return self.out_proj(rearrange(attended, "b m n d -> b n (m d)"))

    def heads_of(self, x: Tensor) -> Tensor:
        """(b, n, dim) -> query, key, value: (3, b, heads, n, d)."""
        return rearrange(self.qkv(x), "b n (p m d) -> p b m n d", p=3, m=self.heads)

    def cache(self, batch: int, n: int) -> KVCache:
        """An empty cache for n positions."""
        weight = self.qkv.weight
        shape = batch, self.heads, n, weight.shape[1] // self.heads
        return KVCache(weight.new_zeros(shape), weight.new_zeros(shape))

    def step(self, x: Tensor, position: int, cache: KVCache) -> Tensor:
        """`forward` for one position, x (b, 1, dim), after all before it went through the cache."""
        query, key, value = self.heads_of(x)
        cache.keys[:, :, position] = key[:, :, 0]
        cache.values[:, :, position] = value[:, :, 0]
        seen = self.pattern.seen(position).to(x.device) if self.pattern else slice(position + 1)
        attended = F.scaled_dot_product_attention(query, cache.keys[:, :, seen], cache.values[:, :, seen])
        return self.out_proj(rearrange(attended, "b m n d -> b n (m d)"))


class CrossAttention(nn.Module):
    """Multi-head attention from codes to a memory that stays the same for the whole clip. VideoGPT, section 3."""

    def __init__(self, dim: int, heads: int, memory_dim: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(memory_dim, 2 * dim, bias=False)
        self.out_proj = nn.Linear(dim, dim)

    def memory_kv(self, memory: Tensor) -> Tensor:
        """(b, m, memory_dim) -> its keys and values, (2, b, heads, m, d): once a clip, however many codes look."""
        return rearrange(self.kv(memory), "b m (p h d) -> p b h m d", p=2, h=self.heads)

    def forward(self, x: Tensor, memory_kv: Tensor) -> Tensor:
        """x (b, n, dim) and what `memory_kv` gave -> (b, n, dim)."""
        query = rearrange(self.query(x), "b n (h d) -> b h n d", h=self.heads)
        attended = F.scaled_dot_product_attention(query, *memory_kv)
        return self.out_proj(rearrange(attended, "b h n d -> b n (h d)"))


class ConditionalNorm(nn.Module):
    """LayerNorm; with a condition, its scale and shift are affine functions of it. VideoGPT, section 3.

    cond_dim: of the condition's vectors, 0 for a model without one.
    """

    def __init__(self, dim: int, cond_dim: int = 0):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.to_scale_shift = nn.Linear(cond_dim, 2 * dim, bias=False) if cond_dim else None

    def forward(self, x: Tensor, cond_vector: Tensor | None = None) -> Tensor:
        """x (b, n, dim), cond_vector (b, n, cond_dim) -> (b, n, dim)."""
        x = self.norm(x)
        if self.to_scale_shift is None:
            return x
        scale, shift = self.to_scale_shift(cond_vector).chunk(2, -1)
        return x * (1 + scale) + shift


class GPTBlock(nn.Module):
    """One layer of the transformer: attention, cross attention where there is a memory, then two linear layers, each
    normalised before, dropped out after, and added to its input. VideoGPT, section 3.

    pattern: None for full attention. cond_dim, memory_dim: of the condition, 0 for none.
    """

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float = 0.0, pattern: Sparse | None = None,
                 cond_dim: int = 0, memory_dim: int = 0):
        super().__init__()
        self.attention_norm = ConditionalNorm(dim, cond_dim)
        self.attention = CausalAttention(dim, heads, pattern)
        if memory_dim:
            self.cross_norm = ConditionalNorm(dim, cond_dim)
            self.cross = CrossAttention(dim, heads, memory_dim)
        self.hidden_norm = ConditionalNorm(dim, cond_dim)
        self.hidden = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, cond_vector: Tensor | None = None, memory: Tensor | None = None) -> Tensor:
        """x (b, n, dim), cond_vector (b, n, cond_dim), memory (b, m, memory_dim) -> (b, n, dim)."""
        return self.layers(x, cond_vector, self.memory_kv(memory), self.attention)

    def memory_kv(self, memory: Tensor | None) -> Tensor | None:
        """Keys and values of the memory, where there is one."""
        return None if memory is None else self.cross.memory_kv(memory)

    def step(self, x: Tensor, cond_vector: Tensor | None, memory_kv: Tensor | None, position: int,
             cache: KVCache) -> Tensor:
        """`forward` for one position, with what `memory_kv` gave, after all before it went through the cache."""
        return self.layers(x, cond_vector, memory_kv, partial(self.attention.step, position=position, cache=cache))

    def layers(self, x: Tensor, cond_vector: Tensor | None, memory_kv: Tensor | None, attention: Callable) -> Tensor:
        """What `forward` and `step` share; attention (b, n, dim) -> (b, n, dim)."""
        x = x + self.dropout(attention(self.attention_norm(x, cond_vector)))
        if memory_kv is not None:
            x = x + self.dropout(self.cross(self.cross_norm(x, cond_vector), memory_kv))
        return x + self.dropout(self.hidden(self.hidden_norm(x, cond_vector)))
