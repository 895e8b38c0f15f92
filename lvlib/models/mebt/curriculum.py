# Never edit this file: `python -m lvlib.course build` makes it from solutions/19_parallel_decoding.py.
"""How long a stretch of a clip a step of training sees. MeBT, eq. (4)."""

from typing import Literal

import torch
from torch import Tensor

Curriculum = Literal["none", "uniform", "gaussian", "renormalised"]


def interval_probs(curriculum: Curriculum, frames: int, step: int, alpha: float,
                   beta: float) -> Tensor:
    """Probability of each length v = 1, ..., frames in latent frames at this step: float64
    (frames,). Eq. (4).

    none: all frames always. uniform: each as likely. gaussian: the paper's, a real number of mean
    1 + step / alpha and deviation beta, rounded up; what lies beyond an end counts as that end.
    renormalised: the official code's, the density at whole numbers, divided by its sum. Finite.
    """
    lengths = torch.arange(1, frames + 1, dtype=torch.float64)
    distance = (lengths - 1 - step / alpha) / beta
    if curriculum == "none":
        return (lengths == frames).double()
    if curriculum == "uniform":
        return torch.full_like(lengths, 1 / frames)
    if curriculum == "renormalised":
        return (-distance**2 / 2).softmax(0)
    up_to = torch.special.ndtr(distance)  # that the real number is at most v
    up_to[-1] = 1  # longer ones are cut
    return up_to.diff(prepend=up_to.new_zeros(1))
