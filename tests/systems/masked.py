"""A system made up for the tests: codes of a video VQ-VAE, and a masked prior that fills all of them in a few rounds.

What MeBT will bring: iterative decoding with options of its own, and a likelihood that is a bound.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.configs.config import Config, DataConfig, Named
from lvlib.models.videogpt.vqvae import VideoVQVAEConfig
from lvlib.stages import Condition, ConditionSpec, GivenFrames, LatentSpec, VideoShape
from lvlib.training.config import TrainingConfig


@dataclass(frozen=True)
class MaskedSampling:
    """Rounds of decoding, and how random the order in which codes are accepted is."""

    rounds: int = 4
    noise: float = 1.0

    def __post_init__(self):
        if self.rounds < 1 or not 0 <= self.noise < math.inf:
            raise ValueError(f"rounds must be at least 1 and noise at least 0, not {self.rounds} and {self.noise}")


class MaskedPrior(nn.Module):
    """A bidirectional transformer that guesses the masked codes, told the class."""

    def __init__(self, config: "MaskedConfig", latents: LatentSpec):
        super().__init__()
        self.spec = latents
        self.embedding = nn.Embedding(latents.num_codes + 1, config.dim)  # the last one stands for a mask
        self.positions = nn.Parameter(0.02 * torch.randn(latents.tokens, config.dim))
        self.label = nn.Embedding(config.classes, config.dim)
        layer = nn.TransformerEncoderLayer(config.dim, 2, 2 * config.dim, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.out = nn.Linear(config.dim, latents.num_codes)

    def logits(self, codes: Tensor, hidden: Tensor, condition: Condition) -> Tensor:
        x = self.embedding(codes.masked_fill(hidden, self.spec.num_codes)) + self.positions
        return self.out(self.layers(x + self.label(condition["label"])[:, None]))

    def nats(self, latents: Tensor, condition: Condition, given: int) -> Tensor:
        codes = latents.flatten(1)
        hidden = torch.rand(codes.shape, device=codes.device) < torch.rand(len(codes), 1, device=codes.device)
        hidden[:, :given], hidden[:, -1] = False, True
        nats = F.cross_entropy(self.logits(codes, hidden, condition).movedim(-1, 1), codes, reduction="none")
        return (nats * hidden).sum(1) / hidden.sum(1)

    def loss(self, latents: Tensor, condition: Condition) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.nats(latents, condition, 0).mean()
        return loss, {"bits_per_dim": loss / math.log(2)}

    @torch.no_grad()
    def scores(self, latents: Tensor, condition: Condition, given_latents: int) -> dict[str, Tensor]:
        given = given_latents * math.prod(self.spec.shape[1:])
        return {"bits_per_dim": self.nats(latents, condition, given) / math.log(2)}

    @torch.no_grad()
    def sample(self, n: int, condition: Condition, given: Tensor | None, sampling: MaskedSampling,
               latent_frames: int | None = None) -> Tensor:
        codes = torch.zeros(n, self.spec.tokens, dtype=torch.int64, device=self.positions.device)
        hidden = torch.ones_like(codes, dtype=torch.bool)
        if given is not None:
            known = given.flatten(1)
            codes[:, :known.shape[1]], hidden[:, :known.shape[1]] = known, False
        label = {"label": condition["label"].expand(n)}
        for left in reversed(range(sampling.rounds)):
            guess = torch.distributions.Categorical(logits=self.logits(codes, hidden, label)).sample()
            codes = torch.where(hidden, guess, codes)
            order = torch.rand_like(codes, dtype=torch.float) * sampling.noise + (~hidden) * 1e9
            keep = self.spec.tokens * left // sampling.rounds  # stay masked
            rank = order.argsort(1).argsort(1)
            hidden = hidden & (rank < keep)
        return codes.view(n, *self.spec.shape)


@dataclass(frozen=True)
class MaskedConfig:
    """Sizes of a `MaskedPrior`."""

    Sampling: ClassVar[type] = MaskedSampling
    likelihood: ClassVar[str] = "bound"
    extends: ClassVar[bool] = False
    dim: int = 16
    classes: int = 5

    def conditions(self, video_shape: VideoShape) -> tuple[ConditionSpec, ...]:
        return (ConditionSpec("label", "class", (), self.classes, option="classes"),)

    def given_frames(self, latents: LatentSpec, video_shape: VideoShape) -> GivenFrames:
        step = latents.frames_per_latent
        return GivenFrames(0, video_shape[1] - step, step, step)

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> MaskedPrior:
        return MaskedPrior(self, latents)


vqvae = Config(DataConfig(frames=4, size=32),
               VideoVQVAEConfig(hidden=8, residual_hidden=4, residual_blocks=1, downsample=(2, 8, 8), block="plain",
                                code_dim=8), TrainingConfig(steps=4, batch=2, learning_rate=1e-3))
prior = Config(vqvae.data, vqvae.autoencoder, vqvae.training, MaskedConfig())
CONFIGS = {
    "masked-vqvae": Named(vqvae, "a small video VQ-VAE", "made up"),
    "masked": Named(prior, "a masked prior with iterative decoding", "made up"),
}
