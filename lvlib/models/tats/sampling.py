# Never edit this file: `python -m lvlib.course build` makes it from solutions/15_long_videos.py.
"""Drawing the codes of a clip, and of a video far longer than the clips of training: a window
slides. TATS, sections 2.1 and 2.3."""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.checks import check_numbers, check_temperature
from lvlib.models.common.kv_cache import KVCache
from lvlib.models.videogpt.sampling import row_cache
from lvlib.stages import Condition


@dataclass(frozen=True)
class CodeSampling:
    """How to draw a code; the defaults are those of B.2. Raises ValueError for values that are not
    allowed."""

    temperature: float = 1.0
    """Below 1 likely codes become likelier; at least 1e-6."""
    top_k: int = 2048
    """Draw from that many of the likeliest codes alone."""
    top_p: float = 0.8
    """Then from the fewest likeliest codes that together have this probability."""

    def __post_init__(self):
        check_temperature(self.temperature)
        check_numbers(self, "top_k", least=1)
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")


@dataclass(frozen=True)
class TATSSampling(CodeSampling):
    """And how a window slides."""

    context: int | None = None
    """Latent frames that the window keeps when it slides; None: all but one (section 2.1)."""

    def __post_init__(self):
        super().__post_init__()
        if self.context is not None:
            check_numbers(self, "context", least=1)


def draw(logits: Tensor, sampling: CodeSampling) -> Tensor:
    """A code for each row of logits: (b, num_codes) -> int64 (b,).

    As `keep_likely` of notebook 10 has it, but only the likeliest are sorted.
    """
    likely, codes = (logits.float() / sampling.temperature).topk(
        min(sampling.top_k, logits.shape[-1]))
    probs = likely.softmax(-1)
    before = probs.cumsum(-1) - probs  # of the likelier ones: who has top_p before it goes
    chosen = torch.multinomial(probs * (before < sampling.top_p), 1)
    return codes.gather(-1, chosen)[:, 0]


def attend_cached(attention: nn.Module, x: Tensor, filled: int, cache: KVCache,
                  causal: bool = True) -> Tensor:
    """What a `CausalAttention` gives at further places, x (b, m, dim), after `filled` of them went
    through the cache: (b, m, dim).

    Several at once only while the cache is empty. causal: each sees those before it; else all.
    """
    query, key, value = attention.heads_of(x)
    end = filled + x.shape[1]
    cache.keys[:, :, filled:end], cache.values[:, :, filled:end] = key, value
    attended = F.scaled_dot_product_attention(query, cache.keys[:, :, :end],
                                              cache.values[:, :, :end],
                                              is_causal=causal and x.shape[1] > 1)
    return attention.join_heads(attended)


class Decoding:
    """A transformer that reads a row piece by piece, and remembers its keys and values.

    model: has `blocks`, `norm` and `out`. places: that the row can have.
    """

    def __init__(self, model: nn.Module, batch: int, places: int):
        self.model, self.filled = model, 0
        self.caches = [row_cache(block.attention, batch, places) for block in model.blocks]

    def read(self, x: Tensor, causal: bool = True) -> Tensor:
        """x (b, m, dim), with positions -> what `out` makes logits of, (b, m, dim)."""
        for block, cache in zip(self.model.blocks, self.caches, strict=True):
            x = block(x, attention=partial(attend_cached, block.attention, filled=self.filled,
                                           cache=cache, causal=causal))
        self.filled += x.shape[1]
        return self.model.norm(x)


@torch.inference_mode()
def fill_window(model: nn.Module, codes: Tensor, known: int, prefix: Tensor,
                sampling: TATSSampling) -> None:
    """Draws codes (b, n) from place `known` on, in place. model: a `TATS`. prefix (b, m, dim): what
    stands before the codes."""
    decoding = Decoding(model, len(codes), prefix.shape[1] + codes.shape[1])
    x = torch.cat([prefix, model.code_vectors(codes[:, :known])], 1)
    for i in range(known, codes.shape[1]):
        last = decoding.read(x + model.positions[decoding.filled:][:x.shape[1]])[:, -1]
        codes[:, i] = draw(model.out(last), sampling)
        x = model.code_vectors(codes[:, i:i + 1])


def window_places(known: int, frames: int, window: int, context: int) -> list[tuple[int, int]]:
    """(first frame, frames that are there already) of each place that a window of so many latent
    frames takes until all `frames` are there, when the first `known` are to begin with.

    It stands at 0 while the known ones do not fill it, and then keeps the last `context` of them, 1
    to window - 1. Where all are known it takes no place.
    """
    places = []
    while known < frames:
        start = 0 if known < window else known - context
        places.append((start, known - start))
        known = start + window
    return places


def slide(model: nn.Module, codes: Tensor, known: int, condition: Condition,
          sampling: TATSSampling) -> None:
    """Draws latent frames of codes (b, frames, codes of one) from frame `known` on, in place: in a
    window that is as long as the clips of training, and keeps `sampling.context` frames when it
    slides. Section 2.1."""
    window, frames = model.frames, codes.shape[1]
    context = window - 1 if sampling.context is None else sampling.context
    for start, there in window_places(known, frames, window, context):
        part = codes[:, start:start + window].flatten(1).clone()  # of a single clip a view
        prefix = model.prefix(condition, len(codes), start)
        fill_window(model, part, there * codes.shape[2], prefix, sampling)
        codes[:, start:start + window] = part.view(len(codes), -1, codes.shape[2])
