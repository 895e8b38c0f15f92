# Never edit this file: `python -m lvlib.course build` makes it from solutions/21_diffusion.py.
"""A diffusion process: noise that is added step by step, and what is known about the way back.

PVDM, section 3.1 (Ho et al. 2020). Steps count from 1, t = 0 is the data, t = T nearly noise.
"""

import torch
from torch import Tensor, nn


def sqrt_linear_betas(steps: int, start: float, end: float) -> Tensor:
    """The share of noise that each step brings, float64 (steps,): from start to end, in a straight
    line of their square roots. Table 6."""
    return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64).square()


def like(values: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """values (T + 1,) at the steps t int64 (b,), with as many axes as x (b, ...)."""
    return values[t].to(x.dtype).view(-1, *[1] * (x.ndim - 1))


def add_noise(x0: Tensor, t: Tensor, noise: Tensor, alpha_bars: Tensor) -> Tensor:
    """What x0 (b, ...) is after t int64 (b,) steps of noise, in one go: the closed form of
    q(x_t | x_0), section 3.1. alpha_bars (T + 1,): with 1 for no step."""
    alpha_bar = like(alpha_bars, t, x0)
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise


def without_noise(x: Tensor, t: Tensor, noise: Tensor, alpha_bars: Tensor) -> Tensor:
    """The x0 that `add_noise` made x (b, ...) of, if that was the noise in it."""
    alpha_bar = like(alpha_bars, t, x)
    return (x - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()


class NoiseSchedule(nn.Module):
    """`alpha_bars` (T + 1,): the share of the data's variance that is left after each step."""

    def __init__(self, betas: Tensor):
        super().__init__()
        alpha_bars = torch.cat([betas.new_ones(1), (1 - betas).cumprod(0)])
        self.register_buffer("alpha_bars", alpha_bars, persistent=False)

    @property
    def steps(self) -> int:
        """T"""
        return len(self.alpha_bars) - 1
