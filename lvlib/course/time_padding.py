"""The experiment of notebook 14: for a way to pad time, an autoencoder of clips of 16 frames and a prior of its codes,
and what becomes of videos that are longer.

`python -m lvlib.course.time_padding zero replicate --seeds 0 1 2` prints the figures of each.
"""

import argparse
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from lvlib.course.experiments import fit
from lvlib.data import MovingDigits, to_video
from lvlib.data.digit_clips import SPLITS
from lvlib.evaluation.networks.course import VideoClassifier, course_classifier
from lvlib.metrics.frechet import frechet_distance
from lvlib.metrics.moments import Moments, moments_of
from lvlib.metrics.windows import windows
from lvlib.models.tats.equivariance import equivariance_score
from lvlib.models.tats.padding import TimePadding
from lvlib.models.tats.prior import TATS, TATSConfig
from lvlib.models.tats.sampling import TATSSampling
from lvlib.models.tats.vqgan import VQGAN, VQGANConfig
from lvlib.models.videogpt.vqvae import normalized_mse

FRAMES = 16  # of a clip of training
LONG = 96  # of a video that the clips to look at are cut from
FIRST = 40  # frame of it with which they begin: its middle
RATE = 4  # frames of a latent frame
SHAPE = (1, FRAMES, 16, 16)


def long_digits(count: int, seed: int, frames: int = LONG) -> Tensor:
    """Videos of one of ten digits of 9 pixels that bounces, a pixel a frame: (count, 1, frames, 16, 16) in [-1, 1].

    Ten pictures, the first of each class: a world that small models learn in a minute. Other seeds give other paths.
    A way there and back takes 14 frames: not 16, or the end of a clip would be what comes before it.
    """
    digits = MovingDigits(count, frames, size=16, digits=1, digit_size=9, speeds=(1,), seed=seed)
    each = SPLITS["train"].stop  # pictures of a class, which stand together
    digits.instance = digits.instance // each * each
    return to_video(torch.tensor(digits.batch(slice(0, count))["video"]))


def train_autoencoder(padding: TimePadding, train: Tensor, steps: int, seed: int = 0) -> VQGAN:
    """An autoencoder without discriminators, trained on clips (n, 1, 16, 16, 16), 8 a step, in evaluation mode.

    By a squared error: of clips as dark as these, a mean absolute error leaves nothing but black for hundreds of steps.
    """
    torch.manual_seed(seed)
    model = VQGANConfig(channels=1, hidden=8, residual_blocks=(1, 1), downsample=(RATE, 4, 4), codes=256, code_dim=16,
                        padding=padding, decay=0.95, restart=0.05, perceptual=None, gan_start=None).build()
    variance = train.var().item()

    def loss() -> Tensor:
        video = train[torch.randint(len(train), (8,))]
        q, _, quantizer_loss, _ = model.quantizer(model.vectors(video))
        return normalized_mse(model.video(q), video, variance) + quantizer_loss

    fit(model, loss, steps, f"autoencoder, {padding}", rate=3e-3)
    return model


def train_prior(autoencoder: VQGAN, train: Tensor, steps: int, seed: int = 0) -> TATS:
    """A small prior of the codes of these clips, 16 a step, in evaluation mode."""
    codes = encode(autoencoder, train)
    torch.manual_seed(seed)
    model = TATSConfig(dim=128, heads=4, layers=4, hidden=512).build(autoencoder.config.latents(SHAPE), SHAPE)
    fit(model, lambda: model.loss(codes[torch.randint(len(codes), (16,))], {})[0], steps,
        f"prior, {autoencoder.config.padding}", rate=2e-3)
    return model


def encode(autoencoder: VQGAN, video: Tensor) -> Tensor:
    """Codes of many clips, some at a time."""
    return torch.cat([autoencoder.encode(part) for part in video.split(200)])


def score(autoencoder: VQGAN, video: Tensor) -> Tensor:
    """Equivariance scores (b,) of the clips in the middle of videos (b, 1, 96, 16, 16)."""
    early, late = (encode(autoencoder, video[:, :, first:first + FRAMES]) for first in (FIRST, FIRST + RATE))
    return equivariance_score(early, late)


@torch.no_grad()
def nats_by_frame(autoencoder: VQGAN, prior: TATS, video: Tensor) -> tuple[Tensor, Tensor]:
    """Nats a code of each latent frame, (4,) twice, for the same frames out of the middle of videos (b, 1, 96, 16, 16):
    encoded as a clip of their own, as in training; and in the middle of the whole video, as a window that slides finds
    its codes."""
    alone = encode(autoencoder, video[:, :, FIRST:FIRST + FRAMES])
    middle = encode(autoencoder, video)[:, FIRST // RATE:(FIRST + FRAMES) // RATE]
    first, second = (prior.nll(codes, {}).view(len(video), FRAMES // RATE, -1).mean((0, 2))
                     for codes in (alone, middle))
    return first, second


def sample_long(autoencoder: VQGAN, prior: TATS, count: int, frames: int = 3 * FRAMES, seed: int = 0) -> Tensor:
    """Videos (count, 1, frames, 16, 16) by a window that slides."""
    torch.manual_seed(seed)
    return autoencoder.decode(prior.sample(count, {}, sampling=TATSSampling(top_p=0.9), latent_frames=frames // RATE))


def seen(network: VideoClassifier, video: Tensor) -> Moments:
    """Moments of the course network's features."""
    return moments_of(torch.cat([network.look(part).features for part in video.split(64)]))


def distances(video: Tensor, real: Tensor, every: int = 16) -> list[float]:
    """Frechet distance of windows of 16 frames, which begin `every` frames apart, to real clips (b, 1, 16, h, w), by
    the course network."""
    network = course_classifier()
    truth = seen(network, real)
    return [frechet_distance(truth, seen(network, window)).item() for window in windows(video, every=every).unbind(1)]


@dataclass
class Figures:
    """What is measured for one way to pad, and one seed."""

    padding: str
    seed: int
    equivariance: float
    extra_last: float
    """How many nats a code more the last latent frame, the one that a window that slides has to write, costs where the
    same frames come from the middle of a long encoding."""
    distances: list[float]
    """Frechet distance to real clips of each window of 16 frames of the samples."""


def experiment(padding: TimePadding, seed: int, autoencoder_steps: int = 200, prior_steps: int = 300,
               samples: int = 64, videos: int = 128) -> Figures:
    """Trains both, and measures."""
    train, test = long_digits(2000, seed, FRAMES), long_digits(videos, seed + 1000)
    autoencoder = train_autoencoder(padding, train, autoencoder_steps, seed)
    prior = train_prior(autoencoder, train, prior_steps, seed)
    native, middle = nats_by_frame(autoencoder, prior, test)
    made = sample_long(autoencoder, prior, samples, seed=seed)
    return Figures(padding, seed, score(autoencoder, test).mean().item(), (middle - native)[-1].item(),
                   distances(made, train[:256]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paddings", nargs="+", choices=("zero", "replicate", "reflect", "circular"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--autoencoder-steps", type=int, default=200)
    parser.add_argument("--prior-steps", type=int, default=300)
    options = parser.parse_args()
    for seed in options.seeds:
        for padding in options.paddings:
            print(asdict(experiment(padding, seed, options.autoencoder_steps, options.prior_steps)), flush=True)


if __name__ == "__main__":
    main()
