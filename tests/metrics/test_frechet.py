"""The Frechet distance against closed forms, scipy's square root, torchmetrics, and pairs on a line."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from lvlib.metrics.frechet import frechet_distance, trace_sqrt_product
from lvlib.metrics.moments import Moments, moments_of


def features(n: int, d: int, seed: int) -> Tensor:
    """Correlated, and neither centred nor of one scale."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(n, d, generator=generator) @ torch.randn(d, d, generator=generator)
    return mixed + torch.randn(d, generator=generator)


def gaussian(mean: Tensor, covariance: Tensor) -> Moments:
    return Moments(2, mean.double(), covariance.double())  # two vectors: the scatter divided by 1


class Itself(nn.Module):
    num_features = 6

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n, m", [(40, 40), (25, 90)])
def test_it_is_torchmetrics_on_the_same_features(seed, n, m):
    real, generated = features(n, 6, seed), features(m, 6, seed + 10)
    fid = FrechetInceptionDistance(feature=Itself(), input_img_size=(6, 1, 1)).set_dtype(torch.float64)
    fid.update(real.double()[..., None, None], real=True)
    fid.update(generated.double()[..., None, None], real=False)
    assert frechet_distance(moments_of(real), moments_of(generated)).item() == pytest.approx(
        fid.compute().item(), rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_trace_is_scipys(seed):
    a, b = (torch.cov(features(30, 8, seed + i).double().T) for i in (0, 10))
    root = scipy.linalg.sqrtm((a @ b).numpy())
    assert trace_sqrt_product(a, b).item() == pytest.approx(np.trace(root).real, rel=1e-6)


def test_gaussians_on_a_line():
    for m1, s1, m2, s2 in ((0, 1, 3, 2), (5, 0.1, 5, 0.1), (-1, 2, 1, 0)):
        one, other = (gaussian(torch.tensor([m]), torch.tensor([[s * s]])) for m, s in ((m1, s1), (m2, s2)))
        assert frechet_distance(one, other).item() == pytest.approx((m1 - m2) ** 2 + (s1 - s2) ** 2, abs=1e-6)


def test_gaussians_with_common_axes():
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    s1, s2 = torch.rand(5, dtype=torch.float64), 2 * torch.rand(5, dtype=torch.float64)
    m1, m2 = torch.randn(2, 5, dtype=torch.float64)
    one, other = (gaussian(m, turn @ s.square().diag() @ turn.T) for m, s in ((m1, s1), (m2, s2)))
    expected = (m1 - m2).square().sum() + (s1 - s2).square().sum()
    assert frechet_distance(one, other).item() == pytest.approx(expected.item(), rel=1e-8)


def test_two_by_two_without_common_axes():
    """Of 2 x 2 matrices, tr((ab)^(1/2)) is the root of tr(ab) + 2 det(ab)^(1/2)."""
    for seed in range(5):
        a, b = (torch.cov(features(9, 2, seed + i).double().T) for i in (0, 10))
        expected = math.sqrt((a @ b).trace() + 2 * (a @ b).det().sqrt())
        assert trace_sqrt_product(a, b).item() == pytest.approx(expected, rel=1e-9)


def test_it_is_the_cost_of_the_best_pairing():
    """Of many numbers from two Gaussians, sorted: the definition."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(100_000, generator=generator, dtype=torch.float64) * s + m for m, s in ((1, 3), (-1, 2)))
    paired = (x.sort().values - y.sort().values).square().mean()
    distance = frechet_distance(moments_of(x[:, None]), moments_of(y[:, None]))
    assert distance.item() == pytest.approx(paired.item(), rel=1e-2)


def test_it_is_a_distance():
    sets = [moments_of(features(30, 4, seed)) for seed in range(3)]
    assert frechet_distance(sets[0], sets[0]).item() == pytest.approx(0, abs=1e-6)
    a, b, c = (frechet_distance(sets[i], sets[j]).sqrt() for i, j in ((0, 1), (1, 2), (0, 2)))
    assert torch.allclose(frechet_distance(sets[1], sets[0]).sqrt(), a) and c <= a + b


def test_fewer_clips_than_features_give_a_number():
    real, generated = moments_of(features(5, 40, 0)), moments_of(features(4, 40, 1))
    distance = frechet_distance(real, generated)
    root = scipy.linalg.sqrtm((real.covariance @ generated.covariance).numpy() + 1e-12 * np.eye(40))
    spread = (real.covariance + generated.covariance).trace() - 2 * np.trace(root).real
    assert distance.item() == pytest.approx(((real.mean - generated.mean).square().sum() + spread).item(), rel=1e-4)


def test_what_it_refuses():
    with pytest.raises(ValueError, match="3 features cannot be compared with 4"):
        frechet_distance(moments_of(torch.randn(5, 3)), moments_of(torch.randn(5, 4)))
    with pytest.raises(ValueError, match="at least 2 clips, not 1"):
        frechet_distance(moments_of(torch.randn(5, 3)), moments_of(torch.randn(1, 3)))


def test_its_bias_falls_as_one_over_the_number_of_clips():
    def of_halves(n):
        return torch.stack([frechet_distance(*(moments_of(torch.randn(n, 8)) for _ in range(2)))
                            for _ in range(60)]).mean()

    torch.manual_seed(0)
    assert of_halves(50) / of_halves(200) == pytest.approx(4, rel=0.15)
