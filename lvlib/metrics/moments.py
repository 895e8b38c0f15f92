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

    count: int
    mean: Tensor
    scatter: Tensor

    @property
    def covariance(self) -> Tensor:
        """(d, d), unbiased. Raises ValueError for fewer than two vectors."""
        if self.count < 2:
            raise ValueError(f"a covariance takes at least 2 clips, not {self.count}")
        return self.scatter / (self.count - 1)


def moments_of(features: Tensor) -> Moments:
    """Of vectors (n, d). In float64: of many vectors, float32 loses the differences."""
    features = features.double()
    mean = features.mean(0)
    centred = features - mean
    return Moments(len(features), mean, centred.T @ centred)


def merge_moments(a: Moments, b: Moments) -> Moments:
    """The moments of both sets together, from the moments alone (Chan et al. 1979)."""
    count = a.count + b.count
    apart = b.mean - a.mean
    mean = a.mean + apart * (b.count / count)
    between = torch.outer(apart, apart) * (a.count * b.count / count)
    return Moments(count, mean, a.scatter + b.scatter + between)
