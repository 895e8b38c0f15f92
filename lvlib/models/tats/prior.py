# Never edit this file: `python -m lvlib.course build` makes it from solutions/15_long_videos.py and
# solutions/17_text_and_sound.py.
"""TATS's prior: a causal transformer over the codes of a clip, and of every fourth latent frame of
a longer one. TATS, sections 2.1 and 2.3."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.attention import GPTBlock
from lvlib.models.common.checks import (
    check_choice,
    check_codes,
    check_given,
    check_given_latents,
    check_numbers,
    check_shape,
)
from lvlib.models.tats.conditions import (
    WORDS,
    ActionWords,
    ConditionWords,
    LabelWord,
    SoundWords,
    TextWords,
    Tokenizer,
    words_before,
)
from lvlib.models.tats.sampling import TATSSampling, slide
from lvlib.stages import Condition, ConditionSpec, GivenFrames, LatentSpec, VideoShape


class TATSTransformer(nn.Module):
    """A causal transformer over codes in raster order, after the words that tell it of the clip.

    Section 2.1. config.every: 1 for all latent frames (TATS-base), 4 for every fourth (the first
    half of TATS-hierarchical, 2.3). Positions are learned, one for each place of the row.
    """

    def __init__(self, config: "TATSConfig", latents: LatentSpec,
                 told: Iterable[ConditionWords] = ()):
        super().__init__()
        self.config, self.spec, dim = config, latents, config.dim
        self.told = nn.ModuleList(told)
        self.frames = -(-latents.shape[0] // config.every)
        self.n = self.frames * math.prod(latents.shape[1:])
        # One vocabulary: the words of what it is told, or a token for the start; then the codes.
        self.words = sum(one.words for one in self.told) or 1
        self.before = sum(one.length for one in self.told) or 1
        self.embedding = nn.Embedding(self.words + latents.num_codes, dim)
        self.positions = nn.Parameter(torch.zeros(self.before + self.n - 1, dim))
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

    def prefix(self, condition: Condition, clips: int, start: int) -> Tensor:
        """What stands before the codes of a window from latent frame `start` on: (clips, before,
        dim). Raises ValueError for a condition that does not fit."""
        return self.embedding(words_before(self.told, condition, clips, start,
                                           self.positions.device))

    def keys(self, latents: Tensor) -> Tensor:
        """The latent frames that the model is of: (b, t, h, w) -> (b, frames, h, w)."""
        return latents[:, ::self.config.every]

    def logits(self, latents: Tensor, condition: Condition) -> Tensor:
        """Of each code of the clips' key frames, given those before it: (b, t, h, w) -> (b, n,
        num_codes)."""
        codes = self.keys(latents).flatten(1)
        prefix = self.prefix(condition, len(codes), 0)
        x = torch.cat([prefix, self.code_vectors(codes[:, :-1])], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x[:, self.before - 1:]))


class TATS(TATSTransformer):
    """A prior over the codes of clips, which writes videos of any length. Section 2."""

    def nll(self, latents: Tensor, condition: Condition) -> Tensor:
        """Nats of each code: (b, t, h, w) -> (b, n). Raises ValueError for another shape, or
        condition."""
        check_shape(latents, self.spec)
        logits = self.logits(latents, condition).flatten(0, 1).float()
        targets = self.keys(latents).flatten()
        return F.cross_entropy(logits, targets, reduction="none").view(len(latents), -1)

    def loss(self, latents: Tensor, condition: Condition) -> tuple[Tensor, dict[str, Tensor]]:
        """Nats a code, and what the words of the condition have to learn: int64 (b, t, h, w) -> (),
        {"bits_per_dim": ()}, which is of the codes alone."""
        nats = self.nll(latents, condition).mean()
        learned = sum(one.loss(condition[one.name]) for one in self.told)
        return nats + learned, {"bits_per_dim": nats / math.log(2)}

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
        return sample_video(self, n, condition, given, sampling or TATSSampling(), latent_frames)


def sample_video(model: TATS, n: int, condition: Condition, given: Tensor | None,
                 sampling: TATSSampling, latent_frames: int | None) -> Tensor:
    """`TATS.sample`: all codes of a video, without dropout."""
    (t, h, w), every = model.spec.shape, model.config.every
    frames = t if latent_frames is None else latent_frames
    check_window(model, sampling, frames)
    codes = model.positions.new_zeros(n, -(-frames // every), h * w, dtype=torch.int64)
    known = 0
    if given is not None:
        check_given(given, n, replace(model.spec, shape=(frames, h, w)))
        shown = model.keys(given).flatten(2)
        known = shown.shape[1]
        codes[:, :known] = shown
    training = model.training
    model.eval()
    try:
        slide(model, codes, known, condition, sampling)
    finally:
        model.train(training)
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


# Introduced in solutions/17_text_and_sound.py
@dataclass(frozen=True)
class TATSConfig:
    """Sizes of a `TATS`; the defaults are those of B.2. Raises ValueError where they do not fit."""

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
    """One of so many latent frames is written: of 1, or of 4, where a second model adds others."""
    classes: int = 0
    """Classes of the label that the model is conditioned on; 0 for none."""
    text: int = 0
    """Tokens of the text that it is told; 0 for none. CLIP's texts have 77, the stories 16."""
    tokenizer: Tokenizer = "clip"
    """How a text is written: clip, or stories, the course's own."""
    audio: int = 0
    """Samples of the sound that it hears for each frame of video, a multiple of 4; 0 for none."""
    audio_codes: int = 1024
    """Codes of sound; the paper does not say how many."""
    actions: int = 0
    """Buttons, each 0 or 1 in each frame of video, that it is told; 0 for none, and 16 at most."""

    def __post_init__(self):
        check_numbers(self, "dim", "heads", "layers", "hidden", "every", "audio_codes", least=1)
        check_numbers(self, "classes", "text", "audio", least=0)
        check_numbers(self, "actions", least=0, below=17)  # a row of the embedding for each word
        check_choice(self, "tokenizer", get_args(Tokenizer))
        check_numbers(self, "dropout", least=0, below=1)
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads ({self.heads}), not {self.dim}")

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        """The label, the text, the sound and the buttons: those that it is told."""
        frames = video_shape[1]
        specs = (ConditionSpec("label", "class", (), self.classes, option="classes"),
                 ConditionSpec("text", "tokens", (self.text,), WORDS[self.tokenizer], "text",
                               self.tokenizer),
                 ConditionSpec("audio", "signal", (frames, self.audio), option="audio"),
                 ConditionSpec("actions", "per-frame", (frames, self.actions), option="actions"))
        return tuple(spec for spec in specs if getattr(self, spec.option))

    def given_frames(self, latents: LatentSpec, video_shape: VideoShape) -> GivenFrames:
        """Whole latent frames, by default 1; of a model of key frames the first key frame alone."""
        frames = latents.frames_per_latent
        most = (latents.shape[0] - 1 if self.every == 1 else 1) * frames
        return GivenFrames(0, most, frames, min(frames, most))

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> TATS:
        """The model, with new weights. Raises ValueError for latents with several codebooks, and
        for a number of samples that does not fit."""
        if latents.codebooks != 1:
            raise ValueError(f"TATS's prior takes codes of one codebook, not {latents}")
        return TATS(self, latents, words_of(self, latents))


def words_of(config: TATSConfig, latents: LatentSpec) -> list[ConditionWords]:
    """One for each thing that a model of these sizes is told."""
    window, frames = -(-latents.shape[0] // config.every), config.every * latents.frames_per_latent
    told: list[ConditionWords] = []
    if config.classes:
        told.append(LabelWord(config.classes))
    if config.text:
        told.append(TextWords(WORDS[config.tokenizer], config.text, window))
    if config.audio:
        told.append(SoundWords(config.audio_codes, window, frames, config.audio))
    if config.actions:
        told.append(ActionWords(config.actions, window, frames))
    return told
