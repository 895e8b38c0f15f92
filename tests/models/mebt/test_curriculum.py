"""The lengths that a step of training sees: eq. (4) as the paper has it, and as the official code."""

import math
from collections import Counter
from typing import get_args

import pytest
import torch

from lvlib.models.mebt.curriculum import Curriculum, interval_probs
from lvlib.models.mebt.prior import MeBTConfig
from lvlib.stages import LatentSpec

KINDS = get_args(Curriculum)


def cdf(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


@pytest.mark.parametrize("curriculum", KINDS)
@pytest.mark.parametrize("frames", [1, 2, 32])
@pytest.mark.parametrize("step", [0, 1, 30_000, 940_000, 2_000_000, 10**9, 10**15])
def test_they_are_probabilities_at_every_step(curriculum, frames, step):
    probs = interval_probs(curriculum, frames, step, 30_000.0, 2.0)
    assert probs.shape == (frames,) and probs.dtype == torch.float64 and probs.isfinite().all()
    assert probs.min() >= 0 and probs.sum().item() == pytest.approx(1, abs=1e-12)


def test_none_is_the_whole_clip_and_uniform_any_length():
    assert interval_probs("none", 4, 77, 10.0, 2.0).tolist() == [0, 0, 0, 1]
    assert interval_probs("uniform", 4, 77, 10.0, 2.0).tolist() == [0.25] * 4


@pytest.mark.parametrize("step", [0, 1000, 17_000, 31_000])
def test_the_paper_s_is_the_normal_distribution_cut_at_whole_numbers(step):
    probs, mean = interval_probs("gaussian", 32, step, 1000.0, 2.0), 1 + step / 1000
    for v in range(1, 33):
        low = cdf((v - 1 - mean) / 2) if v > 1 else 0
        high = cdf((v - mean) / 2) if v < 32 else 1
        assert probs[v - 1].item() == pytest.approx(high - low, abs=1e-12)


@pytest.mark.parametrize("step", [0, 450, 900])
def test_the_paper_s_is_what_comes_of_drawing_and_truncating(step):
    """v = min(max(1, ceil(v^)), t), word for word."""
    random = torch.Generator().manual_seed(0)
    drawn = 1 + step / 100 + 2 * torch.randn(200_000, generator=random, dtype=torch.float64)
    lengths = drawn.ceil().clamp(1, 10).long()
    share = torch.bincount(lengths, minlength=11)[1:] / len(lengths)
    torch.testing.assert_close(share.double(), interval_probs("gaussian", 10, step, 100.0, 2.0), atol=0.005, rtol=0)


@pytest.mark.parametrize("step", [0, 5000, 31_000])
def test_the_official_code_s_is_the_density_at_whole_numbers(step):
    weights = [math.exp(-(step - (v - 1) * 1000.0)**2 / (2 * (1000.0 * 2.0)**2)) for v in range(1, 33)]
    probs = interval_probs("renormalised", 32, step, 1000.0, 2.0)
    for v, weight in enumerate(weights):
        assert probs[v].item() == pytest.approx(weight / sum(weights), abs=1e-12)


def test_the_two_differ_at_both_ends():
    first = [interval_probs(kind, 32, 0, 30_000.0, 2.0)[0].item() for kind in ("gaussian", "renormalised")]
    last = [interval_probs(kind, 32, 31 * 30_000, 30_000.0, 2.0)[-1].item() for kind in ("gaussian", "renormalised")]
    assert first == pytest.approx([0.50, 0.33], abs=0.005) and last == pytest.approx([0.69, 0.33], abs=0.005)


def test_the_model_draws_its_lengths_from_them():
    config = MeBTConfig(dim=8, heads=1, hidden=8, encoder_layers=1, decoder_layers=1, bottleneck=1,
                        curriculum="gaussian", alpha=10.0, beta=1.0)
    model = config.build(LatentSpec((6, 1, 1), 4), (1, 6, 8, 8))
    lengths = Counter(model.interval(25) for _ in range(4000))
    probs = interval_probs("gaussian", 6, 25, 10.0, 1.0)
    for v in range(1, 7):
        assert lengths[v] / 4000 == pytest.approx(probs[v - 1].item(), abs=0.04)
