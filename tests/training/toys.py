"""Small models and data for the tests of training. Also imported by the scripts that the tests start."""

import json
import random
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lvlib.models.common.quantize import EMACodebook
from lvlib.models.lvt.frame_vqvae import FrameVQVAE, FrameVQVAEConfig
from lvlib.models.lvt.prior import LatentVideoTransformer, LVTConfig
from lvlib.models.videogpt.prior import VideoGPT, VideoGPTConfig
from lvlib.stages import LatentSpec
from lvlib.training import TrainingConfig

sys.path.append(str(Path(__file__).parents[1] / "systems"))  # whose made-up GAN is trained here, too
from planes import PlanesAutoencoder, PlanesConfig  # noqa: E402


class Clips(torch.utils.data.Dataset):
    """Smooth random clips, uint8 (2, 8, 8, 3), a function of the index alone."""

    def __init__(self, clips: int = 23):
        self.clips = clips

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, index: int) -> dict:
        noise = torch.rand(1, 3, 2, 2, 2, generator=torch.Generator().manual_seed(index))
        smooth = nn.functional.interpolate(noise, (2, 8, 8), mode="trilinear", align_corners=True)[0]
        return {"video": (smooth * 255).to(torch.uint8).permute(1, 2, 3, 0).numpy(), "text": "a clip"}


class RandomCrops(Clips):
    """Clips that draw from each of the three global random generators."""

    def __getitem__(self, index: int) -> dict:
        video = super().__getitem__(index)["video"] // 2
        shift = random.randrange(8) + np.random.randint(8) + int(torch.randint(8, ()))
        return {"video": np.roll(video, shift, axis=2)}


class Codes(torch.utils.data.Dataset):
    """Random codes, int64 (4, 4, 4, 2), a function of the index alone."""

    def __init__(self, clips: int = 23):
        self.clips = clips

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, index: int) -> dict:
        return {"latents": np.random.default_rng(index).integers(8, size=(4, 4, 4, 2))}


class ConditionedCodes(Codes):
    """Random codes, int64 (2, 2, 2), with a label, actions (4, 2) and a frame (1, 8, 8, 3)."""

    def __getitem__(self, index: int) -> dict:
        random = np.random.default_rng(index)
        condition = {"label": random.integers(5), "actions": random.normal(size=(4, 2)).astype(np.float32),
                     "frames": random.integers(256, size=(1, 8, 8, 3), dtype=np.uint8)}
        return {"latents": random.integers(8, size=(2, 2, 2)), "condition": condition}


class Line(nn.Module):
    """One convolution that learns to be the identity, on noisy video."""

    def __init__(self, noise: float = 0.1):
        super().__init__()
        self.conv = nn.Conv3d(3, 3, (1, 3, 3), padding=(0, 1, 1))
        self.noise = noise
        self.register_buffer("batches", torch.zeros(()))
        self.hook = lambda batches: None  # for tests: what happens inside a step

    def loss(self, video):
        if self.training:
            self.batches += 1
            self.hook(int(self.batches))
        error = self.conv(video + self.noise * torch.randn_like(video)) - video
        return error.square().mean(), {"largest_error": error.abs().max()}


class Centred(Line):
    """Subtracts a running mean, which each process takes over its own clips."""

    def __init__(self):
        super().__init__(noise=0)
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1, 1))

    def loss(self, video):
        if self.training:
            self.mean.lerp_(video.mean((0, 2, 3, 4), keepdim=True), 0.3)
        return super().loss(video - self.mean)


class GAN(nn.Module):
    """An autoencoder with a codebook and a discriminator that starts at step 3."""

    def __init__(self, codebook: nn.Module):
        super().__init__()
        self.encoder = nn.Conv3d(3, 4, (1, 2, 2), stride=(1, 2, 2))
        self.decoder = nn.ConvTranspose3d(4, 3, (1, 2, 2), stride=(1, 2, 2))
        self.codebook = codebook
        self.discriminator = nn.Sequential(nn.Conv3d(3, 4, 2, stride=2), nn.LeakyReLU(0.2), nn.Conv3d(4, 1, 1))
        self.hook = lambda step: None  # for tests: what happens inside a step

    def optimizers(self):
        generator = [*self.encoder.parameters(), *self.decoder.parameters(), *self.codebook.parameters()]
        return {"generator": generator, "discriminator": list(self.discriminator.parameters())}

    def losses(self, video, step):
        if self.training:
            self.hook(step)
        z = self.encoder(video).movedim(1, -1)
        q, _, codebook_loss, metrics = self.codebook(z)
        made = self.decoder(q.movedim(-1, 1))
        loss = (made - video).square().mean() + codebook_loss
        yield "generator", loss - (0.1 * self.discriminator(made).mean() if step >= 3 else 0), metrics
        if step >= 3:
            real, fake = self.discriminator(video), self.discriminator(made.detach())
            yield "discriminator", (1 - real).relu().mean() + (1 + fake).relu().mean(), {"margin": (real - fake).mean()}


class DoublePlanes(PlanesAutoencoder):
    """In float64: what differs between two trainings by more than the last digits is a mistake. Nothing is drawn at
    random, and each loss is a mean over clips."""

    def losses(self, video, *, step):
        yield from super().losses(video.double(), step=step)


class NoisyVQVAE(FrameVQVAE):
    def loss(self, video):
        return super().loss(video + 0.05 * torch.randn_like(video))


def line(seed: int = 0, kind: type[Line] = Line, **arguments) -> Line:
    torch.manual_seed(seed)
    return kind(**arguments)


def gan(codebook: type[nn.Module] = EMACodebook) -> GAN:
    """With an EMA codebook that restarts often; or a GradientCodebook, so that nothing learns at each forward."""
    torch.manual_seed(0)
    return GAN(EMACodebook(16, 4, decay=0.9, restart=0.3) if codebook is EMACodebook else codebook(16, 4))


def planes() -> DoublePlanes:
    torch.manual_seed(0)
    return DoublePlanes(PlanesConfig()).double()


def codebook_model(kind: type[FrameVQVAE] = FrameVQVAE, restart: float = 0.3) -> FrameVQVAE:
    """Two EMA codebooks that restart often."""
    torch.manual_seed(0)
    model = FrameVQVAEConfig(hidden=8, residual_hidden=4, codes=16, codebooks=2, decay=0.9, restart=restart).build()
    model.__class__ = kind
    return model


class OwnSlices(LatentVideoTransformer):
    """Which slice of a clip it learns from depends on the clip, not on chance, which differs between processes."""

    def loss(self, latents, condition):
        choices = self.slices_to_generate(1)
        numbers = choices[latents.flatten(1).sum(1) % len(choices)]
        loss = self.nll(latents, numbers, 1).flatten(1).sum(1).mean()
        return loss * len(choices) / self.dims(1), {}


def prior(kind: type[LatentVideoTransformer] = LatentVideoTransformer) -> LatentVideoTransformer:
    """A small LVT for `Codes`."""
    torch.manual_seed(0)
    sizes = LVTConfig(dim=12, embedding_dim=6, heads=2, head_dim=4, encoder_layers=1, decoder_layers=1,
                      subscale=(2, 2, 1))
    model = sizes.build(LatentSpec((4, 4, 4, 2), 8))
    model.__class__ = kind
    return model


def conditioned_prior(kind: type[VideoGPT] = VideoGPT, **changes) -> VideoGPT:
    """A small VideoGPT for `ConditionedCodes`."""
    torch.manual_seed(0)
    sizes = VideoGPTConfig(dim=8, heads=2, layers=1, hidden=16, classes=5, actions=2, frames=1, resnet_units=8,
                           **{"dropout": 0.0, **changes})
    model = sizes.build(LatentSpec((2, 2, 2), 8, frames_per_latent=2), (3, 4, 8, 8))
    model.__class__ = kind
    return model


def config(**changes) -> TrainingConfig:
    few = {"steps": 9, "batch": 4, "learning_rate": 1e-2, "log_every": 1, "validate_every": 4, "checkpoint_every": 3}
    return TrainingConfig(**few | changes)


def at_step(step: int, act) -> Line:
    """A model in which something happens in the middle of this step."""
    model = line()
    model.hook = lambda batches: act() if batches == step else None
    return model


def logged(run) -> list[dict]:
    return [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run, step: int) -> bytes:
    return (run / "checkpoints" / f"{step:08d}" / "model.safetensors").read_bytes()
