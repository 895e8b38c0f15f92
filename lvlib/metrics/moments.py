# Never edit this file: `python -m lvlib.course build` makes it from solutions/12_measuring_video.py.
"""Mean and covariance of features, from batches that are not kept."""

from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """What a set of feature vectors leaves behind: enough for their mean and covariance.

    count: how many vectors. mean: (d,) float64. scatter: (d, d) float64, the sum of the outer
    products of the vectors' deviations from their mean.
    """

    count: int  # type: ignore[assignment]  # tuples have a method of this name
    mean: Tensor
    scatter: Tensor

    @property
    def covariance(self) -> Tensor:
        """(d, d), unbiased. Raises ValueError for fewer than two vectors."""
        if self.count < 2:
            raise ValueError(f"a covariance takes at least 2 clips, not {self.count}")
        return self.scatter / (self.count - 1)


def moments_of(features: Tensor) -> Moments:
    """Of vectors (n, d), n from 0 up. In float64: float32 loses what many vectors differ by."""
    features = features.double()
    mean = features.sum(0) / max(len(features), 1)
    centred = features - mean
    return Moments(len(features), mean, centred.T @ centred)


def merge_moments(a: Moments, b: Moments) -> Moments:
    """The moments of both sets together, from the moments alone; either may be empty, or both.

    Chan, Golub and LeVeque 1979.
    """
    count = a.count + b.count
    share = b.count / max(count, 1)
    apart = b.mean - a.mean
    between = a.count * share * torch.outer(apart, apart)
    return Moments(count, a.mean + share * apart, a.scatter + b.scatter + between)
