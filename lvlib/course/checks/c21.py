"""Checks of notebook 21: a schedule, noise in and out, steps of two samplers, the perfect guess of a Gaussian."""

import math

import torch

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.pvdm import diffusion, samplers
from lvlib.models.pvdm.diffusion import like


def expected_noise(x, alpha_bar, mean, deviation):
    """Exercise 21.6, which no module of lvlib needs."""
    share = (1 - alpha_bar).sqrt() / (alpha_bar * deviation**2 + 1 - alpha_bar)
    return like(share, x) * (x - like(alpha_bar.sqrt(), x) * mean)


def _beta_cases(draw):
    def case(about, *args):
        return Case(about, args, gradients=False)

    yield case("the notebook's 1,000 steps", 1000, 0.0015, 0.0195)
    yield case("one step", 1, 0.3, 0.9)
    yield case("two steps", 2, 0.01, 0.25)
    yield case("betas that stay", draw.size(3, 9), 0.2, 0.2)
    yield case("larger betas", draw.size(5, 50), 0.01, 0.9)


def _betas(make):
    return lambda steps, start, end: make(steps, start, end).to(torch.float64)


@exercise("21.1", reference=diffusion.sqrt_linear_betas, wrong={
    "the betas are evenly spaced, not their roots": _betas(
        lambda steps, start, end: torch.linspace(start, end, steps, dtype=torch.float64)),
    "these are the roots: betas are their squares": _betas(
        lambda steps, start, end: torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64)),
    "the roots go from the root of start to that of end": _betas(
        lambda steps, start, end: torch.linspace(start, end, steps, dtype=torch.float64)**2),
    "the last beta is `end`": _betas(
        lambda steps, start, end: torch.linspace(start**0.5, end**0.5, steps + 1, dtype=torch.float64)[:-1]**2),
    "float64 is asked for": lambda steps, start, end: torch.linspace(start**0.5, end**0.5, steps)**2,
    "it rises from start to end": _betas(
        lambda steps, start, end: torch.linspace(end**0.5, start**0.5, steps, dtype=torch.float64)**2),
}, cases=_beta_cases)
def _(fn, expect):
    found = fn(5, 0.01, 0.25)
    expect(found.shape == (5,), "one beta for each step", look_at="linspace(first, last, steps)")
    expect(found.dtype == torch.float64, "float64 is asked for", look_at="dtype=torch.float64")
    values = [round(value, 6) for value in found.tolist()]
    expect(values[0] < 0.2, "it rises from start to end", look_at="the first two arguments of linspace")
    expect(values != [0.01, 0.07, 0.13, 0.19, 0.25], "the betas are evenly spaced, not their roots",
           look_at="start**0.5")
    expect(values != [0.1, 0.2, 0.3, 0.4, 0.5], "these are the roots: betas are their squares", look_at=".square()")
    expect(values[0] == 0.01, "the roots go from the root of start to that of end", look_at="start**0.5")
    expect(values[-1] == 0.25, "the last beta is `end`", look_at="linspace has both ends")
    expect(values == [0.01, 0.04, 0.09, 0.16, 0.25], "the roots of 0.01 to 0.25 are 0.1, 0.2, 0.3, 0.4, 0.5")


def _bars(draw, steps=12, dtype=torch.float32):
    """alpha_bars (steps + 1,) of random betas."""
    betas = 0.02 + 0.3 * draw.uniform(steps, dtype=torch.float64)
    return torch.cat([torch.ones(1).double(), (1 - betas).cumprod(0)]).to(dtype)


def _noise_cases(draw):
    def case(about, *shape, t=None, dtype=torch.float32, steps=12):
        t = draw.integers(1, steps + 1, shape[0]) if t is None else torch.tensor(t)
        args = draw.normal(*shape, dtype=dtype), t, draw.normal(*shape, dtype=dtype)
        return Case(about, (*args, _bars(draw, steps)), batch=(0, 1, 2), gradients=False)

    yield case("the notebook's points", 6, 2)
    yield case("planes", 2, draw.size(2, 5), draw.size(3, 9))
    yield case("video", 3, 1, 2, 3, draw.size(2, 4))
    yield case("one number each", 4)
    yield case("no step and the last one", 2, 3, t=[0, 7], steps=7)
    yield case("a batch as long as its clips", 3, 3, 3, t=[1, 5, 9])
    yield case("one clip", 1, 4)
    yield case("float64", 2, 3, dtype=torch.float64)
    low = torch.bfloat16
    args = draw.normal(2, 5, dtype=low), torch.tensor([1, 2]), draw.normal(2, 5, dtype=low)
    yield Case("bfloat16, first steps", (*args, torch.tensor([1, 0.9985, 0.997])), gradients=False)


def _mixed(left, rest):
    """A wrong `add_noise`: shares of the data and of the noise."""
    return lambda x0, t, noise, bars: like(left(bars[t]), x0) * x0 + like(rest(bars[t]), x0) * noise


@exercise("21.2", reference=diffusion.add_noise, wrong={
    "the noise is not in it": _mixed(torch.sqrt, torch.zeros_like),
    "alpha_bar is a share of the variance: its root is what multiplies": _mixed(lambda a: a, lambda a: 1 - a),
    "the variance of the noise is 1 - alpha_bar": _mixed(torch.sqrt, lambda a: 1 - a.sqrt()),
    "the noise is multiplied by the root of 1 - alpha_bar": _mixed(torch.sqrt, lambda a: 1 - a),
    "data and noise are the wrong way round": _mixed(lambda a: (1 - a).sqrt(), torch.sqrt),
    "alpha_bars[t] is what step t leaves: it begins with step 0": lambda x0, t, noise, bars: diffusion.add_noise(
        x0, t - 1, noise, bars),
    "each clip has its own step": lambda x0, t, noise, bars: diffusion.add_noise(
        x0, t[:1].expand(len(x0)), noise, bars),
}, cases=_noise_cases)
def _(fn, expect):
    bars = torch.tensor([1.0, 0.64, 0.36])
    x0, noise = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    found = fn(x0, torch.tensor([1, 2]), noise, bars)
    expect(found.shape == (2, 2), "x_t has the shape of x0", look_at="like(...)")
    rounded = [[round(value, 3) for value in row] for row in found.tolist()]
    expect(rounded[0][1] != 0 or rounded[0][0] == 1, "the noise is not in it", look_at="+ ... * noise")
    expect(rounded[0] != [1.0, 0.0], "alpha_bars[t] is what step t leaves: it begins with step 0",
           look_at="alpha_bars[t]")
    expect(rounded[1] != rounded[0], "each clip has its own step", look_at="alpha_bars[t], for all t")
    expect(rounded[0] != [0.64, 0.36], "alpha_bar is a share of the variance: its root is what multiplies",
           look_at=".sqrt()")
    expect(rounded[0] != [0.6, 0.8], "data and noise are the wrong way round", look_at="alpha_bar.sqrt() * x0")
    expect(rounded[0][1] != 0.2, "the variance of the noise is 1 - alpha_bar", look_at="(1 - alpha_bar).sqrt()")
    expect(rounded[0][1] != 0.36, "the noise is multiplied by the root of 1 - alpha_bar",
           look_at="(1 - alpha_bar).sqrt()")
    expect(rounded == [[0.8, 0.6], [0.6, 0.8]], "the root of 0.64 is 0.8, and 0.6 is left for the noise")


@exercise("21.3", reference=diffusion.without_noise, wrong={
    "the noise was added, now it goes": lambda x, t, noise, bars: (
        x + like((1 - bars[t]).sqrt(), x) * noise) / like(bars[t].sqrt(), x),
    "divide by what x0 was multiplied by": lambda x, t, noise, bars: x - like((1 - bars[t]).sqrt(), x) * noise,
    "the noise goes first, then all is divided": lambda x, t, noise, bars: (
        x / like(bars[t].sqrt(), x) - like((1 - bars[t]).sqrt(), x) * noise),
    "x0 was multiplied by the root of alpha_bar": lambda x, t, noise, bars: (
        x - like((1 - bars[t]).sqrt(), x) * noise) / like(bars[t], x),
    "the noise in x is not all of it: it was multiplied, too": lambda x, t, noise, bars: (
        x - noise) / like(bars[t].sqrt(), x),
    "alpha_bars[t] is what step t leaves: it begins with step 0": lambda x, t, noise, bars: diffusion.without_noise(
        x, t - 1, noise, bars),
}, cases=_noise_cases)
def _(fn, expect):
    bars = torch.tensor([1.0, 0.64, 0.36])
    x0, noise = torch.tensor([[1.0], [1.0]]), torch.tensor([[2.0], [2.0]])
    found = fn(torch.tensor([[0.8 + 1.2], [0.6 + 1.6]]), torch.tensor([1, 2]), noise, bars)
    expect(found.shape == x0.shape, "x0 has the shape of x", look_at="like(...)")
    value = round(found[0, 0].item(), 3)
    expect(value != 4.0, "the noise was added, now it goes", look_at="x - ...")
    expect(value != 0.8, "divide by what x0 was multiplied by", look_at="/ like(alpha_bar.sqrt(), x)")
    expect(value != 1.3, "the noise goes first, then all is divided", look_at="parentheses")
    expect(value != 1.25, "x0 was multiplied by the root of alpha_bar", look_at="alpha_bar.sqrt()")
    expect(value != 0.0 or found[1, 0].item() == value, "the noise in x is not all of it: it was multiplied, too",
           look_at="(1 - alpha_bar).sqrt() * noise")
    expect(found[0, 0] != 2.0, "alpha_bars[t] is what step t leaves: it begins with step 0", look_at="alpha_bars[t]")
    expect(torch.allclose(found, x0), "2 = 0.8 x0 + 0.6 noise, and with a noise of 2 x0 is 1")


def _steps(draw, b, most):
    """Pairs t > s of steps: two tensors (b,)."""
    t = draw.integers(2, most + 1, b)
    return t, (t * draw.uniform(b)).long().clamp(min=1)


def _ancestral_cases(draw):
    def case(about, *shape, variance="posterior", t=None, s=None, dtype=torch.float32):
        drawn = _steps(draw, shape[0], 12)
        t, s = drawn if t is None else (torch.tensor(t), torch.tensor(s))
        x, x0, noise = (draw.normal(*shape, dtype=dtype) for _ in range(3))
        return Case(about, (x, x0, t, s, _bars(draw), variance, noise), batch=(0, 1, 2, 3, 6),
                    gradients=False)

    for variance in "posterior", "beta":
        yield case(f"the notebook's points, {variance}", 6, 2, variance=variance)
        yield case(f"neighbouring steps, {variance}", 3, 2, 2, variance=variance, t=[2, 7, 12], s=[1, 6, 11])
        yield case(f"the last step, {variance}", 3, draw.size(2, 5), variance=variance, t=[1, 5, 12], s=[0, 0, 0])
        yield case(f"some arrive, {variance}", 4, 3, variance=variance, t=[3, 3, 9, 9], s=[0, 1, 8, 0])
        yield case(f"float64 planes, {variance}", 2, 4, draw.size(2, 5), variance=variance, dtype=torch.float64)
    yield case("one clip", 1, 5)


def _weights(a_t, a_s, beta):
    return a_s.sqrt() * beta / (1 - a_t), (1 - beta).sqrt() * (1 - a_s) / (1 - a_t)


def _ancestral(weights=_weights,
               sigma=lambda a_t, a_s, beta, variance: (beta if variance == "beta" else beta * (1 - a_s) / (
                   1 - a_t)).sqrt(), last=lambda s: s > 0, share=lambda a_t, a_s: 1 - a_t / a_s):
    """A wrong `ancestral_step`, by one of its parts."""

    def ancestral_step(x, x0, t, s, bars, variance, noise):
        a_t, a_s = bars[t], bars[s]
        beta = share(a_t, a_s)
        of_x0, of_x = weights(a_t, a_s, beta)
        added = last(s) * sigma(a_t, a_s, beta, variance)
        return like(of_x0, x) * x0 + like(of_x, x) * x + like(added, x) * noise

    return ancestral_step


@exercise("21.4", reference=samplers.ancestral_step, wrong={
    "no noise is added": _ancestral(last=lambda s: 0 * s),
    "the last step, to s = 0, brings no noise": _ancestral(last=lambda s: 1),
    "noise is multiplied by sigma, the root of the variance": _ancestral(
        sigma=lambda a_t, a_s, beta, variance: beta if variance == "beta" else beta * (1 - a_s) / (1 - a_t)),
    "\"beta\" asks for the variance beta": _ancestral(
        sigma=lambda a_t, a_s, beta, variance: (beta * (1 - a_s) / (1 - a_t)).sqrt()),
    "\"posterior\" asks for beta (1 - a_s) / (1 - a_t)": _ancestral(
        sigma=lambda a_t, a_s, beta, variance: beta.sqrt()),
    "the weights of x0 and x are the wrong way round": _ancestral(
        weights=lambda a_t, a_s, beta: ((1 - beta).sqrt() * (1 - a_s) / (1 - a_t), a_s.sqrt() * beta / (1 - a_t))),
    "x0 is multiplied by the root of alpha_bar at s, not at t": _ancestral(
        weights=lambda a_t, a_s, beta: (a_t.sqrt() * beta / (1 - a_t), (1 - beta).sqrt() * (1 - a_s) / (1 - a_t))),
    "x is multiplied by the root of 1 - beta": _ancestral(
        weights=lambda a_t, a_s, beta: (a_s.sqrt() * beta / (1 - a_t), (1 - beta) * (1 - a_s) / (1 - a_t))),
    "beta is 1 - a_t / a_s": _ancestral(share=lambda a_t, a_s: a_s - a_t),
}, cases=_ancestral_cases)
def _(fn, expect):
    bars, one = torch.tensor([1.0, 0.64, 0.16]).double(), torch.ones(1, 1).double()

    def parts(variance, t=2, s=1):
        """What x0, x and noise are multiplied by."""
        at = torch.tensor([t]), torch.tensor([s]), bars
        return [round(fn(x, x0, *at, variance, noise).item(), 4) for x0, x, noise in (
            (one, 0 * one, 0 * one), (0 * one, one, 0 * one), (0 * one, 0 * one, one))]

    of_x0, of_x, posterior = parts("posterior")  # beta 0.75: 0.8 * 0.75 / 0.84, 0.5 * 0.36 / 0.84
    beta, last = parts("beta")[2], parts("posterior", 1, 0)
    expect(beta != 0 or posterior != 0, "no noise is added", look_at="+ ... * noise")
    expect((of_x0, of_x) != (0.2143, 0.7143), "the weights of x0 and x are the wrong way round",
           look_at="a_s.sqrt() * beta goes with x0")
    expect(of_x0 != 0.3571, "x0 is multiplied by the root of alpha_bar at s, not at t", look_at="a_s.sqrt()")
    expect(of_x0 != 0.4571, "beta is 1 - a_t / a_s", look_at="alpha_bars[t] / alpha_bars[s]")
    expect(of_x != 0.1071, "x is multiplied by the root of 1 - beta", look_at="(1 - beta).sqrt()")
    expect((of_x0, of_x) == (0.7143, 0.2143), "the mean is not that of q(x_s | x_t, x_0)", look_at="the formula above")
    expect((beta, posterior) != (0.75, 0.3214), "noise is multiplied by sigma, the root of the variance",
           look_at="sigma2.sqrt()")
    expect(beta == 0.866, "\"beta\" asks for the variance beta", look_at='variance == "beta"')
    expect(posterior == 0.5669, "\"posterior\" asks for beta (1 - a_s) / (1 - a_t)", look_at="sigma2")
    expect(last[2] == 0 and parts("beta", 1, 0)[2] == 0, "the last step, to s = 0, brings no noise", look_at="s > 0")


def _ddim_cases(draw):
    def case(about, *shape, eta=0.0, t=None, s=None, dtype=torch.float32):
        drawn = _steps(draw, shape[0], 12)
        t, s = drawn if t is None else (torch.tensor(t), torch.tensor(s))
        x0, predicted, noise = (draw.normal(*shape, dtype=dtype) for _ in range(3))
        return Case(about, (x0, predicted, t, s, _bars(draw), eta, noise), batch=(0, 1, 2, 3, 6), gradients=False)

    for eta in 0.0, 1.0, 0.5:
        yield case(f"the notebook's points, eta {eta:g}", 6, 2, eta=eta)
        yield case(f"planes, eta {eta:g}", 2, draw.size(2, 5), draw.size(3, 6), eta=eta)
        yield case(f"the last step, eta {eta:g}", 3, 4, eta=eta, t=[1, 5, 12], s=[0, 0, 0])
    yield case("float64", 2, 3, eta=0.3, dtype=torch.float64)
    yield case("one clip", 1, 5, eta=0.7)


def _ddim(sigma2=lambda a_t, a_s, eta: eta**2 * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s),
          data=lambda a_t, a_s: a_s.sqrt(),
          kept=lambda a_s, sigma2: (1 - a_s - sigma2).sqrt(), new=lambda sigma2: sigma2.sqrt()):
    """A wrong `ddim_step`, by one of its parts."""

    def ddim_step(x0, predicted, t, s, bars, eta, noise):
        a_t, a_s = bars[t], bars[s]
        variance = sigma2(a_t, a_s, eta)
        return (like(data(a_t, a_s), x0) * x0 + like(kept(a_s, variance), x0) * predicted
                + like(new(variance), x0) * noise)

    return ddim_step


@exercise("21.5", reference=samplers.ddim_step, wrong={
    "new noise takes the place of old: sigma^2 is missing below the root": _ddim(
        kept=lambda a_s, sigma2: (1 - a_s).sqrt()),
    "x0 is multiplied by the root of alpha_bar at s": _ddim(data=lambda a_t, a_s: a_t.sqrt()),
    "sigma^2 has eta squared": _ddim(
        sigma2=lambda a_t, a_s, eta: eta * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)),
    "with eta 1 it is the posterior variance, not beta": _ddim(
        sigma2=lambda a_t, a_s, eta: eta**2 * (1 - a_t / a_s)),
    "no noise is new": _ddim(new=torch.zeros_like),
    "new noise is multiplied by sigma, the root of sigma^2": _ddim(new=lambda sigma2: sigma2),
}, cases=_ddim_cases)
def _(fn, expect):
    bars, one = torch.tensor([1.0, 0.64, 0.16]).double(), torch.ones(1, 1).double()

    def parts(eta):
        """What x0, the predicted and the new noise are multiplied by."""
        at = torch.tensor([2]), torch.tensor([1]), bars, eta
        return [round(fn(x0, old, *at, new).item(), 4) for x0, old, new in (
            (one, 0 * one, 0 * one), (0 * one, one, 0 * one), (0 * one, 0 * one, one))]

    data, old, new = parts(1.0)  # the posterior variance is 0.36 / 0.84 * 0.75 = 0.3214
    expect(math.isfinite(data), "with eta 1 it is the posterior variance, not beta", look_at="(1 - a_s) / (1 - a_t)")
    expect(data == 0.8, "x0 is multiplied by the root of alpha_bar at s", look_at="a_s.sqrt()")
    expect(new != 0, "no noise is new", look_at="+ sigma2.sqrt() * noise")
    expect(new != 0.3214, "new noise is multiplied by sigma, the root of sigma^2", look_at="sigma2.sqrt()")
    expect(old != 0.6, "new noise takes the place of old: sigma^2 is missing below the root",
           look_at="(1 - a_s - sigma2)")
    expect(new == 0.5669 and old == 0.1964, "with eta 1 the old noise is multiplied by 0.1964, the new by 0.5669",
           look_at="1 - a_s - sigma2")
    expect(parts(0.5)[2] == 0.2835, "sigma^2 has eta squared", look_at="eta**2")


def _gaussian_cases(draw):
    def case(about, *shape, mean=0.3, deviation=0.5, dtype=torch.float32, left=None):
        left = 0.05 + 0.9 * draw.uniform(shape[0]) if left is None else torch.tensor(left)
        return Case(about, (draw.normal(*shape, dtype=dtype), left, mean, deviation), batch=(0, 1), gradients=False)

    yield case("the notebook's single number", 1, 1, mean=0.0, dtype=torch.float64)
    yield case("points", 5, 2)
    yield case("planes", 3, draw.size(2, 5), 4, mean=-1.2, deviation=2.0)
    yield case("data that are one point", 3, 2, mean=0.7, deviation=0.0)
    yield case("nothing left, and nearly all", 2, 3, left=[0.0, 0.9985])
    yield case("float64", 2, 3, dtype=torch.float64)


def _guess(share, centre=lambda a, mean: a.sqrt() * mean):
    return lambda x, a, mean, deviation: like(share(a, deviation), x) * (x - like(centre(a, mean), x))


@exercise("21.6", reference=expected_noise, wrong={
    "x_t has the mean sqrt(alpha_bar) m": _guess(lambda a, d: (1 - a).sqrt() / (a * d**2 + 1 - a),
                                                lambda a, mean: 0 * a + mean),
    "the mean of the data is missing": _guess(lambda a, d: (1 - a).sqrt() / (a * d**2 + 1 - a), lambda a, mean: 0 * a),
    "this is the noise's part of x_t: divide by its factor, sqrt(1 - alpha_bar)": _guess(
        lambda a, d: (1 - a) / (a * d**2 + 1 - a)),
    "the variance of data is d^2": _guess(lambda a, d: (1 - a).sqrt() / (a * d + 1 - a)),
    "the variance of x_t has that of the data in it": _guess(lambda a, d: (1 - a).sqrt() / (1 - a)),
    "data have a deviation, not always 1": _guess(lambda a, d: (1 - a).sqrt()),
}, cases=_gaussian_cases)
def _(fn, expect):
    left = torch.tensor([0.64])
    slope = round((fn(torch.ones(1, 1), left, 0.0, 0.5) - fn(torch.zeros(1, 1), left, 0.0, 0.5)).item(), 4)
    expect(slope != 0.6923, "this is the noise's part of x_t: divide by its factor, sqrt(1 - alpha_bar)",
           look_at="(1 - alpha_bar).sqrt() / (...)")
    expect(slope != 0.8824, "the variance of data is d^2", look_at="deviation**2")
    expect(slope != 1.6667, "the variance of x_t has that of the data in it", look_at="alpha_bar * deviation**2")
    expect(slope != 0.6, "data have a deviation, not always 1", look_at="alpha_bar * deviation**2")
    expect(slope == 1.1538, "with alpha_bar 0.64 and d = 0.5 the guess grows by 0.6 / 0.52 with x")
    at_mean = round(fn(torch.full((1, 1), 0.8), left, 1.0, 0.5).item(), 4)
    expect(at_mean != 0.9231, "the mean of the data is missing", look_at="x - ... * mean")
    expect(at_mean == 0, "x_t has the mean sqrt(alpha_bar) m", look_at="alpha_bar.sqrt() * mean")
