"""The course's own video classifier: small enough for a laptop, trained on the course's own clips.

It tells which digit a clip shows, or how the player of Doom moves, and where digits go. Scores are made of what it sees
before it decides. `python -m lvlib.cli.train_classifier` trains it.
"""

from pathlib import Path
from typing import ClassVar

import safetensors.torch
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

import lvlib
from lvlib.data.moving_digits import DIRECTIONS
from lvlib.evaluation.networks.network import Seen
from lvlib.evaluation.networks.pixels import check_length
from lvlib.stages import Condition, Metrics

WEIGHTS = Path(lvlib.__file__).parent / "checkpoints" / "video-classifier" / "model.safetensors"
SIZE = 64  # pixels, to which every frame is resized
DIGITS = tuple(map(str, range(10)))
MOVES = ("turn left", "turn right", "stand", "walk left", "walk right", "walk straight")
KINDS = (*DIGITS, *MOVES)


def resized(video: Tensor) -> Tensor:
    """Any video (b, c, t, h, w), c 1 or 3 -> (b, 3, t, 64, 64). Raises ValueError for other channels."""
    if video.shape[1] not in (1, 3):
        raise ValueError(f"video must have 1 or 3 channels, not {video.shape[1]}")
    frames = rearrange(video, "b c t h w -> (b t) c h w")
    if frames.shape[-2:] != (SIZE, SIZE):
        frames = F.interpolate(frames, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
    return rearrange(frames, "(b t) c h w -> b c t h w", b=len(video)).expand(-1, 3, -1, -1, -1)


class VideoClassifier(nn.Module):
    """A small 3D convnet, and a `VideoNetwork`. Its features are means over space and time, each 0 or more.

    Two heads read the features: `kind`, one of `KINDS`, and `motion`, one of `DIRECTIONS`, that of a digit in the first
    frame.
    """

    name: ClassVar[str] = "course"
    dim: ClassVar[int] = 64
    least_frames: ClassVar[int] = 4

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            _layer(3, 16, (3, 5, 5), stride=(1, 2, 2)),
            _layer(16, 32, (3, 3, 3), stride=(2, 2, 2)),
            _layer(32, 32, (3, 3, 3)),
            _layer(32, 64, (3, 3, 3), stride=(2, 2, 2)),
            _layer(64, 64, (3, 3, 3)),
            _layer(64, 128, (3, 3, 3), stride=(1, 2, 2)),
            _layer(128, self.dim, (1, 1, 1)),
        )
        self.kind = nn.Linear(self.dim, len(KINDS))
        self.motion = nn.Linear(self.dim, len(DIRECTIONS))
        self.to(memory_format=torch.channels_last_3d)  # twice as fast on a CPU

    def features(self, video: Tensor) -> Tensor:
        """Video (b, 3, t, 64, 64) -> (b, 64)."""
        return self.layers(video.contiguous(memory_format=torch.channels_last_3d)).mean((2, 3, 4))

    @torch.no_grad()
    def look(self, video: Tensor) -> Seen:
        """Video (b, c, t, h, w) in [-1, 1], c 1 or 3, t at least 4, any size. Raises ValueError for what does not fit.

        probs: of the 16 `KINDS`.
        """
        check_length(video, self.name, self.least_frames)
        features = self.features(resized(video.float()))
        return Seen(features, self.kind(features).softmax(-1))

    def loss(self, video: Tensor, truth: Condition) -> tuple[Tensor, Metrics]:
        """The cross-entropies of both heads, in nats.

        video (b, 3, t, 64, 64). truth: "kind" (b, 16) and "motion" (b, 8), probabilities; rows of zeros in "motion"
        where there is no digit.
        """
        features = self.features(video)
        kind, motion = self.kind(features), self.motion(features)
        loss_kind, loss_motion = _cross_entropy(kind, truth["kind"]), _cross_entropy(motion, truth["motion"])
        return loss_kind + loss_motion, {"loss_kind": loss_kind, "loss_motion": loss_motion,
                                         "kind_right": is_right(kind, truth["kind"]).float().mean()}


def course_classifier(device: torch.device | str = "cpu") -> VideoClassifier:
    """The one that ships, trained, in eval mode."""
    classifier = VideoClassifier()
    classifier.load_state_dict(safetensors.torch.load_file(WEIGHTS))
    return classifier.eval().requires_grad_(False).to(device)


def _layer(channels: int, out: int, kernel: tuple[int, int, int], stride: tuple[int, int, int] = (1, 1, 1)):
    padding = tuple(side // 2 for side in kernel)
    return nn.Sequential(nn.Conv3d(channels, out, kernel, stride, padding, bias=False), nn.BatchNorm3d(out), nn.ReLU())


def is_right(logits: Tensor, truth: Tensor) -> Tensor:
    """Do the classes with the largest share come before all others? (b, n) twice -> bool (b,). Of a clip with two
    digits: both of them."""
    largest = truth == truth.amax(1, keepdim=True)
    lowest = logits.masked_fill(~largest, float("inf")).amin(1)
    return lowest > logits.masked_fill(largest, -float("inf")).amax(1)


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return -(target * logits.float().log_softmax(1)).sum(1).mean()
