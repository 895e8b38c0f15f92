# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 · Subscale order: which code comes next
#
# **What you will build.** The order in which LVT writes a clip. Its prior predicts one code at a time, each
# from the codes before it. Text comes with an order. A volume of codes, time by height by width, does not,
# and "before" is ours to choose.
#
# LVT (section 3.2) cuts the volume into interleaved slices and writes slice after slice. This is *subscaling*
# (Menick and Kalchbrenner 2018). How it cuts decides what the model knows when it predicts, and so what it
# has to learn. Here is a clip when a quarter of it is written, in the three orders of the paper.

# %% jupyter={"source_hidden": true}
import itertools
import math
import os
import timeit

import torch
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from lvlib.course import check, progress
from lvlib.data import MovingDigits, to_video
from lvlib.runs import load_checkpoint
from lvlib.viz import cell_lines, set_style, show, slider, strip

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% jupyter={"source_hidden": true}
clip = to_video(MovingDigits(35, color=True, split="test")[34]["video"])  # (3, 16, 64, 64)
written = {name: torch.zeros(16, 16, 16, dtype=torch.bool)  # the codes
           for name in ("single frame", "spatial", "spatiotemporal")}
written["single frame"][:4] = True
written["spatial"][:, ::2, ::2] = True
written["spatiotemporal"][::4] = True


def enlarge(volume, n):
    """Each position of (..., h, w) as n x n."""
    return volume.repeat_interleave(n, -2).repeat_interleave(n, -1)


blank = torch.zeros(128, 128)  # grey, with the edges of the cells a little darker
blank[::8], blank[:, ::8] = -0.25, -0.25
rows = [enlarge(clip, 2).where(enlarge(known, 8), blank)[:, :5] for known in written.values()]
show(strip(rows, titles=list(written)),
     alt="The first five frames of a clip of two digits, three times, grey cells where nothing is "
     "written yet. Single frame: frames 0 to 3 are complete, frame 4 is grey. Spatial: every frame "
     "is there as a coarse grid, one code in four. Spatiotemporal: frames 0 and 4 are complete, "
     "those between are grey.")

# %% [markdown]
# *Single frame* tells the story from start to end. *Spatial* has sketched the whole clip already. In
# *spatiotemporal* order every fourth frame is there, and the rest lies between.
#
# **What it costs.** About half a minute on one CPU core. **What it needs.** Notebook 04, for the codes.
#
# ## 1. Slices
#
# A **subscale factor** (s_t, s_h, s_w) says how coarse a slice is. Slice Z_(a,b,c) starts at frame a, row b,
# column c, and takes every s_t-th frame, s_h-th row and s_w-th column. Every offset with a < s_t, b < s_h and
# c < s_w gives a slice, s_t * s_h * s_w in all, and each position is in exactly one. (The folded cells below hold
# `slice_shape`, the t, h and w of one slice. It refuses a factor that does not divide the shape.)

# %% jupyter={"source_hidden": true} tags=["export:models.common.volume"]
"""Volumes of latents: their shape, and a learned vector for each place in them."""

Triple = tuple[int, int, int]  # (t, h, w)

# %% jupyter={"source_hidden": true} tags=["export:models.lvt.subscale"]
"""Subscale order: codes as interleaved slices, generated one after the other. LVT, section 3.2.

A volume has shape (t, h, w), a subscale factor is (s_t, s_h, s_w), and each of the s_t * s_h * s_w
slices holds every s_t-th, s_h-th and s_w-th position from its offset (a, b, c) on.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from lvlib.models.common.volume import Triple

UNKNOWN = -1  # in place of a code


# %% jupyter={"source_hidden": true} tags=["export:models.lvt.subscale"]
def slice_shape(shape: Triple, factor: Triple) -> Triple:
    """(t, h, w) of one slice: (t / s_t, h / s_h, w / s_w).

    Raises ValueError if the factor does not divide the shape, with the numbers that do.
    """
    for axis, size, step in zip(("time", "height", "width"), shape, factor, strict=True):
        if step < 1 or size % step:
            divisors = ", ".join(str(d) for d in range(1, size + 1) if size % d == 0)
            raise ValueError(f"subscale factor {step} does not divide the {size} latent positions "
                             f"in {axis}: take one of {divisors}")
    t, h, w = (size // step for size, step in zip(shape, factor, strict=True))
    return t, h, w


# %% [markdown]
# ### Exercise 5.1 · the offset of a slice (about 10 min)
# Slices have numbers, too: they count in the order Z_(0,0,0), Z_(0,0,1), ... up to the last. With the factor
# (4, 2, 2) slice 0 starts at (0, 0, 0), slice 1 at (0, 0, 1), slice 2 at (0, 1, 0), slice 4 at (1, 0, 0), and
# slice 15 at (3, 1, 1). Give the offset of any slice.
#
# Use `//` and `%` only. Then the same line works for one number and for a tensor of them, one for each clip, and
# what comes out are whole numbers, as slicing needs them.
#
# <details><summary>Hint</summary>Like hours, minutes and seconds: c runs fastest and starts over every s_w
# slices, b every s_h * s_w.</details>
#
# <details><summary>The call</summary>The seconds are <code>number % s_w</code>, the hours <code>number //
# (s_h * s_w)</code>. The minutes take both signs: how many times s_w is over, counted from 0 to s_h -
# 1.</details>

# %% tags=["exercise", "ex-5.1", "export:models.lvt.subscale"]
def slice_offset(number: int | Tensor, factor: Triple) -> tuple:
    """Offset (a, b, c) of slice `number`, in the order the slices are generated.

    Ints for an int; for an int64 tensor of numbers, int64 tensors of its shape.
    """
    ### BEGIN SOLUTION
    _, s_h, s_w = factor
    return number // (s_h * s_w), number // s_w % s_h, number % s_w
    ### END SOLUTION


# %% tags=["check", "ex-5.1"]
slice_offset = check("5.1", slice_offset)

# %% [markdown]
# With the offset a slice is nothing but Python's `start::step`, three times. And each position can say which
# slice it belongs to.

# %% tags=["export:models.lvt.subscale"]
def take_slice(volume: Tensor, number: int, factor: Triple) -> Tensor:
    """The positions of slice `number`, a view.

    volume (b, t, h, w, ...) -> (b, t / s_t, h / s_h, w / s_w, ...)
    """
    a, b, c = slice_offset(number, factor)
    s_t, s_h, s_w = factor
    return volume[:, a::s_t, b::s_h, c::s_w]


def slice_numbers(shape: Triple, factor: Triple) -> Tensor:
    """The number of the slice that each position belongs to, int64 (t, h, w)."""
    a, b, c = (torch.arange(size) % step for size, step in zip(shape, factor, strict=True))
    _, s_h, s_w = factor
    return (a[:, None, None] * s_h + b[:, None]) * s_w + c


# %% [markdown]
# We draw small volumes as their frames, side by side, with a colour for each slice: dark ones come first.
# This is the volume of LVT's Fig. 2: 4 x 4 x 4 positions, factor (2, 2, 2).

# %% jupyter={"source_hidden": true}
def draw_frames(axes, labels, slices, there=None, orange=None):
    """One grid a frame, from tensors (t, h, w): labels, if not below 0, coloured by slice.

    White where not `there`, with an orange edge where `orange`.
    """
    there = torch.ones_like(slices, dtype=torch.bool) if there is None else there
    latest = max(int(slices.max()), 1)
    for t, ax in enumerate(axes):
        rows, columns = labels[t].shape
        ax.imshow(slices[t].float().where(there[t], torch.nan), vmin=0, vmax=latest)
        for y, x in itertools.product(range(rows), range(columns)):
            ink = "white" if slices[t, y, x] < 0.6 * latest else "black"
            ink = ink if there[t, y, x] else "#aaaaaa"
            if labels[t, y, x] >= 0:
                ax.text(x, y, int(labels[t, y, x]), ha="center", va="center", fontsize=8, color=ink)
            if orange is not None and orange[t, y, x]:
                corner = x - 0.5, y - 0.5
                ax.add_patch(plt.Rectangle(corner, 1, 1, fill=False, ec="#D55E00", lw=3, zorder=3))
        cell_lines(ax, rows, columns)


# %%
shape, factor = (4, 4, 4), (2, 2, 2)
slices = slice_numbers(shape, factor)
fig, axes = plt.subplots(1, 4, figsize=(7.2, 2))
draw_frames(axes, slices, slices)
for t, ax in enumerate(axes):
    ax.set_title(f"frame {t}")
show(fig, alt="Four frames of four by four cells, each cell with the number of its slice. Frames 0 "
          "and 2 hold slices 0 and 1 in every other row, 2 and 3 in the rows between; frames 1 and "
          "3 hold slices 4 to 7 in the same way.")

# %%
print("one slice has shape", slice_shape(shape, factor), "and there are", math.prod(factor))
print("slice 5 starts at", slice_offset(5, factor),
      "and holds", int((slices == 5).sum()), "positions")
try:
    slice_shape((16, 16, 16), (3, 2, 2))
except ValueError as error:
    print("a mistake:", error)

# %% [markdown]
# ## 2. The order
#
# Slices come in the order of their numbers. Inside a slice, positions come in raster order: frame by frame,
# row by row. LVT calls the whole order π, and π(i) is the position that is written i-th. The likelihood of
# the clip is
#
# $$p(Z) = \prod_i \prod_k p\big(Z^k_{\pi(i)} \mid Z_{\pi(<i)}, Z^{<k}_{\pi(i)}\big)$$
#
# (k counts the codes of one position, where there are several codebooks: notebook 06.)
#
# ### Exercise 5.2 · the order (about 15 min)
# Give π as one tensor: entry i is the *raster index* of the position that is written i-th, its number when the
# volume is counted in raster order. `slice_shape` gives the t, h and w of one slice, and the error where the
# factor does not divide the shape.
#
# <details><summary>Hint</summary>Number the positions in raster order, then bring the numbers into the order
# of writing. Frame t of a slice with offset a is frame t * s_t + a of the volume: so the axis of all frames
# falls into two, t outside and a inside, and the axes of rows and columns likewise. In the order of writing,
# which of the six letters move slowest? Call <code>slice_shape</code> first: it gives three of the sizes, and
# the error.</details>
#
# <details><summary>The call</summary><code>torch.arange</code> numbers the positions. <code>rearrange</code>
# takes them as <code>"(t a h b w c) -> (...)"</code>, with all six letters on the right, too, and with all
# sizes: <code>t=t, a=s_t, h=h, b=s_h, w=w, c=s_w</code>.</details>

# %% tags=["exercise", "ex-5.2", "export:models.lvt.subscale"]
def generation_order(shape: Triple, factor: Triple) -> Tensor:
    """pi, int64 (t*h*w,): the raster index of the position that is generated i-th.

    LVT, section 3.2. Slices come in the order of their offsets, and the positions of a slice in
    raster order.
    Raises ValueError if the factor does not divide the shape.
    """
    ### BEGIN SOLUTION
    t, h, w = slice_shape(shape, factor)
    s_t, s_h, s_w = factor
    raster = torch.arange(t * h * w * s_t * s_h * s_w)
    return rearrange(raster, "(t a h b w c) -> (a b c t h w)", t=t, a=s_t, h=h, b=s_h, w=w, c=s_w)
    ### END SOLUTION


# %% tags=["check", "ex-5.2"]
generation_order = check("5.2", generation_order)

# %% [markdown]
# π tells where the next code goes. Its **inverse** tells of each position *when* it is written. A volume read
# in the order π and put back with the inverse is the volume again.

# %% tags=["export:models.lvt.subscale"]
def inverse_order(order: Tensor) -> Tensor:
    """int64 (n,) -> int64 (n,): when each raster position is generated."""
    return order.argsort()


# %%
order = generation_order(shape, factor)
volume = torch.randint(512, shape)
print("the first eight positions written:", order[:8].tolist())
print("back again:", torch.equal(volume.flatten()[order][inverse_order(order)], volume.flatten()))

# %% [markdown]
# Now play it. The number in a cell is *when* it is written. Colour means it is there, the orange frame is the
# one that is written now. Drag `step` (the slider needs a running kernel; the picture after it shows the same
# in stills).

# %%
when = inverse_order(order).reshape(shape)


# %% jupyter={"source_hidden": true}
def draw_moments(steps):
    """A row of frames for each step of the order of `shape` and `factor`."""
    fig, axes = plt.subplots(len(steps), 4, figsize=(7.2, 1.85 * len(steps)), squeeze=False)
    for row, step in zip(axes, steps, strict=True):
        draw_frames(row, when, slices, there=when < step, orange=when == step)
        row[0].set_ylabel(f"step {step}")
    for t, ax in enumerate(axes[0]):
        ax.set_title(f"frame {t}")
    return fig


# %%
slider(lambda step: draw_moments([step]), step=range(math.prod(shape)),
       alt="Four frames of four by four cells with the number of the step that writes each; those "
       "already written are coloured by their slice, the one that is written now has an orange "
       "frame.")

# %%
show(draw_moments([5, 20, 47, 63]),
     alt="The same volume at four moments. Step 5: five of the eight cells of the first slice are "
     "there, four in frame 0, one in frame 2. Step 20: slices 0 and 1 are there and the third has "
     "begun. Step 47, as in LVT's Fig. 2: frames 0 and 2 are complete, slices 4 and 5 fill the "
     "first and third row of frames 1 and 3 but for the last cell. Step 63: one cell is left.")

# %% [markdown]
# Step 47 is the moment of LVT's Fig. 2, the last position of Z_(1,0,1). Frames 0 and 2 are complete then.
# Frame 1 has the *future* frame 2 to look at.
#
# ## 3. What each slice may see
#
# While the model writes a slice, everything that it may see outside of it falls into two kinds:
# - **earlier slices**, complete;
# - **priming frames**: the first frames of the clip, which are given. They are seen by every slice and never
#   predicted. A slice that lies in them as a whole is skipped.
#
# What is already there of the slice *itself* is the affair of another part of the model, in notebook 06.
#
# ### Exercise 5.3 · what is visible (about 15 min)
# In training each clip of a batch works on a slice of its own, so `numbers` is a tensor. Return True wherever
# the slice may look. No loop is needed: compare. Any number of priming frames may be given, also none.
#
# <details><summary>Hint</summary>A position is in an earlier slice if its slice number is smaller. It is in a
# priming frame if its frame number is small enough. One of the two is enough. Give both tensors axes of size
# 1 where the other has more, and they are compared each with each.</details>
#
# <details><summary>The call</summary><code>slice_numbers(shape, factor)</code> is (t, h, w) and
# <code>numbers[:, None, None, None]</code> is (b, 1, 1, 1). For the priming frames compare
# <code>torch.arange(t)</code>, as (t, 1, 1). <code>|</code> is "or".</details>

# %% tags=["exercise", "ex-5.3", "export:models.lvt.subscale"]
def visible(shape: Triple, factor: Triple, numbers: Tensor, prime_frames: int = 0) -> Tensor:
    """What the slices `numbers` (b,) may see: bool (b, t, h, w).

    True in earlier slices and in the first `prime_frames` frames, which every slice sees.
    """
    ### BEGIN SOLUTION
    earlier = slice_numbers(shape, factor).to(numbers.device) < numbers[:, None, None, None]
    primed = torch.arange(shape[0], device=numbers.device) < prime_frames
    return earlier | primed[:, None, None]
    ### END SOLUTION


# %% tags=["check", "ex-5.3"]
visible = check("5.3", visible)

# %% [markdown]
# Three slices of the small volume, with frame 0 given. Numbers are slice numbers again. The orange cells are
# what the slice predicts: none of them is in the given frame.

# %%
chosen = torch.tensor([0, 3, 5])
all_seen = visible(shape, factor, chosen, prime_frames=1)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(3, 4, figsize=(7.2, 5.6))
for row, number, seen in zip(axes, chosen, all_seen, strict=True):
    predicted = slices == number
    predicted[0] = False
    draw_frames(row, slices, slices, there=seen, orange=predicted)
    row[0].set_ylabel(f"slice {number}")
for t, ax in enumerate(axes[0]):
    ax.set_title(f"frame {t}" + (", given" if t == 0 else ""))
show(fig, alt="Three rows of four frames. Slice 0 sees frame 0 alone and predicts four cells of "
          "frame 2. Slice 3 sees frame 0 and the slices 0 to 2 in frame 2, whose last four cells "
          "it predicts. Slice 5 sees frames 0 and 2 complete and slice 4 in frames 1 and 3, and "
          "predicts four cells in each of them.")

# %% [markdown]
# ## 4. From what is visible to a window
#
# The model reads its context with a strided convolution, as notebook 06 will build it: one window for each
# position of the slice, moved by the subscale factor from one to the next. Two questions remain.
#
# **How far must a window reach?** Neighbours in a slice are s positions apart. A window that reaches s - 1 to
# both sides goes right up to its neighbours, so no position of the volume is left out, also before the first
# position of the slice and behind its last. With one frame a slice (s_t = T), nothing in a later frame is
# ever written earlier, so the window looks back over the whole clip and not ahead.
#
# **Where do the windows begin?** At the slice's own offset, and that is another one for each clip of a batch.
# So we move the volumes: `context` hides what is not visible, puts padding around, and cuts so that the first
# window of each clip begins at 0. Hidden and padding are one and the same to the model: "nothing known here".

# %% tags=["export:models.lvt.subscale"]
def window_reach(shape: Triple, factor: Triple) -> tuple[tuple[int, int], ...]:
    """How far a position of a slice looks around for context: (before, after) along t, h and w.

    A step of the factor less one, to both sides: then each position of the volume is in some window
    of each slice. Not ahead in time where a slice has one frame: later frames never come earlier.
    """
    s_t, s_h, s_w = factor
    return (s_t - 1, 0 if s_t == shape[0] else s_t - 1), (s_h - 1, s_h - 1), (s_w - 1, s_w - 1)


def context(volume: Tensor, numbers: Tensor, factor: Triple, prime_frames: int = 0) -> Tensor:
    """The codes as the slices `numbers` (b,) may see them, ready for a convolution.

    Unpadded, with stride `factor`. volume int64 (b, t, h, w, k) -> (b, t', h', w', k), moved so
    that the windows (`window_reach`) of each clip's own slice begin at 0; `UNKNOWN` outside of the
    volume and where `visible` says no.
    """
    shape, reach = tuple(volume.shape[1:4]), window_reach(volume.shape[1:4], factor)
    volume = volume.masked_fill(~visible(shape, factor, numbers, prime_frames)[..., None], UNKNOWN)
    volume = F.pad(volume, (0, 0, *(n for pair in reversed(reach) for n in pair)), value=UNKNOWN)
    lengths = [size - step + 1 + sum(pair)
               for size, step, pair in zip(shape, factor, reach, strict=True)]
    t, h, w = (offset[:, None] + torch.arange(length, device=volume.device)
               for offset, length in zip(slice_offset(numbers, factor), lengths, strict=True))
    clip = torch.arange(len(volume), device=volume.device)[:, None, None, None]
    return volume[clip, t[:, :, None, None], h[:, None, :, None], w[:, None, None, :]]


# %% [markdown]
# One frame of 6 x 6 codes with the factor (1, 2, 2) makes four slices of 3 x 3. Each panel is the context of
# one of them. The numbers are raster indices, so that you can see how far the frame was moved; crosses are
# the slice's own positions, always at the same places, and the orange frame is the first window.

# %%
numbers = torch.arange(4)
raster = torch.arange(36).reshape(1, 1, 6, 6, 1).expand(4, -1, -1, -1, -1)
seen = context(raster, numbers, (1, 2, 2))[..., 0]  # (4, 1, 7, 7)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 4, figsize=(7.2, 2.1))
owners = slice_numbers((1, 6, 6), (1, 2, 2)).flatten()[seen.clamp(min=0)]
draw_frames(axes, seen[:, 0], owners[:, 0], there=seen[:, 0] >= 0)
own = torch.arange(1, 7, 2)
for number, ax in enumerate(axes):
    ax.plot(*torch.cartesian_prod(own, own).T, "x", c="#D55E00", ms=5)
    ax.add_patch(plt.Rectangle((-0.5, -0.5), 3, 3, fill=False, ec="#D55E00", lw=2.5, zorder=3))
    ax.set_title(f"slice {number}")
show(fig, alt="Four grids of seven by seven. Slice 0 sees nothing. Slice 1 sees the codes 0, 2, 4 "
          "and so on, to the left and right of its own positions. Slice 2 sees the two slices "
          "before it, above and below its own. Slice 3 sees everything but itself: eight codes in "
          "an inner window.")

# %% [markdown]
# One test settles whether anything leaks: change every code that the slice must not know, and look whether
# its context notices. Then change all that it may know: each must arrive.

# %%
factor, numbers = (4, 2, 2), torch.arange(16)  # 16 clips, each with another slice
codes = torch.randint(512, (16, 16, 16, 16, 4))
may_see = visible((16, 16, 16), factor, numbers, prime_frames=1)[..., None]
before = context(codes, numbers, factor, prime_frames=1)
other = (codes + 1) % 512
leak = context(codes.where(may_see, other), numbers, factor, prime_frames=1) != before
heard = context(other.where(may_see, codes), numbers, factor, prime_frames=1) != before
print(f"all hidden codes changed: {leak.any(-1).sum():6,} of {(~may_see).sum():,} reach it")
print(f"all visible codes changed: {heard.any(-1).sum():5,} of {may_see.sum():,} reach it")
assert not leak.any()

# %% [markdown]
# And what does it cost? The official code builds its masks in Python loops, for every clip of every batch. The
# same rule as a loop and as tensors, here:

# %% jupyter={"source_hidden": true}
def visible_by_loop(shape, factor, number):
    """`visible` for one slice, position by position."""
    seen = torch.zeros(shape, dtype=torch.bool)
    offset = slice_offset(number, factor)
    for t, h, w in itertools.product(*map(range, shape)):
        seen[t, h, w] = (t % factor[0], h % factor[1], w % factor[2]) < offset
    return seen


# %%
shape = (16, 16, 16)
batch = torch.stack([visible_by_loop(shape, factor, number) for number in range(16)])
print("same answer:", torch.equal(batch, visible(shape, factor, numbers)))
for name, clips, function in (("in a loop", 1, lambda: visible_by_loop(shape, factor, 5)),
                              ("visible", 16, lambda: visible(shape, factor, numbers)),
                              ("context", 16, lambda: context(codes, numbers, factor))):
    seconds = min(timeit.repeat(function, number=1, repeat=10))
    print(f"{name:9s} {1000 * seconds / clips:6.2f} ms a clip")

# %% [markdown]
# ## 5. The three orders of the paper
#
# LVT compares three factors: **single frame** (T, 1, 1), **spatial** (1, 2, 2) and **spatiotemporal** (4, 2,
# 2). Here are eight frames of 4 x 4 in each, with the numbers of the slices.

# %%
types = {"single frame": (16, 1, 1), "spatial": (1, 2, 2), "spatiotemporal": (4, 2, 2)}

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(3, 8, figsize=(7.2, 3.2))
for row, (name, (s_t, s_h, s_w)) in zip(axes, types.items(), strict=True):
    numbers = slice_numbers((8, 4, 4), (min(s_t, 8), s_h, s_w))
    draw_frames(row, numbers, numbers)
    row[0].set_ylabel(name, fontsize=8)
for t, ax in enumerate(axes[0]):
    ax.set_title(f"frame {t}", fontsize=8)
show(fig, alt="Three rows of eight frames. Single frame: each frame is one slice, numbered 0 to 7. "
          "Spatial: all frames alike, slices 0 and 1 in every other row, 2 and 3 between. "
          "Spatiotemporal: frames 0 and 4 hold slices 0 to 3, frames 1 and 5 slices 4 to 7, frames "
          "2 and 6 slices 8 to 11, frames 3 and 7 slices 12 to 15.")

# %%
print("16 x 16 x 16 codes       slices   one slice      attends over   window")
for name, factor in types.items():
    t, h, w = slice_shape(shape, factor)
    window = " x ".join(str(before + 1 + after) for before, after in window_reach(shape, factor))
    print(f"{name:15s}{str(factor):12s} {math.prod(factor):3d}     {t:2d} x {h:2d} x {w:2d}   "
          f"{t * h * w:4d} positions   {window}")

# %% [markdown]
# The price differs. Attention (notebook 06) compares each position of a slice with each other one, so its cost
# grows with the square of the slice. The four large slices of the spatial order cost as much as 64 of the
# small ones. The other two orders have 16 of these: a quarter of the price.
#
# ## 6. All earlier frames, or three
#
# Single-frame order: slice 10 is frame 10, and the paper lets it see *all* earlier slices, frames 0 to 9. The
# official configuration reads them with a kernel of (7, 1, 1) that is centred on the frame itself. Three of
# its seven taps lie on earlier frames. The other four lie on the frame and its future, which are hidden, so
# they always meet padding. No later layer makes up for it: behind this convolution there is one vector for
# each place of the *one* frame, and nothing else. We draw both.

# %%
earlier = visible((16, 16, 16), (16, 1, 1), torch.arange(16))[:, :, 0, 0]  # (slice, frame)
distance = torch.arange(16)[:, None] - torch.arange(16)
(back, ahead), *_ = window_reach((16, 16, 16), (16, 1, 1))
ours = earlier & (distance <= back) & (distance >= -ahead)
official = earlier & (distance.abs() <= 3)
assert torch.equal(ours, earlier)

# %% jupyter={"source_hidden": true}
white_orange_blue = ListedColormap(["white", "#E69F00", "#0072B2"])
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.4))
for ax, seen, title in ((axes[0], ours, "the paper, and ours: window (16, 1, 1)"),
                        (axes[1], official, "official: kernel (7, 1, 1), centred")):
    colour = torch.where(seen, 2, torch.where(earlier, 1, 0))
    ax.imshow(colour, cmap=white_orange_blue, vmin=0, vmax=2)
    cell_lines(ax, 16, 16, colour="#d0d0d0")
    for frame in range(0, 16, 5):
        ax.text(frame, 16.1, frame, ha="center", fontsize=8)
        ax.text(-1, frame, frame, ha="center", va="center", fontsize=8)
    ax.set(title=title, xlabel="\nframe", ylabel="frame that is predicted\n")
words = "blue: seen\norange: written,\nbut not seen"
axes[1].text(6.2, 1.2, words, fontsize=9, va="top", bbox={"fc": "white", "ec": "none"})
show(fig, alt="Two triangles over the frames 0 to 15. Left each frame sees all earlier ones. Right "
          "it sees only a band of the last three; all frames before them are written but not seen.")

# %%
print("frames that frame 15 sees:", ours[15].sum().item(), "and", official[15].sum().item())
print("priming frames, of 5, that frame 8 sees:",
      ours[8, :5].sum().item(), "and", official[8, :5].sum().item())

# %% [markdown]
# With the official kernel, of five priming frames three are left for frame 5, one for frame 7, and none from
# frame 8 on, which sees only what the model has made itself. What was out of sight for three frames is
# forgotten. It is an easy slip: kernels are centred by custom, and nothing crashes. Two habits find such
# things: ask of each tap what it can ever meet, and change an early input to see whether a late output moves.
#
# ## 7. Why the order matters
#
# First, what does *not* depend on it. The chain rule of probability holds in every order: the bits of all
# steps add up to the bits of the clip. We can check it on eight yes/no codes (2 x 2 x 2) with any joint
# distribution.

# %%
def entropy(p):
    """Bits."""
    return torch.special.entr(p).sum().item() / math.log(2)


def bits_of_steps(p, order):
    """H(Z_order[i] | those before it), in bits, for each i.

    p: the joint distribution, an axis for each position.
    """
    totals = [0.0]
    for i in range(1, len(order) + 1):
        rest = [axis for axis in range(p.ndim) if axis not in order[:i]]
        totals.append(entropy(p.sum(rest) if rest else p))
    return [after - before for before, after in itertools.pairwise(totals)]


torch.manual_seed(0)
joint = torch.rand([2] * 8, dtype=torch.float64) ** 6
joint /= joint.sum()
for name, factor in {"single frame": (2, 1, 1), "spatial": (1, 2, 2)}.items():
    steps = bits_of_steps(joint, generation_order((2, 2, 2), factor).tolist())
    print(f"{name:12s}", " ".join(f"{bits:.3f}" for bits in steps), f" sum {sum(steps):.3f} bits")

# %% [markdown]
# The steps differ and the sum does not. For a *perfect* model every order is as good as any other. Ours are
# not perfect. They see the world through windows, and have learned only so much. So we ask: what does a model
# need to know at each step, and how near does it lie?
#
# ### What a neighbour tells
#
# We take the codes of moving digits, from the trained autoencoder of notebook 04. How many bits does a
# neighbour tell about a code? That is their mutual information: the bits of the two alone, less the bits of
# the pair. Pairs of codes are soon counted.

# %%
autoencoder = load_checkpoint("lvt-frames-course")
clips, held_out = {"smoke": (10, 5), "course": (150, 50)}[profile]


def codes_of(clips, split):
    """Codes of moving digits: int64 (clips, 16, 16, 16, 4)."""
    data = MovingDigits(clips, color=True, split=split)
    parts = [range(i, min(i + 10, clips)) for i in range(0, clips, 10)]
    return torch.cat([autoencoder.encode(to_video(data.batch(part)["video"]))
                      for part in tqdm(parts, f"codes of {split} clips", ascii=True)])


train_codes, val_codes = codes_of(clips, "train"), codes_of(held_out, "val")
print("codes:", tuple(train_codes.shape))

# %%
def neighbour(volume, offset):
    """What stands at `offset` (dt, dh, dw) from each position of volume (b, t, h, w).

    -1 beyond the edge.
    """
    (dt, dh, dw), (_, t, h, w) = offset, volume.shape
    padded = F.pad(volume, (2, 2, 2, 2, 4, 4), value=-1)
    return padded[:, 4 + dt:4 + dt + t, 2 + dh:2 + dh + h, 2 + dw:2 + dw + w]


def shared_bits(volume, offset, symbols):
    """Mutual information, in bits, of a position and its neighbour at `offset`.

    From all pairs inside the volume.
    """
    other = neighbour(volume, offset)
    pairs = (other * symbols + volume)[other >= 0]
    joint = torch.bincount(pairs, minlength=symbols ** 2).reshape(symbols, symbols).double()
    joint /= joint.sum()
    return entropy(joint.sum(0)) + entropy(joint.sum(1)) - entropy(joint)


first = train_codes[..., 0]  # one of the four codebooks
around = list(itertools.product(range(-2, 3), range(-2, 3)))
tells = {(dt, dh, dw): shared_bits(first, (dt, dh, dw), 128)
         for dt in (0, -1, -2, -4) for dh, dw in around if (dt, dh, dw) != (0, 0, 0)}

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 4, figsize=(7.2, 2.3))
titles = {0: "same frame", -1: "1 frame before", -2: "2 frames before", -4: "4 frames before"}
for (dt, title), ax in zip(titles.items(), axes, strict=True):
    bits = torch.tensor([tells.get((dt, dh, dw), torch.nan) for dh, dw in around]).reshape(5, 5)
    ax.imshow(bits, vmin=0, vmax=3)
    for dh, dw in itertools.product(range(5), range(5)):
        own = bits[dh, dw].isnan()
        ax.text(dw, dh, "?" if own else f"{bits[dh, dw]:.1f}", ha="center", va="center", fontsize=7,
                color="black" if own or bits[dh, dw] > 1.8 else "white")
    ax.set_title(title)
    cell_lines(ax, 5, 5)
show(fig, alt="Four maps of five by five neighbours with the bits that each tells. In the same "
          f"frame {tells[0, 0, 1]:.1f} next to the code and {tells[0, 0, 2]:.1f} two columns away; "
          f"at the same place one frame before {tells[-1, 0, 0]:.1f}, two frames before "
          f"{tells[-2, 0, 0]:.1f}, four frames before {tells[-4, 0, 0]:.1f}.")

# %%
in_all = entropy(torch.bincount(first.flatten(), minlength=128) / first.numel())
print(f"a code of the first codebook has {in_all:.1f} bits, and known from one other code are")
for offset, place in (((-1, 0, 0), "the same place, one frame before"),
                      ((-4, 0, 0), "the same place, four frames before"),
                      ((0, 0, 1), "the same frame, next to it"),
                      ((0, 0, 2), "the same frame, two columns away")):
    print(f"  {tells[offset]:.1f} bits, {tells[offset] / in_all:.0%}: {place}")

# %% [markdown]
# The same place in the frame before tells most, about half of a code. Four frames before tells less, and so does
# a neighbour in the same frame; one that is two columns away tells far less. Now read the orders with this map:
# - **single frame** always has the frame before, complete. In its own frame it has what lies above and to the
#   left;
# - **spatial**: in its first slice the frame before is there, but only every second row and column of it, and
#   no code of the same frame is nearer than two;
# - **spatiotemporal**: the first slice must do with four frames back, as if the clip ran four times as fast.
#   Later slices have neighbours on all sides, *in the future, too*.

# %% [markdown]
# ## The experiment: where the bits go
#
# One neighbour is easy to count with. Two neighbours and a code are 128 * 128 * 128 combinations, two
# million, and four neighbours cannot be counted at all. That is why LVT needs a network. To see the order at
# work without one, we ask something smaller of each position: *is anything there?* Yes, where a code differs
# from the one that an empty frame has. The encoder looks beyond its patch, so the answer is yes around a
# digit, too.

# %%
empty = autoencoder.encode(-torch.ones(1, 3, 1, 64, 64))
there, val_there = ((codes != empty).any(-1).long() for codes in (train_codes, val_codes))
answer = 2.0 * enlarge(there[0], 8).expand(3, -1, -1, -1) - 1
answer[..., ::8, :], answer[..., ::8] = 0, 0  # the edges of the cells
first_clip = enlarge(to_video(MovingDigits(1, color=True)[0]["video"]), 2)
show(strip([first_clip, answer], frames=5, titles=["clip", "anything there?"]),
     alt="A clip of two moving digits and below it the volume of yes and no: white areas cover the "
     "digits, with a margin of two or three codes, and move with them.")

# %% [markdown]
# Now a model that only counts. For each slice, take the n most telling neighbours that are *written before*,
# and count how often "yes" came with each of their combinations. The share of "yes" there is its probability,
# and the price of a held-out position is -log2 of the probability of what stands there. `inverse_order` says
# who comes before whom.

# %%
offsets = [o for o in itertools.product(range(-4, 5), range(-2, 3), range(-2, 3)) if any(o)]
ranked = sorted(offsets, key=lambda o: -shared_bits(there, o, 2))
shape = (16, 16, 16)


def written_before(when, position):
    """Neighbours that are written before `position`, the most telling first; when: (t, h, w)."""
    places = [(o, tuple(p + d for p, d in zip(position, o, strict=True))) for o in ranked]
    inside = [(o, place) for o, place in places
              if all(0 <= p < size for p, size in zip(place, shape, strict=True))]
    return [o for o, place in inside if when[place] < when[position]]


def price(neighbours):
    """Bits of each held-out position (t, h, w) if these neighbours are known: a mean over clips."""
    seen, val_seen = torch.zeros_like(there), torch.zeros_like(val_there)
    for offset in neighbours:  # number the combinations in base 3: yes, no or beyond the edge
        seen = 3 * seen + neighbour(there, offset) + 1
        val_seen = 3 * val_seen + neighbour(val_there, offset) + 1
    counts = torch.bincount((2 * seen + there).flatten(), minlength=2 * 3 ** len(neighbours))
    counts = counts.reshape(-1, 2) + 0.5  # what was never seen is not impossible
    return -(counts / counts.sum(1, keepdim=True))[val_seen, val_there].log2().mean(0)


# %%
def price_of_slices(factor, n):
    """(positions, bits a position) of each slice in turn, with n neighbours; frame 0 is given."""
    when = inverse_order(generation_order(shape, factor)).reshape(shape)
    numbers = slice_numbers(shape, factor)
    predicted = torch.arange(16)[:, None, None] > 0
    prices, result = {}, []
    for number in range(math.prod(factor)):
        offset = slice_offset(number, factor)
        middle = tuple(start + step * (size // step // 2)
                       for start, step, size in zip(offset, factor, shape, strict=True))
        neighbours = tuple(written_before(when, middle)[:n])
        if neighbours not in prices:
            prices[neighbours] = price(neighbours)
        own = prices[neighbours][(numbers == number) & predicted]
        if len(own):
            result.append((len(own), own.mean().item()))
    return result


# %%
counts = {"smoke": [1, 2], "course": [1, 2, 4, 6, 8, 12]}[profile]
slices_of = {(name, n): price_of_slices(factor, n)
             for name, factor in tqdm(types.items(), "orders", ascii=True) for n in counts}
total = {key: sum(size * bits for size, bits in result) / sum(size for size, _ in result)
         for key, result in slices_of.items()}

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2, figsize=(7.2, 3.2))
for name in types:
    axes[0].plot(counts, [total[name, n] for n in counts], "o-", ms=4, label=name)
    sizes, bits = zip(*slices_of[name, counts[-1]], strict=True)
    edges = [100 * edge / sum(sizes) for edge in (0, *itertools.accumulate(sizes))]
    axes[1].stairs(bits, edges, label=name, lw=1.8, baseline=None)
axes[0].set(xlabel="neighbours that the model knows", ylabel="bits a position",
            title="the whole clip", xticks=range(0, 13, 2))
axes[1].set(xlabel="% of the clip written", ylabel="bits a position",
            title=f"as it goes, with {counts[-1]} neighbours", ylim=(0, None))
axes[1].legend(fontsize=8)
show(fig, alt="Left: bits a position against the number of neighbours. The three orders differ "
          "with few neighbours and meet with eight or more. Right: bits a position as the clip is "
          "written. Single frame is flat; spatial starts higher and ends lower; spatiotemporal "
          "starts highest by far, then goes up and down, mostly below the others.")

# %%
few, many = counts[0], counts[-1]
print("bits a position       ", *(f"{name:>15s}" for name in types))
for n in (few, many):
    print(f"neighbours known: {n:2d}   ", *(f"{total[name, n]:15.3f}" for name in types))
share = {}
for name in types:
    (size, bits), *rest = slices_of[name, many]
    share[name] = bits * sum(size for size, _ in rest) / sum(size * bits for size, bits in rest)
print("first slice / the rest", *(f"{share[name]:15.2f}" for name in types))
if profile == "course":
    assert total["spatiotemporal", few] > 1.04 * total["single frame", few]
    at_last = [total[name, many] for name in types]
    assert max(at_last) < 1.05 * min(at_last)
    assert share["single frame"] < 1.1 and share["spatial"] > 1.15 and share["spatiotemporal"] > 1.5

# %% [markdown]
# **What we measured** (yes/no volumes of moving digits, frame 0 given; two more sets of clips said the same):
# - *The sum stays.* With twelve neighbours the three orders cost nearly the same. The area under each line on
#   the right is the same. This is the chain rule, and it comes into sight as soon as the model knows enough.
# - *The bits move.* The last line above says how much more a position of the first slice costs than the rest. In
#   single-frame order each frame costs as much as the one before. In spatial order the first slice must say where
#   everything moves, in all 16 frames, from a coarse grid. In spatiotemporal order its step is four frames long,
#   and it costs nearly twice as much. Then it is paid back: later slices have neighbours on all sides and cost
#   less.
# - *A weak model notices.* With one neighbour, spatiotemporal costs more than the others: its first slice has
#   nothing better than four frames back. With two to eight, now one order is ahead and now another. It depends on
#   who has the neighbours that tell most.
#
# Beside the paper (Table 2, BAIR, 600,000 steps; bits/dim over the codes of 15 frames, one is given; n_c is the
# number of codebooks). The FVD in the same table is of other clips: five frames are given there, and it is a mean
# of ten runs.
#
# | order | n_c = 1 | n_c = 4 |
# |---|---|---|
# | single frame | 1.28 | 1.53 |
# | spatial | 1.79 | 2.99 |
# | spatiotemporal | 1.25 | 1.62 |
#
# Single frame and spatiotemporal cost about the same there, too. Spatial costs 40% to 95% more. Nothing that
# we counted is so large. A network is not a counter: it has to learn a hard first slice, and to attend over
# 1,024 positions. And the table compares unlike things: by the official configurations the spatial model was
# trained on clips of four frames, with attention in blocks. How much each of these weighs, the paper does not
# say. Notebook 07 trains all three alike.
#
# Bits are not all. Whatever the first slice gets wrong, all later ones must live with: in spatial order a
# digit's whole path is fixed before any of its details. And two models of equal bits can differ in time, as
# section 5 counts.
#
# ## What you built
#
# ```python
# from lvlib.models.lvt.subscale import slice_shape, slice_offset, take_slice, slice_numbers
# from lvlib.models.lvt.subscale import generation_order, inverse_order, visible, window_reach, context
# ```
#
# ## Scale it up
#
# The order has no weights and costs no time worth a mention: `take_slice` is a view, and what `context` takes is
# printed in section 4. What it decides is the shape of the model around it. Any factor that divides the
# latent volume can be tried without training anything:
#
# ```
# lvlib describe lvt-bair
# lvlib describe lvt-bair --prior.subscale 4 2 2
# lvlib describe lvt-bair --prior.subscale 3 2 2
# ```
#
# The last says what is allowed. The three orders of the paper have names: `lvt-bair`, `lvt-bair-spatial` and
# `lvt-bair-spatiotemporal`. Their windows differ, 16 x 1 x 1, 1 x 3 x 3 and 7 x 3 x 3, and so do their
# parameters: 49.9, 49.4 and 52.9 million. Their memory differs more. `lvlib describe` counts about 10 GB for
# the paper's batch of 64 in single-frame and spatiotemporal order, and 62 GB in spatial order: that is
# attention over 1,024 positions. Notebooks 06 and 07 build and train the model.
#
# ## Questions to think about
#
# 1. A factor of (2, 1, 1) writes all even frames first, then the odd ones. What must the first slice model,
#    what the second?
#
#    <details><summary>Answer</summary>The first: a clip that runs twice as fast. All that can surprise is
#    in it, every bounce and every new thing. The second: what lies between two frames that it knows. Where
#    things move steadily that is nearly certain.</details>
#
# 2. Which order would you take if the clip must be *shown* while it is written?
#
#    <details><summary>Answer</summary>Single frame: each frame is complete before the next begins. In
#    spatial order nothing can be shown before the last slice, but a coarse clip; in spatiotemporal order
#    every fourth frame early, and the rest at the end.</details>
#
# 3. You have the first and the last frame of a clip and want what lies between. In which order is that easy?
#    What would `visible` have to allow?
#
#    <details><summary>Answer</summary>In spatiotemporal order, which looks ahead in time anyway.
#    <code>visible</code> would take a mask of given frames, any of them, in place of a number of first ones.
#    In single-frame order the window would have to look ahead, too.</details>
#
# 4. Inside a slice the order is raster. Does a slice of the spatial order know where a digit was in the frame
#    before, at the same place? Does its context tell it, or its own earlier positions?
#
#    <details><summary>Answer</summary>It does, by its own earlier positions: the slice holds its places in
#    all frames, and those of the frame before come earlier in raster order. Its context cannot tell: the
#    window, 1 x 3 x 3, stays in one frame.</details>
#
# 5. The chain rule holds for every order, also for a random one. Why would a model find a random order hard?
#
#    <details><summary>Answer</summary>At each step another pattern of neighbours is known, and often none
#    that is near. The model would have to learn what to do with each pattern, from few examples of it. In a
#    fixed order a position always knows the same neighbours.</details>

# %%
progress()
