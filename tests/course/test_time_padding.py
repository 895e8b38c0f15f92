"""The experiment of notebook 14: its parts, and what it shows, for three seeds."""

import numpy as np
import pytest
import torch
from scipy import linalg

from lvlib.course import time_padding
from lvlib.course.time_padding import (
    FIRST,
    FRAMES,
    RATE,
    distances,
    encode,
    experiment,
    long_digits,
    nats_by_frame,
    sample_long,
    train_autoencoder,
    train_prior,
)
from lvlib.evaluation.networks.course import course_classifier


def test_videos_are_of_ten_pictures_that_move_a_pixel_a_frame():
    videos = long_digits(60, seed=3)
    assert videos.shape == (60, 1, 96, 16, 16) and videos.min() == -1 and videos.max() <= 1
    ink = (videos + 1).sum((1, 3, 4))
    assert torch.allclose(ink, ink[:, :1].expand_as(ink))  # nothing is cut off or changes
    assert len({round(float(x), 2) for x in ink[:, 0]}) <= 10
    assert (videos[:, :, 1:] != videos[:, :, :-1]).flatten(3).any(-1).all()
    assert not torch.equal(long_digits(60, seed=4), videos)
    assert torch.equal(long_digits(60, seed=3, frames=FRAMES), videos[:, :, :FRAMES])


@pytest.fixture(scope="module")
def models():
    train = long_digits(32, seed=0, frames=FRAMES)
    autoencoder = train_autoencoder("zero", train, 2)
    return autoencoder, train_prior(autoencoder, train, 2)


def test_nats_are_those_of_codes_of_a_clip_and_out_of_the_middle(models):
    autoencoder, prior = models
    videos = 3 * torch.randn(5, 1, 96, 16, 16)  # more codes than so young an autoencoder gives digits
    alone, middle = nats_by_frame(autoencoder, prior, videos)
    by_hand = [prior.nll(codes, {}).mean(0).view(4, 16).mean(1) for codes in (
        autoencoder.encode(videos[:, :, FIRST:FIRST + FRAMES]),
        autoencoder.encode(videos)[:, FIRST // RATE:FIRST // RATE + 4])]
    assert torch.allclose(alone, by_hand[0], atol=1e-5) and torch.allclose(middle, by_hand[1], atol=1e-5)
    assert not torch.allclose(alone, middle, atol=1e-5)
    assert torch.equal(encode(autoencoder, videos), autoencoder.encode(videos))


def test_samples_are_as_long_as_asked_for_and_the_same_for_the_same_seed(models):
    made, again = (sample_long(*models, 2, frames=24, seed=5) for _ in range(2))
    assert made.shape == (2, 1, 24, 16, 16) and torch.equal(made, again)


def test_distances_are_those_of_each_window_by_hand():
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), with another root of a matrix; the windows cut out one by one."""
    real, made = long_digits(40, seed=0, frames=FRAMES), long_digits(24, seed=1, frames=50)
    made[:, :, 16:32] *= 0.5
    network = course_classifier()

    def moments(video):
        features = network.look(video).features.double().numpy()
        return features.mean(0), np.cov(features.T)

    mean, spread = moments(real)
    expected = []
    for first in 0, 16, 32:
        other, wide = moments(made[:, :, first:first + 16])
        root = linalg.sqrtm(spread @ wide).real
        expected.append(np.square(mean - other).sum() + np.trace(spread + wide - 2 * root))
    assert distances(made, real) == pytest.approx(expected, rel=1e-4)
    assert expected[1] > 2 * expected[0]


def test_the_figures_of_a_short_experiment_are_those_of_its_parts(monkeypatch):
    monkeypatch.setattr(time_padding, "long_digits", lambda count, *options: long_digits(min(count, 60), *options))
    figures = experiment("reflect", 1, 2, 2, samples=4, videos=8)
    train, videos = long_digits(60, 1, FRAMES), long_digits(8, 1001)
    autoencoder = train_autoencoder("reflect", train, 2, 1)
    prior = train_prior(autoencoder, train, 2, 1)
    early, late = (autoencoder.encode(videos[:, :, first:first + FRAMES]) for first in (FIRST, FIRST + RATE))
    same = (early[:, 1:] == late[:, :-1]).float().mean().item()
    alone, middle = nats_by_frame(autoencoder, prior, videos)
    far = distances(sample_long(autoencoder, prior, 4, seed=1), train)
    assert (figures.padding, figures.seed) == ("reflect", 1) and len(far) == 3
    assert figures.equivariance == pytest.approx(same)
    assert figures.extra_last == pytest.approx((middle[3] - alone[3]).item())
    assert figures.distances == pytest.approx(far)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_zeros_leak_time(seed):
    zero, replicate = (experiment(padding, seed) for padding in ("zero", "replicate"))
    print(zero, replicate, sep="\n")
    assert replicate.equivariance - zero.equivariance > 0.1
    assert zero.extra_last > 1.5 and replicate.extra_last < 0.8
