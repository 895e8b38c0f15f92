"""EfficientNet-Lite0 as a network of scores: what it makes of clips, and how far apart it finds frames."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from lvlib.evaluation.networks.network import Seen
from lvlib.evaluation.networks.pixels import check_length
from lvlib.pretrained.efficientnet import AT_ONCE, EfficientNetDistance, EfficientNetTrunk

SIZE = 224  # of the pictures that it was trained on


class EfficientNetVideo:
    """Clips as EfficientNet-Lite0 sees their frames, each alone, at 224 x 224.

    Features of a frame are the 320 channels of the last block, averaged over the frame. Of a clip, they are these
    averaged over time, and then the mean size of their change from one frame to the next: 640. Time is in the second
    half alone, and its direction nowhere: a clip played backwards has the same features.

    Raises UserError if a package is missing.
    """

    name, dim, least_frames = "efficientnet-lite0", 640, 2

    def __init__(self, device: torch.device | str = "cpu"):
        self._trunk = EfficientNetTrunk().to(device)

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
    """A perceptual distance between frames of 32 x 32 or larger: see `EfficientNetDistance`.

    Raises UserError if a package is missing.
    """

    name = EfficientNetDistance.name

    def __init__(self, device: torch.device | str = "cpu"):
        self._network = EfficientNetDistance().to(device)

    @torch.no_grad()
    def distance(self, frames: Tensor, others: Tensor) -> Tensor:
        """See `FrameNetwork.distance`; between 0 and 20. Raises UserError for frames of less than 32 x 32."""
        return self._network(frames, others)
