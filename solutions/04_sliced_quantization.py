# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · Sliced quantization: many bits from a few small codebooks
#
# **What you will build.** A quantizer with several codebooks, each for its own slice of the channels. With it
# the frame autoencoder of LVT is complete: you can compress and rebuild a real video file with it.
#
# One codebook of 512 codes gives 9 bits for each vector. Suppose you want 36. One codebook would need 2^36
# codes, 68 billion. Four codebooks of 512 give the same number of combinations with 2,048 codes in all. LVT
# (section 3.1) takes the idea from neural machine translation, where it is called *decomposed* or *sliced*
# vector quantization.

# %% jupyter={"source_hidden": true}
import os

import torch
from matplotlib import pyplot as plt
from torch import Tensor, nn
from tqdm import tqdm

from lvlib.course import check, progress
from lvlib.data import MovingDigits, data_home, read_video, to_video
from lvlib.metrics.pixels import psnr
from lvlib.models.common.quantize import EMACodebook, perplexity
from lvlib.models.lvt.frame_vqvae import FrameVQVAE
from lvlib.runs import load_checkpoint
from lvlib.viz import set_style, show, show_codes, show_video, strip

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% [markdown]
# Here is the first test clip, rebuilt by the finished model (`lvt-frames-course`, section 5) from what some of its four
# codebooks say; the others say "black" everywhere. Only all four know the blue of the 3.

# %% jupyter={"source_hidden": true}
model = load_checkpoint("lvt-frames-course")
first = to_video(MovingDigits(1, frames=8, size=64, color=True, split="test")[0]["video"])[None]
black = model.encode(torch.full_like(first, -1))
numbers = model.encode(first)
rows = [model.decode(torch.cat([numbers[..., :n], black[..., n:]], -1))[0] for n in range(1, 5)]
show(strip([first[0], *rows], titles=["clip", "1 codebook", "2 codebooks", "3 codebooks", "all 4"]),
     alt="Five rows of eight frames: a blue 3 and a red 0 that move apart; from one codebook faint "
         "green dots where the digits are, from two a dotted red 0, from three a red 0 and a "
         "whitish 3, from all four the clip.")

# %% [markdown]
# And here is the idea in two dimensions, one for each slice. One codebook places its 8 codes freely. Two
# codebooks of 4 place 4 marks on each axis, and every crossing is a code: 16 codes, from 8 numbers to learn.

# %% jupyter={"source_hidden": true}
torch.manual_seed(0)
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3))
free = torch.randn(8, 2)
marks_x, marks_y = torch.tensor([-1.3, -0.4, 0.5, 1.4]), torch.tensor([-1.2, -0.5, 0.4, 1.2])
axes[0].scatter(*free.T, s=40)
axes[0].set(title="one codebook: 8 codes", xlabel="slice 1", ylabel="slice 2")
grid = torch.cartesian_prod(marks_x, marks_y)
axes[1].scatter(*grid.T, s=40)
axes[1].plot(marks_x, torch.full((4,), -2.0), "|", ms=14, mew=3)
axes[1].plot(torch.full((4,), -2.1), marks_y, "_", ms=14, mew=3)
axes[1].set(title="two codebooks of 4: 16 codes", xlabel="slice 1", ylabel="slice 2")
show(fig, alt="Left: eight points scattered freely in a plane. Right: four marks on each axis and "
          "sixteen points where their lines cross.")

# %% [markdown]
# **What it costs.** About two minutes on two CPU cores. **What it needs.** Notebooks 02 and 03.

# %% [markdown]
# ## 1. What a grid of codes costs
#
# To compare codebooks fairly we need their price. A code out of K costs log2 K bits, and a clip has one for
# each position and codebook.
#
# ### Exercise 4.1 · bits of a clip (about 5 min)
# `latent_shape` is `(t, h, w)` with one codebook, `(t, h, w, k)` with k.
#
# <details><summary>Hint</summary>How many codes are there, and how many bits does each take?</details>
#
# <details><summary>The call</summary><code>math.prod(latent_shape)</code> is the number of codes, however
# long the shape. <code>math.log2</code> gives bits.</details>

# %% jupyter={"source_hidden": true} tags=["export:models.common.quantize"]
import math


# %% tags=["exercise", "ex-4.1", "export:models.common.quantize"]
def code_bits(latent_shape: tuple[int, ...], num_codes: int) -> float:
    """Bits that a grid of codes takes, at log2(num_codes) bits a code."""
    ### BEGIN SOLUTION
    return math.prod(latent_shape) * math.log2(num_codes)
    ### END SOLUTION


# %% tags=["check", "ex-4.1"]
code_bits = check("4.1", code_bits)

# %%
pixels = 64 * 64 * 3 * 8
for name, shape in {"LVT, n_c = 1": (1, 16, 16), "LVT, n_c = 4": (1, 16, 16, 4)}.items():
    bits = code_bits(shape, 512)
    print(f"{name}: {bits:5.0f} bits a frame of 64x64, "
          f"{pixels / bits:.0f} times fewer than its pixels")

# %% [markdown]
# ## 2. The sliced quantizer
#
# Cut the channels into n equal slices, give each slice to its own codebook, and put the results together
# again.
#
# ### Exercise 4.2 · slice, quantize, join (about 15 min)
# Each codebook maps `(..., d/n)` to `(quantized, codes, loss, metrics)`. Return the same four for the whole
# vector. The loss of the whole is the *mean* of the slices' losses: a mean over d channels is the mean of the
# means over d/n. Metrics are a dict, with the same names for every codebook: return one dict with the mean of
# each. Any number of codebooks must do, and gradients must find their way through vectors and loss to z.
#
# <details><summary>Hint</summary>As many slices as there are codebooks, each into its own. You get a list
# of four things from each: turn it into four lists. Join the vectors along their last axis, give the codes
# a new last axis, and take means of the rest. Stay with tensors: a Python number has no gradient.</details>
#
# <details><summary>The call</summary><code>z.chunk(len(self.codebooks), -1)</code>, then
# <code>zip(*parts)</code> for the four lists. <code>torch.cat(q, -1)</code> for the vectors,
# <code>torch.stack(codes, -1)</code> for the codes. <code>{name: torch.stack([m[name] for m in
# metrics]).mean() for name in metrics[0]}</code> makes the means.</details>

# %% tags=["exercise", "ex-4.2", "export:models.common.quantize"]
class SlicedQuantizer(nn.Module):
    """n codebooks side by side, each for its own slice of the channels. LVT, section 3.1."""

    def __init__(self, codebooks: list[nn.Module]):
        super().__init__()
        self.codebooks = nn.ModuleList(codebooks)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """z (..., d) -> quantized (..., d), codes int64 (..., n), loss (), metrics.

        Loss and metrics are means over the codebooks. Each codebook is called once; quantized
        vectors and loss keep their gradients.
        """
        ### BEGIN SOLUTION
        slices = z.chunk(len(self.codebooks), -1)
        parts = [codebook(part) for codebook, part in zip(self.codebooks, slices, strict=True)]
        q, codes, losses, metrics = zip(*parts, strict=True)
        means = {name: torch.stack([m[name] for m in metrics]).mean() for name in metrics[0]}
        return torch.cat(q, -1), torch.stack(codes, -1), torch.stack(losses).mean(), means
        ### END SOLUTION

    def lookup(self, codes: Tensor) -> Tensor:
        """codes (..., n) -> their vectors (..., d)."""
        return torch.cat([codebook.lookup(codes[..., i])
                          for i, codebook in enumerate(self.codebooks)], -1)


# %% tags=["check", "ex-4.2"]
SlicedQuantizer = check("4.2", SlicedQuantizer)

# %% [markdown]
# ### Exercise 4.3 · the codebook that is not there (about 10 min)
# n codebooks of K are *one* codebook of K^n that nobody has to store. Give the number of each combination in
# it: the codes are the digits of a number in base K, the first codebook's digit the highest. Any number of
# codebooks, any axes before the last, and whole numbers (int64) all the way: 512^4 fits into them, and not into
# the 24 bits of a float.
#
# <details><summary>Hint</summary>As you read 365: 3, then 3 * 10 + 6, then 36 * 10 + 5. From left to right:
# number = number * K + next digit.</details>
#
# <details><summary>The call</summary><code>codes.unbind(-1)</code> gives the digits, one tensor for each
# codebook. Begin with <code>torch.zeros_like(codes[..., 0])</code>, which is int64, as the codes
# are.</details>

# %% tags=["exercise", "ex-4.3"]
def joint_code(codes: Tensor, num_codes: int) -> Tensor:
    """codes (..., n), each below num_codes -> one number (...) int64 below num_codes ** n."""
    ### BEGIN SOLUTION
    number = torch.zeros_like(codes[..., 0])
    for digit in codes.unbind(-1):
        number = number * num_codes + digit
    return number
    ### END SOLUTION


# %% tags=["check", "ex-4.3"]
joint_code = check("4.3", joint_code)

# %% [markdown]
# ## 3. The frame autoencoder of LVT, complete
#
# One dataclass describes it, from the toy in this notebook to the paper's size. The paper uses 256 channels,
# two residual blocks (four for Kinetics), and either one codebook of 512 or four. It writes "K = 2048" for
# the four; the official code has four times 512, so 2,048 is the sum.
#
# Its method `latents` says what becomes of a clip, before a model is built: a `LatentSpec`, which is the shape
# of the codes, how many there are, and how many video frames one latent frame stands for. Here that is one.
#
# All of these numbers can be set from the command line, so a wrong one is refused at once, in one line that
# names it and says what is allowed. For that there is a small helper, folded here. (It treats "not a number" with
# care: every comparison with it is False, so we ask whether a value is *in* its range.) `ema_quantizer` makes what
# sits in the middle of the autoencoder: the codebook of notebook 03, or several of them. Below it the dataclass
# is folded, too: open it once, to see how a configuration is written.

# %% jupyter={"source_hidden": true} tags=["export:models.common.checks"]
"""What configurations and priors refuse, in one line each. All raise ValueError."""

import math
from collections.abc import Iterable


def check_numbers(config: object, *names: str, least: float | None = None,
                  above: float = -math.inf, below: float = math.inf) -> None:
    """Each of these fields is finite, at least `least` or above `above`, and below `below`."""
    for name in names:
        value = getattr(config, name)
        if not (value > above if least is None else value >= least) or not value < below:
            words = f"above {above}" if least is None else f"at least {least}"
            end = " and finite" if isinstance(value, float) else ""
            end = f" and below {below}" if below < math.inf else end
            raise ValueError(f"{name} must be {words}{end}, not {value}")


def check_choice(config: object, name: str, allowed: Iterable) -> None:
    """This field of a configuration has one of the allowed values."""
    allowed = list(allowed)
    value = getattr(config, name)
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")


# %% tags=["export:models.common.quantize"]
def ema_quantizer(num_codes: int, dim: int, codebooks: int, **options: float) -> nn.Module:
    """One `EMACodebook` for vectors of size dim, or several in a `SlicedQuantizer`.

    options: those of each codebook.
    """
    parts = [EMACodebook(num_codes, dim // codebooks, **options) for _ in range(codebooks)]
    return SlicedQuantizer(parts) if codebooks > 1 else parts[0]


# %% jupyter={"source_hidden": true} tags=["export:models.lvt.frame_vqvae"]
from dataclasses import dataclass
from typing import ClassVar

from lvlib.models.common.checks import check_numbers
from lvlib.models.common.quantize import ema_quantizer
from lvlib.stages import LatentSpec, VideoShape


# %% jupyter={"source_hidden": true} tags=["export:models.lvt.frame_vqvae"]
@dataclass(frozen=True)
class FrameVQVAEConfig:
    """Sizes of a `FrameVQVAE`; the defaults are LVT's, section 4.1, with one codebook.

    Raises ValueError for sizes that do not fit together.
    """

    frame_by_frame: ClassVar[bool] = True
    channels: int = 3
    """Colour channels of the video: 1 or 3."""
    hidden: int = 256
    """Channels of the encoder, and dimension of the vectors over all codebooks."""
    residual_hidden: int = 128
    """Channels inside a residual block (official code)."""
    residual_blocks: int = 2
    """Residual blocks in the encoder, and as many in the decoder."""
    codes: int = 512
    """Codes of each codebook."""
    codebooks: int = 1
    """Number of codebooks, n_c in the paper."""
    commitment: float = 1.0
    """Weight of the commitment loss (official code)."""
    decay: float = 0.99
    """Decay of the codebook's running means (official code)."""
    restart: float = 0.05
    """A code used less than this share of the mean is restarted; 0: never. Ours: LVT has none."""

    def __post_init__(self):
        check_numbers(self, "channels", "hidden", "residual_hidden", "codes", "codebooks", least=1)
        check_numbers(self, "residual_blocks", "commitment", least=0)
        check_numbers(self, "decay", above=0, below=1)
        check_numbers(self, "restart", least=0, below=1)
        if self.hidden % 2 or self.hidden % self.codebooks:
            raise ValueError("hidden must be even and a multiple of codebooks "
                             f"({self.codebooks}), not {self.hidden}")

    def latents(self, video_shape: VideoShape) -> LatentSpec:
        """Of a clip (c, t, h, w): codes (t, h/4, w/4), or (t, h/4, w/4, k) for k codebooks.

        Raises ValueError for another number of channels, and if h or w is not a multiple of 4.
        """
        channels, t, h, w = video_shape
        if channels != self.channels:
            raise ValueError(f"the video must have {self.channels} channels, not {channels}")
        if min(t, h, w) < 1 or h % 4 or w % 4:
            raise ValueError(f"{t} frames of {h}x{w} pixels: height and width must be multiples of "
                             "4, and none 0")
        grid = t, h // 4, w // 4
        return LatentSpec(grid if self.codebooks == 1 else (*grid, self.codebooks), self.codes)

    def build(self) -> FrameVQVAE:
        """The model, with new weights."""
        options = {"commitment": self.commitment, "decay": self.decay, "restart": self.restart}
        return FrameVQVAE(self, ema_quantizer(self.codes, self.hidden, self.codebooks, **options))


# %%
small = {"channels": 1, "hidden": 64, "residual_hidden": 32, "decay": 0.95}
for codebooks in (1, 4):
    config = FrameVQVAEConfig(**small, codes=32, codebooks=codebooks)
    model = config.build()
    weights = sum(p.numel() for p in model.parameters())
    numbers = sum(b.numel() for name, b in model.named_buffers() if name.endswith("embedding"))
    print(f"n_c = {codebooks}: {weights:,} weights, {numbers:,} numbers in the codebooks, "
          f"latents {config.latents((1, 16, 32, 32))}")

# %% [markdown]
# The codebooks hold the same number of numbers: four times as many codes, each a quarter as long. Slicing is
# free.
#
# ## The experiment: error against bits
#
# The claim of LVT's Table 1: four codebooks rebuild better than one, at the same K. We train K = 8, 32 and
# 128, each with one codebook and with four, on the frames of notebook 02; K = 32 with three seeds.

# %%
clips = {"smoke": 64, "course": 8000}[profile]
options = {"frames": 1, "size": 32, "digits": 2, "digit_size": 18}
train_frames = to_video(MovingDigits(clips, **options).batch(slice(0, clips))["video"])
val_frames = to_video(MovingDigits(512, split="val", **options).batch(slice(0, 512))["video"])


def train(model, steps, name, seed=0):
    """Adam on random batches of 32 frames. Returns the MSE on val_frames."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in tqdm(range(steps), name, ascii=True):
        batch = train_frames[torch.randint(len(train_frames), (32,), generator=generator)]
        loss, _ = model.train().loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (model.eval().decode(model.encode(val_frames)) - val_frames).square().mean().item()


# %%
steps = {"smoke": 3, "course": 300}[profile]
sweep = {"smoke": [(8, 0), (32, 0), (128, 0)],
         "course": [(8, 0), (32, 0), (32, 1), (32, 2), (128, 0)]}[profile]
errors, models = {}, {}
for codes, seed in sweep:
    for n in (1, 4):
        torch.manual_seed(seed)
        models[codes, n] = FrameVQVAEConfig(**small, codes=codes, codebooks=n).build()
        name = f"K = {codes}, n_c = {n}, seed {seed}"
        errors[codes, n, seed] = train(models[codes, n], steps, name, seed)

# %% jupyter={"source_hidden": true}
fig, ax = plt.subplots(figsize=(6.4, 3.4))
for codebooks, style in ((1, "o"), (4, "s")):
    for (codes, n, seed), mse in errors.items():
        if n == codebooks:
            bits = code_bits((8, 8, codebooks), codes)
            label = f"n_c = {codebooks}" if (codes, seed) == (8, 0) else None
            ax.plot(bits, mse, style, c=f"C{codebooks // 4}", label=label)
            if seed == 0:
                ax.annotate(f"K={codes}", (bits, mse), xytext=(5, 4), textcoords="offset points",
                            fontsize=8)
ax.set(xlabel="bits a frame", ylabel="validation MSE", ylim=(0, None),
       title=f"Error against bits, after {steps} steps")
ax.legend()
show(fig, alt="Validation error against bits a frame. The points with four codebooks lie below "
          "those with one codebook at every K.")

# %%
print("how many times less error with four codebooks:")
for K in (8, 32, 128):
    ratios = [errors[K, 1, seed] / errors[K, 4, seed] for codes, seed in sweep if codes == K]
    print(f"  K = {K:3d}:", *(f"{ratio:.2f}" for ratio in ratios))
for codes, n in ((128, 1), (8, 4), (32, 4)):
    bits = code_bits((8, 8, n), codes)
    print(f"{n} of {codes:3d}: {bits:5.0f} bits a frame, MSE {errors[codes, n, 0]:.4f}")
ratios = [errors[32, 1, seed] / errors[32, 4, seed] for codes, seed in sweep if codes == 32]
if profile == "course":
    assert all(ratio > 1.3 for ratio in ratios)

# %% [markdown]
# Beside the paper (Table 1, BAIR, 64x64, K = 512, 500,000 steps; FVD of reconstructions):
#
# | n_c | MSE, LVT | FVD, LVT |
# |---|---|---|
# | 1 | 0.0016 | 222.7 |
# | 4 | 0.0004 | 47.4 |
#
# **What we measured** (two grey digits, 32x32, 300 steps, three seeds at K = 32): four codebooks rebuild better
# than one at every K and for every seed, by the factors that are printed. The paper has 4 times less error, after
# 1,600 times as many steps.
#
# These four codebooks also spend four times the bits, and the last three lines show what that buys. With 128 codes
# in all, four codebooks of 32 beat one of 128, for nearly three times the bits. But four of 8, which spend more bits
# than one of 128, do hardly better, if at all. Slicing makes many bits affordable. It does not make a bit worth
# more. We measure no FVD here. It needs a network trained on real video, which the course does not ship.

# %%
frames = val_frames[:8]
rebuilt = [models[32, n].decode(models[32, n].encode(frames)) for n in (1, 4)]
rows = [row[:, :, 0].transpose(0, 1) for row in (frames, *rebuilt)]  # eight frames as one clip
show(strip(rows, titles=["frames", "n_c = 1", "n_c = 4"]),
     alt="Three rows of eight frames: originals, one codebook of 32 (soft, parts of strokes "
     "missing), four codebooks of 32 (closer to the originals).")

# %% [markdown]
# ## 4. When more codebooks hurt
#
# So why does VideoGPT use *one* codebook? Because it holds the total fixed. In its Table 7 the number of code
# numbers for a clip is always 8,192, and more codebooks mean a coarser grid:
#
# | latents | R-FVD | FVD | bits/dim of the prior |
# |---|---|---|---|
# | 8 x 32 x 32 x **1** | **14.9** | **103.6** | **2.05** |
# | 16 x 16 x 16 x **2** | 17.2 | 106.3 | 2.41 |
# | 8 x 16 x 16 x **4** | 17.7 | 131.4 | 2.68 |
# | 4 x 16 x 16 x **8** | 23.1 | 135.7 | 2.97 |
#
# We can try the first half of this: 64 code numbers a frame, either one on an 8x8 grid, or four on a 4x4
# grid.

# %%
torch.manual_seed(0)
coarse = FrameVQVAEConfig(**small, codes=32, codebooks=4).build()
smaller = nn.Conv2d(64, 64, 4, stride=2, padding=1)
larger = nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1)
coarse.encoder = nn.Sequential(coarse.encoder, nn.ReLU(), smaller)
coarse.decoder = nn.Sequential(larger, nn.ReLU(), coarse.decoder)
coarse_mse = train(coarse, steps, "4 x 4 x 4")
for model in (models[32, 1], coarse):
    print("codes of a frame:", tuple(model.encode(val_frames[:1]).shape[2:]))
print(f"8 x 8 x 1: MSE {errors[32, 1, 0]:.4f}    4 x 4 x 4: MSE {coarse_mse:.4f}")

# %% [markdown]
# The same count of numbers, worse pictures: each of the 4x4 positions must now speak for 64 pixels. This
# agrees with the first column of Table 7, where R-FVD grows from 14.9 to 23.1. (One seed, 300 steps: take the
# direction, not the size.)
#
# The second half is the prior's trouble. The codes of one position are not independent: given the first, the
# others are easier to guess. How much they know about each other is their *mutual information*. A prior that
# predicted them separately would pay for it, so LVT predicts them one after another.

# %%
def shared_bits(codes, num_codes):
    """How much the code of the first codebook tells about the second, and all that one has.

    Both in bits; the first is their mutual information.
    """
    first = perplexity(codes[..., 0], num_codes).log2()  # the entropy, in bits
    second = perplexity(codes[..., 1], num_codes).log2()
    both = perplexity(joint_code(codes[..., :2], num_codes), num_codes ** 2).log2()
    return first + second - both, second


shared, alone = shared_bits(models[32, 4].encode(val_frames), 32)
print(f"the second code has {alone:.2f} bits; {shared:.2f} of them are known from the first")
if profile == "course":
    assert shared > 0.5

# %% [markdown]
# ## 5. The trained model, and a real video
#
# Training to the end takes longer than a notebook should. The course ships the result: `lvt-frames-course`,
# four codebooks of 128, trained on colour digits of 64x64 with the code you just saw
# (`lvlib/checkpoints/README.md` has the command).

# %%
shipped = load_checkpoint("lvt-frames-course")
digits = to_video(MovingDigits(1, size=64, color=True, split="test")[0]["video"])[None]
codes = shipped.encode(digits)
rebuilt = shipped.decode(codes)
print(f"PSNR on digits it has never seen: {psnr(rebuilt, digits).item():.1f} dB, "
      f"at {code_bits(codes.shape[1:], 128) / (16 * 64 * 64):.2f} bits a pixel")
show_video([digits[0], rebuilt[0]], titles=["clip", "rebuilt"],
           alt="Two coloured digits that move over black, and the reconstruction, hardly to be "
           "told from them.")

# %%
show_codes(digits[0], codes[0, ..., 0], 128,
           alt="Frames, the first codebook's map, with a rim of its own, and the codes that change "
           "from frame to frame: far more than those of the digits.")

# %% [markdown]
# And a street, seen by a camera? The model has only ever seen digits on black, so expect little.

# %%
street = data_home() / "real_clips" / "bikes.mp4"
if street.exists():
    frames, _ = read_video(street, frames=16, start=144, stride=2, size=64)
    real = to_video(frames)[None]
    rebuilt = shipped.decode(shipped.encode(real))
    print(f"PSNR on a real clip: {psnr(rebuilt, real).item():.1f} dB")
    show_video([real[0], rebuilt[0]], titles=["camera", "rebuilt"],
               alt="A street behind a fence, and its reconstruction: the shapes are there, but "
               "dark, green and speckled.")
else:
    print("no real clip here; get some with: make data")

# %% [markdown]
# Edges and motion come through, the greys do not: the codebooks have none for them. An autoencoder knows
# what it was trained on. LVT and VideoGPT train one for each data set, and so can you: `--data.root` takes
# any folder of video files. The same configuration, trained once for 2,000 steps (four minutes of one core) on two
# of the course's real clips, rebuilt the third, the man in the car, at 26.3 dB.
#
# ## What you built
#
# ```python
# from lvlib.models.common.quantize import code_bits, SlicedQuantizer, ema_quantizer
# from lvlib.models.lvt.frame_vqvae import FrameVQVAE, FrameVQVAEConfig
# ```
#
# ## Scale it up
#
# The model of this notebook, on your machine and on your own video file:
#
# ```
# lvlib data moving_digits --out data/moving_digits
# lvlib train lvt-frames-course --out runs/frames --data.root data/moving_digits
# lvlib reconstruct runs/frames my_video.mp4 --out side_by_side.mp4
# ```
#
# And the paper's, on a GPU:
#
# ```
# lvlib train lvt-frames-bair-nc4 --out runs/bair --data.root BAIR
# ```
# Four codebooks cost no more than one: 178 GFLOP a step of 32 frames, as in notebook 02. Kinetics takes four
# residual blocks, 243 GFLOP a step and a million steps. (These are counts. We have not run the full
# trainings.)
#
# ## Questions to think about
#
# 1. Which is the better use of 36 bits: four codebooks of 512 on one position, or one codebook on four
#    positions?
#
#    <details><summary>Answer</summary>Table 7 asks nearly this: 8 x 32 x 32 x 1 against 8 x 16 x 16 x 4.
#    The finer grid wins in all three columns. Each of four positions has a patch of its own to speak of,
#    and the decoder knows where it is. But a prior that attends over positions has four times as many of
#    them then, and its cost grows with the square.</details>
#
# 2. The slices are cut anywhere: channel 15 and channel 16 have no special border. Why does the encoder not
#    mind?
#
#    <details><summary>Answer</summary>No channel means anything before training. The cut is there from
#    the first step, and the last convolution of the encoder can put whatever it likes into each
#    slice.</details>
#
# 3. LVT found that *more* than four codebooks overfit. What could overfitting mean for an autoencoder with
#    discrete codes?
#
#    <details><summary>Answer</summary>With so many combinations a patch of a training frame can have one
#    for itself, which encoder and decoder learn together. Training frames come back ever better, new ones
#    do not. The prior has it harder, too: it must predict combinations that it has hardly seen.</details>
#
# 4. The codes of one position know of each other. Could the codebooks be trained so that they do not?
#
#    <details><summary>Answer</summary>One can punish what they share, say the covariance of the slices.
#    Or let the second codebook encode what the first has left over: z less its first code. This is residual
#    quantization. Either makes them share less. "Nothing at all" is too much to ask.</details>

# %%
progress()
