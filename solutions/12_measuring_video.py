# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 · Measuring video: how far is a set of clips from real ones?

# %% jupyter={"source_hidden": true}
import os

import torch
from torch import Tensor

from lvlib.course import check, progress

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% tags=["export:metrics.moments"]
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
    """Of vectors (n, d), n from 0 up. In float64: of many vectors, float32 loses the differences."""
    features = features.double()
    mean = features.sum(0) / max(len(features), 1)
    centred = features - mean
    return Moments(len(features), mean, centred.T @ centred)


# %% tags=["exercise", "ex-12.1", "export:metrics.moments"]
def merge_moments(a: Moments, b: Moments) -> Moments:
    """The moments of both sets together, from the moments alone; either may be empty, or both.

    Chan, Golub and LeVeque 1979.
    """
    ### BEGIN SOLUTION
    count = a.count + b.count
    share = b.count / max(count, 1)
    apart = b.mean - a.mean
    between = a.count * share * torch.outer(apart, apart)
    return Moments(count, a.mean + share * apart, a.scatter + b.scatter + between)
    ### END SOLUTION


# %% tags=["check", "ex-12.1"]
merge_moments = check("12.1", merge_moments)

# %% tags=["exercise", "ex-12.2", "export:metrics.frechet"]
"""The Frechet distance between Gaussians that are fitted to features."""

import torch
from torch import Tensor

from lvlib.metrics.moments import Moments


def trace_sqrt_product(a: Tensor, b: Tensor) -> Tensor:
    """tr((a b)^(1/2)) of two covariances (d, d), symmetric without negative eigenvalues -> ().

    a^(1/2) b a^(1/2) has the eigenvalues of a b and is symmetric. Its own square root is never
    formed: the trace is the sum of the roots of its eigenvalues. Those that rounding has made
    negative count as 0. The dtype stays.
    """
    ### BEGIN SOLUTION
    values, vectors = torch.linalg.eigh(a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    return torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    ### END SOLUTION


# %% tags=["check", "ex-12.2"]
trace_sqrt_product = check("12.2", trace_sqrt_product)


# %% tags=["export:metrics.frechet"]
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


# %% tags=["export:metrics.kernel"]
"""The kernel distance between two sets of features."""

import torch
from torch import Tensor

ROWS = 1024  # of a kernel matrix that are in memory at once


def kernel_sum(x: Tensor, y: Tensor) -> Tensor:
    """The sum over all pairs of the cubic kernel (x . y / d + 1)^3: x (n, d), y (m, d) -> ()."""
    parts = [(part @ y.T / x.shape[1] + 1).pow(3).sum() for part in x.split(ROWS)]
    return torch.stack(parts).sum()


# %% tags=["exercise", "ex-12.3", "export:metrics.kernel"]
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
    ### BEGIN SOLUTION
    real, generated = real.double(), generated.double()
    within = []
    for x in (real, generated):
        itself = (x.square().sum(1) / x.shape[1] + 1).pow(3).sum()
        within.append((kernel_sum(x, x) - itself) / (len(x) * (len(x) - 1)))
    return sum(within) - 2 * kernel_sum(real, generated) / (len(real) * len(generated))
    ### END SOLUTION


# %% tags=["check", "ex-12.3"]
kernel_distance = check("12.3", kernel_distance)

# %% tags=["export:metrics.inception"]
"""The inception score: are clips clearly of one class, and are there many classes?"""

from typing import NamedTuple

from torch import Tensor


class ClassSums(NamedTuple):
    """What class probabilities of clips leave behind: enough for an inception score.

    count: how many clips. total: (classes,) float64, the sum of their probabilities. negentropy:
    () float64, the sum over clips of sum p log p, in nats.
    """

    count: int
    total: Tensor
    negentropy: Tensor


def class_sums(probs: Tensor) -> ClassSums:
    """Of probabilities (n, classes), rows that sum to one."""
    probs = probs.double()
    return ClassSums(len(probs), probs.sum(0), probs.xlogy(probs).sum())


def merge_class_sums(a: ClassSums, b: ClassSums) -> ClassSums:
    """Of both sets together."""
    return ClassSums(a.count + b.count, a.total + b.total, a.negentropy + b.negentropy)


def inception_score(sums: ClassSums) -> Tensor:
    """exp of the mean KL from all clips' classes to each clip's, () float64: 1 to the number of classes.

    Salimans et al. 2016. Of clips with C3D: Saito et al. 2020. Raises ValueError if there are no clips.
    """
    if sums.count == 0:
        raise ValueError("an inception score takes at least 1 clip")
    mean = sums.total / sums.count
    return (sums.negentropy / sums.count - mean.xlogy(mean).sum()).exp()


# %% tags=["export:metrics.coherence"]
"""Is a long video of one class all the time? TATS, section 3.3."""

from torch import Tensor

LEAST = 1e-12  # probabilities below count as this: the paper's KL is infinite where the first window rules a class out


def class_coherence(probs: Tensor) -> Tensor:
    """CCS of each video: is the likeliest class of a window that of the first?

    Class probabilities of windows (b, n, classes) -> (b, n) float64, 0 or 1. The mean over b is the
    paper's score: the share of videos whose class is still that of their beginning.
    """
    classes = probs.argmax(-1)
    return (classes == classes[:, :1]).double()


# %% tags=["exercise", "ex-12.4", "export:metrics.coherence"]
def inception_coherence(probs: Tensor) -> Tensor:
    """ICS of each video: the KL divergence of a window's classes from those of the first, in nats.

    Class probabilities of windows (b, n, classes) -> (b, n) float64. 0 where nothing changes; lower
    is better. In the logarithms a probability below LEAST counts as LEAST. The paper sums over the
    videos; the mean over b does not grow with their number.
    """
    ### BEGIN SOLUTION
    probs = probs.double()
    logs = probs.clamp(min=LEAST).log()
    return (probs * (logs - logs[:, :1])).sum(-1)
    ### END SOLUTION


# %% tags=["check", "ex-12.4"]
inception_coherence = check("12.4", inception_coherence)



# %% tags=["export:metrics.windows"]
"""Long videos as short windows."""

from torch import Tensor


def windows(video: Tensor, frames: int = 16, every: int = 16) -> Tensor:
    """Windows that begin `every` frames apart: (b, c, t, h, w) -> (b, n, c, frames, h, w), a view.

    Frames after the last whole window are left out. Raises ValueError for a video that is shorter.
    TATS (Fig. 5) and MeBT (Fig. 7) score each window of 16: every 16 frames, and every 8.
    """
    if video.shape[2] < frames:
        raise ValueError(f"a video of {video.shape[2]} frames has no window of {frames}")
    return video.unfold(2, frames, every).permute(0, 2, 1, 5, 3, 4)


# %% tags=["export:metrics.frames"]
"""Frames of a video beside each other: is it a loop, and do its colours stay?"""

import torch
from torch import Tensor


def nearest_frame_distance(video: Tensor, apart: int = 8) -> Tensor:
    """Of each frame, the root mean squared difference to the frame most like it: (b, c, t, h, w) -> (b, t).

    Frames less than `apart` frames away do not count: those are always alike. 0 where a frame comes
    back exactly, as in a loop. Raises ValueError for a video of fewer than 2 * apart frames: some
    would have none so far away.
    """
    t = video.shape[2]
    if t < 2 * apart:
        raise ValueError(f"of {t} frames, some have none {apart} frames away: {2 * apart} are needed")
    frames = video.transpose(1, 2).flatten(2)
    distance = torch.cdist(frames, frames, compute_mode="donot_use_mm_for_euclid_dist")
    place = torch.arange(t, device=video.device)
    near = (place[:, None] - place).abs() < apart
    return distance.masked_fill(near, torch.inf).amin(-1) / frames.shape[-1] ** 0.5


def color_correlation(a: Tensor, b: Tensor, bins: int = 8) -> Tensor:
    """Correlation of the colour histograms of frames: (n, c, h, w) twice, in [-1, 1] -> (n,) float64.

    1 for equal colours, wherever they are. A histogram has bins ** c cells, one for each range of
    colours. One that is flat, each colour as often as any other, correlates with nothing but its
    like. TATS, Table 2; the paper does not give the number of bins.
    """
    histograms = []
    for frames in (a, b):
        level = ((frames + 1) / 2 * bins).floor().clamp(0, bins - 1).long()
        cell = sum(level[:, i] * bins**i for i in range(level.shape[1])).flatten(1)
        counts = torch.zeros(len(cell), bins ** level.shape[1], device=cell.device).double()
        histograms.append(counts.scatter_add_(1, cell, torch.ones_like(cell).double()))
    x, y = (histogram - histogram.mean(1, keepdim=True) for histogram in histograms)
    norm = (x.square().sum(1) * y.square().sum(1)).sqrt()
    alike = (histograms[0] == histograms[1]).all(1).double()
    return torch.where(norm > 0, (x * y).sum(1) / norm, alike)


# %%
progress()
