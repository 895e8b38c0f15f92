# Never edit this file: `python -m lvlib.course build` makes it from solutions/13_video_vqgan.py.
"""Discriminators of patches, of frames and of clips, and the losses of a GAN. TATS, section 2.1."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.tats.normalization import SyncBatchNorm

GANLoss = Literal["hinge", "vanilla"]


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


def discriminator_loss(real: Tensor, fake: Tensor, kind: GANLoss) -> Tensor:
    """What a discriminator lowers, from its logits of real and of rebuilt patches, any shapes: ().

    Finite for logits of any size. TATS, section 2.1 (vanilla); official code (hinge).
    """
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor, kind: GANLoss) -> Tensor:
    """What the autoencoder lowers, from the logits of what it rebuilt: ()."""
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


def feature_matching(fake: list[Tensor], real: list[Tensor]) -> Tensor:
    """Mean absolute difference of a discriminator's features, summed over its layers but the last:
    (). The real side gets no gradient. TATS, section 2.1."""
    pairs = zip(fake[:-1], real[:-1], strict=True)
    return sum((F.l1_loss(a, b.detach()) for a, b in pairs), start=fake[0].new_zeros(()))
