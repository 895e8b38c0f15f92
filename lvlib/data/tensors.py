"""Between what data sets hold (uint8 frames) and what models see (floats in [-1, 1], channels first)."""

from collections.abc import Mapping

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from lvlib.errors import UserError


def to_video(frames: np.ndarray | Tensor) -> Tensor:
    """uint8 frames (..., t, h, w, c) -> float32 video (..., c, t, h, w) in [-1, 1]."""
    frames = torch.tensor(frames) if isinstance(frames, np.ndarray) else frames
    if frames.dtype != torch.uint8:
        raise UserError(f"to_video takes uint8 frames (..., t, h, w, c), not {frames.dtype}")
    return rearrange(frames, "... t h w c -> ... c t h w").float() / 127.5 - 1


def as_inputs(fields: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A batch of named tensors as models take them: uint8 frames (b, t, h, w, c), the only uint8 with five axes, become
    video; other integers int64, and other numbers float32."""
    return {name: _as_input(value) for name, value in fields.items()}


def _as_input(value: Tensor) -> Tensor:
    if value.dtype == torch.uint8 and value.ndim == 5:
        return to_video(value)
    return value.float() if value.is_floating_point() else value.long()


def as_channels(frames: np.ndarray, channels: int) -> np.ndarray:
    """RGB frames (t, h, w, 3) as the model takes them: grey by the weights of ITU-R 601 where it has one channel."""
    if channels == 3:
        return frames
    return (frames @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)[..., None]


def from_video(video: Tensor) -> Tensor:
    """Float video (..., c, t, h, w) in [-1, 1] -> uint8 frames (..., t, h, w, c), rounded and clipped.

    The exact inverse of `to_video`.
    """
    frames = rearrange(video.detach().float(), "... c t h w -> ... t h w c")
    return ((frames + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
