# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 · VideoVQVAE: codes for blocks of space and time
#
# **What you will build.** The first half of VideoGPT: an autoencoder that sees a clip as one volume, and
# gives one code to a block of pixels in space *and time*.
#
# **Why it matters.** LVT's autoencoder (notebooks 02 to 04) looks at every frame alone. A digit that floats
# by is described sixteen times, from scratch each time. But most of a frame is known from the frame before.
# If one code stands for four frames, a clip has four times fewer codes, and the model that must write them
# has four times less to say. Attention, whose cost grows with the square, is sixteen times cheaper.

# %% jupyter={"source_hidden": true}
import os
import time
from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from matplotlib import pyplot as plt
from torch import Tensor, nn
from tqdm import tqdm

from lvlib.course import check, progress
from lvlib.data import MovingDigits, to_video
from lvlib.metrics.pixels import psnr
from lvlib.models.common.quantize import code_bits, perplexity, usage
from lvlib.runs import load_checkpoint
from lvlib.viz import curves, maps, set_style, show, show_codes, show_video, strip

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% [markdown]
# Below are eight frames of a clip. With a downsampling of 4 on each axis, the 64 pixels in the orange
# squares, 4x4 in each of four frames, become **one** code out of 256. The whole clip of 16 frames of 32x32
# pixels, 16,384 numbers, becomes 4 x 8 x 8 = 256 codes.

# %%
def digit_clips(split: str, clips: int, seed: int = 0) -> Tensor:
    """Clips of one grey digit of 20 pixels, (clips, 1, 16, 32, 32) in [-1, 1]."""
    digits = MovingDigits(clips, size=32, digits=1, digit_size=20, speeds=(1,), seed=seed,
                          split=split)
    return to_video(torch.tensor(digits.batch(slice(0, clips))["video"]))


clip = digit_clips("test", 8)[4]

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(2, 4, figsize=(6.4, 3.4))
for t, ax in enumerate(axes.flat):
    ax.imshow(clip[0, t], cmap="gray", vmin=-1, vmax=1)
    edges = [x - 0.5 for x in range(4, 32, 4)]
    ax.set(xticks=edges, yticks=edges, title=f"frame {t}")
    ax.tick_params(length=0, labelbottom=False, labelleft=False)
    ax.set_axisbelow(False)
    ax.grid(color="#555555", lw=0.5)
    colour = "#E69F00" if t < 4 else "#56B4E9"
    ax.add_patch(plt.Rectangle((11.5, 15.5), 4, 4, fill=False, color=colour, lw=2))
show(fig, alt="Eight frames of a moving digit under a grid of 4 by 4 pixels. The same cell of the "
              "grid is marked orange in frames 0 to 3 and blue in frames 4 to 7: two blocks, each "
              "of which becomes one code.")

# %% [markdown]
# **What it costs.** A minute and a half on one CPU core. **What it needs.** Notebooks 02 and 03 (vector
# quantization and codebooks). Attention is explained in notebook 06; we repeat what we need.
#
# ## 1. Convolution along one axis
#
# A 3D convolution is a convolution on three axes. To see what is new, take only the new axis: time. Here is
# one pixel of the clip above. For each frame we take the pixel in three frames, before, now and after, and
# multiply them with three weights. With (-1/2, 0, 1/2) the result says how fast the pixel grows brighter.

# %%
pixel = clip[0, :, 16, 14]
weights = torch.tensor([-0.5, 0.0, 0.5])
padded = F.pad(pixel, (1, 1))  # a zero before and after, so that 16 frames give 16 results
by_hand = torch.stack([(padded[t:t + 3] * weights).sum() for t in range(16)])
with_torch = F.conv1d(pixel[None, None], weights[None, None], padding=1)[0, 0]
every_second = F.conv1d(pixel[None, None], weights[None, None], padding=1, stride=2)[0, 0]
assert torch.allclose(by_hand, with_torch, atol=1e-6) and torch.equal(every_second, with_torch[::2])

show(curves({"the pixel": pixel.tolist(), "convolved in time": by_hand.tolist(),
             "with stride 2": {2 * i: float(v) for i, v in enumerate(every_second)}},
            xlabel="frame", ylabel="brightness"),
     alt="The brightness of one pixel over 16 frames rises and falls twice as the digit passes, "
         "then stays at -1. Its convolution is highest on the long rise, negative on the long "
         "fall, then 0, but 0.5 in the last frame. Stride 2 gives every second value of it.")

# %% [markdown]
# At the ends the convolution reads the zeros that we put there. Black is -1 here, so zero is a grey, and the
# last value says that the pixel grows brighter, which it does not. Remember it: the third system of this
# course, TATS, makes much of it.
#
# With **stride** 2 every second result is left out, and 16 frames give 8. This is all that "downsampling in
# time" means. A **3D convolution** has 3x3x3 weights in place of three, and every output looks at three
# frames, three rows and three columns. A frame autoencoder cannot compute what our three weights have found: no
# frame alone knows where its digit is going.
#
# ### Exercise 8.1 · which frames does a latent frame see? (about 15 min)
# Stack such convolutions, and each output sees more and more frames. Output `i` of one convolution reads the
# inputs from `i * stride - padding` to `i * stride - padding + kernel - 1`. Which *frames of the clip* does
# one position see through a whole stack? Give the first and the last, and forget where the clip ends: numbers
# below 0 or beyond the last frame are fine.
#
# <details><summary>Hint</summary>Go backwards, from the last layer to the first: what does the
# position read there, and what do those positions read one layer below?</details>
# <details><summary>The call</summary>Start with <code>first = last = position</code>, and loop over
# <code>reversed(layers)</code>. The rule above moves the first index, and with <code>+ kernel - 1</code> the
# last.</details>

# %% tags=["exercise", "ex-8.1"]
def frames_seen(position: int, layers: list[tuple[int, int, int]]) -> tuple[int, int]:
    """First and last frame that a position of the last output sees.

    layers: (kernel, stride, padding) of each, the one that reads the clip first.
    """
    ### BEGIN SOLUTION
    first = last = position
    for kernel, stride, padding in reversed(layers):
        first, last = first * stride - padding, last * stride - padding + kernel - 1
    return first, last
    ### END SOLUTION

# %% tags=["check", "ex-8.1"]
frames_seen = check("8.1", frames_seen)

# %% [markdown]
# VideoGPT's encoder that downsamples by 4 has two convolutions of stride 2 and one of stride 1, each of three
# frames (Table 8). Latent frame 1 stands for frames 4 to 7. What does it see through these three? (The blocks
# that follow, in section 4, look further still.) We ask your function, and then a network: the gradient of a
# latent frame is zero at frames that it does not see.

# %%
layers = [(3, 2, 1), (3, 2, 1), (3, 1, 1)]
network = nn.Sequential(*(nn.Conv3d(1, 1, (k, 1, 1), (s, 1, 1), (p, 0, 0)) for k, s, p in layers))
for j in range(4):
    probe = torch.randn(1, 1, 16, 1, 1, requires_grad=True)
    network(probe)[0, 0, j].sum().backward()
    seen = probe.grad.flatten().nonzero().flatten().tolist()
    first, last = frames_seen(j, layers)
    print(f"latent frame {j} stands for frames {4 * j} to {4 * j + 3}, sees {first} to {last}: "
          f"in the clip {seen[0]} to {seen[-1]}")
    assert (seen[0], seen[-1]) == (max(first, 0), min(last, 15))

# %% [markdown]
# What they see overlaps, and this has a price: latent frame 0 sees frames 0 to 7. Who knows its codes knows
# something of the future. Keep this in mind when a model is given "the first latent frame" and asked to go
# on: it was given more than four frames. When VideoGPT is given a frame, it is the frame itself and not its
# codes (notebook 11).
#
# ## 2. Down by any factor, and up again
#
# Each axis may have a downsampling of its own. One convolution halves all axes that are to be halved; the
# next halves those that want more. Here is the beginning of the module that this notebook writes.

# %% jupyter={"source_hidden": true} tags=["export:models.videogpt.vqvae"]
"""VideoGPT's autoencoder: a 3D VQ-VAE that shrinks space and time. VideoGPT, section 3, Fig. 4 and
Table 8.

Volumes are (b, channels, t, h, w) for convolutions and (b, t, h, w, d) for attention and codes.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.common.quantize import ema_quantizer
from lvlib.models.common.volume import AxialPositions, Triple
from lvlib.models.videogpt.axial_attention import AxialAttention
from lvlib.models.videogpt.vqvae import VideoVQVAEConfig, hold_last  # in notebook 10

BlockKind = Literal["attention", "official", "plain"]

# %% tags=["export:models.videogpt.vqvae"]
def strides(downsample: Triple) -> list[Triple]:
    """Strides of convolutions that halve each axis until it is done: (4, 2, 1) -> [(2, 2, 1), (2,
    1, 1)]."""
    halvings = max(downsample).bit_length() - 1
    return [tuple(2 if factor > 2**i else 1 for factor in downsample) for i in range(halvings)]

# %% [markdown]
# > **In the official code** the downsampling (2, 2, 2) crashes. The paper's own robot and Doom models have it.
#
# ### Exercise 8.2 · the latents of a clip (about 10 min)
# Give the size of the latents, or an error that helps. A clip of 15 frames does not fit a downsampling of 4:
# the convolutions would run, and the decoder would return 16 frames. Raise `ValueError` with one line that
# names the axis (`frames`, `height` or `width`), and the sizes nearby that are fine.
#
# <details><summary>Hint</summary>Go through the three axes. Where a length is no multiple, name
# the multiple below and the one above. Zero frames are no clip.</details>
# <details><summary>The call</summary><code>zip(("frames", "height", "width"), size, downsample)</code>. The
# multiple below is <code>length // factor * factor</code>.</details>

# %% tags=["exercise", "ex-8.2", "export:models.videogpt.vqvae"]
def latent_grid(size: Triple, downsample: Triple) -> Triple:
    """(t, h, w) of a clip -> (t, h, w) of its latents.

    Raises ValueError whose one line names an axis (frames, height or width) that is 0 or that the
    downsampling does not divide, and one or both of the nearest sizes that fit.
    """
    ### BEGIN SOLUTION
    for axis, length, factor in zip(("frames", "height", "width"), size, downsample, strict=True):
        if length < 1 or length % factor:
            below = length // factor * factor
            near = f"{below} or {below + factor}" if below else factor
            raise ValueError(f"{axis} must be a multiple of {factor}, not {length}: take {near}")
    t, h, w = (length // factor for length, factor in zip(size, downsample, strict=True))
    return t, h, w
    ### END SOLUTION

# %% tags=["check", "ex-8.2"]
latent_grid = check("8.2", latent_grid)

# %% [markdown]
# The way up is the **transposed convolution**: each input writes its multiple of the kernel into the output,
# `stride` apart, and what overlaps adds up. Table 8 has filters of 3 on the way down and of 4 on the way up.
# Why 4? Count how many inputs write to each output.

# %%
ones = torch.ones(1, 1, 6)
for size in (3, 4):
    up = F.conv_transpose1d(ones, torch.ones(1, 1, size), stride=2, padding=1)[0, 0]
    print(f"kernel {size}: {len(up)} outputs, written by {up.int().tolist()}")

# %% [markdown]
# With a kernel of 3, every second output gets two contributions and the others one: a checkerboard that the
# network must unlearn. With 4 it is even (but for the ends), and the length is exactly twice.
#
# ## 3. Attention along the axes
#
# A convolution sees a few steps. A digit in frame 0 matters in frame 15, too. **Attention** reaches
# everywhere in one layer: each position compares its *query* with the *keys* of all others, and gets the mean
# of their *values*, weighted by how well they fit. With n positions these are n x n comparisons, or *scores*.
# Latents of 8 x 32 x 32 have 67 million.
#
# **Axial attention** (Ho et al. 2019) lets a position look along the three lines that go through it: the same
# place in all frames, its column, its row. The official code adds up what the three find (the paper does not
# say how they are joined). A position has t + h + w scores, not t · h · w.
#
# ### Exercise 8.3 · attention along one axis (about 15 min)
# `F.scaled_dot_product_attention` takes `(batch, heads, length, d)`. For attention along t, every place (h,
# w) of every clip is a batch of its own, of length t. Bring the axes into that order, attend, and bring them
# back.
#
# <details><summary>Hint</summary>Everything that is not the line is a batch. Write down the
# pattern of the lines for each axis, and use it for both directions.</details>
# <details><summary>The call</summary>For t: <code>rearrange(x, "b m t h w d -> (b h w) m t d")</code>, and
# back with <code>b=, h=, w=</code>.</details>

# %% jupyter={"source_hidden": true} tags=["export:models.videogpt.axial_attention"]
"""Attention along the axes of a volume: of each position to its row, its column, and its place in
all frames.

VideoGPT, section 3, after Ho et al. 2019.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


# %% tags=["exercise", "ex-8.3", "export:models.videogpt.axial_attention"]
def attend_along(axis: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of each position to those on its line along one axis, "t", "h" or "w". VideoGPT,
    section 3.

    q, k, v (b, heads, t, h, w, d) -> (b, heads, t, h, w, d).
    """
    ### BEGIN SOLUTION
    lines = {"t": "(b h w) m t d", "h": "(b t w) m h d", "w": "(b t h) m w d"}[axis]
    b, _, t, h, w, _ = q.shape
    out = F.scaled_dot_product_attention(*(rearrange(x, f"b m t h w d -> {lines}")
                                           for x in (q, k, v)))
    return rearrange(out, f"{lines} -> b m t h w d", b=b, t=t, h=h, w=w)
    ### END SOLUTION

# %% tags=["check", "ex-8.3"]
attend_along = check("8.3", attend_along)

# %% [markdown]
# Around it go the usual parts: three projections for queries, keys and values, several heads, and a
# projection of what they found.

# %% tags=["export:models.videogpt.axial_attention"]
class AxisAttention(nn.Module):
    """Multi-head attention along one axis of volumes (b, t, h, w, dim)."""

    def __init__(self, axis: str, dim: int, heads: int):
        super().__init__()
        self.axis, self.heads = axis, heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b t h w (three m d) -> three b m t h w d", three=3,
                            m=self.heads)
        return self.out_proj(rearrange(attend_along(self.axis, q, k, v),
                                       "b m t h w d -> b t h w (m d)"))

# %% [markdown]
# ### Exercise 8.4 · three axes (about 5 min)
# Put the three together, as the official code does: each layer reads `x`, and what they find is added up.
#
# <details><summary>Hint</summary>The three work side by side, none reads another's result.</details>
# <details><summary>The call</summary><code>sum(...)</code> over <code>self.axes</code>.</details>

# %% tags=["exercise", "ex-8.4", "export:models.videogpt.axial_attention"]
class AxialAttention(nn.Module):
    """The sum of three attentions, along w, h and t. Volumes (b, t, h, w, dim). Official code, two
    heads."""

    def __init__(self, dim: int, heads: int = 2):
        super().__init__()
        self.axes = nn.ModuleList(AxisAttention(axis, dim, heads) for axis in "wht")

    def forward(self, x: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        return sum(attention(x) for attention in self.axes)
        ### END SOLUTION

# %% tags=["check", "ex-8.4"]
AxialAttention = check("8.4", AxialAttention)

# %% [markdown]
# What can one layer see? We change one position (the cross) and look which results change, after one, two and
# three layers.

# %%
torch.manual_seed(0)
layers = nn.Sequential(*(AxialAttention(8) for _ in range(3)))
quiet = torch.randn(1, 4, 7, 7, 8)
loud = quiet.clone()
loud[0, 1, 3, 2] += 1
seen, crosses = {}, {}
for depth in range(1, 4):
    layer = f"{depth} layer{'s' * (depth > 1)}"
    changed = (layers[:depth](loud) - layers[:depth](quiet)).abs().amax(-1)[0] > 1e-7
    print(f"{layer}: {changed.sum()} of {changed.numel()} positions notice")
    seen |= {f"{layer}, frame {t}": changed[t] for t in range(4)}
    crosses[f"{layer}, frame 1"] = (3, 2)
assert seen["1 layer, frame 1"].sum() == 7 + 7 - 1 and changed.all()
show(maps(seen, crosses),
     alt="Three rows of four frames of 7 by 7 positions. After one layer the cross's row and "
         "column in its own frame have changed, and one position in each other frame. After two "
         "layers its whole frame, and a cross in each other frame. After three layers everything.")

# %% [markdown]
# One layer sees a cross in space and time. Three layers see everything: any position is reached in three
# steps, one on each axis.
#
# ### What it costs
# Of n = t · h · w positions full attention computes n² scores, axial attention n · (t + h + w). At the paper's
# size for robots and Doom, 8 x 32 x 32, these are 114 times fewer. It is faster by less: it goes through the
# volume three times and reorders it each time, and many short lines keep a processor less busy than one long
# one. (On one core we measured 18 times as fast at that size, and 0.7 times for 4 x 8 x 8.) Axial attention
# pays where latents are large.
#
# ## 4. The residual block of Fig. 4
#
# Attention does not know where a position is. Shuffle the frames, and its results are shuffled, too. So
# VideoGPT adds **position embeddings**, "learned spatio-temporal embeddings that are shared between all axial
# attention layers" (section 3). Ours are a vector for each time, each row and each column, and a position's is
# their sum; the paper does not say how the axes are joined.

# %% tags=["export:models.common.volume"]
import torch
from torch import Tensor, nn


def check_reach(shape: tuple[int, ...], largest: tuple[int, ...]) -> None:
    """Raises ValueError if a volume of latents is larger than position embeddings reach."""
    for axis, size, end in zip(("frames", "height", "width"), shape, largest, strict=False):
        if size > end:
            raise ValueError(f"latent {axis} must be at most {end}, where position embeddings end, "
                             f"not {size}")


class AxialPositions(nn.Module):
    """A learned vector for each place on each axis; a position's is the sum over its axes (ours;
    the paper says learned embeddings, shared by all layers: VideoGPT, section 3).

    shape: of the largest volume, (t, h, w), or (t, h, w, k) where each code has a position of its
    own.
    """

    def __init__(self, shape: tuple[int, ...], dim: int):
        super().__init__()
        self.tables = nn.ParameterList(nn.Parameter(0.02 * torch.randn(size, dim))
                                       for size in shape)

    def forward(self, shape: tuple[int, ...]) -> Tensor:
        """(*shape, dim), for a volume of this shape. Raises ValueError if the tables do not reach
        that far."""
        check_reach(shape, tuple(map(len, self.tables)))
        first, *others = (table[:size] for table, size in zip(self.tables, shape, strict=True))
        for table in others:
            first = first.unsqueeze(-2) + table
        return first

# %% [markdown]
# A block adds a correction to its input: norm, ReLU, a 3x3x3 convolution; norm, ReLU, a 1x1x1 convolution;
# norm, ReLU, axial attention. There are three kinds:
#
# | kind | norm | attention | positions | used for |
# |---|---|---|---|---|
# | `attention` | LayerNorm | axial | shared, learned | the paper's Fig. 4 |
# | `official` | BatchNorm | axial | none | what the official code really has |
# | `plain` | none | none | none | Moving MNIST in Table 8 |

# %% tags=["export:models.videogpt.vqvae"]
class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of volumes (b, channels, t, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def block_norm(kind: BlockKind, channels: int) -> nn.Module:
    """The norm in residual blocks of this kind, for volumes (b, channels, t, h, w)."""
    return {"attention": ChannelNorm, "official": nn.BatchNorm3d,
            "plain": nn.Identity}[kind](channels)


class VideoBlock(nn.Module):
    """x plus a correction: a 3x3x3 and a 1x1x1 convolution, axial attention, each after a norm and
    a ReLU. Fig. 4.

    Volumes (b, channels, t, h, w). "official": BatchNorm in place of LayerNorm. "plain": neither
    norm nor attention.
    """

    def __init__(self, channels: int, hidden: int, kind: BlockKind):
        super().__init__()
        bias = kind == "plain"  # as in the official code, none next to a norm
        self.convolutions = nn.Sequential(
            block_norm(kind, channels), nn.ReLU(),
                                          nn.Conv3d(channels, hidden, 3, padding=1, bias=bias),
            block_norm(kind, hidden), nn.ReLU(), nn.Conv3d(hidden, channels, 1, bias=bias))
        self.norm = block_norm(kind, channels)
        self.attention = None if kind == "plain" else AxialAttention(channels)

    def forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        """positions: (t, h, w, channels), added to what attention reads; None for none."""
        correction = self.convolutions(x)
        if self.attention:
            volume = F.relu(self.norm(correction)).movedim(1, -1)
            volume = volume if positions is None else volume + positions
            correction = self.attention(volume).movedim(-1, 1)
        return x + correction


class VideoBlocks(nn.Module):
    """Residual blocks one after the other, then a norm and a ReLU."""

    def __init__(self, channels: int, hidden: int, blocks: int, kind: BlockKind):
        super().__init__()
        self.blocks = nn.ModuleList(VideoBlock(channels, hidden, kind) for _ in range(blocks))
        self.norm = block_norm(kind, channels)

    def forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        for block in self.blocks:
            x = block(x, positions)
        return F.relu(self.norm(x))

# %% [markdown]
# (The convolutions of a block do notice where they are, so the official code works without positions.)
#
# ### Encoder and decoder
# The encoder is: one convolution for each halving, one more, and the blocks. The decoder is its reverse.

# %% tags=["export:models.videogpt.vqvae"]
class VideoEncoder(nn.Module):
    """Video (b, channels, t, h, w) -> vectors (b, hidden, t', h', w')."""

    def __init__(self, channels: int, hidden: int, residual_hidden: int, blocks: int,
                 downsample: Triple,
                 kind: BlockKind):
        super().__init__()
        steps = strides(downsample)
        layers = []
        for stride, width in zip(steps, [channels] + [hidden] * len(steps), strict=False):
            layers += [nn.Conv3d(width, hidden, 3, stride, padding=1), nn.ReLU()]
        self.downsample = nn.Sequential(*layers, nn.Conv3d(hidden, hidden, 3, padding=1))
        self.blocks = VideoBlocks(hidden, residual_hidden, blocks, kind)

    def forward(self, video: Tensor, positions: Tensor | None) -> Tensor:
        return self.blocks(self.downsample(video), positions)


class VideoDecoder(nn.Module):
    """The encoder's reverse: vectors (b, hidden, t', h', w') -> video (b, channels, t, h, w)."""

    def __init__(self, channels: int, hidden: int, residual_hidden: int, blocks: int,
                 downsample: Triple,
                 kind: BlockKind):
        super().__init__()
        self.blocks = VideoBlocks(hidden, residual_hidden, blocks, kind)
        steps = strides(downsample)[::-1]
        widths = [hidden] * len(steps) + [channels]
        layers = []
        for stride, width, next_width in zip(steps, widths, widths[1:], strict=False):
            # 4 where it doubles, 3 where it keeps the size
            kernel = tuple(step + 2 for step in stride)
            layers += [nn.ConvTranspose3d(width, next_width, kernel, stride, padding=1), nn.ReLU()]
        self.upsample = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        return self.upsample(self.blocks(x, positions))

# %% [markdown]
# ## 5. An error that knows its data
#
# The loss has two parts: how far the picture is off, and how far the encoder's vectors are from their codes
# (the commitment loss). Their balance should not depend on whether a data set is dark or bright. VideoGPT
# divides the squared error by the **variance** of the data's pixels, and found training "more stable (less
# codebook collapse)" (section 4.1).
#
# ### Exercise 8.5 · normalised mean squared error (about 5 min)
# `variance` is a number, measured once on the data.
#
# <details><summary>Hint</summary>Everything is a mean over all pixels: no square root, no mean by
# clip.</details>
# <details><summary>The call</summary><code>F.mse_loss</code>, divided.</details>

# %% tags=["exercise", "ex-8.5", "export:models.videogpt.vqvae"]
def normalized_mse(video: Tensor, target: Tensor, variance: float) -> Tensor:
    """Mean squared error over the data's variance, (): 1 for the best picture in one grey.
    VideoGPT, section 4.1."""
    ### BEGIN SOLUTION
    return F.mse_loss(video, target) / variance
    ### END SOLUTION

# %% tags=["check", "ex-8.5"]
normalized_mse = check("8.5", normalized_mse)

# %%
train = digit_clips("train", {"smoke": 64, "course": 2000}[profile])
variance = train.var().item()
grey, black = torch.full_like(train, train.mean().item()), torch.full_like(train, -1)
for name, guess in {"one grey": grey, "black": black}.items():
    print(f"always {name}: normalised error {normalized_mse(guess, train, variance):.2f}, PSNR "
          f"{psnr(guess, train).mean():.1f} dB")

# %% [markdown]
# The best picture in one grey has a normalised error of exactly 1. Whatever the data, a model below 1 has
# learned something: this is what makes the number useful. The PSNR of a black picture is a warning: most of
# each clip *is* black, so even nothing at all is not far below the 20 dB that we are after.
#
# > **In the official code** the variance is 0.06 in [-0.5, 0.5], 0.24 in [-1, 1], for every data set. The paper
# > means the variance of the data set at hand. Where pixels vary less (our Doom clips: 0.035) 0.24 makes the
# > reconstruction count 7 times too little: measure yours, and give `--autoencoder.variance`.
#
# ## 6. All of it
#
# The quantizers are those of notebooks 03 and 04: their codes start on encoder outputs of the first batch,
# and dead ones are restarted. Both are what VideoGPT asks for (section 4.1). A 1x1x1 convolution before and
# after brings the vectors to the dimension of the codes. All sizes stand in a dataclass,
# `VideoVQVAEConfig` (its definition is in notebook 10, where it is scaled up).
#
# `encode_start` is for a clip of which only the beginning is known. Section 1 has said why that takes care:
# the last codes look at frames that are not there yet.

# %% tags=["export:models.videogpt.vqvae"]
class VideoVQVAE(nn.Module):
    """Encoder, quantizer and decoder of clips. `VideoVQVAEConfig.build` makes one. VideoGPT,
    section 3.

    quantizer: vectors (..., d) -> (vectors to decode (..., d), codes (...) or (..., k), loss (),
    metrics by name), and lookup(codes) -> vectors.
    """

    def __init__(self, config: "VideoVQVAEConfig"):
        super().__init__()
        self.config, hidden = config, config.hidden
        size = (config.channels, hidden, config.residual_hidden, config.residual_blocks,
                config.downsample, config.block)
        self.encoder, self.decoder = VideoEncoder(*size), VideoDecoder(*size)
        self.to_codes = nn.Conv3d(hidden, config.code_dim, 1)
        self.from_codes = nn.Conv3d(config.code_dim, hidden, 1)
        has_positions = config.block == "attention"
        self.positions = AxialPositions(config.positions, hidden) if has_positions else None
        self.quantizer = ema_quantizer(config.codes, config.code_dim, config.codebooks,
                                       commitment=config.commitment, decay=config.decay,
                                       restart=config.restart)

    def vectors(self, video: Tensor) -> Tensor:
        """(b, c, t, h, w) -> what the quantizer sees, (b, t', h', w', code_dim)."""
        grid = self.config.latents(video.shape[1:]).shape[:3]
        z = self.encoder(video, self.positions and self.positions(grid))
        return rearrange(self.to_codes(z), "b d t h w -> b t h w d")

    def video(self, q: Tensor) -> Tensor:
        """Vectors (b, t', h', w', code_dim) -> video (b, c, t, h, w)."""
        z = self.from_codes(rearrange(q, "b t h w d -> b d t h w"))
        return self.decoder(z, self.positions and self.positions(q.shape[1:4]))

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """Video (b, c, t, h, w) in [-1, 1] -> codes int64 (b, t', h', w'), or (..., k) for k
        codebooks. Raises ValueError as `VideoVQVAEConfig.latents` does."""
        return self.quantizer(self.vectors(video))[1]

    def encode_start(self, frames: Tensor, clip_frames: int) -> Tensor:
        """Codes of the first frames (b, c, t0, h, w) of clips of `clip_frames` frames: (b, t0', h',
        w') or (..., k). Raises ValueError as `hold_last` does, and as `encode` does."""
        rate = self.config.downsample[0]
        return self.encode(hold_last(frames, clip_frames, rate))[:, :frames.shape[2] // rate]

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 (b, t', h', w') or (..., k) -> video (b, c, t, h, w) in [-1, 1]."""
        return self.video(self.quantizer.lookup(codes)).clamp(-1, 1)

    def loss(self, video: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Normalised mean squared error plus the quantizer's own loss; and the parts by name.
        Sections 2.1 and 4.1. Raises ValueError as `VideoVQVAEConfig.latents` does."""
        q, _, quantizer_loss, metrics = self.quantizer(self.vectors(video))
        error = normalized_mse(self.video(q), video, self.config.variance)
        return error + quantizer_loss, {"reconstruction_loss": error, **metrics}

# %% [markdown]
# > **In the official code** a codebook does not remember that it has begun: after loading a checkpoint, the
# > first training step draws all codes anew. And a code is dead when fewer than *one* vector of a batch chooses
# > it, whatever the batch and the number of codes. Ours is dead below 5% of the mean.
#
# A model for our clips:

# %%
config = VideoVQVAEConfig(channels=1, hidden=32, residual_hidden=16, residual_blocks=1,
                          downsample=(4, 4, 4), codes=256,
                          code_dim=16, variance=variance, decay=0.95)
model = VideoVQVAE(config)
spec = config.latents((1, 16, 32, 32))
bits = code_bits(spec.shape, spec.num_codes)
print(f"{sum(p.numel() for p in model.parameters()):,} weights; {spec}; {bits:.0f} bits a clip, "
      f"{16 * 32 * 32 * 8 / bits:.0f} times fewer than its pixels")

# %% [markdown]
# ### Training
# Adam on random clips. Every 100 steps we look how well clips of digits never seen are rebuilt.

# %%
test = digit_clips("test", {"smoke": 8, "course": 100}[profile])


def new(config: VideoVQVAEConfig, seed: int = 0) -> VideoVQVAE:
    torch.manual_seed(seed)
    return VideoVQVAE(config)


def fit(model: nn.Module, steps: int, every: int, name: str) -> dict[int, Tensor]:
    """Trains the model; the test clips as it rebuilds them, by step."""
    optimizer, by_step = torch.optim.Adam(model.parameters(), lr=2e-3), {}
    for step in tqdm(range(1, steps + 1), desc=name):
        loss, _ = model.train().loss(train[torch.randint(len(train), (4,))])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % every == 0:
            by_step[step] = model.eval().decode(model.encode(test))
    return by_step


def decibels(rebuilt: Tensor) -> float:
    """Mean PSNR over the test clips."""
    return psnr(rebuilt, test).mean().item()


steps, few, every = {"smoke": (3, 2, 1), "course": (800, 300, 100)}[profile]
start, model = time.process_time(), new(config)
by_step = fit(model, steps, every, "4 x 8 x 8")
rebuilt, codes = by_step[steps], model.encode(test)
print(f"{steps} steps in {time.process_time() - start:.0f} CPU seconds: PSNR "
      f"{decibels(rebuilt):.1f} dB on digits never seen, {usage(codes, 256):.0%} of the codes in "
      f"use, perplexity {perplexity(codes, 256):.0f}")
if profile != "smoke":
    assert decibels(rebuilt) > 20, "three seeds: 20.6 to 21.1"
    assert usage(codes, 256) > 0.5, "three seeds: all"

# %%
show_video([test[1], rebuilt[1], test[7], rebuilt[7]],
           titles=["clip", "rebuilt", "clip", "rebuilt"],
           alt="Two clips of moving digits, each beside its reconstruction: the same digit on the "
               "same path, with softer strokes.")

# %% [markdown]
# The digits are where they should be, and they move smoothly. Strokes are soft: 2,048 bits for a clip are
# few. Is every frame rebuilt equally well?

# %%
by_frame = (10 * torch.log10(4 / (rebuilt - test).square().mean((0, 1, 3, 4)))).tolist()
fig = curves({"PSNR": by_frame}, xlabel="frame", ylabel="PSNR (dB)")
for border in (3.5, 7.5, 11.5):
    fig.axes[0].axvline(border, color="black", lw=1, ls="--")
show(fig, alt="PSNR of each of the 16 frames. Dashed lines between groups of four frames. In each "
              "group the two middle "
          "frames are best, and the first and the last frame of the clip are worst.")
middle, edge = (sum(by_frame[t] for t in frames) / 4 for frames in ((5, 6, 9, 10), (4, 7, 8, 11)))
if profile != "smoke":
    assert middle > edge + 0.2, "three seeds: 0.5 to 0.9 dB"

# %% [markdown]
# No. The four frames of a group share its codes, and the two in the middle come out best. The ends of the
# clip are worst: there the convolutions look at padding instead of neighbours.
#
# ### A code is not its block

# %%
show_codes(test[1], codes[1], n_codes=256, frames=16,
           alt="Sixteen frames; below them the 8 by 8 codes of each group of four frames, as "
               "coloured squares; below those, in yellow, codes that differ from the group before: "
               "nearly all of them, where it is black, too.")

# %% [markdown]
# One picture of codes serves four frames. Did you expect yellow only where the digit is, as with LVT's codes
# in notebook 07? Here nearly everything changes. Let us count, at positions whose 64 pixels are black, and
# were black in the group before. Beside our model we take the one that ships with the course. Its decoder is like
# ours, but its encoder, which notebook 09 writes, sees these 64 pixels and no more (512 codes, half an hour).

# %%
shipped = load_checkpoint("videogpt-digits/autoencoder")
better = shipped.decode(shipped.encode(test))
print(f"PSNR on the same clips: shipped {decibels(better):.1f} dB, ours {decibels(rebuilt):.1f} dB")
black = rearrange(test, "b 1 (t i) (h j) (w k) -> b t h w (i j k)", i=4, j=4, k=4).amax(-1) < -0.98
stays_black = black[:, 1:] & black[:, :-1]
changing = {}
for name, its_codes in {"ours": codes, "shipped": shipped.encode(test)}.items():
    changing[name] = (its_codes[:, 1:] != its_codes[:, :-1])[stays_black].float().mean()
    print(f"{name:<8} {changing[name]:.0%} of the codes change where black stays black")
if profile != "smoke":
    assert changing["ours"] > 0.6 and changing["shipped"] < 0.05, "three seeds of ours: 84% to 94%"

# %% [markdown]
# A code does not describe its 64 pixels. It sees much more (exercise 8.1; through attention everything), the
# decoder's layers look at its neighbours, and a black block needs hardly a bit of its own. So training puts
# its bits to use: the 256 codes describe the clip *together*. For rebuilding this is free room. For the model
# that must predict the codes it is a burden: black is not easy any more. So notebook 09 takes the other encoder.
#
# ## 7. The experiment: where to spend the codes (Table 5)
#
# We have 256 codes for a clip. Should they be many in time and few in space, or the other way round? VideoGPT
# compares latents with equal numbers of codes, and so do we:
#
# | latents | downsampling | a code stands for |
# |---|---|---|
# | 4 x 8 x 8 | 4, 4, 4 | 4x4 pixels in four frames |
# | 16 x 4 x 4 | 1, 8, 8 | 8x8 pixels in one frame |
# | 1 x 16 x 16 | 16, 2, 2 | 2x2 pixels in all sixteen frames |
#
# Same clips, same number of steps; the first is the model above, at its 300th step.

# %%
downsampling = {"16 x 4 x 4": (1, 8, 8), "1 x 16 x 16": (16, 2, 2)}
trade = {"4 x 8 x 8": by_step}
for name in downsampling:
    start, other = time.process_time(), new(replace(config, downsample=downsampling[name]))
    trade[name] = fit(other, few, every, name)
    print(f"{name:<11}: {sum(p.numel() for p in other.parameters()):,} weights, {few} steps in "
          f"{time.process_time() - start:.0f} CPU seconds")
lines = {name: {step: decibels(made) for step, made in made_by_step.items() if step <= few}
         for name, made_by_step in trade.items()}
show(curves(lines, xlabel="step", ylabel="PSNR (dB)", title="256 codes a clip, digits never seen"),
     alt="PSNR against steps for three latent sizes: 4 x 8 x 8 is highest, 1 x 16 x 16 begins "
         "lowest.")
if profile != "smoke":
    assert lines["4 x 8 x 8"][few] > lines["1 x 16 x 16"][few] + 0.3, "three seeds: 0.8 to 1.5 dB"

# %%
show(strip([test[1], *(made_by_step[few][1] for made_by_step in trade.values())],
           titles=["clip", *trade]),
     alt=f"Four rows of frames after {few} steps: the clip of a moving digit, and three "
         "reconstructions. All are blurred. 4 x 8 x 8 is the most legible, 16 x 4 x 4 a blob in "
         "the right place, 1 x 16 x 16 is smeared.")

# %% [markdown]
# Each fails in its own way. 16 x 4 x 4 has 8 bits for an 8x8 square: the digit's place and weight in every
# frame, not its shape. 1 x 16 x 16 has fine squares, and one code for all that ever happens there: it smears
# the digit along its path.
#
# Beside the paper. Its group of 4,096 codes (BAIR, 16 frames of 64x64) has the same three kinds:
#
# | | ours, 256 codes | paper, 4,096 codes | R-FVD | FVD |
# |---|---|---|---|---|
# | balanced | 4 x 8 x 8 | 4 x 32 x 32 | **28.3** | **104.6** |
# | every frame kept | 16 x 4 x 4 | 16 x 16 x 16 | 32.8 | 113.4 |
# | one latent frame | 1 x 16 x 16 | 1 x 64 x 64 | 41.6 | 126.7 |
#
# (For R-FVD, the FVD of reconstructions, and for FVD lower is better. FVD*, a third column, waits for notebook 12.)
#
# **What we can say.** After 300 steps balanced latents are best in each of three seeds (19.2, 18.6, 18.5 dB), as
# in the paper: ahead of one latent frame by 0.8 to 1.5 dB, and of 16 x 4 x 4 by 0.7, 0.8 and 0.1 dB, which is a
# tendency.
#
# **What this scale does not show.** PSNR is not FVD: it does not ask whether a movement looks right. Equal
# steps are not equal work: the other two have a third and a half more weights and took more seconds. And it
# depends on the clips. Where nothing moves, one latent frame is all you need; where everything jumps, each
# frame must speak for itself. The paper's main point is about *samples*, made by a prior: over all sizes 8 x
# 32 x 32 has the best FVD, though 16 x 32 x 32 rebuilds better.
#
# ### Is it the attention? (Table 3)
# The paper takes attention out, adds residual blocks to make up for its weights, and measures what is lost. We
# do the same: two blocks in place of one, with a linear layer at each position where attention was.

# %%
no_attention = new(replace(config, residual_blocks=2))
for block in no_attention.modules():
    if isinstance(block, VideoBlock):
        block.attention = nn.Linear(config.hidden, config.hidden)
without = fit(no_attention, few, every, "no attention")
for name, its_model, made in (("attention", model, by_step),
                              ("no attention", no_attention, without)):
    print(f"{name:<13} {sum(p.numel() for p in its_model.parameters()):,} weights: "
          f"{decibels(made[few]):.1f} dB, normalised MSE "
          f"{normalized_mse(made[few], test, variance):.3f} after {few} steps")
if profile != "smoke":
    assert decibels(without[few]) > decibels(by_step[few]) - 0.2, "three seeds: 0.4 dB ahead"

# %% [markdown]
# | BAIR, 8 x 32 x 32 (Table 3) | NMSE | R-FVD |
# |---|---|---|
# | no attention | 0.0041 | 15.3 |
# | with attention | 0.0033 | 14.9 |
#
# Here it is the other way round. Without attention the model is 0.4 dB *ahead* after 300 steps, in each of
# three seeds (19.7, 19.0, 18.9 against 19.2, 18.6, 18.5), and a step is cheaper. At this size attention buys
# nothing. That does not refute the paper: our latents are 8 positions wide, and a few 3x3x3 convolutions see
# most of them; the paper's are 32 wide, and it trains 300 times longer. To see its gain takes its model: 23
# TFLOP for a step of 32 clips, a hundred thousand times.
#
# The norms, on the other hand, matter at once. At this learning rate the `plain` block, with neither, left
# most of its codes unused in two of three seeds (4% and 19% in use after 300 steps). At half the rate all
# three are well, with 18.9, 18.4 and 18.4 dB.
#
# ## 8. What you built
#
# | name | what it does |
# |---|---|
# | `latent_grid`, `strides` | sizes and convolutions for any downsampling |
# | `attend_along`, `AxisAttention`, `AxialAttention` | attention along one axis, and the sum of three |
# | `AxialPositions`, `ChannelNorm`, `VideoBlock` | the block of Fig. 4 |
# | `VideoEncoder`, `VideoDecoder` | to the latents and back |
# | `normalized_mse` | an error in units of the data's variance |
# | `VideoVQVAE`, `VideoVQVAEConfig` | the autoencoder: `encode`, `decode`, `loss`; its sizes and `latents` |
#
# The attention is in `lvlib.models.videogpt.axial_attention`, `AxialPositions` in `lvlib.models.common.volume`,
# and all others are in `lvlib.models.videogpt.vqvae`.
#
# ### Scale it up
# The configurations of Table 8, each of them trained on its own data:
#
# ```
# lvlib train videogpt-vqvae-bair --out runs/vqvae --data.root BAIR --devices 8 --precision bf16-mixed
# lvlib reconstruct runs/vqvae CLIP.mp4 --out side_by_side.mp4
# lvlib evaluate runs/vqvae --data.root BAIR --metrics psnr
# ```
#
# `lvlib describe videogpt-vqvae-bair` says 14.5M parameters, 8 x 32 x 32 latents, and about 41 GB for a batch of
# 32 in fp32. A step is 23 TFLOP, 100,000 of them 2.3 x 10^18: about 25 hours at 25 TFLOP/s. (These are counts.
# We have not run the full size.) The paper had up to 8 Quadro RTX 6000 of 24 GB.
#
# On two CPU cores, the course's own:
#
# ```
# lvlib data moving_digits --out data/moving_digits_32 --size 32 --digits 1 --digit-size 20 --speeds 1 --grid 4 \
#     --grey --train 12000
# lvlib train videogpt-vqvae-course --out runs/vqvae --data.root data/moving_digits_32
# ```
#
# ### Questions to think about
# 1. Latent frame 0 sees frames 0 to 7. Could a convolution be built whose latent frames never see later
#    frames? What would the first latent frame lose?
#    <details><summary>Answer</summary>Yes: pad in front only, by kernel - 1 frames. A frame's code then knows the
#    past alone, which is what a model that goes on needs. The first latent frame would see padding in place of
#    a past, and its last frames must be described without a look at the next.</details>
# 2. Where it is black codes change although nothing happens there. How would you build or train an
#    autoencoder whose codes stay? What would it cost?
#    <details><summary>Answer</summary>Let each code see its own block only: kernels as large as their stride.
#    Notebooks 07 and 09 try this. Then a black block can spend nothing on its neighbours, and details
#    that they could have shared are lost, unless there are more codes.</details>
# 3. Axial attention sums three attentions that work side by side. Another way is one after the other: along
#    t, then h, then w, each reading what the last one found. What can one such layer see?
#    <details><summary>Answer</summary>Everything: along w it reads positions that have read their columns, which
#    have read all frames. The price is that the three must wait for each other.</details>

# %%
progress()
