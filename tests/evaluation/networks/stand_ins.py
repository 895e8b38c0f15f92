"""Tiny TorchScript programs with the signatures of the networks that users give, and the files that hold them.

TorchScript reads a program's source, so each is a class of its own here.
"""

import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def moments(x: Tensor) -> Tensor:
    """Mean, spread and mean change of each channel of (b, 3, t, h, w): (b, 9)."""
    change = (x[:, :, 1:] - x[:, :, :-1]).abs()
    return torch.cat([x.mean((2, 3, 4)), x.std((2, 3, 4)), change.mean((2, 3, 4))], 1)


class I3DStandIn(nn.Module):
    def __init__(self, classes: int = 400, factor: float = 1.0):
        super().__init__()
        weights = torch.randn(9, classes, generator=torch.Generator().manual_seed(0))
        self.register_buffer("weights", weights * factor)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        x = x.float()
        if rescale:
            x = x / 255 * 2 - 1
        if resize:
            x = F.interpolate(x, [x.shape[2], 224, 224], mode="trilinear", align_corners=False)
        x = self.dropout(moments(x)) @ self.weights
        if not return_features:
            x = x.softmax(1)
        return x


class C3DStandIn(nn.Module):
    def __init__(self, classes: int = 101, softmax: bool = True):
        super().__init__()
        self.register_buffer("weights", torch.randn(9, classes, generator=torch.Generator().manual_seed(0)) / 100)
        self.register_buffer("mean", torch.full((3, 16, 112, 112), 90.0))
        self.softmax = softmax

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x.float(), [x.shape[2], 112, 112], mode="trilinear", align_corners=False) - self.mean
        x = moments(x) @ self.weights
        if self.softmax:
            x = x.softmax(1)
        return x


class VggStandIn(nn.Module):
    """As many features a frame as the LPIPS network has, each of them a pixel's mean over 1, 2, 4, 8 or 16 pixels."""

    def forward(self, img: Tensor, resize_images: bool = True, return_lpips: bool = False) -> Tensor:
        if resize_images:
            img = F.interpolate(img, [224, 224], mode="bilinear", align_corners=False)
        grey = img.mean(1, keepdim=True) / 255
        stages: list[Tensor] = []
        for channels in [64, 128, 256, 512, 512]:
            stages.append((grey.expand(-1, channels, -1, -1) / grey[0].numel()).flatten(1))
            if grey.shape[-1] > 1:
                grey = F.avg_pool2d(grey, 2)
        return torch.cat(stages, 1)


class NotFinite(nn.Module):
    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        return torch.full((x.shape[0], 400), float("nan"))


class ThreeAxes(nn.Module):
    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        return x.float().mean((1, 3, 4)).unsqueeze(1)


class Raises(nn.Module):
    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        if x.shape[2] == 16:
            raise ValueError("64 frames, please")
        return x.float().mean((2, 3, 4))


def save(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is old, as are the files that users have
        torch.jit.script(module).save(str(path))
    return path
