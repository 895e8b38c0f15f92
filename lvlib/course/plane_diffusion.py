"""What notebook 22 tries on diffusion over planes: small priors, their errors on unseen clips, and a cube's cost."""

import time
from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from lvlib.course.experiments import fit
from lvlib.data import MovingDigits, to_video
from lvlib.evaluation.digits import recognise, train_digit_classifier
from lvlib.evaluation.networks.course import course_classifier
from lvlib.metrics.frechet import frechet_distance
from lvlib.metrics.moments import Moments, moments_of
from lvlib.models.pvdm.diffusion import add_noise, without_noise
from lvlib.models.pvdm.prior import PVDMConfig, TriplaneDiffusion
from lvlib.models.pvdm.triplane import TriplaneAutoencoder
from lvlib.models.pvdm.unet import PositionAttention, UNetLevel, groups_of
from lvlib.reports.describe import storages_kept
from lvlib.stages import LatentSpec


def digits(clips: int, frames: int, split: str, seed: int) -> Tensor:
    """Clips of one grey digit, as the course's models learned from: (clips, 1, frames, 32, 32) in [-1, 1]."""
    data = MovingDigits(clips, frames=frames, size=32, digits=1, digit_size=20, speeds=(1,), grid=4, split=split,
                        seed=seed)
    return to_video(torch.tensor(data.batch(slice(0, clips))["video"]))


@torch.no_grad()
def encoded(autoencoder: TriplaneAutoencoder, video: Tensor) -> Tensor:
    """Latents (b, c, clips * positions) of videos of whole clips, a few at a time."""
    return torch.cat([autoencoder.encode(part) for part in video.split(10)])


def neighbours(latents: Tensor, positions: int) -> Tensor:
    """All pairs of clips, one after the other, of latents (b, c, clips * positions): (b * (clips - 1), c, 2 *
    positions)."""
    clips = latents.split(positions, 2)
    return torch.cat([torch.cat(pair, 2) for pair in zip(clips, clips[1:], strict=False)])


def small_prior(pairs: Tensor, spec: LatentSpec, steps: int, seed: int = 0,
                **fields) -> tuple[TriplaneDiffusion, list[float]]:
    """A prior of 16 channels, trained for so many steps on 16 pairs of clips each; and the loss of each step. fields:
    of `PVDMConfig`, what is different."""
    config = PVDMConfig(**{"width": 16, "multipliers": (1, 2), "blocks": 1, "heads": 2, "across": 1,
                           "objective": "coin", **fields})
    torch.manual_seed(seed)
    prior = config.build(spec, (1, spec.frames_per_latent, 0, 0))
    prior.standardize.measure(torch.cat(pairs.split(spec.shape[1], 2)))
    shown = pairs if config.clips == 2 else pairs[:, :, spec.shape[1]:]
    name = ", ".join(f"{field} {value}" for field, value in fields.items())
    return prior, fit(prior, lambda: prior.loss(shown[torch.randint(len(shown), (16,))], {})[0], steps, name, rate=4e-3)


@torch.no_grad()
def held_out(prior: TriplaneDiffusion, pairs: Tensor) -> dict[str, float]:
    """Mean squared error of the noise in the second clips of these pairs, at t = 50, 150, ..., 950: "alone", and
    "after" the first ones. The same noise for every prior."""
    before, x0 = (prior.standardize(clips) for clips in pairs.split(prior.spec.shape[1], 2))
    generator, errors = torch.Generator().manual_seed(0), {"alone": 0.0, "after": 0.0}
    for step in range(50, 1000, 100):
        t, noise = torch.full((len(x0),), step), torch.randn(x0.shape, generator=generator)
        x = add_noise(x0, t, noise, prior.schedule.get_buffer("alpha_bars"))
        for name, context in {"alone": torch.zeros_like(before), "after": before}.items():
            errors[name] += (prior.noise(x, t, context) - noise).square().mean().item() / 10
    return errors


@torch.no_grad()
def swap_seen(unet: nn.Module, spec: LatentSpec, x0: Tensor, alpha_bars: Tensor) -> float:
    """How far the answer to exchanged planes of motion is from the exchanged answer, at step 300: root mean square, as
    a share of the answer's. x0: standardized clips."""
    def swap(planes: list[Tensor]) -> list[Tensor]:
        return [planes[0], planes[2], planes[1]]

    torch.manual_seed(0)
    t = torch.full((len(x0),), 300)
    x = spec.split_planes(add_noise(x0, t, torch.randn_like(x0), alpha_bars))
    none = [torch.zeros_like(plane) for plane in x]
    answer = spec.join_planes(swap(unet(x, none, t)))
    other = spec.join_planes(unet(swap(x), none, t))
    return ((other - answer).square().mean() / answer.square().mean()).sqrt().item()


@torch.no_grad()
def disagreement(autoencoder: TriplaneAutoencoder, prior: TriplaneDiffusion, z: Tensor) -> list[float]:
    """How far the planes of clips (b, c, positions) are from those of the video that they decode to: root mean square
    of each plane, standardized."""
    far = prior.standardize(z) - prior.standardize(encoded(autoencoder, autoencoder.decode(z)))
    return [plane.square().mean().sqrt().item() for plane in prior.spec.split_planes(far)]


@torch.no_grad()
def half_noised(prior: TriplaneDiffusion, z: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """Latents of clips with the noise of step t, scaled back to their own size; and without the noise that the prior
    finds in one look, after no clip before."""
    x0, steps, alpha_bars = prior.standardize(z), torch.full((len(z),), t), prior.schedule.get_buffer("alpha_bars")
    torch.manual_seed(0)
    x = add_noise(x0, steps, torch.randn_like(x0), alpha_bars)
    found = prior.noise(x, steps, torch.zeros_like(x))
    clean = without_noise(x, steps, found, alpha_bars)
    noisy = x / alpha_bars[t].sqrt().float()
    return prior.standardize.undo(noisy).clamp(-1, 1), prior.standardize.undo(clean).clamp(-1, 1)


class CubeLevel(nn.Module):
    """Two 3x3x3 convolutions of a cube (b, width, t, h, w), and attention among all its positions, twice: what
    `UNetLevel` would be without planes."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.convolutions = nn.Sequential(*(layer for _ in range(2) for layer in (
            nn.GroupNorm(groups_of(width), width), nn.SiLU(), nn.Conv3d(width, width, 3, padding=1))))
        self.attention = nn.Sequential(*(PositionAttention(width, heads) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.convolutions(x)
        return self.attention(x.flatten(2)).view_as(x)


def level_work(t: int, side: int, device: str = "cpu", width: int = 48, heads: int = 4) -> list[partial]:
    """The forward pass of a level for one clip of t x side x side patches: over planes, and over the cube."""
    with torch.device(device):
        level, cube = UNetLevel(width, width, 4 * width, heads, 1), CubeLevel(width, heads)
        planes = [torch.randn(1, width, *size) for size in ((side, side), (t, side), (t, side))]
        vectors, x = [torch.randn(1, 4 * width)] * 3, torch.randn(1, width, t, side, side)
    return [partial(level, planes, vectors), partial(cube, x)]


@torch.no_grad()
def cpu_seconds(work: Callable, times: int = 5) -> float:
    """The least of a few runs, after one to warm up."""
    taken = []
    for _ in range(times + 1):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken[1:])


def kept_bytes(work: partial) -> int:
    """Of what the forward pass of a module, with its inputs, keeps for the backward pass, without the weights."""
    with torch.enable_grad(), storages_kept(cast(nn.Module, work.func)) as kept:
        work()
    return sum(storage.nbytes() for storage in kept.values())


class Judge:
    """How good clips of one digit are: their distance from true ones, and which digit each frame shows."""

    def __init__(self, smoke: bool):
        self.network = course_classifier()
        self.classifier = train_digit_classifier(20, steps=3 if smoke else 400)
        self.truth = self.moments(digits(20 if smoke else 200, 16, "test", seed=2))

    def moments(self, clips: Tensor) -> Moments:
        return moments_of(self.network.look(clips).features)

    def distance(self, clips: Tensor) -> float:
        """Frechet distance of clips of 16 frames from true ones, in features of the course's network."""
        return float(frechet_distance(self.truth, self.moments(clips)))

    def same(self, video: Tensor) -> Tensor:
        """Is the digit of each frame the one that most frames of its video show? bool (b, t)."""
        read = recognise(video, 20, self.classifier)
        return read == read.mode(1).values[:, None]
