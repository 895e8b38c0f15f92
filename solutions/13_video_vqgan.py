# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 13 · VideoVQGAN: an autoencoder that is judged
#
# **What you will build.** The autoencoder of TATS, the third system: convolutions in space and time, a codebook, and
# two **discriminators**, networks that learn to tell its clips from real ones while it learns to deceive them.
#
# **Why it matters.** Look at the grass. Below is a walk through the maze of Doom, and what the autoencoder of
# VideoGPT makes of it ("before"): everything that is fine is gone. That is what its loss asks for. "After" is from the
# one that you build here.

# %% jupyter={"source_hidden": true}
import copy
import math
import os
from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from tqdm import tqdm

from lvlib.course import check, progress
from lvlib.course.clips import doom_walks, one_digit
from lvlib.course.vqgan_switches import with_axial_attention, with_constant_channels
from lvlib.data import to_video
from lvlib.metrics.pixels import psnr
from lvlib.pretrained import perceptual_distance
from lvlib.runs import load_checkpoint
from lvlib.viz import curves, set_style, show, strip

set_style()

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %%
doom = {name: load_checkpoint(f"{run}/autoencoder")
        for name, run in {"before": "videogpt-doom-course", "after": "tats-doom-course"}.items()}
walks = to_video(doom_walks({"smoke": 1, "course": 4}[profile], 16, split="test")[0])
walked = {"real": walks} | {name: one.decode(one.encode(walks)) for name, one in doom.items()}
show(strip([video[0] for video in walked.values()], frames=6, titles=list(walked)),
     alt="Six frames of a walk. Before: fog. After: bricks with joints, and grass.")

# %% [markdown]
# **What it costs.** Two minutes on one CPU core. **What it needs.** Notebooks 02 and 08.
#
# ## 1. Why an average blurs
#
# A digit comes to a fork: half of the time it goes left, half of the time right. You must draw the next frame, and you
# will be judged by the squared error. What do you draw?

# %%
start = one_digit(1, 1, size=32, digit_size=14)[0][0, 0, 0]
left, right = start, start.roll(10, 1)
black = torch.full_like(start, -1)
drawings = {"left": left, "right": right, "the mean": (left + right) / 2, "nothing": black}
squared, absolute = {}, {}
for name, drawn in drawings.items():
    errors = torch.stack([drawn - left, drawn - right])
    squared[name], absolute[name] = errors.square().mean().item(), errors.abs().mean().item()
    print(f"{name:<9} squared error {squared[name]:.3f}, absolute error {absolute[name]:.3f}")
assert squared["the mean"] < 0.75 * min(squared["left"], squared["nothing"])
assert abs(absolute["the mean"] - absolute["left"]) < 1e-6

show(strip([torch.stack(list(drawings.values()))[None]], frames=4, titles=[", ".join(drawings)]),
     alt="Four pictures: a digit on the left, on the right, grey ghosts of it in both, nothing.")

# %% [markdown]
# The squared error likes the grey ghosts best, which no clip has ever shown: **the best guess is the mean of all that
# is possible**. The absolute error, which TATS takes, has the median: of two possibilities anything from one to the
# other is equally good, and of three places of a digit it is black.
#
# A decoder is in the same place. All clips that have the same codes are possible, and it must draw one. Where each
# blade of grass stands is not in the codes, so the error is lowest for a flat green. What we want is *one* meadow of
# the many, and no pixel of the clip can say so. But somebody who knows meadows can.
#
# ## 2. Discriminators
#
# A **discriminator** D is a network that gives one number for what it sees: high for real clips, low for rebuilt ones.
# TATS has two (section 2.1). One sees a **frame**, and asks whether it looks real. One sees the whole **clip**, and
# asks whether it moves like a real one. Both are made of a few convolutions, and give a number for each *patch* (Isola
# et al. 2017): what is fine is judged close up, everywhere at once.

# %% jupyter={"source_hidden": true} tags=["export:models.tats.normalization"]
"""Norms for a GAN's volumes: BatchNorm over all processes, or GroupNorm. TATS, A.1."""

from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

NormKind = Literal["batch", "group"]

# %% tags=["export:models.tats.normalization"]
class SyncBatchNorm(_BatchNorm):
    """BatchNorm over the clips of all processes, (b, channels, ...). torch's is for GPUs alone."""

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        alone = not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1
        if alone or not self.training:
            return super().forward(x)
        from torch.distributed.nn.functional import all_reduce  # its gradient is summed, too

        axes, shape = [axis for axis in range(x.ndim) if axis != 1], [1, -1] + [1] * (x.ndim - 2)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        here = wide.new_full((x.shape[1],), x.numel() / x.shape[1])
        total, number = all_reduce(torch.stack([wide.sum(axes), here]))
        mean, n = total / number, number[0]
        centred = wide - mean.view(shape)  # first: the mean of squares loses what is far from 0
        variance = all_reduce(centred.square().sum(axes)) / n
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        return torch.addcmul(self.bias.view(shape), centred, scale.view(shape)).to(x.dtype)

# %% tags=["export:models.tats.normalization"]
def norm_of(kind: NormKind, channels: int) -> nn.Module:
    """A norm for (b, channels, ...). group: 32 groups, or as many as channels if they are fewer."""
    if kind == "group":
        return nn.GroupNorm(min(32, channels), channels, eps=1e-6)
    return SyncBatchNorm(channels)

# %% jupyter={"source_hidden": true} tags=["export:models.tats.discriminators"]
"""Discriminators of patches, of frames and of clips, and the losses of a GAN. TATS, section 2.1."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.tats.normalization import SyncBatchNorm

GANLoss = Literal["hinge", "vanilla"]

# %% tags=["export:models.tats.discriminators"]
class PatchDiscriminator(nn.Module):
    """Tells real patches from made ones, each for itself (Isola et al. 2017).

    dims: 2 for frames (b, channels, h, w), 3 for clips (b, channels, t, h, w). hidden: channels of
    the first layer; they double with each further one, up to 512. layers: that halve each axis.
    """

    def __init__(self, channels: int, hidden: int = 64, layers: int = 3, dims: int = 2):
        super().__init__()
        convolution = nn.Conv2d if dims == 2 else nn.Conv3d
        widths = [channels] + [min(hidden * 2**i, 512) for i in range(layers + 1)]
        stages = []
        for i, (width, next_width) in enumerate(zip(widths, widths[1:], strict=False)):
            stride = 2 if i < layers else 1
            stage = [convolution(width, next_width, 4, stride, padding=2)]
            stage += [SyncBatchNorm(next_width)] * (i > 0) + [nn.LeakyReLU(0.2)]
            stages.append(nn.Sequential(*stage))
        stages.append(convolution(widths[-1], 1, 4, padding=2))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """What each layer makes of x, the first first; the last are logits, high for real."""
        features, x = [], x.to(self.stages[-1].weight.dtype)
        # On a CPU not in bf16: there torch 2.13 gets the gradient of some Conv3d from stray memory.
        with torch.autocast("cpu", enabled=False):
            for stage in self.stages:
                x = stage(x)
                features.append(x)
        return features

# %% [markdown]
# ## 3. What each of them wants
#
# D's number s is a **logit**: sigmoid(s) is the probability that it gives to *real*. The paper writes the **vanilla**
# loss: D maximises $\log D(x) + \log(1 - D(\hat x))$, or lowers $-\log\sigma(s)$ of real and $-\log(1 - \sigma(s))$ of
# rebuilt ones. The official code's default is the **hinge** loss: real ones should be above 1, rebuilt ones below -1,
# and beyond that nothing is gained: $\max(0, 1 - s)$ and $\max(0, 1 + s)$.
#
# ### Exercise 13.1 · the discriminator's loss (about 10 min)
# Both kinds, as what D *lowers*: the mean over the real logits plus the mean over the others. Their numbers may differ.
#
# <details><summary>Hint</summary>log(sigmoid(s)) of a large negative s is log(0) in float32. But -log(sigmoid(s)) =
# log(1 + exp(-s)), which PyTorch has as a function that never overflows.</details>
# <details><summary>The call</summary><code>F.softplus(-real)</code> and <code>F.softplus(fake)</code>; <code>F.relu(1 -
# real)</code> and <code>F.relu(1 + fake)</code>.</details>

# %% tags=["exercise", "ex-13.1", "export:models.tats.discriminators"]
def discriminator_loss(real: Tensor, fake: Tensor, kind: GANLoss) -> Tensor:
    """What a discriminator lowers, from its logits of real and of rebuilt patches, any shapes: ().

    Finite for logits of any size. TATS, section 2.1 (vanilla); official code (hinge).
    """
    ### BEGIN SOLUTION
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()
    ### END SOLUTION

# %% tags=["check", "ex-13.1"]
discriminator_loss = check("13.1", discriminator_loss)

# %% [markdown]
# And the autoencoder? It wants high numbers for what it rebuilt. With the hinge loss it lowers -s. With the vanilla
# loss as the paper writes it, it would lower $\log(1 - \sigma(s))$. Nobody does. The reason is in its gradient:

# %% tags=["export:models.tats.discriminators"]
def generator_loss(fake: Tensor, kind: GANLoss) -> Tensor:
    """What the autoencoder lowers, from the logits of what it rebuilt: ()."""
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()

# %%
s = torch.linspace(-8, 8, 161, requires_grad=True)
lines = {"hinge: -s": -s, "vanilla: -log D": F.softplus(-s), "log(1 - D)": -F.softplus(s)}
slopes = {name: torch.autograd.grad(line.sum(), s)[0].tolist() for name, line in lines.items()}
show(curves({name: dict(zip(s.tolist(), slope, strict=True)) for name, slope in slopes.items()},
            xlabel="logit of a rebuilt patch", ylabel="gradient"),
     alt="Gradients over the logit from -8 to 8. Hinge is -1 everywhere. -log D goes from -1 on "
         "the left to 0 on the right, log(1 - D) from 0 on the left to -1 on the right.")
assert slopes["log(1 - D)"][0] > -1e-3 and slopes["vanilla: -log D"][0] < -0.99

# %% [markdown]
# On the left D is sure that the patch is rebuilt, as it is at first. There the printed form has no gradient: who is
# worst learns nothing. The other two push with full strength.
#
# ## 4. Feature matching, and a network that knows pictures
#
# "More real" is a vague wish. A more definite one: *the layers inside of D should see in your clip what they see in the
# true one*. A layer knows edges, strokes and their motion, and not quite where they are.
#
# ### Exercise 13.2 · feature matching (about 10 min)
# The mean absolute difference in each layer, summed over the layers, but for the last: those are the logits. (The
# paper's factor $p_i$, one over the number of elements, is that mean.) The true clip's side is a target: no gradient.
#
# <details><summary>Hint</summary>Both lists have a tensor for each layer. Take them in pairs.</details>
# <details><summary>The call</summary><code>F.l1_loss(a, b.detach())</code> for <code>zip(fake[:-1], real[:-1])</code>.
# A list with the logits alone gives 0, a tensor.</details>

# %% tags=["exercise", "ex-13.2", "export:models.tats.discriminators"]
def feature_matching(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """Mean absolute difference of a discriminator's features, summed over its layers but the last:
    (). The real side gets no gradient. TATS, section 2.1."""
    ### BEGIN SOLUTION
    pairs = zip(fake[:-1], real[:-1], strict=True)
    return sum((F.l1_loss(a, b.detach()) for a, b in pairs), start=fake[0].new_zeros(()))
    ### END SOLUTION

# %% tags=["check", "ex-13.2"]
feature_matching = check("13.2", feature_matching)

# %% [markdown]
# The **perceptual loss** is the same idea with a network that was trained on photographs, long ago. The paper takes VGG
# (its weights are not ours to ship), we take EfficientNet-Lite0. It looks at *one frame of each clip, drawn anew at
# each step*: 16 frames would cost 16 times as much, and over many steps all have their turn. (Notebook 12: a shift by
# one pixel is 0.59 away in it, noise of the same squared error 2.55.) It needs 32 x 32 pixels or more.
#
# ## 5. The autoencoder
#
# Like that of notebook 08: convolutions that halve, a codebook, convolutions that double. Three things differ. There
# is no attention, and after each halving there are *twice as many channels* (section 8 tries what the paper says of
# both). And its convolutions bring their own padding. Here the border of the picture, and the first and the last
# frame, are repeated: notebook 14 says why.

# %% jupyter={"source_hidden": true} tags=["export:models.tats.padding"]
"""3D convolutions that bring their own padding. TATS, section 2.2.

Volumes are (b, channels, t, h, w). In space the border is repeated; in time there is a choice.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.volume import Triple

TimePadding = Literal["zero", "replicate", "reflect", "circular"]
MODES = {"zero": "constant", "replicate": "replicate", "reflect": "reflect", "circular": "circular"}

# %% tags=["export:models.tats.padding"]
def pad_time(x: Tensor, before: int, after: int, padding: TimePadding) -> Tensor:
    """Volumes with so many more frames before and after. TATS, section 2.2 and Fig. 4.

    zero: black ones. replicate: the first and the last again. reflect: played backwards from
    there. circular: the other end of the clip.
    """
    return F.pad(x, (0, 0, 0, 0, before, after), MODES[padding])


def same_padding(kernel: Triple, stride: Triple) -> list[tuple[int, int]]:
    """(before, after) on each axis, so that a size that the stride divides is divided by it. An odd
    number has its larger half before (official code)."""
    totals = [k - s for k, s in zip(kernel, stride, strict=True)]
    return [(total - total // 2, total // 2) for total in totals]

# %% tags=["export:models.tats.padding"]
def pad_volume(x: Tensor, amounts: list[tuple[int, int]], padding: TimePadding | None) -> Tensor:
    """Pads all axes; amounts: those of `same_padding`. padding: in time; None pads no frames."""
    time, height, width = amounts
    if padding == "replicate":
        return F.pad(x, (*width, *height, *time), "replicate")  # the same in one go
    x = F.pad(x, (*width, *height, 0, 0), "replicate")
    return x if padding is None else pad_time(x, *time, padding)


def channels_last(weight: nn.Parameter) -> nn.Parameter:
    """The same, with the channels of a place side by side in memory: a third faster on a CPU."""
    return nn.Parameter(weight.data.contiguous(memory_format=torch.channels_last_3d))


class PaddedConv3d(nn.Conv3d):
    """A convolution after which an axis is as long as before, divided by the stride.

    time_padding: may be changed at any time. None: no frames are added, and fewer come out: real
    ones must stand there (TATS, A.3).
    """

    def __init__(self, channels: int, out_channels: int, kernel: int,
                 stride: Triple = (1, 1, 1), time_padding: TimePadding | None = "replicate"):
        super().__init__(channels, out_channels, kernel, stride)
        self.weight = channels_last(self.weight)
        self.time_padding = time_padding

    def forward(self, x: Tensor) -> Tensor:
        amounts = same_padding(self.kernel_size, self.stride)
        return super().forward(pad_volume(x, amounts, self.time_padding))


class PaddedConvTranspose3d(nn.ConvTranspose3d):
    """The reverse of a `PaddedConv3d`: an axis becomes longer, as many times as the stride says."""

    def __init__(self, channels: int, out_channels: int, kernel: int,
                 stride: Triple, time_padding: TimePadding = "replicate"):
        super().__init__(channels, out_channels, kernel, stride, padding=kernel - 1)
        self.weight = channels_last(self.weight)
        self.time_padding = time_padding

    def forward(self, x: Tensor) -> Tensor:
        amounts = same_padding(self.kernel_size, self.stride)
        return super().forward(pad_volume(x, amounts, self.time_padding))

# %% jupyter={"source_hidden": true} tags=["export:models.tats.vqgan"]
"""TATS's autoencoder: a 3D VQGAN that does not know where in time it is. TATS, section 2.1, A.1."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lvlib.models.common.checks import check_choice, check_numbers
from lvlib.models.common.quantize import EMACodebook
from lvlib.models.common.volume import Triple
from lvlib.models.tats import discriminators as gan
from lvlib.models.tats.equivariance import decoder_reach, receptive_field
from lvlib.models.tats.normalization import NormKind, norm_of
from lvlib.models.tats.padding import PaddedConv3d, PaddedConvTranspose3d, TimePadding
from lvlib.models.videogpt.vqvae import hold_last, latent_grid, strides
from lvlib.pretrained import perceptual_distance
from lvlib.stages import LatentSpec, Metrics, VideoShape


# %% tags=["export:models.tats.vqgan"]
class VQGANBlock(nn.Module):
    """x plus two 3x3x3 convolutions, each after a norm and a SiLU. Official code.

    Where the convolutions add no frames of their own, x loses those that they lost.
    """

    def __init__(self, channels: int, norm: NormKind, padding: TimePadding):
        super().__init__()
        self.correction = nn.Sequential(
            norm_of(norm, channels), nn.SiLU(),
            PaddedConv3d(channels, channels, 3, time_padding=padding),
            norm_of(norm, channels), nn.SiLU(),
            PaddedConv3d(channels, channels, 3, time_padding=padding))

    def forward(self, x: Tensor) -> Tensor:
        correction = self.correction(x)
        lost = (x.shape[2] - correction.shape[2]) // 2
        return x[:, :, lost:x.shape[2] - lost] + correction

# %% tags=["export:models.tats.vqgan"]
class VQGANEncoder(nn.Sequential):
    """Video (b, c, t, h, w) -> vectors (b, width, t', h', w'), twice as wide after each halving."""

    def __init__(self, config: "VQGANConfig"):
        width, norm, padding = config.hidden, config.norm, config.padding
        layers = [PaddedConv3d(config.channels, width, 3, time_padding=padding)]
        for stride in strides(config.downsample):
            layers.append(PaddedConv3d(width, 2 * width, 4, stride, padding))
            width *= 2
            layers += [VQGANBlock(width, norm, padding)
                       for _ in range(config.residual_blocks[0])]
        super().__init__(*layers, norm_of(norm, width), nn.SiLU())


class VQGANDecoder(nn.Sequential):
    """The reverse; as wide at each size as the encoder is one halving below."""

    def __init__(self, config: "VQGANConfig"):
        steps, norm, padding = strides(config.downsample), config.norm, config.padding
        width = config.hidden * 2**len(steps)
        layers = [norm_of(norm, width), nn.SiLU()]
        for level, stride in enumerate(steps):
            next_width = width if level == 0 else width // 2
            layers.append(PaddedConvTranspose3d(width, next_width, 4, stride, padding))
            width = next_width
            layers += [VQGANBlock(width, norm, padding)
                       for _ in range(config.residual_blocks[1])]
        super().__init__(*layers, PaddedConv3d(width, config.channels, 3, time_padding=padding))

# %% [markdown]
# A **BatchNorm** takes mean and variance of a channel over the batch, **GroupNorm** over one clip (section 9). The
# paper has *synchronised* BatchNorm, over the clips of all processes: a GPU has room for two. PyTorch's is for GPUs.
#
# ## 6. A step with two optimizers
#
# The losses fall into two groups. The autoencoder's: the absolute error, the codebook's, and from a **start step** on
# what the discriminators say (the paper waits for 10,000 steps: until then there is nothing to judge but blots). And
# the discriminators' own. Each has its optimizer, and must not move the other's weights.
#
# So `losses` is a *generator*: it yields a loss, waits until the training has made a step with it, and goes on with the
# next. Between the two nothing is computed twice. The clip goes through the autoencoder **once**: the discriminators
# are shown the same rebuilt clip, cut off from its graph by `detach`.
#
# > **In the official code** the whole autoencoder runs once for each optimizer, so that the codebook learns twice a
# > step. The discriminators run before their start step, too, and their loss is multiplied by 0.

# %% tags=["export:models.tats.vqgan"]
class VQGANAutoencoder(nn.Module):
    """Encoder, codebook and decoder of clips, without judges."""

    def __init__(self, config: "VQGANConfig"):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = VQGANEncoder(config), VQGANDecoder(config)
        width = config.hidden * 2**len(strides(config.downsample))
        self.to_codes = nn.Conv3d(width, config.code_dim, 1)
        self.from_codes = nn.Conv3d(config.code_dim, width, 1)
        self.quantizer = EMACodebook(config.codes, config.code_dim, config.commitment,
                                     config.decay, config.restart)

    def vectors(self, video: Tensor) -> Tensor:
        """Video (b, c, t, h, w) -> vectors (b, t', h', w', code_dim)."""
        return rearrange(self.to_codes(self.encoder(video)), "b d t h w -> b t h w d")

    def video(self, q: Tensor) -> Tensor:
        """Vectors (b, t', h', w', code_dim) -> video (b, c, t, h, w)."""
        return self.decoder(self.from_codes(rearrange(q, "b t h w d -> b d t h w")))

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """Video (b, c, t, h, w) in [-1, 1] -> codes int64 (b, t', h', w'). Raises ValueError as
        `VQGANConfig.latents` does."""
        self.config.latents(tuple(video.shape[1:]))
        return self.quantizer(self.vectors(video))[1]

    def encode_start(self, frames: Tensor, clip_frames: int) -> Tensor:
        """Codes of the first frames (b, c, t0, h, w) of longer clips: (b, t0', h', w'). The last
        stands in for those to come. Raises ValueError as `hold_last` and `encode` do."""
        rate, given = self.config.downsample[0], frames.shape[2]
        longest = given + -(-receptive_field(self.encoder)[1] // rate) * rate
        return self.encode(hold_last(frames, min(clip_frames, longest), rate))[:, :given // rate]

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 (b, t', h', w') -> video (b, c, t, h, w) in [-1, 1], however many."""
        rate, beside, videos = self.config.downsample[0], decoder_reach(self.decoder), []
        for clips in codes.split(max(PIECE // codes.shape[1], 1)):
            parts = []
            for start in range(0, codes.shape[1], PIECE):
                first = max(start - beside, 0)
                q = self.quantizer.lookup(clips[:, first:start + PIECE + beside])
                frames = self.video(q)[:, :, (start - first) * rate:]
                parts.append(frames[:, :, :PIECE * rate].clamp(-1, 1))
            videos.append(torch.cat(parts, 2))
        return torch.cat(videos)

# %% tags=["export:models.tats.vqgan"]
class VQGAN(VQGANAutoencoder):
    """The same with its discriminators; `VQGANConfig.build` makes one. TATS, section 2.1."""

    def __init__(self, config: "VQGANConfig"):
        super().__init__(config)
        size = config.channels, config.disc_hidden, config.disc_layers
        kinds = {} if config.gan_start is None else {"frame": 2, "clip": 3}
        self.discriminators = nn.ModuleDict({name: gan.PatchDiscriminator(*size, dims)
                                             for name, dims in kinds.items()})

    def optimizers(self) -> dict[str, list[nn.Parameter]]:
        judges = list(self.discriminators.parameters())
        parts = self.encoder, self.decoder, self.to_codes, self.from_codes
        found = {"autoencoder": [p for part in parts for p in part.parameters()]}
        return found | ({"discriminator": judges} if judges else {})

    def losses(self, video: Tensor, *, step: int) -> Iterator[tuple[str, Tensor, Metrics]]:
        """First the autoencoder's, then, from step `gan_start` on, that of the discriminators."""
        config = self.config
        q, _, quantizer_loss, metrics = self.quantizer(self.vectors(video))
        rebuilt = self.video(q)
        error = F.l1_loss(rebuilt, video)
        metrics = {"reconstruction_loss": error, **metrics}
        loss = config.reconstruction_weight * error + quantizer_loss
        frame = random_frame(step, video.shape[2])
        real = {"frame": video[:, :, frame], "clip": video}
        fake = {"frame": rebuilt[:, :, frame], "clip": rebuilt}
        if config.perceptual:
            distance = perceptual_distance(config.perceptual, fake["frame"], real["frame"]).mean()
            metrics["perceptual_loss"] = distance
            loss = loss + config.perceptual_weight * distance
        judging = config.gan_start is not None and step >= config.gan_start
        if judging:
            wanted, logits, said = wishes(self, real, fake)
            loss, metrics = loss + wanted, metrics | said
        yield "autoencoder", loss, metrics
        if judging:
            yield "discriminator", *verdict(self, logits, {n: x.detach() for n, x in fake.items()})

# %% tags=["export:models.tats.vqgan"]
def wishes(model: VQGAN, real: dict[str, Tensor],
           fake: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor], Metrics]:
    """What the autoencoder wants, (); the discriminators' logits of real ones; and its parts."""
    config, total, logits, metrics = model.config, 0.0, {}, {}
    for name, judge in model.discriminators.items():
        seen, expected = judge(fake[name]), judge(real[name])
        logits[name] = expected[-1]
        deceived = gan.generator_loss(seen[-1], config.gan_loss)
        matched = gan.feature_matching(seen, expected)
        metrics |= {f"{name}_deceived": deceived, f"{name}_matching": matched}
        total = total + config.gan_weight * deceived + config.match_weight * matched
    return total, logits, metrics


def verdict(model: VQGAN, real: dict[str, Tensor],
            fake: dict[str, Tensor]) -> tuple[Tensor, Metrics]:
    """The discriminators' loss, and what each says. real: their logits; fake: rebuilt ones."""
    losses, metrics = [], {}
    for name, judge in model.discriminators.items():
        says = real[name], judge(fake[name])[-1]
        losses.append(gan.discriminator_loss(*says, model.config.gan_loss))
        metrics |= {f"{name}_real": says[0].mean(), f"{name}_fake": says[1].mean()}
    return model.config.gan_weight * torch.stack(losses).sum(), metrics


PIECE = 32  # latent frames that are decoded at a time, and those beside them that they see


def random_frame(step: int, frames: int) -> int:
    """The frame that is judged at this step: the same in all clips, so that a batch in pieces sees
    what a whole one sees."""
    return random.Random(step).randrange(frames)

# %% [markdown]
# The sizes stand in a dataclass, folded here. The losses' weights are 4 for error, matching, perception, 1 for D (B.2).

# %% jupyter={"source_hidden": true} tags=["export:models.tats.vqgan"]
@dataclass(frozen=True)
class VQGANConfig:
    """Sizes of a `VQGAN`; the defaults are those of B.2 and, where the paper is silent, of its
    code. Raises ValueError for sizes that do not fit together."""

    frame_by_frame: ClassVar[bool] = False
    channels: int = 3
    """Colour channels of the video: 1 or 3."""
    hidden: int = 32
    """Channels before the first halving; they double with each (A.1)."""
    residual_blocks: tuple[int, int] = (1, 2)
    """After each halving in the encoder, after each doubling in the decoder (official code)."""
    downsample: Triple = (4, 8, 8)
    """How many times fewer latents than frames, rows and columns: 1, 2, 4, 8 or 16 each."""
    codes: int = 16_384
    code_dim: int = 256
    """Dimension of the quantized vectors."""
    padding: TimePadding = "replicate"
    """What stands before and after a clip: zero, replicate, reflect or circular (A.3)."""
    norm: NormKind = "batch"
    """batch: over the clips of all processes (A.1); group: depends on where in time a frame is."""
    commitment: float = 0.25
    """Weight of the commitment loss."""
    decay: float = 0.99
    """Decay of the codebook's running means (official code)."""
    restart: float = 0.0
    """A code used less than this share of the mean is restarted; the paper has no restarts."""
    reconstruction_weight: float = 4.0
    perceptual: str | None = "efficientnet-lite0"
    """Perceptual network: efficientnet-lite0, or your vgg16.pt for the paper's LPIPS; None."""
    perceptual_weight: float = 4.0
    match_weight: float = 4.0
    gan_weight: float = 1.0
    gan_start: int | None = 10_000
    """First step with discriminators; None for never."""
    gan_loss: gan.GANLoss = "hinge"
    """hinge (official code) or vanilla (section 2.1)."""
    disc_hidden: int = 64
    """Channels of the discriminators' first layer (official code)."""
    disc_layers: int = 3
    """Layers of theirs that halve each axis (official code)."""

    def __post_init__(self):
        check_sizes_of_vqgan(self)

    def latents(self, video_shape: VideoShape) -> LatentSpec:
        """Of a clip (c, t, h, w): codes (t', h', w'). Raises ValueError where it does not fit."""
        channels, *size = video_shape
        if channels != self.channels:
            raise ValueError(f"the video must have {self.channels} channels, not {channels}")
        grid = latent_grid(tuple(size), self.downsample)
        if self.padding == "reflect" and grid[0] < 3:
            raise ValueError(f"padding reflect needs 3 latent frames or more, not {grid[0]}")
        return LatentSpec(grid, self.codes, self.downsample[0])

    def build(self) -> VQGAN:
        """The model, with new weights."""
        return VQGAN(self)

# %% jupyter={"source_hidden": true} tags=["export:models.tats.vqgan"]
def check_sizes_of_vqgan(config: VQGANConfig) -> None:
    """Raises ValueError for sizes that do not fit together."""
    check_numbers(config, "channels", "hidden", "codes", "code_dim", "disc_hidden", "disc_layers",
                  least=1)
    check_numbers(config, "commitment", "reconstruction_weight", "perceptual_weight",
                  "match_weight", "gan_weight", least=0)
    check_numbers(config, "decay", above=0, below=1)
    check_numbers(config, "restart", least=0, below=1)
    for field, kinds in {"padding": TimePadding, "norm": NormKind, "gan_loss": gan.GANLoss}.items():
        check_choice(config, field, get_args(kinds))
    if config.gan_start is not None:
        check_numbers(config, "gan_start", least=1)
    if any(blocks < 0 for blocks in config.residual_blocks):
        raise ValueError(f"residual_blocks must be 0 or more, not {config.residual_blocks}")
    factors = config.downsample
    if any(factor not in (1, 2, 4, 8, 16) for factor in factors) or max(factors) == 1:
        raise ValueError("downsample must be 1, 2, 4, 8 or 16 an axis and more than 1 on one of "
                         f"them, not {factors}")
    width = config.hidden * 2**len(strides(factors))
    if config.norm == "group" and any(w % min(32, w) for w in (2 * config.hidden, width)):
        raise ValueError(f"for group norm, hidden must be a multiple of 16, not {config.hidden}")

# %% [markdown]
# `torch.nn.utils.clip_grad_norm_` shortens a gradient that is longer than 1 to a length of 1, which the paper always
# does (A.1). `backward(inputs=...)` brings a gradient to the named parameters alone.

# %%
def digits(split: str, clips: int, size: int) -> Tensor:
    """Clips of one grey digit, (clips, 1, 8, size, size)."""
    return one_digit(clips, 8, size=size, digit_size=5 * size // 8, speeds=(1,), split=split)[0]


def train(model: nn.Module, clips: Tensor, first: int, steps: int, name: str, rate: float = 2e-3,
          longest: float = 1.0) -> list[dict[str, float]]:
    """Trains from step `first` on, with gradients of norm `longest` at most; their numbers."""
    parts, rows = model.train().optimizers(), []
    optimizers = {part: torch.optim.Adam(own, betas=(0.5, 0.9)) for part, own in parts.items()}
    for step in tqdm(range(first, first + steps), desc=name):
        video, row = clips[torch.randint(len(clips), (4,))], {}
        for part, loss, metrics in model.losses(video, step=step):
            optimizers[part].param_groups[0]["lr"] = rate * (1 - (step - first) / steps)
            optimizers[part].zero_grad()
            loss.backward(inputs=parts[part])
            norm = nn.utils.clip_grad_norm_(parts[part], longest)
            optimizers[part].step()
            row |= {part: loss, f"{part} norm": norm, **metrics}
        rows.append({key: value.item() for key, value in row.items()})
    model.eval()
    return rows


warm, judged, count = {"smoke": (2, 2, 4), "course": (300, 100, 1000)}[profile]
config = VQGANConfig(channels=1, hidden=8, residual_blocks=(1, 1), downsample=(4, 4, 4), codes=256,
                     code_dim=32, decay=0.95, restart=0.05, perceptual=None, disc_hidden=16,
                     disc_layers=2, gan_start=warm + 1)
clips, test = digits("train", count, 32), digits("test", {"smoke": 2, "course": 48}[profile], 32)
torch.manual_seed(0)
model = config.build()
rows = train(model, clips, 1, warm, "without judges")
print(f"{model.quantizer.updates} updates of the codebook in {warm} steps")
assert model.quantizer.updates == warm

# %% [markdown]
# ## 7. The GAN phase
#
# From here on, twice the same steps on the same clips: once as before, once with the perceptual loss and both judges,
# these at a tenth of the paper's weights ("with both"). Neither has seen the test clips.

# %%
def continued(model: nn.Module, name: str, clips: Tensor, longest: float = 1.0,
              **options) -> tuple[nn.Module, list[dict[str, float]]]:
    """A copy, trained for `judged` more steps with some fields of its configuration changed."""
    torch.manual_seed(1)
    model = copy.deepcopy(model)
    model.config = replace(model.config, **options)
    return model, train(model, clips, warm + 1, judged, name, longest=longest)


def looks(rebuilt: Tensor, clips: Tensor) -> float:
    """Mean perceptual distance over every second frame."""
    frames = [rearrange(video[:, :, ::2], "b c t h w -> (b t) c h w") for video in (rebuilt, clips)]
    with torch.no_grad():
        return perceptual_distance("efficientnet-lite0", *frames).mean().item()


phases = {"error alone": continued(model, "error alone", clips, gan_start=None),
          "with both": continued(model, "with both", clips, perceptual="efficientnet-lite0",
                                 gan_weight=0.1, match_weight=0.4)}
error, look, made = {}, {}, {}
for name, (phase, _) in phases.items():
    made[name] = phase.decode(phase.encode(test))
    error[name], look[name] = (made[name] - test).abs().mean().item(), looks(made[name], test)
    print(f"{name:<12} absolute error {error[name]:.4f}, PSNR {psnr(made[name], test).mean():.1f} "
          f"dB, perceptual distance {look[name]:.2f}")
show(strip([test[0], *(video[0] for video in made.values())], titles=["clip", *made]),
     alt="Three rows of frames of a 0: the clip; after the error alone, a soft grey ring with "
         "gaps; after the steps with both, brighter blots with a chequered grain.")
if profile != "smoke":
    assert error["with both"] < 1.3 * error["error alone"]
    assert look["with both"] < 1.2 * look["error alone"]

# %% [markdown]
# The perceptual distance falls, and the error does not rise. By hand, with seeds 0, 1 and 2, the distance changes by
# -20, -18 and -27%, the error by -3, -8 and -6%. The first is no surprise: the network that measures it was in
# the loss, and alone it does as much (-22, -17, -28%). Judges at the paper's weights cost: error +17, +6, +23%,
# distance -6, -3, +1%. They have judged for 100 steps of 4 clips here, and for 20,000 of 96 in the paper.
#
# ## 8. The experiment: three switches (Fig. 10)
#
# VideoGPT's autoencoder, trained with GAN losses, came apart: the discriminators' losses saturated at once, and the
# reconstruction was lost (A.1). TATS found three remedies: **convolutions in place of axial attention**, **channels
# that double** in place of a constant number, and **gradients clipped** to a length of 1. We take each back, one at a
# time (`lvlib.course.vqgan_switches` puts VideoGPT's residual blocks in the place of ours, or layers of 16 channels
# everywhere). Clips of 16x16, without a perceptual loss, which needs larger frames.

# %%
warm, judged = {"smoke": (2, 2), "course": (120, 60)}[profile]
config = replace(config, gan_start=warm + 1)

def warmed_up(change=None, **options) -> nn.Module:
    torch.manual_seed(0)
    model = replace(config, **options).build()
    if change:
        change(model)
    train(model, small, 1, warm, "warm-up")
    return model

# %%
small, small_test = digits("train", count, 16), digits("test", len(test), 16)
tats = warmed_up()
changed = {"TATS": tats, "axial attention": warmed_up(with_axial_attention),
           "constant channels": warmed_up(with_constant_channels), "no clipping": tats,
           "GroupNorm": warmed_up(norm="group")}
runs = {name: continued(its_model, name, small, longest=1e9 if name == "no clipping" else 1.0)
        for name, its_model in changed.items()}
for name, (run, rows) in runs.items():
    before, after = ((one.decode(one.encode(small_test)) - small_test).abs().mean()
                     for one in (changed[name], run))
    print(f"{name:<18} error {before:.3f} -> {after:.3f}, discriminators' loss at the end "
          f"{rows[-1]['discriminator']:.2f}, longest gradient "
          f"{max(row['autoencoder norm'] for row in rows):.0f}")

# %% jupyter={"source_hidden": true}
for key, what in {"discriminator": "discriminators' loss", "reconstruction_loss": "error"}.items():
    smooth = {name: torch.tensor([row[key] for row in rows]).unfold(0, min(10, judged), 1).mean(1)
              for name, (_, rows) in runs.items()}
    show(curves({name: line.tolist() for name, line in smooth.items()}, "step with judges", what),
         alt=f"The {what} in training over the steps with judges, five lines close together, which "
             "fall.")

# %% [markdown]
# **What we can say.** Nothing came apart. The error on *test* clips is a fifth to two fifths higher after the 60
# steps than before. The figure shows that of *training*: it leaps where the judges come in and the rate starts anew,
# and then falls, but not back. The judges' loss went slowly down from 4. The five differ little, in one seed. Whether
# judges collapse in thousands of steps, this cannot show.
#
# ## 9. Blobs, and the norm that makes them (Fig. 11)
#
# With GroupNorm, the paper saw blobs in its reconstructions that grow from layer to layer: a norm divides by what is in
# *this* clip, so one huge value somewhere makes all others small. StyleGAN was caught at it. The measure: the largest
# activation over the median, by layer of the decoder.

# %%
def spikes(model: nn.Module, video: Tensor) -> list[float]:
    """Largest activation over the median, by layer of the decoder."""
    seen = []
    hooks = [layer.register_forward_hook(lambda _module, _inputs, out: seen.append(out.abs()))
             for layer in model.decoder]
    model.decode(model.encode(video))
    for hook in hooks:
        hook.remove()
    return [(x.amax() / x.median()).item() for x in seen]


show(curves({name: spikes(runs[name][0], small_test[:16]) for name in ("TATS", "GroupNorm")},
            "layer of the decoder", "largest / median", log=True),
     alt="Both lines rise to layer 1 and fall to 2 at the last layer; they cross after layer 3.")

# %% [markdown]
# No blobs: GroupNorm's largest values are below BatchNorm's in the first half of the decoder, a little above in the
# last layers (16 clips, one training each).
#
# ## 10. Doom, before and after
#
# How would one measure "no blades of grass"? Any picture is a sum of waves, and what is fine is in the short ones.
#
# ### Exercise 13.3 · power of the short waves (about 15 min)
# The mean square of a clip's frames, counting only waves of at least a quarter cycle a pixel, in whatever direction:
# $\sqrt{f_y^2 + f_x^2} \ge 0.25$. A grid of pixels holds waves of up to 0.5 an axis.
#
# <details><summary>Hint</summary>With <code>norm="ortho"</code> the squares of the Fourier transform sum to the squares
# of the pixels, and a mean stays a mean. Set to 0 what does not count.</details>
# <details><summary>The call</summary><code>torch.fft.fft2(video, norm="ortho").abs().square()</code>;
# <code>torch.fft.fftfreq(h)</code> has the frequency of each row; <code>torch.hypot</code> of a column and a row of
# them.</details>

# %% tags=["exercise", "ex-13.3", "export:metrics.frames"]
def high_frequency_power(video: Tensor) -> Tensor:
    """Mean square of a clip's frames without their long waves: (b, c, t, h, w) -> (b,). Waves of at
    least a quarter cycle a pixel count, the upper half of what a row of pixels can hold."""
    ### BEGIN SOLUTION
    h, w = video.shape[-2:]
    power = torch.fft.fft2(video, norm="ortho").abs().square()
    rows, columns = (torch.fft.fftfreq(n, device=video.device) for n in (h, w))
    short = torch.hypot(rows[:, None], columns) >= 0.25
    return (power * short).flatten(1).mean(1)
    ### END SOLUTION

# %% tags=["check", "ex-13.3"]
high_frequency_power = check("13.3", high_frequency_power)

# %% [markdown]
# Now the walks again, through VideoGPT's autoencoder ("before") and through a `VQGAN` of 2 x 4 x 4 pixels a code
# ("after"). It learned from the same episodes, for 3,000 steps with the perceptual loss, the last 1,000 of them with
# judges (`tats-vqgan-doom-course`). First the price:

# %%
for name, one in doom.items():
    grid = one.config.latents(tuple(walks.shape[1:])).shape
    number, bits = math.prod(grid), math.log2(one.config.codes)
    print(f"{name:<6} {' x '.join(map(str, grid)):>11} = {number:,} codes a clip, "
          f"{number * bits:,.0f} bits")
power = {name: high_frequency_power(video).mean() for name, video in walked.items()}
distance = {name: looks(video, walks) for name, video in walked.items()}
for name, video in walked.items():
    print(f"{name:<6} PSNR {psnr(video, walks).mean():4.1f} dB, perceptual distance "
          f"(EfficientNet-Lite0) {distance[name]:.2f}, short waves {power[name]:.5f}, "
          f"{power[name] / power['real']:.0%} of the real ones")
large = [video[0].repeat_interleave(3, -1).repeat_interleave(3, -2) for video in walked.values()]
show(strip(large, frames=4, titles=list(walked)), limit=100_000,
     alt="Four frames of a walk, large. Before: grey and green fog without a joint. After: walls "
         "with edges and joints between bricks, grainy grass, and a white pack in pieces.")
if profile != "smoke":
    assert power["before"] < 0.5 * power["real"] and distance["after"] < 0.6 * distance["before"]

# %% [markdown]
# Bricks and grass are there, at the same PSNR. Nearby joints stand where they should, far ones are a guess, and the
# white packs fall to pieces. Whose merit is it? Three things changed: **four times as many codes**, a row of 2,048 for
# a prior to write; a **perceptual loss**, by the network that also measures the distance here; and **judges**. When
# they came in, this training was at 27.9 dB, 1.78 and 39% of the short waves (by hand, the same walks): the joints were
# there before them. They gave the grass its blades, and cost a decibel and some distance. What the codes and what the
# perceptual loss did, trainings with one of them would say. And a share does not say *which* waves: dots count, too.
#
# ## 11. What you built
#
# | name | what it does | in `lvlib.models.tats` |
# |---|---|---|
# | `PatchDiscriminator` | judges patches of frames or of clips | `discriminators` |
# | `discriminator_loss`, `generator_loss`, `feature_matching` | the losses of a GAN | `discriminators` |
# | `SyncBatchNorm` | BatchNorm over all processes | `normalization` |
# | `pad_time`, `PaddedConv3d`, `PaddedConvTranspose3d` | convolutions that bring their own padding | `padding` |
# | `VQGAN`, `VQGANConfig` | the autoencoder: `encode`, `decode`, `losses` | `vqgan` |
#
# ### Scale it up
# ```
# lvlib train tats-vqgan --out runs/vqgan --data.root SKY --devices 8
# lvlib evaluate runs/vqgan --data.root SKY --metrics psnr,lpips
# ```
#
# 23.7M parameters, 13.8M of them in the discriminators. The paper's training took 57 hours on 8 V100.
#
# ### Questions to think about
# 1. D's hinge loss is 4 when it knows nothing (two judges, 2 each). What does 0 mean? And 4, late in a training?
#    <details><summary>Answer</summary>0: it tells all patches apart, and learns no more. 4: see the pictures.</details>

# %%
progress()
