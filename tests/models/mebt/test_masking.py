"""Which codes are hidden: how many, which, and where what is left stands."""

import math
import random

import pytest
import torch

from lvlib.models.mebt.masking import hide_smallest, places_of, random_count, random_split

CPU = torch.device("cpu")


def test_the_smallest_scores_of_each_clip_are_hidden():
    torch.manual_seed(0)
    scores = torch.randn(5, 12)
    for count in (0, 1, 7, 12):
        hidden = hide_smallest(scores, count)
        for clip in range(5):
            smallest = sorted(range(12), key=scores[clip].tolist().__getitem__)[:count]
            assert hidden[clip].nonzero().flatten().tolist() == sorted(smallest)


def test_of_equal_scores_the_first_are_hidden():
    assert hide_smallest(torch.zeros(2, 40), 7).nonzero()[:, 1].tolist() == [*range(7), *range(7)]


def test_places_of_each_clip_in_order():
    torch.manual_seed(0)
    hidden = hide_smallest(torch.rand(4, 300), 100)
    context, masked = places_of(hidden)
    for clip in range(4):
        assert context[clip].tolist() == [i for i in range(300) if not hidden[clip, i]]
        assert masked[clip].tolist() == [i for i in range(300) if hidden[clip, i]]


@pytest.mark.parametrize("count", [0, 6])
def test_none_hidden_and_all_hidden(count):
    context, masked = places_of(torch.full((2, 6), count == 6))
    assert context.shape == (2, 6 - count) and masked.shape == (2, count)


def test_clips_that_hide_different_numbers_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^all clips must hide the same number of codes, not 1 to 2$"):
        places_of(torch.tensor([[True, False, False], [True, True, False]]))


@pytest.mark.parametrize("count", [0, 1, 5, 9])
def test_a_random_split_is_one_of_all_places(count):
    torch.manual_seed(0)
    context, masked = random_split(6, 9, count, CPU)
    assert context.shape == (6, 9 - count) and masked.shape == (6, count)
    assert (torch.cat([context, masked], 1).sort(1).values == torch.arange(9)).all()
    assert (context.diff(dim=1) > 0).all() and (masked.diff(dim=1) > 0).all()


def test_every_place_is_hidden_as_often_and_clips_differ():
    torch.manual_seed(0)
    _, masked = random_split(20_000, 8, 3, CPU)
    share = masked.flatten().bincount(minlength=8) / 20_000
    assert (share - 3 / 8).abs().max() < 0.015  # four deviations
    pairs = {tuple(row) for row in masked.tolist()}
    assert len(pairs) == math.comb(8, 3)


def test_the_count_is_one_to_all_each_as_likely():
    random.seed(0)
    drawn = torch.tensor([random_count(5) for _ in range(20_000)]).bincount(minlength=6)
    assert drawn[0] == 0 and (drawn[1:] / 20_000 - 0.2).abs().max() < 0.012


def test_the_ends_of_the_share(monkeypatch):
    monkeypatch.setattr(random, "random", lambda: 0.0)  # r = 1
    assert random_count(7) == 7
    monkeypatch.setattr(random, "random", lambda: 1 - 2**-53)  # the smallest r
    assert random_count(7) == 1
