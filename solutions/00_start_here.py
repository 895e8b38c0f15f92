# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Start here: a video is too big
#
# **What you will build.** In this course you build five systems that generate video, from five papers. They
# look different, and they share one plan. Video is too big to model pixel by pixel. So they work in two
# stages:
#
# 1. *Compress.* An **autoencoder** turns a clip into a small grid of codes, and a grid back into a clip.
# 2. *Model.* A **prior** learns which grids belong to real clips. It can then make new grids, and the
#    autoencoder turns them into new clips.
#
# This first notebook shows you both stages as a toy, and how the notebooks of this course work.

# %% jupyter={"source_hidden": true}
import os

import torch
import torch.nn.functional as F
from einops import reduce
from matplotlib import pyplot as plt
from torch import Tensor

from lvlib.course import check, progress
from lvlib.data import MovingDigits, data_home, read_video
from lvlib.viz import bars, code_map, set_style, show, show_video

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% [markdown]
# Here are the two stages. The blue parts are neural networks, and you will train all of them.
#
# (A bar with three dots is a *folded cell*: code that only prepares something, here what draws the picture. It
# runs like any other. Click on the bar to open it, or leave it closed: you miss nothing.)

# %% jupyter={"source_hidden": true}
def box(ax, x, y, w, h, d, colour="#f3f3f3", face=None):
    """A box in oblique view: w wide, h high, d deep, perhaps with a picture on its front."""
    dx, dy = 0.45 * d, 0.3 * d
    top = [(0, h), (dx, h + dy), (w + dx, h + dy), (w, h)]
    side = [(w, 0), (w + dx, dy), (w + dx, h + dy), (w, h)]
    for corners in ([(0, 0), (w, 0), (w, h), (0, h)], top, side):
        points = [(x + a, y + b) for a, b in corners]
        ax.add_patch(plt.Polygon(points, fc=colour, ec="#444", lw=0.8))
    if face is not None:
        ax.imshow(face, extent=(x, x + w, y, y + h), zorder=2)


def arrow(ax, text, start, end):
    """An arrow through a network."""
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "lw": 1.2})
    ax.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, text, ha="center", va="center",
            bbox={"boxstyle": "round,pad=0.4", "fc": "#cfe3f7", "ec": "#555"})


# %% jupyter={"source_hidden": true}
frame = MovingDigits(1, color=True, seed=3)[0]["video"][0]
grid = reduce(torch.tensor(frame).float(), "(h a) (w b) c -> h w", "mean", a=8, b=8).long() // 8
fig, ax = plt.subplots(figsize=(7.4, 3.1))
box(ax, 0, 2.2, 1.8, 1.8, 1.4, face=frame)
box(ax, 4.7, 2.6, 0.9, 0.9, 0.7, "#fbe3b0", face=code_map(grid, 32))
box(ax, 8.5, 2.2, 1.8, 1.8, 1.4, face=frame)
for x, label in ((1.1, "clip"), (5.3, "grid of codes"), (9.6, "clip again")):
    ax.text(x, 1.75, label, ha="center")
arrow(ax, "encoder", (2.6, 3.15), (4.6, 3.15))
arrow(ax, "decoder", (6.1, 3.15), (8.4, 3.15))
arrow(ax, "prior", (5.3, 0.1), (5.3, 1.6))
ax.text(0, 4.9, "Stage 1: compress", weight="bold")
ax.text(0, 0.75, "Stage 2: make new grids", weight="bold")
ax.set(xlim=(-0.2, 11.3), ylim=(0, 5.3), aspect="equal")
ax.axis("off")
show(fig, alt="Stage 1: an encoder turns a clip, a deep box with two digits on its front, into a "
     "small grid of codes, drawn as coloured squares; a decoder turns the grid into the clip "
     "again. Stage 2: a prior makes new grids.")

# %% [markdown]
# **What it costs.** A few seconds of computing, and 15 minutes of yours. **What it needs.** Nothing but
# Python that you have read before. Terms are explained where you first need them.

# %% [markdown]
# ## 1. How a notebook works
#
# A notebook is a row of *cells*: text like this one, and code. Click on a code cell and press
# **Shift+Enter**: it runs, what it shows appears below it, and the next cell is selected. Cells build on each
# other, so run them from top to bottom. To run everything at once, choose **Run > Run All Cells** in the
# menu. When something got mixed up, choose **Kernel > Restart Kernel and Run All Cells**: nothing is lost but
# the values in memory.
#
# Try it on the next cell. It reads a clip from a video file, filmed by a real camera.

# %% jupyter={"source_hidden": true}
def real_clip(name: str, start: int) -> Tensor:
    """Every second frame of a video file, 16 in all, as uint8 (t, h, w, c).

    A generated clip if the file is missing.
    """
    path = data_home() / "real_clips" / name
    if not path.exists():
        print(f"{name} is not on this machine (run: lvlib lab, or make data). "
              "We go on with a generated clip.")
        return torch.tensor(MovingDigits(1, color=True, seed=start)[0]["video"])
    frames, _ = read_video(path, frames=16, start=start, stride=2, size=64)
    return torch.tensor(frames)


# %%
street = real_clip("bikes.mp4", start=190)
show_video(street, fps=12, alt="A bicycle leans against a house. A passer-by in dark trousers "
           "walks through the picture.")

# %% [markdown]
# Press play. You can drag the slider, change the speed, and switch the loop off. The strip below the player
# shows eight of the frames, for places where the player does not run.
#
# The second kind of clip has no file. It is *generated*: handwritten digits that bounce in a box. We know
# everything about such a clip, its true future too. That makes it good for experiments.

# %%
digits = torch.tensor(MovingDigits(1, frames=16, seed=3)[0]["video"])
show_video(digits, alt="Two handwritten digits, white on black, move in straight lines and bounce "
           "off the sides.")

# %% [markdown]
# ## 2. How an exercise works
#
# A clip is a *tensor*, an array of numbers with several axes. Its shape says how long each axis is. A clip
# that comes from a data set is `(t, h, w, c)`: time (frames), height, width, channels (1 for grey, 3 for
# colour).

# %% tags=["nbval-check-output"]
print("the street: ", tuple(street.shape), street.dtype)
print("the digits: ", tuple(digits.shape), digits.dtype)

# %% [markdown]
# Now an exercise. The task: *let a clip run backwards.* We do it for you twice, first wrong, then right.
# `flip(1)` reverses axis 1:

# %%
def first_try(frames: Tensor) -> Tensor:
    return frames.flip(1)


# %% [markdown]
# Every exercise has a *check*. It tries your function on a few cases, and says in one line what it thinks:

# %%
answer = check("0.1", first_try)

# %% [markdown]
# The line says what is wrong and where to look. And nothing breaks: `check` gave back the solution of
# `lvlib`, the library of this course, so that all that follows still works. (This is what `going on with
# lvlib's` means.) Axis 1 is the height. Time is axis 0:

# %%
def second_try(frames: Tensor) -> Tensor:
    return frames.flip(0)


answer = check("0.1", second_try)

# %% [markdown]
# OK. This time `check` gave back our own function.
#
# ### Exercise 0.1 · your turn (about 2 min)
# Write the right answer yourself. In the cell below, a line with `raise NotImplementedError` stands where
# your code goes: delete it, and write your own line instead. Run the cell, then run its check. Both as often
# as you like.
#
# <details><summary>Hint</summary>It is the line of <code>second_try</code>. Keep the four spaces before
# <code>return</code>.</details>
#
# <details><summary>The call</summary><code>return frames.flip(0)</code></details>

# %% tags=["exercise", "ex-0.1"]
def backwards(frames: Tensor) -> Tensor:
    """The clip (t, h, w, c) with its last frame first."""
    ### BEGIN SOLUTION
    return frames.flip(0)
    ### END SOLUTION


# %% tags=["check", "ex-0.1"]
backwards = check("0.1", backwards)

# %%
show_video([street, backwards(street)], ["forwards", "backwards"], fps=12,
           alt="Two players side by side: the passer-by walks forwards in one and backwards in the "
           "other.")

# %% [markdown]
# Stuck? Each exercise has a hint to open: the idea first, and below it the call that does the work. The folder
# `solutions/` holds every notebook complete, with all its results.

# %% [markdown]
# ## 3. A clip is numbers
#
# ### Exercise 0.2 · from a file to a network (about 5 min)
# Screens and files use whole numbers from 0 to 255, and put the channels last. Networks prefer small floats
# around zero, and PyTorch's layers want the channels first. Turn uint8 `(t, h, w, c)` into floats `(c, t, h,
# w)` from -1 to 1.
#
# <details><summary>Hint</summary>Two steps, one for the axes and one for the values. The values are the
# same for every clip: 0 becomes -1 and 255 becomes 1, whatever this clip holds. What must you divide by so
# that 255 becomes 2? Then subtract 1.</details>
#
# <details><summary>The call</summary><code>frames.permute(3, 0, 1, 2)</code> moves the last axis to the
# front, and <code>.float()</code> makes float32 of uint8. Then divide, then subtract.</details>

# %% tags=["exercise", "ex-0.2"]
def to_video(frames: Tensor) -> Tensor:
    """uint8 (t, h, w, c) -> float32 (c, t, h, w): 0 becomes -1 and 255 becomes 1, in every clip."""
    ### BEGIN SOLUTION
    return frames.permute(3, 0, 1, 2).float() / 127.5 - 1
    ### END SOLUTION


# %% tags=["check", "ex-0.2"]
to_video = check("0.2", to_video)

# %% tags=["nbval-check-output"]
video = to_video(digits)
print(tuple(digits.shape), digits.dtype, "->", tuple(video.shape), video.dtype)
print(f"from {video.min():g} to {video.max():g}")

# %% [markdown]
# ### Exercise 0.3 · how big is a clip? (about 3 min)
# How many *bits* hold a clip of uint8 values? A value from 0 to 255 takes 8 bits.
#
# <details><summary>Hint</summary>How many values does the clip hold, all axes together?</details>
#
# <details><summary>The call</summary><code>frames.numel()</code> is the number of values in a tensor of any
# shape.</details>

# %% tags=["exercise", "ex-0.3"]
def bits_in(frames: Tensor) -> int:
    """Bits that hold a clip of uint8 values, any shape. A Python int."""
    ### BEGIN SOLUTION
    return 8 * frames.numel()
    ### END SOLUTION


# %% tags=["check", "ex-0.3"]
bits_in = check("0.3", bits_in)

# %%
for name, frames in (("street", street), ("digits", digits)):
    print(f"{name}: {frames.numel():,} values, {bits_in(frames):,} bits")

# %% [markdown]
# That is about a second of video, no larger than a stamp. A model that makes one value after the other would
# have to make 196,608 values for the street. This is why all five systems compress first.

# %% [markdown]
# ## 4. Both stages, as a toy
#
# Can a clip pass through a small grid? Here is the simplest grid there is. Cut the clip into blocks of 2
# frames x 4 x 4 pixels, and keep one number for each block: the mean.
#
# ### Exercise 0.4 · means of blocks (about 7 min)
# Turn `(c, t, h, w)` into `(c, t/2, h/4, w/4)`. The library einops says such things in words: `reduce(x, "c
# (t a) h w -> c t h w", "mean", a=2)` takes the mean of every two frames.
#
# <details><summary>Hint</summary>Split all three axes in the pattern, each with a letter of its own for
# what is left within a block. What is split on the left, and missing on the right, is averaged.</details>
#
# <details><summary>The call</summary>The left side of the pattern is <code>c (t a) (h b) (w d)</code>, the
# sizes are <code>a=2, b=4, d=4</code>.</details>

# %% tags=["exercise", "ex-0.4"]
def block_means(video: Tensor) -> Tensor:
    """Means of blocks of 2 frames x 4 x 4 pixels: floats (c, t, h, w) -> (c, t/2, h/4, w/4)."""
    ### BEGIN SOLUTION
    return reduce(video, "c (t a) (h b) (w d) -> c t h w", "mean", a=2, b=4, d=4)
    ### END SOLUTION


# %% tags=["check", "ex-0.4"]
block_means = check("0.4", block_means)

# %% [markdown]
# Means are still floats. We round each to one of 16 levels, and call the number of its level (0 to 15) its
# *code*. A code takes 4 bits. To decode, we turn the codes into grey values again, and stretch the grid to
# the size of the clip.

# %%
def encode(video: Tensor) -> Tensor:
    """Video (c, t, h, w) -> codes (c, t/2, h/4, w/4), whole numbers from 0 to 15."""
    return ((block_means(video) + 1) * 7.5).round().long()


def decode(codes: Tensor) -> Tensor:
    """Codes (c, t, h, w) -> video (c, 2t, 4h, 4w)."""
    return F.interpolate(codes[None] / 7.5 - 1, scale_factor=(2, 4, 4), mode="trilinear")[0]


codes = encode(video)
print(f"clip {tuple(video.shape)}: {bits_in(digits):,} bits")
fewer = bits_in(digits) / (4 * codes.numel())
print(f"grid {tuple(codes.shape)}: {4 * codes.numel():,} bits, {fewer:.0f} times fewer")

# %%
blocks = F.interpolate((codes[None] / 7.5 - 1), scale_factor=(2, 4, 4))[0]
show_video([video, blocks, decode(codes)], ["clip", "codes", "decoded"], frames=6,
           alt="Three clips in step: the moving digits; their codes, coarse grey blocks; and the "
           "decoded clip, the digits again but blurred.")

# %% [markdown]
# Blurred, but you can follow it, at 1/64 of the bits. That was stage 1. The autoencoders that you will build
# *learn* what to keep, and they do far better.
#
# Stage 2 makes new grids. The simplest prior knows nothing: it throws dice for every code. A slightly better
# one knows how often each code occurs, but not where.

# %%
generator = torch.Generator().manual_seed(0)
dice = torch.randint(0, 16, codes.shape, generator=generator)
shuffled = codes.flatten()[torch.randperm(codes.numel(), generator=generator)].reshape(codes.shape)
show_video([decode(codes), decode(shuffled), decode(dice)],
           ["real grid", "right codes, any order", "dice"], frames=6,
           alt="Three decoded clips: the digits; their codes in random order, dim spots on black; "
           "and codes from dice, grey noise everywhere.")

# %% [markdown]
# Three grids of the same size, and only one is a video. Which codes come where, *given the others*: this is
# what a prior has to learn. Transformers and a diffusion model will do it.

# %% [markdown]
# ## 5. The experiment: is the grid enough?
#
# The claim behind all five papers: a clip survives a grid that is many times smaller, and what matters is
# which codes come where. We measure it on digits that no clip so far has shown. The measure is the *mean
# squared error*: the difference of two clips, squared, averaged over all values. What is a large error? We
# compare with a picture that never moves: the clip's mean over time.

# %%
def error(video: Tensor, other: Tensor) -> float:
    return (video - other).square().mean().item()


test_clips = MovingDigits({"smoke": 8, "course": 50}[profile], split="test", seed=1)
rows = []
for i in range(len(test_clips)):
    clip = to_video(torch.tensor(test_clips[i]["video"]))
    real = encode(clip)
    mixed = real.flatten()[torch.randperm(real.numel(), generator=generator)].reshape(real.shape)
    guesses = decode(real), clip.mean(1, keepdim=True), decode(mixed)
    rows.append([error(clip, guess) for guess in guesses])
through_grid, still, wrong_grid = torch.tensor(rows).mean(0).tolist()

# %%
show(bars({"through\nthe grid": through_grid, "still picture": still,
           "same codes,\nany order": wrong_grid},
          "mean squared error", f"{len(test_clips)} clips of digits never seen"),
     alt=f"Bars: error {through_grid:.2f} through the grid, {still:.2f} for a still picture, "
     f"{wrong_grid:.2f} for the same codes in any order.")
assert through_grid < 0.8 * still, "a grid with 1/64 of the bits should beat a still picture"
assert wrong_grid > 1.5 * through_grid, "the order of the codes should matter"

# %% [markdown]
# Here are the grids of the papers, for the data sets named. "Fewer" counts numbers, not bits.
#
# | | clip in the paper | values | grid | numbers | fewer |
# |---|---|---|---|---|---|
# | LVT, BAIR | 16 x 64 x 64, colour | 196,608 | 16 x 16 x 16, 1 or 4 codebooks | 4,096 or 16,384 | 48 or 12 times |
# | VideoGPT, BAIR | 16 x 64 x 64, colour | 196,608 | 8 x 32 x 32 | 8,192 | 24 times |
# | TATS, UCF-101 | 16 x 128 x 128, colour | 786,432 | 4 x 16 x 16 | 1,024 | 768 times |
# | MeBT, UCF-101 | 128 x 128 x 128, colour | 6,291,456 | 32 x 16 x 16 | 8,192 | 768 times |
# | PVDM, UCF-101 | 16 x 256 x 256, colour | 3,145,728 | 3 flat grids of 4 channels | 8,192 | 384 times |
# | our toy, digits | 16 x 64 x 64, grey | 65,536 | 8 x 16 x 16 | 2,048 | 32 times |
#
# The difference in scale is large. LVT's Table 1 gives a mean squared error of 0.0016 with one codebook and
# of 0.0004 with four, on pictures of a robot at a table, after 500,000 training steps. Each of these numbers is
# in its own scale: ours is for values from -1 to 1, and the paper does not say which it takes. With values from
# 0 to 1 the same error would count a quarter. Even so ours, the first bar above, is many times larger: a mean
# over blocks blurs two digits on black. What carries over is the plan.

# %% [markdown]
# ## 6. The map of the five systems
#
# You need not know the words in this table. Each is explained in the notebook that builds it. Read the last
# column.
#
# | system | stage 1: the autoencoder | stage 2: the prior | the idea it teaches |
# |---|---|---|---|
# | **LVT**, 2020 | VQ-VAE, frame by frame, 1 or 4 codebooks | transformer, slice by slice | why codebooks collapse |
# | **VideoGPT**, 2021 | VQ-VAE in space and time | GPT | compressing time; a plain prior |
# | **TATS**, 2022 | VQGAN that cannot tell the time | GPT, and one that fills gaps | padding leaks time; long video |
# | **MeBT**, 2023 | the VQGAN of TATS | transformer that sees both ways | many codes at once, linear cost |
# | **PVDM**, 2023 | three flat grids of real numbers | diffusion with a 2D U-Net | latents without codes; denoising |

# %% jupyter={"source_hidden": true}
systems = {  # name: clip (t, h, w), grids (t, h, w)
    "LVT": ((16, 64, 64), [(16, 16, 16)]), "VideoGPT": ((16, 64, 64), [(8, 32, 32)]),
    "TATS": ((16, 128, 128), [(4, 16, 16)]), "MeBT": ((128, 128, 128), [(32, 16, 16)]),
    "PVDM": ((16, 256, 256), [(1, 32, 32), (16, 32, 1), (16, 1, 32)])}
fig, axes = plt.subplots(1, 5, figsize=(9, 2.7))
for ax, (name, (clip, grids)) in zip(axes, systems.items(), strict=True):
    t, h, w = (side / clip[2] for side in clip)
    box(ax, 0, 0.9, w, h, t, face=street[0])
    left = 0.05 if len(grids) > 1 else 0.35
    for grid in grids:
        t, h, w = (side / clip[2] for side in grid)
        box(ax, left, 0.3, max(w, 0.04), max(h, 0.04), t, "#f0b429")
        left += 0.35
    labels = "\n+ ".join(" x ".join(map(str, grid)) for grid in grids)
    ax.text(0.5, 2.4, name, ha="center", weight="bold")
    shapes = f"{' x '.join(map(str, clip))}\nto {labels}"
    ax.text(0.5, 0.15, shapes, ha="center", va="top", fontsize=8)
    ax.set(xlim=(-0.05, 1.5), ylim=(-0.8, 2.6), aspect="equal")
    ax.axis("off")
show(fig, alt="Five boxes, the clips of LVT, VideoGPT, TATS, MeBT and PVDM as time x height x "
     "width. Below each, to the same scale, a far smaller yellow box: its grid. PVDM has three "
     "flat grids.")

# %% [markdown]
# Above the clip, below its grid in yellow, to one scale within each column. The first chapter, notebooks 01
# to 04, builds LVT's stage 1 from nothing: first the numbers (01), then codes that are learned (02), what
# goes wrong with them (03), and codes in several books (04). Every later system builds on it.

# %% [markdown]
# ## 7. Where things live
#
# | place | what is there |
# |---|---|
# | `my/` | the notebooks to work in, like this one: your own copy, which an update of the course leaves to you |
# | `solutions/` | the same notebooks complete, with results: to look at when you are stuck |
# | `lvlib/` | the library. What you build in a notebook is there too, and the next notebook imports it |
# | `data/` | clips. `lvlib lab` or `make data` fills it; no notebook needs the network |
# | `data_scripts/` | one script for each data set |
#
# **Help.** Open the hint, run the check, compare with `solutions/`. In a code cell, `help(show_video)` prints
# what a function takes, and `Shift+Tab` inside its brackets shows the same.
#
# **Three sizes.** A notebook runs as `smoke` (seconds: does it run?), as `course` (what you see: minutes at
# most, on two cores), and its real experiment at `full` size on a GPU, by a command. The variable
# `LVLIB_PROFILE` chooses between the first two.

# %%
print("this notebook runs at size:", profile)

# %% [markdown]
# ## What you built
#
# `to_video` is in `lvlib.data` from now on, and notebook 01 begins with it. The toy codes stay here: from
# notebook 02 on you train better ones.

# %% [markdown]
# ## Scale it up
#
# Everything also runs from the command line. Open a terminal (in JupyterLab: **File > New > Terminal**), go
# to the folder of the course, type `source .venv/bin/activate`, and try
#
# ```
# lvlib configs                        # the sizes you can train: ours and the papers'
# lvlib describe lvt-frames-bair       # LVT's autoencoder as in the paper: parameters, grid, memory
# ```
#
# Both answer in seconds on a laptop. Training the second one takes a GPU; notebook 02 shows the command.

# %% [markdown]
# ## Questions to think about
#
# 1. Our toy code keeps the mean of each block. Which other number could a block be given, and what would it
#    keep better?
#
#    <details><summary>Answer</summary>The brightest value, for one: thin strokes stay white, where the
#    mean makes them pale. Or the number of a pattern in a list of patterns: then a code can say "an edge,
#    rising to the right". Notebook 02 learns such a list.</details>
#
# 2. A still picture would be hard to beat in a clip of a parked car. Which clips are hard for a still
#    picture, and which for our grid?
#
#    <details><summary>Answer</summary>Hard for a still picture is whatever moves far: a camera that
#    pans, a runner. Hard for our grid is whatever is finer than its blocks: grass, print, a light that
#    flickers from one frame to the next. A slow pan over a smooth sky is easy for the grid and hard for the
#    picture; a still photograph of a newspaper is the reverse.</details>
#
# 3. The decoder never sees the clip, only its codes. What must the decoder then know by itself?
#
#    <details><summary>Answer</summary>All that the clips have in common: here that the ground is black,
#    that strokes are smooth and thin, what an 8 looks like. What is the same in every clip needs no bits in
#    the code. It is in the decoder's weights instead.</details>
#
# 4. A box of codes grows with its volume, PVDM's three grids only with the faces of the box. What might get
#    lost?
#
#    <details><summary>Answer</summary>The box has a place for every (t, h, w). Three flat grids have one
#    for every (h, w), (t, h) and (t, w), and each of these places is shared by a whole row of the box. What
#    is special at one place <em>and</em> one moment, such as a spark, has no place of its own.</details>

# %%
progress()
