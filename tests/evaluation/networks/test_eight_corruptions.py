"""The course's network on walks in Doom: two halves of real clips are near each other, and each of eight ways to spoil
one half takes it farther away, for three ways to halve them."""

import pytest
import torch
import torch.nn.functional as F

from lvlib.data import ClipSet, data_home, to_video
from lvlib.evaluation.networks.course import course_classifier
from lvlib.metrics.frechet import frechet_distance
from lvlib.metrics.moments import moments_of

SEEDS = (0, 1, 2)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not (data_home() / "doom" / "meta.json").exists(),
                                                   reason="no recorded clips in data/doom")]


def blurred(video):
    return F.avg_pool3d(video, (1, 5, 5), 1, (0, 2, 2), count_include_pad=False)


def noisy(video):
    return (video + 0.1 * torch.randn(video.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)


def shuffled(video):
    generator = torch.Generator().manual_seed(0)
    return torch.stack([clip[:, torch.randperm(clip.shape[1], generator=generator)] for clip in video])


def faded(video):
    return (video + 1) * torch.linspace(1, 0.3, video.shape[2])[:, None, None] - 1


SPOILED = {
    "blur": blurred, "noise": noisy, "shuffled": shuffled, "faded": faded,
    "frozen": lambda video: video[:, :, :1].expand_as(video),
    "reversed": lambda video: video.flip(2),
    "loop": lambda video: video[:, :, torch.arange(video.shape[2]) % 4],
}


@pytest.fixture(scope="module")
def clips():
    sets = [ClipSet(data_home() / "doom", split, 16) for split in ("train", "val", "test")]
    items = [clips[i] for clips in sets for i in range(len(clips))]
    return torch.stack([to_video(item["video"]) for item in items]), torch.tensor([
        (item["actions"][:, 1] - item["actions"][:, 0]).mean() for item in items])


@pytest.fixture(scope="module")
def features(clips):
    network = course_classifier()

    def look(spoil):
        return torch.cat([network.look(spoil(part)).features for part in clips[0].split(50)])

    return {name: look(spoil) for name, spoil in {"real": lambda video: video, **SPOILED}.items()}


def halves(count: int, seed: int):
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[:count // 2], order[count // 2:]


def distance(features, others):
    return frechet_distance(moments_of(features), moments_of(others)).item()


@pytest.mark.parametrize("seed", SEEDS)
def test_each_corruption_takes_a_set_farther_away(features, clips, seed):
    one, other = halves(len(features["real"]), seed)
    floor = distance(features["real"][one], features["real"][other])
    spoiled = {name: distance(features["real"][one], features[name][other]) for name in SPOILED}
    turning_right = clips[1][other] > clips[1].median()
    spoiled["one class"] = distance(features["real"][one], features["real"][other][turning_right])
    assert min(spoiled.values()) > 2 * floor, (floor, spoiled)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_distance_of_two_halves_is_a_bias_that_falls_with_the_number_of_clips(features, seed):
    """To first order it is twice as large for half as many clips: then 2 d(n) - d(n / 2), without it, is near 0."""
    one, other = (features["real"][half] for half in halves(len(features["real"]), seed))
    n = len(one)
    whole = distance(one, other)
    quarters = [distance(one[a::2], other[b::2]) for a in (0, 1) for b in (0, 1)]
    assert 1.5 * whole < sum(quarters) / 4 < 2.8 * whole, (n, whole, quarters)
    assert abs(2 * whole - sum(quarters) / 4) < 0.6 * whole
