# Never edit this file: `python -m lvlib.course build` makes it from solutions/16_interpolation_attention.py.
"""TATS's interpolation transformer: writes the latent frames between two that are there. TATS,
section 2.3 and A.4."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.common.attention import GPTBlock
from lvlib.models.common.checks import check_codes, check_numbers, check_shape
from lvlib.models.tats.conditions import LabelWord, words_before
from lvlib.models.tats.prior import TATSConfig
from lvlib.models.tats.sampling import CodeSampling, Decoding, draw
from lvlib.stages import Condition, ConditionSpec, LatentSpec, PriorConfig, VideoShape


@dataclass(frozen=True)
class InterpolationCausal:
    """Interpolation causal attention, Fig. 14(c), in a row of two anchors and what lies between.

    first: places up to the end of the first anchor. middle: places between the anchors.
    """

    first: int
    middle: int

    def is_anchor(self, place: Tensor) -> Tensor:
        """bool: does the place, int64 of any shape, belong to an anchor, or stand before one?"""
        return (place < self.first) | (place >= self.first + self.middle)

    def allows(self, query: Tensor, key: Tensor) -> Tensor:
        """bool: may the place `query` look at the place `key`? Integers, of shapes that broadcast.

        Each place sees the anchors; a place in the middle itself and the middle before it, too.
        """
        return self.is_anchor(key) | (~self.is_anchor(query) & (key <= query))


def middle_outputs(outputs: Tensor, pattern: InterpolationCausal) -> Tensor:
    """Of the outputs of all places (b, places, ...) those that predict the middle's codes, in their
    order: (b, middle, ...). A place predicts the code of the place after it."""
    return outputs[:, pattern.first - 1:pattern.first + pattern.middle - 1]


def spans(latents: Tensor, every: int) -> Tensor:
    """Latents (b, t, h, w), t > every -> all stretches from one anchor to the next, both with it:
    (b, gaps, every + 1, h, w). Anchors are the frames 0, every, 2 * every, ..."""
    return latents.unfold(1, every + 1, every).movedim(-1, 2)


class Interpolation(nn.Module):
    """Completes latents of which every `config.every`-th frame is there. Section 2.3, A.4.

    A row: the label, or a token for the start; the first anchor; the middle; the last anchor."""

    def __init__(self, config: "InterpolationConfig", latents: LatentSpec):
        super().__init__()
        self.config, self.spec, dim = config, latents, config.dim
        self.told = nn.ModuleList([LabelWord(config.classes)] if config.classes else [])
        self.words = config.classes or 1  # one vocabulary: these, then the codes
        self.frame = math.prod(latents.shape[1:])  # codes of one
        self.pattern = InterpolationCausal(1 + self.frame, (config.every - 1) * self.frame)
        self.embedding = nn.Embedding(self.words + latents.num_codes, dim)
        self.positions = nn.Parameter(torch.zeros(1 + (config.every + 1) * self.frame, dim))
        self.blocks = nn.ModuleList(
            GPTBlock(dim, config.heads, config.hidden, config.dropout, self.pattern)
            for _ in range(config.layers))
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, latents.num_codes, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def word(self, condition: Condition, clips: int, gaps: int) -> Tensor:
        """What stands before each gap of each clip: int64 (clips * gaps, 1)."""
        word = words_before(self.told, condition, clips, 0, self.positions.device)
        return word.repeat_interleave(gaps, 0)

    def vectors(self, word: Tensor, codes: Tensor) -> Tensor:
        """(b, 1) or (b, 0), and codes (b, n) -> vectors of all, without positions."""
        return self.embedding(torch.cat([word, codes + self.words], 1))

    def outputs(self, word: Tensor, codes: Tensor) -> Tensor:
        """Of all places: (b, 1), and codes (b, (every + 1) * h * w) -> (b, places, dim)."""
        x = self.vectors(word, codes) + self.positions
        for block in self.blocks:
            x = block(x)
        return x

    def logits(self, word: Tensor, codes: Tensor) -> Tensor:
        """Of each code in the middle, of the same rows: (b, middle, num_codes)."""
        return self.out(self.norm(middle_outputs(self.outputs(word, codes), self.pattern)))

    def loss(self, latents: Tensor, condition: Condition) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats a code between the anchors, and the same in bits: int64 (b, t, h, w) -> (),
        {"bits_per_dim": ()}. While it trains, the first anchor is a random frame."""
        check_shape(latents, self.spec)
        every, t = self.config.every, latents.shape[1]
        start = int(torch.randint(min(every, t - every), ())) if self.training else 0
        rows = spans(latents[:, start:], every)
        word = self.word(condition, *rows.shape[:2])
        codes = rearrange(rows, "b s t h w -> (b s) (t h w)")
        targets = codes[:, self.frame:-self.frame]
        loss = F.cross_entropy(self.logits(word, codes).flatten(0, 1).float(), targets.flatten())
        return loss, {"bits_per_dim": loss / math.log(2)}

    def refine(self, latents: Tensor, condition: Condition,
               sampling: CodeSampling | None = None) -> Tensor:
        """As `fill_gaps`."""
        return fill_gaps(self, latents, condition, sampling or self.config.Sampling())


@torch.inference_mode()
def decode_middle(model: Interpolation, word: Tensor, anchors: Tensor,
                  codes: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yields each place of the middle with its logits (b, num_codes), given the word (b, 1) before
    the row, both anchors' codes (b, 2 * h * w), and what stands before it in codes (b, middle) by
    then. The same numbers as `logits`."""
    first, middle = model.pattern.first, model.pattern.middle
    decoding = Decoding(model, len(anchors), len(model.positions))
    ends = torch.cat([model.positions[:first], model.positions[first + middle:]])
    read = decoding.read(model.vectors(word, anchors) + ends, causal=False)
    yield 0, model.out(read[:, first - 1])
    for i in range(middle - 1):
        x = model.vectors(word[:, :0], codes[:, i:i + 1]) + model.positions[first + i]
        yield i + 1, model.out(decoding.read(x)[:, 0])


@torch.no_grad()
def fill_gaps(model: Interpolation, latents: Tensor, condition: Condition,
              sampling: CodeSampling) -> Tensor:
    """Codes int64 (b, t, h, w), of which every `config.every`-th frame counts -> the same, with
    those in between drawn, too; all gaps at once. After the last anchor nothing changes.

    Raises ValueError for latents without a gap, of another shape, or condition.
    """
    every, training = model.config.every, model.training
    check_anchored(latents, model.spec, every)
    rows = spans(latents, every)
    b, gaps, _, h, w = rows.shape
    words = model.word(condition, b, gaps)
    anchors = rearrange(rows[:, :, [0, -1]], "b s t h w -> (b s) (t h w)")
    drawn = anchors.new_empty(b * gaps, model.pattern.middle)
    model.eval()
    try:
        for start in range(0, b * gaps, TOGETHER):
            part = slice(start, start + TOGETHER)
            for i, logits in decode_middle(model, words[part], anchors[part], drawn[part]):
                drawn[part, i] = draw(logits, sampling)
    finally:
        model.train(training)
    complete = latents.clone()
    gap = complete[:, :gaps * every].unflatten(1, (gaps, every))[:, :, 1:]  # a view
    gap.copy_(rearrange(drawn, "(b s) (t h w) -> b s t h w", b=b, h=h, w=w))
    return complete


TOGETHER = 64  # gaps that are filled at once


def check_anchored(latents: Tensor, spec: LatentSpec, every: int) -> None:
    """Raises ValueError unless these are codes of the spec, however many frames, with a gap."""
    _, h, w = spec.shape
    if latents.ndim != 4 or latents.shape[2:] != (h, w) or latents.shape[1] <= every:
        raise ValueError(f"codes must be of shape (b, more than {every}, {h}, {w}), not "
                         f"{tuple(latents.shape)}")
    check_codes(latents, spec)


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

    def check_prior(self, prior: PriorConfig) -> None:
        """Raises ValueError unless the prior writes just the frames that are anchors here."""
        if not isinstance(prior, TATSConfig) or prior.every != self.every:
            raise ValueError(f"the prior must be TATS's, and its every {self.every}: "
                             "set prior.every and refiner.every to the same")

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> Interpolation:
        """The model, with new weights. Raises ValueError for clips without two anchors."""
        if latents.codebooks != 1:
            raise ValueError(f"interpolation takes codes of one codebook, not {latents}")
        if latents.shape[0] <= self.every:
            raise ValueError(f"clips must have more than {self.every} latent frames, so that there "
                             f"are two anchors, not {latents.shape[0]}")
        return Interpolation(self, latents)
