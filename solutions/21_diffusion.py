# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 21 · Diffusion: from noise to data in small steps

# %% jupyter={"source_hidden": true}
import os

from lvlib.course import check

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% jupyter={"source_hidden": true} tags=["export:models.pvdm.diffusion"]
"""A diffusion process: noise that is added step by step, and what is known about the way back.

PVDM, section 3.1 (Ho et al. 2020). Steps count from 1, t = 0 is the data, t = T nearly noise.
"""

import torch
from torch import Tensor, nn


# %% tags=["exercise", "ex-21.1", "export:models.pvdm.diffusion"]
def sqrt_linear_betas(steps: int, start: float, end: float) -> Tensor:
    """The share of noise that each step brings, float64 (steps,): from start to end, and their square
    roots evenly spaced. Table 6 names the ends; the roots are the official code's."""
    ### BEGIN SOLUTION
    return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64).square()
    ### END SOLUTION


# %% tags=["check", "ex-21.1"]
sqrt_linear_betas = check("21.1", sqrt_linear_betas)

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


# %% tags=["exercise", "ex-21.3", "export:models.pvdm.diffusion"]
def without_noise(x: Tensor, t: Tensor, noise: Tensor, alpha_bars: Tensor) -> Tensor:
    """The x0 that `add_noise` made x (b, ...) of, if that was the noise in it."""
    ### BEGIN SOLUTION
    alpha_bar = alpha_bars[t]
    return (x - like((1 - alpha_bar).sqrt(), x) * noise) / like(alpha_bar.sqrt(), x)
    ### END SOLUTION


# %% tags=["check", "ex-21.3"]
without_noise = check("21.3", without_noise)

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
    kept = (1 - a_s - sigma2).clamp(min=0).sqrt()
    return like(a_s.sqrt(), x0) * x0 + like(kept, x0) * predicted + like(sigma2.sqrt(), x0) * noise
    ### END SOLUTION


# %% tags=["check", "ex-21.5"]
ddim_step = check("21.5", ddim_step)


# %% tags=["export:models.pvdm.samplers"]
def evenly_spaced(steps: int, schedule_steps: int) -> list[int]:
    """The steps to stand at, from T down to 0: steps + 1 of them, as even as whole numbers are.
    Raises ValueError for a number that the schedule does not have."""
    if not 1 <= steps <= schedule_steps:
        raise ValueError(f"steps must be 1 to {schedule_steps}, not {steps}")
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
    """Keep predicted latents where tanh leaves them, in [-1, 1] (official code)."""

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

    low, high: where the data lies, if `sampling.clamp`. Draws from torch's global random numbers,
    where a step brings new noise.
    """
    noisy = sampling.sampler == "ancestral" or sampling.eta > 0
    for pair in pairwise(times):
        t, s = (torch.full((len(x),), time, device=x.device) for time in pair)
        predicted = predict(x, t)
        x0 = without_noise(x, t, predicted, alpha_bars)
        if sampling.clamp:
            x0 = x0.clamp(low, high)
        noise = torch.randn_like(x) if noisy and pair[1] else torch.zeros_like(x)
        if sampling.sampler == "ancestral":
            x = ancestral_step(x, x0, t, s, alpha_bars, sampling.variance, noise)
        else:
            x = ddim_step(x0, predicted, t, s, alpha_bars, sampling.eta, noise)
    return x
