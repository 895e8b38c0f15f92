"""A system made up for the tests: a prior that is told a text and a sound, and goes on as long as they do.

What TATS brings: tokens of a text, one text for each stretch of a long sample, and sound that passes with the frames.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from masked import vqvae
from torch import Tensor, nn

from lvlib.configs.config import Config, Named
from lvlib.data.text import STORY_TOKENS
from lvlib.stages import Condition, ConditionSpec, GivenFrames, LatentSpec, VideoShape

WORDS = 360  # of the vocabulary of the stories


@dataclass(frozen=True)
class ToldSampling:
    """How far from the most likely codes to go."""

    temperature: float = 1.0

    def __post_init__(self):
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"temperature must be above 0, not {self.temperature}")


class ToldPrior(nn.Module):
    """Each code is drawn by itself, knowing its place, the text of its stretch, and the sound of its latent frame."""

    def __init__(self, config: "ToldConfig", latents: LatentSpec):
        super().__init__()
        self.spec = latents
        self.words = nn.Embedding(WORDS, config.dim)
        self.sound = nn.Linear(latents.frames_per_latent * config.samples, config.dim)
        self.places = nn.Parameter(torch.randn(*latents.shape[1:], config.dim))
        self.out = nn.Linear(config.dim, latents.num_codes)

    def logits(self, condition: Condition, latent_frames: int) -> Tensor:
        """(1 or n, t, h, w, codes)"""
        text, sound = condition["text"], condition["audio"]
        text = self.words(text if text.ndim == 3 else text[:, None]).mean(2)
        text = text.repeat_interleave(self.spec.shape[0] if text.shape[1] > 1 else latent_frames, 1)[:, :latent_frames]
        told = text + self.sound(sound.view(len(sound), latent_frames, -1))
        return self.out((told[:, :, None, None] + self.places).tanh())

    def nats(self, latents: Tensor, condition: Condition) -> Tensor:
        logits = self.logits(condition, latents.shape[1]).expand(len(latents), -1, -1, -1, -1)
        return F.cross_entropy(logits.movedim(-1, 1), latents, reduction="none")

    def loss(self, latents: Tensor, condition: Condition) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.nats(latents, condition).mean()
        return loss, {"bits_per_dim": loss / math.log(2)}

    @torch.no_grad()
    def scores(self, latents: Tensor, condition: Condition, given_latents: int) -> dict[str, Tensor]:
        return {"bits_per_dim": self.nats(latents, condition)[:, given_latents:].flatten(1).mean(1) / math.log(2)}

    @torch.no_grad()
    def sample(self, n: int, condition: Condition, given: Tensor | None, sampling: ToldSampling,
               latent_frames: int | None = None) -> Tensor:
        logits = self.logits(condition, latent_frames or self.spec.shape[0]) / sampling.temperature
        logits = logits.expand(n, -1, -1, -1, -1)
        gumbel = -torch.empty_like(logits).exponential_().log()
        codes = (logits + gumbel).argmax(-1)
        if given is not None:
            codes[:, :given.shape[1]] = given
        return codes


@dataclass(frozen=True)
class ToldConfig:
    """Sizes of a `ToldPrior`."""

    Sampling: ClassVar[type] = ToldSampling
    likelihood: ClassVar[str] = "exact"
    extends: ClassVar[bool] = True
    dim: int = 16
    samples: int = 400
    """Of sound, for each frame of video."""

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        return (ConditionSpec("text", "tokens", (STORY_TOKENS,), WORDS, tokenizer="stories"),
                ConditionSpec("audio", "signal", (video_shape[1], self.samples)))

    def given_frames(self, latents: LatentSpec, video_shape: VideoShape) -> GivenFrames:
        step = latents.frames_per_latent
        return GivenFrames(0, video_shape[1] - step, step, step)

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> ToldPrior:
        return ToldPrior(self, latents)


prior = Config(vqvae.data, vqvae.autoencoder, vqvae.training, ToldConfig())
CONFIGS = {"told": Named(prior, "a prior that is told a text and a sound", "made up")}
