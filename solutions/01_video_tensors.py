# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · Video as tensors: how many bits are in a clip?
#
# **What you will build.** The two rulers of this course: PSNR, which says how far one clip is from another, and *bits
# per dimension*, which says how well a model knows video. On the way you learn how video lies in memory, how to cut
# clips out of it, and why it can be compressed at all.
#
# **Why it matters.** All five systems compress video before they model it. That can only work if most of a clip is
# *redundant*: if you could have guessed it from the rest. Look at a clip, and at what changes from frame to frame:

# %% jupyter={"source_hidden": true}
import io
import math
import os
from fractions import Fraction

import av
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from matplotlib import pyplot as plt
from PIL import Image
from torch import Tensor

from lvlib.course import check, progress
from lvlib.data import DIRECTIONS, MovingDigits, data_home, from_video, read_video, to_video
from lvlib.viz import bars, set_style, show, show_video, strip

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% jupyter={"source_hidden": true}
folder = data_home() / "real_clips"
if not folder.exists():
    print("The real clips are not on this machine (run: make data). Generated ones step in.")


def real_frames(name: str, frames: int, start: int = 0, size: int = 64) -> Tensor:
    """Frames of a video file as uint8 (t, h, w, c).

    Of a pan over random colours if the file is missing.
    """
    if (folder / name).exists():
        return torch.tensor(read_video(folder / name, frames, start, size=size)[0])
    generator = torch.Generator().manual_seed(start)
    colours = torch.rand(1, 3, 16, 16, generator=generator)
    scene = F.interpolate(colours, 2 * size, mode="bicubic")[0]
    corners = [t * size // 128 for t in range(frames)]
    pan = torch.stack([scene[:, i:i + size, i:i + size] for i in corners])
    grain = 0.008 * torch.randn(pan.shape, generator=generator)
    return rearrange((pan + grain).clamp(0, 1) * 255, "t c h w -> t h w c").to(torch.uint8)


# %%
carphone = real_frames("carphone_pristine.mp4", {"smoke": 40, "course": 120}[profile])
shown = carphone[:32:4]
change = (128 + 2 * (carphone[1:33:4].int() - shown.int())).clamp(0, 255).to(torch.uint8)
show(strip([shown, change], titles=["frames", "change"]),
     alt="Top row: a man talks in a moving car. Bottom row: what changes in the next frame, grey "
     "where nothing does: only outlines of his face and of the view through the window.")

# %% [markdown]
# The second row shows what changes in the next frame, twice as strong as it is. Most of it is plain grey: *no
# change*. This notebook puts numbers on that.
#
# **What it costs.** Half a minute of computing on two CPU cores, and about an hour of yours.
# **What it needs.** Notebook 00. The real clips come with `make data`; without them, generated ones step in.

# %% [markdown]
# ## 1. One layout for all video
#
# Data sets of this course give out frames the way screens want them: uint8, `(t, h, w, c)`. Models see *video*:
# floats in [-1, 1], and the channels before the time. You wrote `to_video` yourself in notebook 00; now it comes from
# `lvlib`.
#
# | letter | axis | here |
# |---|---|---|
# | b | clips in a batch | 1 |
# | c | channels: red, green, blue | 3 |
# | t | time, in frames | 16 |
# | h, w | height, width in pixels | 64, 64 |

# %% tags=["nbval-check-output"]
frames = carphone[:16]
video = to_video(frames)[None]
print("frames (t, h, w, c):   ", tuple(frames.shape), frames.dtype)
print("video  (b, c, t, h, w):", tuple(video.shape), video.dtype)

# %% [markdown]
# Why channels first? PyTorch's convolutions want it so: the channels are what a layer mixes, and the axes that it
# slides along come last. A 3D convolution takes our video as it is. A 2D network treats every frame as a picture of
# its own, so we fold time into the batch. `rearrange` says that in words:

# %% tags=["nbval-check-output"]
pictures = rearrange(video, "b c t h w -> (b t) c h w")
print("a 3D layer makes", tuple(torch.nn.Conv3d(3, 8, kernel_size=4, stride=4)(video).shape))
print("a 2D layer makes", tuple(torch.nn.Conv2d(3, 8, kernel_size=4, stride=4)(pictures).shape))

# %% [markdown]
# Why [-1, 1]? Networks start with small weights around zero, and learn best when their input is centred there too.
# The trip is free of loss: `from_video` gives back exactly the whole numbers that we had.

# %%
print(f"mean of the frames {frames.float().mean():.0f}, of the video {video.mean():.2f}")
print("there and back is exact:", bool((from_video(video)[0] == frames).all()))

# %% [markdown]
# ## 2. The data of this course
#
# **Moving digits** are the workhorse. They are real handwritten digits from MNIST that bounce in a box, in clips of
# any length and size. A clip says what it shows: which digits, in which direction they set out, and where each is in
# every frame.

# %%
digits = MovingDigits(4, frames=16, digits=1, color=True, split="train", seed=1)
clips = [digits[i] for i in range(4)]
titles = [f"{clip['label']}, {DIRECTIONS[clip['motion'][0]]}" for clip in clips]
show_video([clip["video"] for clip in clips], titles,
           alt="Four coloured digits move, each in another direction, and bounce.", frames=4)
print({name: getattr(value, "shape", value) for name, value in clips[0].items()})

# %% [markdown]
# Because we know the motion, we know the *true future*. The longer clip of the same seed begins with the shorter one,
# and shows how it goes on. A model that predicts can be judged exactly. No camera gives you that.

# %%
longer = MovingDigits(4, frames=64, digits=1, color=True, split="train", seed=1)
assert (longer[0]["video"][:16] == clips[0]["video"]).all()

# %% jupyter={"source_hidden": true}
y, x = longer[0]["position"][:, 0].T + digits.digit_size / 2  # the middle of the digit
fig, ax = plt.subplots(figsize=(3.2, 3.2))
ax.imshow(clips[0]["video"][15])
ax.plot(x[:16], y[:16], "w-", lw=1.5, label="past")
ax.plot(x[15:], y[15:], c="#E69F00", ls=":", lw=2, label="true future, 48 frames")
ax.legend(labelcolor="w", fontsize=8, loc="lower right")
ax.axis("off")
show(fig, alt="A digit on black at frame 15, with the way it came as a solid line, and the way it "
     "will go, with bounces off the sides, as a dotted line.")

# %% [markdown]
# **Real clips** are two files from a camera: a man in a car (`carphone`) and five street scenes (`bikes`). That is
# enough to measure on, and far too little to train on. For your own videos there is `VideoFolder`: give it a folder.
#
# | in the course | stands in for | who used it | here |
# |---|---|---|---|
# | moving digits | Moving MNIST | VideoGPT | now |
# | real clips | UCF-101, Kinetics, Sky, Taichi | all five papers | now |
# | a 3D shooter with actions | ViZDoom | VideoGPT | in a later chapter |
# | a robot arm that pushes things | BAIR | LVT, VideoGPT | in a later chapter |
# | digits with sentences, with drums | MUGEN, AudioSet-Drum | TATS | in a later chapter |

# %% [markdown]
# ## 3. Clips from a long video
#
# A model is trained on clips of fixed length: LVT and VideoGPT on 16 frames of 64 x 64 pixels. A video is longer, so
# many clips can be cut from it. Three numbers say which frames a clip takes: where it *starts*, how many *frames* it
# has, and the *stride* from one to the next. A stride of 4 skips three frames each time: the clip shows four times
# the duration.
#
# ### Exercise 1.1 · the frames of every clip (about 10 min)
# A new clip may start at every frame, as long as its last frame is still in the video. Return the frame numbers, one
# row for each clip. With length 6, frames 3 and stride 2 that is `[[0, 2, 4], [1, 3, 5]]`.
#
# <details><summary>Hint</summary>From its first frame to its last, a clip spans (frames - 1) * stride steps. How many
# starts does that leave? Then add a column of starts to a row of steps.</details>
#
# <details><summary>The call</summary><code>torch.arange(n)</code> gives the starts and the steps, as int64.
# <code>starts[:, None] + steps</code> adds each to each.</details>

# %% tags=["exercise", "ex-1.1"]
def clip_indices(length: int, frames: int, stride: int) -> Tensor:
    """Frame numbers of every clip in a video of `length` frames: int64 (clips, frames)."""
    ### BEGIN SOLUTION
    starts = torch.arange(length - (frames - 1) * stride)
    return starts[:, None] + stride * torch.arange(frames)
    ### END SOLUTION


# %% tags=["check", "ex-1.1"]
clip_indices = check("1.1", clip_indices)

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(7.2, 2.2))
for row, (start, stride) in enumerate([(0, 1), (5, 1), (0, 2), (3, 4)]):
    taken = clip_indices(40, 8, stride)[start]
    ax.plot(range(40), [row] * 40, ".", c="#c9ced6", ms=4)
    ax.plot(taken, [row] * 8, "s", ms=7)
    ax.text(-1, row, f"start {start}, stride {stride}", ha="right", va="center")
ax.set(yticks=[], xlabel="frame of the video", ylim=(3.6, -0.6))
ax.spines.left.set_visible(False)
ax.grid(False)
show(fig, alt="Four rows of 40 dots, the frames of a video. Squares mark the 8 frames that a clip "
     "takes: side by side for stride 1, every second one for stride 2, every fourth for stride 4.")

# %%
for stride in (1, 2, 4):
    print(f"40 frames hold {len(clip_indices(40, 8, stride))} clips of 8 frames at stride {stride}")

# %%
strides = [carphone[clip_indices(len(carphone), 8, stride)[0]] for stride in (1, 4)]
show(strip(strides, titles=["stride 1", "stride 4"]),
     alt="Eight frames of the man in the car. With stride 1 they look alike; with stride 4 his "
     "head and the view move.")

# %% [markdown]
# The top row shows a quarter of a second, the bottom row a whole one. A large stride shows more motion. It also makes
# the next frame harder to guess.

# %% [markdown]
# ## 4. What changes from frame to frame
#
# ### Exercise 1.2 · frame differences (about 5 min)
# Subtract from each frame the one before it. Careful: uint8 knows no negative numbers. In uint8, 7 - 10 is 253!
#
# <details><summary>Hint</summary>First to a type that knows negative numbers: 16-bit whole numbers are enough. Then
# all frames but the first, less all frames but the last.</details>
#
# <details><summary>The call</summary><code>frames.short()</code> is int16. <code>frames[1:]</code> are the later
# frames, <code>frames[:-1]</code> the earlier ones.</details>

# %% tags=["exercise", "ex-1.2"]
def frame_differences(frames: Tensor) -> Tensor:
    """What changes from frame to frame, from -255 to 255.

    uint8 (t, h, w, c) -> int16 (t - 1, h, w, c).
    """
    ### BEGIN SOLUTION
    return frames[1:].short() - frames[:-1].short()
    ### END SOLUTION


# %% tags=["check", "ex-1.2"]
frame_differences = check("1.2", frame_differences)

# %% [markdown]
# How often does each value occur? On the left the values themselves, on the right their changes.

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2, figsize=(7.6, 2.8))
axes[0].hist(carphone.flatten(), bins=range(257), density=True)
axes[1].hist(frame_differences(carphone).flatten(), bins=range(-128, 129), density=True)
for ax, title in zip(axes, ("values of a pixel", "changes to the next frame"), strict=True):
    ax.set(title=title, xlabel="value")
axes[0].set_ylabel("share")
show(fig, alt="Left: the values of the pixels spread over all of 0 to 255. Right: the changes form "
     "one sharp peak.")

# %%
small = (frame_differences(carphone).abs() <= 3).float().mean()
print(f"{small:.0%} of the changes are between -3 and 3")

# %% [markdown]
# ## 5. From shares to bits
#
# A peak means that we can guess. And what can be guessed needs few bits. Information theory says how few: a value
# that occurs with share $p$ is worth $-\log_2 p$ bits. Half of the time: 1 bit. One time in 256: 8 bits. The mean
# over all values is the **entropy**, the bits for a value under the best code that treats each value alone.

# %%
def entropy(values: Tensor) -> float:
    """Bits for one value, if each is coded alone and how often each occurs is known."""
    counts = values.unique(return_counts=True)[1]
    p = counts / counts.sum()
    return -(p * p.log2()).sum().item()


print("256 values, equally often:", entropy(torch.arange(256)), "bits")
print(f"carphone: values {entropy(carphone):.2f} bits, "
      f"changes {entropy(frame_differences(carphone)):.2f} bits")

# %% [markdown]
# The same pictures, written as changes, need far fewer bits. Nothing was lost: the first frame and all changes give
# back every frame. We only stopped to tell what the frame before had told already.

# %% [markdown]
# ## 6. A ruler for loss: PSNR
#
# To save still more, we must give something up. Then we need to know how much. The *mean squared error* (MSE) is the
# plainest measure. We keep one number for each clip.

# %% tags=["export:metrics.pixels"]
"""Measures on pixels: how far a clip is from another, how many bits a model needs for a value."""

import math

import torch
from torch import Tensor

from lvlib.errors import UserError


def mse(video: Tensor, other: Tensor) -> Tensor:
    """Mean squared error of each clip: (b, c, t, h, w) twice -> (b,).

    Raises UserError if the shapes differ: a grey clip would silently be compared with each colour.
    """
    if video.shape != other.shape:
        raise UserError("clips of one shape are needed, "
                        f"not {tuple(video.shape)} and {tuple(other.shape)}")
    return (video.float() - other.float()).square().flatten(1).mean(1)


# %% [markdown]
# The MSE is hard to read: is 0.003 good? *Peak signal-to-noise ratio* asks how large the error is compared with the
# largest possible difference, the *peak*. Our values run from -1 to 1, so the peak is 2. Both are squared, and
# because the ratio spans a huge range we take its logarithm, in decibels (dB):
#
# $$\text{PSNR} = 10 \log_{10} \frac{\text{peak}^2}{\text{MSE}}$$
#
# More is better. Every 10 dB is a tenth of the error, every 3 dB half of it. As a rule of thumb, 20 dB is poor, 30 dB
# is decent, and above 40 dB you see no difference.
#
# ### Exercise 1.3 · PSNR (about 5 min)
# Return the PSNR of each clip in the batch.
#
# <details><summary>Hint</summary>The formula as it stands. What is the square of the peak? And <code>mse</code> keeps
# the clips apart already.</details>
#
# <details><summary>The call</summary><code>torch.log10</code> of the square of the peak divided by <code>mse(video,
# other)</code>, times 10.</details>

# %% tags=["exercise", "ex-1.3", "export:metrics.pixels"]
def psnr(video: Tensor, other: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each clip in dB, for values in [-1, 1].

    (b, c, t, h, w) twice -> (b,). Infinite where the clips are equal.
    Raises UserError if the shapes differ.
    """
    ### BEGIN SOLUTION
    return 10 * torch.log10(4 / mse(video, other))  # from -1 to 1 the peak is 2, and its square 4
    ### END SOLUTION


# %% tags=["check", "ex-1.3"]
psnr = check("1.3", psnr)

# %%
generator = torch.Generator().manual_seed(0)
noise = torch.randn(video.shape, generator=generator)
noisy = [(video + sd * noise).clamp(-1, 1) for sd in (0.02, 0.1, 0.4)]
decibels = [f"{psnr(video, n).item():.0f} dB" for n in noisy]
show(strip([video[0], *[n[0] for n in noisy]], frames=4, titles=["clip", *decibels]),
     alt="The clip, and the clip with more and more noise: at "
     f"{', at '.join(decibels)} it looks the same, then grainy, then poor.")

# %% [markdown]
# ## 7. What PNG, JPEG and H.264 make of a clip
#
# Your phone compresses video all day. How far do these old formats get? PNG keeps every bit. JPEG gives up detail,
# one picture at a time. H.264, the format inside most mp4 files, also uses the frames before: it predicts each block
# from a *shifted* block of an earlier frame, and stores what is left.

# %% jupyter={"source_hidden": true}
def as_images(frames: Tensor, **options) -> tuple[int, Tensor]:
    """Stores each frame as an image file in memory. Returns the bytes, and the decoded frames."""
    total, decoded = 0, []
    for frame in frames.numpy():
        file = io.BytesIO()
        Image.fromarray(frame).save(file, **options)
        total += len(file.getvalue())
        decoded.append(np.asarray(Image.open(file)))
    return total, torch.tensor(np.stack(decoded))


# %% jupyter={"source_hidden": true}
def as_h264(frames: Tensor, crf: int, alone: bool = False) -> tuple[int, Tensor]:
    """The same with H.264.

    crf: the loss it may make, 0 for none at all. alone: each frame without the others.
    """
    encoder = av.CodecContext.create("libx264" if crf else "libx264rgb", "w")
    encoder.pix_fmt = "yuv444p" if crf else "rgb24"
    encoder.height, encoder.width = frames.shape[1:3]
    encoder.framerate, encoder.time_base = 30, Fraction(1, 30)
    encoder.options = {"crf": str(crf), "g": "1" if alone else "250", "threads": "1"}
    images = [av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames.numpy()]
    packets = [packet for image in [*images, None] for packet in encoder.encode(image)]
    decoder = av.CodecContext.create("h264", "r")
    images = [image for packet in [*packets, None] for image in decoder.decode(packet)]
    decoded = np.stack([image.to_ndarray(format="rgb24") for image in images])
    return sum(packet.size for packet in packets), torch.tensor(decoded)


# %% [markdown]
# (The two folded cells above call the programs that do this.) We feed them a second of the car, and 32 frames of moving
# digits, both of 128 x 128 pixels. All sizes are in **bits for one value**, so that raw video has 8.

# %%
def rate(size: int, frames: Tensor) -> float:
    return 8 * size / frames.numel()


def quality(frames: Tensor, decoded: Tensor) -> float:
    return psnr(to_video(frames)[None], to_video(decoded)[None]).item()


second = {"smoke": 8, "course": 32}[profile]
moving = MovingDigits(1, frames=second, size=128, color=True, seed=2)[0]["video"]
films = {"carphone": real_frames("carphone_pristine.mp4", second, size=128),
         "moving digits": torch.tensor(moving)}
results = {}
for name, film in films.items():
    jpeg = [as_images(film, format="JPEG", quality=q, subsampling=0)
            for q in (5, 10, 20, 40, 60, 80, 95)]
    h264 = [as_h264(film, crf) for crf in (45, 40, 35, 30, 25, 20, 15)]
    results[name] = {kind: [(rate(size, film), quality(film, decoded)) for size, decoded in stored]
                     for kind, stored in (("JPEG", jpeg), ("H.264", h264))}
    results[name]["PNG"] = rate(as_images(film, format="PNG")[0], film)

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True)
for ax, (name, result) in zip(axes, results.items(), strict=True):
    for kind, marker in (("JPEG", "o"), ("H.264", "s")):
        ax.plot(*zip(*result[kind], strict=True), marker=marker, ms=4, label=kind)
    ax.axvline(result["PNG"], c="#009E73", ls="--", label="PNG (no loss)")
    ax.axvline(8, c="k", ls=":", label="raw")
    ax.set(xscale="log", xlabel="bits for one value", title=name)
axes[0].set_ylabel("PSNR in dB")
axes[0].legend(fontsize=8, loc="upper left")
show(fig, alt="Two plots of quality against bits, for the car and for the digits. H.264 needs far "
     "fewer bits than JPEG at every quality. PNG, a dashed line, needs "
     f"{results['carphone']['PNG']:.1f} of the 8 raw bits for the car, a dotted line.")

# %% [markdown]
# Read it along a horizontal line: at one quality, how many bits? We interpolate at 33 dB.

# %% jupyter={"source_hidden": true}
def bits_at(points: list, db: float) -> float:
    """Bits for one value at a PSNR, between the measured points."""
    bits, dbs = np.array(sorted(points, key=lambda point: point[1])).T
    return float(np.exp(np.interp(db, dbs, np.log(bits))))


# %%
for name, result in results.items():
    jpeg, h264 = bits_at(result["JPEG"], 33), bits_at(result["H.264"], 33)
    print(f"{name}: PNG {result['PNG']:.2f}, JPEG {jpeg:.3f}, "
          f"H.264 {h264:.3f}, {jpeg / h264:.0f} times less than JPEG")
    assert jpeg > 3 * h264, "the frames before should save H.264 most of the bits"

# %% [markdown]
# Why so much less? A part of it is craft: H.264 is younger than JPEG, codes a single picture better too, and needs no
# header of 600 bytes for each. The rest must be *time*. To find out, we take time away from H.264: frames in random
# order, and every frame coded by itself.

# %%
film = films["carphone"]
order = torch.randperm(len(film), generator=generator)
stored = {"in order": as_h264(film, 25), "shuffled": as_h264(film[order], 25),
          "each alone": as_h264(film, 25, alone=True),
          "JPEG": as_images(film, format="JPEG", quality=5, subsampling=0)}
rates = {name: rate(size, film) for name, (size, _) in stored.items()}
show(bars(rates, "bits for one value", "carphone: H.264 three times, and JPEG at its poorest"),
     alt="Bars: H.264 needs least for frames in order, a little more for shuffled frames, several "
     "times as much when each frame is coded alone, and JPEG most.")
assert rates["each alone"] > 1.5 * rates["in order"]

# %%
kept = {name: stored[name][1] for name in ("in order", "JPEG")}
titles = [f"{rates[name]:.2f} bits, {quality(film, kept[name]):.0f} dB" for name in kept]
show(strip([film, *kept.values()], frames=4, titles=["clip", *titles]),
     alt="Four frames three times: the clip; H.264, hardly to be told from it; and JPEG, which "
     "needs more bits and breaks the face into blocks.")

# %% [markdown]
# The middle row is H.264, the bottom row JPEG. Frames that may look at other frames cost a fraction. Even shuffled
# ones do: the inside of the car is the same in all of them. This is the redundancy that VideoGPT's introduction
# builds on. Nobody hand-writes codecs in this course, though. Our networks will *learn* what is redundant.

# %% [markdown]
# ## 8. A ruler for models: bits per dimension
#
# Entropy had one best code for all values. A **model** may use more: it looks at what it knows so far, and gives
# every possible next value a probability. The value that comes is then worth $-\log_2 p$ bits. If the model often
# bets right, the sum is small. So *predicting well and compressing well are the same thing*, and a model's quality
# can be told in bits.
#
# Training uses natural logarithms instead, and units of **nats**. $\ln p = \log_2 p \cdot \ln 2$, so a bit is $\ln 2
# = 0.69$ nats. And so that clips of any size can be compared, we divide by the number of values, the *dimensions*.
#
# ### Exercise 1.4 · bits per dimension (about 5 min)
# `nll_nats` is the negative log-likelihood of whole clips: for each clip, the sum of $-\ln p$ over all its values.
# Turn it into bits per dimension.
#
# <details><summary>Hint</summary>Two divisions: one makes bits of nats, one shares them out among the values. A test
# in your head: if every one of <code>dims</code> values has probability 1/2, the answer must be 1.</details>
#
# <details><summary>The call</summary>A bit is <code>math.log(2)</code> nats: in that test nll_nats is <code>dims *
# math.log(2)</code>.</details>

# %% tags=["exercise", "ex-1.4", "export:metrics.pixels"]
def bits_per_dim(nll_nats: Tensor, dims: int) -> Tensor:
    """Negative log-likelihood of clips in nats, any shape -> bits for each of the `dims` values.

    8 for a model that finds all 256 values equally likely, 0 for one that always knows.
    Differentiable. LVT, section 4.1.
    """
    ### BEGIN SOLUTION
    return nll_nats / (dims * math.log(2))
    ### END SOLUTION


# %% tags=["check", "ex-1.4"]
bits_per_dim = check("1.4", bits_per_dim)

# %% [markdown]
# The model that knows nothing gives each of 256 values the probability 1/256:

# %%
nll = torch.full(carphone.shape, math.log(256)).sum()
print(f"{nll:,.0f} nats for the clip, {bits_per_dim(nll, carphone.numel()):.2f} bits per dimension")

# %% [markdown]
# ## 9. A model in one table
#
# Our models bet on a value when they know *one* other value, its **context**: the pixel to the left, say, or the same
# pixel in the frame before. All such a model needs is a table of 256 x 256 numbers: in row 17, how probable each
# value is if the context is 17. We fill it by counting.
#
# ### Exercise 1.5 · count what follows what (about 15 min)
# Count how often each pair (context, value) occurs. Add 1 to every count: a pair that did not occur in training is
# rare, not impossible, and an impossible value would cost infinitely many bits. Then make every row sum to one.
#
# <details><summary>Hint</summary>Give each pair a number of its own, context first: from 0 for (0, 0) to 65,535 for
# (255, 255). Count the numbers, and read the counts as a table of 256 rows. A row must then be divided by its own
# sum.</details>
#
# <details><summary>The call</summary>The number is <code>256 * context + value</code>.
# <code>torch.bincount(pairs.flatten(), minlength=256 * 256)</code> counts, <code>reshape(256, 256)</code> makes it a
# table, and <code>counts.sum(1, keepdim=True)</code> are the sums of its rows.</details>

# %% tags=["exercise", "ex-1.5"]
def conditional_table(context: Tensor, value: Tensor) -> Tensor:
    """How probable each value is in each context.

    Two int64 tensors of one shape, any -> floats (256 contexts, 256 values).
    """
    ### BEGIN SOLUTION
    pairs = torch.bincount((256 * context + value).flatten(), minlength=256 * 256)
    counts = pairs.reshape(256, 256).double() + 1
    return counts / counts.sum(1, keepdim=True)
    ### END SOLUTION


# %% tags=["check", "ex-1.5"]
conditional_table = check("1.5", conditional_table)

# %%
before, now = carphone[:-1].long(), carphone[1:].long()
table = conditional_table(before, now)

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(4.4, 3.5))
image = ax.imshow(table.log2().clamp(-10, 0), cmap="viridis")
fig.colorbar(image, shrink=0.8, label="log2 of the probability")
ax.set(xlabel="value now", ylabel="value in the frame before", title="what follows what")
ax.grid(False)
show(fig, alt="A table of 256 by 256 probabilities. They are large along the diagonal, where a "
     "value stays as it was, and small far from it.")

# %% [markdown]
# The diagonal says: pixels mostly stay as they were. The slightly lighter bands, at the top and near 240, are
# contexts that hardly occur; there, the added ones keep all values equally likely.

# %% [markdown]
# ## 10. The experiment: what is it worth to know the frame before?
#
# **The claim** (VideoGPT, section 1): video is redundant in space *and* in time. We let tables bet on real clips that
# they have never seen. There are six shots: five street scenes and the car. Each in turn is held out, the table
# counts on the other five, and then it bets on the one held out. The contexts:
#
# - *nothing*: only how often each value occurs
# - *left*: the pixel to the left (space)
# - *before*: the same pixel in the frame before (time)
# - *both*: a guess from space and time, the pixel before plus what changed on the left

# %%
def contexts(frames: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The values to bet on, and their contexts by name: all int64 (t - 1, h, w - 1, c)."""
    x = frames.long()
    now, before, left = x[1:, :, 1:], x[:-1, :, 1:], x[1:, :, :-1]
    both = (before + left - x[:-1, :, :-1]).clamp(0, 255)
    return now, {"nothing": torch.zeros_like(now), "left": left, "before": before, "both": both}


def bits(train: list[tuple[Tensor, Tensor]], context: Tensor, value: Tensor) -> float:
    """Bits per dimension of values in context, for a table that counted on the pairs in `train`."""
    train_context, train_value = (torch.cat([x.flatten() for x in part])
                                  for part in zip(*train, strict=True))
    table = conditional_table(train_context, train_value)
    return bits_per_dim(-table[context, value].log().sum(), value.numel()).item()


# %%
length = {"smoke": 8, "course": 1000}[profile]
shots = {f"street {i + 1}": real_frames("bikes.mp4", min(length, end - start), start)
         for i, (start, end) in enumerate([(0, 30), (30, 76), (76, 137), (137, 187), (187, 242)])}
shots["car"] = carphone[:length]
show(strip([shot[:8] for shot in shots.values()], frames=4, titles=list(shots)),
     alt="Four frames of each shot: the roof of a bus, blurred traffic, a taxi that passes, a "
     "street behind a fence, a bicycle at a wall, the man in the car.")

# %%
def held_out_bits(shots: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    """Bits per dimension of each shot in each context, counting on the other shots."""
    pairs = {name: contexts(frames) for name, frames in shots.items()}
    result = {}
    for name, (now, found) in pairs.items():
        others = [pair for other, pair in pairs.items() if other != name]
        result[name] = {kind: bits([(known[kind], value) for value, known in others], context, now)
                        for kind, context in found.items()}
    return result


measured = held_out_bits(shots)
for name, row in measured.items():
    print(f"{name:9}", "   ".join(f"{kind} {b:.2f}" for kind, b in row.items()))

# %% [markdown]
# For comparison, PNG and H.264 without any loss, on the same shots. Then the picture.

# %%
def lossless_bits(frames: Tensor) -> tuple[float, float]:
    """Bits for one value with PNG and with lossless H.264."""
    h264, decoded = as_h264(frames, crf=0)
    assert decoded.equal(frames)
    return rate(as_images(frames, format="PNG")[0], frames), rate(h264, frames)


rows = {name: [*row.values(), *lossless_bits(shots[name])] for name, row in measured.items()}
kinds = ["nothing", "left", "before", "both", "PNG", "H.264,\nno loss"]
means = dict(zip(kinds, np.mean(list(rows.values()), axis=0), strict=True))

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(7.4, 3.4))
for name, row in rows.items():
    ax.plot(kinds, row, "o", ms=5, label=name)
ax.plot(kinds, list(means.values()), "k_", ms=26, mew=2, label="mean")
ax.axhline(8, c="k", ls=":", lw=1)
ax.set(xlabel="what is known of the context", ylabel="bits per dimension", ylim=(0, 10),
       title="six shots, held out")
ax.legend(fontsize=8, ncols=4, loc="lower left")
show(fig, alt=f"Bits per dimension of six shots. Nothing known: {means['nothing']:.1f} on average. "
     f"Left pixel: {means['left']:.1f}. Pixel before: {means['before']:.1f}. Both: "
     f"{means['both']:.1f}. PNG {means['PNG']:.1f}. H.264 without loss: {means[kinds[5]]:.1f}.")

# %%
assert means["before"] < 0.75 * means["nothing"], "the frame before should save a quarter or more"
assert means["both"] < means["PNG"], "a table that knows space and time should beat PNG on average"
for row in measured.values():
    assert row["both"] < 0.8 * row["nothing"], "space and time should help in every shot"
saved = [1 - row["before"] / row["nothing"] for row in measured.values()]
print(f"the frame before saves {1 - means['before'] / means['nothing']:.0%} of the bits on "
      f"average, from {min(saved):.0%} to {max(saved):.0%}")

# %% [markdown]
# Four things to see:
#
# - Where the camera rests (street 4, the car), time helps more than space. Where everything moves (street 2), less.
# - A table of counts beats PNG on average. Turned into a file by *arithmetic coding*, its bets would make smaller
#   files than PNG does.
# - H.264 without loss beats our table. It does not look at one place only: it searches for where a block came from.
# - The roof of the bus costs *more* than 8 bits when nothing is known. No other shot has so much white in it. A model
#   that is sure and wrong is worse than one that knows nothing.
#
# ### Where did it move?
#
# In street 2 the pixel before is the *wrong* pixel: what was there has moved. With moving digits we need not search
# for the right one: we know the motion. So we can test what it is worth to know the right place.

# %%
def digit_contexts(split: str, clips: int) -> tuple[Tensor, dict[str, Tensor]]:
    """As `contexts`, for clips of one digit.

    "moved" is the frame before, shifted to where its digit is now.
    """
    batch = MovingDigits(clips, digits=1, split=split, seed=1).batch(range(clips))
    video, place = torch.tensor(batch["video"]), torch.tensor(batch["position"])[:, :, 0]
    found = [contexts(clip) for clip in video]
    now = torch.stack([now for now, _ in found])
    known = {kind: torch.stack([row[kind] for _, row in found]) for kind in found[0][1]}
    steps = place.diff(dim=1).tolist()
    moved = [torch.stack([frame.roll(step, (0, 1)) for frame, step in zip(clip, way, strict=True)])
             for clip, way in zip(video[:, :-1].long(), steps, strict=True)]
    return now, known | {"moved": torch.stack(moved)[:, :, :, 1:]}


clips = {"smoke": (8, 4), "course": (100, 50)}[profile]
train_now, train_known = digit_contexts("train", clips[0])
now, known = digit_contexts("test", clips[1])
digit_bits = {kind: bits([(train_known[kind], train_now)], known[kind], now) for kind in known}

# %%
show(bars(digit_bits, "bits per dimension", "one moving digit, never seen before"),
     alt=f"Bars: nothing {digit_bits['nothing']:.2f}, left {digit_bits['left']:.2f}, before "
     f"{digit_bits['before']:.2f}, both {digit_bits['both']:.2f}, and moved only "
     f"{digit_bits['moved']:.3f} bits.")
assert digit_bits["moved"] < 0.3 * digit_bits["before"], "the motion should save most of the bits"

# %% [markdown]
# Who knows the motion knows the frame. Next to nothing is left to tell. A prior that understands motion could predict
# such clips almost for free, and this is what stage 2 of every system is after.
#
# **The papers' numbers.** LVT's Table 3 quotes three models of pixels, all of them large networks, on BAIR:
#
# | model of pixels | bits per dimension |
# |---|---|
# | VideoFlow | 1.87 |
# | Video Transformer | 1.35 |
# | Axial Transformer | 1.29 |

# %%
print("our table, real shots:", ", ".join(f"{kind} {means[kind]:.1f}" for kind in kinds[:4]))

# %% [markdown]
# The best of the three leaves 1.29 of 8 bits, so at least 84% of such video can be guessed. Ours is not the same
# measurement: other clips, a table instead of a network, five short shots to learn from instead of 40,000 videos, and
# one value of context. The direction is the same. LVT itself reports 1.25, but for its *codes*, not for pixels: numbers
# of two different alphabets cannot be compared.

# %% [markdown]
# ## What you built
#
# ```python
# from lvlib.metrics.pixels import mse, psnr, bits_per_dim
# ```
#
# Notebook 02 uses `psnr` for every autoencoder, and the priors will be judged by `bits_per_dim`. `MovingDigits`,
# `read_video`, `VideoFolder` and `to_video` come from `lvlib.data`.

# %% [markdown]
# ## Scale it up
#
# The data sets are written to disk by one command each:
#
# ```
# lvlib data --list
# lvlib data moving_digits --out data/digits_10k --train 10000
# lvlib data video_folder MY_VIDEOS --out data/mine --frames 16 --stride 2 --size 64
# ```
#
# The second makes 10,000 colour clips of 16 frames, 64 x 64: 2 GB on disk, in half a minute on a laptop, and with the
# memory of a few hundred clips. The third cuts your own videos into clips. Files that are damaged or too short are
# named and skipped. The papers' sets are of this kind and larger: BAIR has 40,000 videos, Kinetics-600 has 350,000.

# %% [markdown]
# ## Questions to think about
#
# 1. A clip at stride 4 has the same number of values as one at stride 1. Which costs more bits, and why? Measure it
#    with `held_out_bits`.
#
#    <details><summary>Answer</summary>Stride 4, where the context is the frame before: more has moved since, and
#    so it tells less. With the left pixel alone as context time plays no part, and the bits hardly change. Try
#    <code>held_out_bits({name: shot[::4] for name, shot in shots.items()})</code>.</details>
#
# 2. JPEG and H.264 work on 8 x 8 or 16 x 16 blocks. What shows, in the strip of section 7, that JPEG does?
#
#    <details><summary>Answer</summary>Its flat squares, with hard edges where they meet. At quality 5 a block
#    keeps little more than its mean. H.264 works on blocks, too, but smooths their edges as it decodes, and predicts
#    from these smooth frames.</details>
#
# 3. PSNR says nothing about *where* the error is. Think of two clips of the same PSNR, one good to look at and one
#    not.
#
#    <details><summary>Answer</summary>Make a whole clip a little brighter: an error in every value, and nobody
#    sees it. Put the same error into one place, and a face is gone. Or move the picture by one pixel: it looks
#    perfect, and its PSNR is poor.</details>
#
# 4. In some shots "both" was worse than "before". What do these shots have in common?
#
#    <details><summary>Answer</summary>The camera rests. Then the pixel before is right but for the noise of the
#    camera, and what "changed on the left" is noise, too: to add it makes the guess worse. Where the camera moves, a
#    whole region changes together, and the neighbour on the left tells of it.</details>
#
# 5. A generated video need not equal any real one. Is PSNR of use for judging it? Is bits per dimension?
#
#    <details><summary>Answer</summary>PSNR compares with one clip, and there are many good ones: a ball that
#    bounces the other way is punished as if it were noise. Bits per dimension ask how probable the model finds
#    <em>real</em> clips it has not seen, so they are fair. But they exist only for models that can say a probability,
#    and they do not tell how a sample looks.</details>

# %%
progress()
