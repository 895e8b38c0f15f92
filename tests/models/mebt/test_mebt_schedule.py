"""How many codes a pass accepts, which, and how places are dealt out for a revision."""

import math
from typing import get_args

import pytest
import torch

from lvlib.models.mebt.schedule import Schedule, fill_counts, most_certain, parts_in_turn, still_hidden

SCHEDULES = get_args(Schedule)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_gamma_falls_from_1_to_0(schedule):
    gamma = [still_hidden(schedule, i / 100) for i in range(101)]
    assert gamma[0] == 1 and gamma[-1] == pytest.approx(0, abs=1e-12)
    assert all(later < earlier for earlier, later in zip(gamma, gamma[1:], strict=False))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_counts_are_at_least_1_and_make_n_for_every_number_of_passes(schedule):
    for n in range(1, 41):
        for steps in range(1, n + 1):
            counts = fill_counts(schedule, steps, n)
            assert len(counts) == steps and sum(counts) == n and min(counts) >= 1, (steps, n)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps, n", [(4, 256), (8, 256), (16, 1024), (32, 8192)])
def test_the_running_totals_are_those_of_section_3_3_with_s_plus_1(schedule, steps, n):
    total = 0
    for s, count in enumerate(fill_counts(schedule, steps, n)[:-1]):
        total += count
        assert total == n - math.ceil(still_hidden(schedule, (s + 1) / steps) * n)


def test_one_pass_takes_all_and_as_many_passes_as_codes_take_one_each():
    for schedule in SCHEDULES:
        assert fill_counts(schedule, 1, 7) == [7] and fill_counts(schedule, 7, 7) == [1] * 7
    assert fill_counts("linear", 4, 256) == [64] * 4


@pytest.mark.parametrize("steps, n", [(0, 4), (5, 4), (1, 0)])
def test_other_numbers_of_passes_are_refused(steps, n):
    with pytest.raises(ValueError, match=f"^steps must be 1 to {n}, the codes that are hidden, not {steps}$"):
        fill_counts("cosine", steps, n)


def test_without_noise_the_likeliest_are_accepted():
    log_probs = torch.randn(5, 40)
    accepted = most_certain(log_probs, torch.rand(5, 40), 7, 0.0)
    assert (accepted.sum(1) == 7).all()
    for row, chosen in zip(log_probs, accepted, strict=True):
        assert row[chosen].min() > row[~chosen].max()


def test_with_noise_1_a_code_comes_first_with_its_probability():
    """Gumbel's: the largest of log p + Gumbel noise is a draw from p."""
    torch.manual_seed(0)
    probs = torch.tensor([0.6, 0.3, 0.1])
    accepted = most_certain(probs.log().expand(20_000, 3), torch.rand(20_000, 3), 1, 1.0)
    torch.testing.assert_close(accepted.float().mean(0), probs, atol=0.015, rtol=0)


def test_much_noise_is_chance_and_the_ends_of_uniform_numbers_do_no_harm():
    torch.manual_seed(0)
    log_probs = torch.tensor([0.0, -2.0, -4.0, -6.0]).expand(20_000, 4)
    share = most_certain(log_probs, torch.rand(20_000, 4), 1, 1e6).float().mean(0)
    torch.testing.assert_close(share, torch.full((4,), 0.25), atol=0.015, rtol=0)
    accepted = most_certain(torch.zeros(1, 4), torch.tensor([[0.0, 0.5, 1.0, 0.5]]), 1, 4.0)
    assert accepted.tolist() == [[False, False, True, False]]


@pytest.mark.parametrize("m, parts", [(1, 1), (7, 1), (7, 2), (7, 7), (192, 4), (10, 3)])
def test_parts_cover_each_place_once_and_are_as_large_as_each_other(m, parts):
    torch.manual_seed(m)
    dealt = parts_in_turn(torch.rand(6, m), parts)
    assert len(dealt) == parts and all(part.shape == (6, m) and part.dtype == torch.bool for part in dealt)
    assert (torch.stack(dealt).sum(0) == 1).all()
    sizes = torch.stack([part.sum(1) for part in dealt])
    assert sizes.max() - sizes.min() <= 1 and (sizes == sizes[:, :1]).all()


def test_each_place_is_as_likely_in_each_part():
    torch.manual_seed(0)
    share = torch.stack(parts_in_turn(torch.rand(20_000, 5), 5)).float().mean(1)
    torch.testing.assert_close(share, torch.full((5, 5), 0.2), atol=0.015, rtol=0)


@pytest.mark.parametrize("parts", [0, 5])
def test_other_numbers_of_parts_are_refused(parts):
    with pytest.raises(ValueError, match=f"^revise_parts must be 1 to 4, the codes that are drawn, not {parts}$"):
        parts_in_turn(torch.rand(2, 4), parts)
