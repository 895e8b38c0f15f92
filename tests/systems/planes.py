"""A system made up for the tests: three continuous planes of a GAN autoencoder, a denoiser over them, and a refiner.

What PVDM and TATS will bring: two optimizers, planes, no likelihood, long samples, a network that completes another's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.configs.config import Config, DataConfig, Named
from lvlib.stages import Condition, GivenFrames, LatentSpec, Metrics, VideoShape
from lvlib.training.config import TrainingConfig

PATCH = 4


class PlanesAutoencoder(nn.Module):
    """Means over time, height and width of patches, each a plane; and a discriminator of frames."""

    def __init__(self, config: "PlanesConfig"):
        super().__init__()
        self.channels = config.channels
        self.encoder = nn.Conv3d(config.channels, config.dim, (1, PATCH, PATCH), (1, PATCH, PATCH))
        self.decoder = nn.ConvTranspose3d(3 * config.dim, config.channels, (1, PATCH, PATCH), (1, PATCH, PATCH))
        self.discriminator = nn.Sequential(nn.Conv2d(config.channels, 4, 4, 4), nn.ReLU(), nn.Conv2d(4, 1, 1))

    def planes(self, video: Tensor) -> list[Tensor]:
        z = self.encoder(video).tanh()
        return [z.mean(2), z.mean(3), z.mean(4)]

    def video(self, planes: list[Tensor]) -> Tensor:
        hw, tw, th = planes
        volume = torch.broadcast_tensors(hw[:, :, None], tw[:, :, :, None], th[..., None])
        return self.decoder(torch.cat(volume, 1))

    def optimizers(self) -> dict[str, list[nn.Parameter]]:
        return {"generator": [*self.encoder.parameters(), *self.decoder.parameters()],
                "discriminator": [*self.discriminator.parameters()]}

    def losses(self, video: Tensor, *, step: int) -> Iterator[tuple[str, Tensor, Metrics]]:
        rebuilt = self.video(self.planes(video))
        real, fake = (clip.movedim(2, 1).flatten(0, 1) for clip in (video, rebuilt))
        l1 = F.l1_loss(rebuilt, video)
        yield "generator", l1 - 0.1 * (step > 2) * self.discriminator(fake).mean(), {"l1": l1}
        scores = self.discriminator(real), self.discriminator(fake.detach())
        yield "discriminator", F.relu(1 - scores[0]).mean() + F.relu(1 + scores[1]).mean(), {}

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        return torch.cat([plane.flatten(2) for plane in self.planes(video)], -1)

    def encode_start(self, frames: Tensor, clip_frames: int) -> Tensor:
        return self.encode(frames[:, :, -1:].expand(-1, -1, clip_frames, -1, -1))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        t = (latents.shape[2] - 64) // 16  # planes of 8 x 8, t x 8 and t x 8
        return self.video(LatentSpec((), planes=((8, 8), (t, 8), (t, 8))).split_planes(latents)).clamp(-1, 1)


@dataclass(frozen=True)
class PlanesConfig:
    """Sizes of a `PlanesAutoencoder`, for frames of 32 x 32."""
    frame_by_frame: ClassVar[bool] = False
    channels: int = 3
    dim: int = 4

    def latents(self, video_shape: VideoShape) -> LatentSpec:
        t, h, w = video_shape[1], video_shape[2] // PATCH, video_shape[3] // PATCH
        if (h, w) != (8, 8):
            raise ValueError(f"frames must be 32 x 32, not {video_shape[2]} x {video_shape[3]}")
        return LatentSpec((self.dim, h * w + t * w + t * h), planes=((h, w), (t, w), (t, h)))

    def build(self) -> PlanesAutoencoder:
        return PlanesAutoencoder(self)


@dataclass(frozen=True)
class DenoisingSampling:
    """Steps of denoising."""
    steps: int = 3
    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps}")


class Denoiser(nn.Module):
    """Predicts noise in the planes; and, as a refiner, sharpens them once more."""

    def __init__(self, latents: LatentSpec):
        super().__init__()
        self.spec = latents
        self.layers = nn.Sequential(nn.Conv1d(latents.shape[0], 8, 1), nn.GELU(), nn.Conv1d(8, latents.shape[0], 1))

    def loss(self, latents: Tensor, condition: Condition) -> tuple[Tensor, Metrics]:
        noise = torch.randn_like(latents)
        loss = F.mse_loss(self.layers(latents + noise), noise)
        return loss, {"noise_mse": loss}

    def scores(self, latents: Tensor, condition: Condition, given_latents: int) -> dict[str, Tensor]:
        return {}

    @torch.no_grad()
    def sample(self, n: int, condition: Condition, given: Tensor | None, sampling: DenoisingSampling,
               latent_frames: int | None = None) -> Tensor:
        positions = self.spec.shape[1] if latent_frames is None else 64 + 16 * latent_frames
        x = torch.randn(n, self.spec.shape[0], positions, device=self.layers[0].weight.device)
        for _ in range(sampling.steps):
            x = x - self.layers(x) / sampling.steps
        return x

    def refine(self, latents: Tensor, condition: Condition, sampling: DenoisingSampling) -> Tensor:
        return latents - self.layers(latents) / sampling.steps


@dataclass(frozen=True)
class DenoiserConfig:
    """A `Denoiser`, as a prior or as a refiner."""
    Sampling: ClassVar[type] = DenoisingSampling
    likelihood: ClassVar[None] = None
    extends: ClassVar[bool] = True

    def conditions(self, video_shape: VideoShape) -> tuple:
        return ()

    def given_frames(self, latents: LatentSpec, video_shape: VideoShape) -> GivenFrames:
        return GivenFrames(0, 0)

    prior_frames, check_prior = staticmethod(lambda frames: frames), staticmethod(lambda prior: None)

    def build(self, latents: LatentSpec, video_shape: VideoShape) -> Denoiser:
        return Denoiser(latents)


gan = Config(DataConfig(frames=4, size=32), PlanesConfig(),
             TrainingConfig(steps=4, batch=2, learning_rate=1e-3, accumulate=2, ema_decay=0.5))
prior = Config(gan.data, gan.autoencoder, TrainingConfig(steps=4, batch=2, learning_rate=1e-3), DenoiserConfig())
refiner = Config(gan.data, gan.autoencoder, prior.training, DenoiserConfig(), DenoiserConfig())
CONFIGS = {
    "planes-gan": Named(gan, "three planes of a clip, with a discriminator", "made up"),
    "planes": Named(prior, "a denoiser over the planes", "made up"),
    "planes-refiner": Named(refiner, "a second denoiser over what the first one makes", "made up"),
}
