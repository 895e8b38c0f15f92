"""The score of early stopping: how far rebuilt clips are from the true ones, as a set."""

import math

import pytest
import torch
from stand_in_network import StandIn
from torch import nn

from lvlib.data import MovingDigits, from_video, to_video
from lvlib.errors import UserError
from lvlib.evaluation.rebuilt import RebuiltDistance
from lvlib.metrics.frechet import frechet_distance
from lvlib.metrics.moments import moments_of

DIGITS = MovingDigits(21, frames=4, size=16, digits=1)
CLIPS = [DIGITS[i] for i in range(len(DIGITS))]


class Dim(nn.Module):
    """An autoencoder that takes away some of the light."""

    def __init__(self, light: float):
        super().__init__()
        self.light = nn.Parameter(torch.tensor(light))

    def encode(self, video):
        return video

    def decode(self, latents):
        return (latents + 1) * self.light - 1


def test_it_is_the_distance_of_all_clips_at_once():
    video = to_video(torch.tensor(DIGITS.batch(slice(0, 21))["video"]))
    network, half = StandIn(), Dim(0.5)
    rebuilt = to_video(from_video(half.decode(video)))  # as evaluate sees them: in 8 bits
    expected = frechet_distance(*(moments_of(network.look(clips).features) for clips in (video, rebuilt))).item()
    score = RebuiltDistance(lambda device: network, CLIPS)
    for looks in (42, 63):  # the second time the true clips are known
        (name, value), = score(half).items()
        assert name == "val_r_frechet_stand-in" and value == pytest.approx(expected, rel=1e-4) and value > 0.01
        assert network.looks == 42 + looks


def test_a_perfect_autoencoder_has_none_and_a_worse_one_more():
    score = RebuiltDistance(lambda device: StandIn(), CLIPS)
    none, some, more = (score(Dim(light))["val_r_frechet_stand-in"] for light in (1.0, 0.8, 0.2))
    assert abs(none) < 1e-5 < some < more


def test_features_that_are_not_finite_are_no_number():
    network = StandIn()
    network.weight[0] = torch.nan
    assert math.isnan(RebuiltDistance(lambda device: network, CLIPS)(Dim(0.5))["val_r_frechet_stand-in"])


def test_one_clip_is_no_set():
    with pytest.raises(UserError, match="takes at least 2 validation clips, not 1"):
        RebuiltDistance(lambda device: StandIn(), CLIPS[:1])
