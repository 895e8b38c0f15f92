"""The kernel distance against a loop over pairs and torchmetrics; and its mean over sets from one distribution."""

import itertools

import pytest
import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from lvlib.metrics import kernel
from lvlib.metrics.kernel import kernel_distance, kernel_sum


def by_hand(real: Tensor, generated: Tensor) -> float:
    def k(x, y):
        return (float(x.double() @ y.double()) / len(x) + 1) ** 3

    def within(z):
        pairs = list(itertools.permutations(z, 2))
        return sum(k(x, y) for x, y in pairs) / len(pairs)

    between = [k(x, y) for x in real for y in generated]
    return within(real) + within(generated) - 2 * sum(between) / len(between)


@pytest.mark.parametrize("n, m, d", [(2, 2, 1), (5, 3, 4), (3, 9, 2), (7, 7, 6)])
def test_it_is_the_loop_over_pairs(n, m, d):
    real, generated = torch.randn(n, d), 2 * torch.randn(m, d) + 1
    assert kernel_distance(real, generated).item() == pytest.approx(by_hand(real, generated), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_torchmetrics_for_sets_of_one_size(seed):
    torch.manual_seed(seed)
    real, generated = torch.randn(40, 16).double(), (torch.randn(40, 16) + 0.3).double()
    assert kernel_distance(real, generated).item() == pytest.approx(poly_mmd(real, generated).item(), rel=1e-9)


def test_of_one_distribution_it_is_zero_on_average():
    torch.manual_seed(0)
    values = torch.stack([kernel_distance(torch.randn(6, 4), torch.randn(9, 4)) for _ in range(2000)])
    assert abs(values.mean()) < 4 * values.std() / 2000 ** 0.5
    assert 0.3 < (values < 0).float().mean() < 0.8
    biased = values.mean() + 2 / 6  # what pairs of a vector with itself would add is far above that noise
    assert biased > 10 * values.std() / 2000 ** 0.5


def test_a_shift_of_the_mean_has_a_closed_form():
    """In one dimension, with u = x y: E(u + 1)^3 = E u^3 + 3 E u^2 + 3 E u + 1, for standard normals and a shift a."""
    torch.manual_seed(0)
    a = 0.5
    moments = {"x": (0, 1, 0), "y": (a, 1 + a * a, a**3 + 3 * a)}  # E, E of the square, E of the cube

    def mean_kernel(p, q):
        return p[2] * q[2] + 3 * p[1] * q[1] + 3 * p[0] * q[0] + 1

    x, y = moments["x"], moments["y"]
    expected = mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)
    value = kernel_distance(torch.randn(6000, 1), torch.randn(6000, 1) + a)
    assert value.item() == pytest.approx(expected, rel=0.1)


def test_parts_of_the_matrix_add_up(monkeypatch):
    x, y = torch.randn(11, 3).double(), torch.randn(7, 3).double()
    whole = kernel_sum(x, y)
    monkeypatch.setattr(kernel, "ROWS", 4)
    assert torch.allclose(kernel_sum(x, y), whole)


def test_large_features_are_counted_in_float64():
    real, generated = torch.randn(8, 5) + 500, torch.randn(8, 5) + 501
    assert kernel_distance(real, generated).item() == pytest.approx(by_hand(real, generated), rel=1e-6)


@pytest.mark.parametrize("shapes", [((1, 3), (5, 3)), ((5, 3), (1, 3)), ((5, 3), (5, 2))])
def test_what_it_refuses(shapes):
    with pytest.raises(ValueError, match="2 or more vectors of one length"):
        kernel_distance(*(torch.randn(shape) for shape in shapes))
