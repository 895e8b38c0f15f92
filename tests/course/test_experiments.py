"""The training loop and the small codes that notebooks share."""

import torch
from torch import nn

from lvlib.course.experiments import fit, small_codes


def test_fit_finds_a_least_squares_solution_and_says_how(capfd):
    torch.manual_seed(0)
    x, truth, model = torch.randn(64, 3), torch.tensor([[1.0, -2.0, 0.5]]), nn.Linear(3, 1)
    losses = fit(model, lambda: (model(x) - x @ truth.T).square().mean(), 400, "line", rate=0.1)
    assert len(losses) == 400 and losses[-1] < 1e-4 < losses[0]
    assert torch.allclose(model.weight, truth, atol=0.02) and not model.training
    assert "line: 100%" in capfd.readouterr().err


def test_small_codes_are_the_same_for_the_same_seed():
    (train, test, quality), again = (small_codes(2, 8, seed=3, steps=2, clips=40) for _ in range(2))
    assert train.shape == (40, 16, 4, 4, 2) and test.shape == (200, 16, 4, 4, 2)
    assert train.dtype == torch.int64 and train.max() < 8
    assert torch.equal(train, again[0]) and quality == again[2]
