"""Ways back from noise, where the perfect predictor is known: one clip, or a Gaussian."""

import dataclasses
import math

import pytest
import torch

from lvlib.models.pvdm.diffusion import sqrt_linear_betas
from lvlib.models.pvdm.samplers import DiffusionSampling, ancestral_step, ddim_step, denoise, evenly_spaced

T = 1000
BETAS = sqrt_linear_betas(T, 0.0015, 0.0195)
BARS = torch.tensor([math.prod((1 - BETAS[:t]).tolist()) for t in range(T + 1)], dtype=torch.float64)
DDIM = DiffusionSampling(clamp=False, eta=0.0)
STEPS = [1, 2, 3, 7, 50, 333, 999, 1000]


def steps(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def knows(x0: torch.Tensor):
    """The perfect predictor where x0 is all there is."""
    def predict(x, t):
        a = BARS[t].view(-1, *[1] * (x.ndim - 1)).to(x.dtype)
        return (x - a.sqrt() * x0) / (1 - a).sqrt()

    return predict


def knows_gaussian(mean: float, deviation: float):
    """The perfect predictor of N(mean, deviation^2): the noise that is to be expected, given x.
    Noise and x are jointly Gaussian, with covariance sqrt(1 - a)."""
    def predict(x, t):
        a = BARS[t].view(-1, *[1] * (x.ndim - 1)).to(x.dtype)
        return (1 - a).sqrt() / (a * deviation**2 + 1 - a) * (x - a.sqrt() * mean)

    return predict


# ------------------------------------------------------------------------------------------ where to stand

@pytest.mark.parametrize("schedule_steps", [1, 2, 9, 10, 1000])
def test_steps_go_from_the_last_to_0_and_none_comes_twice(schedule_steps):
    for n in range(1, schedule_steps + 1):
        times = evenly_spaced(n, schedule_steps)
        gaps = [t - s for t, s in zip(times, times[1:], strict=False)]
        assert times[0] == schedule_steps and times[-1] == 0 and len(times) == n + 1
        assert min(gaps) >= 1 and all(abs(gap - schedule_steps / n) <= 1 for gap in gaps), n


def test_all_steps_are_all_steps():
    assert evenly_spaced(T, T) == list(range(T, -1, -1))
    assert evenly_spaced(4, 1000) == [1000, 750, 500, 250, 0]


@pytest.mark.parametrize("n", [0, -1, 1001, 10_000])
def test_steps_that_the_schedule_does_not_have_are_refused(n):
    with pytest.raises(ValueError, match=f"^steps must be 1 to 1000, not {n}$"):
        evenly_spaced(n, T)


# ------------------------------------------------------------------------------------------ one step

def posterior(a_t: float, a_s: float) -> tuple[float, float, float]:
    """Weights of x_0 and x_t in the mean of q(x_s | x_t, x_0), and its variance, by Bayes' rule from
    q(x_s | x_0) and q(x_t | x_s): precisions add up."""
    alpha = a_t / a_s  # of the way from s to t
    precision = 1 / (1 - a_s) + alpha / (1 - alpha)
    return math.sqrt(a_s) / (1 - a_s) / precision, math.sqrt(alpha) / (1 - alpha) / precision, 1 / precision


PAIRS = [(2, 1), (10, 9), (500, 499), (1000, 999), (1000, 500), (700, 3), (40, 20)]


@pytest.mark.parametrize("t, s", PAIRS)
def test_the_ancestral_step_is_bayes_rule(t, s):
    torch.manual_seed(0)
    x, x0, noise = torch.randn(3, 5, 2).double()
    of_x0, of_x, variance = posterior(BARS[t].item(), BARS[s].item())
    found = ancestral_step(x, x0, steps(*[t] * 5), steps(*[s] * 5), BARS, "posterior", noise)
    torch.testing.assert_close(found, of_x0 * x0 + of_x * x + math.sqrt(variance) * noise)


@pytest.mark.parametrize("t", [2, 10, 500, 1000])
def test_between_neighbours_it_is_algorithm_1(t):
    torch.manual_seed(0)
    x, predicted, noise = torch.randn(3, 5, 2).double()
    a, beta = BARS[t].item(), BETAS[t - 1].item()
    x0 = (x - math.sqrt(1 - a) * predicted) / math.sqrt(a)
    line_10 = (x - beta / math.sqrt(1 - a) * predicted) / math.sqrt(1 - beta)
    found = ancestral_step(x, x0, steps(*[t] * 5), steps(*[t - 1] * 5), BARS, "beta", noise)
    torch.testing.assert_close(found, line_10 + math.sqrt(beta) * noise)


@pytest.mark.parametrize("t", [2, 10, 500, 1000])
def test_the_two_variances_are_beta_and_that_of_ho_et_al(t):
    """New noise of 1 on nothing: what comes out is sigma."""
    nothing, one = torch.zeros(1, 1).double(), torch.ones(1, 1).double()
    beta = BETAS[t - 1].item()
    tilde = (1 - BARS[t - 1].item()) / (1 - BARS[t].item()) * beta
    for variance, expected in ("beta", beta), ("posterior", tilde):
        sigma = ancestral_step(nothing, nothing, steps(t), steps(t - 1), BARS, variance, one)
        assert sigma.item()**2 == pytest.approx(expected, rel=1e-9)
    sigma = ddim_step(nothing, nothing, steps(t), steps(t - 1), BARS, 1.0, one)
    assert sigma.item()**2 == pytest.approx(tilde, rel=1e-9)
    assert tilde < beta


@pytest.mark.parametrize("t, s", [*PAIRS, (1, 0), (1000, 0)])
def test_ddim_with_eta_1_is_the_ancestral_step_with_the_posterior_variance(t, s):
    torch.manual_seed(0)
    x, predicted, noise = torch.randn(3, 5, 2).double()
    a = BARS[t].item()
    x0 = (x - math.sqrt(1 - a) * predicted) / math.sqrt(a)
    at = steps(*[t] * 5), steps(*[s] * 5), BARS
    torch.testing.assert_close(ddim_step(x0, predicted, *at, 1.0, noise),
                               ancestral_step(x, x0, *at, "posterior", noise), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("t, s", PAIRS)
def test_a_ddim_step_leaves_as_much_noise_as_belongs_to_its_step(t, s, eta):
    """Song et al.'s condition: what x_s has of noise, predicted and new, has the variance 1 - a_s."""
    at = steps(t), steps(s), BARS, eta
    nothing, one = torch.zeros(1, 1).double(), torch.ones(1, 1).double()
    old, new, data = (ddim_step(*parts[:2], *at, parts[2]).item() for parts in
                      ((nothing, one, nothing), (nothing, nothing, one), (one, nothing, nothing)))
    assert old**2 + new**2 == pytest.approx(1 - BARS[s].item(), rel=1e-9)
    assert data == pytest.approx(math.sqrt(BARS[s].item()))


def test_at_step_0_nothing_is_left_but_x0():
    torch.manual_seed(0)
    x, x0, predicted, noise = torch.randn(4, 3, 2).double()
    for t in 1, 40, 1000:
        at = steps(t, t, t), steps(0, 0, 0), BARS
        for variance in "posterior", "beta":
            torch.testing.assert_close(ancestral_step(x, x0, *at, variance, noise), x0)
        for eta in 0.0, 0.5, 1.0:
            torch.testing.assert_close(ddim_step(x0, predicted, *at, eta, noise), x0)


def test_each_of_a_batch_has_its_own_steps():
    torch.manual_seed(0)
    x, x0, predicted, noise = torch.randn(4, 3, 2, 5)
    t, s = steps(1000, 3, 1), steps(400, 2, 0)
    for i in range(3):
        one = slice(i, i + 1)
        at, here = (t, s, BARS), (t[one], s[one], BARS)
        torch.testing.assert_close(ancestral_step(x, x0, *at, "beta", noise)[one],
                                   ancestral_step(x[one], x0[one], *here, "beta", noise[one]))
        torch.testing.assert_close(ddim_step(x0, predicted, *at, 0.7, noise)[one],
                                   ddim_step(x0[one], predicted[one], *here, 0.7, noise[one]))


@pytest.mark.parametrize("bars", [BARS, BARS.float()])
def test_no_pair_of_steps_gives_a_root_of_less_than_nothing(bars):
    """With eta 1 from T to 1 nearly all noise is new: what is left for the old is 0, and rounding."""
    t, s = torch.triu_indices(T + 1, T + 1, 1).flip(0)
    x = torch.ones(len(t), 1)
    for variance in "posterior", "beta":
        assert ancestral_step(x, x, t, s, bars, variance, x).isfinite().all()
    for eta in 0.0, 1.0:
        assert ddim_step(x, x, t, s, bars, eta, x).isfinite().all()


# ------------------------------------------------------------------------------------------ all the way

@pytest.mark.parametrize("n", STEPS)
def test_with_a_perfect_predictor_ddim_gives_back_the_clip(n):
    torch.manual_seed(0)
    x0, x = torch.rand(2, 4, 7) * 2 - 1, torch.randn(2, 4, 7)
    found = denoise(x, knows(x0), BARS, evenly_spaced(n, T), DDIM)
    torch.testing.assert_close(found, x0, atol=1e-4, rtol=0)


def test_ddim_without_new_noise_is_deterministic_and_draws_nothing():
    x = torch.randn(2, 4)
    before = torch.get_rng_state()
    first = denoise(x, knows_gaussian(0.3, 0.5), BARS, evenly_spaced(20, T), DDIM)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(denoise(x, knows_gaussian(0.3, 0.5), BARS, evenly_spaced(20, T), DDIM), first)


@pytest.mark.parametrize("sampling", [DiffusionSampling(clamp=False), DiffusionSampling(sampler="ancestral"),
                                      DiffusionSampling(sampler="ancestral", variance="beta")])
def test_others_draw_as_often_as_noise_is_new_and_follow_the_seed(sampling):
    x, made = torch.randn(2, 4), []
    for seed in 0, 0, 1:
        torch.manual_seed(seed)
        made.append(denoise(x, knows_gaussian(0.3, 0.5), BARS, [1000, 500, 250, 0], sampling))
        after = torch.get_rng_state()
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    torch.manual_seed(1)
    for _ in range(2):
        torch.randn_like(x)
    assert torch.equal(torch.get_rng_state(), after)  # the step to 0 brings none


def test_a_part_of_the_way_ends_where_it_is_told():
    """From step 600 to 200, as much noise as belongs there is left."""
    torch.manual_seed(0)
    x0 = torch.full((1, 20_000), 0.5)
    x = BARS[600].sqrt().item() * x0 + (1 - BARS[600].item())**0.5 * torch.randn_like(x0)
    for sampling in DDIM, dataclasses.replace(DDIM, eta=1.0), dataclasses.replace(DDIM, sampler="ancestral"):
        found = denoise(x, knows(x0), BARS, [600, 400, 200], sampling)
        assert found.mean().item() == pytest.approx(0.5 * BARS[200].sqrt().item(), abs=0.02)
        assert found.var().item() == pytest.approx(1 - BARS[200].item(), rel=0.05)


def exact_variance(variance: str, deviation: float, n: int) -> float:
    """Of what comes out where the data are N(0, deviation^2), the start N(0, 1), the predictor
    perfect: each step multiplies x and adds noise, so that variances follow one from another."""
    v, times = 1.0, evenly_spaced(n, T)
    for t, s in zip(times, times[1:], strict=False):
        a_t, a_s = BARS[t].item(), BARS[s].item()
        of_x0, of_x, sigma2 = posterior(a_t, a_s) if s else (1.0, 0.0, 0.0)
        if variance == "beta" and s:
            sigma2 = 1 - a_t / a_s
        guess = math.sqrt(a_t) * deviation**2 / (a_t * deviation**2 + 1 - a_t)  # E[x_0 | x_t] / x_t
        v = (of_x0 * guess + of_x)**2 * v + sigma2
    return v


@pytest.mark.parametrize("deviation", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("sampling", [
    DiffusionSampling(sampler="ancestral", variance="beta", clamp=False),
    DiffusionSampling(sampler="ancestral", variance="posterior", clamp=False), DiffusionSampling(clamp=False)])
def test_a_gaussian_comes_out_with_the_variance_that_the_steps_give_it(sampling, deviation):
    torch.manual_seed(0)
    n, mean, count = 25, 0.7, 100_000
    found = denoise(torch.randn(1, count).double(), knows_gaussian(mean, deviation), BARS, evenly_spaced(n, T),
                    sampling)
    variance = sampling.variance if sampling.sampler == "ancestral" else "posterior"
    expected = exact_variance(variance, deviation, n)
    assert found.mean().item() == pytest.approx(mean, abs=0.01 + 5 * math.sqrt(expected / count))
    assert found.var().item() == pytest.approx(expected, rel=5 * math.sqrt(2 / count))


@pytest.mark.parametrize("t, s", PAIRS)
def test_the_two_variances_bracket_that_of_the_way_back(t, s):
    """Of N(0, d^2), Var[x_s | x_t] is known: x_s and x_t are jointly Gaussian. For a single point it is
    the posterior's, for data of variance 1 it is beta, between them in between (Ho et al., 3.2)."""
    a_t, a_s = BARS[t].item(), BARS[s].item()
    _, _, lower = posterior(a_t, a_s)
    upper = 1 - a_t / a_s
    found = []
    for deviation in 0.0, 0.3, 0.7, 1.0:
        v_s, v_t = (a * deviation**2 + 1 - a for a in (a_s, a_t))
        found.append(v_s - a_t / a_s * v_s**2 / v_t)
    assert found[0] == pytest.approx(lower, rel=1e-6) and found[-1] == pytest.approx(upper, rel=1e-6)
    assert found == sorted(found)


def test_more_steps_bring_the_variance_nearer_to_that_of_the_data():
    for deviation in 0.1, 0.5, 1.0:
        for variance in "posterior", "beta":
            off = [abs(exact_variance(variance, deviation, n) / deviation**2 - 1) for n in (10, 100, 1000)]
            assert off[0] > off[1] > off[2] and off[2] < 0.25, (deviation, variance, off)


def test_with_all_steps_every_way_gives_a_gaussian_its_mean_and_variance():
    torch.manual_seed(0)
    for sampling in (DDIM, DiffusionSampling(clamp=False), DiffusionSampling(sampler="ancestral", clamp=False),
                     DiffusionSampling(sampler="ancestral", variance="beta", clamp=False)):
        found = denoise(torch.randn(1, 10_000), knows_gaussian(-0.4, 0.5), BARS, evenly_spaced(T, T), sampling)
        assert found.mean().item() == pytest.approx(-0.4, abs=0.03)
        assert found.std().item() == pytest.approx(0.5, rel=0.05)


# ------------------------------------------------------------------------------------------ clamping, dtypes

def test_clamping_keeps_what_is_predicted_where_the_data_lies():
    wrong = knows(torch.full((3, 2), 5.0))
    x, times = torch.randn(3, 2), [1000, 500, 0]
    kept = DiffusionSampling(eta=0.0)
    assert torch.equal(denoise(x, wrong, BARS, times, kept, -1.0, 1.0), torch.ones(3, 2))
    torch.testing.assert_close(denoise(x, wrong, BARS, times, DDIM, -1.0, 1.0), torch.full((3, 2), 5.0))
    low, high = torch.tensor([[-1.0, -2.0]]), torch.tensor([[1.0, 2.0]])
    assert torch.equal(denoise(x, wrong, BARS, times, kept, low, high), high.expand(3, 2))
    torch.testing.assert_close(denoise(x, wrong, BARS, times, kept), torch.full((3, 2), 5.0))  # no bounds


def test_what_the_clamped_x0_leaves_of_x_is_its_noise():
    x, predicted = torch.tensor([[2.0]]), torch.tensor([[-30.0]])
    found = denoise(x, lambda x, t: predicted, BARS, [1000, 400], DiffusionSampling(eta=0.0), -1.0, 1.0)
    a_t, a_s = BARS[1000].item(), BARS[400].item()
    noise = (2 - math.sqrt(a_t)) / math.sqrt(1 - a_t)
    assert found.item() == pytest.approx(math.sqrt(a_s) + math.sqrt(1 - a_s) * noise, rel=1e-5)


def test_ddim_with_eta_1_is_ancestral_sampling_where_it_clamps_too():
    made = []
    for sampling in DiffusionSampling(), DiffusionSampling(sampler="ancestral"):
        torch.manual_seed(0)
        x = torch.randn(4, 5).double()
        made.append(denoise(x, knows_gaussian(1.5, 2.0), BARS, evenly_spaced(30, T), sampling, -1.0, 1.0))
    assert (made[0].abs() == 1).any()  # some were clamped
    torch.testing.assert_close(made[0], made[1], atol=1e-9, rtol=0)


def test_bounds_that_nothing_reaches_change_nothing():
    x = torch.randn(4, 5).double()
    for sampling in DiffusionSampling(eta=0.0), DDIM:
        made = denoise(x, knows_gaussian(0.2, 0.5), BARS, evenly_spaced(30, T), sampling, -1e6, 1e6)
        torch.testing.assert_close(made, denoise(x, knows_gaussian(0.2, 0.5), BARS, evenly_spaced(30, T), DDIM))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("sampling", [DDIM, DiffusionSampling(), DiffusionSampling(sampler="ancestral")])
def test_what_comes_out_is_of_the_dtype_of_what_goes_in(dtype, sampling):
    asked = []

    def predict(x, t):
        asked.append((x.dtype, t.dtype, tuple(t.shape), t.unique().tolist()))
        return torch.zeros_like(x)

    x = torch.randn(3, 2, 4, dtype=dtype)
    before = x.clone()
    found = denoise(x, predict, BARS, [9, 4, 0], sampling, -1.0, 1.0)
    assert found.dtype == dtype and found.shape == x.shape and torch.equal(x, before)
    assert asked == [(dtype, torch.int64, (3,), [9]), (dtype, torch.int64, (3,), [4])]


# ------------------------------------------------------------------------------------------ settings

def test_the_defaults_are_those_of_table_1_and_the_official_code():
    sampling = DiffusionSampling()
    assert (sampling.steps, sampling.next_steps) == (100, 20)
    assert (sampling.sampler, sampling.eta, sampling.variance) == ("ddim", 1.0, "posterior")
    assert sampling.guidance == 0 and sampling.clamp


@pytest.mark.parametrize("wrong, words", [
    ({"steps": 0}, "steps must be at least 1"), ({"next_steps": -3}, "next_steps must be at least 1"),
    ({"eta": -0.1}, "eta must be 0 to 1, not -0.1"), ({"eta": 1.5}, "eta must be 0 to 1, not 1.5"),
    ({"eta": math.nan}, "eta must be 0 to 1, not nan"), ({"guidance": -1.0}, "guidance must be at least 0"),
    ({"guidance": math.nan}, "guidance must be at least 0"), ({"guidance": math.inf}, "guidance must be at least 0"),
    ({"steps": math.nan}, "steps must be at least 1"), ({"steps": math.inf}, "steps must be at least 1"),
    ({"sampler": "euler"}, "sampler must be one of ddim, ancestral, not 'euler'"),
    ({"variance": "alpha"}, "variance must be one of posterior, beta, not 'alpha'")])
def test_settings_that_are_not_allowed_are_refused_in_words(wrong, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        DiffusionSampling(**wrong)
