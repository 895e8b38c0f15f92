# Never edit this file: `python -m lvlib.course build` makes it from solutions/21_diffusion.py.
"""A diffusion process: noise that is added step by step, and what is known about the way back.

PVDM, section 3.1 (Ho et al. 2020). Steps count from 1, t = 0 is the data, t = T nearly noise.
"""

import torch
from torch import Tensor, nn


def sqrt_linear_betas(steps: int, start: float, end: float) -> Tensor:
    """The share of noise that each step brings, float64 (steps,), from start to end, the roots
    evenly spaced. Table 6 names the ends; the roots are the official code's."""
    return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64).square()


def like(values: Tensor, x: Tensor) -> Tensor:
    """values (b,), one for each of x (b, ...), of its dtype and with as many axes."""
    return values.to(x.dtype).view(-1, *[1] * (x.ndim - 1))


def add_noise(x0: Tensor, t: Tensor, noise: Tensor, alpha_bars: Tensor) -> Tensor:
    """What x0 (b, ...) is after t int64 (b,) steps of noise, in one go: the closed form of
    q(x_t | x_0), section 3.1. alpha_bars (T + 1,): with 1 for no step."""
    alpha_bar = alpha_bars[t]
    return like(alpha_bar.sqrt(), x0) * x0 + like((1 - alpha_bar).sqrt(), x0) * noise


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


def without_noise(x: Tensor, t: Tensor, noise: Tensor, alpha_bars: Tensor) -> Tensor:
    """The x0 that `add_noise` made x (b, ...) of, if that was the noise in it."""
    alpha_bar = alpha_bars[t]
    return (x - like((1 - alpha_bar).sqrt(), x) * noise) / like(alpha_bar.sqrt(), x)
