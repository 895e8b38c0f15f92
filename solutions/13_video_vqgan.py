# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 13 · VideoVQGAN: an autoencoder that is judged

# %% jupyter={"source_hidden": true}
import os

from lvlib.course import progress

# %% jupyter={"source_hidden": true} tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

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


def side_by_side(weight: nn.Parameter) -> nn.Parameter:
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
        self.weight = side_by_side(self.weight)
        self.time_padding = time_padding

    def forward(self, x: Tensor) -> Tensor:
        amounts = same_padding(self.kernel_size, self.stride)
        return super().forward(pad_volume(x, amounts, self.time_padding))


class PaddedConvTranspose3d(nn.ConvTranspose3d):
    """The reverse of a `PaddedConv3d`: an axis becomes longer, as many times as the stride says."""

    def __init__(self, channels: int, out_channels: int, kernel: int,
                 stride: Triple, time_padding: TimePadding = "replicate"):
        super().__init__(channels, out_channels, kernel, stride, padding=kernel - 1)
        self.weight = side_by_side(self.weight)
        self.time_padding = time_padding

    def forward(self, x: Tensor) -> Tensor:
        amounts = same_padding(self.kernel_size, self.stride)
        return super().forward(pad_volume(x, amounts, self.time_padding))

# %% jupyter={"source_hidden": true} tags=["export:models.tats.normalization"]
"""Norms for a GAN's volumes: BatchNorm over all processes, or GroupNorm. TATS, A.1."""

from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

NormKind = Literal["batch", "group"]

# %% tags=["export:models.tats.normalization"]
class SumOverProcesses(torch.autograd.Function):
    """x summed over the processes of a training; and so is its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class SyncBatchNorm(_BatchNorm):
    """BatchNorm whose mean and variance are of the clips of all processes (any (b, channels, ...)).

    torch's own is for GPUs alone.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        alone = not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1
        if alone or not self.training:
            return super().forward(x)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        count = x.numel() / x.shape[1]
        parts = torch.stack([x.float().sum(axes), x.float().square().sum(axes),
                             x.new_full((x.shape[1],), count, dtype=torch.float)])
        total, squares, number = SumOverProcesses.apply(parts)
        mean, n = total / number, number[0]
        variance = (squares / number - mean.square()).clamp(min=0)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * (variance + self.eps).rsqrt()
        shape = [1, -1] + [1] * (x.ndim - 2)
        shift = (self.bias - mean * scale).view(shape)
        return torch.addcmul(shift, x.float(), scale.view(shape)).to(x.dtype)

# %% tags=["export:models.tats.normalization"]
def norm_of(kind: NormKind, channels: int) -> nn.Module:
    """A norm for (b, channels, ...). group: 32 groups, or as many as channels if they are fewer."""
    if kind == "group":
        return nn.GroupNorm(min(32, channels), channels, eps=1e-6)
    return SyncBatchNorm(channels)

# %% jupyter={"source_hidden": true} tags=["export:models.tats.discriminators"]
"""Discriminators of patches, of frames and of clips, and the losses of a GAN. TATS, section 2.1."""

from typing import Literal

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
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features

# %% tags=["export:models.tats.discriminators"]
def discriminator_loss(real: Tensor, fake: Tensor, kind: GANLoss) -> Tensor:
    """What a discriminator lowers, from its logits of any shape: (). TATS, section 2.1 (vanilla);
    official code (hinge)."""
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor, kind: GANLoss) -> Tensor:
    """What the autoencoder lowers, from the logits of what it rebuilt: ()."""
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()

# %% tags=["export:models.tats.discriminators"]
def feature_matching(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """Mean absolute difference of a discriminator's features, summed over its layers but the last:
    (). The real side gets no gradient. TATS, section 2.1."""
    pairs = zip(fake[:-1], real[:-1], strict=True)
    return sum((F.l1_loss(a, b.detach()) for a, b in pairs), start=fake[0].new_zeros(()))

# %% jupyter={"source_hidden": true} tags=["export:models.tats.vqgan"]
"""TATS's autoencoder: a 3D VQGAN that does not know where in time it is. TATS, section 2.1, A.1."""

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
from lvlib.models.tats.discriminators import (
    GANLoss,
    PatchDiscriminator,
    discriminator_loss,
    feature_matching,
    generator_loss,
)
from lvlib.models.tats.normalization import NormKind, norm_of
from lvlib.models.tats.padding import (
    PaddedConv3d,
    PaddedConvTranspose3d,
    TimePadding,
)
from lvlib.models.videogpt.vqvae import hold_last, latent_grid, strides
from lvlib.pretrained import perceptual_distance
from lvlib.stages import LatentSpec, Metrics, VideoShape


# %% tags=["export:models.tats.vqgan"]
class ResidualBlock(nn.Module):
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
class Encoder(nn.Sequential):
    """Video (b, c, t, h, w) -> vectors (b, width, t', h', w'), twice as wide after each halving."""

    def __init__(self, config: "VQGANConfig"):
        width, norm, padding = config.hidden, config.norm, config.padding
        layers = [PaddedConv3d(config.channels, width, 3, time_padding=padding)]
        for stride in strides(config.downsample):
            layers.append(PaddedConv3d(width, 2 * width, 4, stride, padding))
            width *= 2
            layers += [ResidualBlock(width, norm, padding)
                       for _ in range(config.residual_blocks[0])]
        super().__init__(*layers, norm_of(norm, width), nn.SiLU())


class Decoder(nn.Sequential):
    """The reverse; as wide at each size as the encoder is one halving below."""

    def __init__(self, config: "VQGANConfig"):
        steps, norm, padding = strides(config.downsample), config.norm, config.padding
        width = config.hidden * 2**len(steps)
        layers = [norm_of(norm, width), nn.SiLU()]
        for level, stride in enumerate(steps):
            next_width = width if level == 0 else width // 2
            layers.append(PaddedConvTranspose3d(width, next_width, 4, stride, padding))
            width = next_width
            layers += [ResidualBlock(width, norm, padding)
                       for _ in range(config.residual_blocks[1])]
        super().__init__(*layers, PaddedConv3d(width, config.channels, 3, time_padding=padding))

# %% tags=["export:models.tats.vqgan"]
class VQGAN(nn.Module):
    """Encoder, codebook and decoder of clips, and the discriminators that it is trained against.

    `VQGANConfig.build` makes one. TATS, section 2.1.
    """

    def __init__(self, config: "VQGANConfig"):
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        width = config.hidden * 2**len(strides(config.downsample))
        self.to_codes = nn.Conv3d(width, config.code_dim, 1)
        self.from_codes = nn.Conv3d(config.code_dim, width, 1)
        self.quantizer = EMACodebook(config.codes, config.code_dim, config.commitment,
                                     config.decay, config.restart)
        self.discriminators = nn.ModuleDict() if config.gan_start is None else nn.ModuleDict({
            "frame": PatchDiscriminator(config.channels, config.disc_hidden, config.disc_layers, 2),
            "clip": PatchDiscriminator(config.channels, config.disc_hidden, config.disc_layers, 3),
        })

    def vectors(self, video: Tensor) -> Tensor:
        """Video (b, c, t, h, w) -> vectors (b, t', h', w', code_dim)."""
        return rearrange(self.to_codes(self.encoder(video)), "b d t h w -> b t h w d")

    def video(self, q: Tensor) -> Tensor:
        """Vectors (b, t', h', w', code_dim) -> video (b, c, t, h, w)."""
        return self.decoder(self.from_codes(rearrange(q, "b t h w d -> b d t h w")))

    def optimizers(self) -> dict[str, list[nn.Parameter]]:
        """Of the autoencoder, and of the discriminators."""
        parts = self.encoder, self.decoder, self.to_codes, self.from_codes
        found = {"autoencoder": [p for part in parts for p in part.parameters()]}
        judges = list(self.discriminators.parameters())
        return found | ({"discriminator": judges} if judges else {})

    def losses(self, video: Tensor, *, step: int) -> Iterator[tuple[str, Tensor, Metrics]]:
        """First the autoencoder's, then that of the discriminators, which see what it rebuilt.
        Section 2.1; the discriminators from step `gan_start` on."""
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
            for name, judge in self.discriminators.items():
                seen = judge(fake[name])
                with torch.no_grad():
                    expected = judge(real[name])
                deceived = generator_loss(seen[-1], config.gan_loss)
                matched = feature_matching(seen, expected)
                metrics |= {f"{name}_deceived": deceived, f"{name}_matching": matched}
                loss = loss + config.gan_weight * deceived + config.match_weight * matched
        yield "autoencoder", loss, metrics
        if judging:
            yield "discriminator", *self.judge(real, {n: x.detach() for n, x in fake.items()})

    def judge(self, real: dict[str, Tensor], fake: dict[str, Tensor]) -> tuple[Tensor, Metrics]:
        """The discriminators' loss, and what each says of real and of rebuilt ones, on average."""
        losses, metrics = [], {}
        for name, judge in self.discriminators.items():
            says = judge(real[name])[-1], judge(fake[name])[-1]
            losses.append(discriminator_loss(*says, self.config.gan_loss))
            metrics |= {f"{name}_real": says[0].mean(), f"{name}_fake": says[1].mean()}
        return self.config.gan_weight * torch.stack(losses).sum(), metrics

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """Video (b, c, t, h, w) in [-1, 1] -> codes int64 (b, t', h', w'). Raises ValueError as
        `VQGANConfig.latents` does."""
        self.config.latents(tuple(video.shape[1:]))
        return self.quantizer(self.vectors(video))[1]

    def encode_start(self, frames: Tensor, clip_frames: int) -> Tensor:
        """Codes of the first frames (b, c, t0, h, w) of clips of `clip_frames` frames: (b, t0', h',
        w'). The last frame stands in for as many to come as the encoder sees. Raises ValueError as
        `hold_last` does, and as `encode` does."""
        rate, given = self.config.downsample[0], frames.shape[2]
        longest = given + MARGIN * rate
        return self.encode(hold_last(frames, min(clip_frames, longest), rate))[:, :given // rate]

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes int64 (b, t', h', w') -> video (b, c, t, h, w) in [-1, 1], however long."""
        rate, parts = self.config.downsample[0], []
        for start in range(0, codes.shape[1], PIECE):
            first = max(start - MARGIN, 0)
            q = self.quantizer.lookup(codes[:, first:start + PIECE + MARGIN])
            frames = self.video(q)[:, :, (start - first) * rate:]
            parts.append(frames[:, :, :PIECE * rate].clamp(-1, 1))
        return torch.cat(parts, 2)


PIECE = 32  # latent frames that are decoded at a time
MARGIN = 12  # and beside them: more than the decoder sees


def random_frame(step: int, frames: int) -> int:
    """The frame that is judged at this step: the same in all clips, so that a batch in pieces sees
    what a whole one sees."""
    return int(torch.randint(frames, (), generator=torch.Generator().manual_seed(step)))

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
    """Of the mean absolute error."""
    perceptual: str | None = "efficientnet-lite0"
    """Perceptual network: efficientnet-lite0, or your vgg16.pt for the paper's LPIPS; None."""
    perceptual_weight: float = 4.0
    match_weight: float = 4.0
    """Of feature matching."""
    gan_weight: float = 1.0
    gan_start: int | None = 10_000
    """First step with discriminators; None for never."""
    gan_loss: GANLoss = "hinge"
    """hinge (official code) or vanilla (section 2.1)."""
    disc_hidden: int = 64
    """Channels of the discriminators' first layer (official code)."""
    disc_layers: int = 3
    """Layers of theirs that halve each axis (official code)."""

    def __post_init__(self):
        check_sizes(self)

    def latents(self, video_shape: VideoShape) -> LatentSpec:
        """Of a clip (c, t, h, w): codes (t', h', w'). Raises ValueError for a clip that does not
        fit."""
        channels, *size = video_shape
        if channels != self.channels:
            raise ValueError(f"the video must have {self.channels} channels, not {channels}")
        return LatentSpec(latent_grid(tuple(size), self.downsample), self.codes, self.downsample[0])

    def build(self) -> VQGAN:
        """The model, with new weights."""
        return VQGAN(self)


def check_sizes(config: VQGANConfig) -> None:
    """Raises ValueError for sizes that do not fit together."""
    check_numbers(config, "channels", "hidden", "codes", "code_dim", "disc_hidden", "disc_layers",
                  least=1)
    check_numbers(config, "commitment", "reconstruction_weight", "perceptual_weight",
                  "match_weight", "gan_weight", least=0)
    check_numbers(config, "decay", above=0, below=1)
    check_numbers(config, "restart", least=0, below=1)
    check_choice(config, "padding", get_args(TimePadding))
    check_choice(config, "norm", get_args(NormKind))
    check_choice(config, "gan_loss", get_args(GANLoss))
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

# %%
progress()
