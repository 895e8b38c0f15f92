# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 · Measuring video: how good is a clip that nobody has seen before?
#
# **What you will build.** The field's measures of generated video, from their definitions: Frechet and kernel
# distance, inception score, class coherence, distance per window of a long video.
#
# **Why it matters.** Every paper of this course ends in a table with one number a model, and the number decides
# which model is called better. You will spoil clips in eight ways and see which number notices which. Each one can
# be fooled, and you will do it.
#
# Below, a clip, and the same clip spoiled in two ways. One of them you would not notice. By PSNR, the measure of
# notebook 01, the two are *equally far* from the clip.

# %% jupyter={"source_hidden": true}
import math
import os

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from matplotlib import pyplot as plt
from torch import Tensor

from lvlib.course import check, progress
from lvlib.course.clips import doom_walks, one_digit
from lvlib.data import MovingDigits, to_video
from lvlib.evaluation.networks.course import course_classifier
from lvlib.evaluation.networks.network import Seen
from lvlib.metrics.pixels import psnr
from lvlib.models.videogpt.prior import VideoGPTSampling
from lvlib.runs import load_checkpoint
from lvlib.viz import bars, scored_strip, set_style, show, strip

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %%
torch.manual_seed(0)
count = {"smoke": 8, "course": 64}[profile]
data = MovingDigits(count, size=32, color=True)
clips = to_video(torch.tensor(data.batch(slice(0, count))["video"]))
shifted = torch.cat([clips[..., :1], clips[..., :-1]], -1)
error = (shifted - clips).square().mean((1, 2, 3, 4), keepdim=True)
noisy = clips + error.sqrt() * torch.randn_like(clips)
show(strip([clips[0], shifted[0], noisy[0]], frames=8,
           titles=["a clip", "one pixel to the right", "with noise"]),
     alt="Three rows of 8 frames of two coloured digits that move. The first two rows look the "
         "same, the third is covered with noise.")
for name, video in {"one pixel to the right": shifted, "with noise": noisy}.items():
    print(f"{name:<22} {psnr(video, clips)[0]:.1f} dB")

# %% [markdown]
# **What it costs.** About two minutes on two CPU cores. **What it needs.** Notebook 01 (PSNR).
#
# ## 1. What PSNR misses
#
# PSNR compares pixel with pixel: a stroke that has moved by one pixel is wrong at each of its edges. And it asks
# *which* clip a clip should have been. A new clip has no such twin: many would have been right.
#
# So two things are needed: something that sees what we see, and a comparison of *sets* of clips. For the first, the
# field takes a network that was trained to tell things apart, and looks at the vector before its last layer, the
# **features**: most of what does not matter for the task is gone there. The papers use I3D, which was trained on
# human actions; its file is not ours to ship. The course has a small 3D convnet, `course_classifier`, that was
# trained to tell which digit moves which way, and how the player of Doom moves. A score always names its network:
# distances in two networks have nothing to do with each other.

# %%
network = course_classifier()


def look(video: Tensor) -> Seen:
    """Features (b, 64) and class probabilities (b, 16) of clips (b, c, t, h, w)."""
    seen = [network.look(part) for part in video.split(64)]
    return Seen(*(torch.cat(parts) for parts in zip(*seen, strict=True)))


original = look(clips).features
moved = {name: (look(video).features - original).norm(dim=1).mean().item()
         for name, video in {"one pixel to the right": shifted, "with noise": noisy}.items()}
moved["another clip"] = (original.roll(1, 0) - original).norm(dim=1).mean().item()
show(bars(moved, ylabel="distance of the features"),
     alt="Bars of the mean distance in feature space: a shift by one pixel moves a clip a little, "
         "noise of the same PSNR moves it several times as far.")
if profile != "smoke":
    assert moved["with noise"] > 2 * moved["one pixel to the right"]

# %% [markdown]
# The network agrees with your eye. (So does one that was trained on photographs: in EfficientNet-Lite0 we measured
# 0.59 for a shift by a pixel, 2.55 for noise of the same error, 7.4 for another picture.)
#
# ## 2. A look at the features
#
# Each clip is a point in 64 dimensions. Below are clips of digits that the network has never seen, in the plane in
# which they vary most.

# %%
count = {"smoke": 40, "course": 256}[profile]
unseen, labels = one_digit(count, split="test")
seen = look(unseen)
centred = seen.features - seen.features.mean(0)
plane = centred @ torch.pca_lowrank(centred, 2)[2]
nearest = {}
for name, vectors in {"pixels": unseen.flatten(1), "features": seen.features}.items():
    apart = torch.cdist(vectors, vectors).fill_diagonal_(math.inf)
    nearest[name] = (labels[apart.argmin(1)] == labels).float().mean().item()
    print(f"by {name}, the nearest other clip shows the same digit in {nearest[name]:.0%}")
if profile != "smoke":
    assert nearest["features"] > nearest["pixels"] + 0.2

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(6, 3.4))
ax.scatter(*plane.T, s=0)
for (x, y), digit in zip(plane.tolist(), labels.tolist(), strict=True):
    ax.text(x, y, str(digit), color=f"C{digit % 8}", ha="center", va="center", fontsize=8)
ax.set(xlabel="first axis", ylabel="second axis", xticks=[], yticks=[])
show(fig, alt="A cloud of points in a plane, each with its digit. Equal digits lie together in "
              "clusters, some of which overlap.")

# %% [markdown]
# Real clips are one cloud of points, generated ones another. **How far is one cloud from the other?**
#
# ## 3. The Frechet distance
#
# Pair each point of one cloud with a point of the other, and take the mean squared distance of the pairs. The least
# that any pairing has is the (squared) **Frechet distance** of two distributions, also called Wasserstein-2. On a
# line the best pairing is known: sort both.

# %%
torch.manual_seed(0)
points, others = torch.randn(20_000), 3 + 2 * torch.randn(20_000)
by_chance = (points - others).square().mean()
paired = (points.sort().values - others.sort().values).square().mean()
print(f"paired by chance {by_chance:.2f}, sorted {paired:.2f}, (3 - 0)^2 + (2 - 1)^2 = 10")
assert abs(paired - 10) < 0.5 and by_chance > 13

# %% [markdown]
# Two Gaussians on a line are $(m_1 - m_2)^2 + (s_1 - s_2)^2$ apart. In many dimensions, with covariances $C$, it is
#
# $$|m_1 - m_2|^2 + \mathrm{tr}\left(C_1 + C_2 - 2\,(C_1 C_2)^{1/2}\right)$$
#
# It takes a mean and a covariance of each set. Features are no Gaussians: what these two do not tell, it cannot see.
#
# ### Exercise 12.1 · moments that stream (about 15 min)
# Evaluation goes through thousands of clips, and keeps no features. `moments_of` takes the moments of one batch: the
# number of vectors, their mean, their *scatter*: the sum of outer products of what each differs from the mean by. Merge
# two of them into those of both batches together.
#
# <details><summary>Hint</summary>The new mean lies between the two, nearer to that of the larger set. Around it
# the vectors scatter as they did around their own means, and on top of that the two means differ.</details>
# <details><summary>The call</summary>With <code>apart = b.mean - a.mean</code>, what is on top is
# <code>torch.outer(apart, apart)</code>, times <code>a.count * b.count / count</code>. Two empty sets must not
# divide by 0: <code>max(count, 1)</code>.</details>

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

# %% [markdown]
# Sums of x and of x² would stream, too: the variance is the mean of x² minus the square of the mean. On paper. Here
# are the features again, moved away from 0 by 3,000:

# %%
far = seen.features + 3000
in_batches = moments_of(far[:0])
for batch in far.split(7):
    in_batches = merge_moments(in_batches, moments_of(batch))
from_sums = (far.square().mean(0) - far.mean(0).square()).sum()
true = far.double().var(0).sum()
print(f"sum of the variances {true:.2f} | moments merged {in_batches.covariance.trace():.2f} | "
      f"from sums in float32 {from_sums:.2f}")
assert abs(in_batches.covariance.trace() - true) < 1e-6 * true < abs(from_sums - true)

# %% [markdown]
# Merging loses nothing: in any order, in any batches, on any number of machines.
#
# ### Exercise 12.2 · the trace of a root (about 15 min)
# The product of two covariances is not symmetric. Roots of such matrices are slow, and may come out complex. (Public
# code takes `scipy.linalg.sqrtm` and throws the imaginary part away.) But $C_1 C_2$ has the same eigenvalues as the
# *symmetric* $C_1^{1/2} C_2\, C_1^{1/2}$. And of the root of that only the trace is wanted, the sum of its
# eigenvalues: it need not be formed. One root of a matrix is enough, that of $C_1$.
#
# <details><summary>Hint</summary>A symmetric matrix is V diag(values) V^T. Its root has the roots of the values.
# Rounding can make a value that should be 0 a bit negative, and its root NaN: such values count as 0.</details>
# <details><summary>The call</summary><code>torch.linalg.eigh(a)</code> gives values and vectors;
# <code>torch.linalg.eigvalsh</code> values alone; <code>.clamp(min=0).sqrt()</code>.</details>

# %% tags=["exercise", "ex-12.2", "export:metrics.frechet"]
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

# %% [markdown]
# First where we know the answer, in a plane. With covariances $s_1^2 I$ and $s_2^2 I$ it is $|m_1 - m_2|^2 + 2 (s_1 -
# s_2)^2$. Where both have the same axes, each axis is a Gaussian on a line.

# %%
def gaussian(mean: list[float], widths: list[float], angle: float = 0) -> Moments:
    """A Gaussian in the plane, with standard deviations along two axes that are turned by angle."""
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    axes = (turn * torch.tensor(widths)).double()
    return Moments(2, torch.tensor(mean).double(), axes @ axes.T)  # two vectors: scatter / 1


round_one, long_one = gaussian([0, 0], [1, 1]), gaussian([0, 0], [2, 0.5])
pairs = {"moved by (1, 1)": (round_one, gaussian([1, 1], [1, 1]), 2),
         "twice as wide": (round_one, gaussian([0, 0], [2, 2]), 2),
         "longer and thinner": (round_one, long_one, 1.25),
         "turned by 90 degrees": (long_one, gaussian([0, 0], [2, 0.5], math.pi / 2), 4.5)}
for name, (one, other, expected) in pairs.items():
    print(f"{name:<22} {frechet_distance(one, other):.4f}, by hand {expected}")
    assert abs(frechet_distance(one, other) - expected) < 1e-5

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 4, figsize=(7.2, 2.1))
for ax, (name, (one, other, expected)) in zip(axes, pairs.items(), strict=True):
    for moments, color in ((one, "C0"), (other, "C1")):
        turn = torch.linspace(0, 2 * math.pi, 100).double()
        values, vectors = torch.linalg.eigh(moments.covariance)
        edge = vectors * values.sqrt() @ torch.stack([turn.cos(), turn.sin()])
        ax.fill(*(edge + moments.mean[:, None]), color=color, alpha=0.4)
    ax.set(xlim=(-2.3, 2.3), ylim=(-2.3, 2.3), xticks=[], yticks=[], aspect="equal")
    ax.set_title(f"{name}\n{expected}", fontsize=8)
show(fig, alt="Four pairs of ellipses in a plane with their distances: moved 2, twice as wide 2, "
              "longer and thinner 1.25, turned by 90 degrees 4.5.")

# %% [markdown]
# ## 4. Few clips: a distance where there is none
#
# Are real clips 0 apart from real clips? A finite set has a mean and a covariance of its own, by chance, and any
# difference makes the distance *larger*: a **bias**. We measure it between two sets of n real clips, again and again.

# %%
def distance(real: Tensor, other: Tensor) -> float:
    """Frechet distance of two sets of features."""
    return frechet_distance(moments_of(real), moments_of(other)).item()


def between_halves(features: Tensor, measure, n: int, times: int) -> Tensor:
    """The measure of two sets of n, drawn from the features without a common clip: (times,)."""
    drawn = [features[torch.randperm(len(features))[:2 * n]] for _ in range(times)]
    return torch.tensor([float(measure(both[:n], both[n:])) for both in drawn])


torch.manual_seed(0)
pool = look(one_digit({"smoke": 40, "course": 768}[profile], seed=1)[0]).features
sizes = {"smoke": (8, 16), "course": (24, 48, 96, 192, 384)}[profile]
times = {"smoke": 2, "course": 40}[profile]
blurred = look(F.avg_pool3d(unseen, (1, 3, 3), 1, (0, 1, 1))).features
frechet = {n: between_halves(pool, distance, n, times) for n in sizes}
for n, values in frechet.items():
    print(f"two sets of {n:>3} real clips: {values.mean():.3f} apart, +- {values.std():.3f}")
to_blurred = distance(pool[:len(blurred)], blurred)
print(f"{len(blurred)} real clips and {len(blurred)} blurred ones: {to_blurred:.3f}")
if profile != "smoke":
    assert frechet[24].mean() > 8 * frechet[384].mean()
    assert frechet[24].mean() > to_blurred > 2 * frechet[384].mean()

# %% [markdown]
# Twice the clips, half the distance. And 24 *real* clips get a worse score than 256 blurred ones. So a Frechet
# distance means nothing without the number of clips, and two of them compare only if both have the same.
#
# ### Exercise 12.3 · the kernel distance (about 20 min)
# Another distance has no bias. A **kernel** k(x, y) says how alike two vectors are; here $(x \cdot y / d + 1)^3$,
# with d features. Take the mean of k over pairs within the first set, plus that within the second, minus twice that
# between the sets. If both come from one distribution all three are the same on average, and the result is 0 on
# average, however few clips there are. It can be *below* 0. One thing must be right: no vector is paired with itself.
# It is more like itself than like any other, and these n pairs of n² would be a bias. `kernel_sum(x, y)` adds up the
# kernel over all pairs.
#
# <details><summary>Hint</summary>How many pairs are there within a set of n, when none is of a vector with itself?
# And what is the kernel of a vector with itself?</details>
# <details><summary>The call</summary><code>(x.square().sum(1) / x.shape[1] + 1).pow(3).sum()</code> is what comes
# off <code>kernel_sum(x, x)</code>; there are <code>n * (n - 1)</code> pairs left. Begin with
# <code>.double()</code>: the differences are small beside the sums.</details>

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

# %%
torch.manual_seed(0)
kernel = {n: between_halves(pool, kernel_distance, n, times) for n in sizes}
for n, values in kernel.items():
    print(f"two sets of {n:>3}: {values.mean():+.4f}, +- {values.std():.4f}; "
          f"{(values < 0).float().mean():.0%} are below 0")
if profile != "smoke":
    spread = kernel[24].std() / math.sqrt(times)
    assert abs(kernel[24].mean()) < 4 * spread and (kernel[24] < 0).float().mean() > 0.2

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2, figsize=(7.2, 2.8))
to_blurred_kernel = float(kernel_distance(pool[:len(blurred)], blurred))
for ax, values, other, name in ((axes[0], frechet, to_blurred, "Frechet distance"),
                                (axes[1], kernel, to_blurred_kernel, "kernel distance")):
    for n in sizes:
        ax.plot([n] * times, values[n], ".", color="C0", alpha=0.3, ms=4)
    ax.plot(sizes, [values[n].mean() for n in sizes], "C0", label="two real sets")
    ax.axhline(other, color="C1", ls="--", label=f"{len(blurred)} real, as many blurred")
    ax.set(xscale="log", xlabel="clips in each set", title=name, xticks=sizes, xticklabels=sizes)
    ax.minorticks_off()
axes[0].set(yscale="log")
axes[0].legend(fontsize=8)
axes[1].axhline(0, color="grey", lw=1)
show(fig, alt="Left: the Frechet distance of two real sets falls as one over the number of clips, "
              "and crosses the dashed line of a blurred set. Right: the kernel distance of two "
              "real sets scatters around 0, the more the fewer clips there are.")

# %% [markdown]
# No bias, on the right. The scatter stays: a single value of few clips says little, but many average to the truth.
#
# ## 5. The inception score
#
# An older measure looks at the network's *answers*. A good clip is clearly of one class, good clips are of many. So
# the divergence of a clip's probabilities from the mean of all should be large. Its mean, exp: at best as many as
# there are classes.

# %% tags=["export:metrics.inception"]
"""The inception score: are clips clearly of one class, and are there many classes?"""

from typing import NamedTuple

from torch import Tensor


class ClassSums(NamedTuple):
    """What class probabilities of clips leave behind: enough for an inception score.

    count: how many clips. total: (classes,) float64, the sum of their probabilities. negentropy:
    () float64, the sum over clips of sum p log p, in nats.
    """

    count: int  # type: ignore[assignment]  # tuples have a method of this name
    total: Tensor
    negentropy: Tensor


def class_sums(probs: Tensor) -> ClassSums:
    """Of probabilities (n, classes), rows that sum to one; n from 0 up."""
    probs = probs.double()
    return ClassSums(len(probs), probs.sum(0), probs.xlogy(probs).sum())


def merge_class_sums(a: ClassSums, b: ClassSums) -> ClassSums:
    """Of both sets together."""
    return ClassSums(a.count + b.count, a.total + b.total, a.negentropy + b.negentropy)


def inception_score(sums: ClassSums) -> Tensor:
    """exp of the mean divergence of a clip's classes from those of all clips, () float64.

    From 1 to the number of classes. Salimans et al. 2016; of clips, with C3D: Saito et al. 2020.
    Raises ValueError if there are no clips.
    """
    if sums.count == 0:
        raise ValueError("an inception score takes at least 1 clip")
    mean = sums.total / sums.count
    return (sums.negentropy / sums.count - mean.xlogy(mean).sum()).exp()

# %%
torch.manual_seed(0)
one_of_each = torch.stack([(labels == digit).nonzero()[0, 0] for digit in range(10)
                           if (labels == digit).any()])  # the first clip of each digit
sets = {"real": seen.probs, "one digit only": seen.probs[labels == 3],
        "blurred": look(F.avg_pool3d(unseen, (1, 9, 9), 1, (0, 4, 4))).probs,
        "noise": look(unseen + 0.8 * torch.randn_like(unseen)).probs,
        "ten clips, repeated": seen.probs[one_of_each].repeat(20, 1)}
scores = {name: float(inception_score(class_sums(probs))) for name, probs in sets.items()}
show(bars(scores, ylabel="inception score (course)"),
     alt="Bars of inception scores. Real clips of ten digits are at about seven; one digit only is "
         "near one; ten clips over and over score as high as real ones.")
if profile != "smoke":
    assert scores["one digit only"] < 2 < 0.5 * scores["real"]
    assert scores["ten clips, repeated"] > 0.9 * scores["real"]

# %% [markdown]
# It rewards clear clips of many classes. It never looks at a real clip: a model that has learned ten clips by heart,
# one a class, scores as well as the world. (In TATS's Table 1, real UCF-101 has 90.52 of 101 possible, TATS 57.63,
# and 79.28 when it is told the class.)
#
# ## 6. Long videos
#
# A video of 1,000 frames is looked at in windows of 16.

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

# %% [markdown]
# Each window gets its distance to real clips: does quality last? But a video could be fine in each window, and
# change its subject from one to the next. So TATS (section 3.3) compares the classes of each window with those of
# the *first*:
#
# - **CCS**, class coherence: the share of videos whose likeliest class is still the first one's;
# - **ICS**, inception coherence: $\sum p_t \log (p_t / p_0)$, the divergence from the first window's
#   probabilities, so lower is better. (As the paper prints it, ICS is a sum over all videos, and CCS is divided by
#   their number. We take the mean of both.)
#
# ### Exercise 12.4 · inception coherence (about 10 min)
# Write ICS of each window of each video.
#
# <details><summary>Hint</summary>The first window is <code>probs[:, :1]</code>: with the 1 it keeps its axis. Where
# a probability is 0 its logarithm is not a number, and where the first window rules a class out the divergence is
# infinite: no probability in a logarithm counts as less than LEAST.</details>
# <details><summary>The call</summary><code>logs = probs.double().clamp(min=LEAST).log()</code>, then a sum over
# the last axis.</details>

# %% tags=["export:metrics.coherence"]
"""Is a long video of one class all the time? TATS, section 3.3."""

from torch import Tensor

LEAST = 1e-12  # where the first window rules a class out, the paper's ICS would be infinite


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

# %% [markdown]
# A third fault: a video that comes back to its beginning. The *nearest frame* finds it: how far from each frame is
# the one most like it, its neighbours aside? And TATS asks how alike the *colours* of first and last frame are
# (Table 2). Both are folded here.

# %% jupyter={"source_hidden": true} tags=["export:metrics.frames"]
"""Frames of a video beside each other: is it a loop, and do its colours stay?"""

import torch
from torch import Tensor


def nearest_frame_distance(video: Tensor, apart: int = 8) -> Tensor:
    """Of each frame, the root mean squared difference to the frame most like it.

    (b, c, t, h, w) -> (b, t). Frames less than `apart` frames away do not count: those are always
    alike. 0 where a frame comes back exactly, as in a loop. Raises ValueError for a video of fewer
    than 2 * apart frames: some would have none so far away.
    """
    t = video.shape[2]
    if t < 2 * apart:
        raise ValueError(f"for each frame to have one {apart} away takes {2 * apart}, not {t}")
    frames = video.transpose(1, 2).flatten(2)
    distance = torch.cdist(frames, frames, compute_mode="donot_use_mm_for_euclid_dist")
    place = torch.arange(t, device=video.device)
    near = (place[:, None] - place).abs() < apart
    return distance.masked_fill(near, torch.inf).amin(-1) / frames.shape[-1] ** 0.5


def color_correlation(a: Tensor, b: Tensor, bins: int = 8) -> Tensor:
    """Correlation of the colour histograms of frames: (n, c, h, w) twice, in [-1, 1] -> (n,).

    float64; 1 for equal colours, wherever they are. A histogram has bins ** c cells, one for each
    range of colours. One that is flat, each colour as often as any other, correlates with nothing
    but its like. TATS, Table 2; the paper does not give the number of bins.
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

# %% [markdown]
# Four kinds of long video of a digit, 96 frames each. It bounces for ever (**true**). Noise **creeps in**. After 48
# frames it is **exchanged** for another clip's. Or the first 32 frames come **again and again**.

# %%
long = one_digit({"smoke": 4, "course": 48}[profile], 96, seed=2)[0]
torch.manual_seed(0)
strength = torch.linspace(0, 0.4, 96)[:, None, None]
videos = {"true": long, "noise creeps in": long + strength * torch.randn_like(long),
          "exchanged": torch.cat([long[:, :, :48], long.roll(1, 0)[:, :, 48:]], 2),
          "again and again": long[:, :, torch.arange(96) % 32]}
show(strip([video[0] for video in videos.values()], frames=12, titles=list(videos)),
     alt="Four rows of 12 frames of a moving digit: as it is, with growing noise, with another "
         "digit in the second half, and with the first third three times.")
lasting, found = {}, {}
for name, video in videos.items():
    seen_windows = [look(window) for window in windows(video).unbind(1)]
    probs = torch.stack([window.probs for window in seen_windows], 1)
    lasting[name] = {"Frechet distance": [distance(pool, window.features)
                                          for window in seen_windows],
                     "CCS": class_coherence(probs).mean(0).tolist(),
                     "ICS": inception_coherence(probs).mean(0).tolist()}
    found[name] = nearest_frame_distance(video).mean().item()
    print(f"{name:<16} nearest frame {found[name]:.3f}")
true, noise, exchanged, again = ({measure: values[-1] for measure, values in measures.items()}
                                 for measures in lasting.values())
if profile != "smoke":
    assert noise["Frechet distance"] > 3 * true["Frechet distance"]
    assert max(x["Frechet distance"] for x in (exchanged, again)) < 1.5 * true["Frechet distance"]
    assert exchanged["CCS"] < true["CCS"] - 0.3 and exchanged["ICS"] > 2 * true["ICS"]
    assert found["again and again"] < 1e-6 and found["true"] > 0.02

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 3, figsize=(7.2, 2.6))
for ax, measure in zip(axes, lasting["true"], strict=True):
    for name, style in zip(lasting, ("-", "-", "-", "--"), strict=True):
        ax.plot(range(0, 96, 16), lasting[name][measure], style, label=name)
    ax.set(title=measure, xlabel="first frame of the window", xticks=range(0, 96, 32))
axes[0].set(yscale="log")
axes[0].yaxis.set_minor_formatter("")
axes[0].legend(fontsize=8, loc="upper left")
axes[1].set(ylim=(0, 1.05))
show(fig, alt="Three panels over the windows of a video. The Frechet distance rises where noise "
              "creeps in. CCS falls and ICS rises where the digit is exchanged. The video that "
              "begins again and again is as good as the true one in all three.")

# %% [markdown]
# The distance per window finds the noise, and only coherence the exchange, where each window taken alone is perfect.
# The loop passes both: its frames give it away. (TATS saw loops in another model's sky videos by the difference of
# frames 1,000 and 1,024: Fig. 17. FVD did not tell.)
#
# ## 7. The experiment: eight ways to spoil a clip
#
# Bouncing digits, and walks through the maze of notebook 11: half of them stay real, each way of spoiling is applied
# to the other half. *One class only* keeps good clips, but not all kinds: walks that turn left most, and threes.

# %%
SPOILED = {
    "blurred": lambda video: F.avg_pool3d(video, (1, 9, 9), 1, (0, 4, 4), count_include_pad=False),
    "noise": lambda video: video + 0.3 * torch.randn_like(video),
    "shuffled": lambda video: torch.stack([clip[:, torch.randperm(16)] for clip in video]),
    "frozen": lambda video: video[:, :, :1].expand_as(video),
    "faded": lambda video: (video + 1) * torch.linspace(1, 0.1, 16)[:, None, None] - 1,
    "reversed": lambda video: video.flip(2),
    "a loop": lambda video: video[:, :, torch.arange(16) % 8],
}
walks, held = doom_walks({"smoke": 8, "course": 80}[profile], 96)
parts = rearrange(walks, "b (n t) h w c -> (b n) t h w c", t=16)
turned_left = reduce(held[..., 0] - held[..., 1], "b (n t) -> (b n)", "mean", t=16)


def look_at_frames(video: Tensor) -> Tensor:
    """Features of four frames of each clip, each held still: as a network for pictures sees."""
    frames = rearrange(video[:, :, ::5], "b c n h w -> (b n) c 1 h w")
    return look(frames.expand(-1, -1, network.least_frames, -1, -1)).features

# %% [markdown]
# Six scores for each. On walks: **PSNR** (of pairs: it is told which clip each should be), a Frechet distance of
# single **frames**, and that of clips. On digits: the Frechet distance, the kernel distance, the inception score.
# Frechet distances are in multiples of that of two real halves, the kernel distance in standard deviations of it
# among real halves. So real clips have 1, and about 0.

# %%
torch.manual_seed(0)
size = {"smoke": 12, "course": 160}[profile]
order = torch.randperm(len(parts))
real_walks, others = to_video(parts[order[:size]]), order[size:]
leftmost = others[turned_left[others].argsort(descending=True)[:size]]
bounces = one_digit(2 * size, seed=3)[0]
goods = {"walks": to_video(parts[others[:size]]), "digits": bounces[size:]}
real = {"walks": look(real_walks).features, "digits": look(bounces[:size]).features}
real_frames = look_at_frames(real_walks)
shown, scores = {}, {}
for name in ("real", *SPOILED, "one class"):
    if name == "one class":
        bad = {"walks": to_video(parts[leftmost]), "digits": one_digit(size, label=3, seed=4)[0]}
    else:
        bad = {which: SPOILED.get(name, lambda video: video)(good) for which, good in goods.items()}
    seen_digits = look(bad["digits"])
    scores[name] = {
        "walks\nPSNR": psnr(bad["walks"], goods["walks"]).mean().item(),
        "walks\nframes": distance(real_frames, look_at_frames(bad["walks"])),
        "walks\nFrechet": distance(real["walks"], look(bad["walks"]).features),
        "digits\nFrechet": distance(real["digits"], seen_digits.features),
        "digits\nkernel": float(kernel_distance(real["digits"], seen_digits.features)),
        "digits\ninception": float(inception_score(class_sums(seen_digits.probs)))}
    shown[name] = bad["walks"][0].clone()
    if name == "real":
        both = torch.cat([real["digits"], seen_digits.features])
        spread = between_halves(both, kernel_distance, size, 40).std().item()
floor = scores["real"] | {"walks\nPSNR": 1, "digits\nkernel": spread, "digits\ninception": 1}
scores = {name: {column: value / floor[column] for column, value in row.items()}
          for name, row in scores.items()}

# %% jupyter={"source_hidden": true}
NOTICES = {"walks\nPSNR": lambda x: x < 30, "digits\nkernel": lambda x: x > 4,
           "digits\ninception": lambda x: x < 0.8 * scores["real"]["digits\ninception"]}
cells = {column: [(f"{row[column]:.1f}", NOTICES.get(column, lambda x: x > 2)(row[column]))
                  for row in scores.values()] for column in floor}
show(scored_strip(list(shown.values()), list(shown), cells),
     alt="A table of pictures: for real walks and each of eight ways to spoil them a strip of the "
         "first clip and six scores. Single frames miss shuffling, reversal and the loop; only the "
         "distance on walks notices reversal.")
if profile != "smoke":
    for name in ("shuffled", "reversed", "a loop"):
        assert scores[name]["walks\nframes"] < 2, "frames have no order"
    for name, row in scores.items():
        assert name == "real" or max(row["walks\nFrechet"], row["digits\nFrechet"]) > 2, name
    assert scores["shuffled"]["walks\nFrechet"] > 3 and scores["frozen"]["walks\nFrechet"] > 3
    assert scores["reversed"]["digits\nFrechet"] < 1.5
    assert not held.any() or scores["reversed"]["walks\nFrechet"] > 1.6

# %% [markdown]
# - **Shuffled, reversed, a loop**: all frames are real. A distance of single frames, as FID is, cannot notice.
# - **Reversed**: no player walks backwards. But a bouncing digit played backwards is a bouncing digit. Who could tell?
# - **PSNR** punishes everything, also where each clip is another good one, or a good one backwards.
# - **Faded**: on walks all notice. On digits no score does: the network has learned to read pale digits.
# - **One class only**: each clip is perfect. The distances miss the other classes, and so does the inception score.
# - **Frozen**: the inception score hardly minds. A digit that does not move is still clearly a digit.
#
# ## 8. Four ways to get a good score
#
# **Be dark.** Real walks turn and stop: a window's class is often not the first one's, and CCS is low. Now darken them.

# %%
few, coherent, divergent = to_video(walks[:{"smoke": 4, "course": 40}[profile]]), {}, {}
for brightness in (1, 0.3, 0.1, 0.03):
    probs = torch.stack([look((window + 1) * brightness - 1).probs
                         for window in windows(few).unbind(1)], 1)
    coherent[brightness] = class_coherence(probs)[:, 1:].mean().item()
    divergent[brightness] = inception_coherence(probs)[:, 1:].mean().item()
show(strip([(few[0] + 1) * x - 1 for x in coherent], frames=8,
           titles=[f"CCS {coherent[x]:.2f}, ICS {divergent[x]:.2f}" for x in coherent]),
     alt="Four rows of the same walk, darker and darker. The last is nearly black, and has by far "
         "the highest class coherence.")
if profile != "smoke" and held.any():
    assert coherent[0.03] > coherent[1] + 0.15 and divergent[0.03] < 0.5 * divergent[1]

# %% [markdown]
# Nearly black, nearly perfect: where nothing is seen no class changes. Coherence needs a measure of quality beside it.
#
# **Learn by heart.** Nothing that is new gets as near to the training clips as copies of them, real clips included:

# %%
fresh = look(goods["digits"]).features
for name, measure in {"Frechet": distance, "kernel": kernel_distance}.items():
    by_heart, new = (float(measure(real["digits"], x)) for x in (real["digits"].flip(0), fresh))
    print(f"{name} distance to the training clips: copies {by_heart:.3f}, new real clips {new:.3f}")
    assert by_heart < new - 1e-3

# %% [markdown]
# So it matters *which split* the real clips are from: beside training clips overfitting wins. VideoGPT's code takes
# test clips, TATS's and MeBT's training clips (of UCF-101). PVDM's paper takes test clips there, training clips of Sky.
#
# **Repeat yourself** (section 6), and **forget the order** where the network looks at frames (section 7). TATS reports
# one more (section 3.3): the FVD of sky videos *falls* as they degrade. Its guess: I3D has learned human actions, and
# a sky of any kind leaves it cold. A network sees what it was trained for.
#
# ## 9. A score without its protocol is no number
#
# The model of notebook 10 writes 32x32 digits. Here is its score, with one decision changed at a time. Three lines
# have names of their own:
#
# - **R-FVD**: reconstructions against real clips. What the autoencoder loses, no prior brings back.
# - **FVD\***: samples against *reconstructions*. What the prior adds. (VideoGPT's Table 5: R-FVD 14.9, FVD 103.6,
#   FVD* 94.6. They do not add up.)
# - **the last frame repeated**: what takes no model at all. LVT prints it: 320.90 on BAIR, 271.00 on Kinetics-600.

# %%
count = {"smoke": 10, "course": 130}[profile]
prior = load_checkpoint("videogpt-digits")
autoencoder = load_checkpoint("videogpt-digits/autoencoder")
options = {"size": 32, "digits": 1, "digit_size": 20, "speeds": (1,), "grid": 4}
true = {split: to_video(torch.tensor(MovingDigits(count, split=split, **options).batch(
    slice(0, count))["video"])) for split in ("train", "test")}
torch.manual_seed(0)
wishes = {"label": torch.arange(count) % 10}
samples = autoencoder.decode(prior.sample(count, wishes, sampling=VideoGPTSampling(top_p=0.9)))
rebuilt = autoencoder.decode(autoencoder.encode(true["train"]))
train, test, made, again = (look(video).features
                            for video in (true["train"], true["test"], samples, rebuilt))
still = torch.cat([true["train"][:, :, :5], true["train"][:, :, 4:5].expand(-1, -1, 11, -1, -1)], 2)
blocks = look(F.interpolate(samples.clamp(-1, 1), (16, 64, 64))).features
table = {
    "samples, train split": distance(train, made),
    "... test split": distance(test, made),
    "... half the clips": distance(train[:count // 2], made[:count // 2]),
    "... resized in blocks": distance(train, blocks),
    "FVD*: to rebuilt clips": distance(again, made),
    "R-FVD: rebuilt clips": distance(train, again),
    "5 frames, last repeated": distance(train, look(still).features),
    "real clips": distance(train, test),
}
for name, value in table.items():
    print(f"{name:<26} {value:8.3f}")
if profile != "smoke":
    assert table["5 frames, last repeated"] > 3 * table["samples, train split"]
    assert table["FVD*: to rebuilt clips"] < table["samples, train split"]
    assert table["... half the clips"] > table["samples, train split"] + 0.3 * table["real clips"]

# %% [markdown]
# Four numbers for the *same samples*, and none is wrong. Half of the clips makes the score worse, by the bias alone.
# The last line is what a perfect model would get: a score is read between it and the line above.
#
# What the papers did, as far as they or their code say it:
#
# | | generated | real | network |
# |---|---|---|---|
# | LVT, BAIR | 16 x 64x64, 5 frames given; 10 runs | 256 test clips (no code) | I3D, Kinetics-400 |
# | VideoGPT, BAIR | 16 x 64x64; in the code one run of 256 | test (code) | I3D |
# | TATS, short | 2,048 of 16 x 128x128; 10 runs | Sky: test; in the code all train | I3D, Kinetics-400 |
# | TATS, long | 512 of 1,024 x 128x128 | windows of 16, every 16 | C3D for CCS, ICS, and IS of 10,000 |
# | MeBT | 2,048 of 16, 10 runs; 512 of 128, 5 runs | UCF-101: train (code) | I3D, Kinetics-**600** |
# | PVDM | 2,048 of 16 or 128, 256x256 | UCF-101: test; Sky: train; a *video* first, then a clip | I3D |
#
# How much can that be? **DIGAN**, one method, on UCF-101: 655 in TATS's Table 1, 1630.2 in PVDM's, which has it from
# StyleGAN-V, trained anew at 256x256. On Sky: 114.6 and 83.11. How much of that is the protocol, nobody can say. So
# TATS's 420, MeBT's 438 and PVDM's 343.6 are no ranking: frames of other sizes, other networks, other real clips. **A
# score without its protocol is no number.** In lvlib it is a configuration, and stands beside each score.
#
# ## 10. What you built
#
# | name | what it does | in |
# |---|---|---|
# | `Moments`, `moments_of`, `merge_moments` | mean and covariance, streamed | `lvlib.metrics.moments` |
# | `trace_sqrt_product`, `frechet_distance` | FVD, with I3D's features | `lvlib.metrics.frechet` |
# | `kernel_distance` | KVD, with I3D's features | `lvlib.metrics.kernel` |
# | `class_sums`, `inception_score` | clear and varied? | `lvlib.metrics.inception` |
# | `windows` | long videos as short ones | `lvlib.metrics.windows` |
# | `class_coherence`, `inception_coherence` | CCS and ICS | `lvlib.metrics.coherence` |
# | `nearest_frame_distance`, `color_correlation` | loops, and colours that drift | `lvlib.metrics.frames` |
#
# ### Scale it up
# Two folders of videos, whoever made them, or a run of yours by a paper's protocol. The file of I3D is yours to bring:
#
# ```
# lvlib score REAL GENERATED --metrics fvd,kvd --i3d FILE
# lvlib evaluate RUN --protocol tats-short --i3d FILE
# ```
# A GPU looks at 2,048 clips in minutes, and the distances take a second. Writing the clips can take hours.
#
# ### Questions to think about
# 1. TATS's raters saw 530 pairs and preferred TATS in 355, DIGAN in 175. Is that significant?
#    <details><summary>Answer</summary>Were both equally good, 265 would be expected, with a standard deviation of
#    sqrt(530) / 2 = 11.5. 355 is 7.8 of them away: p is 4e-15. But about 5 raters saw each of 100 pairs, and do not
#    judge independently. If the five always agreed, it would be 67 of 100: p is 0.0009. Significant still.</details>
# 2. A paper reports FVD 103.3 with 256 clips, another 103.3 with 2,048. Which model is better?
#    <details><summary>Answer</summary>Probably the first: more of its 103.3 is bias. How much, its own real halves
#    would say, of 256 clips and the same network.</details>
# 3. You divide a score by that of two real halves, as the table of section 7 does. Is it now free of the protocol?
#    <details><summary>Answer</summary>No. The bias cancels in part. But what the network notices, and how strongly, is
#    as before: blur costs little in one, much in another.</details>

# %%
progress()
