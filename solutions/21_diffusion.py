# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 21 · Diffusion: from noise to data in small steps
#
# **What you will build.** The process that PVDM's prior stands on: noise that is added to data step by step, what is
# known about the way back, and two samplers that go it. You train a small network to go it, on points of a plane,
# where everything can be drawn, and where the best possible answer is known.
#
# **Why it matters.** The priors so far predict codes. Notebook 20 made planes of *numbers*, and there is no list of
# numbers to choose from. Diffusion draws vectors of any size, all numbers at once, and learns by guessing noise.
#
# Below, the planes of a test clip (notebook 20) get more and more noise, and the decoder shows what is left. To
# generate is the way from the bottom row to the top.

# %% jupyter={"source_hidden": true}
import copy
import math
import os

import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from lvlib.course import check, progress
from lvlib.data import MovingDigits, to_video
from lvlib.runs import load_pipeline
from lvlib.viz import curves, set_style, show, slider, strip

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %%
pipeline = load_pipeline("pvdm-course")
digits = MovingDigits(1, size=32, digit_size=20, digits=1, speeds=(1,), grid=4, split="test")
clip = to_video(torch.tensor(digits.batch(slice(0, 1))["video"]))
shipped = pipeline.prior.schedule.alpha_bars  # the share of the data's variance after each step
levels = [0, 50, 100, 200, 400, 1000]
with torch.no_grad():
    planes = pipeline.prior.standardize(pipeline.autoencoder.encode(clip))
    torch.manual_seed(0)
    noise = torch.randn_like(planes)
    noised = torch.cat([share.sqrt() * planes + (1 - share).sqrt() * noise
                        for share in shipped[levels]])
    video = pipeline.autoencoder.decode(pipeline.prior.standardize.undo(noised).clamp(-1, 1))
show(strip(video, frames=8, titles=[f"after {t} steps" for t in levels]), limit=40_000,
     alt="Six rows of 8 frames. The digit is whole at first, has gaps after 100 "
         "steps, is broken lines after 200, and nothing but scattered specks after 400 and 1000.")

# %% [markdown]
# **What it costs.** About a minute on one CPU core. **What it needs.** Notebook 20 for this picture. The rest needs
# only normal distributions: a sum of independent normal numbers is normal, and variances add up.
#
# ## 1. A little noise, often
#
# Take any data x_0, and change it a little, T times:
# $$x_t = \sqrt{1 - \beta_t}\, x_{t-1} + \sqrt{\beta_t}\, \epsilon_t, \qquad \epsilon_t \sim N(0, 1)$$
#
# Each step brings noise of variance beta_t, and shrinks what was there just so much that a variance of 1 stays 1. After
# many steps nothing is left but noise, whatever x_0 was. Why do it slowly? To undo *one* small step is an easy task:
# see section 4. The **noise schedule** says how large the steps are.
#
# Table 6 gives T = 1000, and the first and the last beta, 0.0015 and 0.0195. The official code spaces their *square
# roots* evenly.
#
# ### Exercise 21.1 · the schedule of PVDM (about 5 min)
#
# <details><summary>Hint</summary>A straight line of roots, then squares.</details>
# <details><summary>The call</summary><code>torch.linspace(first, last, steps, dtype=torch.float64)</code></details>

# %% jupyter={"source_hidden": true} tags=["export:models.pvdm.diffusion"]
"""A diffusion process: noise that is added step by step, and what is known about the way back.

PVDM, section 3.1 (Ho et al. 2020). Steps count from 1, t = 0 is the data, t = T nearly noise.
"""

import torch
from torch import Tensor, nn


# %% tags=["exercise", "ex-21.1", "export:models.pvdm.diffusion"]
def sqrt_linear_betas(steps: int, start: float, end: float) -> Tensor:
    """The share of noise that each step brings, float64 (steps,), from start to end, the roots
    evenly spaced. Table 6 names the ends; the roots are the official code's."""
    ### BEGIN SOLUTION
    return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64).square()
    ### END SOLUTION


# %% tags=["check", "ex-21.1"]
sqrt_linear_betas = check("21.1", sqrt_linear_betas)

# %% [markdown]
# ## 2. Many steps at once
#
# To train on step 700 we would have to add noise 700 times. But each step multiplies and adds normal noise, so all of
# them together do no more than that. What is left of x_0's variance after t steps is the product
#
# $$\bar\alpha_t = (1 - \beta_1)(1 - \beta_2) \cdots (1 - \beta_t)$$
#
# and the rest, 1 minus this, is noise. This is the **closed form** q(x_t | x_0) of section 3.1.
#
# ### Exercise 21.2 · t steps in one (about 5 min)
# `like` gives one number for each clip the axes that it needs to be multiplied with clips. `alpha_bars` begins with 1,
# for no step at all, so that `alpha_bars[t]` is what step t leaves.
#
# <details><summary>Hint</summary>alpha_bar is a share of the <i>variance</i>. What is multiplied is its
# root.</details>
# <details><summary>The call</summary><code>alpha_bar = alpha_bars[t]</code>, then
# <code>like(alpha_bar.sqrt(), x0) * x0</code> plus the same of the noise.</details>

# %% tags=["export:models.pvdm.diffusion"]
def like(values: Tensor, x: Tensor) -> Tensor:
    """values (b,), one for each of x (b, ...), of its dtype and with as many axes."""
    return values.to(x.dtype).view(-1, *[1] * (x.ndim - 1))

# %% tags=["exercise", "ex-21.2", "export:models.pvdm.diffusion"]
def add_noise(x0: Tensor, t: Tensor, noise: Tensor, alpha_bars: Tensor) -> Tensor:
    """What x0 (b, ...) is after t int64 (b,) steps of noise, in one go: the closed form of
    q(x_t | x_0), section 3.1. alpha_bars (T + 1,): with 1 for no step."""
    ### BEGIN SOLUTION
    alpha_bar = alpha_bars[t]
    return like(alpha_bar.sqrt(), x0) * x0 + like((1 - alpha_bar).sqrt(), x0) * noise
    ### END SOLUTION


# %% tags=["check", "ex-21.2"]
add_noise = check("21.2", add_noise)

# %% tags=["export:models.pvdm.diffusion"]
class NoiseSchedule(nn.Module):
    """`alpha_bars` float32 (T + 1,): the share of the data's variance that is left after each step,
    of betas (T,). float32, since not every device has float64."""

    def __init__(self, betas: Tensor):
        super().__init__()
        alpha_bars = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
        self.register_buffer("alpha_bars", alpha_bars.float(), persistent=False)

    @property
    def steps(self) -> int:
        """T"""
        return len(self.alpha_bars) - 1

# %% [markdown]
# Is it true? Take 20,000 copies of one number, x_0 = 1.5, noise each step by step, and compare.

# %%
betas = sqrt_linear_betas(1000, 0.0015, 0.0195)
alpha_bars = NoiseSchedule(betas).alpha_bars
torch.manual_seed(0)
x, walks = torch.full((20_000,), 1.5), [torch.full((8,), 1.5)]
print("   t   mean: iterated  closed form     variance: iterated  closed form")
for t, beta in enumerate(betas.tolist(), 1):
    x = math.sqrt(1 - beta) * x + math.sqrt(beta) * torch.randn_like(x)
    walks.append(x[:8])
    if t in (1, 10, 100, 300, 600, 1000):
        left = alpha_bars[t].item()
        print(f"{t:>4} {x.mean():>16.3f} {1.5 * left**0.5:>12.3f} {x.var():>22.4f} "
              f"{1 - left:>12.4f}")
        assert abs(x.mean() - 1.5 * left**0.5) < 5 * (1 - left)**0.5 / 20_000**0.5
        assert abs(x.var() / (1 - left) - 1) < 5 * (2 / 20_000)**0.5

# %% jupyter={"source_hidden": true}
mean, deviation = 1.5 * alpha_bars.sqrt(), (1 - alpha_bars).sqrt()
fig, ax = plt.subplots()
ax.fill_between(range(1001), mean - 2 * deviation, mean + 2 * deviation, color="#dce6ef",
                label="two deviations")
ax.plot(torch.stack(walks), lw=0.6, color="#555555")
ax.plot(mean, lw=2.5, label="mean")
ax.set(xlabel="step", ylabel="x", title="eight paths of one number, and the closed form")
ax.legend()
show(fig, alt="Eight jagged paths from 1.5 on. A thick line, the mean, sinks to 0 by step 800; a "
     "band around it grows from nothing to 2 deviations on both sides, and holds nearly all.")

# %% [markdown]
# Why roots? Here is how much of the data is left with PVDM's schedule, and with a straight line between the same ends:

# %%
straight = NoiseSchedule(torch.linspace(0.0015, 0.0195, 1000, dtype=torch.float64)).alpha_bars
show(curves({"roots evenly spaced (PVDM)": alpha_bars, "betas evenly spaced": straight},
            xlabel="step", ylabel="share of the variance", title="what is left of the data"),
     alt="Two curves that fall from 1 to 0 in an S. With evenly spaced roots it falls later.")
for name, bars in {"roots": alpha_bars, "straight": straight}.items():
    half, percent = (int((bars < share).nonzero()[0]) for share in (0.5, 0.01))
    print(f"{name:<9} half is left at step {half}, 1% at step {percent}, {bars[-1]:.1e} at the end")

# %% [markdown]
# With evenly spaced roots more of the steps are small: the data last longer, by 49 steps to the half, and 102 to the
# last percent. At the end 0.014% of the variance is left: next to nothing, as it should be, since sampling begins
# with pure noise.
#
# ## 3. Something to look at
#
# From here on, data are points on a spiral in the plane, of variance about 0.8 and 0.7. (PVDM's prior brings
# its planes to variance 1 first, each channel of each plane for itself. The schedule is made for that: with a smaller
# variance the same noise hides more.)

# %%
def spiral(u: Tensor) -> Tensor:
    """Points (n, 2) of the curve, from its inner end, u = 0, to its outer one, u = 1."""
    angle, radius = 3 * math.pi * u, 0.5 + 1.4 * u
    return radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)


curve = spiral(torch.linspace(0, 1, 400))  # all data there are


def draw_data(n: int) -> Tensor:
    return spiral(torch.rand(n))


def draw_points(pictures: dict[str, Tensor], size: float = 1.75) -> plt.Figure:
    """A scatter plot (n, 2) for each title, the spiral in orange below it."""
    fig, axes = plt.subplots(1, len(pictures), figsize=(size * len(pictures), size + 0.3),
                             sharex=True, sharey=True, squeeze=False)
    for ax, (title, points) in zip(axes[0], pictures.items(), strict=True):
        ax.plot(*curve.T, lw=1, color="#D55E00")
        ax.plot(*points.T, ".", ms=2, alpha=0.6, color="#0072B2")
        ax.set(title=title, xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
        ax.axis("off")
    return fig


torch.manual_seed(0)
data, data_noise = draw_data(600), torch.randn(600, 2)


def after(t: int) -> Tensor:
    """The data after t steps, always with the same noise."""
    return add_noise(data, torch.full((600,), t), data_noise, alpha_bars)


show(draw_points({f"t = {t}": after(t) for t in (0, 50, 150, 400, 1000)}),
     alt="600 points. At t = 0 they lie on the spiral, at 50 in a band around it, at 150 in a "
         "cloud in which its arms are only hinted at, at 400 and 1000 in a round cloud.")

# %% [markdown]
# Scrub through the steps. (Without a running kernel you see the picture for 150; those above have the rest.)

# %%
slider(lambda t: draw_points({f"t = {t}": after(t)}, 3),
       t=[0, 10, 25, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1000],
       alt="The 600 points after some steps of noise, with the spiral that they come from.")

# %% [markdown]
# ## 4. One step back by hand
#
# If somebody told us the noise in x_t, we had x_0: solve the closed form for it.
#
# ### Exercise 21.3 · the data, given the noise (about 5 min)
#
# <details><summary>Hint</summary>What <code>add_noise</code> did, in the other order.</details>

# %% tags=["exercise", "ex-21.3", "export:models.pvdm.diffusion"]
def without_noise(x: Tensor, t: Tensor, noise: Tensor, alpha_bars: Tensor) -> Tensor:
    """The x0 that `add_noise` made x (b, ...) of, if that was the noise in it."""
    ### BEGIN SOLUTION
    alpha_bar = alpha_bars[t]
    return (x - like((1 - alpha_bar).sqrt(), x) * noise) / like(alpha_bar.sqrt(), x)
    ### END SOLUTION


# %% tags=["check", "ex-21.3"]
without_noise = check("21.3", without_noise)

# %%
t, few, few_noise = torch.tensor([1, 500, 1000]), draw_data(3), torch.randn(3, 2)
back = without_noise(add_noise(few, t, few_noise, alpha_bars), t, few_noise, alpha_bars)
print(f"back to {(back - few).abs().max():.0e}; with noise that is wrong by 0.01, x0 is wrong by",
      *(f"{0.01 * ((1 - a) / a)**0.5:.4f} at t = {step}," for step, a in zip(
          t.tolist(), alpha_bars[t].tolist(), strict=True)))

# %% [markdown]
# Nobody tells us. What can be said of x_0, if x_t is all we see? Many points of the spiral could have become this x_t,
# the near ones sooner than the far. By Bayes' rule, point k of them has a probability proportional to
#
# $$\exp\Big(-\frac{(x_t - \sqrt{\bar\alpha_t}\, c_k)^2}{2 (1 - \bar\alpha_t)}\Big)$$
#
# Here are two noised points, and what each could have been:

# %%
def chances(x: Tensor, t: Tensor) -> Tensor:
    """How likely each point of the curve is what x (b, 2) at step t (b,) was made of: (b, 400)."""
    left = alpha_bars[t][:, None]
    distance = (x[:, None] - left.sqrt()[:, None] * curve).norm(dim=2)
    return (-distance**2 / (2 * (1 - left))).softmax(1)


def perfect(x: Tensor, t: Tensor) -> Tensor:
    """The noise in x (b, 2) at step t (b,) that is to be expected: on average the best answer."""
    left = alpha_bars[t][:, None]
    return (x - left.sqrt() * (chances(x, t) @ curve)) / (1 - left).sqrt()


seen, when = torch.tensor([[1.0, 0.3], [1.0, 0.3]]), torch.tensor([60, 300])
guess = without_noise(seen, when, perfect(seen, when), alpha_bars)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.4))
for step, x, likely, mean, ax in zip(when, seen, chances(seen, when), guess, axes, strict=True):
    ax.plot(*curve.T, lw=0.5, color="#999999")
    ax.scatter(*curve.T, s=80 * likely / likely.max(), color="#D55E00", lw=0,
               label="what it can have been")
    ax.plot(*x, "x", ms=8, mew=2, color="#000000", label="x_t")
    ax.plot(*mean, "o", ms=7, color="#0072B2", label="mean")
    ax.set(title=f"t = {step}", aspect="equal")
    ax.axis("off")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
show(fig, alt="A point between two arms of the spiral, at step 60 and at step 300. At 60 what it "
     "can have been is a piece of the outer arm and one of the inner; their mean is between, where "
     "no data are. At 300 nearly all of the spiral is possible.")
print("x_t:", seen[0].tolist(), *(f"  mean of x0 at t = {step}: ({p[0]:.2f}, {p[1]:.2f})"
                                  for step, p in zip(when.tolist(), guess, strict=True)))

# %% [markdown]
# At step 60 the point comes from one of two pieces, and the *mean* of what is possible is no point of the spiral. At
# step 300 it could come from nearly anywhere. Whoever jumps to the mean at once lands where no data are.
#
# So go *a little* way towards the mean, look again, and go on: what was likely changes with each step. The rule is
# Bayes' once more, for x_s between x_0 and x_t: q(x_s | x_t, x_0) is normal, its mean a weighted mean of x_0 and x_t.
# With beta = 1 - alpha_bar_t / alpha_bar_s, what the steps from s to t bring together:
#
# $$\text{mean} = \frac{\sqrt{\bar\alpha_s}\,\beta}{1 - \bar\alpha_t}\, x_0 +
# \frac{\sqrt{1 - \beta}\,(1 - \bar\alpha_s)}{1 - \bar\alpha_t}\, x_t, \qquad
# \sigma^2 = \beta\, \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}$$
#
# This sigma^2 is the **posterior variance**, and the official code has it. Section 3.1 of the paper has sigma^2 = beta.
# Section 8 says what differs. This way back is called **ancestral sampling**.
#
# ### Exercise 21.4 · a step of ancestral sampling (about 15 min)
# The last step, to s = 0, brings no noise, whichever the variance.
#
# <details><summary>Hint</summary>All weights are numbers for each clip, (b,). Work them out first, and give each to
# <code>like</code> at the end.</details>
# <details><summary>The call</summary><code>(s &gt; 0) * sigma2.sqrt()</code> is 0 for those that arrive.</details>

# %% jupyter={"source_hidden": true} tags=["export:models.pvdm.samplers"]
"""Ways back from noise: ancestral sampling, and DDIM with fewer steps.

PVDM, Algorithm 1; DDIM of Song et al. 2021.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from lvlib.models.common.checks import check_choice, check_numbers
from lvlib.models.pvdm.diffusion import like, without_noise

Sampler = Literal["ddim", "ancestral"]
Variance = Literal["posterior", "beta"]
PredictNoise = Callable[[Tensor, Tensor], Tensor]  # x (b, ...), t int64 (b,) -> its noise

# %% tags=["exercise", "ex-21.4", "export:models.pvdm.samplers"]
def ancestral_step(x: Tensor, x0: Tensor, t: Tensor, s: Tensor, alpha_bars: Tensor,
                   variance: Variance, noise: Tensor) -> Tensor:
    """From step t to an earlier one, s, both int64 (b,): the mean of q(x_s | x_t, x_0), and noise.

    x (b, ...): at t. x0: where it comes from, as predicted. variance: "posterior", that of
    q(x_s | x_t, x_0), as the official code has it, or "beta", that of q(x_t | x_s), as Algorithm 1
    has it; none at s = 0.
    """
    ### BEGIN SOLUTION
    a_t, a_s = alpha_bars[t], alpha_bars[s]
    beta = 1 - a_t / a_s
    of_x0 = a_s.sqrt() * beta / (1 - a_t)
    of_x = (1 - beta).sqrt() * (1 - a_s) / (1 - a_t)
    sigma2 = beta if variance == "beta" else beta * (1 - a_s) / (1 - a_t)
    sigma = (s > 0) * sigma2.sqrt()
    return like(of_x0, x) * x0 + like(of_x, x) * x + like(sigma, x) * noise
    ### END SOLUTION


# %% tags=["check", "ex-21.4"]
ancestral_step = check("21.4", ancestral_step)

# %% [markdown]
# Line 10 of Algorithm 1 says it for s = t - 1, in terms of the noise. Is it the same mean?

# %%
torch.manual_seed(2)
t = torch.tensor([2, 50, 500, 1000])
x, eps, none = torch.randn(4, 2), torch.randn(4, 2), torch.zeros(4, 2)
ours = ancestral_step(x, without_noise(x, t, eps, alpha_bars), t, t - 1, alpha_bars, "beta", none)
beta, left = betas[t - 1][:, None], alpha_bars[t][:, None]
line_10 = (x - beta / (1 - left).sqrt() * eps) / (1 - beta).sqrt()
print(f"largest difference: {(ours - line_10).abs().max():.0e}")
assert (ours - line_10).abs().max() < 1e-3

# %% [markdown]
# (As printed, Algorithm 1 adds noise at its last step, too. Ho et al. add none there, the official code neither, nor
# do we.)
#
# Now all the way, with the perfect guess: from noise, in one step, in five, and in a hundred.

# %%
def ancestral(predict, steps: int, n: int = 600, variance: str = "beta", seed: int = 0) -> Tensor:
    """n points out of noise, in so many steps: (n, 2)."""
    torch.manual_seed(seed)
    x, stops = torch.randn(n, 2), torch.linspace(1000, 0, steps + 1).round().long()
    for now, then in pairwise(stops):
        t, s = now.expand(n), then.expand(n)
        x0 = without_noise(x, t, predict(x, t), alpha_bars)
        x = ancestral_step(x, x0, t, s, alpha_bars, variance, torch.randn(n, 2))
    return x


show(draw_points({f"{steps} step{'s' * (steps > 1)}": ancestral(perfect, steps)
                  for steps in (1, 5, 20, 100)}),
     alt="Four pictures. In 1 step all points lie at one place, not on the spiral; in 5 they "
         "fill a disk; in 20 most are near the spiral, in 100 nearly all are on it.")

# %% [markdown]
# In one step all points land in one place, the mean of all data. Each further step narrows down what they can become.
# Nothing here was learned: the perfect guess has the data in it, and gives them back.
#
# ## 5. What to learn
#
# For video nobody can list the points. A network is asked for the noise instead, and learns by
#
# $$E\big[(\epsilon - \epsilon_\theta(x_t, t))^2\big], \qquad x_t = \sqrt{\bar\alpha_t}\, x_0 +
# \sqrt{1 - \bar\alpha_t}\, \epsilon$$
#
# with data, steps and noise drawn at random. What lowers a squared error most is the mean, so what the network looks
# for is the perfect guess above. Why the noise and not x_0? Each can be worked out from the other, but errors weigh
# differently: an error of 1 in the noise is one of the root of (1 - alpha_bar) / alpha_bar in x_0.

# %%
torch.manual_seed(0)
of_noise, of_data = {}, {}
for step in [1, *range(25, 1001, 25)]:
    t, x0, eps = torch.full((2000,), step), draw_data(2000), torch.randn(2000, 2)
    x = add_noise(x0, t, eps, alpha_bars)
    predicted = perfect(x, t)
    of_noise[step] = (predicted - eps).square().mean().item()
    of_data[step] = (without_noise(x, t, predicted, alpha_bars) - x0).square().mean().item()
show(curves({"of the noise": of_noise, "of x0": of_data}, xlabel="step",
            ylabel="mean squared error", title="how well anyone can know it"),
     alt="Mean squared error of the perfect guess. Of the noise: 0.48 at step 1, 0.7 at step 100, "
         "nearly 0 from step 700 on. Of x0: 0 at first, 0.75 at the end.")
print({step: (round(of_noise[step], 3), round(of_data[step], 4)) for step in (1, 100, 400, 1000)})

# %% [markdown]
# Of the noise, anyone can know nearly all at large t, where x_t *is* noise. Of x_0 the reverse holds. A loss of x_0
# is so mostly about steps at which nothing can be known but the mean. A loss of the noise is about steps below 400,
# where the spiral takes shape. (Even the best has a loss, 0.22 over all steps. A diffusion loss does not go to 0.)
#
# ## 6. A network that learns it
#
# Four layers, told where a point is and how much noise there is. Beside the weights we keep their running mean,
# **EMA**, for exponential moving average: each step moves it 0.5% towards the new weights.

# %%
class Denoiser(nn.Module):
    """The noise in points (b, 2) at step t (b,), as guessed."""

    def __init__(self, width: int = 128):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 + 16 + 32, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        left = alpha_bars[t][:, None]
        level = ((1 - left) / left).log() * torch.linspace(0.1, 1, 16)  # noise against data
        place = (x[:, None] * torch.tensor([1.5, 3, 6, 12])[:, None]).flatten(1)
        waves = [f(angle) for angle in (place, level) for f in (torch.sin, torch.cos)]
        return self.layers(torch.cat([x, *waves], 1))


def noise_loss(predict, x0: Tensor) -> Tensor:
    """The loss of section 3.1 for data (b, ...): ()."""
    t, eps = torch.randint(1, 1001, (len(x0),)), torch.randn_like(x0)
    return (predict(add_noise(x0, t, eps, alpha_bars), t) - eps).square().mean()


@torch.no_grad()
def judged(predict) -> float:
    """The loss on 20,000 points, the same for all."""
    with torch.random.fork_rng():
        torch.manual_seed(99)
        return noise_loss(predict, draw_data(20_000)).item()


# %%
torch.manual_seed(0)
model = Denoiser()
averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.995))
optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
steps = {"smoke": 20, "course": 2500}[profile]
every, history = max(steps // 25, 10), {"weights of the step": {}, "running mean": {}}
for i in tqdm(range(1, steps + 1), desc="denoiser"):
    optimizer.zero_grad()
    noise_loss(model, draw_data(512)).backward()
    optimizer.step()
    averaged.update_parameters(model)
    if i % every == 0:
        history["weights of the step"][i] = judged(model)
        history["running mean"][i] = judged(averaged)
denoiser = copy.deepcopy(averaged.module).eval()
floor = judged(perfect)
fig = curves(history, xlabel="step of training", ylabel="loss", title="guessing the noise")
fig.axes[0].axhline(floor, color="grey", ls=":")
fig.axes[0].set_ylim(floor - 0.005, floor + 0.06)
show(fig, alt="Loss against the step of training. That of the step's weights sinks with jumps from "
          "0.25 to 0.228. That of the running mean begins far above, crosses it near step 800, and "
          "ends at 0.225, smoothly. A dotted line at 0.219 is the best possible.")
print(f"last step {judged(model):.4f}, running mean {judged(denoiser):.4f}, best possible "
      f"{floor:.4f}, always saying 0: {judged(lambda x, t: 0 * x):.4f}")

# %% [markdown]
# Both come near the dotted line, which nobody can cross. The running mean needs a while to forget the weights of the
# start (the official code begins with a shorter mean, for this reason). Then it is better than the weights of the
# step, and smoother, at the price of a copy of the weights. The official code has one, and so has `lvlib`.

# %%
def off(points: Tensor, axis: int = 1) -> float:
    """How far points (n, 2) are from the spiral, on average; with axis 0, its places from them."""
    return torch.cdist(points, curve).min(axis).values.mean().item()


with torch.no_grad():
    made = {"perfect guess": ancestral(perfect, 200), "network": ancestral(denoiser, 200)}
show(draw_points({"data": data, **made}, 2.2),
     alt="Points of the data, of the perfect guess and of the network. The first two are on the "
         "spiral; most of the network's are near it, some in the gaps between its arms.")
for name, points in {"data": data, **made}.items():
    print(f"{name:<14} {off(points):.3f} off the spiral; it is {off(points, 0):.3f} from them")

# %% [markdown]
# The network has the shape, with points in the gaps. (Data are 0.007 off, for we measure to 400 points of the curve.)
#
# ## 7. DDIM: fewer steps, and no new noise
#
# Ancestral sampling throws in new noise at each step. Must it? The network says how x_t divides into data and noise. So
# put together what would be at step s: the same data, and the *same* noise, with the shares of s:
#
# $$x_s = \sqrt{\bar\alpha_s}\, x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\, \epsilon_\theta + \sigma \epsilon,
# \qquad \sigma = \eta \sqrt{\text{posterior variance}}$$
#
# With eta = 0 no noise is new: the start decides all. With eta = 1 as much is new as in ancestral sampling. In between
# the total stays what belongs to step s. This is **DDIM** (Song et al. 2021). It needs no other training.
#
# ### Exercise 21.5 · a step of DDIM (about 10 min)
# <details><summary>Hint</summary>The posterior variance is that of exercise 21.4.</details>
# <details><summary>The call</summary><code>like(...)</code> three times: for data, old noise, new noise.</details>

# %% tags=["exercise", "ex-21.5", "export:models.pvdm.samplers"]
def ddim_step(x0: Tensor, predicted: Tensor, t: Tensor, s: Tensor, alpha_bars: Tensor, eta: float,
              noise: Tensor) -> Tensor:
    """From step t to an earlier one, s, both int64 (b,): x0 with as much noise as belongs to s.

    x0, predicted (b, ...): the data and the noise in x_t, as predicted. eta^2: the share of the
    posterior variance that new `noise` brings; the rest of the noise is the predicted one.
    """
    ### BEGIN SOLUTION
    a_t, a_s = alpha_bars[t], alpha_bars[s]
    sigma2 = eta**2 * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
    kept = (1 - a_s - sigma2).sqrt()
    return like(a_s.sqrt(), x0) * x0 + like(kept, x0) * predicted + like(sigma2.sqrt(), x0) * noise
    ### END SOLUTION


# %% tags=["check", "ex-21.5"]
ddim_step = check("21.5", ddim_step)

# %% [markdown]
# Where to stand, how to sample (folded), and the loop:

# %% tags=["export:models.pvdm.samplers"]
def evenly_spaced(steps: int, schedule_steps: int, name: str = "steps") -> list[int]:
    """The steps to stand at, from T down to 0: steps + 1 of them, as even as whole numbers are.
    Raises ValueError for a number that the schedule does not have."""
    if not 1 <= steps <= schedule_steps:
        raise ValueError(f"{name} must be 1 to {schedule_steps}, not {steps}")
    return [round(schedule_steps * i / steps) for i in range(steps, -1, -1)]

# %% jupyter={"source_hidden": true} tags=["export:models.pvdm.samplers"]
@dataclass(frozen=True)
class DiffusionSampling:
    """How to get back from noise. Raises ValueError for values that are not allowed."""

    steps: int = 100
    """Of the first clip (Table 1: 100, 200 or 400)."""
    next_steps: int = 20
    """Of each clip after it (Table 1: 20, 200 or 400)."""
    sampler: Sampler = "ddim"
    """ddim, or ancestral (Algorithm 1)."""
    eta: float = 1.0
    """New noise of ddim, 0 for none (official code: 1)."""
    variance: Variance = "posterior"
    """Of the noise of ancestral: posterior (official code) or beta (Algorithm 1)."""
    guidance: float = 0.0
    """How much further away from what the model says without the clip before. Not in the paper.
    Each step costs two passes, where it is not 0."""
    clamp: bool = True
    """Keep predicted latents in [-1, 1], where tanh leaves them (official code); not for codes."""

    def __post_init__(self):
        check_numbers(self, "steps", "next_steps", least=1)
        check_numbers(self, "guidance", least=0)
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be 0 to 1, not {self.eta}")
        check_choice(self, "sampler", get_args(Sampler))
        check_choice(self, "variance", get_args(Variance))

# %% tags=["export:models.pvdm.samplers"]
def denoise(x: Tensor, predict: PredictNoise, alpha_bars: Tensor, times: list[int],
            sampling: DiffusionSampling, low: Tensor | float = -torch.inf,
            high: Tensor | float = torch.inf) -> Tensor:
    """Back from x (b, ...) at step times[0] to times[-1], where `predict` says the noise.

    low, high: where the data lies, if `sampling.clamp`; what x0 leaves of x is then noise. Draws
    from torch's global random numbers, where a step brings new noise.
    """
    noisy = sampling.sampler == "ancestral" or sampling.eta > 0
    for pair in pairwise(times):
        t, s = (torch.full((len(x),), time, device=x.device) for time in pair)
        predicted = predict(x, t)
        x0 = without_noise(x, t, predicted, alpha_bars)
        if sampling.clamp:
            x0, left = x0.clamp(low, high), alpha_bars[t]
            predicted = (x - like(left.sqrt(), x) * x0) / like((1 - left).sqrt(), x)
        noise = torch.randn_like(x) if noisy and pair[1] else torch.zeros_like(x)
        if sampling.sampler == "ancestral":
            x = ancestral_step(x, x0, t, s, alpha_bars, sampling.variance, noise)
        else:
            x = ddim_step(x0, predicted, t, s, alpha_bars, sampling.eta, noise)
    return x

# %% [markdown]
# First a predictor that cannot be wrong: there is only one clip. No number of steps matters, and no number is drawn.

# %%
torch.manual_seed(0)
only, start = torch.rand(1, 4, 8) * 2 - 1, torch.randn(1, 4, 8)


def knows(x: Tensor, t: Tensor) -> Tensor:
    """The noise in x, where `only` is all there is."""
    left = alpha_bars[t].view(-1, 1, 1)
    return (x - left.sqrt() * only) / (1 - left).sqrt()


plain = DiffusionSampling(eta=0, clamp=False)
state = torch.get_rng_state()
for count in (1, 5, 50, 1000):
    found = denoise(start, knows, alpha_bars, evenly_spaced(count, 1000), plain)
    print(f"{count:>4} steps: {(found - only).abs().max():.0e} from the clip")
    assert (found - only).abs().max() < 1e-4
assert torch.equal(torch.get_rng_state(), state)

# %% [markdown]
# Then the trained network: ten paths each, from the same ten starts.

# %%
@torch.no_grad()
def paths(sampling: DiffusionSampling, seed: int, steps: int = 50) -> Tensor:
    """Where ten points are at each step, from the same starts: (steps + 1, 10, 2)."""
    torch.manual_seed(3)
    x = [torch.randn(10, 2)]
    torch.manual_seed(seed)
    for pair in pairwise(evenly_spaced(steps, 1000)):
        x.append(denoise(x[-1], denoiser, alpha_bars, list(pair), sampling))
    return torch.stack(x)


# %% jupyter={"source_hidden": true}
old_noise, new_noise = DiffusionSampling(eta=0, clamp=False), DiffusionSampling(clamp=False)
pictures = {"eta 0": paths(old_noise, 0), "eta 1": paths(new_noise, 0),
            "eta 1, another seed": paths(new_noise, 1)}
fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.8), sharex=True, sharey=True)
for ax, (title, path) in zip(axes, pictures.items(), strict=True):
    ax.plot(*curve.T, lw=4, color="#f3d3bd")
    ax.plot(path[..., 0], path[..., 1], lw=0.8)
    ax.plot(*path[-1].T, ".", color="black")
    ax.set(title=title, xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
    ax.axis("off")
show(fig, alt="Ten paths to the spiral. With eta 0 they are short and nearly straight. With eta 1 "
     "they wander about, and with another seed end at other places.")
assert torch.equal(paths(old_noise, 0), paths(old_noise, 1))

# %% [markdown]
# With eta = 0 the same start always ends at the same point, and paths are short and smooth. With eta = 1 each
# seed ends elsewhere.
#
# A thousand steps are a thousand passes of the network. How many does it take here?

# %%
ways = {"ddim, eta 0": plain, "ddim, eta 1": DiffusionSampling(clamp=False),
        "ancestral, beta": DiffusionSampling(sampler="ancestral", variance="beta", clamp=False)}
counts = {"smoke": [5, 20], "course": [3, 5, 10, 20, 50, 100, 200, 500]}[profile]


@torch.no_grad()
def sampled(predict, sampling: DiffusionSampling, steps: int, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    start, stops = torch.randn(1000, 2), evenly_spaced(steps, 1000)
    return denoise(start, predict, alpha_bars, stops, sampling, -2.0, 2.0)


quality = {name: {count: off(sampled(denoiser, way, count)) for count in counts}
           for name, way in ways.items()}
quality["perfect guess, eta 0"] = {count: off(sampled(perfect, plain, count))
                                   for count in counts if count <= 100}
fig = curves(quality, xlabel="steps", ylabel="off the spiral", title="steps against quality")
fig.axes[0].set_xscale("log")
show(fig, alt="Distance from the spiral against the number of steps, 3 to 500. All fall from 0.3. "
         "The network's three ways level off after 50 steps, at 0.08 to 0.09; with the perfect "
         "guess it goes on falling, to 0.01 at 100 steps.")
for name, line in quality.items():
    print(f"{name:<21}", *(f"{count}: {value:.3f} " for count, value in line.items()))

# %% [markdown]
# A hundred steps are about as good as five hundred here, for each way. With the perfect guess more steps help on:
# what is left at 100 is the network's fault, and no sampler mends it. From 10 to 100 steps eta = 0 is a little nearer
# than the two that throw in new noise. (So it was with networks of three seeds.)
#
# ## 8. The two variances
#
# Section 3.1 says sigma^2 = beta. The official code has the posterior variance, and so has DDIM with eta = 1, which it
# samples with (the paper says DDIM, and no eta). Which is right? For normal data everything is known, so take that.
#
# ### Exercise 21.6 · the perfect guess for a normal distribution (about 10 min)
# Data have a mean m and a deviation d. x_t is a sum of two independent normal numbers, data and noise. What is to be
# expected of the noise part: its variance's share in the sum's, times how far x_t is from its mean. Return epsilon.
#
# <details><summary>Hint</summary>The noise in x_t is sqrt(1 - alpha_bar) epsilon, with variance 1 - alpha_bar. The
# variance of x_t is alpha_bar d^2 + 1 - alpha_bar, and its mean sqrt(alpha_bar) m. In the end, divide by the factor of
# epsilon.</details>

# %% tags=["exercise", "ex-21.6"]
def expected_noise(x: Tensor, alpha_bar: Tensor, mean: float, deviation: float) -> Tensor:
    """The noise in x (b, ...) that is to be expected, if data are normal with this mean and
    deviation, and alpha_bar (b,) is left of their variance: as x."""
    ### BEGIN SOLUTION
    share = (1 - alpha_bar).sqrt() / (alpha_bar * deviation**2 + 1 - alpha_bar)
    return like(share, x) * (x - like(alpha_bar.sqrt(), x) * mean)
    ### END SOLUTION

# %% tags=["check", "ex-21.6"]
expected_noise = check("21.6", expected_noise)

# %% [markdown]
# A step of any sampler now multiplies x by a number and adds noise. We read both off it, by giving it x = 1 without
# noise and x = 0 with noise 1, and so know the variance of x_s from that of x_t, exactly.
#
# First a single step, from step 60 to 40. What comes out should have the variance that data have after 40 steps.

# %%
def one_step(way: DiffusionSampling, deviation: float, t: int, s: int) -> tuple[float, float]:
    """By what a step multiplies x, and the deviation of the noise that it adds; mean 0."""
    def step(x: float, noise: float) -> float:
        x, noise = torch.tensor([[x]]).double(), torch.tensor([[noise]]).double()
        t_, s_, bars = torch.tensor([t]), torch.tensor([s]), alpha_bars.double()
        eps = expected_noise(x, bars[t_], 0.0, deviation)
        x0 = without_noise(x, t_, eps, bars)
        if way.sampler == "ancestral":
            return ancestral_step(x, x0, t_, s_, bars, way.variance, noise).item()
        return ddim_step(x0, eps, t_, s_, bars, way.eta, noise).item()

    return step(1.0, 0.0), step(0.0, 1.0)


ways["ancestral, posterior"] = DiffusionSampling(sampler="ancestral", variance="posterior")
print("variance after a step / what it should be, for data of deviation")
print(f"{'':<21}" + "".join(f"{deviation:>8}" for deviation in (0.0, 0.1, 0.5, 1.0)))
ratios = {}
for name, way in ways.items():
    for deviation in (0.0, 0.1, 0.5, 1.0):
        before, wanted = ((a * deviation**2 + 1 - a).item() for a in alpha_bars[[60, 40]].double())
        factor, added = one_step(way, deviation, 60, 40)
        ratios[name, deviation] = (factor**2 * before + added**2) / wanted
    print(f"{name:<21}" + "".join(f"{ratios[name, d]:>8.4f}" for d in (0.0, 0.1, 0.5, 1.0)))
assert all(abs(ratios["ddim, eta 1", d] / ratios["ancestral, posterior", d] - 1) < 1e-9
           for d in (0.0, 0.1, 0.5, 1.0))
assert abs(ratios["ancestral, posterior", 0.0] - 1) < 1e-6
assert abs(ratios["ancestral, beta", 1.0] - 1) < 1e-6

# %% [markdown]
# Three things to read here:
#
# 1. DDIM with eta = 1 does the same as ancestral sampling with the **posterior** variance, digit for digit, and not
#    the same as Algorithm 1. "Eta 1 is ancestral sampling" is true of one of the two variances.
# 2. The posterior variance is right for data that are a single point (deviation 0). No wonder: it is the variance
#    *given x_0*, and takes the guess of x_0 for the truth. For all other data it is too small.
# 3. Beta is right for data of variance 1, and too large for narrower ones (Ho et al., 3.2).
#
# And all the way? We multiply the steps together, from noise of variance 1:

# %%
def comes_out(way: DiffusionSampling, deviation: float, steps: int) -> float:
    """The variance of all that is sampled in so many steps, over that of the data."""
    variance = 1.0
    for t, s in pairwise(evenly_spaced(steps, 1000)):
        factor, added = one_step(way, deviation, t, s)
        variance = factor**2 * variance + added**2
    return variance / deviation**2


few_steps = {"smoke": [10], "course": [10, 20, 100, 1000]}[profile]
for deviation in (0.5, 1.0):
    print(f"data of deviation {deviation}: variance sampled / variance of the data, by steps")
    print(f"{'':<21}" + "".join(f"{steps:>8}" for steps in few_steps))
    for name, way in ways.items():
        print(f"{name:<21}" + "".join(f"{comes_out(way, deviation, n):>8.3f}" for n in few_steps))

# %% [markdown]
# With few steps *all* are too narrow, beta, too: the last step goes to the mean of what is possible, without noise, and
# nobody brings back what is lost there. Beta loses least, DDIM with eta = 0 less than with eta = 1. With 1,000 steps
# all are within 3%. So the variance matters where steps are few, and the paper samples with 100 and 20.
#
# ## 9. Clamping
#
# Near T the guess of x_0 is what is left after taking nearly all away, times 1 / sqrt(alpha_bar), which is 84 at T.
# Small errors of the network become large ones, and x_0 may lie where no data can be. Planes of notebook 20 leave a
# tanh: they lie in [-1, 1]. So the official code clamps x_0 at each step, and so does `sampling.clamp`.
# What of x_t is not the clamped x_0 then counts as its noise. (The official code goes on with the noise as predicted.
# With eta = 1 we saw no difference here. With eta = 0 and 1,000 steps points came to lie 0.10 off the spiral, and not
# 0.07: data and noise that do not make up x_t lead astray, a little in each step.)

# %%
torch.manual_seed(0)
for step in (1000, 900, 600, 300):
    x, t = torch.randn(2000, 2), torch.full((2000,), step)
    with torch.no_grad():
        x0 = without_noise(x, t, denoiser(x, t), alpha_bars)  # were this what is there at step t
    print(f"t = {step:>4}: {x0.abs().gt(2).float().mean():5.1%} of the guesses are beyond 2, "
          f"the largest is {x0.abs().max():.1f}; data reach {curve.abs().max():.1f}")
print("              off the spiral        largest number")
for count in counts[1:6]:
    plainly, clamped = (sampled(denoiser, DiffusionSampling(eta=0, clamp=kept), count)
                        for kept in (False, True))
    print(f"{count:>4} steps: {off(plainly):.3f}, clamped {off(clamped):.3f}   "
          f"{plainly.abs().max():.1f}, clamped {clamped.abs().max():.1f}")

# %% [markdown]
# Half of the numbers guessed at T are impossible ones, hardly any at 600. A guess at T has little weight in the next
# step, so most points come out right all the same. Without clamping a few end far outside, and with it none do.
#
# ## 10. Not in the paper: guidance
#
# **Classifier-free guidance** (Ho and Salimans) takes a network that learned both with a condition and without, asks it
# twice, and goes *further* in the direction in which the two differ: with + w (with - without). Samples are meant to
# fit the condition better, and to vary less. PVDM's network learns both, p(x_2 | x_1) and p(x), and its code can do
# this, with w = 0 in its settings; the paper cites it for joint training. A step then costs two passes, so our sampler
# takes the second only where `guidance` is not 0. Notebook 22 has it.
#
# ## 11. What you built
#
# | name | what it does | in |
# |---|---|---|
# | `sqrt_linear_betas`, `NoiseSchedule` | how much noise each step brings | `lvlib.models.pvdm.diffusion` |
# | `add_noise`, `without_noise` | t steps in one, and back if the noise is known | `lvlib.models.pvdm.diffusion` |
# | `ancestral_step`, `ddim_step` | one step back | `lvlib.models.pvdm.samplers` |
# | `evenly_spaced`, `denoise` | all the way back, in as many steps as you like | `lvlib.models.pvdm.samplers` |
# | `DiffusionSampling` | how to sample: the options of `lvlib sample` | `lvlib.models.pvdm.samplers` |
#
# ### Scale it up
# The process is the same for 2 numbers and for 8,192; only the network changes (notebook 22). The paper samples PVDM-S
# with 100 steps for the first clip and 20 for each after it, PVDM-L with 200 and 200, or 400 and 400 (Table 1):
#
# ```
# lvlib sample runs/pvdm --n 16 --sampling.steps 100 --sampling.next_steps 20 --out s.mp4
# lvlib sample runs/pvdm --n 16 --sampling.steps 400 --sampling.next_steps 400 --out l.mp4
# lvlib sample runs/pvdm --n 16 --sampling.steps 1000 --sampling.sampler ancestral --sampling.variance beta --out a.mp4
# ```
#
# The third is Algorithm 1 for one clip, but for the clamping and its last noise. With PVDM-L on UCF-101, 400 steps
# have a better FVD of 16 frames than 200 (343.6 and 398.9), and a worse one of 128 frames (648.4 and 639.7): more
# steps are not better in everything. (The table is the paper's; we have not run it at that size.)
#
# ### Questions to think about
# 1. A network for x_0 in place of the noise would know the same. What would its loss teach it at t = 1, and what at
#    t = T?
#    <details><summary>Answer</summary>At t = 1 next to nothing: x_0 is what it sees. At T all that it can know is the
#    mean of the data, and its loss there is the largest, their variance. A loss of the noise is the reverse: at T the
#    noise is what it sees, and the small t, where details are, weigh most.</details>
# 2. With eta = 0 the start decides everything. What could you do with that, that ancestral sampling does not allow?
#    <details><summary>Answer</summary>Keep a start and change something else (the number of steps, the weights, a
#    condition) and see what that alone does. Go from one start to another in small steps, and see samples change
#    smoothly. Run it backwards, from data to the start that makes them.</details>

# %%
progress()
