# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 · VQ-VAE: a picture as a grid of code words
#
# **What you will build.** An autoencoder that turns each frame of a video into a small grid of whole numbers,
# and the numbers back into the frame. Four of the five systems of this course begin with codes like these;
# PVDM keeps real numbers. A model that *generates* video is slow when it must produce 1,024 pixels a frame.
# It has an easier life with 64 numbers.
#
# You build it from four parts: an encoder, a codebook, a gradient that jumps over a step with no gradient,
# and a decoder. At the end you train it until you can read the digits that come out.

# %% jupyter={"source_hidden": true}
import copy
import os

import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from tqdm import tqdm

from lvlib.course import check, progress
from lvlib.data import MovingDigits, to_video
from lvlib.metrics.pixels import psnr
from lvlib.models.lvt.frame_vqvae import FrameVQVAEConfig
from lvlib.runs import load_checkpoint
from lvlib.viz import curves, set_style, show, show_codes, show_video, slider, strip
from lvlib.viz.codes import code_map, enlarge

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% [markdown]
# Here is the first test clip, 48 by 48, and what another model (`lvt-course`, notebook 07) makes of it. Each colour in
# the middle row is a number, for a square of 4 by 4 pixels. The last row was made from these numbers alone.

# %% jupyter={"source_hidden": true}
model = load_checkpoint("lvt-course/autoencoder")
digits = MovingDigits(1, frames=8, size=48, digit_size=16, speeds=(4,), grid=4, split="test")
first = to_video(digits[0]["video"])
numbers = model.encode(first[None])
colours = enlarge(code_map(numbers[0], 64), 48, 48)
show(strip([first, colours, model.decode(numbers)[0]], titles=["frames", "codes", "rebuilt"]),
     alt="Three rows of eight frames: a 3 and a 0 that move and meet; the same as 12 by 12 "
         "coloured squares, pink where all is black and of many colours where a digit is; and the "
         "digits made from them again, smeared where they meet.")

# %% [markdown]
# And this is the way there:

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(8, 1.7))
boxes = ["frame\n32 x 32", "encoder", "64 vectors\n8 x 8", "nearest\ncode",
         "64 numbers\n8 x 8", "decoder", "frame\n32 x 32"]
for i, text in enumerate(boxes):
    made = text in ("encoder", "nearest\ncode", "decoder")
    shape = "round" if made else "square"
    look = {"boxstyle": f"{shape},pad=0.5", "fc": "#cfe3f7" if made else "#f3f3f3", "ec": "#555"}
    ax.text(i, 0, text, ha="center", va="center", fontsize=8, bbox=look)
    if i:
        ax.annotate("", (i - 0.42, 0), (i - 0.58, 0), arrowprops={"arrowstyle": "->"})
ax.annotate("the gradient jumps over this step", (3, 0.42), (3, 0.95), ha="center", fontsize=9,
            arrowprops={"arrowstyle": "->", "color": "#b3432b"}, color="#b3432b")
ax.set(xlim=(-0.6, 6.6), ylim=(-0.6, 1.15))
ax.axis("off")
show(fig, alt="A row of boxes: a frame goes through the encoder to an 8 by 8 grid of vectors, each "
          "becomes the number of its nearest code, and the decoder makes a frame of them again. An "
          "arrow marks the nearest-code step: the gradient jumps over it.")

# %% [markdown]
# **What it costs.** About two minutes on two CPU cores, most of it in two short trainings. **What it needs.**
# Notebook 01 (the layout of video tensors, PSNR).
#
# **Where it is from.** Van den Oord et al. invented the VQ-VAE. Two of our papers use it as it is: LVT
# (3.1, frame by frame, which is what we build here) and VideoGPT (2.1, in space and time, notebook 08).

# %% [markdown]
# ## 1. The frames
#
# Two digits, grey, 32 by 32 pixels. The digits in `val` were never seen in training. A frame autoencoder
# treats every frame alone, so clips of one frame are all we need to train.

# %%
clips = {"smoke": 64, "course": 8000}[profile]
options = {"size": 32, "digits": 2, "digit_size": 18}
train_data = MovingDigits(clips, frames=1, **options)
val_data = MovingDigits(256, frames=1, split="val", **options)
train_frames = to_video(train_data.batch(slice(0, clips))["video"])
val_frames = to_video(val_data.batch(slice(0, 256))["video"])
# One in which the digits keep apart.
clip = to_video(MovingDigits(185, frames=16, split="val", seed=5, **options)[184]["video"])[None]

print("b, c, t, h, w:", tuple(train_frames.shape))
show_video(clip[0], alt="Two grey handwritten digits drift across a black square and bounce off "
           "its sides.")

# %% [markdown]
# ## 2. Encoder and decoder
#
# Two convolutions of stride 2 shrink 32x32 to 8x8. Two *residual blocks* refine the result: each adds a small
# correction to its input, so at worst it does nothing. The decoder is the same road back. This is the layout
# of LVT, section 4.1, with 64 channels instead of its 256.
#
# One thing we leave out on purpose. LVT's official code ends its decoder in `tanh` (the paper does not
# mention it). Our frames are mostly black, exactly -1. A `tanh` that has learned to say -1 everywhere
# is flat there, its gradient is almost zero, and training stays stuck at a black picture. We tried: after 400
# steps, still black.

# %% tags=["export:models.lvt.frame_vqvae"]
"""LVT's frame autoencoder: a 2D VQ-VAE that works on each frame alone. LVT, 3.1 and 4.1."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x plus a correction: ReLU, 3x3 convolution, ReLU, 1x1 convolution.

    (n, channels, h, w) in and out.
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.correction = nn.Sequential(
            nn.ReLU(), nn.Conv2d(channels, hidden, 3, padding=1),
            nn.ReLU(), nn.Conv2d(hidden, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.correction(x)


class Encoder(nn.Sequential):
    """Frames (n, channels, h, w) -> vectors (n, hidden, h/4, w/4)."""

    def __init__(self, channels: int, hidden: int, residual_hidden: int, residual_blocks: int):
        super().__init__(
            nn.Conv2d(channels, hidden // 2, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(hidden // 2, hidden, 4, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            *[ResidualBlock(hidden, residual_hidden) for _ in range(residual_blocks)],
        )


class Decoder(nn.Sequential):
    """Vectors (n, hidden, h/4, w/4) -> frames (n, channels, h, w).

    No tanh at the end: it stalls on black frames.
    """

    def __init__(self, channels: int, hidden: int, residual_hidden: int, residual_blocks: int):
        super().__init__(
            nn.Conv2d(hidden, hidden, 3, padding=1),
            *[ResidualBlock(hidden, residual_hidden) for _ in range(residual_blocks)], nn.ReLU(),
            nn.ConvTranspose2d(hidden, hidden // 2, 4, stride=2, padding=1), nn.ReLU(),
            nn.ConvTranspose2d(hidden // 2, channels, 4, stride=2, padding=1),
        )


# %%
size = {"channels": 1, "hidden": 64, "residual_hidden": 32, "residual_blocks": 2}
torch.manual_seed(0)
vectors = Encoder(**size)(clip[0, :, 0][None])
print("one frame:", tuple(clip[0, :, 0].shape), " its vectors:", tuple(vectors.shape))

# %% [markdown]
# ## 3. The autoencoder, with room for a quantizer in the middle
#
# `FrameVQVAE` puts the parts together. Whatever sits in the middle takes vectors `(..., d)` and gives back
# four things: the vectors to decode, their codes, a loss of its own, and numbers worth watching. The methods
# `encode`, `decode` and `loss` are the contract that every autoencoder of this course fulfils. (A fourth,
# `encode_start`, is for the beginning of a clip that goes on. Where frames do not see each other it is just
# `encode`; notebook 08 has more to say.)
#
# The sizes stand in a *configuration*, a class of numbers with a name each. It has some for the quantizers of
# notebooks 03 and 04, too, and is written there.
#
# Vectors go *last* in the middle, `(b, t, h, w, d)`: a quantizer need not know whether they came from a
# picture.

# %% tags=["export:models.lvt.frame_vqvae"]
class FrameVQVAE(nn.Module):
    """An encoder, a quantizer and a decoder, frame by frame. `FrameVQVAEConfig.build` makes one.

    quantizer: vectors (..., d) -> (vectors to decode (..., d), codes (...) or (..., k), loss (),
    metrics by name), and lookup(codes) -> vectors.
    """

    def __init__(self, config: "FrameVQVAEConfig", quantizer: nn.Module):
        super().__init__()
        self.config = config
        size = config.channels, config.hidden, config.residual_hidden, config.residual_blocks
        self.encoder = Encoder(*size)
        self.quantizer = quantizer
        self.decoder = Decoder(*size)

    def vectors(self, video: Tensor) -> Tensor:
        """Video (b, c, t, h, w) -> what the quantizer sees, (b, t, h/4, w/4, d).

        Raises ValueError as `FrameVQVAEConfig.latents` does.
        """
        self.config.latents(video.shape[1:])
        z = self.encoder(rearrange(video, "b c t h w -> (b t) c h w"))
        return rearrange(z, "(b t) d h w -> b t h w d", b=len(video))

    def frames(self, q: Tensor) -> Tensor:
        """Vectors (b, t, h/4, w/4, d) -> video (b, c, t, h, w)."""
        x = self.decoder(rearrange(q, "b t h w d -> (b t) d h w"))
        return rearrange(x, "(b t) c h w -> b c t h w", b=len(q))

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """Video (b, c, t, h, w) in [-1, 1] -> codes int64 (b, t, h/4, w/4).

        Or (..., k) for k codebooks. Raises ValueError as `FrameVQVAEConfig.latents` does.
        """
        return self.quantizer(self.vectors(video))[1]

    def encode_start(self, frames: Tensor, clip_frames: int) -> Tensor:
        """Codes of the first frames (b, c, t0, h, w) of longer clips.

        Those of `encode`, whatever comes after.
        """
        return self.encode(frames)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 (b, t, h/4, w/4) or (..., k) -> video (b, c, t, h, w) in [-1, 1]."""
        return self.frames(self.quantizer.lookup(codes)).clamp(-1, 1)

    def loss(self, video: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error plus the quantizer's own loss, LVT eq. (1); and the parts by name."""
        q, _, quantizer_loss, metrics = self.quantizer(self.vectors(video))
        reconstruction_loss = F.mse_loss(self.frames(q), video)
        metrics = {"reconstruction_loss": reconstruction_loss, **metrics}
        return reconstruction_loss + quantizer_loss, metrics


# %% [markdown]
# ### First, no quantizer at all
#
# We begin with nothing in the middle. This gives the encoder time to find useful vectors before we restrict
# them. (What happens without this head start is the subject of notebook 03.)

# %%
class NoQuantizer(nn.Module):
    def forward(self, z):
        return z, torch.zeros(z.shape[:-1], dtype=torch.int64), z.new_zeros(()), {}


def train(model, steps, name, seed=0, log_every=50):
    """Adam on random batches of 32 frames. Returns {step: validation MSE}."""
    generator, curve = torch.Generator().manual_seed(seed), {}
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in tqdm(range(1, steps + 1), name, ascii=True):
        batch = train_frames[torch.randint(len(train_frames), (32,), generator=generator)]
        loss, _ = model.train().loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % log_every == 0 or step == steps:
            with torch.no_grad():
                curve[step] = model.eval().loss(val_frames)[1]["reconstruction_loss"].item()
    return curve


# %%
torch.manual_seed(0)
model = FrameVQVAE(FrameVQVAEConfig(**size), NoQuantizer())
warm_curve = train(model, {"smoke": 3, "course": 200}[profile], "no quantizer")
with torch.no_grad():
    z = model.vectors(clip)
show(strip([clip[0], model.frames(z)[0].detach()], titles=["clip", "autoencoder"]),
     alt="Frames of the clip above the autoencoder's output: the digits come back slightly soft, "
     "in place and readable.")

# %% [markdown]
# The picture survives, but at a high price: a frame is now 8 x 8 vectors of 64 numbers, 4,096 numbers for
# 1,024 pixels. Nothing is compressed yet. What if only a few different vectors were allowed?

# %% [markdown]
# ## 4. A codebook
#
# A *codebook* is a list of K vectors, the *codes*. Each vector of the encoder is replaced by the code nearest
# to it, and then the code's number in the list is all we need to keep. With K = 512 a number costs 9 bits.
#
# ### Exercise 2.1 · the nearest code (about 10 min)
# For each vector, find the index of the code at the smallest distance. Do it for all vectors at once, without
# a loop, and for any number of axes in front of the last. Where two codes are equally near, take the first.
#
# <details><summary>Hint</summary>Write the squared distance out: |z - e|^2 = |z|^2 - 2 z·e + |e|^2. Which
# term is the same for all codes? The middle one is a matrix product.</details>
#
# <details><summary>The call</summary><code>z @ codebook.T</code> is (..., k), one number for each vector
# and code, and <code>codebook.square().sum(1)</code> is (k,). <code>argmin(-1)</code> gives the index, as
# int64.</details>

# %% jupyter={"source_hidden": true} tags=["export:models.common.quantize"]
"""Vector quantization: nearest code, straight-through gradient, codebooks that learn, their health.

Every quantizer here maps vectors (..., d) to (quantized vectors (..., d), codes int64 (...),
loss (), metrics).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


# %% tags=["exercise", "ex-2.1", "export:models.common.quantize"]
def nearest_code(z: Tensor, codebook: Tensor) -> Tensor:
    """Index of the code nearest to each vector (Euclidean), the first of equal ones.

    z (..., d), codebook (k, d) -> int64 (...).
    """
    ### BEGIN SOLUTION
    # |z - e|^2 = |z|^2 - 2 z.e + |e|^2, and |z|^2 is the same for every code.
    # On a CPU, min is faster than argmin.
    return (codebook.square().sum(1) - z @ (2 * codebook.T)).min(-1).indices
    ### END SOLUTION


# %% tags=["check", "ex-2.1"]
nearest_code = check("2.1", nearest_code)

# %% [markdown]
# A first codebook needs no training: we take 512 vectors that the encoder made. Replace each vector by its
# nearest code, and decode.

# %%
with torch.no_grad():
    pool = model.vectors(train_frames[:64]).flatten(0, -2)
    chosen = torch.randperm(len(pool), generator=torch.Generator().manual_seed(0))[:512]
    first_codes = pool[chosen].clone()
    codes = nearest_code(z, first_codes)
    rebuilt = model.frames(first_codes[codes])

print("vectors:", tuple(z.shape), " codes:", tuple(codes.shape))
print("first row of codes:", codes[0, 0, 0].tolist())
show(strip([clip[0], rebuilt[0]], titles=["clip", "nearest codes"]),
     alt="The clip above its version from nearest codes: the digits are still there, rougher and "
     "with noisy edges.")

# %% [markdown]
# How many codes does it take? Drag the slider. (Without a running kernel you see the picture for 32.)

# %%
@torch.no_grad()
def with_codes(codes):
    few = first_codes[:codes]
    rebuilt = model.frames(few[nearest_code(z, few)])
    return strip([clip[0], rebuilt[0]], titles=["clip", f"{codes} codes"])


slider(with_codes, "The clip above its version from fewer codes: with 2 codes only blots, with 32 "
       "the rough shapes of the digits.", codes=[2, 8, 32, 128, 512])

# %% [markdown]
# Rough, but it works. And it is small: a frame was 1,024 pixels of 8 bits, and is now 64 numbers of 9 bits.

# %%
pixels, bits = 32 * 32 * 8, 64 * 9
print(f"{pixels} bits a frame as pixels, {bits} as codes: {pixels / bits:.0f} times fewer")

# %% [markdown]
# ## 5. A step without a gradient
#
# To do better, encoder, codes and decoder should be trained together. There is an obstacle. Move a vector a
# little: its nearest code stays the same, until it suddenly is another one. The slope is zero or undefined,
# so no gradient passes, and the encoder never hears from the decoder:

# %%
z_probe = torch.randn(5, 64, requires_grad=True)
q_probe = first_codes[nearest_code(z_probe, first_codes)]
print("does a gradient reach the encoder's vectors?", q_probe.requires_grad)

# %% [markdown]
# The way out is a small lie. The code is *near* the vector. So what the decoder would like to change about
# the code, the encoder may as well change about the vector. Forward we use the code; backward we pretend that
# nothing happened between them. This is the **straight-through** estimator (van den Oord et al. 2017, section
# 3.2; TATS, section 2.1). LVT's text does not mention it.
#
# ### Exercise 2.2 · straight through (about 10 min)
# Build a tensor that equals `q` going forward and whose gradient goes to `z`, untouched.
#
# <details><summary>Hint</summary>z + (q - z) equals q. Which part of it must be a constant, so that what is
# left has the gradient of z?</details>
#
# <details><summary>The call</summary><code>x.detach()</code> is worth x and has no gradient: a
# constant.</details>

# %% tags=["exercise", "ex-2.2", "export:models.common.quantize"]
def straight_through(z: Tensor, q: Tensor) -> Tensor:
    """Equal to q (any shape) in the forward pass; its gradient goes to z alone, unchanged.

    Van den Oord et al. 2017, section 3.2; TATS, section 2.1.
    """
    ### BEGIN SOLUTION
    return z + (q - z).detach()
    ### END SOLUTION


# %% tags=["check", "ex-2.2"]
straight_through = check("2.2", straight_through)

# %%
q_probe = straight_through(z_probe, first_codes[nearest_code(z_probe, first_codes)])
q_probe.sum().backward()
print("the gradient that reaches each vector:", z_probe.grad[0, :4].tolist(), "...")

# %% [markdown]
# ## 6. Three losses
#
# The decoder's error now trains the decoder and the encoder. Two forces are still missing:
#
# | loss | what it pulls | why |
# |---|---|---|
# | reconstruction, \|x - D(q)\|^2 | decoder, and encoder by the straight-through lie | the picture should come back |
# | codebook, \|sg[z] - q\|^2 | the codes, to the vectors | a code should stand where the vectors are |
# | commitment, \|z - sg[q]\|^2 | the vectors, to their codes | the lie is only good while z and q are near |
#
# `sg` is *stop gradient*, in PyTorch `detach`. The last two have the same value! They differ in whom they
# move.
#
# ### Exercise 2.3 · codebook and commitment loss (about 10 min)
# Return both, as means over all elements, each with the gradient on the right side only.
#
# <details><summary>Hint</summary>A loss moves whatever has a gradient in it. Hold the vectors still in one,
# the codes in the other. The codebook loss comes first.</details>
#
# <details><summary>The call</summary><code>F.mse_loss(a, b.detach())</code> is a mean, and moves only
# a.</details>

# %% tags=["exercise", "ex-2.3", "export:models.common.quantize"]
def vq_losses(z: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """(codebook loss, which moves q alone; commitment loss, which moves z alone), both ().

    VideoGPT, section 2.1.
    """
    ### BEGIN SOLUTION
    return F.mse_loss(q, z.detach()), F.mse_loss(z, q.detach())
    ### END SOLUTION


# %% tags=["check", "ex-2.3"]
vq_losses = check("2.3", vq_losses)

# %% [markdown]
# Together they make the first codebook that learns. VQ-VAE weighs the commitment by 0.25, and so does VideoGPT
# (Table 8).

# %% tags=["export:models.common.quantize"]
class GradientCodebook(nn.Module):
    """Codes learned by gradient descent.

    The objective of VideoGPT, section 2.1, less the reconstruction.
    """

    def __init__(self, num_codes: int, dim: int, commitment: float = 0.25):
        super().__init__()
        self.commitment = commitment
        self.embedding = nn.Parameter(torch.randn(num_codes, dim))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """z (..., d) -> quantized (..., d), codes int64 (...), loss (), metrics by name."""
        codes = nearest_code(z, self.embedding)
        q = self.lookup(codes)
        codebook_loss, commitment_loss = vq_losses(z, q)
        loss = codebook_loss + self.commitment * commitment_loss
        metrics = {"commitment_loss": commitment_loss}
        return straight_through(z, q), codes, loss, metrics

    def lookup(self, codes: Tensor) -> Tensor:
        """codes (...) -> their vectors (..., d)."""
        return F.embedding(codes, self.embedding)


# %% [markdown]
# ## 7. Codes as running means
#
# There is a second way to move the codes. Where should a code stand? In the middle of the vectors that choose
# it, for that is where the codebook loss is smallest. So we need no gradient: keep count of how many vectors
# choose each code, and their sum. The code is sum / count. Both are *exponential moving averages* (EMA), so
# old batches slowly fade:
#
# $$N_k \leftarrow \gamma N_k + (1-\gamma)\, n_k, \qquad
# m_k \leftarrow \gamma m_k + (1-\gamma) \sum_{z \to k} z, \qquad e_k = m_k / N_k$$
#
# LVT and VideoGPT both do this. The codebook loss goes, the commitment loss stays. In LVT's eq. (1) it counts in
# full, with weight 1; below we keep the 0.25 of section 6.
#
# ### Exercise 2.4 · who chose what (about 10 min)
# For one batch: how many vectors chose each code, and the sum of those vectors. Both in the
# type of the vectors, the counts too: the next cells mix them with running means, and these are no whole
# numbers.
#
# <details><summary>Hint</summary>The counts: how often does each number occur among the codes? All
# <code>num_codes</code> of them want an answer, also those that do not occur. The sums: begin with zeros,
# one row for each code, and add each vector to the row of its code.</details>
#
# <details><summary>The call</summary><code>torch.bincount(codes, minlength=num_codes)</code> counts, in
# int64: <code>.to(z.dtype)</code> makes it the type of the vectors. For the sums
# <code>z.new_zeros(num_codes, z.shape[1])</code>, and then <code>index_add_(0, codes, z)</code>.</details>

# %% tags=["exercise", "ex-2.4", "export:models.common.quantize"]
def code_statistics(z: Tensor, codes: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """How many vectors chose each code (num_codes,), and their sum (num_codes, d).

    z floats (n, d), codes int64 (n,); both results have the dtype of z.
    """
    ### BEGIN SOLUTION
    count = torch.bincount(codes, minlength=num_codes).to(z.dtype)
    total = torch.zeros(num_codes, z.shape[1], dtype=z.dtype,
                        device=z.device).index_add_(0, codes, z)
    return count, total
    ### END SOLUTION


# %% tags=["check", "ex-2.4"]
code_statistics = check("2.4", code_statistics)

# %% [markdown]
# The codebook itself. `embedding`, `count` and `total` are *buffers*: no optimizer touches them, but a
# checkpoint keeps them. Note that they start consistent with each other: a count of 1 and a sum that is the
# code itself.

# %%
class RunningMeanCodebook(nn.Module):
    """Codes that are running means. Notebook 03 makes it robust: lvlib's EMACodebook."""

    def __init__(self, first_codes, commitment=0.25, decay=0.99):
        super().__init__()
        self.commitment, self.decay = commitment, decay
        self.register_buffer("embedding", first_codes.clone())
        self.register_buffer("count", torch.ones(len(first_codes)))
        self.register_buffer("total", first_codes.clone())

    def forward(self, z):
        codes = nearest_code(z, self.embedding)
        q = self.lookup(codes)
        if self.training:
            vectors = z.detach().flatten(0, -2)
            count, total = code_statistics(vectors, codes.flatten(), len(self.count))
            self.count.lerp_(count, 1 - self.decay)  # lerp: a little new, the rest as it was
            self.total.lerp_(total, 1 - self.decay)
            self.embedding.copy_(self.total / self.count[:, None])
        commitment_loss = vq_losses(z, q)[1]
        metrics = {"commitment_loss": commitment_loss}
        return straight_through(z, q), codes, self.commitment * commitment_loss, metrics

    def lookup(self, codes):
        return F.embedding(codes, self.embedding)


# %% [markdown]
# ## 8. Train it
#
# We keep the encoder and decoder from section 3, put the codebook of section 4 between them, and go on.

# %%
def with_quantizer(quantizer):
    """A copy of the trained autoencoder with a quantizer in the middle."""
    quantized = copy.deepcopy(model)
    quantized.quantizer = quantizer
    return quantized


steps = {"smoke": 3, "course": 1000}[profile]
vqvae = with_quantizer(RunningMeanCodebook(first_codes))
curve = train(vqvae, steps, "512 codes")

# %% jupyter={"source_hidden": true}
whole_curve = warm_curve | {step + max(warm_curve): mse for step, mse in curve.items()}
figure = curves({"without quantizer, then 512 codes": whole_curve}, xlabel="training step",
                ylabel="validation MSE", title="Frame VQ-VAE on frames of unseen digits", log=True)
figure.axes[0].axvline(max(warm_curve), color="gray", ls="--")
show(figure,
     alt="Validation error against step. It falls, jumps up where the codebook is put in at the "
     "dashed line, and falls again well below the jump.")

# %%
with torch.no_grad():
    codes = vqvae.eval().encode(clip)
    rebuilt = vqvae.decode(codes)
print(f"PSNR on this clip: {psnr(rebuilt, clip).item():.1f} dB")
show_video([clip[0], rebuilt[0]], titles=["clip", "from 64 codes a frame"],
           alt="The clip, and its reconstruction from codes: both digits plainly readable, "
           "edges a little soft.")

# %% [markdown]
# And this is what the second stage will see: not the picture but the code numbers, here as colours. Codes
# change where a digit passes, and also around it: the encoder sees a patch and its surroundings, and these
# digits fill most of the frame. Only the rim keeps its codes. Notebook 04 has larger frames, where you see it
# better.

# %%
show_codes(clip[0], codes[0], 512,
           alt="Three rows: frames, their code maps, and the codes that changed since the frame "
           "before. Most codes in the middle change from frame to frame; those at the rim stay.")

# %% [markdown]
# ## The experiment: what each part is worth
#
# From the same start and with the same batches, three models:
# - **running means**: what you built in section 7;
# - **gradient**: the same, with the codes moved by the codebook loss (section 6);
# - **no straight-through**: the decoder and the codes learn, the encoder hears nothing.
#
# VideoGPT (section 2.1) reports that running means train faster than the gradient.

# %%
class NoStraightThrough(RunningMeanCodebook):
    def forward(self, z):
        _, codes, _, metrics = super().forward(z)
        return self.lookup(codes), codes, z.new_zeros(()), metrics


gradient = GradientCodebook(512, 64)
gradient.embedding.data.copy_(first_codes)
rivals = {"running means": RunningMeanCodebook(first_codes), "gradient": gradient,
          "no straight-through": NoStraightThrough(first_codes)}
steps = {"smoke": 3, "course": 400}[profile]
results = {name: train(with_quantizer(quantizer), steps, name)
           for name, quantizer in rivals.items()}

# %%
show(curves(results, xlabel="training step", ylabel="validation MSE", log=True,
            title="Same start, same batches, three ways to learn"),
     alt="Validation error of three models. Without straight-through it begins lowest, hardly "
     "falls, and ends highest. Gradient and running means fall steeply and soon cross it; running "
     "means end lowest.")

# %%
final = {name: list(curve.values())[-1] for name, curve in results.items()}
for name, mse in final.items():
    print(f"{name:20s} MSE {mse:.4f}, {mse / final['running means']:.2f} times running means")

if profile == "course":
    assert final["no straight-through"] > 1.1 * final["running means"]
    assert list(curve.values())[-1] < 0.5 * list(curve.values())[0]

# %% [markdown]
# **What we measured.** The straight-through lie is worth a lot. Running means end a few percent below the
# gradient. In three more runs, with other seeds, the order was the same. They are not *faster* from the start:
# halfway the gradient is level or ahead. VideoGPT speaks of full-size training, and gives no number to compare
# with. So we can say that running means are not worse, and simpler, and no more than that.

# %% [markdown]
# ## What you built
#
# ```python
# from lvlib.models.common.quantize import nearest_code, straight_through, vq_losses, code_statistics
# from lvlib.models.common.quantize import GradientCodebook
# from lvlib.models.lvt.frame_vqvae import ResidualBlock, Encoder, Decoder, FrameVQVAE
# ```
# They are the code you just saw, taken from this notebook.
#
# ## Scale it up
#
# The paper's frame autoencoder has 256 channels and trains for 500,000 steps on BAIR robot pushing. One
# command does it:
#
# ```
# lvlib describe lvt-frames-bair
# lvlib train lvt-frames-bair --out runs/frames --data.root BAIR
# ```
# `describe` tells the parameters and the memory before you start. A step of 32 frames is 178 GFLOP, so all of
# it is about 9 x 10^16 operations: about an hour at 25 TFLOP/s, if the data arrives in time. (This is
# arithmetic. We have not run it.)
#
# ## Questions to think about
#
# 1. The background costs as many codes as the digits. What could be done about that?
#
#    <details><summary>Answer</summary>A code that always comes can be guessed, so a good model of the
#    codes pays next to nothing for it: the grid is wasteful, its bits need not be. Or spend fewer codes
#    where nothing happens. VideoGPT does a part of that: it compresses in time too, and what stands still
#    shares its codes with the frames around it.</details>
#
# 2. In section 8 the error jumps when the codebook goes in. What would the jump be with 8 codes, with a
#    million?
#
#    <details><summary>Answer</summary>With 8 codes far higher: the slider of section 4 shows such
#    pictures. With a million there is a code very near to every vector, so there is hardly a jump, but each
#    number costs 20 bits, and most codes are chosen so seldom that they learn nothing.</details>
#
# 3. The straight-through gradient is wrong. When is it *most* wrong, and which loss keeps it honest?
#
#    <details><summary>Answer</summary>It is the decoder's slope at q, used at z. The farther z lies from
#    q, the less one says about the other. The commitment loss pulls z to q.</details>
#
# 4. Why does a codebook need no gradient to be trained, and a decoder does?
#
#    <details><summary>Answer</summary>Once it is known which vectors choose a code, its best place can
#    be written down: their mean. (Choose, average, choose again: that is k-means.) For the weights of a
#    decoder there is no such formula, so we go downhill in small steps.</details>

# %%
progress()
