# Never edit this file: `python -m lvlib.course build` makes it from solutions/13_video_vqgan.py.
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
