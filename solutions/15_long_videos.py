# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 15 · Long videos: a window that slides

# %% jupyter={"source_hidden": true}
import os

from lvlib.course import progress

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% jupyter={"source_hidden": true} tags=["export:models.tats.sampling"]
"""Drawing the codes of a clip, and of a video far longer than the clips of training: a window
slides. TATS, sections 2.1 and 2.3."""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.checks import check_numbers, check_temperature
from lvlib.models.common.kv_cache import KVCache
from lvlib.models.videogpt.sampling import keep_likely, row_cache
from lvlib.stages import Condition


# %% tags=["export:models.tats.sampling"]
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
    """A code for each row of logits: (b, num_codes) -> int64 (b,)."""
    logits = logits.float() / sampling.temperature
    logits = keep_likely(logits, sampling.top_k, sampling.top_p)
    return torch.multinomial(logits.softmax(-1), 1)[:, 0]

# %% tags=["export:models.tats.sampling"]
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
        """x (b, m, dim), with positions -> logits (b, m, num_codes)."""
        for block, cache in zip(self.model.blocks, self.caches, strict=True):
            x = block(x, attention=partial(attend_cached, block.attention, filled=self.filled,
                                           cache=cache, causal=causal))
        self.filled += x.shape[1]
        return self.model.out(self.model.norm(x))

# %% tags=["export:models.tats.sampling"]
@torch.inference_mode()
def fill_window(model: nn.Module, codes: Tensor, known: int, prefix: Tensor,
                sampling: TATSSampling) -> None:
    """Draws codes (b, n) from place `known` on, in place. model: a `TATS`. prefix (b, m, dim): what
    stands before the codes."""
    decoding = Decoding(model, len(codes), prefix.shape[1] + codes.shape[1])
    x = torch.cat([prefix, model.code_vectors(codes[:, :known])], 1)
    for i in range(known, codes.shape[1]):
        codes[:, i] = draw(decoding.read(x + model.positions[decoding.filled:][:x.shape[1]])[:, -1],
                           sampling)
        x = model.code_vectors(codes[:, i:i + 1])


def slide(model: nn.Module, codes: Tensor, known: int, condition: Condition,
          sampling: TATSSampling) -> None:
    """Draws latent frames of codes (b, frames, codes of one) from frame `known` on, in place: in a
    window that is as long as the clips of training, and keeps `sampling.context` frames when it
    slides. Section 2.1."""
    window, frames = model.frames, codes.shape[1]
    context = window - 1 if sampling.context is None else sampling.context
    while known < frames:
        start = 0 if known < window else known - context
        part = codes[:, start:start + window].flatten(1)
        prefix = model.prefix(condition, len(codes), start, frames)
        fill_window(model, part, (known - start) * codes.shape[2], prefix, sampling)
        codes[:, start:start + window] = part.view(len(codes), -1, codes.shape[2])
        known = min(start + window, frames)

# %% jupyter={"source_hidden": true} tags=["export:models.tats.prior"]
"""TATS's prior: a causal transformer over the codes of a clip, and of every fourth latent frame of
a longer one. TATS, sections 2.1 and 2.3."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.attention import GPTBlock
from lvlib.models.common.checks import (
    check_codes,
    check_given,
    check_given_latents,
    check_no_condition,
    check_numbers,
    check_shape,
)
from lvlib.models.tats.sampling import TATSSampling, slide
from lvlib.stages import Condition, ConditionSpec, GivenFrames, LatentSpec, VideoShape


# %% tags=["export:models.tats.prior"]
class TATS(nn.Module):
    """A causal transformer over codes in raster order, told a class by a token before them.

    Section 2.1. config.every: 1 for all latent frames (TATS-base), 4 for every fourth (the first
    half of TATS-hierarchical, 2.3). Positions are learned, one for each place of the row.
    """

    def __init__(self, config: "TATSConfig", latents: LatentSpec):
        super().__init__()
        self.config, self.spec, dim = config, latents, config.dim
        self.frames = -(-latents.shape[0] // config.every)
        self.n = self.frames * math.prod(latents.shape[1:])
        # One vocabulary: the classes, or a token for the start, and then the codes.
        self.words = max(config.classes, 1)
        self.embedding = nn.Embedding(self.words + latents.num_codes, dim)
        self.positions = nn.Parameter(torch.zeros(self.n, dim))
        self.blocks = nn.ModuleList(GPTBlock(dim, config.heads, config.hidden, config.dropout)
                                    for _ in range(config.layers))
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, latents.num_codes, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def code_vectors(self, codes: Tensor) -> Tensor:
        """Codes int64 (...) -> (..., dim)."""
        return self.embedding(codes + self.words)

    def prefix(self, condition: Condition, clips: int, start: int, frames: int) -> Tensor:
        """What stands before the codes of a window from latent frame `start` on: (clips, 1, dim).

        Raises ValueError for a condition that does not fit.
        """
        if not self.config.classes:
            check_no_condition(condition)
            return self.embedding.weight[:1].expand(clips, 1, -1)
        check_label(condition, self.config.classes, clips)
        return self.embedding(condition["label"])[:, None].expand(clips, -1, -1)

    def keys(self, latents: Tensor) -> Tensor:
        """The latent frames that the model is of: (b, t, h, w) -> (b, frames, h, w)."""
        return latents[:, ::self.config.every]

    def logits(self, latents: Tensor, condition: Condition) -> Tensor:
        """Of each code of the clips' key frames, given those before it: (b, t, h, w) -> (b, n,
        num_codes)."""
        codes = self.keys(latents).flatten(1)
        prefix = self.prefix(condition, len(codes), 0, self.frames)
        x = torch.cat([prefix, self.code_vectors(codes[:, :-1])], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x))

    def nll(self, latents: Tensor, condition: Condition) -> Tensor:
        """Nats of each code: (b, t, h, w) -> (b, n). Raises ValueError for another shape, or
        condition."""
        check_shape(latents, self.spec)
        logits = self.logits(latents, condition).flatten(0, 1).float()
        targets = self.keys(latents).flatten()
        return F.cross_entropy(logits, targets, reduction="none").view(len(latents), -1)

    def loss(self, latents: Tensor, condition: Condition) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats a code, and the same in bits: int64 (b, t, h, w) -> (), {"bits_per_dim": ()}."""
        loss = self.nll(latents, condition).mean()
        return loss, {"bits_per_dim": loss / math.log(2)}

    @torch.no_grad()
    def scores(self, latents: Tensor, condition: Condition,
               given_latents: int) -> dict[str, Tensor]:
        """{"bits_per_dim": (b,)}: exact bits a code of each clip's key frames, without those of the
        first `given_latents` frames.

        Raises ValueError for what does not fit the model, and if no key frame is left.
        """
        check_given_latents(given_latents, 0, self.spec)
        check_codes(latents, self.spec)
        first = -(-given_latents // self.config.every)
        if first >= self.frames:
            raise ValueError(f"after {given_latents} latent frames there is no key frame left")
        nats = self.nll(latents, condition)[:, first * self.n // self.frames:]
        return {"bits_per_dim": nats.mean(1) / math.log(2)}

    @torch.no_grad()
    def sample(self, n: int, condition: Condition, given: Tensor | None = None,
               sampling: TATSSampling | None = None, latent_frames: int | None = None) -> Tensor:
        """n videos of codes, int64 (n, latent_frames, h, w), however long: a window slides.

        Of a model of key frames, each stands until the next one. condition: of one clip for all, or
        of each. given: codes that they begin with, (1 or n, t0, h, w). latent_frames: None for as
        many as clips of training have. Raises ValueError for what does not fit.
        """
        sampling, (t, h, w), every = sampling or TATSSampling(), self.spec.shape, self.config.every
        frames = t if latent_frames is None else latent_frames
        check_window(self, sampling, frames)
        codes = self.positions.new_zeros(n, -(-frames // every), h * w, dtype=torch.int64)
        known = 0
        if given is not None:
            check_given(given, n, replace(self.spec, shape=(frames, h, w)))
            shown = self.keys(given).flatten(2)
            known = shown.shape[1]
            codes[:, :known] = shown
        training = self.training
        self.eval()
        try:
            slide(self, codes, known, condition, sampling)
        finally:
            self.train(training)
        return codes.view(n, -1, h, w).repeat_interleave(every, 1)[:, :frames]


def check_window(model: TATS, sampling: TATSSampling, latent_frames: int) -> None:
    """Raises ValueError for a context that leaves nothing to draw, and for videos shorter than the
    window."""
    t = model.spec.shape[0]
    if latent_frames < t:
        raise ValueError(f"this model makes {t} latent frames or more, not {latent_frames}")
    if sampling.context is not None and sampling.context >= model.frames:
        raise ValueError(f"context must be 1 to {model.frames - 1}, less than the window, "
                         f"not {sampling.context}")


def check_label(condition: Condition, classes: int, clips: int) -> None:
    """Raises ValueError unless there is a label, and nothing else, for one clip or for each."""
    if condition.keys() != {"label"}:
        raise ValueError(f"this model is conditioned on label; it got "
                         f"{', '.join(condition) or 'nothing'}")
    label = condition["label"]
    if label.ndim != 1 or label.dtype != torch.int64 or len(label) not in (1, clips):
        raise ValueError(f"label must be int64, of one clip or of each of the {clips}, not "
                         f"{str(label.dtype).removeprefix('torch.')} {tuple(label.shape)}")
    if label.min() < 0 or label.max() >= classes:
        raise ValueError(f"labels must lie in 0..{classes - 1}; got {label.min()} to "
                         f"{label.max()}")

# %% jupyter={"source_hidden": true} tags=["export:models.tats.prior"]
@dataclass(frozen=True)
class TATSConfig:
    """Sizes of a `TATS`; the defaults are those of B.2. Raises ValueError for sizes that do not fit
    together."""

    Sampling: ClassVar[type] = TATSSampling
    likelihood: ClassVar[Literal["exact", "bound"] | None] = "exact"
    extends: ClassVar[bool] = True
    dim: int = 1024
    """Width of the transformer."""
    heads: int = 16
    layers: int = 24
    hidden: int = 4096
    """Width between the two linear layers of a block."""
    dropout: float = 0.0
    every: int = 1
    """Of how many latent frames one is written: 1, or 4 where a second transformer writes those in
    between (2.3)."""
    classes: int = 0
    """Classes of the label that the model is conditioned on; 0 for none."""

    def __post_init__(self):
        check_numbers(self, "dim", "heads", "layers", "hidden", "every", least=1)
        check_numbers(self, "classes", least=0)
        check_numbers(self, "dropout", least=0, below=1)
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads ({self.heads}), not {self.dim}")

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        """The label, where there are classes."""
        label = ConditionSpec("label", "class", (), self.classes, option="classes")
        return (label,) if self.classes else ()

    def given_frames(self, latents: LatentSpec, video_shape: VideoShape) -> GivenFrames:
        """Whole latent frames, by default 1."""
        frames = latents.frames_per_latent
        most = (latents.shape[0] - 1) * frames
        return GivenFrames(0, most, frames, min(frames, most))

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> TATS:
        """The model, with new weights. Raises ValueError for latents with several codebooks."""
        if latents.codebooks != 1:
            raise ValueError(f"TATS's prior takes codes of one codebook, not {latents}")
        return TATS(self, latents)

# %%
progress()
