# Never edit this file: `python -m lvlib.course build` makes it from solutions/07_lvt_writes_video.py.
"""Sampling of LVT's prior, slice by slice, where all that does not change is kept. LVT, section
3.2."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.common.checks import check_temperature
from lvlib.models.common.kv_cache import KVCache
from lvlib.models.lvt.relative_attention import Attention, Block
from lvlib.models.lvt.subscale import take_slice


@dataclass(frozen=True)
class LVTSampling:
    """How to draw codes. Raises ValueError for a value that no distribution can be drawn with."""

    temperature: float = 1.0
    """Below 1 likely codes become likelier; at least 1e-6."""

    def __post_init__(self):
        check_temperature(self.temperature)


def slice_cache(attention: Attention, batch: int) -> KVCache:
    """An empty cache for a slice of each of `batch` clips."""
    n = math.prod((table.shape[1] + 1) // 2 for table in attention.relative.tables)
    d = attention.out_proj.in_features // attention.heads
    empty = attention.out_proj.weight.new_zeros(batch, attention.heads, n, d)
    return KVCache(None if attention.kind == "relative" else empty, empty.clone())


def attention_step(attention: Attention, x: Tensor, rows: slice, cache: KVCache,
                   bias: Tensor) -> Tensor:
    """Attention for the positions `rows` alone, x (b, rows, dim), after all before them went
    through the cache. bias: what `attention.bias()` gave, the same for all steps."""
    value, key, query = attention.heads_of(x)
    cache.values[:, :, rows] = value
    if key is not None:
        cache.keys[:, :, rows] = key
        key = cache.keys[:, :, :rows.stop]
    seen = cache.values[:, :, :rows.stop]
    return attention.join_heads(attention.attend(query, key, seen, bias[:, rows, :rows.stop]))


def block_step(block: Block, x: Tensor, rows: slice, cache: KVCache, bias: Tensor) -> Tensor:
    """The same for a whole layer."""
    x = x + attention_step(block.attention, block.attention_norm(x), rows, cache, bias)
    return x + block.hidden(block.hidden_norm(x))


def decode_slice(decoder: nn.Module, codes: Tensor, known: Tensor,
                 start: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Goes through a slice (b, t, h, w, k) from position `start` on, and expects to be answered.

    decoder: a `SliceDecoder`. known: its context (b, n, dim). Yields the decoder's vector of each
    position (b, dim), and the place (b, k) in `codes` where the caller writes the codes that it
    chooses.
    """
    batch, t, h, w, k = codes.shape
    kept = [(slice_cache(layer.attention, batch), layer.attention.bias())
            for layer in decoder.layers]
    embedded = decoder.embedding(codes)
    if start:
        x = decoder.enter(embedded, known)[:, :start]
        for layer, (cache, bias) in zip(decoder.layers, kept, strict=True):
            x = block_step(layer, x, slice(0, start), cache, bias)
    padded = F.pad(embedded, (0, 0, 1, 1, 1, 1, 1, 1)).flatten(1, 3)  # what the taps meet
    places = torch.arange((t + 2) * (h + 2) * (w + 2), device=codes.device)
    places = places.reshape(t + 2, h + 2, w + 2)
    taps = places[:3, :3, :3][decoder.before.mask] - places[1, 1, 1]
    weight = rearrange(decoder.before.weight[:, :, decoder.before.mask], "d c taps -> (taps c) d")
    entry = decoder.position + known + decoder.before.bias
    inner = places[1:-1, 1:-1, 1:-1].flatten()
    neighbours = inner[:, None] + taps
    for i, place in enumerate(inner.tolist()):
        if i < start:
            continue
        x = (padded[:, neighbours[i]].flatten(1) @ weight + entry[:, i])[:, None]
        for layer, (cache, bias) in zip(decoder.layers, kept, strict=True):
            x = block_step(layer, x, slice(i, i + 1), cache, bias)
        here = codes[:, i // (h * w), i // w % h, i % w]
        yield decoder.norm(x[:, 0]), here
        padded[:, place] = decoder.embedding(here)


@torch.inference_mode()
def complete(model: nn.Module, volume: Tensor, prime_frames: int, temperature: float) -> None:
    """Writes the codes after the priming frames into the volume (n, t, h, w, k).

    model: a `LatentVideoTransformer`.
    """
    for number in model.slices_to_generate(prime_frames):
        known = model.encoder(volume, number.expand(len(volume)), prime_frames)
        # Priming frames come first in a slice.
        start = int((~model.generated(number[None], prime_frames)).sum())
        codes = take_slice(volume, int(number), model.factor)
        for y, here in decode_slice(model.decoder, codes, known, start):
            for k in range(model.codebooks):
                logits = model.code_heads.one(k, y, here[:, :k]) / temperature
                here[:, k] = torch.multinomial(logits.softmax(-1), 1)[:, 0]
