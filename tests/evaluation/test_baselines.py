"""The baselines of prediction, against counting in Python loops."""

import math
from itertools import product

import pytest
import torch

from lvlib.evaluation.baselines import CodeBaselines, count_codes, repeat_last_frame


def sticky(clips: int, frames: int, codes: int, stay: float, books: int = 2, seed: int = 0) -> torch.Tensor:
    """Codes that stay with this probability, and are drawn anew (low ones more often) otherwise."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.arange(codes, 0, -1).float()
    fresh = torch.multinomial(weights, clips * frames * 3 * 3 * books, True, generator=generator)
    video = fresh.reshape(clips, frames, 3, 3, books)
    keep = torch.rand(video.shape, generator=generator) < stay
    for t in range(1, frames):
        video[:, t] = torch.where(keep[:, t], video[:, t - 1], video[:, t])
    return video


def test_the_last_given_frame_is_repeated():
    video = torch.rand(2, 3, 4, 5, 6)
    repeated = repeat_last_frame(video, 3)
    assert repeated.shape == (2, 3, 3, 5, 6)
    for t in range(3):
        torch.testing.assert_close(repeated[:, :, t], video[:, :, -1], rtol=0, atol=0)


def test_the_marginal_counts_each_codebook_and_none_is_impossible():
    latents = sticky(4, 5, codes=6, stay=0.5)
    marginal = count_codes(latents, 8).marginal  # codes 6 and 7 never occur
    for book, code in product(range(2), range(8)):
        count = sum(value == code for value in latents[..., book].flatten().tolist())
        assert marginal[book, code].item() == pytest.approx((count + 1) / (4 * 5 * 9 + 8))


def test_the_probability_of_a_copy_is_the_likeliest():
    latents = sticky(6, 5, codes=6, stay=0.7)
    found = count_codes(latents, 6)
    bits = {p: CodeBaselines(found.marginal, p).bits_per_dim(latents, 1)["copy_baseline"].mean()
            for p in torch.linspace(0.01, 0.99, 99).tolist()}
    assert found.copy == pytest.approx(min(bits, key=bits.get), abs=0.006)
    assert found.copy == pytest.approx(0.7, abs=0.05)


def test_codes_that_never_change_cost_next_to_nothing_and_noise_is_not_copied():
    assert count_codes(sticky(2, 4, 6, stay=1.0), 6).copy > 0.999
    assert count_codes(sticky(40, 4, 6, stay=0.0), 6).copy < 0.05


@pytest.mark.parametrize("given", [0, 1, 2])
def test_bits_are_those_of_a_loop_over_the_generated_codes(given):
    """With no given frame the first one's codes are drawn, in both."""
    latents = sticky(2, 4, codes=5, stay=0.6)
    baselines = count_codes(sticky(9, 4, codes=5, stay=0.6, seed=1), 5)
    bits = baselines.bits_per_dim(latents, given)
    for clip in range(2):
        total = {"copy_baseline": 0.0, "marginal": 0.0}
        places = list(product(range(given, 4), range(3), range(3), range(2)))
        for t, y, x, k in places:
            now, before = (int(latents[clip, frame, y, x, k]) for frame in (t, t - 1))
            drawn = float(baselines.marginal[k, now])
            copied = baselines.copy * (now == before) + (1 - baselines.copy) * drawn
            total["marginal"] -= math.log2(drawn)
            total["copy_baseline"] -= math.log2(copied if t else drawn)
        for name, value in total.items():
            assert bits[name][clip].item() == pytest.approx(value / len(places))


def test_with_one_latent_frame_nothing_is_copied():
    assert count_codes(sticky(2, 1, 6, stay=0.5), 6).copy == 0


def test_the_probabilities_of_all_codes_sum_to_one():
    """Of one generated code with one codebook, whatever came before it."""
    baselines = count_codes(sticky(9, 4, codes=5, stay=0.6, books=1)[..., 0], 5)
    for before in range(5):
        clips = torch.stack([torch.full((5,), before), torch.arange(5)], 1).reshape(5, 2, 1, 1)
        for name, bits in baselines.bits_per_dim(clips, 1).items():
            assert (0.5**bits).sum().item() == pytest.approx(1), name
