# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 · VideoGPT's prior

# %% tags=["export:models.attention"]
"""Attention over codes in raster order, each of which sees those before it. VideoGPT, sections 2.2 and 3."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


@dataclass(frozen=True)
class Sparse:
    """Local and strided attention, VideoGPT, section 4.1: a code sees the `local` codes up to itself, and of all
    that lie further back every `stride`-th. With the codes of one frame as the stride these are the same place in
    earlier frames.
    """

    local: int
    stride: int

    def allows(self, query: Tensor, key: Tensor) -> Tensor:
        """bool: may the position `query` look at the position `key`? Both int64, of shapes that broadcast."""
        behind = query - key
        return (behind >= 0) & ((behind < self.local) | (behind % self.stride == 0))

    def seen(self, position: int) -> Tensor:
        """All positions that `position` looks at, in order: int64 (m,)."""
        before = torch.arange(position + 1)
        return before[self.allows(torch.tensor(position), before)]

# %% tags=["export:models.attention"]
@lru_cache(maxsize=8)
def mask(pattern: Sparse, n: int, device: torch.device) -> Tensor:
    """bool (n, n): may the row's position look at the column's?"""
    position = torch.arange(n, device=device)
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
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask(pattern, n, device))

# %% tags=["export:models.attention"]
@dataclass
class Cache:
    """Keys and values (b, heads, n, d) of the positions that went through one layer; nobody reads the others."""

    keys: Tensor
    values: Tensor


class CausalAttention(nn.Module):
    """Multi-head attention in which a position sees itself and those before it, or some of them."""

    def __init__(self, dim: int, heads: int, pattern: Sparse | None = None):
        super().__init__()
        self.heads, self.pattern = heads, pattern
        self.project = nn.Linear(dim, 3 * dim, bias=False)
        self.join = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, dim) -> (b, n, dim)."""
        attended = attend(*self.heads_of(x), self.pattern)
        return self.join(rearrange(attended, "b m n d -> b n (m d)"))

    def heads_of(self, x: Tensor) -> Tensor:
        """(b, n, dim) -> query, key, value: (3, b, heads, n, d)."""
        return rearrange(self.project(x), "b n (p m d) -> p b m n d", p=3, m=self.heads)

    def cache(self, batch: int, n: int) -> Cache:
        """An empty cache for n positions."""
        weight = self.project.weight
        shape = batch, self.heads, n, weight.shape[1] // self.heads
        return Cache(weight.new_zeros(shape), weight.new_zeros(shape))

    def step(self, x: Tensor, position: int, cache: Cache) -> Tensor:
        """`forward` for one position, x (b, 1, dim), after all before it went through the cache."""
        query, key, value = self.heads_of(x)
        cache.keys[:, :, position] = key[:, :, 0]
        cache.values[:, :, position] = value[:, :, 0]
        seen = self.pattern.seen(position).to(x.device) if self.pattern else slice(position + 1)
        attended = F.scaled_dot_product_attention(query, cache.keys[:, :, seen], cache.values[:, :, seen])
        return self.join(rearrange(attended, "b m n d -> b n (m d)"))

# %% tags=["export:models.attention"]
class CrossAttention(nn.Module):
    """Multi-head attention from codes to a memory that stays the same for the whole clip. VideoGPT, section 3."""

    def __init__(self, dim: int, heads: int, memory_dim: int):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim, bias=False)
        self.memory = nn.Linear(memory_dim, 2 * dim, bias=False)
        self.join = nn.Linear(dim, dim)

    def remember(self, memory: Tensor) -> Tensor:
        """(b, m, memory_dim) -> its keys and values, (2, b, heads, m, d): once a clip, however many codes look."""
        return rearrange(self.memory(memory), "b m (p h d) -> p b h m d", p=2, h=self.heads)

    def forward(self, x: Tensor, remembered: Tensor) -> Tensor:
        """x (b, n, dim) and what `remember` gave -> (b, n, dim)."""
        query = rearrange(self.query(x), "b n (h d) -> b h n d", h=self.heads)
        attended = F.scaled_dot_product_attention(query, *remembered)
        return self.join(rearrange(attended, "b h n d -> b n (h d)"))

# %% tags=["export:models.attention"]
class ConditionalNorm(nn.Module):
    """LayerNorm; with a vector, its gain and bias are affine functions of it. VideoGPT, section 3.

    vector_dim: 0 for a model without such a condition.
    """

    def __init__(self, dim: int, vector_dim: int = 0):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.steer = nn.Linear(vector_dim, 2 * dim, bias=False) if vector_dim else None

    def forward(self, x: Tensor, vector: Tensor | None = None) -> Tensor:
        """x (b, n, dim), vector (b, n, vector_dim) -> (b, n, dim)."""
        x = self.norm(x)
        if self.steer is None:
            return x
        gain, bias = self.steer(vector).chunk(2, -1)
        return x * (1 + gain) + bias

# %% tags=["export:models.attention"]
class Block(nn.Module):
    """One layer of the transformer: attention, cross attention where there is a memory, then two linear layers, each
    normalised before, dropped out after, and added to its input. VideoGPT, section 3.

    pattern: None for full attention. vector_dim, memory_dim: of the condition, 0 for none.
    """

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float = 0.0, pattern: Sparse | None = None,
                 vector_dim: int = 0, memory_dim: int = 0):
        super().__init__()
        self.attention_norm = ConditionalNorm(dim, vector_dim)
        self.attention = CausalAttention(dim, heads, pattern)
        if memory_dim:
            self.cross_norm = ConditionalNorm(dim, vector_dim)
            self.cross = CrossAttention(dim, heads, memory_dim)
        self.hidden_norm = ConditionalNorm(dim, vector_dim)
        self.hidden = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, vector: Tensor | None = None, memory: Tensor | None = None) -> Tensor:
        """x (b, n, dim), vector (b, n, vector_dim), memory (b, m, memory_dim) -> (b, n, dim)."""
        return self.layers(x, vector, self.remember(memory), self.attention)

    def remember(self, memory: Tensor | None) -> Tensor | None:
        """Keys and values of the memory, where there is one."""
        return None if memory is None else self.cross.remember(memory)

    def step(self, x: Tensor, vector: Tensor | None, remembered: Tensor | None, position: int, cache: Cache) -> Tensor:
        """`forward` for one position, with what `remember` gave, after all before it went through the cache."""
        return self.layers(x, vector, remembered, partial(self.attention.step, position=position, cache=cache))

    def layers(self, x: Tensor, vector: Tensor | None, remembered: Tensor | None, attention: Callable) -> Tensor:
        """What `forward` and `step` share; attention (b, n, dim) -> (b, n, dim)."""
        x = x + self.dropout(attention(self.attention_norm(x, vector)))
        if remembered is not None:
            x = x + self.dropout(self.cross(self.cross_norm(x, vector), remembered))
        return x + self.dropout(self.hidden(self.hidden_norm(x, vector)))

# %% tags=["export:models.attention"]
class AxialPositions(nn.Module):
    """A learned vector for each place on each axis; a position's is the sum over its axes. VideoGPT, section 3.

    shape: (t, h, w), or (t, h, w, k); n = their product, in raster order.
    """

    def __init__(self, shape: tuple[int, ...], dim: int):
        super().__init__()
        self.tables = nn.ParameterList(nn.Parameter(0.02 * torch.randn(size, dim)) for size in shape)

    def forward(self) -> Tensor:
        """(n, dim)."""
        total = self.tables[0]
        for table in self.tables[1:]:
            total = (total[:, None] + table).flatten(0, 1)
        return total

# %% tags=["export:models.videogpt"]
"""VideoGPT's prior: a causal transformer over the codes of a clip in raster order. VideoGPT, section 3."""

import math
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.attention import AxialPositions, Block, ConditionalNorm, Sparse


def keep_likely(logits: Tensor, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Logits (..., codes), with -inf for all codes but the `top_k` likeliest (and those as likely as the last of them);
    then, of these, for all but the fewest likeliest that together have at least the probability `top_p`.

    The likeliest code always stays. None: no limit.
    """
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if top_p is not None:
        chances, order = logits.softmax(-1).sort(descending=True)
        before = chances.cumsum(-1) - chances  # of all likelier codes together
        rank = order.argsort(-1)
        logits = logits.masked_fill((before >= top_p).gather(-1, rank), float("-inf"))
    return logits

# %% tags=["export:models.videogpt"]
class VideoGPT(nn.Module):
    """Predicts each code of a clip from all codes before it, in raster order.

    latent_shape: (t, h, w), or (t, h, w, k), of n codes together; 0 <= code < codes.
    conditioner: a module that turns a condition (a dict of tensors) into what norms see, a vector for each of the t
    latent frames or one for all (b, t or 1, vector_dim), and what cross attention sees (b, m, memory_dim); either may
    be None. None for a model without a condition.
    """

    def __init__(self, latent_shape: tuple[int, ...], codes: int, dim: int, heads: int, layers: int, hidden: int,
                 dropout: float = 0.0, pattern: Sparse | None = None, conditioner: nn.Module | None = None):
        super().__init__()
        self.latent_shape, self.codes, self.conditioner = tuple(latent_shape), codes, conditioner
        self.n = math.prod(latent_shape)
        vector_dim, memory_dim = (conditioner.vector_dim, conditioner.memory_dim) if conditioner else (0, 0)
        self.embedding = nn.Embedding(codes, dim)
        self.start = nn.Parameter(0.02 * torch.randn(dim))  # stands before the first code
        self.positions = AxialPositions(latent_shape, dim)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(dim, heads, hidden, dropout, pattern, vector_dim, memory_dim) for _ in range(layers))
        self.norm = ConditionalNorm(dim, vector_dim)
        self.out = nn.Linear(dim, codes, bias=False)
        for module in (*self.blocks.modules(), self.embedding, self.out):  # small, so that the first loss is near ln K
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def logits(self, latents: Tensor, condition: Mapping[str, Tensor] | None = None) -> Tensor:
        """Of each code, given those before it: latents (b, *latent_shape) -> (b, n, codes)."""
        vector, memory = self.conditions(condition, len(latents))
        x = self.embedding(latents.flatten(1))
        x = torch.cat([self.start.expand(len(x), 1, -1), x[:, :-1]], 1)  # each position sees the code before it
        x = self.dropout(x + self.positions())
        for block in self.blocks:
            x = block(x, vector, memory)
        return self.out(self.norm(x, vector))

    def nll(self, latents: Tensor, condition: Mapping[str, Tensor] | None = None) -> Tensor:
        """Nats of each code: (b, *latent_shape) -> (b, n). Raises ValueError for what does not fit the model."""
        self.check_shape(latents)
        logits = self.logits(latents, condition)
        return F.cross_entropy(logits.flatten(0, 1).float(), latents.flatten(), reduction="none").view(len(latents), -1)

    def loss(self, latents: Tensor, condition: Mapping[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats a code, and the same in bits: int64 (b, *latent_shape) -> (), {"bits_per_dim": ()}."""
        loss = self.nll(latents, condition).mean()
        return loss, {"bits_per_dim": loss / math.log(2)}

    @torch.no_grad()
    def bits_per_dim(self, latents: Tensor, condition: Mapping[str, Tensor] | None = None) -> Tensor:
        """Bits a code of each clip: (b, *latent_shape) -> (b,). Raises ValueError for what does not fit the model."""
        self.check_shape(latents)
        self.check_range(latents)
        return self.nll(latents, condition).mean(1) / math.log(2)

    @torch.no_grad()
    def sample(self, n: int, condition: Mapping[str, Tensor] | None = None, temperature: float = 1.0,
               top_k: int | None = None, top_p: float | None = None, given: Tensor | None = None) -> Tensor:
        """n clips of codes, int64 (n, *latent_shape), drawn one code after another, without dropout.

        condition: of one clip for all, or of each: (1 or n, ...). temperature: below 1 likely codes become likelier.
        top_k, top_p: draw from the likeliest alone, see `keep_likely`. given: codes that the clips begin with, their
        first latent frames, (1 or n, t0, ...). Raises ValueError for what does not fit.
        """
        check_sampling(temperature, top_k, top_p)
        codes = self.start.new_zeros(n, self.n, dtype=torch.int64)
        known = 0
        if given is not None:
            self.check_given(given, n)
            known = given[0].numel()
            codes[:, :known] = given.flatten(1)
        training = self.training
        self.eval()
        try:
            for position, logits in self.walk(codes, condition):
                if position >= known:
                    chances = keep_likely(logits.float() / temperature, top_k, top_p).softmax(-1)
                    codes[:, position] = torch.multinomial(chances, 1)[:, 0]
        finally:
            self.train(training)
        return codes.view(n, *self.latent_shape)

    def walk(self, codes: Tensor, condition: Mapping[str, Tensor] | None = None) -> Iterator[tuple[int, Tensor]]:
        """Yields each position with its logits (b, codes), given what stands in codes (b, n) before it by then."""
        vector, memory = self.conditions(condition, len(codes))
        positions = self.positions()
        caches = [block.attention.cache(len(codes), self.n) for block in self.blocks]
        remembered = [block.remember(memory) for block in self.blocks]
        x = self.start.expand(len(codes), -1)
        for position in range(self.n):
            x = (x + positions[position])[:, None]
            here = None if vector is None else vector[:, position:position + 1]
            for block, cache, looked_up in zip(self.blocks, caches, remembered, strict=True):
                x = block.step(x, here, looked_up, position, cache)
            yield position, self.out(self.norm(x, here))[:, 0]
            x = self.embedding(codes[:, position])

    def conditions(self, condition: Mapping[str, Tensor] | None, n: int) -> tuple[Tensor | None, Tensor | None]:
        """What norms see at each code (n, codes of a clip, vector_dim), what cross attention sees (n, m, memory_dim).

        Raises ValueError if the model takes a condition and gets none, or the other way round, or for other clips.
        """
        if self.conditioner is None:
            if condition:
                raise ValueError(f"this model takes no condition, not {', '.join(condition)}")
            return None, None
        vector, memory = self.conditioner(condition or {})
        if vector is not None:
            frames = self.latent_shape[0] // vector.shape[1]
            vector = vector.repeat_interleave(frames * self.n // self.latent_shape[0], 1)
        for seen in (vector, memory):
            if seen is not None and len(seen) not in (1, n):
                raise ValueError(f"give the condition of one clip, or of each of the {n}, not of {len(seen)}")
        return tuple(None if seen is None else seen.expand(n, -1, -1) for seen in (vector, memory))

    def check_shape(self, latents: Tensor) -> None:
        if latents.shape[1:] != self.latent_shape:
            raise ValueError(f"codes must be of shape (b, {', '.join(map(str, self.latent_shape))}), "
                             f"not {tuple(latents.shape)}")

    def check_given(self, given: Tensor, n: int) -> None:
        t, *rest = self.latent_shape
        if list(given.shape[2:]) != rest or not 0 < given.shape[1] < t:
            raise ValueError(f"given codes must be of shape (b, 1 to {t - 1}, {', '.join(map(str, rest))}), "
                             f"not {tuple(given.shape)}")
        if len(given) not in (1, n):
            raise ValueError(f"give the codes of one clip, or of each of the {n}, not of {len(given)}")
        self.check_range(given)

    def check_range(self, latents: Tensor) -> None:
        low, high = latents.aminmax()
        if low < 0 or high >= self.codes:
            raise ValueError(f"codes must lie in 0..{self.codes - 1}; got {low} to {high}")


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raises ValueError for a value that no distribution can be drawn with."""
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, not {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, not {top_p}")
