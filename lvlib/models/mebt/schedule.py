# Never edit this file: `python -m lvlib.course build` makes it from solutions/19_parallel_decoding.py.
"""How many codes a step of parallel decoding accepts, and which. MeBT, section 3.3."""

import math
from typing import Literal

import torch
from torch import Tensor

from lvlib.models.mebt.masking import hide_smallest

Schedule = Literal["cosine", "linear", "square"]


def still_hidden(schedule: Schedule, progress: float) -> float:
    """gamma: the share of codes that is hidden after a share `progress` of the steps. 1 at 0, and
    0 at 1."""
    if schedule == "cosine":
        return math.cos(math.pi / 2 * progress)
    return 1 - progress if schedule == "linear" else 1 - progress**2


def fill_counts(schedule: Schedule, steps: int, n: int) -> list[int]:
    """How many of n codes each step accepts: at least 1 each, n in all.

    After step s = 0, 1, ... n - ceil(gamma((s + 1) / steps) n) are there, but at least s + 1. The
    paper has s / steps, with which the first step would accept none, and the last would leave some.
    Raises ValueError unless 1 <= steps <= n.
    """
    if not 1 <= steps <= n:
        raise ValueError(f"steps must be 1 to {n}, the codes that are hidden, not {steps}")
    there = [n - math.ceil(still_hidden(schedule, (s + 1) / steps) * n) for s in range(steps)]
    there[-1] = n  # the cosine of a right angle is not quite 0
    there = [max(count, s + 1) for s, count in enumerate(there)]
    return [after - before for before, after in zip([0, *there], there, strict=False)]


def most_certain(log_probs: Tensor, uniform: Tensor, count: int, noise: float) -> Tensor:
    """The `count` codes of each clip that are accepted, those with the largest log-probability plus
    `noise` times Gumbel noise: bool (b, m).

    log_probs (b, m): of the codes that were drawn. uniform (b, m): even random numbers in [0, 1),
    of which the Gumbel noise is made, finite also at 0. A noise of 0 takes the likeliest (section
    3.3), the official code ends there.
    """
    gumbel = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
    return hide_smallest(-(log_probs + noise * gumbel), count)


def parts_in_turn(uniform: Tensor, parts: int) -> list[Tensor]:
    """Divides the places of each clip evenly and at random: `parts` of bool (b, m), True at each
    place in exactly one of them.

    uniform: (b, m), a random number of each place. The one with the r-th smallest of its clip, r
    from 0 to m - 1, is in part r * parts // m. Raises ValueError unless 1 <= parts <= m.
    """
    m = uniform.shape[1]
    if not 1 <= parts <= m:
        raise ValueError(f"revise_parts must be 1 to {m}, the codes that are drawn, not {parts}")
    rank = uniform.argsort(1).argsort(1)
    return [rank * parts // m == part for part in range(parts)]
