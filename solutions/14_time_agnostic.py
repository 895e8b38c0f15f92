# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 14 · Time-agnostic: why zero padding leaks time
#
# **What you will build.** A measure of how much an autoencoder knows of *where in a clip* a frame is, the number of
# frames that it takes to make it forget, and the cheap way that TATS found instead.
#
# **Why it matters.** A model that has learned clips of 16 frames should write videos of thousands: keep the newest
# codes, forget the oldest, write on. It is one line of code, and with the autoencoders of this course so far it fails.
# The fault is in no transformer. It is in the zeros that a convolution puts where a clip ends.
#
# Below, the four frames before a clip, its first four, and what a convolution sees in their place: black, the first
# frame again, the clip backwards, its other end. Only in the last row are the frames real.

# %% jupyter={"source_hidden": true}
import copy
import os

import torch
from matplotlib import pyplot as plt
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lvlib.course import check, progress
from lvlib.course.time_padding import (
    FIRST,
    FRAMES,
    RATE,
    distances,
    encode,
    long_digits,
    nats_by_frame,
    sample_long,
    train_autoencoder,
    train_prior,
)
from lvlib.data import MovingDigits, to_video
from lvlib.metrics.pixels import psnr
from lvlib.models.tats.padding import pad_time
from lvlib.models.tats.vqgan import VQGAN, VQGANConfig
from lvlib.runs import load_checkpoint
from lvlib.viz import bars, code_map, curves, set_style, show, show_video, strip

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %%
videos = long_digits({"smoke": 8, "course": 128}[profile], seed=1000)
clip = videos[:1, :, FIRST:FIRST + FRAMES]
rows = {padding: pad_time(clip, 4, 0, padding)[0, :, :8]
        for padding in ("zero", "replicate", "reflect", "circular")}
rows["zero"][:, :4] = -1  # a convolution pads zeros, grey; the eye takes nothing for black
rows["real"] = videos[0, :, FIRST - 4:FIRST + 4]
show(strip(list(rows.values()), frames=8, titles=list(rows)),
     alt="Five rows of eight frames of a moving digit. The last four are the same in all rows. The "
         "first four are black, or four times the same frame, or the clip backwards, or its last "
         "four frames, or the real frames before the clip.")

# %% [markdown]
# **What it costs.** Two minutes on one CPU core. **What it needs.** Notebooks 08 (what a stack of convolutions sees),
# 12 (Frechet distance), 13 (the autoencoder). The prior is that of notebook 15, used here as it is: a GPT as in
# notebook 09.
#
# ## 1. The same frames at two places
#
# We train the autoencoder of notebook 13 twice, without its discriminators and by the squared error (an absolute one
# leaves such dark clips black for hundreds of steps): once with zeros before and after a clip, once with the first
# and the last frame again (`replicate`). A code stands for four frames and 4x4 pixels: a clip of 16 frames of 16x16
# pixels has 4 x 4 x 4 codes. Ten digits, one of each class, bounce, a pixel a frame.

# %%
steps, prior_steps = {"smoke": (2, 2), "course": (200, 300)}[profile]
train = long_digits({"smoke": 40, "course": 2000}[profile], seed=0, frames=FRAMES)
autoencoders = {padding: train_autoencoder(padding, train, steps)
                for padding in ("zero", "replicate")}
clips = videos[:, :, FIRST:FIRST + FRAMES]
for padding, model in autoencoders.items():
    rebuilt = model.decode(encode(model, clips))
    print(f"{padding}: PSNR {psnr(rebuilt, clips).mean():.1f} dB on other paths")

# %% [markdown]
# Both rebuild clips equally well. Now cut two clips out of one video, the second beginning four frames later. Twelve
# frames are in both. Latent frame 1 of the first clip and latent frame 0 of the second stand for the *same* frames.
# Have they the same codes? Each square is a code, each colour one of 256. A white cross marks a code that is another
# one in the other clip.

# %%
early, late = ({padding: encode(model, videos[:, :, first:first + FRAMES])
                for padding, model in autoencoders.items()} for first in (FIRST, FIRST + RATE))

# %% jupyter={"source_hidden": true}
fig, axes = plt.subplots(5, 3, figsize=(6, 7.2))
for i, column in enumerate(axes.T):
    frame = videos[0, 0, FIRST + RATE * (i + 1) + 1]
    column[0].imshow(frame, cmap="gray", vmin=-1, vmax=1)
    first = RATE * (i + 1)
    column[0].set_title(f"frames {first} to {first + 3}")
    for row, padding in enumerate(autoencoders):
        for place, codes in enumerate((early[padding][0, i + 1], late[padding][0, i])):
            ax, other = column[1 + 2 * row + place], (late[padding][0, i], early[padding][0, i + 1])
            ax.imshow(code_map(codes, 256))
            for y, x in (codes != other[place]).nonzero().tolist():
                ax.plot(x, y, "x", color="white", ms=9, mew=2)
for ax, name in zip(axes[:, 0], ("a frame of them", "zeros, early", "zeros, late",
                                 "replicate, early", "replicate, late"), strict=True):
    ax.set_ylabel(name)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
show(fig, alt="For three groups of four frames, a frame and below it the 4 by 4 codes as coloured "
              "squares, of a clip that begins early and one that begins late, for zeros and for "
              "replicate. White crosses mark codes that differ: most are in the first and the last "
              "group.")

# %% [markdown]
# ### Exercise 14.1 · the equivariance score (about 10 min)
# The share of codes that are the same at both places, for each clip: TATS's eq. 3. An encoder that does not care
# where a clip begins has 1. The paper sums over i = 1 to t and divides by t · h · w. But latent frame t does not exist,
# and only t - 1 of them are in both clips: as printed, 1 is out of reach. Divide by what you compare.
#
# <details><summary>Hint</summary>Latent frame i of the early clip meets i - 1 of the late one. Cut one from the
# beginning of the first, one from the end of the second.</details>
# <details><summary>The call</summary><code>codes_early[:, 1:] == codes_late[:, :-1]</code>, then the mean over all axes
# but the first, of floats.</details>

# %% jupyter={"source_hidden": true} tags=["export:models.tats.equivariance"]
"""How far codes depend on where in a clip their frames are. TATS, section 2.2, A.2 and A.3."""

import torch
from torch import Tensor, nn

from lvlib.models.tats.padding import PaddedConv3d, PaddedConvTranspose3d, same_padding


# %% tags=["exercise", "ex-14.1", "export:models.tats.equivariance"]
def equivariance_score(codes_early: Tensor, codes_late: Tensor) -> Tensor:
    """Share of codes that are the same where the same frames stand elsewhere in a clip: float32
    (b,), 1 for all. TATS, eq. 3, divided by (t - 1) h w.

    codes_early, codes_late: int64 (b, t, h, w), of frames 0 to T - 1, and of frames d to T + d - 1,
    where a latent frame stands for d frames. Raises ValueError for shapes that differ, and for a
    single latent frame.
    """
    if codes_early.shape != codes_late.shape or codes_early.shape[1] < 2:
        raise ValueError("give codes of two clips of the same shape (b, t, h, w), t at least 2, "
                         f"not {tuple(codes_early.shape)} and {tuple(codes_late.shape)}")
    ### BEGIN SOLUTION
    return (codes_early[:, 1:] == codes_late[:, :-1]).float().mean((1, 2, 3))
    ### END SOLUTION

# %% tags=["check", "ex-14.1"]
equivariance_score = check("14.1", equivariance_score)

# %%
scores = {padding: equivariance_score(early[padding], late[padding]) for padding in autoencoders}
by_pair = {padding: (early[padding][:, 1:] == late[padding][:, :-1]).float().mean((0, 2, 3))
           for padding in autoencoders}
for padding, of_clips in scores.items():
    pairs = ", ".join(f"{x:.2f}" for x in by_pair[padding])
    print(f"{padding:<10} {of_clips.mean():.2f}, standard deviation over clips "
          f"{of_clips.std():.2f}; pairs 1-0, 2-1, 3-2: {pairs}")
if profile != "smoke":
    assert scores["replicate"].mean() > scores["zero"].mean() + 0.05

# %% [markdown]
# Same frames, other codes, with both. (The paper reports 0.75 for replicate: UCF-101, 128x128 pixels, 1,024 clips.
# Between two frames less changes there than here.) Which latent frames suffer? The pairs in which one of the two
# stands at an end. In a clip of four latent frames these are two pairs of three.
#
# ## 2. How far the zeros reach
#
# Zeros are not padded once, but in each layer. A latent sees through all layers: how many frames before and after its
# own? Go along the path from the video to the latents. A layer that pads p in front lets each output see p inputs
# before its first own. An input of that layer is worth as many frames as all strides before it say.
#
# ### Exercise 14.2 · the receptive field (about 15 min)
# Compute it from the kernels and strides of the encoder's `PaddedConv3d` layers. `padded_layers(encoder)` gives them in
# the order of the path, and `same_padding(kernel, stride)[0]` the padding in time, `(before, after)`. Count from the
# *first* frame that the latent stands for.
#
# <details><summary>Hint</summary>In notebook 08 we went backwards with a position. Here go forwards with two sums and
# a rate, 1 at first, that grows with each stride. One output of a layer reads kernel inputs: its own first one,
# those that are padded in front, and the rest.</details>
# <details><summary>The call</summary><code>before += padding * rate; after += (kernel - 1 - padding) * rate;
# rate *= stride</code>, with <code>layer.kernel_size[0]</code> and <code>layer.stride[0]</code>.</details>

# %% tags=["export:models.tats.equivariance"]
def padded_layers(encoder: nn.Module) -> list[PaddedConv3d]:
    """The convolutions of an encoder, those of residual blocks included, in the order of the path:
    a `VQGANEncoder` registers them so."""
    return [layer for layer in encoder.modules() if isinstance(layer, PaddedConv3d)]

# %% tags=["exercise", "ex-14.2", "export:models.tats.equivariance"]
def receptive_field(encoder: nn.Module) -> tuple[int, int]:
    """Frames that a latent sees before, and after, the first frame that it stands for: (before,
    after), of an encoder whose layers pad. Those after include its own."""
    ### BEGIN SOLUTION
    before, after, rate = 0, 0, 1
    for layer in padded_layers(encoder):
        padding = same_padding(layer.kernel_size, layer.stride)[0][0]
        before += padding * rate
        after += (layer.kernel_size[0] - 1 - padding) * rate
        rate *= layer.stride[0]
    return before, after
    ### END SOLUTION

# %% tags=["check", "ex-14.2"]
receptive_field = check("14.2", receptive_field)

# %% jupyter={"source_hidden": true} tags=["export:models.tats.equivariance"]
def decoder_reach(decoder: nn.Module) -> int:
    """Latent frames before and after its own that a frame sees at most, of a decoder of padded
    convolutions: what must stand beside a piece of a long video that is decoded alone."""
    reach = 0  # of the layer above, in its frames
    for layer in reversed(list(decoder.modules())):
        if isinstance(layer, PaddedConvTranspose3d):
            kernel, stride = layer.kernel_size[0], layer.stride[0]
            reach = reach // stride + (kernel - stride + 1) // 2
        elif isinstance(layer, PaddedConv3d):
            reach += layer.kernel_size[0] // 2
    return reach

# %% [markdown]
# The network itself says whether that is right. The gradient of a latent in the middle of a long video is zero at
# frames that it does not see. (In `eval` mode: in training BatchNorm takes its mean over the whole batch, and
# everybody sees everybody.)

# %%
encoder = autoencoders["zero"].encoder
before, after = receptive_field(encoder)
probe = videos[:1].clone().requires_grad_()
middle = videos.shape[2] // RATE // 2
encoder(probe)[:, :, middle].square().sum().backward()
sees = probe.grad.abs().sum((0, 1, 3, 4))
first, last = sees.nonzero().flatten()[[0, -1]].tolist()
print(f"computed: {before} before the first of its frames, {after} after it; by gradients: "
      f"{RATE * middle - first} and {last - RATE * middle}")
assert (RATE * middle - first, last - RATE * middle) == (before, after)

# %% [markdown]
# A latent frame that stands for 4 frames sees 36, and a clip has 16: **no latent in it is free of padding**. In space
# it is the same number, but pictures are wide. Here is how much it changes: the latents of a clip, compared with those
# of the same frames in the middle of a long video.

# %%
@torch.no_grad()
def change(model: VQGAN, frames: int) -> list[float]:
    """Relative difference of the latents of a clip that is encoded alone to those of a long video,
    by latent frame."""
    start = (videos.shape[2] - frames) // 2 // RATE * RATE
    some = videos[:64]
    alone = model.encoder(some[:, :, start:start + frames])
    real = model.encoder(some)[:, :, start // RATE:(start + frames) // RATE]
    apart, size = ((x.square().mean((0, 1, 3, 4))).sqrt() for x in (alone - real, real))
    return (apart / size).tolist()


lines = {f"{padding}, {frames} frames": change(model, frames)
         for padding, model in autoencoders.items() for frames in (64, 16)}
show(curves(lines, xlabel="latent frame", ylabel="relative change"),
     alt="The relative change of latents against their place, for clips of 64 and of 16 frames. It "
         "is highest at both ends, falls to 0 four latent frames from them in the long clip, and "
         "never reaches 0 in the short one. Zeros change the ends more than replicate does.")
for padding in autoencoders:
    assert max(lines[f"{padding}, 64 frames"][4:12]) < 1e-4 < min(lines[f"{padding}, 16 frames"])

# %% [markdown]
# **The argument (A.2).** A window that slides asks the transformer for the last latent frame after codes
# $z^{(1:t-1)}$, which were not at the beginning. It has learned from clips alone. Is there a clip whose codes *begin*
# with $z^{(1:t-1)}$? It should be the clip that begins d frames later, but we have seen that it is not (eq. 1):
#
# $$[f(x^{(0:T-1)})]^{(1:t-1)} \neq [f(x^{(d:T+d-1)})]^{(0:t-2)}$$
#
# Now imagine all the zeros inside moved to the input, with an encoder $\hat f$ that pads nothing (eq. 2):
#
# $$f(x) = \hat f([0^N\ x\ 0^N])$$
#
# How large is N? Each of L layers pads a place or two, and a place is worth at most d frames: $N = O(Ld)$. To slide by
# a latent frame is then to move x: $z^{(1:t)} = \hat f([0^{N-d}\ x^{(d:T-1)}\ 0^{N+d}])$, which $f$ could only give for
# a clip whose last d frames are blank, and that is padded by *real* frames in front, where $f$ has zeros. There is no
# such clip. So the transformer never sees in training what it is asked in every window that slides.
#
# Eq. 2 is a way to think, no identity. Zeros inside are zeros of *features*; the features of frames of zeros are
# something else as soon as a layer has a bias or a norm, and next to the clip they see into it. We shall measure how
# far apart the two sides are. What follows needs eq. 1 alone, and that we have seen.
#
# ## 3. Real frames instead
#
# The honest cure: no padding at all, and enough real frames on both sides. How many? What a layer pads, times what a
# place there is worth in frames.
#
# ### Exercise 14.3 · real frames in place of padding (about 10 min)
# We go further than all or nothing: the padding is taken out of the first k layers only, as in TATS's Fig. 13
# ("padding-less"). How many frames, before and after a clip, stand for what these k layers padded?
#
# <details><summary>Hint</summary>The same walk as in 14.2, but it stops after k layers, and counts what is padded: both
# numbers of <code>same_padding(...)[0]</code>.</details>
# <details><summary>The call</summary><code>for layer in first_layers(encoder, k)</code>; <code>before += front * rate;
# after += back * rate</code>, and the rate last.</details>

# %% tags=["export:models.tats.equivariance"]
def first_layers(encoder: nn.Module, k: int) -> list[PaddedConv3d]:
    """The first k of them. Raises ValueError for k below 0 or above their number."""
    layers = padded_layers(encoder)
    if not 0 <= k <= len(layers):
        raise ValueError(f"k must be 0 to {len(layers)}, the number of layers, not {k}")
    return layers[:k]

# %% tags=["exercise", "ex-14.3", "export:models.tats.equivariance"]
def real_frames(encoder: nn.Module, k: int) -> tuple[int, int]:
    """How many real frames before, and after, a clip stand for the padding of the first k layers:
    (before, after). TATS, A.3. Raises ValueError for k below 0 or above the number of layers."""
    ### BEGIN SOLUTION
    before, after, rate = 0, 0, 1
    for layer in first_layers(encoder, k):
        front, back = same_padding(layer.kernel_size, layer.stride)[0]
        before, after, rate = before + front * rate, after + back * rate, rate * layer.stride[0]
    return before, after
    ### END SOLUTION

# %% tags=["check", "ex-14.3"]
real_frames = check("14.3", real_frames)

# %% [markdown]
# The other half is short: a `PaddedConv3d` whose `time_padding` is None pads no frames.

# %% tags=["export:models.tats.equivariance"]
def take_out_padding(encoder: nn.Module, k: int) -> None:
    """The first k layers of an encoder pad no frames any more: a clip must come with its
    `real_frames`, and its latents are as many as before. In place. TATS, A.3 "padding-less".

    Raises ValueError for k below 0 or above the number of layers.
    """
    for layer in first_layers(encoder, k):
        layer.time_padding = None

# %% [markdown]
# No training: one encoder, zeros taken out of 0, 1, ... all of its layers. On the horizontal axis is what it costs.
# Real frames are computed in every layer up to that which needs them, and zeros are free.

# %%
def without_padding(model: VQGAN, k: int) -> VQGAN:
    """A copy whose first k layers pad no frames."""
    model = copy.deepcopy(model)
    take_out_padding(model.encoder, k)
    return model


def codes_at(model: VQGAN, first: int, k: int = 0) -> Tensor:
    """Codes of the clips that begin at a frame of the videos, with real frames for k layers."""
    before, after = real_frames(model.encoder, k)
    some = videos[:, :, first - before:first + FRAMES + after]
    with torch.no_grad():
        return torch.cat([model.quantizer(model.vectors(part))[1] for part in some.split(64)])


def cost(model: VQGAN, k: int = 0) -> int:
    """Floating-point operations of the encoder for one clip, with real frames for k layers."""
    before, after = real_frames(model.encoder, k)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.encoder(videos[:1, :, :before + FRAMES + after])
    return counter.get_total_flops()


def row(model: VQGAN, k: int = 0) -> tuple[float, float, float]:
    """Mean score, its standard deviation over clips, and FLOPs in multiples of zero padding's."""
    of_clips = equivariance_score(codes_at(model, FIRST, k), codes_at(model, FIRST + RATE, k))
    return of_clips.mean().item(), of_clips.std().item(), cost(model, k) / plain_cost


plain_cost = cost(autoencoders["zero"])
layers = len(padded_layers(encoder))
padding_less = [row(without_padding(autoencoders["zero"], k), k) for k in range(layers + 1)]
for k, (mean, spread, flops) in enumerate(padding_less):
    print(f"zeros out of {k} layers: {sum(real_frames(encoder, k)):>2} real frames, "
          f"{flops:.2f} x the FLOPs, score {mean:.3f} +- {spread:.3f}")

# %%
assert padding_less[-1][:2] == (1, 0), "exactly 1, for every clip"
assert max(mean for mean, _, _ in padding_less[:-1]) < 1, "and with fewer real frames not"
front, back = real_frames(encoder, layers)
print(f"score 1 takes {front} real frames before and {back} after; a latent sees {before} before "
      f"its first frame and {after - (RATE - 1)} after its last")
assert (front, back) == (before, after - (RATE - 1))

# %% [markdown]
# **Exactly 1**, and not before all layers are done. The frames that it takes are the receptive field that you have
# computed: two ways to count, one number.
#
# And eq. 2? On its left zeros inside, on its right as many frames of zeros as real ones above, and no padding.

# %%
with torch.no_grad():
    inside = autoencoders["zero"].encoder(clips[:64])
    outside = without_padding(autoencoders["zero"], layers).encoder(
        pad_time(clips[:64], front, back, "zero"))
apart = ((inside - outside).square().mean((0, 1, 3, 4)) / inside.square().mean((0, 1, 3, 4))).sqrt()
print(f"relative difference by latent frame: {', '.join(f'{x:.2f}' for x in apart)}")

# %% [markdown]
# They are not equal, as we said. Real frames have another price beside the FLOPs: where shall they come from? The
# first and last frames of a video can be in no clip, and a short video in none at all.

# %%
for name, length in {"a clip as short as ours": FRAMES, "our long videos": videos.shape[2]}.items():
    starts, left = length - FRAMES + 1, max(length - FRAMES + 1 - front - back, 0)
    print(f"{name}, {length} frames: {starts} clips begin in it, with real frames {left}")
full = VQGANConfig(perceptual=None, gan_start=None)
with torch.device("meta"):
    full_encoder = full.build().encoder
need = sum(real_frames(full_encoder, len(padded_layers(full_encoder))))
print(f"at the paper's size {need} real frames for 16, so videos of at least {need + 16} frames")

# %% [markdown]
# ## 4. Every padding, and its price (Fig. 13)
#
# **Replicate** bets that nothing moves beyond the clip, `reflect` that the film runs backwards, `circular` that it
# begins again. All three are free. Here each is put into *one* encoder, the one trained with `replicate`. To the
# right, what real frames buy.

# %%
swapped = {}
for padding in ("zero", "replicate", "reflect", "circular"):
    model = copy.deepcopy(autoencoders["replicate"])
    for layer in padded_layers(model.encoder):
        layer.time_padding = padding
    swapped[padding] = row(model)
    print(f"{padding}, in replicate's encoder: score {swapped[padding][0]:.2f}")

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(6.4, 3.8))
means, spreads, flops = zip(*padding_less, strict=True)
ax.errorbar(flops, means, spreads, marker="o", ms=4, capsize=2, elinewidth=0.7,
            label="zeros, taken out of 0 to 7 layers")
for i, (padding, (mean, _, flops)) in enumerate(swapped.items()):
    ax.plot(flops, mean, "s", color=f"C{i + 1}", ms=8, label=f"{padding}, in replicate's encoder")
ax.set(xlabel="FLOPs of the encoder, zero padding's = 1", ylabel="equivariance score",
       ylim=(0, 1.05))
ax.legend(fontsize=8, loc="lower right")
show(fig, alt="Equivariance score against FLOPs. A curve for zeros taken out of more and more "
              "layers rises to exactly 1 at the highest cost. Four squares at the cost of zero "
              "padding, from below: zero, reflect, replicate, circular.")

# %% [markdown]
# Of the paddings that cost nothing replicate is far above zeros, and reflect below it. Circular is above replicate
# here, by accident: our digit needs 14 frames for its way there and back, and so the end of a clip of 16 is nearly what
# came before it. (Were it 16, circular would have exactly 1: we tried.) The curve is not all rising: to take the zeros
# out of the first layer alone makes things worse, for the layers behind it have learned with them.
#
# The paper's Fig. 13 is a picture without a table: in words, replicate has 0.75, all real frames have 1, and reflect
# and circular lie below replicate. It does not say whether it trained an encoder for each padding. Ours was trained
# with replicate, and so is at home with it.
#
# ## 5. The norm leaks, too
#
# Padding is not all. **GroupNorm** divides by the deviation over *all frames of the clip*: exchange one frame, and
# every latent changes. The official code has it as its default, though the paper says BatchNorm, for another reason
# (blobs, A.1). BatchNorm, once trained, divides by fixed numbers. We look at a camera that pans over a wide picture, a
# pixel a frame, with networks that have learned nothing, without any padding and with real frames.

# %%
wide = to_video(torch.tensor(MovingDigits(1, 1, size=128).batch([0])["video"]))[0, 0, 0, 40:72]
pan = torch.stack([wide[:, x:x + 32] for x in range(80)])[None, None]


@torch.no_grad()
def pan_change(norm: str) -> tuple[float, float]:
    """Of a new network without padding: relative change of the latents of 12 frames when their clip
    begins 4 frames later; and the share of codes that stay, by a codebook of its own latents."""
    torch.manual_seed(0)
    model = VQGANConfig(channels=1, hidden=8, residual_blocks=(1, 1), downsample=(4, 4, 4),
                        norm=norm, code_dim=16, perceptual=None, gan_start=None).build().eval()
    take_out_padding(model.encoder, layers)
    first, second = (model.vectors(pan[:, :, start:start + front + FRAMES + back])
                     for start in (0, RATE))
    apart = (first[:, 1:] - second[:, :-1]).norm() / first[:, 1:].norm()
    codebook = first.flatten(0, -2)[torch.randperm(first.numel() // 16)[:256]]
    codes = (torch.cdist(x.flatten(0, -2), codebook).argmin(-1).view(x.shape[:-1])
             for x in (first, second))
    return apart.item(), equivariance_score(*codes).item()


norms = {norm: pan_change(norm) for norm in ("batch", "group")}
for norm, (moved, same) in norms.items():
    print(f"{norm}: relative change {moved:.3f}, equivariance score {same:.3f}")

# %%
show(bars({"BatchNorm": norms["batch"][0], "GroupNorm": norms["group"][0]},
          ylabel="relative change of the latents"),
     alt="Two bars: with BatchNorm the latents do not change at all when the clip begins four "
         "frames later, with GroupNorm by more than half.")
assert norms["batch"] == (0, 1) and norms["group"][0] > 0.2 and norms["group"][1] < 0.9

# %% [markdown]
# With GroupNorm, real frames do not help: the score is below 1 without any padding at all. What depends on the whole
# clip depends on where the clip begins.
#
# ## 6. The same in space (Fig. 12)
#
# Nothing here is about time. A VQGAN for pictures pads zeros at the border of a picture, and a window that slides over
# a larger one meets codes from its middle. Nobody minds: a picture of 256 pixels has a wide middle, and new codes are
# drawn there. TATS draws at the border, and its picture falls apart. We slide the window of notebook 04's autoencoder
# (64x64) over pictures of 64x128, and ask which of its codes are those of the whole picture.

# %%
shipped = load_checkpoint("lvt-frames-course")
count = {"smoke": 2, "course": 60}[profile]
pictures = MovingDigits(2 * count, 1, size=64, color=True, split="test").batch(slice(0, 2 * count))
squares = to_video(torch.tensor(pictures["video"]))
panorama = torch.cat([squares[:count], squares[count:]], -1)
whole, same = shipped.encode(panorama), []
for column in range(5, 12):  # far enough from the ends of the whole picture
    window = shipped.encode(panorama[..., 4 * column:4 * column + 64])
    same.append(window == whole[..., column:column + 16, :])
same = torch.stack(same).float()
by_column = same.mean((0, 1, 2, 3, 5))

# %% jupyter={"source_hidden": true}
fig, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.6), width_ratios=(1, 1.3))
left.imshow(same[3, 0, 0].mean(-1), cmap="cividis", vmin=0, vmax=1)
left.set(title="one window: dark codes differ", xticks=[], yticks=[])
left.grid(visible=False)
right.plot(range(16), by_column, "o-")
right.set(xlabel="column of codes in the window", ylabel="equal codes", ylim=(-0.03, 1.05))
show(fig, alt="Left a map of the 16 by 16 codes of a window, dark in the first and last two or "
              "three columns. Right the share of equal codes by column: 1 in the middle, near 0 in "
              "the first and the last.")
print(f"border {by_column[0]:.2f}, next {by_column[1]:.2f}, {by_column[2]:.2f}, "
      f"{by_column[3]:.2f}; middle {by_column[8]:.2f}")
if profile != "smoke":
    assert by_column[[0, 15]].max() < 0.3 and by_column[[7, 8]].min() == 1

# %% [markdown]
# At the border hardly a code in twenty is the same. Four columns further in all are. In a picture of 16 columns, half
# are safe. In a clip of four latent frames, none is.
#
# ## 7. The experiment: what it does to a prior
#
# Now the second half of the story. The same small transformer (4 layers, 128 wide) learns the codes of each of the
# two autoencoders. Which has the lower loss?

# %%
priors = {padding: train_prior(model, train, prior_steps)
          for padding, model in autoencoders.items()}
nats = {padding: nats_by_frame(autoencoders[padding], prior, videos)
        for padding, prior in priors.items()}
native = {padding: alone.mean().item() for padding, (alone, _) in nats.items()}
print(", ".join(f"{padding} {loss:.2f} nats a code" for padding, loss in native.items()))

# %% [markdown]
# The loss is that of clips as in training. It says nothing of what follows: in the two worlds that we tried zeros cost
# 0.1 nats more (digits of 8 pixels) and 0.7 (these), and in a larger one, below, they cost less.
#
# Now to what a window that slides asks for. We take the *same* clips, but their codes from the middle of a long
# encoding, where the neighbours are real frames: the kind of codes that a window finds behind itself. How many more
# nats do they cost?

# %%
lines = {f"{padding}, {name}": values.tolist() for padding, (alone, middle) in nats.items()
         for name, values in (("a clip", alone), ("out of the middle", middle))}
show(curves(lines, xlabel="latent frame", ylabel="nats a code"),
     alt="Nats a code of the four latent frames, for codes of clips and for codes out of the "
         "middle of long videos. Those out of the middle cost more, and far more so with zeros "
         "than with replicate.")
extra = {padding: (middle - alone)[-1].item() for padding, (alone, middle) in nats.items()}
print("for the last latent frame", ", ".join(f"{padding} {more:+.2f}"
                                              for padding, more in extra.items()))
if profile != "smoke":
    assert extra["zero"] > 1.5 and extra["replicate"] < 0.8

# %% [markdown]
# The transformer that learned with zeros does not know these codes. Do they come from another distribution?
#
# ### Exercise 14.4 · codes by position (about 10 min)
# Count how often each code stands in each latent frame, over all clips and places. Two latent frames, two
# distributions over codes: how far apart are they? The **total variation** is half the sum of the absolute
# differences of the probabilities: 0 for equal ones, 1 for two that share no code.
#
# <details><summary>Hint</summary>A histogram for each latent frame first, (t, num_codes), whose rows sum to 1. Then all
# pairs of rows at once.</details>
# <details><summary>The call</summary><code>torch.bincount(codes[:, i].flatten(), minlength=num_codes)</code>.
# <code>torch.cdist(p, p, p=1)</code> sums absolute differences of all pairs of rows.</details>

# %% tags=["exercise", "ex-14.4", "export:models.tats.equivariance"]
def total_variation(codes: Tensor, num_codes: int) -> Tensor:
    """How far apart the distributions of codes in each two latent frames are: int64 (b, t, h, w) in
    0..num_codes-1 -> float (t, t), 0 for equal ones to 1 for two that share no code.

    Over all clips and places. Half the sum of |p - q| over the codes.
    """
    ### BEGIN SOLUTION
    counts = torch.stack([torch.bincount(frame.flatten(), minlength=num_codes)
                          for frame in codes.unbind(1)])
    shares = counts.double() / counts.sum(1, keepdim=True)
    return torch.cdist(shares, shares, p=1) / 2
    ### END SOLUTION

# %% tags=["check", "ex-14.4"]
total_variation = check("14.4", total_variation)

# %%
apart = {padding: total_variation(encode(model, clips), 256)
         for padding, model in autoencoders.items()}
show(bars({f"{padding}\n{name}": float(table[i, j]) for padding, table in apart.items()
           for name, (i, j) in {"first, second": (0, 1), "second, third": (1, 2),
                                "third, last": (2, 3)}.items()}, ylabel="total variation"),
     alt="Bars of the total variation between neighbouring latent frames. With zeros those at an "
         "end are far from their neighbours; with replicate all are nearer to each other.")
for padding, table in apart.items():
    print(f"{padding:<10} first against the others {table[0, 1:].mean():.2f}, "
          f"the two in the middle {table[1, 2]:.2f}")

# %% [markdown]
# With zeros, the first latent frame speaks a dialect of its own, and so does the last. Now write: 48 frames, three
# times the length of training, with a window that keeps three latent frames and draws a fourth.

# %%
made = {padding: sample_long(autoencoders[padding], prior, {"smoke": 4, "course": 64}[profile])
        for padding, prior in priors.items()}
show(strip([video for some in made.values() for video in some[:3]], frames=12,
           titles=[f"{padding} {i}" for padding in made for i in range(3)]),
     alt="Twelve of 48 frames of three videos by each of the two models, blurred bright shapes on "
         "black that move and change. Hardly one is a digit.")

# %%
show_video([video for some in made.values() for video in some[:2]],
           titles=[padding for padding in made for _ in range(2)],
           alt="Four videos side by side, the first two by the model of zeros, the others by the "
               "model of replicate: bright shapes that move over black.")

# %% [markdown]
# A window of 16 frames at a time, the Frechet distance in the course's network (notebook 12), to clips that the same
# autoencoder has rebuilt: what the prior adds, as FVD* does.

# %%
rebuilt = {padding: model.decode(encode(model, clips)) for padding, model in autoencoders.items()}
by_window = {padding: distances(video, rebuilt[padding]) for padding, video in made.items()}
show(curves({padding: {f"{16 * i} to {16 * i + 15}": value for i, value in enumerate(values)}
             for padding, values in by_window.items()},
            xlabel="frames", ylabel="Frechet distance (course network)"),
     alt="A line for each padding: the Frechet distance of the frames 0 to 15, 16 to 31, 32 to 47.")
light = {padding: [(window.mean().item() + 1) / 2 for window in video.split(FRAMES, 2)]
         for padding, video in made.items()}
for padding, values in by_window.items():
    print(f"{padding:<10} distance {', '.join(f'{x:.1f}' for x in values)}; "
          f"brightness {', '.join(f'{x:.3f}' for x in light[padding])}")
print(f"real clips: brightness {(clips.mean().item() + 1) / 2:.3f}")

# %% [markdown]
# What is to be seen are blobs, with both. A minute of training is too little for this prior: three nats a code are
# far from the truth, which is a digit, its place and its way. So the distances say little: 1.6 to 2.1 with zeros, 1
# to 1.6 with replicate (64 videos, one seed). The light says more: with zeros it is a third too bright after the
# first window, with replicate it is right. Notebook 15 has models of 32x32 pixels that were trained for longer. Their
# scores are 0.41 and 0.83, and codes from the middle cost 2.3 and 0.2 nats more.
#
# | | ours, 16x16 pixels, one seed | TATS, 128x128 |
# |---|---|---|
# | equivariance score, zeros / replicate | 0.39 / 0.56 | - / 0.75 |
# | with real frames | 1 | 1 |
# | real frames that it takes | 32 | not said; by our count 60 |
# | more nats for the last latent frame, zeros / replicate | 2.06 / 0.16 | - |
#
# **What we can say.** Zeros tell the codes where in a clip they are, a prior learns it, and codes from anywhere else
# cost it two nats more each in the first and the last latent frame, 0.3 in the two between (one seed). Replicate
# removes most of that at no cost. With real frames the codes are the same at both places, so that nothing would be
# left; we have not trained that prior.
#
# **What this scale does not show.** That the videos fall apart. In an earlier, longer run of ours (32x32 pixels, 260
# steps of 32 clips for a prior of 256 codes, one seed) digits by zeros had lost half of their light after 40 frames and
# were specks at the end, and their Frechet distance in the third window was 11 times that of replicate. There zeros had
# the *lower* loss on clips of training, 1.29 nats against 1.53 for the last latent frame. Better bits, worse model.
#
# ## 8. What you built
#
# | name | what it does |
# |---|---|
# | `equivariance_score` | how many codes do not care where their clip begins |
# | `padded_layers`, `receptive_field` | which frames a latent sees |
# | `real_frames`, `take_out_padding` | the honest cure, layer by layer |
# | `total_variation` | how far apart the codes of two latent frames are |
#
# All are in `lvlib.models.tats.equivariance`. The padding itself is a field of the autoencoder's configuration.
#
# ### Scale it up
# The course's autoencoder of one grey digit at 32x32, with zeros; and the paper's, whose default is `replicate`:
#
# ```
# lvlib data moving_digits --out data/one_digit --size 32 --digits 1 --grey --frames 96
# lvlib train tats-vqgan-course --out runs/zero --data.root data/one_digit --autoencoder.padding zero
# lvlib train tats-vqgan --out runs/vqgan --data.root UCF101 --devices 8 --precision bf16-mixed
# ```
# The first takes half an hour of one core; the second is 30,000 steps of 96 clips, on 8 V100 57 hours (B.2).
#
# ### Questions to think about
# 1. In the paper replicate beats reflect and circular, though these show real movement. Why? And why does circular win
#    here?
#    <details><summary>Answer</summary>Replicate is nearer to what comes: a digit that moves to the right is, a frame
#    later, nearly where it was; played backwards it is two pixels off. The paper's walking person rather stops than
#    walks backwards. The other end of a clip has nothing to do with it, except for a video that repeats itself in step
#    with its clips, as our bouncing digits nearly do.</details>
# 2. The decoder pads, too. Is that a problem for long videos?
#    <details><summary>Answer</summary>Hardly. A long row of codes is decoded as a whole, or in pieces with a margin as
#    `VQGAN.decode` does, and its middle sees real codes. Only the ends of the video are padded. It was the codes that
#    the transformer could not know.</details>
# 3. Could one keep zeros, and train the transformer on codes from the middle of long encodings?
#    <details><summary>Answer</summary>Yes: that is real frames, by another name. The autoencoder then sees codes in the
#    middle that it has met in training, and the transformer learns what it will find. It costs frames: the ends are
#    lost, and so are all videos that are shorter than the receptive field.</details>
# 4. Would a causal encoder, that pads in front only, be time-agnostic?
#    <details><summary>Answer</summary>At the end, yes: no latent sees anything that comes later. Not in front. There
#    zeros, or copies, still stand for a past. It halves the harm, and lets codes be written without the future.
#    </details>

# %%
progress()
