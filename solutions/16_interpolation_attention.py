# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 16 · Interpolation attention: what lies between

# %% jupyter={"source_hidden": true}
import os

from lvlib.course import progress

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% jupyter={"source_hidden": true} tags=["export:models.tats.interpolation"]
"""TATS's interpolation transformer: writes the latent frames between two that are there. TATS,
section 2.3 and A.4."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.common.attention import GPTBlock
from lvlib.models.common.checks import check_numbers, check_shape
from lvlib.models.tats.conditions import LabelWord, words_before
from lvlib.models.tats.sampling import CodeSampling, Decoding, draw
from lvlib.stages import Condition, ConditionSpec, LatentSpec, VideoShape


# %% tags=["export:models.tats.interpolation"]
@dataclass(frozen=True)
class InterpolationCausal:
    """Interpolation causal attention, Fig. 14(c): a place sees the anchors at both ends; one in
    the middle, itself and those before it, too.

    first: places up to the end of the first anchor. middle: places between the anchors.
    """

    first: int
    middle: int

    def is_anchor(self, place: Tensor) -> Tensor:
        """bool: does the place (int64, any shape) belong to an anchor, or stand before it?"""
        return (place < self.first) | (place >= self.first + self.middle)

    def allows(self, query: Tensor, key: Tensor) -> Tensor:
        """bool: may the place `query` look at the place `key`? Integers, of shapes that
        broadcast."""
        return self.is_anchor(key) | (~self.is_anchor(query) & (key <= query))

# %% tags=["export:models.tats.interpolation"]
class Interpolation(nn.Module):
    """Completes latents of which every `config.every`-th frame is there. Section 2.3, A.4.

    A row: the label, if there is one; the first anchor; the frames in between; the last anchor.
    """

    def __init__(self, config: "InterpolationConfig", latents: LatentSpec):
        super().__init__()
        self.config, self.spec, dim = config, latents, config.dim
        self.frame = math.prod(latents.shape[1:])
        self.words = config.classes
        self.told = min(config.classes, 1)  # places before the first anchor
        self.first, self.middle = self.told + self.frame, (config.every - 1) * self.frame
        self.places = self.first + self.middle + self.frame
        self.embedding = nn.Embedding(self.words + latents.num_codes, dim)
        self.positions = nn.Parameter(torch.zeros(self.places, dim))
        pattern = InterpolationCausal(self.first, self.middle)
        self.blocks = nn.ModuleList(
            GPTBlock(dim, config.heads, config.hidden, config.dropout, pattern)
            for _ in range(config.layers))
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, latents.num_codes, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def row(self, label: Tensor | None, codes: Tensor) -> Tensor:
        """Codes (b, n) of latent frames, and what stands before them -> vectors without positions
        (b, told + n, dim)."""
        x = self.embedding(codes + self.words)
        return x if label is None else torch.cat([self.embedding(label)[:, None], x], 1)

    def logits(self, label: Tensor | None, codes: Tensor) -> Tensor:
        """Of each code in the middle, given the anchors and those before it: all codes of rows (b,
        frames x codes of one) -> (b, middle, num_codes)."""
        x = self.row(label, codes) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x[:, self.first - 1:self.first + self.middle - 1]))

    def loss(self, latents: Tensor, condition: Condition) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats a code between the anchors, and the same in bits: int64 (b, t, h, w) -> (),
        {"bits_per_dim": ()}.

        Anchors are every `config.every`-th latent frame, from a random one on while it trains. The
        official code counts the anchors' own codes, too, which the model sees.
        """
        check_shape(latents, self.spec)
        every, t = self.config.every, latents.shape[1]
        offset = int(torch.randint(min(every, t - every), ())) if self.training else 0
        spans = latents[:, offset:].unfold(1, every + 1, every)  # (b, spans, h, w, every + 1)
        codes = rearrange(spans, "b s h w t -> (b s) (t h w)")
        label = self.labels(condition, len(latents))
        label = None if label is None else label.repeat_interleave(spans.shape[1])
        targets = codes[:, self.frame:-self.frame]
        loss = F.cross_entropy(self.logits(label, codes).flatten(0, 1).float(), targets.flatten())
        return loss, {"bits_per_dim": loss / math.log(2)}

    def labels(self, condition: Condition, clips: int) -> Tensor | None:
        """int64 (clips,), or None. Raises ValueError for a condition that does not fit."""
        told = [LabelWord(self.config.classes)] if self.config.classes else []
        words = words_before(told, condition, clips, 0, self.positions)
        return words[:, 0] if told else None

    @torch.no_grad()
    def refine(self, latents: Tensor, condition: Condition,
               sampling: CodeSampling | None = None) -> Tensor:
        """Codes int64 (b, t, h, w), of which every `config.every`-th frame counts -> the same, with
        those in between drawn, too; all gaps at once. After the last anchor nothing changes."""
        b, every = len(latents), self.config.every
        spans = latents[:, ::every].unfold(1, 2, 1)  # (b, gaps, h, w, 2)
        gaps = spans.shape[1]
        anchors = rearrange(spans, "b s h w t -> (b s) t (h w)")
        label = self.labels(condition, b)
        label = None if label is None else label.repeat_interleave(gaps)
        training = self.training
        self.eval()
        try:
            middle = [self.between(None if label is None else label[i:i + TOGETHER],
                                   anchors[i:i + TOGETHER], sampling or self.config.Sampling())
                      for i in range(0, len(anchors), TOGETHER)]
        finally:
            self.train(training)
        drawn = rearrange(torch.cat(middle), "(b s) (t h w) -> b s t h w", b=b, t=every - 1,
                          h=latents.shape[2])
        complete = latents.clone()
        for i in range(1, every):
            complete[:, i:gaps * every:every] = drawn[:, :, i - 1]
        return complete

    @torch.inference_mode()
    def between(self, label: Tensor | None, anchors: Tensor, sampling: CodeSampling) -> Tensor:
        """Codes of both anchors (b, 2, codes of one) -> those between them (b, middle), drawn as
        they were learned: each place with its own position, and what it saw."""
        decoding = Decoding(self, len(anchors), self.places)
        ends = [slice(self.first), slice(self.first + self.middle, None)]
        positions = torch.cat([self.positions[end] for end in ends])
        logits = decoding.read(self.row(label, anchors.flatten(1)) + positions, causal=False)
        codes, last = anchors.new_zeros(len(anchors), self.middle), logits[:, self.first - 1]
        for i in range(self.middle):
            codes[:, i] = draw(last, sampling)
            x = self.row(None, codes[:, i:i + 1]) + self.positions[self.first + i]
            last = decoding.read(x)[:, -1] if i + 1 < self.middle else last
        return codes


TOGETHER = 64  # gaps that are filled at once

# %% jupyter={"source_hidden": true} tags=["export:models.tats.interpolation"]
@dataclass(frozen=True)
class InterpolationSampling(CodeSampling):
    """How to draw what lies between. B.2: smaller k and p than those of the prior do better; which,
    it does not say."""

    top_k: int = 512
    top_p: float = 0.6


@dataclass(frozen=True)
class InterpolationConfig:
    """Sizes of an `Interpolation`; the defaults are those of B.2. Raises ValueError for sizes that
    do not fit together."""

    Sampling: ClassVar[type] = InterpolationSampling
    dim: int = 1024
    """Width of the transformer."""
    heads: int = 16
    layers: int = 24
    hidden: int = 4096
    """Width between the two linear layers of a block."""
    dropout: float = 0.0
    every: int = 4
    """Every how many latent frames one is there: as the prior's."""
    classes: int = 0
    """Classes of the label that the model is conditioned on; 0 for none."""

    def __post_init__(self):
        check_numbers(self, "dim", "heads", "layers", "hidden", least=1)
        check_numbers(self, "every", least=2)
        check_numbers(self, "classes", least=0)
        check_numbers(self, "dropout", least=0, below=1)
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads ({self.heads}), not {self.dim}")

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        """The label, where there are classes."""
        label = ConditionSpec("label", "class", (), self.classes, option="classes")
        return (label,) if self.classes else ()

    def prior_frames(self, latent_frames: int) -> int:
        """Latent frames that the prior has to make for so many: up to an anchor after the last."""
        return -(-(latent_frames - 1) // self.every) * self.every + 1

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> Interpolation:
        """The model, with new weights. Raises ValueError for clips without two anchors."""
        if latents.codebooks != 1:
            raise ValueError(f"interpolation takes codes of one codebook, not {latents}")
        if latents.shape[0] <= self.every:
            raise ValueError(f"clips must have more than {self.every} latent frames, so that there "
                             f"are two anchors, not {latents.shape[0]}")
        return Interpolation(self, latents)

# %%
progress()
