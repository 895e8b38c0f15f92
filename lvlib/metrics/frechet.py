# Never edit this file: `python -m lvlib.course build` makes it from solutions/12_measuring_video.py.
"""The Frechet distance between Gaussians that are fitted to features."""

import torch
from torch import Tensor

from lvlib.metrics.moments import Moments


def trace_sqrt_product(a: Tensor, b: Tensor) -> Tensor:
    """tr((a b)^(1/2)) of two covariances (d, d), symmetric without negative eigenvalues -> ().

    a^(1/2) b a^(1/2) has the eigenvalues of a b and is symmetric. Its own square root is never
    formed: the trace is the sum of the roots of its eigenvalues. Those that rounding has made
    negative count as 0.
    """
    values, vectors = torch.linalg.eigh(a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    return torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()


def frechet_distance(real: Moments, generated: Moments) -> Tensor:
    """The squared Frechet distance of two Gaussians with these moments, () float64.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). Of finite sets it is too large on average, the
    more so the fewer clips there are. Raises ValueError for a set of fewer than two clips, or of
    another number of features. On features of I3D it is FVD (Unterthiner et al. 2018).
    """
    if real.mean.shape != generated.mean.shape:
        raise ValueError(f"{len(real.mean)} features cannot be compared with {len(generated.mean)}")
    means = (real.mean - generated.mean).square().sum()
    spread = (real.covariance + generated.covariance).trace()
    return means + spread - 2 * trace_sqrt_product(real.covariance, generated.covariance)
