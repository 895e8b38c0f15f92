# Never edit this file: `python -m lvlib.course build` makes it from solutions/12_measuring_video.py.
"""The kernel distance between two sets of features."""

import torch
from torch import Tensor

ROWS = 1024  # of a kernel matrix that are in memory at once


def kernel_sum(x: Tensor, y: Tensor) -> Tensor:
    """The sum over all pairs of the cubic kernel (x . y / d + 1)^3: x (n, d), y (m, d) -> ()."""
    parts = [(part @ y.T / x.shape[1] + 1).pow(3).sum() for part in x.split(ROWS)]
    return torch.stack(parts).sum()


def kernel_distance(real: Tensor, generated: Tensor) -> Tensor:
    """The squared maximum mean discrepancy with the cubic kernel, without bias, () float64.

    real (n, d), generated (m, d); float64 inside. Within a set no vector is paired with itself. Of
    two sets from one distribution it is 0 on average, and so often below 0. Raises ValueError
    for a set of fewer than two clips, or of another number of features. On features of I3D it is
    KVD (Unterthiner et al. 2018); the kernel is that of Binkowski et al. 2018.
    """
    if real.shape[1] != generated.shape[1] or min(len(real), len(generated)) < 2:
        raise ValueError(f"two sets of 2 or more vectors of one length are needed, not of shapes "
                         f"{tuple(real.shape)} and {tuple(generated.shape)}")
    real, generated = real.double(), generated.double()
    within = []
    for x in (real, generated):
        itself = (x.square().sum(1) / x.shape[1] + 1).pow(3).sum()
        within.append((kernel_sum(x, x) - itself) / (len(x) * (len(x) - 1)))
    return sum(within) - 2 * kernel_sum(real, generated) / (len(real) * len(generated))
