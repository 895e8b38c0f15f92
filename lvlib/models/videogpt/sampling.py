# Never edit this file: `python -m lvlib.course build` makes it from solutions/10_writing_clips.py.
"""Sampling of VideoGPT's prior: one code after another, with a cache, from the likely codes.
VideoGPT, section 3."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.checks import check_given, check_numbers, check_temperature
from lvlib.models.common.conditioning import condition_tensors
from lvlib.models.common.kv_cache import KVCache
from lvlib.stages import Condition


def row_cache(attention: nn.Module, batch: int, n: int) -> KVCache:
    """An empty cache for n positions; attention: a `CausalAttention`."""
    weight = attention.qkv.weight
    shape = batch, attention.heads, n, weight.shape[1] // attention.heads
    return KVCache(weight.new_zeros(shape), weight.new_zeros(shape))


def cached_attention(attention: nn.Module, x: Tensor, position: int, cache: KVCache) -> Tensor:
    """What a `CausalAttention` gives at one position, x (b, 1, dim), after all before it went
    through the cache: (b, 1, dim)."""
    query, key, value = attention.heads_of(x)
    cache.keys[:, :, position] = key[:, :, 0]
    cache.values[:, :, position] = value[:, :, 0]
    pattern = attention.pattern
    seen = pattern.seen(position).to(x.device) if pattern else slice(position + 1)
    keys, values = cache.keys[:, :, seen], cache.values[:, :, seen]
    return attention.join_heads(F.scaled_dot_product_attention(query, keys, values))


@torch.inference_mode()
def decode_row(model: nn.Module, codes: Tensor,
               condition: Condition | None = None) -> Iterator[tuple[int, Tensor]]:
    """Yields each position with its logits (b, num_codes), given what stands in codes (b, n) before
    it by then. model: a `VideoGPT`. The logits have no gradients.
    """
    cond_vector, memory = condition_tensors(model.conditioner, condition, len(codes), model.n)
    positions = model.positions(model.spec.shape).flatten(0, -2)
    caches = [row_cache(block.attention, len(codes), model.n) for block in model.blocks]
    memory_kvs = [block.memory_kv(memory) for block in model.blocks]
    x = model.start.expand(len(codes), -1)
    for i in range(model.n):
        x = (x + positions[i])[:, None]
        here = None if cond_vector is None else cond_vector[:, i:i + 1]
        for block, cache, memory_kv in zip(model.blocks, caches, memory_kvs, strict=True):
            attention = partial(cached_attention, block.attention, position=i, cache=cache)
            x = block(x, here, memory_kv, attention)
        yield i, model.out(model.norm(x, here))[:, 0]
        x = model.embedding(codes[:, i])


def keep_likely(logits: Tensor, top_k: int | None = None,
                top_p: float | None = None) -> Tensor:
    """Logits (..., num_codes), with -inf for all codes but the `top_k` likeliest (and those as
    likely as the last of them); then, of these, for all but the fewest likeliest that together have
    at least the probability `top_p`.

    The likeliest code always stays. None: no limit; a `top_p` of 1 is none either.
    """
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[..., -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if top_p is not None and top_p < 1:
        probs, order = logits.softmax(-1).sort()
        # A code and all less likely ones have so little that the likelier have top_p without them.
        goes = probs.cumsum(-1) <= 1 - top_p
        goes[..., -1] = False
        logits = logits.masked_fill(goes.gather(-1, order.argsort(-1)), float("-inf"))
    return logits


@dataclass(frozen=True)
class VideoGPTSampling:
    """How to draw codes. Raises ValueError for a value that no distribution can be drawn with."""

    temperature: float = 1.0
    """Below 1 likely codes become likelier; at least 1e-6."""
    top_k: int | None = None
    """Draw from that many of the likeliest codes alone; None: from all."""
    top_p: float | None = None
    """Draw from the fewest likeliest codes that together have this probability; None: from all."""

    def __post_init__(self):
        check_temperature(self.temperature)
        if self.top_k is not None:
            check_numbers(self, "top_k", least=1)
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")


def sample_row(model: nn.Module, n: int, condition: Condition | None, given: Tensor | None,
               sampling: VideoGPTSampling) -> Tensor:
    """n clips of codes, int64 (n, *shape of the model's latents): `VideoGPT.sample`."""
    codes = model.start.new_zeros(n, model.n, dtype=torch.int64)
    known = 0
    if given is not None:
        check_given(given, n, model.spec)
        known = given[0].numel()
        codes[:, :known] = given.flatten(1)
    training = model.training
    model.eval()
    try:
        for i, logits in decode_row(model, codes, condition):
            if i >= known:
                logits = logits.float() / sampling.temperature
                logits = keep_likely(logits, sampling.top_k, sampling.top_p)
                codes[:, i] = torch.multinomial(logits.softmax(-1), 1)[:, 0]
    finally:
        model.train(training)
    return codes.view(n, *model.spec.shape)
