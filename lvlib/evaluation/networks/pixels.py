"""Video as trained networks take it."""

from einops import rearrange
from torch import Tensor

from lvlib.data import from_video
from lvlib.errors import UserError
from lvlib.pretrained.tensors import as_rgb


def as_bytes(video: Tensor) -> Tensor:
    """Float (b, 1 or 3, t, h, w) in [-1, 1] -> uint8 (b, 3, t, h, w): what a file would hold."""
    return rearrange(from_video(as_rgb(video)), "b t h w c -> b c t h w").contiguous()


def check_length(video: Tensor, name: str, least: int) -> None:
    """Raises UserError for clips that are too short for the network."""
    if video.shape[2] < least:
        raise UserError(f"{name} looks at clips of {least} frames or more, not {video.shape[2]}")
