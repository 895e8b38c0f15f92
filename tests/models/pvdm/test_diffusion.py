"""Noise step by step against the closed form, and the schedule of Table 6."""

import math

import pytest
import torch

from lvlib.models.pvdm.diffusion import NoiseSchedule, add_noise, sqrt_linear_betas, without_noise

TABLE_6 = 1000, 0.0015, 0.0195


def products(betas: list[float]) -> list[float]:
    """alpha_bar of 0, 1, ... T steps, as section 3.1 defines it."""
    return [math.prod(1 - beta for beta in betas[:t]) for t in range(len(betas) + 1)]


def alpha_bars(steps: int = 1000) -> torch.Tensor:
    betas = sqrt_linear_betas(steps, *TABLE_6[1:])
    return torch.tensor(products(betas.tolist()), dtype=torch.float64)


def test_betas_go_from_the_first_to_the_last_of_table_6_in_even_steps_of_their_roots():
    betas = sqrt_linear_betas(*TABLE_6)
    assert betas.dtype == torch.float64 and betas.shape == (1000,)
    assert betas[0].item() == pytest.approx(0.0015) and betas[-1].item() == pytest.approx(0.0195)
    roots = [math.sqrt(beta) for beta in betas.tolist()]
    step = (math.sqrt(0.0195) - math.sqrt(0.0015)) / 999
    assert all(later - earlier == pytest.approx(step, rel=1e-8)
               for earlier, later in zip(roots, roots[1:], strict=False))


def test_they_stay_below_a_straight_line_between_the_same_ends():
    betas = sqrt_linear_betas(*TABLE_6)
    straight = [0.0015 + (0.0195 - 0.0015) * i / 999 for i in range(1000)]
    assert all(beta < line for beta, line in zip(betas[1:-1].tolist(), straight[1:-1], strict=True))


def test_one_step_has_the_first_beta():
    assert sqrt_linear_betas(1, 0.3, 0.9).tolist() == pytest.approx([0.3])


def test_alpha_bars_are_products_and_begin_with_no_noise():
    schedule = NoiseSchedule(sqrt_linear_betas(*TABLE_6))
    expected = products(sqrt_linear_betas(*TABLE_6).tolist())
    assert schedule.steps == 1000 and schedule.alpha_bars.shape == (1001,)
    assert schedule.alpha_bars.tolist() == pytest.approx(expected, rel=1e-6)
    assert schedule.alpha_bars[0] == 1 and (schedule.alpha_bars.diff() < 0).all()


def test_a_schedule_is_no_weight_of_a_model_and_goes_where_it_goes():
    schedule = NoiseSchedule(sqrt_linear_betas(10, 0.1, 0.2))
    assert not schedule.state_dict() and not list(schedule.parameters())
    assert schedule.alpha_bars.dtype == torch.float32  # Apple's GPU has no float64
    assert schedule.to("meta").alpha_bars.device.type == "meta"


def test_the_closed_form_has_mean_and_variance_of_noise_added_step_by_step():
    """x_t = sqrt(1 - beta) x + sqrt(beta) noise, of which mean and variance are known for each t."""
    betas = sqrt_linear_betas(*TABLE_6).tolist()
    x0, noise = 1.7, torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    mean, variance = x0, 0.0
    for t, beta in enumerate(betas, 1):
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        up, down = add_noise(torch.full((2, 1), x0, dtype=torch.float64), torch.tensor([t, t]), noise,
                             alpha_bars())[:, 0].tolist() if t in (1, 2, 10, 100, 500, 999, 1000) else (None, None)
        if up is not None:
            assert (up + down) / 2 == pytest.approx(mean, rel=1e-10)  # what does not depend on the noise
            assert ((up - down) / 2)**2 == pytest.approx(variance, rel=1e-10)  # the square of its weight


def test_samples_of_it_have_that_mean_and_variance():
    torch.manual_seed(0)
    betas, x, n = [0.02, 0.1, 0.3], torch.full((200_000,), 2.0, dtype=torch.float64), 200_000
    for beta in betas:
        x = math.sqrt(1 - beta) * x + math.sqrt(beta) * torch.randn_like(x)
    bars = torch.tensor(products(betas), dtype=torch.float64)
    direct = add_noise(torch.full((n,), 2.0, dtype=torch.float64), torch.full((n,), 3), torch.randn_like(x), bars)
    for sample in x, direct:
        variance = 1 - bars[3].item()
        assert sample.mean().item() == pytest.approx(2 * math.sqrt(bars[3]), abs=5 * math.sqrt(variance / n))
        assert sample.var().item() == pytest.approx(variance, rel=5 * math.sqrt(2 / n))


def test_data_of_variance_1_keep_it():
    a = alpha_bars()
    t = torch.arange(1001)
    of_data = add_noise(torch.ones(1001, 1).double(), t, torch.zeros(1001, 1).double(), a)
    of_noise = add_noise(torch.zeros(1001, 1).double(), t, torch.ones(1001, 1).double(), a)
    torch.testing.assert_close(of_data**2 + of_noise**2, torch.ones(1001, 1).double())


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 2, 5, 3)])
def test_each_of_a_batch_has_its_own_step(shape):
    torch.manual_seed(0)
    x0, noise, t = torch.randn(shape), torch.randn(shape), torch.tensor([0, 1, 500, 1000])
    bars = alpha_bars()
    x = add_noise(x0, t, noise, bars)
    assert x.shape == shape and x.dtype == torch.float32
    for i, step in enumerate(t.tolist()):
        a = bars[step].item()
        torch.testing.assert_close(x[i], math.sqrt(a) * x0[i] + math.sqrt(1 - a) * noise[i])
    assert torch.equal(x[0], x0[0])  # step 0 is the data


def test_taking_the_noise_out_is_the_inverse():
    torch.manual_seed(0)
    x0, noise, t = torch.randn(1001, 3), torch.randn(1001, 3), torch.arange(1001)
    x = add_noise(x0, t, noise, alpha_bars())
    torch.testing.assert_close(without_noise(x, t, noise, alpha_bars()), x0, atol=1e-4, rtol=0)
    exact = without_noise(add_noise(x0.double(), t, noise.double(), alpha_bars()), t, noise.double(), alpha_bars())
    assert exact.dtype == torch.float64
    torch.testing.assert_close(exact, x0.double(), atol=1e-11, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_comes_out_is_of_the_dtype_of_what_goes_in(dtype):
    x0 = torch.randn(2, 3, dtype=dtype)
    t, schedule = torch.tensor([1, 7]), NoiseSchedule(sqrt_linear_betas(10, 0.1, 0.2))
    for bars in schedule.alpha_bars, alpha_bars(10):
        assert add_noise(x0, t, torch.randn_like(x0), bars).dtype == dtype
        assert without_noise(x0, t, torch.randn_like(x0), bars).dtype == dtype


def test_in_bfloat16_the_first_steps_are_not_lost():
    """1 - 0.9985 is nothing where numbers have 8 bits: what is left is rounded last."""
    noise = torch.ones(1, 1, dtype=torch.bfloat16)
    x = add_noise(torch.zeros_like(noise), torch.tensor([1]), noise, alpha_bars())
    assert x.item() == pytest.approx(math.sqrt(0.0015), rel=1e-2)


def test_inputs_are_left_alone():
    x0, noise, t, bars = torch.randn(2, 3), torch.randn(2, 3), torch.tensor([1, 2]), alpha_bars(5)
    before = [x.clone() for x in (x0, noise, t, bars)]
    add_noise(x0, t, noise, bars)
    without_noise(x0, t, noise, bars)
    assert all(torch.equal(x, y) for x, y in zip((x0, noise, t, bars), before, strict=True))
