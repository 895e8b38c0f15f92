"""LPIPS on VGG16, from a TorchScript file that the user gives: others' work, and not ours to ship."""

from itertools import chain, pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.errors import UserError
from lvlib.pretrained.tensors import as_rgb, check_size, only_shapes
from lvlib.pretrained.torchscript import probe_clips, read_script

VGG_FILE = "the LPIPS network as TorchScript, vgg16.pt of StyleGAN2-ADA"
AT_ONCE = 16  # frames: the features are 122 numbers a pixel
CHANNELS = (64, 128, 256, 512, 512)  # of the five stages; height and width are halved from one to the next
CONVOLUTIONS = (2, 2, 3, 3, 3)


class LpipsDistance(nn.Module):
    """LPIPS (Zhang et al. 2018) on VGG16, with its learned weights: features of five stages whose squared differences
    sum to the distance. Frames keep their size, 16 x 16 or larger. Frozen, in eval mode.

    `checksum` (sha256 of the file) and `origin` (which known file that is) tell what was read. Raises UserError for a
    file that is no such network.
    """

    name = "lpips-vgg"
    least_size = 16

    def __init__(self, path: Path):
        super().__init__()
        self.program = _VggShapes() if only_shapes() else self._read(path)
        self.eval().requires_grad_(False)

    def _read(self, path: Path) -> nn.Module:
        script = read_script(path, VGG_FILE)
        takes = "frames as the LPIPS network does, (frames, resize_images, return_lpips)"
        width = script.try_on(probe_clips()[:, :, 0].float(), takes, **self._how).shape[1]
        expected = sum(channels * (32 // 2**stage) ** 2 for stage, channels in enumerate(CHANNELS))
        if width != expected:
            raise UserError(f"{path} gives {width} features a frame of 32 x 32; the LPIPS network gives {expected}")
        self.checksum, self.origin = script.checksum, script.origin
        return script.module

    _how = {"resize_images": False, "return_lpips": True}

    def forward(self, frames: Tensor, others: Tensor) -> Tensor:
        """(n, c, h, w) in [-1, 1] twice, c 1 or 3 -> (n,). Raises UserError for frames of less than 16 x 16."""
        check_size(frames, self.name, self.least_size)
        parts = zip(frames.split(AT_ONCE), others.split(AT_ONCE), strict=True)
        return torch.cat([(self._features(a) - self._features(b)).square().sum(1) for a, b in parts])

    def _features(self, frames: Tensor) -> Tensor:
        return self.program((as_rgb(frames.float()) + 1) * 127.5, **self._how).float()


class _VggShapes(nn.Module):
    """Stands in for the program where tensors have no numbers, which it cannot do: the layers of VGG16, and features of
    the same shapes, so that memory can be told."""

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList()
        for (channels, out), layers in zip(pairwise((3, *CHANNELS)), CONVOLUTIONS, strict=True):
            widths = pairwise((channels, *[out] * layers))
            convolutions = [(nn.Conv2d(*width, 3, padding=1), nn.ReLU()) for width in widths]
            self.stages.append(nn.Sequential(*chain.from_iterable(convolutions)))

    def forward(self, pictures: Tensor, resize_images: bool, return_lpips: bool) -> Tensor:
        features = []
        for number, stage in enumerate(self.stages):
            if number:
                pictures = F.max_pool2d(pictures, 2)
            pictures = stage(pictures)
            features.append(F.normalize(pictures).flatten(1))
        return torch.cat(features, 1)
