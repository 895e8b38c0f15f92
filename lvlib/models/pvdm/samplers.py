# Never edit this file: `python -m lvlib.course build` makes it from solutions/21_diffusion.py.
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


def ancestral_step(x: Tensor, x0: Tensor, t: Tensor, s: Tensor, alpha_bars: Tensor,
                   variance: Variance, noise: Tensor) -> Tensor:
    """From step t to an earlier one, s, both int64 (b,): the mean of q(x_s | x_t, x_0), and noise.

    x (b, ...): at t. x0: where it comes from, as predicted. variance: "posterior", that of
    q(x_s | x_t, x_0), as the official code has it, or "beta", that of q(x_t | x_s), as Algorithm 1
    has it; none at s = 0.
    """
    a_t, a_s = alpha_bars[t], alpha_bars[s]
    beta = 1 - a_t / a_s
    of_x0 = a_s.sqrt() * beta / (1 - a_t)
    of_x = (1 - beta).sqrt() * (1 - a_s) / (1 - a_t)
    sigma2 = beta if variance == "beta" else beta * (1 - a_s) / (1 - a_t)
    sigma = (s > 0) * sigma2.sqrt()
    return like(of_x0, x) * x0 + like(of_x, x) * x + like(sigma, x) * noise


def ddim_step(x0: Tensor, predicted: Tensor, t: Tensor, s: Tensor, alpha_bars: Tensor, eta: float,
              noise: Tensor) -> Tensor:
    """From step t to an earlier one, s, both int64 (b,): x0 with as much noise as belongs to s.

    x0, predicted (b, ...): the data and the noise in x_t, as predicted. eta^2: the share of the
    posterior variance that new `noise` brings; the rest of the noise is the predicted one.
    """
    a_t, a_s = alpha_bars[t], alpha_bars[s]
    sigma2 = eta**2 * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
    kept = (1 - a_s - sigma2).sqrt()
    return like(a_s.sqrt(), x0) * x0 + like(kept, x0) * predicted + like(sigma2.sqrt(), x0) * noise


def evenly_spaced(steps: int, schedule_steps: int, name: str = "steps") -> list[int]:
    """The steps to stand at, from T down to 0: steps + 1 of them, as even as whole numbers are.
    Raises ValueError for a number that the schedule does not have."""
    if not 1 <= steps <= schedule_steps:
        raise ValueError(f"{name} must be 1 to {schedule_steps}, not {steps}")
    return [round(schedule_steps * i / steps) for i in range(steps, -1, -1)]


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
